/** A pad to draw on with mouse, finger, pen or keys, in the look of the data: its paper, its ink, the width of its lines. */

import { toValues } from "../data.js";
import { element } from "../dom.js";
import { centredImage, Ink } from "./ink.js";
import { fitImage } from "./prepare.js";

const PAD_PIXELS = 448; // about the side of the pad; a whole multiple of the network's input
const PER_STEP = { false: 0.5, true: 4 }; // how far an arrow key moves, in pixels of the input, without and with Shift

/**
 * Build the pad. While one draws, `show` receives an image whose values are computed when they are first read, which
 * happens once per frame however many points came since.
 *
 * @returns {root, showDrawing(), showIfDrawn()}: the last shows the drawing unless the pad is untouched.
 */
export function drawingPanel(page, show) {
  const { height, width } = page.preparation;
  const multiple = Math.max(2, Math.round(PAD_PIXELS / Math.max(height, width)));
  const label = "with keys: arrows move, Space lowers and lifts the pen";
  const canvas = element("canvas", {
    class: "pad",
    width: width * multiple,
    height: height * multiple,
    tabindex: 0,
    role: "application", // in other roles screen readers keep the arrow keys for themselves
    aria: { label, roledescription: "drawing pad" },
  });
  const ink = new Ink(canvas, page.pad.paper, page.pad.ink);
  const brush = element("input", {
    type: "range",
    min: 0.5,
    max: Math.max(3, width / 5),
    step: 0.1,
    value: page.pad.stroke,
    aria: { label: "width of the brush" },
  });
  const centre = element("input", { type: "checkbox", on: { change: showDrawing } });
  const undo = toolButton("Undo", () => ink.undo());
  const clear = toolButton("Clear", () => ink.clear());
  const cursor = element("span", { class: "pad-cursor", aria: { hidden: true } });

  function showDrawing() {
    undo.disabled = clear.disabled = !ink.canUndo;
    show(lazyImage(() => preparedDrawing(ink, centre.checked, page)));
  }

  function toolButton(text, act) {
    const click = () => {
      act();
      showDrawing();
    };
    return element("button", { type: "button", text, disabled: true, on: { click } });
  }

  const stroke = {
    begin: (x, y) => ink.begin(x, y, Number(brush.value) * multiple),
    extend: (x, y) => ink.extend(x, y),
    end: () => ink.end(),
    changed: showDrawing,
  };
  listenToPointer(canvas, stroke);
  listenToKeys(canvas, cursor, multiple, stroke);
  const brushLabel = element("label", { class: "pad-brush" }, "Brush", brush);
  const centreLabel = element("label", { class: "pad-centre" }, centre, "Centre by mass");
  centreLabel.title = "Moves the drawing so that its centre of mass is in the middle, as the digits of MNIST are";
  const tools = element("div", { class: "pad-tools" }, undo, clear, centreLabel, brushLabel);
  const root = element("div", { class: "drawing" }, element("div", { class: "pad-frame" }, canvas, cursor), tools);
  return { root, showDrawing, showIfDrawn: () => ink.canUndo && showDrawing() };
}

/** Scale a drawing to the network's input by the same resizing as images of the data. It has their look already. */
function preparedDrawing(ink, centred, page) {
  const { height, width, channels } = page.preparation;
  const drawn = centred ? centredImage(ink.pixels(), ink.paper) : ink.pixels();
  const grey = fitImage(drawn, { height, width, fit: "stretch", transpose: false, invert: false });
  const bytes =
    channels === 1
      ? grey
      : Uint8Array.from({ length: grey.length * channels }, (_, place) => grey[Math.floor(place / channels)]);
  return toValues(bytes, page);
}

function lazyImage(compute) {
  let values = null;
  return {
    label: null,
    name: "your drawing",
    tags: [],
    get values() {
      return (values ??= compute());
    },
  };
}

/** Draw with mouse, finger or pen. The points between two events of a fast pointer count too. */
function listenToPointer(canvas, stroke) {
  let pointer = null;
  const draw = (event, act) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    act(((event.clientX - left) * canvas.width) / width, ((event.clientY - top) * canvas.height) / height);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button > 0) return;
    pointer = event.pointerId;
    canvas.setPointerCapture(pointer);
    draw(event, stroke.begin);
    stroke.changed();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const points = event.getCoalescedEvents?.() ?? [];
    for (const point of points.length ? points : [event]) draw(point, stroke.extend);
    stroke.changed();
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      stroke.end();
      stroke.changed();
    });
  }
}

/** Draw with keys: arrows move the pen, with Shift faster, and Space lowers and lifts it. */
function listenToKeys(canvas, cursor, multiple, stroke) {
  const pen = { x: canvas.width / 2, y: canvas.height / 2, down: false };
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function lift() {
    if (!pen.down) return;
    pen.down = false;
    stroke.end();
    stroke.changed();
  }

  function mark() {
    cursor.style.left = `${(100 * pen.x) / canvas.width}%`;
    cursor.style.top = `${(100 * pen.y) / canvas.height}%`;
    cursor.classList.toggle("down", pen.down);
  }

  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    if (event.key === " " && pen.down) lift();
    else if (event.key === " ") {
      pen.down = true;
      stroke.begin(pen.x, pen.y);
      stroke.changed();
    } else {
      const step = PER_STEP[event.shiftKey] * multiple;
      pen.x = Math.min(Math.max(pen.x + move[0] * step, 0), canvas.width);
      pen.y = Math.min(Math.max(pen.y + move[1] * step, 0), canvas.height);
      if (pen.down) {
        stroke.extend(pen.x, pen.y);
        stroke.changed();
      }
    }
    mark();
  });
  canvas.addEventListener("blur", lift);
  mark();
}
