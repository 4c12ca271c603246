// Search and Identify: one photo, its faces, and the answer for the chosen one.

import { h } from "./dom.js";
import { call, form } from "./api.js";
import { state, say, Photo } from "./state.js";
import { Stage } from "./stage.js";
import { ThresholdSlider } from "./threshold.js";
import { card, gallery, skeleton, emptyState, noCollection, personLink } from "./gallery.js";
import { thumbnail } from "./thumbnails.js";
import { errorCard, latest } from "./trouble.js";
import * as words from "./words.js";

const PAGE = 12;

export class AskView {
  constructor() {
    this.mode = "search";
    this.k = PAGE;
    /** By face: {answer, wanted, k}, where the last two are what it was asked with. */
    this.results = [];
    this.only = latest();
    this.stage = new Stage({
      label: "Photo to look for",
      hint: "Drop a photo here",
      onPhoto: (files) => this.take(files),
      onFace: (index) => this.choose(index, true),
      describe: (face, index) => this.#describe(face, index),
    });
    this.slider = new ThresholdSlider(() => this.#askOne());
    this.head = h("h1", { class: "panel-title" });
    this.body = h("div", { class: "panel-body" });
    this.panel = h(
      "section",
      { class: "panel", "aria-labelledby": "ask-title" },
      this.head,
      this.slider.element,
      this.body,
    );
    this.head.id = "ask-title";
    this.element = h("div", { class: "split" }, this.stage.element, this.panel);
    state.addEventListener("photo", () => this.#again());
    state.addEventListener("collection", () => this.#again());
    state.addEventListener("changed", () => (this.asked = ""));
  }

  take(files) {
    state.setPhoto(new Photo(files[0]));
    if (files.length > 1)
      say("One photo at a time: the first one is used. Whole folders are loaded by facedex ingest.");
  }

  open(mode) {
    this.mode = mode;
    this.isOpen = true;
    this.#again();
  }

  close() {
    this.isOpen = false;
  }

  /** Asks about the whole photo where that has not been done for this photo, collection and question. */
  #again() {
    if (!this.isOpen) return;
    const asking = `${this.mode} ${state.ready} ${state.collection} ${state.photo?.url}`;
    if (asking === this.asked) return;
    this.asked = asking;
    this.slider.forget();
    this.k = PAGE;
    this.results = [];
    this.stage.show(state.photo);
    if (!state.photo) return this.#invite();
    if (state.collection) return this.#askAll();
    if (state.ready) return this.#noCollection();
    this.body.replaceChildren(skeleton());
  }

  #invite() {
    this.slider.show(null);
    this.head.textContent = this.mode === "search" ? "Who looks like this?" : "Who is this?";
    const text =
      this.mode === "search"
        ? "Give a photo. Each face in it becomes a button; choosing one shows the stored faces that are most like it."
        : "Give a photo. Each face in it gets the name of the person it matches, or none if nobody comes near enough.";
    this.body.replaceChildren(state.collection || !state.ready ? emptyState("No photo yet", text) : noCollection());
  }

  #noCollection() {
    this.asked = "";
    this.slider.show(null);
    this.head.textContent = "No collection";
    this.body.replaceChildren(noCollection());
  }

