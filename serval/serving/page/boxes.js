/* Boxes and outlines of evidence over a picture, in fractions of it: a box is (left, top, right, bottom), an outline some corners (x, y).
   The overlay has the picture's exact size. */

import { draws, make } from "./make.js";

const MOST = 12;
const CORNERS = 48; // the service draws no more

export function boxed(evidence) {
  return evidence.filter((each) => Array.isArray(each.box));
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

const fraction = (value) => Math.min(1, Math.max(0, Number(value) || 0));

/* Shaded shapes; null where there are none. */
function outlines(evidence) {
  const shapes = evidence.filter(({ outline }) => Array.isArray(outline) && outline.length > 2 && outline.length <= CORNERS);
  if (!shapes.length) return null;
  const corner = (each) => `${fraction(each?.[0])},${fraction(each?.[1])}`;
  const drawn = shapes.map(({ outline }) => draws("polygon", { points: outline.map(corner).join(" ") }));
  return draws("svg", { class: "outlines", viewBox: "0 0 1 1", preserveAspectRatio: "none" }, ...drawn);
}

export function draw(overlay, evidence, fading = 0) {
  const shown = boxed(evidence).slice(0, MOST);
  const shapes = outlines(shown);
  const drawn = shown.map((each) => {
    const [left, top, right, bottom] = each.box.map(fraction);
    const box = make("div", { class: "box" }, make("span", {}, named(each)));
    box.style.left = `${left * 100}%`;
    box.style.top = `${top * 100}%`;
    box.style.width = `${Math.max(0, right - left) * 100}%`;
    box.style.height = `${Math.max(0, bottom - top) * 100}%`;
    if (top < 0.1) box.classList.add("high");
    return box;
  });
  if (shapes) drawn.unshift(shapes);
  if (fading)
    for (const each of drawn) {
      each.classList.add("fading");
      each.style.animationDuration = `${fading}ms`;
    }
  overlay.replaceChildren(...drawn);
  if (fading) setTimeout(() => drawn.forEach((each) => each.remove()), fading);
}
