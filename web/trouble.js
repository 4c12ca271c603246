// Errors as people read them: what happened, what to do, and what the server said.

import { h } from "./dom.js";
import { say } from "./state.js";

let openKey = () => {};

/** Where "Enter a key" leads. */
export function keysComeFrom(open) {
  openKey = open;
}

/** A card that tells of an error; `retry` makes a button. */
export function errorCard(error, retry) {
  const {
    title = "The page made a mistake.",
    remedy = "Reload it; if it happens again, tell its makers.",
    said = String(error),
    needsKey = false,
    status,
    requestId,
  } = error.title ? error : {};
  if (!error.title) console.error(error);
  say(title);
  return h(
    "div",
    { class: "trouble", role: "alert" },
    h("p", { class: "empty-title" }, title),
    h("p", {}, remedy),
    said && h("p", { class: "muted small" }, "The server says: ", said),
    // By this id the operator finds the request in the log.
    status >= 500 && requestId && h("p", { class: "muted small" }, "Request ", h("code", {}, requestId)),
    h(
      "div",
      { class: "actions" },
      needsKey && h("button", { type: "button", class: "button primary", onclick: openKey }, "Enter a key"),
      retry && h("button", { type: "button", class: "button", onclick: retry }, "Try again"),
    ),
  );
}

/** Runs `work` with a signal; a later call of the same runner takes the earlier one's place. */
export function latest() {
  let running = null;
  return async (work) => {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    try {
      await work(mine.signal);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      if (running === mine) running = null;
    }
  };
}
