// The inner loop of convolutions and dense layers: a sum of kernel rows, each times one value.

/** Values that are not 0, each with the place of its row in the kernel. */
export class WeightedRows {
  constructor(capacity) {
    this.values = new Float64Array(capacity);
    this.places = new Int32Array(capacity);
    this.count = 0;
  }

  /** Remove all rows. */
  clear() {
    this.count = 0;
  }

  /** Add a row; a value of 0 adds nothing to a sum, and half of the values after a relu are 0. */
  add(value, place) {
    if (value === 0) return;
    this.values[this.count] = value;
    this.places[this.count] = place;
    this.count += 1;
  }

  /**
   * Add the sum of all rows times their values to `sums[at]` to `sums[at + width - 1]`.
   * Four rows at a time: each sum is then loaded and stored once for four products. `sums` is a Float64Array, since
   * rounding every partial sum to float32 would be as slow and less accurate.
   */
  addTo(sums, at, width, kernel, base) {
    const { values, places, count } = this;
    let row = 0;
    for (; row + 3 < count; row += 4) {
      const [a, b, c, d] = [values[row], values[row + 1], values[row + 2], values[row + 3]];
      const ka = base + places[row];
      const kb = base + places[row + 1];
      const kc = base + places[row + 2];
      const kd = base + places[row + 3];
      for (let i = 0; i < width; i += 1) {
        sums[at + i] += a * kernel[ka + i] + b * kernel[kb + i] + c * kernel[kc + i] + d * kernel[kd + i];
      }
    }
    for (; row < count; row += 1) {
      const value = values[row];
      const place = base + places[row];
      for (let i = 0; i < width; i += 1) sums[at + i] += value * kernel[place + i];
    }
  }
}
