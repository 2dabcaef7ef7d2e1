/* Asking aloud: while a button is held, or hands-free while the microphone is on. Whoever begins to talk is not talked over. */

import { call } from "./api.js";
import { ask, interrupt } from "./ask.js";
import { by, notice } from "./make.js";
import { loudness, openMicrophone, wave } from "./microphone.js";

const LONGEST = 30; // seconds of one question
const SHORTEST = 0.3;
const BEGINS = 3; // loud blocks (some 20 ms each) that make a beginning
const ENDS = 0.8; // seconds of quiet that make an end
const BEFORE = 10; // blocks kept from before the beginning

let off = false; // whether the service has told that it cannot hear
let holding = null; // what is held now: {blocks, open: Promise, over}
let free = null; // the microphone that is on

export function setUpTalk() {
  const button = by("talk");
  button.addEventListener("pointerdown", (event) => {
    if (event.button === 0) begin();
  });
  for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, end);
  button.addEventListener("keydown", (event) => {
    if ((event.key === " " || event.key === "Enter") && !event.repeat) {
      event.preventDefault();
      begin();
    }
  });
  button.addEventListener("keyup", (event) => (event.key === " " || event.key === "Enter") && end());
  button.addEventListener("blur", end);
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press on a phone
}

const state = (words) => (by("talk-state").textContent = words);

function begin() {
  if (off || holding) return;
  interrupt();
  const mine = (holding = { blocks: [], open: null });
  by("talk").classList.add("held");
  state("Opening the microphone …");
  let taken = 0;
  mine.open = openMicrophone((block) => {
    taken += block.length;
    if (taken < LONGEST * 48_000) mine.blocks.push(block);
  });
  const listening = () => holding === mine && state("Listening …");
  mine.open.then(listening, (error) => {
    if (holding === mine) holding = null;
    by("talk").classList.remove("held");
    state(why(error));
  });
}

async function end() {
  const mine = holding;
  if (!mine) return;
  holding = null;
  by("talk").classList.remove("held");
  try {
    const { rate, close } = await mine.open;
    await close();
    await heard(mine.blocks, rate, state);
  } catch {
    // it was told when it would not open
  }
}

/* What was said, as words, as a question. */
async function heard(blocks, rate, tell) {
  if (blocks.reduce((sum, each) => sum + each.length, 0) < SHORTEST * rate) return tell("That was short. Hold the button while you talk.");
  tell("Understanding …");
  const form = new FormData();
  form.append("file", wave(blocks, rate), "question.wav");
  form.append("model", "whisper");
  try {
    const { text } = await (await call("/v1/audio/transcriptions", { method: "POST", body: form })).json();
    if (!text?.trim()) return tell("I heard no words.");
    tell(`Heard: ${text.trim()}`);
    await ask(text.trim().slice(0, 500));
  } catch (error) {
    if (error.status === 501 || error.status === 404 || error.status === 405) {
      off = by("talk").disabled = true;
      tell("Talking is off: the service has no model that hears. Type instead.");
      closeMicrophone();
    } else tell(error.message);
  }
  return undefined;
}

function why(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the microphone.";
  if (error.name === "NotFoundError") return "There is no microphone.";
  return "The microphone cannot be used.";
}

/* On and off again: hands-free. */
export async function switchMicrophone() {
  if (free) return closeMicrophone();
  const button = document.querySelector("[data-add=microphone]");
  const tell = (words) => (by("heard").textContent = words);
  let blocks = [];
  let loud = 0;
  let quiet = 0;
  let floor = 0.005;
  let talking = false;
  let rate = 48_000;
  const hear = (block) => {
    const level = loudness(block);
    by("level").value = Math.min(1, level * 8);
    const speech = level > Math.max(0.015, 3 * floor);
    if (!speech) floor = 0.97 * floor + 0.03 * level;
    loud = speech ? loud + 1 : 0;
    quiet = speech ? 0 : quiet + block.length / rate;
    blocks.push(block);
    if (!talking) {
      blocks = blocks.slice(-BEFORE);
      if (loud < BEGINS) return;
      talking = true;
      interrupt();
      tell("Listening …");
    } else if (quiet > ENDS || (blocks.length * block.length) / rate > LONGEST) {
      talking = false;
      heard(blocks, rate, tell);
      blocks = [];
    }
  };
  try {
    free = await openMicrophone(hear);
    rate = free.rate;
    by("hearing").hidden = false;
    tell(off ? "Talking is off: the service has no model that hears. You are still not talked over." : "Listening: what you say is asked.");
    button.setAttribute("aria-pressed", "true");
  } catch (error) {
    notice(why(error));
  }
}

function closeMicrophone() {
  free?.close();
  free = null;
  by("hearing").hidden = true;
  document.querySelector("[data-add=microphone]").setAttribute("aria-pressed", "false");
}
