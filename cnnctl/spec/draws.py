"""What `augment` draws for each image, and the grid that bends it; plain numbers, which a script says too."""

DRAWS = 6
"""Numbers an example needs to be moved: rotation, two shifts, zoom, shear, flip."""
KNOTS = 5
"""Points of the elastic grid along an axis, the outer ones on the edges of the image."""
STROKE_DRAWS = 1 + 2 * KNOTS * KNOTS
"""Numbers that an example needs besides where strokes change: thickness, then how far each knot moves right and down."""
SMOOTHNESS = 0.15
"""Standard deviation of the Gaussian between the knots, of height and width: the 4 of 28 pixels of Simard et al. 2003."""
STREAM, STROKE_STREAM = 0x5EED, 0x57120
"""Keep these draws apart from those of the shuffle and from each other, which have the same seed."""
