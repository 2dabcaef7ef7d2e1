/* What the chosen stream is watched for: cards with how each is understood, on and off, its last hit; and what is to come first
   when nothing is watched yet. */

import { call, get, post } from "./api.js";
import { by, clock, make, notice } from "./make.js";
import { showMoment } from "./moment.js";
import { record } from "./record.js";
import { streams } from "./streams.js";

const PATIENCE = 250;

let held = []; // of the chosen stream
let drafts = ["describe every new scene", "tell me when a person comes in"]; // of the stream that is opened next
let waiting = 0;
let asked = 0;

/* What a new stream begins with: what the chosen one is watched for, or the drafts. */
export function beginnings() {
  const going = streams.goesOn() ? held.filter((each) => each.enabled).map((each) => each.text) : [];
  return going.length ? going : drafts;
}

export const nameOf = (id) => held.find((each) => each.id === id)?.text ?? id;

export function setUpInstructions() {
  streams.addEventListener("choice", load);
  streams.addEventListener("change", () => by("cards").dataset.going !== String(streams.goesOn()) && show());
  record.addEventListener("change", ({ detail }) => detail === streams.chosen && show());
  by("wanted").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(readBack, PATIENCE);
  });
  by("new").addEventListener("submit", (event) => {
    event.preventDefault();
    add(by("wanted").value.trim());
  });
  show();
}

export async function load() {
  const stream = streams.chosen;
  held = [];
  if (stream) {
    try {
      const found = await get("/v1/instructions", { stream });
      if (stream !== streams.chosen) return;
      held = found;
    } catch (error) {
      if (error.status !== 404) notice(error.message);
    }
  }
  show();
}

async function readBack() {
  const text = by("wanted").value.trim();
  const mine = (asked += 1);
  const place = by("read-back");
  if (!text) {
    place.textContent = "";
    return;
  }
  try {
    const understood = await get("/v1/instructions/read-back", { text });
    if (mine !== asked) return;
    place.textContent = understood.cannot || understood.read_back;
    place.dataset.cannot = String(Boolean(understood.cannot));
  } catch (error) {
    if (mine === asked) place.textContent = error.message;
  }
}

async function add(text) {
  if (!text) return;
  try {
    if (streams.goesOn()) {
      const made = await post("/v1/instructions", { text }, { stream: streams.chosen });
      held = [...held, made];
    } else {
      const understood = await get("/v1/instructions/read-back", { text });
      if (understood.cannot) throw new Error(understood.cannot);
      if (!drafts.includes(text)) drafts = [...drafts, text];
    }
    asked += 1;
    by("wanted").value = "";
    by("read-back").textContent = "";
    show();
  } catch (error) {
    by("read-back").dataset.cannot = "true";
    by("read-back").textContent = error.message;
  }
}

function show() {
  const going = streams.goesOn();
  by("cards").dataset.going = String(going);
  const focused = document.activeElement?.dataset?.does && [document.activeElement.closest("li")?.dataset.of, document.activeElement.dataset.does];
  const wanted = [...(going ? [] : drafts.map(draft)), ...held.map((each) => card(each, going))];
  by("cards").replaceChildren(...wanted);
  if (focused) {
    const same = [...by("cards").children].find((each) => each.dataset.of === focused[0]);
    same?.querySelector(`[data-does="${focused[1]}"]`)?.focus({ preventScroll: true });
  }
}

function draft(text) {
  const remove = () => {
    drafts = drafts.filter((each) => each !== text);
    show();
  };
  return make(
    "li", { class: "wish", "data-of": text },
    make("p", { class: "text" }, text),
    make("p", { class: "quiet" }, "when the next stream begins"),
    make("div", { class: "acts" }, make("button", { type: "button", "data-does": "remove", "aria-label": `Remove: ${text}`, onclick: remove }, "Remove")),
  );
}

function card(each, going) {
  const events = record.of(streams.chosen).filter((event) => event.instruction === each.id);
  const hit = events.findLast((event) => event.kind === "utterance");
  const seen = events.findLast((event) => event.kind === "instruction" && event.data.change === "acknowledged");
  const fresh = hit && (!seen || seen.said_at < hit.said_at);
  const button = (does, words, label, act, more = {}) =>
    make("button", { type: "button", "data-does": does, "aria-label": `${label}: ${each.text}`, onclick: act, disabled: !going, ...more }, words);
  const last = hit
    ? make("button", { type: "button", class: "hit", "data-does": "hit", onclick: () => showMoment(streams.chosen, hit, [hit]) }, `last hit ${clock(hit.said_at)}`)
    : make("span", { class: "quiet" }, "no hit yet");
  return make(
    "li", { class: each.enabled ? "wish" : "wish off", "data-of": each.id },
    make("p", { class: "text" }, each.text),
    make("p", { class: "quiet" }, each.cannot || each.read_back),
    make(
      "div", { class: "acts" },
      make("button", { type: "button", role: "switch", class: "switch", "data-does": "switch", "aria-checked": String(each.enabled), "aria-label": `Watch for: ${each.text}`, disabled: !going, onclick: () => change(each) }, each.enabled ? "on" : "off"),
      last,
      fresh ? button("seen", "Seen", "I have seen it", () => acknowledge(each)) : seen && hit ? make("span", { class: "quiet" }, "acknowledged") : null,
      button("remove", "Remove", "Remove", () => remove(each)),
    ),
  );
}

const path = (each, more = "") => `/v1/instructions/${encodeURIComponent(each.id)}${more}`;

async function change(each) {
  try {
    const json = { enabled: !each.enabled };
    const changed = await (await call(path(each), { method: "PATCH", json, query: { stream: streams.chosen } })).json();
    held = held.map((other) => (other.id === each.id ? changed : other));
    show();
  } catch (error) {
    notice(error.message);
  }
}

async function acknowledge(each) {
  try {
    await call(path(each, "/acknowledge"), { method: "POST", query: { stream: streams.chosen } });
  } catch (error) {
    notice(error.message);
  }
}

async function remove(each) {
  try {
    await call(path(each), { method: "DELETE", query: { stream: streams.chosen } });
    held = held.filter((other) => other.id !== each.id);
    show();
  } catch (error) {
    notice(error.message);
  }
}
