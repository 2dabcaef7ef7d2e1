/* What was told of each stream, as far as this page has it: loaded from the timeline, added to by the line. */

import { get } from "./api.js";

const MOST = 1000; // events of a stream

class Record extends EventTarget {
  #held = new Map(); // stream -> id -> event

  /* In the order in which they were said. */
  of(stream) {
    return [...(this.#held.get(stream)?.values() ?? [])].sort((one, other) => one.said_at - other.said_at);
  }

  add(stream, ...events) {
    const held = this.#held.get(stream) ?? new Map();
    this.#held.set(stream, held);
    for (const event of events) held.set(event.id, event);
    if (held.size > MOST) for (const old of this.of(stream).slice(0, held.size - MOST)) held.delete(old.id);
    this.dispatchEvent(new CustomEvent("change", { detail: stream }));
  }

  async load(stream) {
    try {
      this.add(stream, ...(await get("/v1/timeline", { stream, limit: MOST })));
    } catch (error) {
      if (error.status !== 409) throw error; // 409: nothing was seen yet
      this.add(stream);
    }
  }

  search(stream, text, kind) {
    return get("/v1/timeline", { stream, text, kind, limit: 200 });
  }
}

export const record = new Record();
