/* What is watched now, a tile each: the living picture, boxes over it when something was said, how it goes. */

import { call } from "./api.js";
import { draw, newest } from "./boxes.js";
import { by, clock, make, notice } from "./make.js";
import { record } from "./record.js";
import { streams } from "./streams.js";

const SHOWN = 6000; // milliseconds for which words stay
const BOXED = 3500; // and boxes, with the picture that they are of

const STATES = { opening: "opening: its models are loading", watching: "watching", ended: "over", failed: "failed" };

export const captures = new Map(); // stream -> Capture, of this page
const tiles = new Map(); // stream -> Tile

export function setUpTiles(again) {
  const show = () => {
    by("loading").hidden = streams.known;
    const alive = streams.alive;
    by("nothing").hidden = !streams.known || alive.length > 0;
    for (const [id, tile] of tiles) {
      if (alive.some((each) => each.id === id)) continue;
      captures.get(id)?.close();
      captures.delete(id);
      tile.place.remove();
      tiles.delete(id);
    }
    for (const view of alive) {
      if (!tiles.has(view.id)) {
        tiles.set(view.id, new Tile(view, again));
        by("tiles").append(tiles.get(view.id).place);
      }
      tiles.get(view.id).show(view);
    }
    showEarlier();
  };
  streams.addEventListener("change", show);
  streams.addEventListener("choice", show);
}

/* Something was said: boxes over the tile's picture, words under it. */
export function showSaid(stream, event) {
  tiles.get(stream)?.said(event);
}

class Tile {
  #fading = 0;
  #frames = -1;
  #kept = "";

  constructor(view, again) {
    this.id = view.id;
    this.boxes = make("div", { class: "boxes", "aria-hidden": "true" });
    this.media = make("div", { class: "media" });
    this.still = make("div", { class: "still", "aria-hidden": "true" });
    this.words = make("p", { class: "words", hidden: true });
    this.empty = make("div", { class: "empty" });
    this.state = make("span", { class: "state" });
    this.drops = make("span", { class: "drops" });
    this.pick = make("button", { type: "button", class: "pick", onclick: () => streams.choose(this.id) }, view.name);
    this.emptyWords = make("p");
    this.resume = make("button", { type: "button", onclick: () => again(view) }, "Show it pictures again");
    this.empty.append(this.emptyWords, this.resume);
    this.place = make(
      "article",
      { class: "tile", "data-stream": view.id, "aria-label": `Stream ${view.name}` },
      make("div", { class: "picture" }, this.media, this.still, this.boxes, this.empty, this.words),
      make("footer", {}, this.pick, this.state, make("button", { type: "button", class: "stop", onclick: () => this.#stop() }, "Stop")),
      this.drops,
    );
  }

  show(view) {
    const capture = captures.get(this.id);
    const live = capture?.going ? capture.video : null;
    if (live && live.parentNode !== this.media) {
      live.setAttribute("aria-label", `Live picture of ${view.name}`);
      this.media.replaceChildren(live);
    } else if (!live && this.media.querySelector("video")) this.media.replaceChildren();
    const moves = view.frames > this.#frames && this.#frames >= 0;
    this.#frames = view.frames;
    this.pick.setAttribute("aria-pressed", String(streams.chosen === this.id));
    this.place.dataset.chosen = String(streams.chosen === this.id);
    this.place.dataset.state = view.state;
    this.state.textContent = view.state === "watching" ? `${clock(view.seconds)} · ${view.said} said` : STATES[view.state];
    this.drops.textContent = this.#drops(view, capture);
    this.empty.hidden = live !== null;
    this.resume.hidden = view.source !== "handed" || moves;
    this.emptyWords.textContent =
      view.source !== "handed" ? "Watched on the service’s side." : moves ? "Its pictures come from elsewhere." : "Nobody shows it pictures now.";
    if (!live) this.#poster();
  }

  said(event) {
    this.words.textContent = event.text;
    this.words.hidden = false;
    clearTimeout(this.#fading);
    this.#fading = setTimeout(() => (this.words.hidden = true), SHOWN);
    const evidence = newest(event.evidence);
    this.#still(captures.get(this.id)?.pictureAt(evidence[0]?.time));
    draw(this.boxes, evidence, BOXED);
    if (!captures.get(this.id)?.going) this.#poster();
  }

  /* The picture that was judged, which fades back into the living one: that has moved on since. */
  #still(picture) {
    if (!picture) return;
    const image = make("img", { alt: "", class: "fading", src: URL.createObjectURL(picture) });
    image.onload = () => URL.revokeObjectURL(image.src);
    image.style.animationDuration = `${BOXED}ms`;
    image.onanimationend = () => image.remove();
    this.still.replaceChildren(image);
  }

  #drops(view, capture) {
    const here = capture?.words ?? "";
    if (here) return `${capture.sent} pictures used; ${here}`;
    const there = Object.entries(view.drops).map(([why, count]) => `${count} ${why}`).join(", ");
    return there ? `${view.frames} pictures used; left out: ${there}` : "";
  }

  /* The last picture that something was said of, where there is no living one. */
  async #poster() {
    const event = record.of(this.id).findLast((each) => each.kind === "utterance" && each.evidence.length);
    const frame = event ? (newest(event.evidence)[0] ?? event.evidence[0]).frame : "";
    if (!frame || frame === this.#kept) return;
    this.#kept = frame;
    try {
      const picture = await (await call(`/v1/pictures/${frame}`, { query: { stream: this.id } })).blob();
      const image = make("img", { alt: `The last picture that something was said of: ${event.text}`, src: URL.createObjectURL(picture) });
      image.onload = () => URL.revokeObjectURL(image.src);
      if (!this.media.querySelector("video")) this.media.replaceChildren(image);
    } catch {
      this.#kept = ""; // not kept yet; the next time, perhaps
    }
  }

  async #stop() {
    captures.get(this.id)?.close();
    this.state.textContent = "stopping …";
    try {
      await streams.stop(this.id);
    } catch (error) {
      notice(error.message);
    }
  }
}

let shown = "";

function showEarlier() {
  const over = streams.over;
  by("earlier").hidden = over.length === 0;
  const now = JSON.stringify([over.map((each) => [each.id, each.state]), streams.chosen]);
  if (now === shown) return; // nothing that has the keyboard's focus is made anew for nothing
  shown = now;
  by("earlier-count").textContent = `(${over.length})`;
  if (over.some((each) => each.id === streams.chosen)) by("earlier").open = true;
  by("earlier-list").replaceChildren(
    ...over.map((each) => {
      const when = new Date(each.created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
      const pick = make("button", { type: "button", class: "pick", onclick: () => streams.choose(each.id) }, each.name);
      pick.setAttribute("aria-pressed", String(each.id === streams.chosen));
      const forget = make("button", { type: "button", "aria-label": `Forget ${each.name} of ${when}`, onclick: () => forgetIt(each) }, "Forget");
      return make("li", {}, pick, make("span", { class: "quiet" }, each.state === "failed" ? `${when}, failed` : when), forget);
    }),
  );
}

async function forgetIt(stream) {
  if (!confirm(`Forget all of ${stream.name}: timeline, pictures, instructions?`)) return;
  try {
    await streams.forget(stream.id);
  } catch (error) {
    notice(error.message);
  }
}
