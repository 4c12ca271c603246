// The page: which view is shown, which collection is meant, and with which key.

import { h, byId, ask } from "./dom.js";
import { call, apiKey } from "./api.js";
import { state, say } from "./state.js";
import { listen, photosGoTo } from "./intake.js";
import { AskView } from "./ask.js";
import { VerifyView } from "./verify.js";
import { EnrolView } from "./enrol.js";
import { PersonView } from "./person.js";
import { errorCard, keysComeFrom } from "./trouble.js";
import { forgetThumbnails } from "./thumbnails.js";
import * as words from "./words.js";

const askView = new AskView();
const views = {
  search: askView,
  identify: askView,
  verify: new VerifyView(),
  enrol: new EnrolView(),
  person: new PersonView(),
};
const titles = { search: "Search", identify: "Identify", verify: "Verify", enrol: "Enrol", person: "Person" };
let shown = null;

/** The address says what is shown: #search, #identify, #verify, #enrol, #person/ID. */
function route() {
  const [name, argument] = location.hash.slice(1).split("/");
  const view = Object.hasOwn(views, name) ? name : "search";
  if (view === "person" && !argument) return location.replace("#search");
  for (const link of document.querySelectorAll(".tabs a")) {
    const current = link.hash === `#${view}`;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view !== "person") state.home = `#${view}`;
  document.title = `${titles[view]} · facedex`;
  if (shown !== views[view] || !byId("main").contains(views[view].element)) {
    shown?.close();
    say("");
    byId("main").replaceChildren(views[view].element);
    scrollTo({ top: 0 });
  }
  shown = views[view];
  photosGoTo((files) => {
    // A photo that is dropped on a person's page asks about the photo.
    if (!shown.take) location.hash = "#search";
    (shown.take ? shown : askView).take(files);
  });
  shown.open(view === "person" ? decodeURIComponent(argument) : view);
}

async function loadCollections() {
  const select = byId("collection");
  try {
    const { data } = await call("GET", "v1/collections");
    state.collections = data.collections;
  } catch (error) {
    select.replaceChildren(h("option", { value: "" }, "unknown"));
    select.disabled = true;
    byId("main").replaceChildren(h("div", { class: "narrow" }, errorCard(error, start)));
    return false;
  }
  const wanted = new URL(location.href).searchParams.get("collection") || state.collection;
  const names = state.collections;
  select.disabled = names.length === 0;
  select.replaceChildren(
    ...(names.length > 0
      ? names.map((name) => h("option", { value: name }, name))
      : [h("option", { value: "" }, "none yet")]),
  );
  const chosen = names.includes(wanted) ? wanted : names.includes("faces") ? "faces" : (names[0] ?? "");
  select.value = chosen;
  state.ready = true;
  state.setCollection(chosen);
  return true;
}

async function showStats() {
  const place = byId("stats");
  const { collection } = state;
  place.textContent = "";
  if (!collection) return;
  try {
    const { data } = await call("GET", "v1/stats", { query: { collection } });
    if (collection === state.collection)
      place.textContent = `${words.plural(data.faces, "face")}, ${data.approximate ? "about " : ""}${words.plural(data.persons, "person", "people")}`;
  } catch {
    // The figure is a courtesy: what is asked next will tell of the same trouble.
  }
}

function showKey() {
  byId("key").classList.toggle("set", apiKey.value !== "");
  byId("key-label").textContent = apiKey.value ? "API key set" : "API key";
}

async function editKey() {
  const input = byId("key-value");
  input.value = apiKey.value;
  byId("key-keep").checked = apiKey.kept;
  byId("key-forget").hidden = !apiKey.value;
  const answer = await ask(byId("key-dialog"));
  // The field is emptied: a key has no business in the document while nobody edits it.
  const value = input.value.trim();
  input.value = "";
  if (answer === "use") apiKey.set(value, byId("key-keep").checked);
  else if (answer === "forget") apiKey.set("", false);
  else return;
  showKey();
  forgetThumbnails();
  say(apiKey.value ? "The key is set." : "The key is forgotten.");
  await start();
}

async function start() {
  if (!(await loadCollections())) return;
  showStats();
  route();
}

byId("collection").addEventListener("change", (event) => {
  state.setCollection(event.target.value);
  const url = new URL(location.href);
  url.searchParams.set("collection", state.collection);
  history.replaceState(null, "", url);
});
state.addEventListener("collection", showStats);
state.addEventListener("changed", () => {
  showStats();
  forgetThumbnails();
});
byId("key").addEventListener("click", editKey);
byId("key-forget").addEventListener("click", () => byId("key-dialog").close("forget"));
keysComeFrom(editKey);
// A jump to #main would be taken for a view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", route);
showKey();
listen();
route();
start();
