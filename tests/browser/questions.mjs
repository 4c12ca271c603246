// Search, identify, verify: what people ask, and whether the page shows what the server answers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { answerOf, assertAccessible, assertClean, drop, photo, pick, referenceFaces, shoot } from "./harness.mjs";
import { BIDEN, GROUP, NO_PICTURE, OBAMA, at, button, cards, drawn, overlap, show, status, url } from "./scene.mjs";

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
  assert.deepEqual(await cards(tab).evaluateAll((all) => all.map((card) => card.dataset.person)), [
    "Barack_Obama",
    "Barack_Obama",
  ]);
  await cards(tab).first().locator("img").waitFor();
  assert.ok(
    await cards(tab)
      .first()
      .locator("img")
      .evaluate((image) => image.decode().then(() => image.naturalWidth >= 64)),
  );
  assert.match(await cards(tab).first().innerText(), /album gallery/);
  assert.match(await cards(tab).first().innerText(), /obama-\d\.jpg/);
  assert.match(
    await status(tab).innerText(),
    /^1 face\. 2 matches for face 0\. Photo [\d,.]+ m?s, search [\d,.]+ m?s, round trip [\d,.]+ m?s\.$/,
  );
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
    assert.ok(
      expected.some((face) => overlap(face, box) > 0.8),
      `no face at ${JSON.stringify(box)}`,
    );
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
  assert.match(
    await says.innerText(),
    new RegExp(`^False-positive rate 1 %: about 1 in 100 searches for somebody who is not among these ${total} faces`),
  );
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
    assert.ok(
      Math.abs(Number(rate) - 100 * threshold.fpir) <= 0.06 * 100 * threshold.fpir,
      `${rate} % stands for ${threshold.fpir}`,
    );
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
  await tab.getByRole("slider").evaluate((slider) => {
    for (let step = 0; step < 20; step += 1) {
      slider.stepDown();
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });
  await tab.locator(".threshold:not(.pending)").waitFor();
  assert.equal(asked, 1);
  await context.close();
});

test("identify names the face on the photo and says when nobody comes near", async () => {
  const { tab, seen, context } = await show("identify");
  await drop(tab, [OBAMA]);
  await tab.locator('.verdict[data-decision="match"]').waitFor();
  assert.equal(await tab.locator(".verdict-name").innerText(), "Barack Obama");
  assert.match(await tab.locator(".face").getAttribute("aria-label"), /^Face 0, Barack Obama, similarity 0\.\d{3}$/);
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
  assert.match(
    await tab.locator(".says").innerText(),
    /^False-match rate 0\.01 %: about 1 in 10,000 comparisons of two different people/,
  );
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
  assert.equal(
    await tab.locator(`.stage:nth-child(2) .face[data-ordinal="${ordinal}"]`).getAttribute("aria-pressed"),
    "true",
  );
  assertClean(seen);
  await context.close();
});
