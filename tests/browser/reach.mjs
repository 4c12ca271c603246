// Whoever comes, with whatever: keyboard, clipboard, camera, phone, dark, calm, and when things go wrong.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertClean, assertFits, bytes, drop, photo, pick, shoot } from "./harness.mjs";
import { GROUP, NO_PICTURE, OBAMA, at, button, cards, show, status, told } from "./scene.mjs";

test("everything can be done by keyboard", async () => {
  const { tab, seen, context } = await show("identify");
  await tab.getByText("Drop a photo here").waitFor();
  const press = async (key, times = 1) => {
    for (let time = 0; time < times; time += 1) await tab.keyboard.press(key);
  };
  const focused = () =>
    tab.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.innerText ?? "");
  const tabTo = async (wanted, limit = 25) => {
    for (let step = 0; step < limit; step += 1) {
      await press("Tab");
      if (wanted.test(await focused())) return;
    }
    assert.fail(`Tab does not reach ${wanted}`);
  };
  await press("Tab");
  assert.equal(await focused(), "Skip to the photo");
  await press("Enter");
  await tabTo(/^Choose photo$/, 1);
  const [chooser] = await Promise.all([tab.waitForEvent("filechooser"), press("Enter")]);
  await chooser.setFiles(photo(GROUP));
  await tab.locator(".verdict").waitFor();

  await tabTo(/^Face \d/);
  await press("Home");
  assert.match(await focused(), /^Face 0/);
  await press("ArrowRight");
  const right = await tab.locator(".face:focus").boundingBox();
  const zero = await tab.locator('.face[data-ordinal="0"]').boundingBox();
  assert.ok(right.x > zero.x, "an arrow goes where it points");
  await press("Enter");
  const chosen = await tab.locator(".face:focus").getAttribute("data-ordinal");
  await tab.getByRole("heading", { name: `Face ${chosen}`, exact: true }).waitFor();
  await shoot(tab, "9-keyboard");

  const before = await tab.locator(".threshold output").innerText();
  while ((await tab.evaluate(() => document.activeElement.type)) !== "range") await press("Tab");
  await press("ArrowRight", 3);
  await tab.locator(".threshold:not(.pending)").waitFor();
  assert.ok(Number(await tab.locator(".threshold output").innerText()) > Number(before));

  await tab.locator(".mark").focus();
  await tabTo(/^Search$/);
  await press("Enter");
  await tab.getByRole("heading", { name: /^Face \d: / }).waitFor();
  while ((await tab.evaluate(() => document.activeElement.type)) !== "range") await press("Tab");
  await press("Home");
  await tab.locator(".cover").first().waitFor();
  while (!(await tab.evaluate(() => document.activeElement.classList.contains("cover")))) await press("Tab");
  const name = await focused();
  await press("Enter");
  await tab.getByRole("heading", { name }).waitFor();
  assert.equal(await focused(), name, "the person's page begins at its heading");
  await tabTo(/^Delete person$/);
  await press("Enter");
  assert.equal(await focused(), "Keep", "the harmless answer comes first");
  await press("Enter");
  assert.equal(await focused(), "Delete person", "the focus comes back");
  assertClean(seen, NO_PICTURE);
  await context.close();
});

test("pasting with Ctrl+V", async () => {
  const { tab, seen, context } = await show("search", { permissions: ["clipboard-read", "clipboard-write"] });
  await tab.getByText("Drop a photo here").waitFor();
  const base64 = bytes("gallery/Eileen_Collins/astronaut.png").toString("base64");
  await tab.evaluate(async (base64) => {
    const raw = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([raw], { type: "image/png" }) })]);
  }, base64);
  await tab.keyboard.press("Control+V");
  await cards(tab).first().waitFor();
  assert.equal(await cards(tab).first().getAttribute("data-person"), "Eileen_Collins");
  assertClean(seen);
  await context.close();
});

