/** Tabs with the keys that people expect: arrows move, and the chosen tab is the only stop of Tab. */

import { element } from "../dom.js";

/**
 * Build tabs over panels.
 *
 * @param label what the tabs choose between, for screen readers.
 * @param panels [{name, title, content, chosen}]; the first is shown. `chosen`, which may be left out, is called when a
 *   person chooses the panel.
 * @returns {root, select(name)}.
 */
export function tabbed(label, panels) {
  const tabs = panels.map(({ name, title }) => tabOf(name, title, () => choose(name)));
  const bodies = panels.map(({ name, content }) => bodyOf(name, content));
  const list = element("div", { class: "input-tabs", role: "tablist", aria: { label }, on: { keydown: moveByKey } }, ...tabs);

  function select(name) {
    panels.forEach((panel, place) => {
      const chosen = panel.name === name;
      tabs[place].setAttribute("aria-selected", String(chosen));
      tabs[place].tabIndex = chosen ? 0 : -1;
      bodies[place].hidden = !chosen;
    });
  }

  function choose(name) {
    select(name);
    panels.find((panel) => panel.name === name).chosen?.();
  }

  function moveByKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
    choose(panels[place].name);
    tabs[place].focus();
  }

  select(panels[0].name);
  return { root: element("div", { class: "input-body" }, list, ...bodies), select };
}

function tabOf(name, title, click) {
  const about = { id: `input-tab-${name}`, type: "button", role: "tab", class: "input-tab", text: title };
  return element("button", { ...about, aria: { controls: `input-panel-${name}` }, on: { click } });
}

function bodyOf(name, content) {
  const about = { id: `input-panel-${name}`, role: "tabpanel", class: "input-tab-panel" };
  return element("div", { ...about, aria: { labelledby: `input-tab-${name}` } }, content);
}
