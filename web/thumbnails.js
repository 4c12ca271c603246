// Pictures of stored faces: asked for when they come into view, a few at a time, and kept for a while.

import { h, icon } from "./dom.js";
import { picture } from "./api.js";

const AT_ONCE = 6;
const KEPT = 300;

/** Collection and id to a promise of an address, or of `null` where no picture is stored. */
const known = new Map();
const waiting = [];
let running = 0;

export function forgetThumbnails() {
  for (const promise of known.values())
    promise.then(
      (url) => url && URL.revokeObjectURL(url),
      () => {},
    );
  known.clear();
}

function load(collection, id) {
  const name = `${collection}/${id}`;
  let promise = known.get(name);
  if (!promise) {
    promise = new Promise((resolve, reject) => waiting.push({ collection, id, resolve, reject }));
    promise.catch(() => known.delete(name));
    known.set(name, promise);
    if (known.size > KEPT) {
      const [oldest, url] = known.entries().next().value;
      known.delete(oldest);
      url.then(
        (address) => address && URL.revokeObjectURL(address),
        () => {},
      );
    }
    next();
  }
  return promise;
}

function next() {
  while (running < AT_ONCE && waiting.length > 0) {
    const { collection, id, resolve, reject } = waiting.shift();
    running += 1;
    picture(collection, id)
      .then((blob) => resolve(blob && URL.createObjectURL(blob)), reject)
      .finally(() => {
        running -= 1;
        next();
      });
  }
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      fill(target);
    }
  },
  { rootMargin: "200px" },
);

async function fill(frame) {
  const url = await load(frame.dataset.collection, frame.dataset.face).catch(() => null);
  if (!url) return;
  const image = h("img", { src: url, alt: "", decoding: "async", draggable: "false" });
  image.addEventListener("load", () => frame.classList.add("loaded"));
  frame.append(image);
}

/** A frame with a neutral drawing, over which the picture comes if one is stored. */
export function thumbnail(collection, id) {
  const frame = h(
    "span",
    { class: "thumb", "data-collection": collection, "data-face": id, "aria-hidden": "true" },
    icon("person"),
  );
  seen.observe(frame);
  return frame;
}
