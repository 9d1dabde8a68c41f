"""Divide a source into train, validation and test: stratified hold-outs, and a check for classes never trained on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import FEW_NAMES, ImageSet, Labels, Sizes, Source, some_of
from cnnctl.data.sources.opening import open_source
from cnnctl.data.store.lazy import Indices, in_blocks
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec


@dataclass(frozen=True)
class Splits:
    """The data of one experiment.

    Attributes:
        train: the training split.
        validation: the split that choices are based on, or None.
        read_test: reads the test split; called once, after training.
        test_size: number of images in the test split.
        class_names: in the order of the labels.
        notes: messages about how the data was read.
        test_class_sizes: images per class of the test split, where splits share no class; else empty.
    """

    train: ImageSet
    validation: ImageSet | None
    read_test: Callable[[], ImageSet]
    test_size: int
    class_names: list[str]
    notes: list[str]
    test_class_sizes: tuple[int, ...] = ()

    @property
    def original_sizes(self) -> Sizes | None:
        """The minimum and maximum size of the training images before resizing; see `Sizes`."""
        return self.train.original_sizes


def read_splits(data: DataSpec) -> Splits:
    """Read the splits of a checked config. The images of the test split are read later, by `read_test`.

    Raises:
        DataError: data is missing or broken, or a split has classes without training images.
    """
    source = open_source(data)
    whole = source.read(data.train)
    _refuse_high_labels(whole, data)
    source.notes += _never_learned(whole.labels, data, source.class_names)
    named = {role: source.labels(part) for role, part in _parts(data).items() if isinstance(part, str)}
    for role, labels in named.items():
        _refuse_untrained(whole.labels, labels, data, role)
    fractions = {role: part for role, part in _parts(data).items() if isinstance(part, float)}
    held_out = hold_out(whole.labels, fractions, data.split_seed)
    parts = {role: whole.take(indices) for role, indices in held_out.items()}
    train = _rest(whole, held_out)
    _refuse_used_up(whole.labels, train.labels, data, source.class_names)
    return Splits(
        train,
        parts["validation"] if "validation" in parts else _named_validation(source, data),
        lambda: parts["test"] if "test" in parts else source.read(str(data.test)),
        len(held_out["test"] if "test" in held_out else named["test"]),
        source.class_names,
        source.notes,
    )


def _parts(data: DataSpec) -> Mapping[str, object]:
    """Map test and validation to their config values. The test comes first, so that it does not depend on validation."""
    return {"test": data.test} | ({"validation": data.validation} if data.validation is not None else {})


def _rest(whole: ImageSet, held_out: dict[str, Indices]) -> ImageSet:
    """Reduce a set to what is not held out."""
    taken = np.concatenate([*held_out.values(), np.array([], np.int64)])
    return whole.reduced(np.setdiff1d(np.arange(len(whole)), taken)) if len(taken) else whole


def _named_validation(source: Source, data: DataSpec) -> ImageSet | None:
    return source.read(str(data.validation)) if data.validation is not None else None


def hold_out(labels: Labels, fractions: dict[str, float], seed: int) -> dict[str, Indices]:
    """Draw, for each name, the indices of its fraction of every class; no index is drawn twice.

    Raises:
        DataError: a fraction of the set is less than one image.
    """
    generator = np.random.default_rng(seed)
    free = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    of_class = np.array([len(indices) for indices in free])
    parts = {}
    for name, fraction in fractions.items():
        counts = _shares(of_class * fraction, np.array([len(indices) for indices in free]))
        parts[name] = np.sort(np.concatenate([indices[:count] for indices, count in zip(free, counts, strict=True)]))
        free = [indices[count:] for indices, count in zip(free, counts, strict=True)]
    for name, indices in parts.items():
        if not len(indices):
            raise DataError(
                f"data.{name}: {fractions[name]:g} of {len(labels):,} images is less than one image; {_larger(labels, name, fractions)}"
            )
    return parts


def _larger(labels: Labels, name: str, fractions: dict[str, float]) -> str:
    """Suggest a fraction that holds at least one image, or another remedy."""
    classes = np.unique(labels)
    if len(labels) < len(classes) + len(fractions):
        return f"expected one image per class to train on and {len(fractions)} more; add images to the classes"
    larger = f"write data.{name}: {math.ceil(1000 / len(labels)) / 1000:g}"
    return larger + (" or data.validation: null" if name == "validation" else "")


def _shares(wanted: NDArray[np.float64], free: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round `wanted` to integers whose sum is the rounded sum of `wanted`.

    The largest remainders are rounded up first. No class loses its last free image while another class has two.
    """
    counts = np.minimum(np.floor(wanted).astype(np.int64), free)
    missing = round(float(wanted.sum())) - int(counts.sum())
    left = free - counts
    largest = np.lexsort((-left, counts - wanted, left <= 1))
    counts[largest[:missing]] += 1
    return counts


