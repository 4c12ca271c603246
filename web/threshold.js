// The slider. It says what its place stands for in the server's words and figures, and asks again when it is moved.

import { h, freshId, debounce } from "./dom.js";
import * as words from "./words.js";

/** How long the slider must rest before the server is asked. */
const REST = 150;

export class ThresholdSlider {
  /** `onMove(similarity)` is called when the slider rests; with `null` where the server is to choose again. */
  constructor(onMove) {
    const [id, text] = [freshId("threshold"), freshId("threshold-says")];
    this.value = h("output", { class: "figure", for: id });
    this.badge = h("span", { class: "badge warn", hidden: true }, "not calibrated");
    this.says = h("p", { id: text, class: "says", "aria-live": "polite" });
    this.input = h("input", { id, type: "range", min: "0", max: "1", step: "0.005", "aria-describedby": text });
    this.reset = h(
      "button",
      { type: "button", class: "button quiet small", hidden: true, onclick: () => this.#reset(onMove) },
      "Back to the default",
    );
    const ask = debounce((similarity) => onMove(similarity), REST);
    this.input.addEventListener("input", () => {
      this.wanted = Number(this.input.value);
      this.value.textContent = words.similarity(this.wanted);
      this.element.classList.add("pending");
      this.#paint();
      ask(this.wanted);
    });
    /** What the user chose; `null`: the server's default. */
    this.wanted = null;
    this.element = h(
      "div",
      { class: "threshold", hidden: true },
      h(
        "div",
        { class: "threshold-head" },
        h("label", { for: id }, "Similarity from"),
        this.value,
        this.badge,
        h("span", { class: "spring" }),
        this.reset,
      ),
      this.input,
      this.says,
    );
  }

  #reset(onMove) {
    this.wanted = null;
    this.element.classList.add("pending");
    this.input.focus();
    onMove(null);
  }

  #paint() {
    this.input.style.setProperty("--at", `${100 * Number(this.input.value)}%`);
  }

  /** Shows the server's threshold. */
  show(threshold) {
    this.element.hidden = !threshold;
    if (!threshold) return;
    this.element.classList.remove("pending");
    // While a finger is on it, the slider is the finger's.
    if (this.wanted === null) this.input.value = threshold.similarity;
    this.value.textContent = words.similarity(threshold.similarity);
    this.says.textContent = words.threshold(threshold);
    this.badge.hidden = threshold.calibrated;
    this.badge.title = "This rate lies beyond what was measured; it is extrapolated";
    this.reset.hidden = this.wanted === null;
    this.input.setAttribute(
      "aria-valuetext",
      `${words.similarity(threshold.similarity)}; ${words.threshold(threshold)}`,
    );
    this.#paint();
  }

  /** Back to the server's default without asking. */
  forget() {
    this.wanted = null;
  }
}
