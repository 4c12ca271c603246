// Verify: do two photos show the same person?

import { h } from "./dom.js";
import { call, form } from "./api.js";
import { state, say, Photo } from "./state.js";
import { Stage } from "./stage.js";
import { ThresholdSlider } from "./threshold.js";
import { emptyState } from "./gallery.js";
import { errorCard, latest } from "./trouble.js";
import { largest } from "./ask.js";
import * as words from "./words.js";

export class VerifyView {
  constructor() {
    this.photos = [null, null];
    this.only = latest();
    this.onlyPhoto = [latest(), latest()];
    this.stages = [0, 1].map(
      (side) =>
        new Stage({
          label: side === 0 ? "First photo" : "Second photo",
          hint: side === 0 ? "First photo" : "Second photo",
          onPhoto: (files) => this.#put(side, files),
          onFace: (index) => {
            this.stages[side].choose(index);
            this.#compare();
          },
          onRemove: () => this.#put(side, []),
          describe: (face, index) => {
            const number = face.ordinal ?? index;
            const chosen = index === this.stages[side].chosen;
            return { tag: number, text: `Face ${number}${chosen ? ", compared" : ""}`, tone: chosen ? "match" : "" };
          },
        }),
    );
    this.slider = new ThresholdSlider(() => this.#compare());
    this.body = h("div", { class: "panel-body" });
    this.panel = h("section", { class: "panel", "aria-label": "Comparison" }, this.body, this.slider.element);
    this.element = h(
      "div",
      { class: "verify" },
      h("h1", { class: "panel-title" }, "Do two photos show the same person?"),
      h(
        "div",
        { class: "pair" },
        this.stages.map((stage) => stage.element),
      ),
      this.panel,
    );
    state.addEventListener("collection", () => this.isOpen && this.#compare());
  }

  open() {
    this.isOpen = true;
    if (!this.photos[0] && !this.photos[1]) this.#invite();
  }

  close() {
    this.isOpen = false;
  }

  /** Photos that were dropped or pasted somewhere on the page. */
  take(files) {
    if (files.length > 1) {
      this.#put(0, [files[0]]);
      this.#put(1, [files[1]]);
    } else {
      this.#put(this.photos[0] ? 1 : 0, files);
    }
  }

  #invite() {
    const missing = this.photos.findIndex((photo) => !photo);
    this.slider.show(null);
    this.slider.forget();
    const text = this.photos.some(Boolean)
      ? `The ${missing === 0 ? "first" : "second"} photo is missing.`
      : "Give two photos. Where one shows several faces, choose which is meant.";
    this.body.replaceChildren(emptyState(this.photos.some(Boolean) ? "One more" : "No photos yet", text));
  }

  async #put(side, files) {
    const stage = this.stages[side];
    this.photos[side]?.forget();
    const photo = files.length > 0 ? new Photo(files[0]) : null;
    this.photos[side] = photo;
    stage.show(photo);
    if (!photo) return this.#invite();
    await this.#look(side, photo);
  }

  async #look(side, photo) {
    const stage = this.stages[side];
    stage.busy = true;
    try {
      await this.onlyPhoto[side](async (signal) => {
        const { data } = await call("POST", "v1/represent", {
          form: form({ collection: state.collection, photo: photo.file }),
          signal,
        });
        photo.learn(data);
        stage.busy = false;
        stage.redraw(data.faces.length > 0 ? largest(data.faces) : -1);
        stage.refresh();
        if (data.faces.length > 0) return this.#compare();
        this.body.replaceChildren(
          emptyState(
            "No face was found",
            `${photo.name} shows no face that can be compared. Take one where the face is larger or sharper.`,
          ),
        );
        say("No face was found.");
      });
    } catch (error) {
      stage.busy = false;
      this.slider.show(null);
      this.body.replaceChildren(errorCard(error, () => this.#look(side, photo)));
    }
  }

  async #compare() {
    const [a, b] = this.photos.map((photo, side) => photo?.faces?.[this.stages[side].chosen]);
    this.stages.forEach((stage) => stage.refresh());
    if (!a || !b) {
      if (this.photos.some((photo) => !photo)) this.#invite();
      return;
    }
    this.panel.setAttribute("aria-busy", "true");
    try {
      await this.only(async (signal) => {
        const { wanted } = this.slider;
        const json = {
          collection: state.collection,
          embedding_a: a.embedding,
          embedding_b: b.embedding,
          ...(wanted === null ? {} : { min_similarity: wanted }),
        };
        const { data, ms } = await call("POST", "v1/verify", { json, signal });
        this.#show(data);
        say(
          `${data.decision === "match" ? "The same person." : "No match."} Similarity ${words.similarity(data.similarity)}, round trip ${words.milliseconds(ms)}.`,
        );
      });
    } catch (error) {
      this.body.replaceChildren(errorCard(error, () => this.#compare()));
    }
    this.panel.setAttribute("aria-busy", "false");
  }

  #show({ decision, similarity, threshold }) {
    const match = decision === "match";
    this.slider.show(threshold);
    const dial = h("span", { class: "bar big", "aria-hidden": "true" });
    const fill = h("span", { class: "bar-fill" });
    const mark = h("span", { class: "bar-mark" });
    fill.style.width = `${100 * Math.min(1, Math.max(0, similarity))}%`;
    mark.style.left = `${100 * Math.min(1, Math.max(0, threshold.similarity))}%`;
    dial.append(fill, mark);
    this.body.replaceChildren(
      h(
        "div",
        { class: match ? "verdict match" : "verdict", "data-decision": decision },
        h(
          "div",
          { class: "grow" },
          h("p", { class: "verdict-name" }, match ? "The same person" : "No match"),
          h("p", { class: "how-near" }, dial, h("span", { class: "figure" }, words.similarity(similarity))),
          h(
            "p",
            { class: "muted" },
            match
              ? `The similarity reaches ${words.similarity(threshold.similarity)}.`
              : "That does not prove that they are two people: age, light and angle lower the similarity as well.",
          ),
        ),
      ),
    );
  }
}
