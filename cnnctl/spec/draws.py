"""Random numbers that augmentation draws for each image, and its elastic grid; generated scripts use the same constants."""

DRAWS = 6
"""Random numbers per image for the affine part: rotation, two shifts, zoom, shear, flip."""
KNOTS = 5
"""Points of the elastic grid per axis; the outer ones are on the edges of the image."""
STROKE_DRAWS = 1 + 2 * KNOTS * KNOTS
"""Further random numbers per image with `thickness` or `elastic`: thickness, then the displacement of each knot right and down."""
SMOOTHNESS = 0.15
"""Standard deviation of the Gaussian between knots, as a fraction of height and width: 4 of 28 pixels, Simard et al. 2003."""
ERASE_DRAWS = 7
"""Further random numbers per image with `erase`: whether, area, ratio, place down and right, and two that seed the noise."""
MIXUP_DRAWS = 2
"""Further random numbers per image with `mixup`, from which its share follows."""
STREAM, STROKE_STREAM, ERASE_STREAM, MIXUP_STREAM, PARTNER_STREAM = 0x5EED, 0x57120, 0xE7A5E, 0x317A9, 0x9A174
"""Stream numbers that separate these draws from each other and from the shuffle, which use the same seed.

The last is of the permutation that chooses a partner for each image with `mixup`.
"""
