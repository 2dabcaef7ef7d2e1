/* Light, dark, or as the system has it. */

import { by } from "./make.js";

const KEPT = "serval-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

export function setUpTheme() {
  const show = () => {
    const theme = localStorage.getItem(KEPT) ?? "system";
    document.documentElement.dataset.theme = theme;
    by("theme").textContent = { system: "As system", light: "Light", dark: "Dark" }[theme];
    by("theme").setAttribute("aria-label", `Colours: ${by("theme").textContent.toLowerCase()}. Change`);
  };
  by("theme").addEventListener("click", () => {
    localStorage.setItem(KEPT, NEXT[localStorage.getItem(KEPT) ?? "system"]);
    show();
  });
  show();
}