test("a photo is taken with the camera, and a phone is asked for its own", async () => {
  const { tab, seen, context } = await show("identify");
  await button(tab, "Take photo").click();
  const take = tab.getByRole("dialog", { name: "Take a photo" }).getByRole("button", { name: "Take it" });
  await take.click();
  await tab.locator(".verdict").waitFor();
  assert.equal(await tab.locator(".verdict-name").innerText(), "Barack Obama");
  assert.equal(await tab.locator("#camera-video").evaluate((video) => video.srcObject), null, "the camera is off");
  assertClean(seen, NO_PICTURE);
  await context.close();

  const phone = await show("identify", { width: 360, height: 740, isMobile: true, hasTouch: true });
  const [chooser] = await Promise.all([phone.tab.waitForEvent("filechooser"), button(phone.tab, "Take photo").tap()]);
  assert.equal(await chooser.element().getAttribute("capture"), "environment");
  await phone.context.close();
});

test("errors are told in words with what to do, and can be mended", async () => {
  const { tab, seen, context } = await show("search");
  await pick(tab, button(tab, "Choose photo"), "formats/no-face.jpg");
  await told(tab, "No face was found in this photo.").waitFor();
  await shoot(tab, "10-no-face");
  const [chooser] = await Promise.all([
    tab.waitForEvent("filechooser"),
    button(tab, "Other photo: Photo to look for").click(),
  ]);
  await chooser.setFiles({ name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("these are no pixels") });
  await told(tab, "This file is not a photo that can be read.").waitFor();
  await context.setOffline(true);
  await drop(tab, [OBAMA]);
  await told(tab, "The server does not answer.").waitFor();
  await shoot(tab, "10-offline");
  await assertAccessible(tab, "an error");
  await context.setOffline(false);
  await button(tab, "Try again").click();
  await cards(tab).first().waitFor();
  assertClean(seen, /status of 4(15|22)|ERR_INTERNET_DISCONNECTED|blob:/);
  await context.close();
});

for (const [name, options] of Object.entries({
  "at 360 pixels": { width: 360, height: 740, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  "in the dark": { colorScheme: "dark" },
})) {
  test(`every view ${name}`, async () => {
    const slug = options.width ? "phone" : "dark";
    const { tab, seen, context } = await show("search", options);
    const look = async (what) => {
      await assertFits(tab, what);
      await assertAccessible(tab, `${what} ${name}`);
      await shoot(tab, `${slug}-${what}`);
    };
    await tab.getByText("Drop a photo here").waitFor();
    await look("empty");
    await drop(tab, [OBAMA]);
    await cards(tab).first().locator("img").waitFor();
    await look("search");
    await tab.goto(at("identify"));
    await tab.locator(".verdict img").waitFor();
    await look("identify");
    await tab.goto(at("verify"));
    await drop(tab, ["gallery/Barack_Obama/obama-1.jpg", OBAMA]);
    await tab.locator(".verdict").waitFor();
    await look("verify");
    await tab.goto(at("enrol"));
    await tab.locator(".face").first().waitFor();
    await look("enrol");
    await tab.goto(at("person/Barack_Obama"));
    await tab.getByRole("heading", { name: "Barack Obama" }).waitFor();
    await look("person");
    await button(tab, "Delete person").click();
    await look("confirm");
    if (slug === "dark") {
      const light = await tab.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
      assert.ok(Math.max(...light) < 60, `the background is ${light}`);
    }
    assertClean(seen, NO_PICTURE);
    await context.close();
  });
}

test("a crowd fits, and nothing moves for those who want it so", async () => {
  const { tab, seen, context } = await show("search", { reducedMotion: "reduce" });
  await pick(tab, button(tab, "Choose photo"), "crowd/solvay-1927.png");
  await tab.locator(".face").nth(28).waitFor();
  assert.equal(await tab.locator(".face").count(), 29);
  const moving = await tab.evaluate(
    () =>
      [...document.querySelectorAll("*")].filter(
        (element) =>
          getComputedStyle(element).animationName !== "none" || getComputedStyle(element).transitionDuration !== "0s",
      ).length,
  );
  assert.equal(moving, 0);
  await shoot(tab, "11-crowd");
  assertClean(seen, NO_PICTURE);
  await context.close();
});
