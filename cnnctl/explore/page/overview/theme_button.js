/** Light and dark: as the system has it, until the button is pressed. */

import { element } from "../dom.js";
import { theme } from "../paint.js";
import { change } from "../state.js";

/** Set the theme of the system and follow it; returns the button that changes it. */
export function themeButton() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = element("button", { type: "button", class: "theme", on: { click: turn } });
  let chosen = false;
  const set = (name) => {
    document.documentElement.dataset.theme = name;
    button.textContent = name === "dark" ? "Light theme" : "Dark theme";
    change({});
  };

  function turn() {
    chosen = true;
    set(theme() === "dark" ? "light" : "dark");
  }

  dark.addEventListener("change", () => !chosen && set(dark.matches ? "dark" : "light"));
  set(dark.matches ? "dark" : "light");
  return button;
}
