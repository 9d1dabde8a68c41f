// Seeded random numbers: the same seed gives the same masks in every browser.

/** Hash a text to 32 bits (FNV-1a). */
export function hashOf(text) {
  let hash = 2166136261;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 16777619);
  }
  return hash >>> 0;
}

/** Return a function that draws uniform numbers in [0, 1) (mulberry32, 32 bits of state). */
export function uniformNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Return a function that draws normal numbers of mean 0 and variance 1 (Box and Muller 1958). */
export function normalNumbers(seed) {
  const draw = uniformNumbers(seed);
  return () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
}
