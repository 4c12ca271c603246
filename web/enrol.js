// Enrol: store a face under a person's id.

import { h, freshId } from "./dom.js";
import { call, form } from "./api.js";
import { state, say, Photo } from "./state.js";
import { Stage } from "./stage.js";
import { emptyState, noCollection, personLink } from "./gallery.js";
import { errorCard, latest } from "./trouble.js";
import { largest } from "./ask.js";
import * as words from "./words.js";

export class EnrolView {
  constructor() {
    this.only = latest();
    this.stage = new Stage({
      label: "Photo to enrol",
      hint: "Drop a photo of the person",
      onPhoto: (files) => this.take(files),
      onFace: (index) => this.#mean(index),
      describe: (face, index) => {
        const number = face.ordinal ?? index;
        const meant = index === this.#subjectIndex();
        return {
          tag: meant ? `${number} ${this.#name() || "this person"}` : number,
          text: meant
            ? `Face ${number} ${this.#name() || "this person"}, will be enrolled`
            : `Face ${number}, will be stored without a name`,
          tone: meant ? "match" : "",
        };
      },
    });
    this.#buildForm();
    this.body = h("div", { class: "panel-body" });
    this.panel = h(
      "section",
      { class: "panel", "aria-labelledby": "enrol-title" },
      h("h1", { class: "panel-title", id: "enrol-title" }, "Enrol a person"),
      this.form,
      this.body,
    );
    this.element = h("div", { class: "split" }, this.stage.element, this.panel);
    state.addEventListener("photo", () => this.#look());
    state.addEventListener("collection", () => this.#look());
  }

  #buildForm() {
    const field = (label, hint, props) => {
      const id = freshId("enrol");
      const input = h("input", {
        id,
        type: "text",
        autocomplete: "off",
        maxlength: "200",
        ...props,
        "aria-describedby": `${id}-hint`,
      });
      return [
        input,
        h(
          "div",
          { class: "field" },
          h("label", { for: id }, label),
          input,
          h("span", { id: `${id}-hint`, class: "muted small" }, hint),
        ),
      ];
    };
    let nameField, idField, labelsField;
    [this.name, nameField] = field("Name", "For people to read", { name: "person_name" });
    [this.id, idField] = field(
      "Person id",
      "What tells this person from all others here; the same id adds a photo to the same person",
      { name: "person_id", required: true, spellcheck: "false", autocapitalize: "off" },
    );
    [this.labels, labelsField] = field(
      "Labels",
      "Optional: key=value, separated by commas; searches can be narrowed to them",
      { name: "labels", placeholder: "team=blue, year=1927", spellcheck: "false" },
    );
    this.name.addEventListener("input", () => {
      if (!this.idIsOwn) this.id.value = this.name.value.trim().replace(/\s+/g, "_");
      this.stage.refresh();
    });
    this.id.addEventListener("input", () => {
      this.idIsOwn = this.id.value !== "";
      this.stage.refresh();
    });
    const radio = (value, text, checked) =>
      h(
        "label",
        { class: "check" },
        h("input", { type: "radio", name: "subject", value, checked, onchange: () => this.stage.refresh() }),
        text,
      );
    this.subject = h(
      "fieldset",
      { class: "choice", hidden: true },
      h("legend", {}, "Who in the photo is it?"),
      radio("central", "The face in the middle", true),
      radio("largest", "The largest face"),
      h("p", { class: "muted small" }, "The others are stored without a name."),
    );
    this.thumbnail = h("input", { type: "checkbox", checked: true });
    this.submit = h("button", { class: "button primary" }, "Enrol");
    this.form = h(
      "form",
      {
        class: "form",
        autocomplete: "off",
        onsubmit: (event) => {
          event.preventDefault();
          this.#enrol();
        },
      },
      nameField,
      idField,
      labelsField,
      this.subject,
      h("label", { class: "check" }, this.thumbnail, "Store a small picture of the face"),
      h("div", { class: "actions" }, this.submit),
    );
  }

  take(files) {
    state.setPhoto(new Photo(files[0]));
    if (files.length > 1)
      say("One photo at a time: the first one is used. Whole folders are loaded by facedex ingest.");
  }

  open() {
    this.isOpen = true;
    this.#look();
  }

  close() {
    this.isOpen = false;
  }

  #name() {
    return this.name.value.trim() || this.id.value.trim();
  }

