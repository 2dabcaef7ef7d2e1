/* The key: kept in this tab, taken from `#key=…` of the address once, or asked for when the service wants one. */

import { by } from "./make.js";

const NAME = "serval-key";
let asking = null;
let declined = false; // until the page is opened again

export class Locked extends Error {}

export const key = () => sessionStorage.getItem(NAME) ?? "";

function keep(text) {
  if (text) sessionStorage.setItem(NAME, text);
  else sessionStorage.removeItem(NAME);
  by("lock").hidden = false;
  by("lock").textContent = text ? "Forget key" : "Give key";
}

/* What the address brought along, which is then nowhere to be seen any more. */
export function takeFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given === null) {
    if (key()) keep(key());
    return;
  }
  history.replaceState(null, "", location.pathname + location.search);
  keep(given.trim());
}

/* Ask, once for all who wait. Rejects with `Locked` if the person would rather not, and does not ask again. */
export function askForKey(wrong) {
  if (declined) return Promise.reject(new Locked("A key is needed."));
  asking ??= new Promise((resolve, reject) => {
    const box = by("key");
    const why = by("key-why");
    if (wrong) why.textContent = "This key opens nothing here. Is it whole, and was it not removed?";
    keep("");
    const settle = (text) => {
      box.close();
      by("key-form").onsubmit = by("key-later").onclick = box.oncancel = null;
      by("key-text").value = "";
      asking = null;
      if (text) {
        keep(text);
        resolve();
      } else {
        declined = true;
        reject(new Locked("A key is needed."));
      }
    };
    by("key-form").onsubmit = (event) => {
      event.preventDefault();
      settle(by("key-text").value.trim());
    };
    by("key-later").onclick = () => settle("");
    box.oncancel = (event) => {
      event.preventDefault();
      settle("");
    };
    box.showModal();
    by("key-text").focus();
  });
  return asking;
}

by("lock").addEventListener("click", () => {
  keep("");
  location.reload();
});