def _refuse_used_up(labels: Labels, trained_labels: Labels, data: DataSpec, class_names: list[str]) -> None:
    used_up = np.setdiff1d(labels, trained_labels)
    if len(used_up):
        raise DataError(
            f"data: test ({data.test}) and validation ({data.validation}) take every image of "
            f"{len(used_up):,} of {len(np.unique(labels)):,} classes, such as '{class_names[used_up[0]]}', "
            "so none is left for training; use smaller fractions, or add images to these classes"
        )


def _never_learned(labels: Labels, data: DataSpec, class_names: list[str]) -> list[str]:
    """Describe classes that have an output but no training image."""
    learned = set(labels.tolist())
    count = data.classes or len(class_names)
    missing = [name for label, name in enumerate(class_names) if label not in learned]
    if len(learned) == count:
        return []
    if len(missing) <= FEW_NAMES and len(class_names) == count:
        numbered = data.source not in ("folder", "digits")  # an empty folder may be filled later
        remedy = "; data.remap_labels: true removes them and numbers the others from 0" if numbered else ""
        return [f"no images in '{data.train}' of the {'class' if len(missing) == 1 else 'classes'} {some_of(missing)}{remedy}"]
    remedy = "" if data.remap_labels else f"; data.remap_labels: true with data.classes: {len(learned)} removes their outputs"
    return [f"{len(learned):,} of the {count:,} classes occur in '{data.train}'; the others have no training image{remedy}"]


def _refuse_untrained(trained_labels: Labels, labels: Labels, data: DataSpec, role: str) -> None:
    trained, evaluated = set(trained_labels.tolist()), set(labels.tolist())
    split = data.test if role == "test" else data.validation
    untrained = evaluated - trained
    if untrained:
        share = "none" if untrained == evaluated else f"{len(evaluated) - len(untrained):,}"
        raise DataError(
            f"data.{role}: of the {len(evaluated):,} classes of '{split}' {share} occur in '{data.train}', "
            f"and a classifier trained on '{data.train}' can never predict the others. "
            f"Hold out part of every class instead, such as {role}: 0.2"
        )


def _refuse_high_labels(images: ImageSet, data: DataSpec) -> None:
    highest = int(images.labels.max())
    if data.classes and highest >= data.classes:
        occur = len(np.unique(images.labels))
        remap = f", or data.remap_labels: true with data.classes: {occur}, which numbers the classes that occur from 0"
        raise DataError(
            f"data.classes is {data.classes}, but '{data.train}' has labels up to {highest:,}; "
            f"write data.classes: {highest + 1}{remap if occur <= highest else ''}"
        )


def fingerprint(images: ImageSet) -> str:
    """Compute 16 hexadecimal digits that are equal where two runs have the same images and labels."""
    digest = hashlib.sha256(repr((images.images.shape, len(images))).encode())
    for block in in_blocks(images.images):
        digest.update(np.ascontiguousarray(block).data)
    digest.update(np.ascontiguousarray(images.labels).data)
    return digest.hexdigest()[:16]
