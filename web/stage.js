// A photo with its faces: a place to put it, boxes drawn over it, one face chosen.

import { h, icon } from "./dom.js";
import { pick, photograph } from "./intake.js";

export class Stage {
  /**
   * `label` names the photo for screen readers; `onPhoto(files)` gets what was picked; `onFace(index)` what was chosen;
   * `describe(face, index)` gives {tag, text, tone} of a box.
   */
  constructor({ label, hint, onPhoto, onFace, describe, onRemove }) {
    Object.assign(this, { label, onFace, describe });
    this.chosen = -1;
    this.faces = [];
    const choose = h(
      "button",
      { type: "button", class: "button primary", onclick: () => pick(onPhoto) },
      icon("photo"),
      "Choose photo",
    );
    const take = h(
      "button",
      { type: "button", class: "button", onclick: () => photograph(onPhoto) },
      icon("camera"),
      "Take photo",
    );
    this.empty = h(
      "div",
      { class: "dropzone" },
      h("div", { class: "dropzone-face" }, icon("mark")),
      h("p", { class: "dropzone-title" }, hint),
      h("p", { class: "muted by-keys" }, "or paste it with ", h("kbd", {}, "Ctrl"), " ", h("kbd", {}, "V")),
      h("div", { class: "actions centre" }, choose, take),
    );
    this.image = h("img", { alt: "", decoding: "async" });
    this.image.addEventListener("error", () => this.canvas.classList.add("unseen"));
    this.boxes = h("div", { class: "boxes", role: "group" });
    this.boxes.addEventListener("keydown", (event) => this.#move(event));
    this.canvas = h(
      "div",
      { class: "canvas" },
      this.image,
      h(
        "p",
        { class: "unseen-note" },
        "This browser cannot show this kind of file. The faces are drawn where they are.",
      ),
      this.boxes,
    );
    this.strip = h("div", { class: "strip", "aria-hidden": "true" });
    this.caption = h("span", { class: "caption" });
    this.filled = h(
      "figure",
      { class: "photo", hidden: true },
      h("div", { class: "mat" }, this.canvas),
      this.strip,
      h(
        "figcaption",
        { class: "actions" },
        this.caption,
        h("span", { class: "spring" }),
        h(
          "button",
          {
            type: "button",
            class: "button quiet",
            onclick: () => pick(onPhoto),
            "aria-label": `Other photo: ${label}`,
          },
          icon("photo"),
          "Other",
        ),
        h(
          "button",
          {
            type: "button",
            class: "button quiet",
            onclick: () => photograph(onPhoto),
            "aria-label": `Take another photo: ${label}`,
          },
          icon("camera"),
          "Take",
        ),
        onRemove &&
          h(
            "button",
            { type: "button", class: "button quiet", onclick: onRemove, "aria-label": `Remove the photo: ${label}` },
            "Remove",
          ),
      ),
    );
    this.element = h("section", { class: "stage", "aria-label": label, "data-drop": true }, this.empty, this.filled);
    this.element.addEventListener("photos", (event) => onPhoto(event.detail));
  }

  /** Shows a photo, or the place to put one. */
  show(photo) {
    this.photo = photo;
    this.empty.hidden = Boolean(photo);
    this.filled.hidden = !photo;
    this.canvas.classList.remove("unseen");
    if (photo) {
      this.image.src = photo.url;
      this.image.alt = photo.name;
      this.caption.textContent = photo.name;
      this.caption.title = photo.name;
    } else {
      this.image.removeAttribute("src");
    }
    this.#draw();
  }

  /** While the server looks for faces. */
  set busy(busy) {
    this.canvas.classList.toggle("scanning", busy);
  }

  /** Draws the faces that are known by now. */
  #draw() {
    const { image, faces } = this.photo ?? {};
    this.faces = faces ?? [];
    this.chosen = -1;
    this.boxes.replaceChildren();
    this.strip.replaceChildren();
    this.boxes.setAttribute(
      "aria-label",
      this.faces.length > 1
        ? `${this.faces.length} faces in the photo; arrow keys go from one to the next`
        : "Face in the photo",
    );
    if (!image || this.faces.length === 0) return;
    // Where the picture itself cannot be seen, the drawing still has its shape.
    this.canvas.style.aspectRatio = `${image.width} / ${image.height}`;
    this.boxes.classList.toggle("crowded", this.faces.length > 8);
    this.buttons = this.faces.map((face, index) => this.#button(face, index, image));
    this.boxes.append(...this.buttons);
    if (this.faces.length > 1) this.#fillStrip();
    this.refresh();
  }

  redraw(chosen) {
    this.#draw();
    if (chosen >= 0) this.choose(chosen);
  }

  #button(face, index, image) {
    const button = h(
      "button",
      { type: "button", class: "face", tabindex: index === 0 ? "0" : "-1", onclick: () => this.onFace(index) },
      h("span", { class: "tag" }),
    );
    // A box may reach past the photo's edges; its drawing stays inside.
    const [left, top] = [Math.max(0, face.box.x), Math.max(0, face.box.y)];
    const right = Math.min(image.width, face.box.x + face.box.width);
    const bottom = Math.min(image.height, face.box.y + face.box.height);
    button.style.left = `${(100 * left) / image.width}%`;
    button.style.top = `${(100 * top) / image.height}%`;
    button.style.width = `${(100 * (right - left)) / image.width}%`;
    button.style.height = `${(100 * (bottom - top)) / image.height}%`;
    button.classList.toggle("high", top < (this.faces.length > 8 ? 0.04 : 0.12) * image.height);
    button.dataset.ordinal = face.ordinal ?? index;
    return button;
  }