  #fail(error, retry) {
    this.stage.busy = false;
    this.panel.setAttribute("aria-busy", "false");
    if (this.results.length === 0) {
      this.slider.show(null);
      this.head.textContent = error.code === "no_face" ? "No face" : "No answer";
    }
    this.body.replaceChildren(errorCard(error, error.code === "no_face" ? null : retry));
  }

  async #askAll() {
    const photo = state.photo;
    this.stage.busy = true;
    this.panel.setAttribute("aria-busy", "true");
    this.head.textContent = "Looking for faces …";
    this.body.replaceChildren(skeleton());
    say("Looking for faces.");
    try {
      await this.only(async (signal) => {
        const asked = { wanted: this.slider.wanted, k: this.k };
        const body = form({
          collection: state.collection,
          face: "all",
          k: this.k,
          min_similarity: asked.wanted,
          include_embedding: true,
          photo: photo.file,
        });
        const { data, ms } = await call("POST", `v1/${this.mode}`, { form: body, signal });
        photo.learn(data);
        this.results = data.faces.map((answer) => ({ answer, ...asked }));
        this.stage.busy = false;
        this.stage.redraw(-1);
        this.choose(largest(data.faces), false);
        this.#tell(`${words.plural(data.faces.length, "face")}. ${this.#summary()}`, data, ms);
      });
    } catch (error) {
      this.asked = "";
      this.#fail(error, () => this.#again());
    }
  }

  /** Asks again about the chosen face alone; its vector is known, so the photo need not be looked at again. */
  async #askOne() {
    const index = this.stage.chosen;
    const { embedding } = state.photo?.faces?.[index] ?? {};
    if (!embedding) return;
    this.panel.setAttribute("aria-busy", "true");
    try {
      await this.only(async (signal) => {
        const asked = { wanted: this.slider.wanted, k: this.k };
        const body = {
          collection: state.collection,
          embedding,
          k: asked.k,
          ...(asked.wanted === null ? {} : { min_similarity: asked.wanted }),
        };
        const { data, ms } = await call("POST", `v1/${this.mode}`, { json: body, signal });
        this.results[index] = { answer: data.faces[0], ...asked };
        this.#show();
        this.#tell(this.#summary(), data, ms);
      });
    } catch (error) {
      this.#fail(error, () => this.#askOne());
    }
  }

  choose(index, byHand) {
    this.stage.choose(index);
    const { wanted, k } = this.results[index] ?? {};
    // A face chosen after the slider was moved has an answer for the slider's old place.
    if (wanted === this.slider.wanted && k === this.k) this.#show();
    else this.#askOne();
    if (byHand && this.panel.getBoundingClientRect().top > innerHeight * 0.8)
      this.panel.scrollIntoView({ block: "start" });
  }

  /** Where only a vector was sent, no time went into a photo. */
  #tell(text, { image, took }, ms) {
    const photo = image ? ` Photo ${words.milliseconds(took.photo_ms)}, search` : " Search";
    say(`${text}${photo} ${words.milliseconds(took.search_ms)}, round trip ${words.milliseconds(ms)}.`);
  }

  #summary() {
    const answer = this.results[this.stage.chosen]?.answer;
    if (!answer) return "";
    if (this.mode === "search")
      return `${answer.hits.length === 0 ? "No match" : words.plural(answer.hits.length, "match", "matches")} for face ${this.#ordinal()}.`;
    return answer.decision === "match"
      ? `Face ${this.#ordinal()} is ${words.personName(answer.person)}.`
      : `Face ${this.#ordinal()} is unknown.`;
  }

  #ordinal(index = this.stage.chosen) {
    return state.photo?.faces?.[index]?.ordinal ?? index;
  }

  #describe(face, index) {
    const { answer, wanted } = this.results[index] ?? {};
    const number = `Face ${this.#ordinal(index)}`;
    const stale = wanted !== this.slider.wanted;
    if (!answer || stale) return { tag: this.#ordinal(index), text: number };
    if (this.mode === "search") {
      const best = answer.hits[0];
      const text = best
        ? `${number}, best match ${words.personName(best.person)}, similarity ${words.similarity(best.similarity)}`
        : `${number}, no match`;
      return { tag: this.#ordinal(index), text, tone: best ? "match" : "" };
    }
    if (answer.decision !== "match") return { tag: `${this.#ordinal(index)} unknown`, text: `${number}, unknown` };
    const name = words.personName(answer.person);
    return {
      tag: `${this.#ordinal(index)} ${name}`,
      text: `${number}, ${name}, similarity ${words.similarity(answer.similarity)}`,
      tone: "match",
    };
  }

  #show() {
    const { answer } = this.results[this.stage.chosen];
    this.panel.setAttribute("aria-busy", "false");
    // Where nothing was searched, no threshold means anything.
    this.slider.show(answer.threshold.faces_searched === 0 ? null : answer.threshold);
    this.stage.refresh();
    if (this.mode === "search") this.#showHits(answer);
    else this.#showDecision(answer);
  }

  #more(found) {
    return (
      found >= this.k &&
      h(
        "div",
        { class: "actions centre" },
        h(
          "button",
          { type: "button", class: "button", onclick: () => ((this.k += PAGE), this.#askOne()) },
          "Show more",
        ),
      )
    );
  }

  #showHits({ hits, threshold }) {
    const found =
      hits.length === 0
        ? "no match"
        : hits.length >= this.k
          ? `the ${hits.length} nearest`
          : words.plural(hits.length, "match", "matches");
    this.head.textContent = `Face ${this.#ordinal()}: ${found}`;
    if (hits.length === 0) return this.body.replaceChildren(this.#nobody(threshold));
    const cards = hits.map((hit) => card(state.collection, hit, { threshold: threshold.similarity }));
    this.body.replaceChildren(gallery("Matches, best first", cards), this.#more(hits.length) || "");
  }

  #nobody(threshold) {
    if (threshold.faces_searched === 0) {
      return emptyState(
        "This collection is empty",
        h("span", {}, "Enrol a first face, or load a folder with ", h("code", {}, "facedex ingest FOLDER"), "."),
        h("a", { class: "button primary", href: "#enrol" }, "Enrol a face"),
      );
    }
    const lower = () => {
      this.slider.wanted = 0;
      this.slider.input.value = 0;
      this.#askOne();
    };
    return emptyState(
      "Nobody comes near enough",
      `No stored face reaches a similarity of ${words.similarity(threshold.similarity)}. Those below it are more likely strangers.`,
      h("button", { type: "button", class: "button", onclick: lower }, "Show the nearest all the same"),
    );
  }

  #showDecision({ decision, person, similarity, threshold, candidates }) {
    if (threshold.faces_searched === 0) {
      this.head.textContent = `Face ${this.#ordinal()}`;
      return this.body.replaceChildren(this.#nobody(threshold));
    }
    const match = decision === "match";
    const name = match ? words.personName(person) : "Unknown";
    this.head.textContent = `Face ${this.#ordinal()}`;
    const best = candidates.find((candidate) => candidate.person?.id === person?.id) ?? candidates[0];
    const verdict = h(
      "div",
      { class: match ? "verdict match" : "verdict", "data-decision": decision },
      match && best ? thumbnail(state.collection, best.hits[0].id) : null,
      h(
        "div",
        {},
        h("p", { class: "verdict-name" }, match && person ? h("a", { href: personLink(person) }, name) : name),
        h(
          "p",
          { class: "muted" },
          match
            ? `Similarity ${words.similarity(similarity)}`
            : `Nobody reaches ${words.similarity(threshold.similarity)}.`,
        ),
      ),
    );
    const cards = candidates.map((candidate) => {
      const below = candidate.similarity < threshold.similarity;
      const others = candidate.hits.length - 1;
      const extra = [below && "below the threshold", others > 0 && `and ${words.plural(others, "more face")}`]
        .filter(Boolean)
        .join(", ");
      return card(
        state.collection,
        { ...candidate.hits[0], person: candidate.person, similarity: candidate.similarity },
        { threshold: threshold.similarity, below, extra },
      );
    });
    this.body.replaceChildren(
      verdict,
      h("h2", { class: "section" }, match ? "Nearest people" : "Nearest, though not near enough"),
      gallery("Nearest people and unnamed faces", cards),
      this.#more(candidates.length) || "",
    );
  }
}

export function largest(faces) {
  let best = 0;
  faces.forEach(({ box }, index) => {
    if (box.width * box.height > faces[best].box.width * faces[best].box.height) best = index;
  });
  return best;
}
