"""Compute facts of the data of an experiment: counts and sums over pixels and labels, without a network."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.class_splits import disjoint_groups
from cnnctl.data.image_set import ImageSet
from cnnctl.data.inspect.duplicates import conflicts, equal_images, repeated, shared
from cnnctl.data.inspect.origins import Origin, Origins
from cnnctl.data.sources.opening import named_outputs
from cnnctl.data.splits import Splits, fingerprint
from cnnctl.data.store.lazy import AnyImages, in_blocks
from cnnctl.spec.dataset import FILE_SOURCES, DataSpec
from cnnctl.spec.experiment import CosineClassifier, FewShotSpec
from cnnctl.spec.few_shot import EpisodeSize, size_of, training_size_of, turns_of
from cnnctl.spec.found import known_images
from cnnctl.spec.found_files import open_originals
from cnnctl.spec.tfds_images import prepared_dir, tfds_dir

Counts = NDArray[np.int64]
"""Images per class."""

ROLES = ("train", "validation", "test")


@dataclass(frozen=True)
class PixelFacts:
    """Statistics of the pixels of a split.

    Attributes:
        mean: per channel, in [0, 1].
        standard_deviation: per channel, over all pixels of all images.
        colourless: True where every pixel is grey.
    """

    mean: list[float]
    standard_deviation: list[float]
    colourless: bool


@dataclass(frozen=True)
class Balance:
    """The distribution of images over the classes that occur in a split.

    Attributes:
        fewest: images of the smallest class.
        median: median of images per class.
        most: images of the largest class.
        ratio: most / fewest.
        largest: the name of the largest class.
        smallest: the name of the smallest class.
    """

    fewest: int
    median: float
    most: int
    ratio: float
    largest: str
    smallest: str


@dataclass(frozen=True)
class SplitFacts:
    """Facts of one split.

    Attributes:
        part: its name in the source, its fraction of train, or the classes or groups that it holds out of train.
        images: number of images.
        classes: number of classes with images.
        missing: names of the classes without images; empty where splits share no class.
        balance: over the classes with images.
        pixels: statistics of all its images.
        blank: images of a single colour.
        repeated: number of images that repeat an earlier one of the split, pixel for pixel.
        shared: number of images that also occur in an earlier split, by split.
    """

    part: str | float | list[str]
    images: int
    classes: int
    missing: list[str]
    balance: Balance
    pixels: PixelFacts
    blank: list[Origin]
    repeated: int
    shared: dict[str, int]


@dataclass(frozen=True)
class ClassFacts:
    """One class: its name, and its number of images per split."""

    name: str
    images: dict[str, int]


@dataclass(frozen=True)
class EpisodeFacts:
    """The largest possible episodes of a split, and those of the config.

    Attributes:
        classes: maximum number of classes; each rotation or reflection of a class counts.
        images: maximum number of images per class.
        way: configured classes per episode.
        shot: configured labelled images per class.
        query: configured images to classify per class.
        short: number of original classes with fewer than shot + query images.
    """

    classes: int
    images: int
    way: int
    shot: int
    query: int
    short: int


@dataclass(frozen=True)
class DataFacts:
    """Facts of the data of an experiment.

    Attributes:
        source: of the config, such as `tfds` or `folder`.
        name: of a TFDS set.
        folder: the folder of the data; None for scikit-learn's digits.
        fingerprint: of the training images, as in environment.json.
        image_shape: (H, W, C) of an image, before `data_format`.
        source_shape: the same in the source, for a folder of its first image; None for sides that differ or are unknown.
        inverted: True where the config inverts the images.
        hold_out: the unit held out of train: `image`, or, for few-shot tasks, `class` or `group`.
        groups: groups per split, such as its alphabets; None where no groups are held out.
        notes: messages about how the images were read.
        splits: by name; the test split is the last.
        classes: in the order of the labels.
        baseline: the accuracy of always predicting the most frequent class of train; None for few-shot tasks.
        method: of a few-shot task, such as `prototypical`; None for classification.
        turns: number of classes that each class of train becomes by rotations and reflections.
        episodes: per split that a few-shot task draws episodes from; None for classification.
        conflicts: number of images with different labels; for few-shot tasks within one split, since two share no class.
        duplicates: every image that occurs more than once, as a list of its places.
    """

    source: str
    name: str | None
    folder: str | None
    fingerprint: str
    image_shape: list[int]
    source_shape: list[int | None]
    inverted: bool
    hold_out: str
    groups: dict[str, list[str]] | None
    notes: list[str]
    splits: dict[str, SplitFacts]
    classes: list[ClassFacts]
    baseline: float | None
    method: str | None
    turns: int
    episodes: dict[str, EpisodeFacts] | None
    conflicts: int
    duplicates: list[list[Origin]]


def data_facts(data: DataSpec, splits: Splits, few_shot: FewShotSpec | None = None) -> DataFacts:
    """Compute the facts of a checked config's data. Reads the test split.

    Args:
        data: a checked config.
        splits: from `read_splits`, or from `read_disjoint_splits` for a few-shot task.
        few_shot: the section of a few-shot task.

    Raises:
        DataError: the test split cannot be read.
    """
    sets = _sets(splits)
    names = splits.class_names if few_shot else named_outputs(splits.class_names, data)
    origins = Origins(data, {role: each.labels for role, each in sets.items()}, names)
    duplicates = [[origins.of(*place) for place in places] for places in equal_images(sets)]
    of_classes = {role: np.bincount(each.labels, minlength=len(names)) for role, each in sets.items()}
    return DataFacts(
        source=data.source,
        name=data.name,
        folder=_folder(data),
        fingerprint=fingerprint(splits.train),
        image_shape=[*(data.image_size or ()), data.channels or 0],
        source_shape=_source_shape(data),
        inverted=data.invert,
        hold_out=data.hold_out or "image",
        groups=disjoint_groups(data) if data.hold_out == "group" else None,
        notes=splits.notes,
        splits={role: _split_facts(role, each, data, names, origins, duplicates) for role, each in sets.items()},
        classes=[ClassFacts(name, {role: int(of_classes[role][label]) for role in sets}) for label, name in enumerate(names)],
        baseline=None if few_shot else float(np.mean(sets["test"].labels == of_classes["train"].argmax())),
        method=few_shot.method.kind if few_shot else None,
        turns=turns_of(few_shot.rotations, few_shot.mirrors) if few_shot else 1,
        episodes=_episodes(few_shot, of_classes) if few_shot else None,
        conflicts=conflicts(duplicates, within_a_split=few_shot is not None),
        duplicates=duplicates,
    )


def _sets(splits: Splits) -> dict[str, ImageSet]:
    validation = {"validation": splits.validation} if splits.validation is not None else {}
    return {"train": splits.train, **validation, "test": splits.read_test()}


def _folder(data: DataSpec) -> str | None:
    if data.source == "tfds":
        return str(prepared_dir(data) or tfds_dir(data) / str(data.name).partition(":")[0])
    return data.path


def _source_shape(data: DataSpec) -> list[int | None]:
    """Find (H, W, C) of the images in their source, transposed where the config says so; None for unknown sides."""
    if data.source in FILE_SOURCES:
        part = open_originals(data)[data.train]
        height, width = (part.width, part.height) if data.transpose else (part.height, part.width)
        if height is not None:
            return [height, width, part.channels]
    found = known_images(data.model_copy(update={"image_size": None, "channels": None}))
    return [found.height, found.width, found.channels]


def _split_facts(
    role: str, images: ImageSet, data: DataSpec, names: list[str], origins: Origins, duplicates: list[list[Origin]]
) -> SplitFacts:
    counts = np.bincount(images.labels, minlength=len(names)).tolist()
    part = getattr(data, role)
    return SplitFacts(
        part=list(part) if isinstance(part, tuple) else part,
        images=len(images),
        classes=sum(count > 0 for count in counts),
        missing=[] if data.holds_out_classes else [name for name, count in zip(names, counts, strict=True) if not count],
        balance=balance([(count, name) for name, count in zip(names, counts, strict=True) if count]),
        pixels=pixel_facts(images.images),
        blank=[origins.of(role, index) for index in blank_images(images.images)],
        repeated=repeated(duplicates, role),
        shared={other: shared(duplicates, role, other) for other in _before(role, data)},
    )


def _before(role: str, data: DataSpec) -> list[str]:
    """List the splits that must share no image with this one, each pair once."""
    roles = [each for each in ROLES if each != "validation" or data.validation is not None]
    return roles[: roles.index(role)]


def _episodes(few_shot: FewShotSpec, of_classes: Mapping[str, Counts]) -> dict[str, EpisodeFacts]:
    """Describe the episodes of each split; `cosine_classifier` draws none from train."""
    return {
        role: _training_facts(few_shot, counts) if role == "train" else _episode_facts(counts, size_of(few_shot), turns=1)
        for role, counts in of_classes.items()
        if not (role == "train" and isinstance(few_shot.method, CosineClassifier))
    }


def _training_facts(few_shot: FewShotSpec, counts: Counts) -> EpisodeFacts:
    return _episode_facts(counts, training_size_of(few_shot), turns_of(few_shot.rotations, few_shot.mirrors))


def _episode_facts(counts: Counts, size: EpisodeSize, turns: int) -> EpisodeFacts:
    own = counts[counts > 0]
    short = int(np.count_nonzero(own < size.images_per_class))
    return EpisodeFacts(len(own) * turns, int(own.min()), size.way, size.shot, size.query, short)


def balance(classes: Sequence[tuple[int, str]]) -> Balance:
    """Compute the distribution of images over classes, given as (images, name)."""
    fewest, smallest = min(classes, key=lambda each: each[0])
    most, largest = max(classes, key=lambda each: each[0])
    return Balance(fewest, statistics.median(count for count, _ in classes), most, most / fewest, largest, smallest)


def pixel_facts(images: AnyImages) -> PixelFacts:
    """Compute statistics of images (N, H, W, C). The sums are integers, so there are no rounding errors."""
    count = images.size // images.shape[-1]
    sums, squares = np.zeros((2, images.shape[-1]), np.int64)
    colourless = True
    for part in in_blocks(images):
        values = part.reshape(-1, part.shape[-1])
        sums += values.sum(axis=0, dtype=np.int64)
        squares += np.square(values, dtype=np.uint16).sum(axis=0, dtype=np.int64)  # 255² < 2¹⁶
        colourless = colourless and bool((values == values[:, :1]).all())
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return PixelFacts((mean / 255).tolist(), (deviation / 255).tolist(), colourless)


def blank_images(images: AnyImages) -> list[int]:
    """Find the images (N, H, W, C) whose pixels are all equal, by position."""
    blank = [(part == part[:, :1, :1]).all(axis=(1, 2, 3)) for part in in_blocks(images)]
    return np.flatnonzero(np.concatenate(blank)).tolist()
