/* Elements, made so that no text from anywhere can become markup: strings are text nodes, and properties are set by name. */

export const by = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name.startsWith("aria-") || name.startsWith("data-") || name === "role" || name === "scope") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

/* An element of a drawing, with attributes. */
export function draws(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* Seconds on a stream's clock: 65.27 -> "1:05.2". */
export function clock(seconds) {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  const rest = `${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
  const minutes = Math.floor(tenths / 600);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

let hiding = 0;

/* Something that went wrong, said once, where everybody sees and hears it. */
export function notice(text) {
  const place = by("notice");
  place.textContent = text;
  place.hidden = !text;
  clearTimeout(hiding);
  if (text) hiding = setTimeout(() => notice(""), 10_000);
}
