// How a photo gets in: dropped, pasted, picked or taken. What is done with it is the shown view's affair.

import { byId, ask } from "./dom.js";
import { say } from "./state.js";

let receive = () => {};

/** The shown view takes photos from now on: `taker(files)`. */
export function photosGoTo(taker) {
  receive = taker;
}

/** Hands files over that look like photos. Types are the browser's guess, so an unknown one may pass: the server judges by content. */
function give(files) {
  const photos = [...files].filter((file) => !file.type || file.type.startsWith("image/"));
  if (photos.length === 0) {
    if (files.length > 0) say("That is not a photo.");
    return false;
  }
  receive(photos);
  return true;
}

/** Opens the file chooser; `camera` asks phones for their camera. */
export function pick(then, { camera = false, many = false } = {}) {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = "image/*";
  input.multiple = many;
  if (camera) input.setAttribute("capture", "environment");
  input.addEventListener("change", () => input.files.length > 0 && then([...input.files]));
  input.click();
}

/** Takes a photo: by the phone's own camera app where there is one, else by a window of ours. */
export async function photograph(then) {
  const phone = matchMedia("(pointer: coarse)").matches;
  if (phone || !navigator.mediaDevices?.getUserMedia) return pick(then, { camera: true });
  const shot = await shoot();
  if (shot) then([shot]);
}

async function shoot() {
  const dialog = byId("camera");
  const video = byId("camera-video");
  const take = byId("camera-shoot");
  let facing = "user";
  let stream = null;
  let shot = null;
  const stop = () => stream?.getTracks().forEach((track) => track.stop());
  const open = async () => {
    stop();
    take.disabled = true;
    const wanted = { video: { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1080 } }, audio: false };
    stream = await navigator.mediaDevices.getUserMedia(wanted);
    video.srcObject = stream;
    video.classList.toggle("mirrored", facing === "user");
    await video.play();
    take.disabled = false;
  };
  try {
    await open();
  } catch (error) {
    stop();
    say(cameraTrouble(error));
    return null;
  }
  byId("camera-flip").onclick = () => {
    facing = facing === "user" ? "environment" : "user";
    open().catch((error) => say(cameraTrouble(error)));
  };
  take.onclick = async () => {
    take.disabled = true;
    shot = await frame(video);
    dialog.close("taken");
  };
  await ask(dialog);
  stop();
  video.srcObject = null;
  return shot;
}

async function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  // The picture on the screen is mirrored for people's comfort, the photo is not: faces are compared as they are.
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return (
    blob &&
    new File([blob], `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`, { type: "image/jpeg" })
  );
}

function cameraTrouble(error) {
  if (error.name === "NotAllowedError")
    return "The browser may not use the camera. Allow it beside the address, or choose a photo instead.";
  if (error.name === "NotFoundError") return "No camera was found. Choose a photo instead.";
  return "The camera cannot be used, perhaps another program has it. Choose a photo instead.";
}

/** Drops and pastes anywhere on the page. */
export function listen() {
  const veil = byId("drop-veil");
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  const show = (shown) => {
    if (!shown) depth = 0;
    veil.hidden = !shown;
  };
  addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth += 1;
    show(true);
  });
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth -= 1;
    if (depth <= 0) show(false);
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(false);
    if (document.querySelector("dialog[open]")) return;
    const slot = event.target instanceof Element ? event.target.closest("[data-drop]") : null;
    if (slot) slot.dispatchEvent(new CustomEvent("photos", { detail: [...event.dataTransfer.files] }));
    else give(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (document.querySelector("dialog[open]") || !event.clipboardData?.files.length) return;
    if (give(event.clipboardData.files)) event.preventDefault();
  });
}
