/* What is spoken, always with its words on the page: by the service's voice, by the browser's, or not at all. Ends at once. */

import { call } from "./api.js";
import { by } from "./make.js";

const KEPT = "serval-aloud";

let now = null; // what is being said: {stop, interrupted}
let without = false; // whether the service has told that it has no voice

const aloud = () => localStorage.getItem(KEPT) === "true";

export function setUpSpeak() {
  const button = by("aloud");
  const show = () => {
    button.setAttribute("aria-pressed", String(aloud()));
    button.title = aloud() ? "Answers and alerts are spoken" : "Answers and alerts are shown only";
  };
  button.addEventListener("click", () => {
    localStorage.setItem(KEPT, String(!aloud()));
    if (!aloud()) hush();
    show();
  });
  by("hush").addEventListener("click", hush);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && now) hush();
  });
  show();
}

/* End what is spoken, at once. Whether anything was. */
export function hush() {
  const said = now;
  now = null;
  by("caption").hidden = true;
  said?.stop();
  said?.interrupted();
  return said !== null;
}

/* Say it, if the person wants things said. An answer ends what is spoken; an alert does not, and is on the page anyway. */
export async function say(text, { answer = false, interrupted = () => {} } = {}) {
  if (!aloud() || (now && !answer)) return;
  hush();
  const asking = new AbortController();
  const mine = (now = { stop: () => asking.abort(), interrupted });
  by("caption-words").textContent = text;
  by("caption").hidden = false;
  try {
    if (without) await byBrowser(text, mine);
    else await byService(text, mine, asking.signal);
  } catch (error) {
    if (now === mine) by("caption-words").textContent = `${text} (not spoken: ${error.message})`;
    await new Promise((resolve) => setTimeout(resolve, 4000));
  }
  if (now === mine) {
    now = null;
    by("caption").hidden = true;
  }
}

async function byService(text, mine, signal) {
  let sound;
  try {
    const json = { model: "hibari", voice: "heart", input: text, response_format: "wav" };
    sound = await (await call("/v1/audio/speech", { method: "POST", json, signal })).blob();
  } catch (error) {
    if (![501, 404, 405].includes(error.status)) throw error;
    without = true;
    return byBrowser(text, mine);
  }
  if (now !== mine) return undefined;
  const address = URL.createObjectURL(sound);
  const player = new Audio(address);
  return new Promise((resolve, reject) => {
    mine.stop = () => {
      player.pause();
      resolve();
    };
    player.onended = resolve;
    player.onerror = () => reject(new Error("the sound cannot be played"));
    player.play().catch(reject);
  }).finally(() => URL.revokeObjectURL(address));
}

function byBrowser(text, mine) {
  if (now !== mine) return undefined;
  if (!window.speechSynthesis?.getVoices().length) throw new Error("there is no voice here");
  const words = new SpeechSynthesisUtterance(text);
  return new Promise((resolve) => {
    mine.stop = () => {
      speechSynthesis.cancel();
      resolve();
    };
    words.onend = words.onerror = resolve;
    speechSynthesis.speak(words);
  });
}
