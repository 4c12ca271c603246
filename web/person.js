// One person: every stored face, a new name, and deletion.

import { h, icon, confirmed } from "./dom.js";
import { call } from "./api.js";
import { state, say } from "./state.js";
import { card, gallery, skeleton, emptyState } from "./gallery.js";
import { thumbnail } from "./thumbnails.js";
import { errorCard, latest } from "./trouble.js";
import * as words from "./words.js";

const PAGE = 24;
const dates = new Intl.DateTimeFormat("en", { dateStyle: "medium" });

export class PersonView {
  constructor() {
    this.only = latest();
    this.element = h("div", { class: "person" });
    state.addEventListener("collection", () => this.isOpen && this.load());
  }

  open(id) {
    this.isOpen = true;
    this.id = id;
    this.load(true);
  }

  close() {
    this.isOpen = false;
  }

  #path() {
    return `v1/persons/${encodeURIComponent(this.id)}`;
  }

  #back() {
    return h("a", { class: "button quiet back", href: state.home }, icon("back"), "Back");
  }

  async load(focus = false) {
    this.faces = [];
    this.element.replaceChildren(this.#back(), skeleton());
    if (!state.ready) return;
    try {
      await this.only(async (signal) => {
        await this.#page(signal);
        this.#show();
      });
    } catch (error) {
      this.element.replaceChildren(this.#back(), errorCard(error, error.status === 404 ? null : () => this.load()));
    }
    if (focus) this.element.querySelector("h1")?.focus();
  }

  async #page(signal) {
    const query = { collection: state.collection, offset: this.faces.length, limit: PAGE };
    const { data, ms } = await call("GET", this.#path(), { query, signal });
    this.person = data.person;
    this.total = data.total;
    this.faces.push(...data.faces);
    say(`${words.personName(this.person)}: ${words.plural(this.total, "face")}. Round trip ${words.milliseconds(ms)}.`);
  }

  #show() {
    const name = words.personName(this.person);
    const cards = this.faces.map((face) =>
      card(
        state.collection,
        // The name stands above; a card of this page needs no link to this page.
        { ...face, person: null, image: face.image?.uri },
        {
          extra: when(face),
          action: h(
            "button",
            { type: "button", class: "button quiet danger small", onclick: () => this.#removeFace(face) },
            "Delete this face",
          ),
        },
      ),
    );
    cards.forEach((element) => element.querySelector(".name").remove());
    this.element.replaceChildren(
      this.#back(),
      h(
        "header",
        { class: "person-head" },
        this.faces[0] ? thumbnail(state.collection, this.faces[0].id) : null,
        h(
          "div",
          { class: "grow" },
          h("h1", { tabindex: "-1" }, name),
          h(
            "p",
            { class: "muted" },
            `${this.person.name ? `${this.person.id} · ` : ""}${words.plural(this.total, "face")} in ${state.collection}`,
          ),
        ),
        h(
          "div",
          { class: "actions" },
          h("button", { type: "button", class: "button", onclick: () => this.#startRenaming() }, "Rename"),
          h("button", { type: "button", class: "button danger", onclick: () => this.#remove() }, "Delete person"),
        ),
      ),
      (this.notice = h("div", { class: "notice-place" })),
      gallery(`Faces of ${name}`, cards),
      this.faces.length < this.total
        ? h(
            "div",
            { class: "actions centre" },
            h(
              "button",
              { type: "button", class: "button", onclick: (event) => this.#more(event.currentTarget) },
              `Show more (${words.count(this.total - this.faces.length)} left)`,
            ),
          )
        : "",
    );
  }

  async #more(button) {
    button.disabled = true;
    try {
      await this.only((signal) => this.#page(signal));
      this.#show();
    } catch (error) {
      button.disabled = false;
      this.notice.replaceChildren(errorCard(error));
    }
  }

  #startRenaming() {
    const input = h("input", {
      id: "new-name",
      type: "text",
      value: this.person.name ?? "",
      maxlength: "200",
      required: true,
      autocomplete: "off",
    });
    const form = h(
      "form",
      {
        class: "inline-form",
        onsubmit: (event) => {
          event.preventDefault();
          this.#rename(input.value.trim());
        },
      },
      h("label", { class: "field", for: "new-name" }, "New name", input),
      h(
        "div",
        { class: "actions" },
        h("button", { class: "button primary" }, "Save"),
        h("button", { type: "button", class: "button", onclick: () => form.remove() }, "Cancel"),
      ),
    );
    form.addEventListener("keydown", (event) => event.key === "Escape" && form.remove());
    this.notice.replaceChildren(form);
    input.focus();
    input.select();
  }

  async #rename(name) {
    try {
      await call("PATCH", this.#path(), { query: { collection: state.collection }, json: { name } });
      state.changed();
      await this.load(true);
      say(`Renamed to ${name}.`);
    } catch (error) {
      this.notice.append(errorCard(error));
    }
  }

  async #remove() {
    const name = words.personName(this.person);
    const faces = words.plural(this.total, "face");
    const all = this.total === 1 ? "The 1 face" : `All ${faces}`;
    if (
      !(await confirmed(
        `Delete ${name}?`,
        `${all} of ${name} will be removed from ${state.collection}. This cannot be undone.`,
        `Delete ${faces}`,
      ))
    )
      return;
    try {
      const { data } = await call("DELETE", this.#path(), { query: { collection: state.collection } });
      state.changed();
      this.element.replaceChildren(
        this.#back(),
        emptyState(
          `${name} is deleted`,
          `${words.plural(data.deleted, "face")} removed from ${state.collection}.`,
          h("a", { class: "button", href: "#search" }, "To the search"),
        ),
      );
      this.element.querySelector(".empty a").focus();
      say(`${name} is deleted: ${words.plural(data.deleted, "face")} removed.`);
    } catch (error) {
      this.notice.replaceChildren(errorCard(error, () => this.#remove()));
    }
  }

  async #removeFace(face) {
    if (
      !(await confirmed(
        "Delete this face?",
        `1 face of ${words.personName(this.person)}, from ${words.imageName(face.image?.uri) || "an unknown photo"}, will be removed from ${state.collection}. This cannot be undone.`,
        "Delete 1 face",
      ))
    )
      return;
    try {
      await call("DELETE", `v1/faces/${encodeURIComponent(face.id)}`, { query: { collection: state.collection } });
      state.changed();
      if (this.total > 1) {
        await this.load(true);
      } else {
        this.element.replaceChildren(
          this.#back(),
          emptyState("That was the last face", `${words.personName(this.person)} is no longer in ${state.collection}.`),
        );
      }
      say("The face is deleted.");
    } catch (error) {
      this.notice.replaceChildren(errorCard(error));
    }
  }
}

const when = ({ timestamp }) => timestamp && `stored ${dates.format(new Date(timestamp))}`;
