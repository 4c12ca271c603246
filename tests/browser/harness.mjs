// What the page's tests stand on: a real node, the real binary, a real browser.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const target = path.resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
const facedex = path.join(target, "debug/facedex");
const home = process.env.FACEDEX_BROWSER_HOME;
assert.ok(home, "run these tests by dev/browser test");
const packages = fs.readdirSync(home).sort();
const place = (name) =>
  path.join(
    home,
    packages.findLast((entry) => entry.startsWith(`${name}-`)),
  );
const { chromium } = await import(pathToFileURL(path.join(place("playwright-core"), "index.mjs")));
const axe = fs.readFileSync(path.join(place("axe-core"), "axe.min.js"), "utf8");
export const shots = path.join(target, "screenshots");

const ended = [];
/** Undoes everything in the opposite order. */
export async function tearDown() {
  for (const end of ended.reverse()) await end();
  ended.length = 0;
}

function lines(command, args, options = {}) {
  const done = spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], ...options });
  assert.equal(done.status, 0, `${command} ${args.join(" ")}: ${done.error ?? done.stderr}`);
  return done.stdout.trim();
}

const photos = lines(path.join(root, "dev/photos"), []).split("\n").at(-1);
/** A photo of dev/photos. */
export const photo = (name) => path.join(photos, name);
export const bytes = (name) => fs.readFileSync(photo(name));

/** Where the reference implementation sees the faces of a photo, in the photo's pixels. */
export function referenceFaces(file) {
  const { cases } = JSON.parse(fs.readFileSync(path.join(root, "tests/golden/reference.json"), "utf8"));
  return cases
    .filter((entry) => entry.file === file)
    .flatMap(({ rect: [x, y], faces }) =>
      faces.map(({ box }) => ({ x: box[0] + x, y: box[1] + y, width: box[2], height: box[3] })),
    );
}

async function until(what, condition, seconds = 240) {
  const end = Date.now() + 1000 * seconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < end, `waited in vain until ${what}`);
    await pause(100);
  }
}

/** The URL of a node: the one that FACEDEX_TEST_ELASTICSEARCH_URL names, or one of ours that ends with these tests. */
export async function startNode() {
  if (process.env.FACEDEX_TEST_ELASTICSEARCH_URL) return process.env.FACEDEX_TEST_ELASTICSEARCH_URL;
  const folder = path.join(target, `browser-node-${process.pid}`);
  // It watches its standard input and ends with this process, however that ends.
  const node = spawn(path.join(root, "dev/node"), ["run", "--heap", "512m", "--port", "0", "--dir", folder], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  ended.push(async () => {
    node.stdin.end();
    await until("the node has ended", () => node.exitCode !== null || node.signalCode !== null, 60);
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return until("the node answers", async () => {
    assert.equal(node.exitCode, null, `the node did not start, see ${folder}/logs/node.log`);
    const file = path.join(folder, "url");
    if (!fs.existsSync(file)) return null;
    const url = fs.readFileSync(file, "utf8").trim();
    const health = await fetch(`${url}/_cluster/health?wait_for_status=yellow&timeout=1s`).then(
      (reply) => reply.json(),
      () => null,
    );
    return health?.timed_out === false ? url : null;
  });
}

/** A folder and an environment in which nothing of the caller's can lead the binary elsewhere. */
function environment(node) {
  const folder = fs.mkdtempSync(path.join(target, "browser-"));
  ended.push(() => fs.rmSync(folder, { recursive: true, force: true }));
  const keep = ["FACEDEX_CACHE_DIR", "FACEDEX_MODELS_DIR"];
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => keep.includes(name) || !/^(FACEDEX_|ELASTICSEARCH_|AWS_)/.test(name),
    ),
  );
  return {
    cwd: folder,
    env: {
      ...env,
      ELASTICSEARCH_URL: node,
      FACEDEX_JOURNAL_DIR: path.join(folder, "journal"),
      XDG_STATE_HOME: path.join(folder, "state"),
    },
  };
}

/** The binary with what it works on. */
export class Facedex {
  constructor(node) {
    this.node = node;
    this.options = environment(node);
  }

  run(...args) {
    return lines(facedex, args, this.options);
  }

  /** Starts `facedex serve` on a free port and gives its address. */
  async serve(...args) {
    const server = spawn(facedex, ["serve", "--listen", "127.0.0.1:0", ...args], {
      ...this.options,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    server.stderr.on("data", (text) => (said += text));
    const stop = async () => {
      if (server.exitCode !== null || server.signalCode !== null) return;
      server.kill("SIGTERM");
      await until("the server has ended", () => server.exitCode !== null || server.signalCode !== null, 60);
    };
    ended.push(stop);
    const url = await until("the server listens", () => {
      assert.equal(server.exitCode, null, `facedex serve ended: ${said}`);
      return said.match(/listening on (http:\S+)/)?.[1];
    });
    return { url: `${url.replace(/\/$/, "")}/`, stop, said: () => said };
  }

  /** Removes a collection when the tests are over. */
  dropLater(collection) {
    ended.push(() => fetch(`${this.node}/facedex-faces-${collection}-000001`, { method: "DELETE" }));
  }
}

export async function launch() {
  fs.mkdirSync(shots, { recursive: true });
  // A camera that films the photo: Motion JPEG is JPEGs one after the other. Chromium wants even sides.
  const film = path.join(target, `browser-camera-${process.pid}.mjpeg`);
  fs.writeFileSync(film, bytes("gallery/Barack_Obama/obama-2.jpg"));
  const args = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    `--use-file-for-fake-video-capture=${film}`,
  ];
  // Chromium's sandbox does not work for root.
  if (process.getuid?.() === 0) args.push("--no-sandbox");
  const browser = await chromium.launch({ executablePath: process.env.FACEDEX_CHROMIUM, args });
  ended.push(async () => {
    await browser.close();
    fs.rmSync(film, { force: true });
  });
  return browser;
}

/** A tab whose every request and complaint is written down. */
export async function open(browser, url, { width = 1280, height = 800, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, ...options });
  const tab = await context.newPage();
  tab.setDefaultTimeout(30_000);
  const seen = { foreign: [], complaints: [] };
  const { origin } = new URL(url);
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== origin && !/^(blob|data):/.test(request.url()))
      seen.foreign.push(request.url());
  });
  tab.on(
    "console",
    (message) =>
      ["error", "warning"].includes(message.type()) &&
      seen.complaints.push(`${message.text()} (${message.location().url})`),
  );
  tab.on("pageerror", (error) => seen.complaints.push(error.stack));
  // Whoever listens keeps the browser from opening its own chooser. A listener that comes with the click that opens one
  // can come too late on a busy machine: the browser takes the two by different ways.
  tab.on("filechooser", () => {});
  await tab.goto(url);
  return { tab, seen, context };
}

