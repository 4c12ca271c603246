// Matches as cards.

import { h } from "./dom.js";
import { thumbnail } from "./thumbnails.js";
import * as words from "./words.js";

export const personLink = (person) => `#person/${encodeURIComponent(person.id)}`;

/** A bar from 0 to 1 with the threshold as a mark. The figure beside it says the same. */
function bar(similarity, threshold) {
  const fill = h("span", { class: "bar-fill" });
  fill.style.width = `${100 * Math.min(1, Math.max(0, similarity))}%`;
  const mark = threshold > 0 && threshold < 1 ? h("span", { class: "bar-mark" }) : null;
  if (mark) mark.style.left = `${100 * threshold}%`;
  return h("span", { class: "bar", "aria-hidden": "true" }, fill, mark);
}

export function labels(map) {
  const entries = Object.entries(map ?? {});
  if (entries.length === 0) return null;
  return h(
    "ul",
    { class: "labels", "aria-label": "Labels" },
    entries.map(([key, value]) => h("li", { title: `${key}=${value}` }, h("b", {}, key), ` ${value}`)),
  );
}

/** One stored face. `similarity` and `threshold` are left out where nothing was compared. */
export function card(collection, face, { threshold, action, below = false, extra } = {}) {
  const { person } = face;
  const name = words.personName(person);
  const picture = thumbnail(collection, face.id);
  const compared = typeof face.similarity === "number";
  return h(
    "li",
    { class: below ? "card below" : "card", "data-face": face.id, "data-person": person?.id },
    picture,
    h(
      "div",
      { class: "card-text" },
      h(
        "p",
        { class: person ? "name" : "name muted" },
        person ? h("a", { class: "cover", href: personLink(person), title: `Every face of ${name}` }, name) : name,
      ),
      compared &&
        h(
          "p",
          { class: "how-near" },
          bar(face.similarity, threshold),
          h("span", { class: "figure" }, words.similarity(face.similarity), h("span", { class: "sr" }, " similarity")),
        ),
      extra && h("p", { class: "muted small" }, extra),
      labels(face.labels),
      face.image && h("p", { class: "file", title: face.image }, words.imageName(face.image)),
      action,
    ),
  );
}

export const gallery = (label, cards) => h("ul", { class: "gallery", "aria-label": label }, cards);

/** Grey cards while the answer is on its way. */
export const skeleton = (n = 6) =>
  h(
    "ul",
    { class: "gallery waiting", "aria-hidden": "true" },
    Array.from({ length: n }, () =>
      h(
        "li",
        { class: "card" },
        h("span", { class: "thumb" }),
        h("div", { class: "card-text" }, h("p", { class: "ghost" }), h("p", { class: "ghost short" })),
      ),
    ),
  );

/** Collections are made by the command line alone: a mistyped name makes none. */
export const noCollection = () =>
  emptyState(
    "No collection yet",
    h(
      "span",
      {},
      "Faces are kept in collections. Load a folder of photos with ",
      h("code", {}, "facedex ingest FOLDER"),
      " or begin with an empty one: ",
      h("code", {}, "facedex collection create faces"),
      ". Then reload this page.",
    ),
  );

/** What to do where there is nothing to show. */
export const emptyState = (title, text, ...actions) =>
  h(
    "div",
    { class: "empty" },
    h("p", { class: "empty-title" }, title),
    h("p", { class: "muted" }, text),
    actions.length > 0 && h("div", { class: "actions centre" }, actions),
  );
