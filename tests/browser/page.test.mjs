// The page at /, as people use it: the real binary, a real node, a real Chromium. Photos are those of dev/photos.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Facedex, answerOf, assertAccessible, assertClean, assertFits, drop, launch, open, photo, pick, referenceFaces, shoot, startNode, tearDown } from "./harness.mjs";

const COLLECTION = `page-${process.pid}`;
const OBAMA = "query/obama-3.jpg";
const BIDEN = "query/biden.jpg";
const GROUP = "gallery-unlabelled/four-people.jpg";
/** The unlabelled photos are loaded without pictures, and the browser reports every answer of 404. */
const NO_PICTURE = /404 .*\/v1\/faces\/[^/]+\/thumbnail/;

let browser;
let url;
let facedex;

before(async () => {
  const node = await startNode();
  facedex = new Facedex(node);
  facedex.dropLater(COLLECTION);
  facedex.run("ingest", photo("gallery"), "--person-from-dir", "--thumbnails", "--label", "album=gallery", "--collection", COLLECTION);
  facedex.run("ingest", photo("gallery-unlabelled"), "--collection", COLLECTION);
  ({ url } = await facedex.serve());
  browser = await launch();
}, { timeout: 300_000 });

after(tearDown, { timeout: 120_000 });

const at = (view) => `${url}?collection=${COLLECTION}#${view}`;
const show = (view, options) => open(browser, at(view), options);
const button = (tab, name) => tab.getByRole("button", { name, exact: true });
const cards = (tab) => tab.locator(".gallery:not(.waiting) .card");
/** A title in the page itself; the line at the bottom says the same. */
const told = (tab, text) => tab.locator("main .empty-title", { hasText: text });
const status = (tab) => tab.locator("#status");

/** Where a face is drawn, in the photo's own pixels. */
async function drawn(tab, index, width) {
  const [box, image] = await Promise.all([tab.locator(".face").nth(index).boundingBox(), tab.locator(".canvas img").first().boundingBox()]);
  const factor = width / image.width;
  return { x: (box.x - image.x) * factor, y: (box.y - image.y) * factor, width: box.width * factor, height: box.height * factor };
}

function overlap(a, b) {
  const w = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  const both = Math.max(0, w) * Math.max(0, h);
  return both / (a.width * a.height + b.width * b.height - both);
}

test("the page comes with its policy, asks nobody else, and is not sent twice", async () => {
  const { tab, seen, context } = await show("search");
  await tab.getByText("Drop a photo here").waitFor();
  await assert.doesNotReject(tab.locator("#stats", { hasText: /^\d+ faces, \d+ people$/ }).waitFor());
  await assertAccessible(tab, "the empty page");
  await shoot(tab, "1-empty");
  const first = await fetch(url);
  assert.match(first.headers.get("content-security-policy"), /^default-src 'none'; script-src 'self';/);
  assert.equal(first.headers.get("x-content-type-options"), "nosniff");
  assert.equal(first.headers.get("referrer-policy"), "no-referrer");
  assert.match(first.headers.get("permissions-policy"), /camera=\(self\)/);
  const again = await fetch(url, { headers: { "If-None-Match": first.headers.get("etag") } });
  assert.equal(again.status, 304);
  assertClean(seen);
  await context.close();
});

test("a dropped photo: boxes where the faces are, matches of the right person, pictures and labels", async () => {
  const { tab, seen, context } = await show("search");
  const answer = answerOf(tab, "/v1/search");
  await drop(tab, [OBAMA]);
  const { image } = await answer;
  await cards(tab).first().waitFor();
  const [expected] = referenceFaces(OBAMA);
  assert.equal(await tab.locator(".face").count(), 1);
  const share = overlap(await drawn(tab, 0, image.width), expected);
  assert.ok(share > 0.8, `the box covers ${share} of the reference's`);
  assert.deepEqual(await cards(tab).evaluateAll((all) => all.map((card) => card.dataset.person)), ["Barack_Obama", "Barack_Obama"]);
  await cards(tab).first().locator("img").waitFor();
  assert.ok(await cards(tab).first().locator("img").evaluate((image) => image.decode().then(() => image.naturalWidth >= 64)));
  assert.match(await cards(tab).first().innerText(), /album gallery/);
  assert.match(await cards(tab).first().innerText(), /obama-\d\.jpg/);
  assert.match(await status(tab).innerText(), /^1 face\. 2 matches for face 0\. Photo [\d,.]+ m?s, search [\d,.]+ m?s, round trip [\d,.]+ m?s\.$/);
  await assertAccessible(tab, "a search");
  await shoot(tab, "2-search");
  assertClean(seen);
  await context.close();
});

