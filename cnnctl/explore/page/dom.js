/** Elements of the page, and numbers as text for people. Text goes in as text nodes only: nothing is parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";
const DIGITS = 4;
const TAKES_FOCUS = "button, input, select, [tabindex='0']";

/**
 * Create an HTML element.
 * @param {string} tag such as "div".
 * @param {object} properties `class`, `text`, `data`, `aria` and `on` as named; other keys are attributes.
 * @param {...(Node|string)} children put inside, in order.
 */
export function element(tag, properties = {}, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

/** Create an SVG element; arguments as of `element`. */
export function svgElement(tag, properties = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), properties, children);
}

function furnish(made, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.setAttribute("class", value);
    else if (key === "text") made.textContent = value;
    else if (key === "data") Object.assign(made.dataset, value);
    else if (key === "aria") setAria(made, value);
    else if (key === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Set several aria attributes: `{label: "…"}` sets `aria-label`. */
export function setAria(target, values) {
  for (const [key, value] of Object.entries(values)) target.setAttribute(`aria-${key}`, String(value));
}

/** Set an element's text only where it differs, so that an unchanged text costs no layout. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/**
 * Replace the children of an element. Where one of them had the focus, what is at its place takes it, else the element
 * itself: without a focus the keys, such as Esc, would be dead.
 */
export function refill(target, ...children) {
  const index = [...target.querySelectorAll(TAKES_FOCUS)].indexOf(document.activeElement);
  target.replaceChildren(...children);
  if (index < 0) return;
  const places = target.querySelectorAll(TAKES_FOCUS);
  (places[Math.min(index, places.length - 1)] ?? target).focus({ preventScroll: true });
}

/** Disable a button or enable it; the focus of a disabled one goes to another. */
export function setDisabled(button, disabled, other) {
  const focused = disabled && document.activeElement === button;
  button.disabled = disabled;
  if (focused && !other.disabled) other.focus({ preventScroll: true });
}

/** Format a number in four significant digits: 0.4213, −12.50, 1.300e−5. Integers below 100,000 are written as they are. */
export function number(value) {
  if (!Number.isFinite(value)) return String(value);
  return digitsOf(value).replace("e+", "e").replaceAll("-", "\u2212");
}

function digitsOf(value) {
  const size = Math.abs(value);
  if ((size < 1e-3 && size > 0) || size >= 1e5) return value.toExponential(DIGITS - 1);
  if (Number.isInteger(value)) return String(value);
  return size >= 1000 ? value.toFixed(1) : value.toPrecision(DIGITS);
}

/** Format a shape as Python does: (24, 24, 32), (10,). */
export function shapeText(shape) {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
}

/** Format a count: 1,024 or 2.44 M. */
export function countText(count) {
  if (count < 1e6) return count.toLocaleString("en-US");
  return count < 1e9 ? `${(count / 1e6).toFixed(2)} M` : `${(count / 1e9).toFixed(2)} G`;
}
