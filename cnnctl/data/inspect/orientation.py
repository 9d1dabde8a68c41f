"""Detect transposed images by a linear discriminant estimated from training images. NumPy alone.

Letters and digits are not symmetric about their main diagonal. No simple measure of that, such as the energy of horizontal
versus vertical gradients, agrees on a 1 and a 7. So each set has its own discriminant: Fisher's (R. A. Fisher, "The use of
multiple measurements in taxonomic problems", Annals of Eugenics 7, 1936) between images and their transposes, on small maps
of the ink. Transposition mirrors one group onto the other, so the mean and covariance of the part that changes sign suffice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

SIDE = 8
"""Side of a map. With 14, accuracy on MNIST is about the same (92.1 % instead of 91.8 %) for three times the numbers."""
REACH = 2.2
"""Radius of a map in extents of the ink, which covers all ink of most images."""
SHRINKAGE = 0.05
"""Shrinkage of the covariance towards a multiple of the identity, needed for few training images."""
MIN_IMAGES = 20
"""Images needed for a discriminant, besides one per class, and images per class needed for its own variance."""
CERTAIN = 4
"""Limit in standard deviations. None of 160,000 subsets of MNIST's test split with 1, 5, 20 or 100 images, of all classes or
of one, looks transposed. Of their transposes, no single image is detected, 57 % of 5 images, all of 20, and 92 % of 20 images
of one class."""
LEAST = 0.5
"""Negative score, relative to the mean of the set, that transposed images must reach for any number of images."""
_ABOVE_DIAGONAL = np.triu_indices(SIDE, 1)


@dataclass(frozen=True)
class Orientation:
    """The discriminant of a set: the mean score of its images is 1, and of their transposes -1.

    Attributes:
        weights: discriminant for the part of a map that changes sign.
        lowest: the lowest mean score of a class, since all new images may be of this class.
        deviation: the largest standard deviation of scores within a class.
    """

    weights: tuple[float, ...]
    lowest: float
    deviation: float

    def __post_init__(self) -> None:
        if len(self.weights) != len(_ABOVE_DIAGONAL[0]):
            raise ValueError(f"expected {len(_ABOVE_DIAGONAL[0])} weights, received {len(self.weights)}")

    def scores(self, maps: Values) -> Values:
        """Compute the score of each map (N, M): positive where the image is oriented like the set."""
        return _changing_sign(maps) @ np.array(self.weights, np.float32)

    def looks_transposed(self, score: float, images: int) -> bool:
        """Return True where images with this mean score cannot be oriented like the set, whatever their classes."""
        return score < self._limit(images)

    def can_tell(self, images: int) -> bool:
        """Return True where this number of transposed images is likely to be detected."""
        return self._limit(images) > -1

    def _limit(self, images: int) -> float:
        return min(self.lowest - CERTAIN * self.deviation / math.sqrt(images), -LEAST)


def orientation_of(maps: Values, labels: NDArray[np.int64]) -> Orientation | None:
    """Estimate the discriminant of a set; None where there are too few images.

    Each half of the set is scored with weights from the other half, since weights overfit their own images.

    Args:
        maps: (N, M), from `orientation_maps`.
        labels: (N,).
    """
    changing = _changing_sign(maps)
    first = np.random.default_rng(0).permutation(len(maps)) % 2 == 0  # random halves: classes may be in a periodic order
    if len(maps) - len(np.unique(labels)) < MIN_IMAGES or not changing.any():
        return None
    scores = np.empty(len(maps))
    for half in (first, ~first):
        scores[half] = changing[half] @ _weights(changing[~half])
    weights = _weights(changing)
    mean, own_mean = scores.mean(), (changing @ weights).mean()
    if mean <= 0 or own_mean <= 0:
        return None
    lowest, deviation = _by_class(scores / mean, labels)
    return Orientation(tuple((weights / own_mean).tolist()), lowest, deviation)


def _by_class(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Compute the lowest mean of a class, less two standard errors, and the largest standard deviation in a class."""
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.bincount(numbers, scores) / counts
    squares = np.bincount(numbers, (scores - means[numbers]) ** 2)
    pooled = squares.sum() / (len(scores) - len(counts))
    large = counts >= MIN_IMAGES  # the variance of few images is unreliable
    variance = np.max(squares[large] / (counts[large] - 1), initial=pooled)
    return float((means - 2 * np.sqrt(pooled / counts)).min()), float(np.sqrt(variance))


def _changing_sign(maps: Values) -> Values:
    """Extract the part of maps (N, M) that changes sign under transposition: (N, SIDE (SIDE - 1) / 2)."""
    squares = maps.reshape(-1, SIDE, SIDE)
    return (squares - squares.swapaxes(1, 2))[:, *_ABOVE_DIAGONAL]


def _weights(changing: Values) -> NDArray[np.float64]:
    """Compute Fisher's discriminant between vectors (N, D) and their negatives: covariance⁻¹ · mean."""
    covariance = np.cov(changing.T.astype(np.float64))
    ridge = SHRINKAGE * np.trace(covariance) / len(covariance) + 1e-12
    return np.linalg.solve(covariance + ridge * np.eye(len(covariance)), changing.mean(axis=0, dtype=np.float64))


def orientation_maps(strength: Values) -> tuple[Values, Values]:
    """Compute a small map of each image's ink, (N, SIDE²) of length 1, and the extent of its ink (N,).

    A map is centred on the ink and scaled to it, so it is invariant to the position and size of a drawing.
    The extent is the root mean square distance of ink from its centre, as a fraction of the side of the image.

    Args:
        strength: (N, H, W), 0 without ink.
    """
    rows, columns = strength.sum(axis=2), strength.sum(axis=1)  # (N, H) and (N, W)
    y, x = _places(strength.shape[1]), _places(strength.shape[2])
    (centre_y, variance_y), (centre_x, variance_x) = _moments(rows, y), _moments(columns, x)
    extent = np.sqrt(variance_y + variance_x)
    radius = np.maximum(REACH * extent / np.sqrt(2), 1 / SIDE)
    down, across = _hats(centre_y, radius, y), _hats(centre_x, radius, x)
    maps = (down @ strength @ across.swapaxes(1, 2)).reshape(len(strength), -1)
    return maps / np.maximum(np.linalg.norm(maps, axis=1, keepdims=True), 1e-6), extent


def _places(pixels: int) -> Values:
    """Compute the centres of pixels, as fractions of the side of the image."""
    return ((np.arange(pixels) + 0.5) / pixels).astype(np.float32)


def _moments(weights: Values, places: Values) -> tuple[Values, Values]:
    """Compute mean and variance (N,) of places (P,) under weights (N, P)."""
    total = np.maximum(weights.sum(axis=1), 1e-6)
    mean = weights @ places / total
    return mean, (weights * (places - mean[:, None]) ** 2).sum(axis=1) / total


def _hats(centre: Values, radius: Values, places: Values) -> Values:
    """Compute triangular weights (N, SIDE, P) that sample `SIDE` values around a centre."""
    steps = ((np.arange(SIDE) + 0.5) * 2 / SIDE - 1).astype(np.float32)
    wanted = centre[:, None] + radius[:, None] * steps  # (N, SIDE)
    width = np.maximum(2 * radius / SIDE, 1 / len(places))[:, None, None]
    return np.maximum(0, 1 - np.abs(wanted[:, :, None] - places) / width)
