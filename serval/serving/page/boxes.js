/* Boxes of evidence over a picture. A box is (left, top, right, bottom) in fractions of it; the overlay has its exact size. */

import { make } from "./make.js";

const MOST = 12;

export function boxed(evidence) {
  return evidence.filter((each) => each.box);
}

/* Those of the newest picture that has any. */
export function newest(evidence) {
  const all = boxed(evidence);
  const last = all.reduce((found, each) => (found === null || each.time > found.time ? each : found), null);
  return all.filter((each) => each.frame === last.frame);
}

export function named(evidence) {
  return evidence.text ? `“${evidence.text}”` : evidence.label;
}

export function draw(overlay, evidence, fading = 0) {
  const drawn = boxed(evidence)
    .slice(0, MOST)
    .map((each) => {
      const [left, top, right, bottom] = each.box.map((value) => Math.min(1, Math.max(0, value)));
      const box = make("div", { class: "box" }, make("span", {}, named(each)));
      box.style.left = `${left * 100}%`;
      box.style.top = `${top * 100}%`;
      box.style.width = `${Math.max(0, right - left) * 100}%`;
      box.style.height = `${Math.max(0, bottom - top) * 100}%`;
      if (top < 0.1) box.classList.add("high");
      if (fading) {
        box.classList.add("fading");
        box.style.animationDuration = `${fading}ms`;
      }
      return box;
    });
  overlay.replaceChildren(...drawn);
  if (fading) setTimeout(() => drawn.forEach((each) => each.remove()), fading);
}
