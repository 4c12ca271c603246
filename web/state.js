// What all views share: the collection, the photo, and the line at the bottom.

import { byId } from "./dom.js";

/** `collection`, `photo`, `threshold` changes are told as events of these names. */
export const state = Object.assign(new EventTarget(), {
  /** Whether the collections are known by now; photos may be given before. */
  ready: false,
  /** The view that a person's page was reached from. */
  home: "#search",
  collection: "",
  collections: [],
  photo: null,

  setCollection(name) {
    if (name === this.collection) return;
    this.collection = name;
    this.dispatchEvent(new Event("collection"));
  },

  setPhoto(photo) {
    this.photo?.forget();
    this.photo = photo;
    this.dispatchEvent(new Event("photo"));
  },

  /** Something was written: counts and pictures may have changed. */
  changed() {
    this.dispatchEvent(new Event("changed"));
  },
});

/** A photo that was given to the page, and what the server said about it. */
export class Photo {
  constructor(file) {
    this.file = file;
    this.name = file.name || "photo";
    this.url = URL.createObjectURL(file);
    /** Set by the first answer: {width, height}. */
    this.image = null;
    /** Faces as the server gives them, with embeddings. */
    this.faces = null;
  }

  learn({ image, faces }) {
    this.image = image;
    this.faces = faces;
  }

  forget() {
    URL.revokeObjectURL(this.url);
  }
}

/** The line at the bottom, which screen readers hear. */
export function say(text) {
  byId("status").textContent = text;
}
