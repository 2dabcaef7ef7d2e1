/* What happened, the newest first: searched, scrubbed through, saved; each entry leads to its moment. */

import { call } from "./api.js";
import { by, clock, make, notice } from "./make.js";
import { showMoment, showTime } from "./moment.js";
import { record } from "./record.js";
import { streams } from "./streams.js";

const KINDS = { utterance: "said", answer: "answer", instruction: "instruction", source: "source", note: "note" };
const PATIENCE = 250;

let found = null; // what a search found, or null
let until = null; // seconds that are scrubbed back to, or null
let waiting = 0;

export function setUpTimeline() {
  record.addEventListener("change", ({ detail }) => detail === streams.chosen && (by("search").value ? search() : show()));
  streams.addEventListener("choice", () => {
    until = found = null;
    by("search").value = "";
    show();
    if (streams.chosen) record.load(streams.chosen).catch((error) => notice(error.message));
  });
  streams.addEventListener("change", scale);
  by("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, PATIENCE);
  });
  by("find").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  by("kind").addEventListener("change", () => (by("search").value ? search() : show()));
  by("time").addEventListener("input", () => {
    until = Number(by("time").value) >= Number(by("time").max) ? null : Number(by("time").value);
    scale();
    show();
  });
  by("live").addEventListener("click", () => {
    until = null;
    scale();
    show();
    by("time").focus();
  });
  by("here").addEventListener("click", () => showTime(streams.chosen, until));
  by("exports").addEventListener("click", (event) => event.target.dataset.to && save(event.target.dataset.to));
}

async function search() {
  const text = by("search").value.trim();
  const stream = streams.chosen;
  if (!text || !stream) {
    found = null;
    return show();
  }
  try {
    const events = await record.search(stream, text, by("kind").value);
    if (by("search").value.trim() !== text || streams.chosen !== stream) return;
    found = events;
  } catch (error) {
    if (error.status !== 409) notice(error.message);
    found = [];
  }
  show();
}

function shown() {
  const kind = by("kind").value;
  return (found ?? record.of(streams.chosen)).filter(
    (each) => (!kind || each.kind === kind) && (until === null || each.said_at <= until),
  );
}

function show() {
  const events = shown();
  const entries = new Map([...by("events").children].map((each) => [each.dataset.event, each]));
  const wanted = events.reverse().map((each) => entries.get(each.id) ?? entry(each));
  const focused = document.activeElement;
  by("events").replaceChildren(...wanted);
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  by("silent").hidden = wanted.length > 0;
  by("silent").textContent = found !== null ? "Nothing was found." : streams.chosen ? "Silent so far: nothing has happened that it watches for." : "What it says will stand here.";
  by("exports").hidden = record.of(streams.chosen).length === 0;
  scale();
}

function entry(event) {
  const stream = streams.chosen;
  const words = make(
    "button",
    { type: "button", class: "moment-of", onclick: () => showMoment(stream, event, shown()) },
    make("span", { class: "when" }, clock(event.said_at)),
    make("span", { class: "what" }, event.text),
    make("span", { class: "kind" }, event.kind === "utterance" ? (event.instruction ?? "") : KINDS[event.kind]),
  );
  return make("li", { class: event.kind, "data-event": event.id }, words);
}

function scale() {
  const events = record.of(streams.chosen);
  const last = Math.max(1, streams.current?.seconds ?? 0, events.at(-1)?.said_at ?? 0);
  by("scrub").hidden = events.length === 0;
  by("time").max = last;
  by("time").value = until ?? last;
  by("now").textContent = until === null ? (streams.goesOn() ? "now" : clock(last)) : clock(until);
  by("time").setAttribute("aria-valuetext", by("now").textContent);
  by("live").hidden = by("here").hidden = until === null;
  const ticks = events
    .filter((each) => each.kind === "utterance")
    .map((each) => {
      const tick = make("i", {});
      tick.style.left = `${(100 * each.said_at) / last}%`;
      return tick;
    });
  by("ticks").replaceChildren(...ticks);
}

/* A link could not carry the key, so the page fetches what it saves. */
async function save(to) {
  const stream = streams.current;
  try {
    const content = await (await call("/v1/timeline/export", { query: { stream: stream.id, to } })).blob();
    const address = URL.createObjectURL(content);
    make("a", { href: address, download: `${stream.name}.${to}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  } catch (error) {
    notice(error.message);
  }
}
