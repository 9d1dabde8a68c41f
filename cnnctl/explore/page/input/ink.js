/** Smooth lines of ink on a canvas, stroke by stroke, so that strokes can be taken back. */

const MOST_STROKES = 1000;

/** Ink on paper: strokes through points in pixels of the canvas. */
export class Ink {
  /**
   * @param canvas to draw on; its own pixels are read back.
   * @param paper, ink grey values from 0 to 255.
   */
  constructor(canvas, paper, ink) {
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.paper = paper;
    this.ink = ink;
    this.strokes = []; // {width, points}, or null for a cleared page
    this.redraw();
  }

  /** Whether there is anything to take back. */
  get canUndo() {
    return this.strokes.length > 0;
  }

  /** Start a stroke with a dot. */
  begin(x, y, width) {
    this.strokes.push({ width, points: [[x, y]] });
    if (this.strokes.length > MOST_STROKES) this.strokes.shift();
    this.drawDot(this.strokes.at(-1));
  }

  /** Continue the stroke to a point. */
  extend(x, y) {
    const stroke = this.strokes.at(-1);
    const [lastX, lastY] = stroke.points.at(-1);
    if (x === lastX && y === lastY) return;
    stroke.points.push([x, y]);
    this.drawPart(stroke, stroke.points.length - 1);
  }

  /** End the stroke: the curve so far ends in the middle before the last point. */
  end() {
    const stroke = this.strokes.at(-1);
    if (stroke?.points.length > 1) this.drawEnd(stroke);
  }

  /** Take the last stroke back, or the clearing. */
  undo() {
    this.strokes.pop();
    this.redraw();
  }

  /** Clear the page, which can be taken back too. */
  clear() {
    if (this.strokes.length && this.strokes.at(-1)) this.strokes.push(null);
    this.redraw();
  }

  /** Draw all strokes since the page was cleared. */
  redraw() {
    const { canvas } = this.context;
    this.context.fillStyle = greyColour(this.paper);
    this.context.fillRect(0, 0, canvas.width, canvas.height);
    for (const stroke of this.strokes.slice(this.strokes.lastIndexOf(null) + 1)) {
      this.drawDot(stroke);
      for (let last = 1; last < stroke.points.length; last++) this.drawPart(stroke, last);
      if (stroke.points.length > 1) this.drawEnd(stroke);
    }
  }

  drawDot({ width, points: [[x, y]] }) {
    this.context.fillStyle = greyColour(this.ink);
    this.context.beginPath();
    this.context.arc(x, y, width / 2, 0, 2 * Math.PI);
    this.context.fill();
  }

  /** Draw the part that a new point adds: from middle to middle, bent by the point between, so that corners are round. */
  drawPart({ width, points }, last) {
    const from = last === 1 ? points[0] : middleOf(points[last - 2], points[last - 1]);
    this.drawLine(width, from, points[last - 1], middleOf(points[last - 1], points[last]));
  }

  drawEnd({ width, points }) {
    const last = points.length - 1;
    const from = middleOf(points[last - 1], points[last]);
    this.drawLine(width, from, from, points[last]);
  }

  drawLine(width, from, bend, to) {
    this.context.strokeStyle = greyColour(this.ink);
    this.context.lineWidth = width;
    this.context.lineCap = "round";
    this.context.beginPath();
    this.context.moveTo(...from);
    this.context.quadraticCurveTo(...bend, ...to);
    this.context.stroke();
  }

  /** Return the pixels as a grey image. */
  pixels() {
    const { width, height } = this.context.canvas;
    const { data } = this.context.getImageData(0, 0, width, height);
    const bytes = new Uint8Array(width * height);
    for (let pixel = 0; pixel < bytes.length; pixel++) bytes[pixel] = data[4 * pixel];
    return { width, height, channels: 1, bytes };
  }
}

function middleOf([x, y], [otherX, otherY]) {
  return [(x + otherX) / 2, (y + otherY) / 2];
}

function greyColour(value) {
  return `rgb(${value} ${value} ${value})`;
}

/**
 * Move a grey image so that its centre of mass is in the middle, by whole pixels. What differs from the paper has mass.
 * The makers of MNIST centred its digits so (yann.lecun.com/exdb/mnist).
 */
export function centredImage(image, paper) {
  const { width, height, bytes } = image;
  let [mass, across, down] = [0, 0, 0];
  for (let place = 0; place < bytes.length; place++) {
    const weight = Math.abs(bytes[place] - paper);
    mass += weight;
    across += weight * (place % width);
    down += weight * Math.floor(place / width);
  }
  if (!mass) return image;
  const right = Math.round((width - 1) / 2 - across / mass);
  const below = Math.round((height - 1) / 2 - down / mass);
  const moved = new Uint8Array(bytes.length).fill(paper);
  for (let row = Math.max(0, below); row < Math.min(height, height + below); row++) {
    const from = (row - below) * width;
    const [start, end] = [Math.max(0, -right), Math.min(width, width - right)];
    moved.set(bytes.subarray(from + start, from + end), row * width + start + right);
  }
  return { ...image, bytes: moved };
}
