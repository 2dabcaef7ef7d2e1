/* The gates' last scores of the chosen stream as a living plot, with what each needs to speak. */

import { get } from "./api.js";
import { nameOf } from "./instructions.js";
import { by, draws, make } from "./make.js";
import { streams } from "./streams.js";

const WIDTH = 600;
const HEIGHT = 120;
const HUES = 6; // colours of the style sheet
const PATIENCE = 5000;

let needed = {}; // instruction -> threshold, of the chosen stream
let asked = 0;

export function setUpTrace() {
  streams.addEventListener("change", show);
  streams.addEventListener("choice", () => {
    needed = {};
    asked = 0;
    show();
  });
  show();
}

const height = (score) => (1 - Math.min(1, Math.max(0, score))) * (HEIGHT - 4) + 2;

function show() {
  const scores = Object.entries(streams.goesOn() ? streams.current.scores : {}).filter(([, each]) => each.length);
  const plot = draws("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const half of [0, 0.5, 1]) plot.append(draws("line", { class: "grid", x1: 0, x2: WIDTH, y1: height(half), y2: height(half) }));
  const most = Math.max(2, ...scores.map(([, each]) => each.length));
  scores.forEach(([id, each], place) => {
    const points = each.map((score, at) => `${(((most - each.length + at) / (most - 1)) * WIDTH).toFixed(1)},${height(score).toFixed(1)}`);
    const hue = `hue-${place % HUES}`;
    if (id in needed) plot.append(draws("line", { class: `needed ${hue}`, x1: 0, x2: WIDTH, y1: height(needed[id]), y2: height(needed[id]) }));
    plot.append(draws("polyline", { class: `score ${hue}`, points: points.join(" ") }));
  });
  by("trace").replaceChildren(plot);
  by("trace").dataset.empty = String(!scores.length);
  const last = ([id, each]) => `${nameOf(id)}: ${each.at(-1).toFixed(2)}${id in needed ? ` of ${needed[id].toFixed(2)}` : ""}`;
  by("trace").setAttribute("aria-label", scores.length ? `Scores now: ${scores.map(last).join("; ")}` : "No scores yet");
  by("legend").replaceChildren(
    ...(scores.length
      ? scores.map((each, place) => make("li", { class: `hue-${place % HUES}` }, last(each)))
      : [make("li", { class: "quiet" }, streams.goesOn() ? "Scores come with the first pictures." : "Nothing is watched now.")]),
  );
  if (scores.some(([id]) => !(id in needed))) ask();
}

/* What a gate needs is told with why; asked for until it is known of all. */
async function ask() {
  if (performance.now() - asked < PATIENCE && asked) return;
  asked = performance.now();
  const stream = streams.current;
  try {
    const { moments } = await get("/v1/why", { stream: stream.id, time: stream.seconds });
    if (stream.id === streams.chosen) for (const each of moments) if (each.instruction) needed[each.instruction] = each.threshold;
  } catch {
    // the trace is written once a second; the next time, perhaps
  }
}