/** No request left for elsewhere, and the browser had nothing to complain of but what `expected` matches. */
export function assertClean(seen, expected = /^$/) {
  assert.deepEqual(seen.foreign, []);
  assert.deepEqual(
    seen.complaints.filter((text) => !expected.test(text)),
    [],
  );
}

/** Drops files on the page as a file manager does. */
export async function drop(tab, files, selector = "main") {
  const data = await tab.evaluateHandle(
    (files) => {
      const transfer = new DataTransfer();
      for (const [name, type, base64] of files) {
        const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
      }
      return transfer;
    },
    files.map((name) => [
      path.basename(name),
      name.endsWith(".png") ? "image/png" : "image/jpeg",
      bytes(name).toString("base64"),
    ]),
  );
  for (const type of ["dragenter", "dragover", "drop"])
    await tab.locator(selector).first().dispatchEvent(type, { dataTransfer: data });
}

/** Gives a photo by the file chooser that the button opens. */
export async function pick(tab, button, name) {
  const [chooser] = await Promise.all([tab.waitForEvent("filechooser"), button.click()]);
  await chooser.setFiles(photo(name));
}

/** The answer of the next call to a route of the API. */
export const answerOf = (tab, route, method = "POST") =>
  tab
    .waitForResponse((reply) => new URL(reply.url()).pathname === route && reply.request().method() === method)
    .then((reply) => reply.json());

export const shoot = (tab, name, options = {}) =>
  tab.screenshot({ path: path.join(shots, `${name}.png`), animations: "disabled", ...options });

/** What would shut people out, by axe-core's rules for WCAG 2.2 AA. */
export async function assertAccessible(tab, what) {
  // Halfway through a fade the contrast is nobody's.
  await tab.evaluate(() =>
    Promise.allSettled(
      document
        .getAnimations()
        .filter((animation) => animation.effect.getTiming().iterations !== Infinity)
        .map((animation) => animation.finished),
    ),
  );
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }),
  );
  const told = violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes.map((node) => `${node.target} (${node.failureSummary})`).join("; ")}`,
  );
  assert.deepEqual(told, [], what);
}

/** The page is no wider than the window. */
export async function assertFits(tab, what) {
  const [width, room] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= room, `${what} is ${width} wide in a window of ${room}`);
}
