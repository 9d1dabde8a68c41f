"""Mean and variance of the training images, for the normalizations of a network that take them from there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet
from cnnctl.data.store.lazy import AnyImages, in_blocks
from cnnctl.spec.layers import Normalization
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import kept_axes

WHITE = 255
"""The pixel value that the network sees as 1."""
MOST_SHOWN = 4
"""Most means that a line lists."""
Values = NDArray[np.float64]
MeanAndVariance = tuple[Values, Values]


def moments_of(images: ImageSet, network: Network) -> dict[str, MeanAndVariance]:
    """Compute mean and variance of images in [0, 1] for each normalization that needs them, by its name.

    The images are read once per layer, in blocks, as they are, without augmentation.
    """
    first = network.data_format == "channels_first"
    return {
        node.name: pixel_moments(images.images, [axis + 1 for axis in kept_axes(node.layer, network.image)], first)
        for node in network.nodes
        if isinstance(node.layer, Normalization) and node.layer.adapted
    }


def pixel_moments(images: AnyImages, kept: Sequence[int], channels_first: bool = False) -> MeanAndVariance:
    """Compute mean and variance of images in [0, 1] over all axes but `kept`.

    The sums are of integers below 2^53, exact in float64: no order of the images, and no size of a block, changes the result.

    Args:
        images: (N, H, W, C), uint8.
        kept: axes of the network's input, in which 0 is the batch.
        channels_first: the network's input is (B, C, H, W).
    """
    over = tuple(axis for axis in range(4) if axis not in kept)
    total, squares, count = np.zeros(()), np.zeros(()), 0
    for block in in_blocks(images):
        pixels = block.transpose(0, 3, 1, 2) if channels_first else block
        total = total + pixels.sum(over, dtype=np.float64)
        squares = squares + np.square(pixels, dtype=np.uint16).sum(over, dtype=np.float64)
        count += pixels.size
    count //= total.size
    mean = total / count
    variance = squares / count - mean**2
    return mean / WHITE, variance / WHITE**2


def described(name: str, moments: MeanAndVariance, examples: int) -> str:
    """Describe mean and standard deviation in a line, and values that never vary."""
    mean, deviation = moments[0].ravel(), np.sqrt(moments[1]).ravel()
    of = f"of {examples:,} training images" if examples > 1 else "of the one training image"
    if mean.size <= MOST_SHOWN:
        shown = f"mean {_listed(mean)}, standard deviation {_listed(deviation)} {of}"
    else:
        shown = f"{mean.size:,} means from {mean.min():.4g} to {mean.max():.4g} {of}"
    still = int((deviation == 0).sum())
    never = f"; {still:,} of {mean.size:,} never vary there, and other values than theirs are divided by 1e-07" if still else ""
    return f"'{name}': {shown}{never}"


def _listed(values: Values) -> str:
    return " ".join(f"{value:.4g}" for value in values)
