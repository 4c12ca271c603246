// A server that asks for API keys.

import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { assertAccessible, assertClean, drop, open, shoot } from "./harness.mjs";
import { COLLECTION, NO_PICTURE, OBAMA, browser, button, cards, facedex, told } from "./scene.mjs";

const REFUSED = new RegExp(`401|${NO_PICTURE.source}`);

test("the page asks for a key where the server does, and keeps it no longer than its owner wants", async () => {
  const keys = path.join(facedex.options.cwd, "page-keys.json");
  const right = facedex.run("keys", "create", "page", "--collection", COLLECTION, "--keys", keys);
  const server = await facedex.serve("--keys", keys);
  const { tab, seen, context } = await open(browser, `${server.url}?collection=${COLLECTION}#search`);
  const dialog = tab.getByRole("dialog", { name: "API key" });
  const field = dialog.getByLabel("Key", { exact: true });
  const asked = told(tab, "This server asks for an API key.");
  const use = async (key) => {
    await field.fill(key);
    await dialog.getByRole("button", { name: "Use this key" }).click();
    await dialog.waitFor({ state: "hidden" });
  };

  await asked.waitFor();
  await shoot(tab, "13-key-asked");
  await button(tab, "Enter a key").click();
  await assertAccessible(tab, "the key's form");
  await shoot(tab, "13-key");
  await use("fdx_wrong");
  await asked.waitFor();
  await button(tab, "Enter a key").click();
  await use(right);
  await drop(tab, [OBAMA]);
  await cards(tab).first().waitFor();
  assert.equal(await tab.locator("#key-value").inputValue(), "", "the key is not in the document while nobody edits it");

  const stored = () => tab.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  assert.ok(!(await stored()).includes(right), "nobody said that it may be kept");
  await tab.reload();
  await asked.waitFor();
  await button(tab, "Enter a key").click();
  await dialog.getByLabel("Keep it until this tab is closed").check();
  await use(right);
  await tab.reload();
  await drop(tab, [OBAMA]);
  await cards(tab).first().waitFor();

  await button(tab, "API key set").click();
  await dialog.getByRole("button", { name: "Forget" }).click();
  await asked.waitFor();
  assert.ok(!(await stored()).includes(right));
  assertClean(seen, REFUSED);
  await context.close();
  await server.stop();
});