  #choice() {
    return this.form.elements.subject.value;
  }

  /** Which face the server will label: by the same rule, so that the photo can show it. */
  #subjectIndex() {
    const { faces, image } = state.photo ?? {};
    if (!faces?.length) return -1;
    return this.#choice() === "largest" ? largest(faces) : central(faces, image);
  }

  /** The server knows two rules for whose photo it is; a face that neither of them names cannot be meant. */
  #mean(index) {
    const { faces, image } = state.photo;
    const rule = index === central(faces, image) ? "central" : index === largest(faces) ? "largest" : null;
    if (!rule)
      return say(
        "Only the face in the middle or the largest one can be enrolled from a photo of several: cut the photo to this face.",
      );
    this.form.elements.subject.value = rule;
    this.stage.refresh();
  }

  async #look() {
    if (!this.isOpen) return;
    const { photo } = state;
    this.submit.disabled = !photo;
    this.form.hidden = state.ready && !state.collection;
    if (this.form.hidden) return this.body.replaceChildren(noCollection());
    if (this.seen !== photo) this.body.replaceChildren();
    this.seen = photo;
    this.stage.show(photo);
    this.subject.hidden = !(photo?.faces?.length > 1);
    if (!photo)
      return this.body.replaceChildren(
        h("p", { class: "muted" }, "Give a photo first; one face, well lit and from the front, is found again best."),
      );
    if (photo.faces) return;
    this.stage.busy = true;
    try {
      await this.only(async (signal) => {
        const { data, ms } = await call("POST", "v1/represent", {
          form: form({ collection: state.collection, photo: photo.file }),
          signal,
        });
        photo.learn(data);
        this.stage.busy = false;
        this.stage.redraw(-1);
        this.subject.hidden = data.faces.length < 2;
        this.submit.disabled = data.faces.length === 0;
        say(`${words.plural(data.faces.length, "face")} found. Round trip ${words.milliseconds(ms)}.`);
        if (data.faces.length === 0)
          this.body.replaceChildren(
            emptyState("No face was found", "Use a photo where the face is larger, sharper or less turned away."),
          );
      });
    } catch (error) {
      this.stage.busy = false;
      this.submit.disabled = true;
      this.body.replaceChildren(errorCard(error, error.code === "no_face" ? null : () => this.#look()));
    }
  }

  async #enrol() {
    const { photo } = state;
    const labels = this.labels.value
      .split(",")
      .map((pair) => pair.trim())
      .filter(Boolean);
    const wrong = labels.find((pair) => !/^[^=]+=.+$/.test(pair));
    this.labels.setCustomValidity(wrong ? `${wrong} is not of the form key=value` : "");
    if (!this.form.reportValidity()) {
      this.labels.addEventListener("input", () => this.labels.setCustomValidity(""), { once: true });
      return;
    }
    const person = { id: this.id.value.trim(), name: this.name.value.trim() };
    const several = photo.faces?.length > 1;
    const body = form({
      collection: state.collection,
      person_id: person.id,
      person_name: person.name,
      label: labels,
      subject: several ? this.#choice() : "only",
      thumbnail: this.thumbnail.checked,
      uri: photo.name,
      photo: photo.file,
    });
    this.submit.disabled = true;
    this.stage.busy = true;
    say("Enrolling.");
    try {
      const { data, ms } = await call("POST", "v1/faces", { form: body });
      state.changed();
      const name = person.name || person.id;
      const title = data.indexed === 0 ? `${name} was stored before` : `${name} is enrolled`;
      const stored =
        data.indexed === 0
          ? "This photo's faces are in the collection already; nothing was changed."
          : `${words.plural(data.indexed, "face")} stored in ${state.collection}, and found from now on.`;
      const another = h(
        "button",
        { type: "button", class: "button", onclick: () => this.#another() },
        "Enrol another photo",
      );
      this.body.replaceChildren(
        h(
          "div",
          { class: "done" },
          emptyState(
            title,
            stored,
            h("a", { class: "button primary", href: personLink(person) }, `See ${name}`),
            another,
          ),
        ),
      );
      say(`${title}. Round trip ${words.milliseconds(ms)}.`);
    } catch (error) {
      this.body.replaceChildren(errorCard(error, () => this.#enrol()));
    }
    this.submit.disabled = false;
    this.stage.busy = false;
    this.body.scrollIntoView({ block: "nearest" });
  }

  /** The person stays, the photo goes: the next one is often of the same person. */
  #another() {
    state.setPhoto(null);
    this.name.focus();
  }
}

function central(faces, { width, height }) {
  const away = ({ box }) => Math.hypot(box.x + box.width / 2 - width / 2, box.y + box.height / 2 - height / 2);
  return faces.reduce((best, face, index) => (away(face) < away(faces[best]) ? index : best), 0);
}
