// Enrolment, people, collections: what the page changes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, assertClean, drop, shoot } from "./harness.mjs";
import { BIDEN, COLLECTION, NO_PICTURE, OBAMA, at, button, cards, facedex, show, told, url } from "./scene.mjs";

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

test("another collection is asked anew, and an empty one says what to do", async () => {
  const empty = `${COLLECTION}-empty`;
  facedex.dropLater(empty);
  facedex.run("collection", "create", empty);
  const { tab, seen, context } = await show("search");
  await drop(tab, [OBAMA]);
  await cards(tab).first().waitFor();
  assert.equal(await tab.locator("#collection").inputValue(), COLLECTION, "the address chooses");
  await tab.locator("#collection").selectOption(empty);
  await told(tab, "This collection is empty").waitFor();
  assert.equal(new URL(tab.url()).searchParams.get("collection"), empty);
  await shoot(tab, "12-empty-collection");
  assertClean(seen);
  await context.close();
});
