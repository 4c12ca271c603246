// What the tests of the page share: a collection with the photos of dev/photos, a server, a browser, and ways to look.

import { after, before } from "node:test";
import { Facedex, launch, open, photo, startNode, tearDown } from "./harness.mjs";

export const COLLECTION = `page-${process.pid}`;
export const OBAMA = "query/obama-3.jpg";
export const BIDEN = "query/biden.jpg";
export const GROUP = "gallery-unlabelled/four-people.jpg";
/** The unlabelled photos are loaded without pictures, and the browser reports every answer of 404. */
export const NO_PICTURE = /404 .*\/v1\/faces\/[^/]+\/thumbnail/;

export let browser;
export let url;
export let facedex;

before(
  async () => {
    const node = await startNode();
    facedex = new Facedex(node);
    facedex.dropLater(COLLECTION);
    facedex.run(
      "ingest",
      photo("gallery"),
      "--person-from-dir",
      "--thumbnails",
      "--label",
      "album=gallery",
      "--collection",
      COLLECTION,
    );
    facedex.run("ingest", photo("gallery-unlabelled"), "--collection", COLLECTION);
    ({ url } = await facedex.serve());
    browser = await launch();
  },
  { timeout: 300_000 },
);

after(tearDown, { timeout: 120_000 });

export const at = (view) => `${url}?collection=${COLLECTION}#${view}`;
export const show = (view, options) => open(browser, at(view), options);
export const button = (tab, name) => tab.getByRole("button", { name, exact: true });
export const cards = (tab) => tab.locator(".gallery:not(.waiting) .card");
/** A title in the page itself; the line at the bottom says the same. */
export const told = (tab, text) => tab.locator("main .empty-title", { hasText: text });
export const status = (tab) => tab.locator("#status");

/** Where a face is drawn, in the photo's own pixels. */
export async function drawn(tab, index, width) {
  const [box, image] = await Promise.all([
    tab.locator(".face").nth(index).boundingBox(),
    tab.locator(".canvas img").first().boundingBox(),
  ]);
  const factor = width / image.width;
  return {
    x: (box.x - image.x) * factor,
    y: (box.y - image.y) * factor,
    width: box.width * factor,
    height: box.height * factor,
  };
}

/** Intersection over union. */
export function overlap(a, b) {
  const w = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
  const both = Math.max(0, w) * Math.max(0, h);
  return both / (a.width * a.height + b.width * b.height - both);
}
