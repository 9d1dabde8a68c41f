/** Chooses an image of the data: some right, the worst mistakes, one of each class; or the images of an episode. */

import { element, setText } from "../dom.js";
import { subscribe, state } from "../state.js";
import { thumbnail } from "./thumbnail.js";

const THUMBS_PER_PAGE = 60;
const IMAGE_TAGS = [
  ["worst", "the worst mistakes"],
  ["right", "classified right"],
  ["class", "one of each class"],
  ["support", "support images"],
  ["query", "query images"],
];

/** Build the picker; `show` receives the chosen image. */
export function pickerPanel(page, show) {
  const grid = element("div", { class: "thumbs", role: "listbox", aria: { label: "images" }, on: { keydown: moveByKey } });
  const filter = element("select", { aria: { label: "which images" }, on: { change: () => list(0) } }, ...tagOptions(page));
  const previous = element("button", {
    type: "button",
    text: "‹",
    aria: { label: "previous images" },
    on: { click: () => list(first - THUMBS_PER_PAGE) },
  });
  const next = element("button", {
    type: "button",
    text: "›",
    aria: { label: "next images" },
    on: { click: () => list(first + THUMBS_PER_PAGE) },
  });
  const range = element("span", { class: "thumb-range" });
  const pager = element("div", { class: "thumb-pager" }, previous, range, next);
  const caption = element("p", { class: "input-caption", aria: { live: "polite" } });
  let first = 0;
  let shown = [];

  function list(start) {
    const chosen = filter.value ? page.images.filter((image) => image.tags.includes(filter.value)) : page.images;
    first = start;
    shown = chosen.slice(first, first + THUMBS_PER_PAGE);
    grid.replaceChildren(...shown.map((image) => thumbnail(image, page, () => show(image))));
    previous.disabled = first === 0;
    next.disabled = first + THUMBS_PER_PAGE >= chosen.length;
    pager.hidden = chosen.length <= THUMBS_PER_PAGE;
    setText(range, `${first + 1}–${first + shown.length} of ${chosen.length}`);
    mark();
  }

  function mark() {
    const place = shown.indexOf(state.image);
    [...grid.children].forEach((button, at) => {
      button.setAttribute("aria-selected", String(at === place));
      button.tabIndex = at === Math.max(place, 0) ? 0 : -1;
    });
    setText(caption, page.images.includes(state.image) ? describeImage(state.image, page) : "");
  }

  function moveByKey(event) {
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const target = grid.children[[...grid.children].indexOf(document.activeElement) + step];
    if (!step || !target) return;
    event.preventDefault();
    target.focus();
    target.click();
  }

  list(0);
  let marked = null;
  subscribe(() => {
    if (state.image === marked) return;
    marked = state.image;
    mark();
  });
  return { root: element("div", { class: "picker" }, element("div", { class: "picker-head" }, filter, pager), grid, caption) };
}

function tagOptions(page) {
  const all = element("option", { value: "", text: `all ${page.images.length} images` });
  const counted = IMAGE_TAGS.map(([tag, title]) => [
    tag,
    title,
    page.images.filter((image) => image.tags.includes(tag)).length,
  ]);
  const some = counted.filter(([, , count]) => count > 0 && count < page.images.length);
  return [all, ...some.map(([tag, title, count]) => element("option", { value: tag, text: `${title} (${count})` }))];
}

/** Describe an image in words: its name, its class and why it was chosen. */
export function describeImage(image, page) {
  const names = page.few_shot ? page.few_shot.classes.map((each) => each.name) : page.network.classes;
  const label = image.label === null ? [] : [`class ${names[image.label] ?? image.label}`];
  const reasons = IMAGE_TAGS.filter(([tag]) => image.tags.includes(tag)).map(([, title]) => title);
  return [image.name, ...label, ...reasons].join(", ");
}
