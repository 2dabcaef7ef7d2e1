/* Asking the service, with errors in words that a person can be shown. The browser adds the key that its own box was given, and the
   service takes it for the sake of the header `Serval-Page`; a key that was given to the page itself goes before it. */

import { askForKey, key } from "./key.js";

export class Trouble extends Error {
  /* `status` is 0 where the service could not be reached; `wait` is how many seconds it asks for. */
  constructor(status, message, wait = 0) {
    super(message);
    Object.assign(this, { status, wait });
  }
}

export async function call(path, { method = "GET", query = {}, json, body, type, signal } = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== ""));
  const address = asked.size ? `${path}?${asked}` : path;
  for (;;) {
    const used = key();
    const headers = { "Serval-Page": "1" };
    if (used) headers.Authorization = `Bearer ${used}`;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    else if (type) headers["Content-Type"] = type;
    let answer;
    try {
      answer = await fetch(address, { method, headers, signal, body: json === undefined ? body : JSON.stringify(json), cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
      throw new Trouble(0, "The service cannot be reached.");
    }
    if (answer.status === 401) {
      if (used === key()) await askForKey(used !== ""); // else somebody gave one meanwhile
      continue;
    }
    if (!answer.ok) throw await trouble(answer);
    return answer;
  }
}

async function trouble(answer) {
  let words = `The service answered ${answer.status}.`;
  try {
    words = (await answer.json()).error.message;
  } catch {
    // no JSON: what was said already is all that is known
  }
  return new Trouble(answer.status, words, Number(answer.headers.get("Retry-After")) || 0);
}

export const get = async (path, query, signal) => (await call(path, { query, signal })).json();
export const post = async (path, json, query, signal) => (await call(path, { method: "POST", json, query, signal })).json();
