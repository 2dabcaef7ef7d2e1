/* Questions about what was seen, and their answers with what they rest on. */

import { post } from "./api.js";
import { named } from "./boxes.js";
import { by, clock, make } from "./make.js";
import { showEvidence } from "./moment.js";
import { hush, say } from "./speak.js";
import { streams } from "./streams.js";

const MOST = 20; // answers that stay on the page
const CHIPS = 6; // pieces of evidence shown with an answer

let running = null; // AbortController of the question that is worked on

export function setUpAsk() {
  by("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = by("question").value.trim();
    if (!question) return;
    by("question").value = "";
    ask(question);
  });
}

/* The person begins to talk, or asks something else: what is spoken or worked on ends at once. */
export function interrupt() {
  running?.abort();
  return hush();
}

export async function ask(question) {
  interrupt();
  const stream = streams.chosen;
  const answer = make("p", { class: "answer" }, "…");
  const place = make("li", {}, make("p", { class: "question" }, question), answer);
  by("log").hidden = false;
  by("answers").prepend(place);
  while (by("answers").children.length > MOST) by("answers").lastElementChild.remove();
  if (!stream) {
    answer.textContent = "Nothing has been watched yet; show me something first.";
    return;
  }
  const mine = (running = new AbortController());
  try {
    const { text, known, evidence, unverified } = await post("/v1/ask", { stream, question }, {}, mine.signal);
    answer.textContent = text;
    if (!known) place.classList.add("unknown");
    if (unverified) place.append(make("p", { class: "unverified" }, `Not in the facts: ${unverified}`));
    if (evidence.length) place.append(chips(stream, text, evidence));
    say(text, { answer: true, interrupted: () => place.append(make("p", { class: "quiet" }, "interrupted")) });
  } catch (error) {
    place.classList.add("unknown");
    answer.textContent = error.name === "AbortError" ? "interrupted" : error.message;
  } finally {
    if (running === mine) running = null;
  }
}

function chips(stream, text, evidence) {
  return make(
    "ul", { class: "chips", "aria-label": "What it rests on" },
    ...evidence.slice(0, CHIPS).map((each) =>
      make("li", {}, make("button", { type: "button", onclick: () => showEvidence(stream, text, [each], each.time) }, `${named(each) || "picture"} ${clock(each.time)}`)),
    ),
  );
}
