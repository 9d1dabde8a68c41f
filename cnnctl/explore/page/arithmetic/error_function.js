// The error function, which gelu needs and JavaScript does not have, exact to the precision of a number.

const SERIES_ENDS = 3;

/** Compute erf(x) = 2 / sqrt(pi) · the integral of exp(-t²) from 0 to x. */
export function errorFunction(x) {
  const size = Math.abs(x);
  if (Number.isNaN(x)) return x;
  if (size > 6) return Math.sign(x);
  const value = size < SERIES_ENDS ? erfSeries(size) : 1 - erfcFraction(size);
  return x < 0 ? -value : value;
}

/** Sum 2 / sqrt(pi) · exp(-x²) · x · (1 + 2x²/3 + (2x²)²/(3·5) + ...), Abramowitz and Stegun 7.1.6: no term is negative. */
function erfSeries(x) {
  let [term, sum] = [x, x];
  for (let n = 1; term > sum * 1e-17; n += 1) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** Compute 1 - erf(x) for large x by Abramowitz and Stegun 7.1.14: x + (1/2)/(x + 1/(x + (3/2)/(x + ...))). */
function erfcFraction(x) {
  let fraction = x;
  for (let n = 60; n > 0; n -= 1) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
