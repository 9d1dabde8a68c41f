"""Find pixel-identical images, in one split or across splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet
from cnnctl.data.inspect.origins import Origin
from cnnctl.data.store.lazy import AnyImages, in_blocks

_DIGEST_BYTES = 16
"""Among 2^32 different images, two have the same digest with probability 2^-65 (birthday bound)."""

Place = tuple[str, int]
"""A split and a position in it."""


def equal_images(sets: Mapping[str, ImageSet]) -> list[list[Place]]:
    """Find every image that occurs more than once, as a list of its places.

    Images and places are in the order of the sets. Memory is some dozens of bytes per image.
    """
    digests = np.concatenate([_digests(each.images) for each in sets.values()])
    _, group, counts = np.unique(digests, return_inverse=True, return_counts=True)
    names, ends = list(sets), np.cumsum([len(each) for each in sets.values()])
    found: dict[int, list[Place]] = {}
    for position in np.flatnonzero(counts[group] > 1):
        number = int(np.searchsorted(ends, position, side="right"))
        place = names[number], int(position - ends[number]) + len(sets[names[number]])
        found.setdefault(int(group[position]), []).append(place)
    return list(found.values())


def _digests(images: AnyImages) -> NDArray[np.void]:
    """Compute a digest of 16 bytes per image, (N,)."""
    digests = bytearray()
    for block in in_blocks(images):
        for image in block:
            digests += hashlib.blake2b(image.tobytes(), digest_size=_DIGEST_BYTES).digest()
    return np.frombuffer(digests, dtype=f"V{_DIGEST_BYTES}")


def repeated(groups: Sequence[Sequence[Origin]], split: str) -> int:
    """Count the images of a split that repeat an earlier one of it."""
    return sum(max(0, _count(group, split) - 1) for group in groups)


def shared(groups: Sequence[Sequence[Origin]], split: str, other: str) -> int:
    """Count the images of a split that also occur in another."""
    return sum(_count(group, split) for group in groups if _count(group, other))


def conflicts(groups: Sequence[Sequence[Origin]], within_a_split: bool = False) -> int:
    """Count the images that occur with different labels, in all splits together or within one."""
    return sum(any(len(labels) > 1 for labels in _labels(group, within_a_split)) for group in groups)


def _labels(group: Sequence[Origin], per_split: bool) -> list[set[str]]:
    """Collect the labels of an image, of all splits together or per split."""
    labels: dict[str, set[str]] = {}
    for origin in group:
        labels.setdefault(origin.split if per_split else "", set()).add(origin.class_name)
    return list(labels.values())


def _count(group: Sequence[Origin], split: str) -> int:
    return sum(origin.split == split for origin in group)