test("each face of a group is a button where the face is, and shows its own matches", async () => {
  const { tab, seen, context } = await show("search");
  const answer = answerOf(tab, "/v1/search");
  await pick(tab, button(tab, "Choose photo"), GROUP);
  const { image, faces } = await answer;
  await cards(tab).first().waitFor();
  const expected = referenceFaces(GROUP);
  assert.equal(faces.length, expected.length);
  for (let index = 0; index < faces.length; index += 1) {
    const box = await drawn(tab, index, image.width);
    assert.ok(expected.some((face) => overlap(face, box) > 0.8), `no face at ${JSON.stringify(box)}`);
  }
  for (const [index, { hits }] of faces.entries()) {
    await tab.locator(".face").nth(index).click();
    await tab.getByRole("heading", { name: new RegExp(`^Face ${index}: `) }).waitFor();
    assert.equal(await tab.locator(".face").nth(index).getAttribute("aria-pressed"), "true");
    assert.equal(await cards(tab).first().getAttribute("data-face"), hits[0].id);
  }
  // These were loaded without pictures: the neutral drawing stays.
  assert.equal(await cards(tab).first().locator(".thumb img").count(), 0);
  assert.ok(await cards(tab).first().locator(".thumb svg").isVisible());
  await shoot(tab, "3-group");
  assertClean(seen, NO_PICTURE);
  await context.close();
});

test("the slider asks the server and shows the server's own figures", async () => {
  const { tab, seen, context } = await show("search");
  const first = answerOf(tab, "/v1/search");
  await drop(tab, [OBAMA]);
  await cards(tab).first().waitFor();
  const slider = tab.getByRole("slider");
  const says = tab.locator(".says");
  const standing = (await first).faces[0].threshold;
  const total = standing.faces_searched;
  assert.equal(await tab.locator(".threshold output").innerText(), standing.similarity.toFixed(3));
  assert.match(await says.innerText(), new RegExp(`^False-positive rate 1 %: about 1 in 100 searches for somebody who is not among these ${total} faces`));
  for (const place of [0.2, 0.45, 0.9]) {
    const asked = tab.waitForRequest((request) => request.url().endsWith("/v1/search"));
    const answered = answerOf(tab, "/v1/search");
    await slider.fill(String(place));
    const sent = (await asked).postDataJSON();
    assert.equal(sent.min_similarity, place);
    assert.ok(!("photo" in sent) && sent.embedding.length === 128, "the photo is not sent again");
    const { hits, threshold } = (await answered).faces[0];
    await tab.locator(".threshold:not(.pending)").waitFor();
    assert.equal(await tab.locator(".threshold output").innerText(), threshold.similarity.toFixed(3));
    const [, rate] = (await says.innerText()).match(/^False-positive rate (?:over )?([\d.e-]+) %/);
    assert.ok(Math.abs(Number(rate) - 100 * threshold.fpir) <= 0.06 * 100 * threshold.fpir, `${rate} % stands for ${threshold.fpir}`);
    assert.equal(await tab.getByText("not calibrated", { exact: true }).isVisible(), !threshold.calibrated);
    assert.equal(await cards(tab).count(), hits.length);
    if (place === 0.2) await shoot(tab, "4-low-threshold");
  }
  await tab.getByText("Nobody comes near enough").waitFor();
  await shoot(tab, "4-nobody");
  await button(tab, "Show the nearest all the same").click();
  await cards(tab).nth(2).waitFor();
  await button(tab, "Back to the default").click();
  await tab.locator(".threshold output", { hasText: standing.similarity.toFixed(3) }).waitFor();
  assert.equal(await cards(tab).count(), 2);
  assertClean(seen, NO_PICTURE);
  await context.close();
});

