/* The line to the service: what happens, as it happens. Read with fetch, as the key goes in a header; comes back by itself. */

import { call } from "./api.js";
import { by } from "./make.js";
import { Locked } from "./key.js";

const SILENT = 40_000; // the service says something every 15 s; this long without is a dead line
const LONGEST = 15_000;

export const line = new EventTarget(); // "told": {detail: message}; "open": the line stands, perhaps again

function show(state, words) {
  const place = by("line");
  if (place.dataset.state !== state || place.lastElementChild.textContent !== words) {
    place.dataset.state = state;
    place.lastElementChild.textContent = words;
  }
}

export function locked() {
  show("locked", "locked: a key is needed");
}

export async function listen() {
  let failed = 0;
  for (;;) {
    show(failed ? "reconnecting" : "connecting", failed ? "reconnecting" : "connecting");
    try {
      await read(() => {
        failed = 0;
        show("live", "live");
        line.dispatchEvent(new Event("open"));
      });
    } catch (error) {
      if (error instanceof Locked) return locked();
    }
    failed += 1;
    await pause(Math.min(LONGEST, 500 * 2 ** (failed - 1)) * (0.75 + Math.random() / 2));
  }
}

/* Wait, saying for how long, or until the browser is online again. */
function pause(milliseconds) {
  const until = Date.now() + milliseconds;
  return new Promise((resolve) => {
    const done = () => {
      clearInterval(ticking);
      removeEventListener("online", done);
      resolve();
    };
    const tick = () => {
      const left = Math.ceil((until - Date.now()) / 1000);
      if (left <= 0) done();
      else show("reconnecting", navigator.onLine ? `reconnecting in ${left} s` : "offline");
    };
    const ticking = setInterval(tick, 250);
    addEventListener("online", done);
    tick();
  });
}

async function read(opened) {
  const dead = new AbortController();
  let watchdog = setTimeout(() => dead.abort(), SILENT);
  try {
    const answer = await call("/v1/events", { signal: dead.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    opened();
    for (let held = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => dead.abort(), SILENT);
      const blocks = (held + value).split("\n\n");
      held = blocks.pop();
      for (const block of blocks) tell(block);
    }
  } finally {
    clearTimeout(watchdog);
    dead.abort();
  }
}

function tell(block) {
  const data = block.split("\n").filter((each) => each.startsWith("data:")).map((each) => each.slice(5)).join("\n");
  if (data) line.dispatchEvent(new CustomEvent("told", { detail: JSON.parse(data) }));
}