  /** Writes anew what the boxes say. */
  refresh() {
    this.buttons?.forEach((button, index) => {
      if (index >= this.faces.length) return;
      const { tag, text, tone } = this.describe(this.faces[index], index);
      button.firstChild.textContent = tag;
      button.setAttribute("aria-label", text);
      button.title = text;
      button.dataset.tone = tone ?? "";
      button.setAttribute("aria-pressed", String(index === this.chosen));
    });
  }

  /** Marks a face as the chosen one. */
  choose(index) {
    this.chosen = index;
    this.buttons?.forEach((button, at) => {
      button.tabIndex = at === Math.max(index, 0) ? 0 : -1;
      button.setAttribute("aria-pressed", String(at === index));
    });
    [...this.strip.children].forEach((crop, at) => crop.classList.toggle("chosen", at === index));
    // Only the strip scrolls, never the page.
    const crop = this.strip.children[index];
    if (crop) this.strip.scrollTo({ left: crop.offsetLeft - (this.strip.clientWidth - crop.clientWidth) / 2 });
  }

  /** Cut-out faces below the photo, since those of a group are small to hit by finger. The boxes are what keyboards use. */
  #fillStrip() {
    const side = 96;
    const crops = this.faces.map((_, index) =>
      h("canvas", { class: "crop", width: side, height: side, onclick: () => this.onFace(index) }),
    );
    this.strip.replaceChildren(...crops);
    const { photo, faces } = this;
    const paint = () => {
      if (photo !== this.photo || !this.image.naturalWidth) return;
      // The browser's own size can differ from the server's where it scales a picture down to show it.
      const factor = this.image.naturalWidth / photo.image.width;
      crops.forEach((canvas, index) => {
        const { x, y, width, height } = faces[index].box;
        const size = 1.3 * Math.max(width, height);
        const [left, top] = [x + width / 2 - size / 2, y + height / 2 - size / 2];
        canvas
          .getContext("2d")
          .drawImage(this.image, left * factor, top * factor, size * factor, size * factor, 0, 0, side, side);
      });
    };
    this.image.decode().then(paint, () => this.strip.replaceChildren());
  }

  /** Arrow keys go to the nearest face in that direction. */
  #move(event) {
    const from = this.buttons?.indexOf(document.activeElement) ?? -1;
    if (from < 0) return;
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    let to = { Home: 0, End: this.buttons.length - 1 }[event.key] ?? -1;
    if (way) to = nearest(this.faces.map(centre), from, way);
    else if (to < 0) return;
    event.preventDefault();
    if (to < 0) return;
    this.buttons.forEach((button, index) => (button.tabIndex = index === to ? 0 : -1));
    this.buttons[to].focus();
  }
}

const centre = ({ box }) => [box.x + box.width / 2, box.y + box.height / 2];

/** The point nearest to `from` that lies in the direction; sideways distance counts twice. -1 where there is none. */
function nearest(points, from, [dx, dy]) {
  let best = -1;
  let least = Infinity;
  points.forEach(([x, y], index) => {
    const [rx, ry] = [x - points[from][0], y - points[from][1]];
    const along = rx * dx + ry * dy;
    const across = Math.abs(rx * dy - ry * dx);
    if (index === from || along <= 0 || across > 4 * along) return;
    const distance = along + 2 * across;
    if (distance < least) [best, least] = [index, distance];
  });
  return best;
}