test("a slider that is dragged asks when it rests, not all the way", async () => {
  const { tab, context } = await show("search");
  await drop(tab, [OBAMA]);
  await cards(tab).first().waitFor();
  let asked = 0;
  tab.on("request", (request) => (asked += request.url().endsWith("/v1/search") ? 1 : 0));
  await tab.getByRole("slider").focus();
  for (let step = 0; step < 20; step += 1) await tab.keyboard.press("ArrowLeft");
  await tab.locator(".threshold:not(.pending)").waitFor();
  assert.ok(asked >= 1 && asked <= 5, `${asked} requests for 20 steps`);
  await context.close();
});

test("identify names the face on the photo and says when nobody comes near", async () => {
  const { tab, seen, context } = await show("identify");
  await drop(tab, [OBAMA]);
  await tab.locator('.verdict[data-decision="match"]').waitFor();
  assert.equal(await tab.locator(".verdict-name").innerText(), "Barack_Obama");
  assert.match(await tab.locator(".face").getAttribute("aria-label"), /^Face 0, Barack_Obama, similarity 0\.\d{3}$/);
  await assertAccessible(tab, "an identification");
  await shoot(tab, "5-identify");
  await drop(tab, [BIDEN]);
  await tab.locator('.verdict[data-decision="unknown"]').waitFor();
  assert.match(await status(tab).innerText(), /Face 0 is unknown\./);
  await shoot(tab, "5-unknown");
  assertClean(seen, NO_PICTURE);
  await context.close();
});

test("two photos are verified, and a face of a group can be the one that is meant", async () => {
  const { tab, seen, context } = await show("verify");
  await drop(tab, ["gallery/Barack_Obama/obama-1.jpg", OBAMA]);
  await tab.locator('.verdict[data-decision="match"]').waitFor();
  assert.match(await tab.locator(".says").innerText(), /^False-match rate 0\.01 %: about 1 in 10,000 comparisons of two different people/);
  await assertAccessible(tab, "a verification");
  await shoot(tab, "6-verify");
  await drop(tab, [BIDEN], ".stage:nth-child(2)");
  await tab.locator('.verdict[data-decision="unknown"]').waitFor();
  await drop(tab, [GROUP], ".stage:nth-child(1)");
  await drop(tab, [GROUP], ".stage:nth-child(2)");
  await tab.locator('.verdict[data-decision="match"]').waitFor();
  const other = tab.locator('.stage:nth-child(2) .face[aria-pressed="false"]').first();
  const ordinal = await other.getAttribute("data-ordinal");
  await other.click();
  await tab.locator('.verdict[data-decision="unknown"]').waitFor();
  assert.equal(await tab.locator(`.stage:nth-child(2) .face[data-ordinal="${ordinal}"]`).getAttribute("aria-pressed"), "true");
  assertClean(seen);
  await context.close();
});

