/* Whoever's streams: which there are, how they go, and which one is looked at. Asked for once a second while any goes on. */

import { call, get, post } from "./api.js";

const CHOSEN = "serval-stream";
const OVER = ["ended", "failed"];

class Streams extends EventTarget {
  all = [];
  chosen = sessionStorage.getItem(CHOSEN);
  known = false; // whether the service has told

  get alive() {
    return this.all.filter((each) => !OVER.includes(each.state));
  }

  get over() {
    return this.all.filter((each) => OVER.includes(each.state));
  }

  /* The one that is looked at, or null. */
  get current() {
    return this.all.find((each) => each.id === this.chosen) ?? null;
  }

  goesOn(stream = this.current) {
    return stream !== null && !OVER.includes(stream.state);
  }

  choose(id) {
    if (id === this.chosen) return;
    this.chosen = id;
    sessionStorage.setItem(CHOSEN, id ?? "");
    this.dispatchEvent(new Event("choice"));
  }

  async open(name, source, instructions) {
    const made = await post("/v1/streams", { name, source, instructions });
    await this.refresh();
    this.choose(made.id);
    return made;
  }

  /* Wait until a stream is no longer opening. */
  ready(id) {
    return new Promise((resolve) => {
      const look = () => {
        if (this.all.find((each) => each.id === id)?.state === "opening") return;
        this.removeEventListener("change", look);
        resolve();
      };
      this.addEventListener("change", look);
      look();
    });
  }

  async stop(id) {
    await call(`/v1/streams/${id}/stop`, { method: "POST" });
    await this.refresh();
  }

  async forget(id) {
    await call(`/v1/streams/${id}`, { method: "DELETE" });
    await this.refresh();
  }

  async refresh() {
    this.all = await get("/v1/streams");
    this.known = true;
    if (this.current === null) this.choose((this.alive[0] ?? this.all[0])?.id ?? null);
    this.dispatchEvent(new Event("change"));
  }

  /* Ask again and again; a service that cannot be reached is waited for, which the line's state tells. */
  async follow() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, this.alive.length && !document.hidden ? 1000 : 5000));
      try {
        await this.refresh();
      } catch {
        // the next time, perhaps
      }
    }
  }
}

export const streams = new Streams();
