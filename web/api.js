// Requests to this server. The key lives here, and in sessionStorage only if its owner said so.

import { sentence } from "./words.js";

const STORED = "facedex-api-key";
let key = sessionStorage.getItem(STORED) ?? "";

export const apiKey = {
  get value() {
    return key;
  },
  get kept() {
    return sessionStorage.getItem(STORED) !== null;
  },
  set(value, keep) {
    key = value;
    if (keep && value) sessionStorage.setItem(STORED, value);
    else sessionStorage.removeItem(STORED);
  },
};

/** Why there is no answer, in words: what happened and what to do. */
export class ApiError extends Error {
  constructor({ status = 0, code = "", message = "", details = {}, retryAfter = null, requestId = null }) {
    const [title, remedy] = words(status, code, retryAfter);
    super(title);
    Object.assign(this, { status, code, details, title, remedy, retryAfter, requestId, said: sentence(message) });
  }

  get needsKey() {
    return this.status === 401 || this.status === 403;
  }
}

/** What people read, by code where one is known, else by status. The server's own sentence is shown beside it. */
function words(status, code, retryAfter) {
  const again = retryAfter ? `Try again in ${retryAfter} s.` : "Try again in a moment.";
  const byCode = {
    bad_request: ["The server cannot use this.", "Correct what it names below."],
    foreign_origin: [
      "This address is not the server's own.",
      "Open the page at the address that facedex serve printed.",
    ],
    no_collection: [
      "This collection does not exist.",
      "Choose another one at the top, or make it with facedex collection create.",
    ],
    not_a_collection: ["This index was not made by facedex.", "Choose another collection at the top."],
    face_not_found: ["This face is not stored any more.", "Somebody may have deleted it. Search again."],
    person_not_found: [
      "This person has no face in the collection.",
      "They may have been deleted, or are in another collection: choose it at the top.",
    ],
    conflict: [
      "This photo is stored already, as somebody else.",
      "If the stored name is wrong, delete that face first; else use its person id.",
    ],
    other_engine: [
      "This photo was stored by another version of the models.",
      "Rewrite it with facedex ingest --replace.",
    ],
    wrong_space: ["This collection was made by another embedding model.", "Choose another collection at the top."],
    too_many_pixels: [
      "This photo has too many pixels for this server.",
      "Save it smaller, for example 4,000 pixels wide, and try again.",
    ],
    damaged_image: ["This photo is damaged or cut off.", "Use another copy of it."],
    no_face: ["No face was found in this photo.", "Use one where the face is larger, sharper or less turned away."],
    several_faces: [
      "The photo shows several faces, and one is asked for.",
      "Say which one is meant, or cut the photo to it.",
    ],
    rate_limited: ["This key has used up its requests for now.", again],
    not_ready: ["The server is not ready yet.", again],
  };
  const byStatus = {
    0: [
      "The server does not answer.",
      "Check that facedex serve is running and that you are connected, then try again.",
    ],
    401: ["This server asks for an API key.", "Enter one that may do this."],
    403: ["This key may not do that here.", "Use a key with a wider scope, or another collection."],
    404: ["It was not found.", "Check the collection at the top."],
    409: ["That contradicts what is stored.", "See what the server says."],
    413: ["This photo is too large for this server.", "Save it smaller, for example 4,000 pixels wide, and try again."],
    415: ["This file is not a photo that can be read.", "Use a JPEG, PNG, WebP, GIF, BMP or TIFF."],
    429: ["The server is busy.", again],
    502: ["Elasticsearch refused the question.", "The server's log says why."],
    503: ["Elasticsearch does not answer.", again],
    504: ["That took too long.", "Try again, or use a smaller photo."],
  };
  return (
    byCode[code] ??
    byStatus[status] ??
    (status >= 500
      ? ["Something went wrong on the server.", "Try again; if it stays, its log says more."]
      : ["The server refused this.", "See what it says."])
  );
}

function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  url.search = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  return url;
}

async function send(method, path, { json, form, query, signal } = {}) {
  const headers = {};
  if (key) headers["X-API-Key"] = key;
  if (json) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      headers,
      body: json ? JSON.stringify(json) : form,
      signal,
      cache: "no-store",
      credentials: "same-origin",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({});
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const seconds = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  throw new ApiError({
    ...body.error,
    status: response.status,
    retryAfter: Number.isFinite(seconds) ? seconds : null,
    requestId: response.headers.get("X-Request-Id"),
  });
}

/** The answer as an object, with how long the round trip took. */
export async function call(method, path, options) {
  const start = performance.now();
  const response = await send(method, path, options);
  const data = response.status === 204 ? {} : await response.json();
  return { data, ms: performance.now() - start };
}

/** A stored face's picture; `null` where none is stored. */
export async function picture(collection, id) {
  try {
    const response = await send("GET", `v1/faces/${encodeURIComponent(id)}/thumbnail`, { query: { collection } });
    return response.status === 204 ? null : await response.blob();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** A multipart form; lists become repeated parts, missing values are left out. */
export function form(parts) {
  const data = new FormData();
  for (const [name, value] of Object.entries(parts)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one === undefined || one === null || one === "") continue;
      if (one instanceof Blob) data.append(name, one, one.name || "photo.jpg");
      else data.append(name, String(one));
    }
  }
  return data;
}