test("a person is enrolled, found, renamed and deleted, and the deletion asks first and names the count", async () => {
  const { tab, seen, context } = await show("enrol");
  await drop(tab, [BIDEN]);
  await tab.locator(".face").waitFor();
  await tab.getByLabel("Name", { exact: true }).fill("Joe Biden");
  assert.equal(await tab.getByLabel("Person id").inputValue(), "Joe_Biden");
  await tab.getByLabel("Labels").fill("office=46");
  await assertAccessible(tab, "the form");
  await shoot(tab, "7-enrol");
  await button(tab, "Enrol").click();
  await told(tab, "Joe Biden is enrolled").waitFor();
  await shoot(tab, "7-enrolled");

  await tab.getByRole("link", { name: "Identify" }).click();
  await tab.locator('.verdict[data-decision="match"]').waitFor();
  assert.equal(await tab.locator(".verdict-name").innerText(), "Joe Biden");
  await tab.locator(".verdict-name a").click();
  await tab.getByRole("heading", { name: "Joe Biden" }).waitFor();
  assert.match(await tab.locator(".person").innerText(), /1 face in /);
  assert.match(await cards(tab).first().innerText(), /office 46/);
  await cards(tab).first().locator("img").waitFor();

  await button(tab, "Rename").click();
  await tab.getByLabel("New name").fill("Joseph R. Biden");
  await button(tab, "Save").click();
  await tab.getByRole("heading", { name: "Joseph R. Biden" }).waitFor();
  await assertAccessible(tab, "a person");
  await shoot(tab, "8-person");

  const person = `${url}v1/persons/Joe_Biden?collection=${COLLECTION}`;
  const dialog = tab.getByRole("dialog", { name: "Delete Joseph R. Biden?" });
  await button(tab, "Delete person").click();
  await dialog.getByText("The 1 face of Joseph R. Biden will be removed").waitFor();
  await shoot(tab, "8-confirm");
  await dialog.getByRole("button", { name: "Keep" }).click();
  assert.equal((await fetch(person)).status, 200, "Keep keeps");
  await button(tab, "Delete person").click();
  await tab.keyboard.press("Escape");
  assert.equal((await fetch(person)).status, 200, "Escape keeps");
  await button(tab, "Delete person").click();
  await dialog.getByRole("button", { name: "Delete 1 face" }).click();
  await told(tab, "Joseph R. Biden is deleted").waitFor();
  assert.equal((await fetch(person)).status, 404);
  await tab.getByRole("link", { name: "Identify" }).click();
  await tab.locator('.verdict[data-decision="unknown"]').waitFor();
  assertClean(seen, NO_PICTURE);
  await context.close();
});

test("one face of several is deleted alone", async () => {
  const { tab, seen, context } = await show("enrol");
  for (const [step, file] of ["formats/filippo-giunchedi-gray.jpg", "formats/filippo-giunchedi-cmyk.jpg"].entries()) {
    await drop(tab, [file]);
    await tab.locator(".face").waitFor();
    if (step === 0) await tab.getByLabel("Person id").fill("twice");
    await button(tab, "Enrol").click();
    await told(tab, "twice is enrolled").waitFor();
    await button(tab, "Enrol another photo").click();
  }
  await tab.goto(at("person/twice"));
  await tab.locator(".person-head").getByText("2 faces in").waitFor();
  await button(tab, "Delete this face").first().click();
  await tab.getByRole("dialog", { name: "Delete this face?" }).getByRole("button", { name: "Delete 1 face" }).click();
  await tab.locator(".person-head").getByText("1 face in").waitFor();
  assert.equal(await cards(tab).count(), 1);
  assertClean(seen);
  await context.close();
});

test("everything can be done by keyboard", async () => {
  const { tab, seen, context } = await show("identify");
  await tab.getByText("Drop a photo here").waitFor();
  const press = async (key, times = 1) => {
    for (let time = 0; time < times; time += 1) await tab.keyboard.press(key);
  };
  const focused = () => tab.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.innerText ?? "");
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
  const base64 = (await import("node:fs")).readFileSync(photo("gallery/Eileen_Collins/astronaut.png")).toString("base64");
  await tab.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
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
  assert.equal(await tab.locator(".verdict-name").innerText(), "Barack_Obama");
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
  const [chooser] = await Promise.all([tab.waitForEvent("filechooser"), button(tab, "Other photo: Photo to look for").click()]);
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

test("a collection that is missing or another one", async () => {
  const { tab, context } = await show("search");
  const names = await tab.locator("#collection option").allInnerTexts();
  assert.ok(names.includes(COLLECTION));
  assert.equal(await tab.locator("#collection").inputValue(), COLLECTION, "the address chooses");
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
    await tab.getByRole("heading", { name: "Barack_Obama" }).waitFor();
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
  const moving = await tab.evaluate(() => [...document.querySelectorAll("*")].filter((element) => getComputedStyle(element).animationName !== "none" || getComputedStyle(element).transitionDuration !== "0s").length);
  assert.equal(moving, 0);
  await shoot(tab, "11-crowd");
  assertClean(seen, NO_PICTURE);
  await context.close();
});
