/* One moment: its picture with boxes, the words, the evidence, and why it was said, or why not. */

import { call, get } from "./api.js";
import { draw, named } from "./boxes.js";
import { by, clock, make } from "./make.js";

const TRIES = 6; // a picture of just now may take a second to be kept

let current = 0; // counts moments, so that what comes late for an earlier one is let go
let picture = "";
let walk = { before: null, after: null };

for (const way of ["before", "after"]) by(way).addEventListener("click", () => walk[way]?.());

by("moment").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") walk.before?.();
  if (event.key === "ArrowRight") walk.after?.();
});
by("moment").addEventListener("close", () => (current += 1));

/* An event and its neighbours, as they are listed. */
export function showMoment(stream, event, among) {
  const around = among.filter((each) => each.evidence.length || each.id === event.id);
  const place = around.findIndex((each) => each.id === event.id);
  const step = (to) => (around[to] ? () => showMoment(stream, around[to], among) : null);
  open(stream, event.text, `${clock(event.t_start)}${event.said_at > event.t_start ? `, said at ${clock(event.said_at)}` : ""}`, event.evidence, {
    before: step(place - 1),
    after: step(place + 1),
  });
  explain(stream, event.kind === "utterance" ? event.t_end : event.said_at, event);
}

/* A time at which perhaps nothing was said. */
export function showTime(stream, time) {
  open(stream, "Why here?", clock(time), [], {});
  explain(stream, time, null);
}

/* Evidence of an answer. */
export function showEvidence(stream, words, evidence, time) {
  open(stream, words, clock(time), evidence, {});
  explain(stream, time, null);
}

function open(stream, words, when, evidence, steps) {
  current += 1;
  walk = { before: steps.before ?? null, after: steps.after ?? null };
  by("before").hidden = by("after").hidden = !walk.before && !walk.after;
  by("before").disabled = !walk.before;
  by("after").disabled = !walk.after;
  by("moment-words").textContent = words;
  by("moment-time").textContent = when;
  by("moment-evidence").replaceChildren(
    ...evidence.map((each) =>
      make("li", {}, make("b", {}, named(each) || "whole picture"), ` ${clock(each.time)}${each.score ? ` · ${each.score.toFixed(2)}` : ""}`),
    ),
  );
  const frames = [...new Map(evidence.map((each) => [each.frame, each.time]))].sort((one, other) => one[1] - other[1]);
  const best = frames.findLast(([frame]) => evidence.some((each) => each.frame === frame && each.box)) ?? frames.at(-1);
  const choices = frames.map(([frame, time]) =>
    make("button", { type: "button", "aria-pressed": String(frame === best[0]), "data-frame": frame, onclick: () => show(stream, frame, evidence) }, clock(time)),
  );
  by("moment-frames").replaceChildren(...(frames.length > 1 ? choices : []));
  if (best) show(stream, best[0], evidence);
  else none("No picture belongs to it.");
  if (!by("moment").open) by("moment").showModal();
}

function none(words) {
  by("moment-picture").hidden = true;
  by("moment-boxes").replaceChildren();
  by("moment-none").textContent = words;
  by("moment-none").hidden = false;
}

async function show(stream, frame, evidence) {
  const mine = current;
  for (const each of by("moment-frames").children) each.setAttribute("aria-pressed", String(each.dataset.frame === frame));
  none("Looking for its picture …");
  const here = evidence.filter((each) => each.frame === frame);
  for (let tried = 1; mine === current; tried += 1) {
    try {
      const kept = await (await call(`/v1/pictures/${frame}`, { query: { stream } })).blob();
      if (mine !== current) return;
      if (picture) URL.revokeObjectURL(picture);
      picture = URL.createObjectURL(kept);
      by("moment-picture").src = picture;
      by("moment-picture").alt = `The picture at ${clock(here[0].time)}: ${here.map(named).filter(Boolean).join(", ") || "nothing named"}`;
      by("moment-picture").hidden = false;
      by("moment-none").hidden = true;
      draw(by("moment-boxes"), here);
      return;
    } catch (error) {
      if (mine !== current) return;
      if (error.status !== 404 || tried === TRIES) return none(error.status === 404 ? "Its picture is not at hand." : error.message);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function explain(stream, time, event) {
  const mine = current;
  const place = by("moment-why");
  place.replaceChildren(make("p", { class: "quiet" }, "Asking …"));
  by("moment-table").replaceChildren();
  const own = [];
  if (event?.unverified) own.push(make("p", { class: "unverified" }, `Not in the facts: ${event.unverified}`));
  const known = []; // what the event itself tells, where nothing more can be had
  if (event?.why_now) {
    const { gate, score, threshold, why } = event.why_now;
    known.push(make("p", {}, `The gate ${gate} scored ${score.toFixed(2)} and needs ${threshold.toFixed(2)}${why ? `: ${why}` : ""}.`));
  }
  try {
    const { text, moments } = await get("/v1/why", { stream, time: Math.max(0, time) });
    if (mine !== current) return;
    place.replaceChildren(...own, ...text.split("\n").map((each) => make("p", {}, each)));
    if (moments.length) by("moment-table").replaceChildren(table(moments));
  } catch (error) {
    if (mine === current) place.replaceChildren(...own, ...known, make("p", { class: "quiet" }, error.message));
  }
}

function table(moments) {
  const row = (cell, values, properties = {}) => make("tr", {}, ...values.map((each) => make(cell, properties, each)));
  const rows = moments.map((each) => [
    each.instruction ?? "", each.gate, clock(each.time), each.score.toFixed(2), each.threshold.toFixed(2), each.action, each.why,
  ]);
  return make(
    "table", {},
    make("thead", {}, row("th", ["instruction", "gate", "time", "score", "needed", "action", "because"], { scope: "col" })),
    make("tbody", {}, ...rows.map((each) => row("td", each))),
  );
}
