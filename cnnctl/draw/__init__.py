"""Draw networks and single layers as SVG, without TensorFlow.

In: a checked config's `Network`. Out: the text of an SVG picture. Open `network_picture.py` first.
"""
