"""Random numbers that `augment` draws for each image, and its elastic grid; generated scripts use the same constants."""

DRAWS = 6
"""Random numbers per image for the affine part: rotation, two shifts, zoom, shear, flip."""
KNOTS = 5
"""Points of the elastic grid per axis; the outer ones are on the edges of the image."""
STROKE_DRAWS = 1 + 2 * KNOTS * KNOTS
"""Further random numbers per image with `thickness` or `elastic`: thickness, then the displacement of each knot right and down."""
SMOOTHNESS = 0.15
"""Standard deviation of the Gaussian between knots, as a fraction of height and width: 4 of 28 pixels, Simard et al. 2003."""
STREAM, STROKE_STREAM = 0x5EED, 0x57120
"""Stream numbers that separate these draws from each other and from the shuffle, which use the same seed."""
