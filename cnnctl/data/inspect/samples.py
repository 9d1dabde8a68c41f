"""Select training images of each class, as the network receives them and after augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet, Labels
from cnnctl.data.splits import Splits
from cnnctl.data.store.lazy import Indices
from cnnctl.spec.experiment import Experiment

MAX_CLASSES = 20
OF_EACH = 8


@dataclass(frozen=True)
class Samples:
    """Images of some classes.

    Attributes:
        title: a description.
        class_names: one per row.
        blocks: by heading, the images (N, H, W, C) of each class, uint8 or in [0, 1].
    """

    title: str
    class_names: list[str]
    blocks: dict[str, list[NDArray[Any]]]


def samples(splits: Splits, experiment: Experiment) -> Samples:
    """Select training images of each class, or of some classes chosen by `data.split_seed`."""
    train = splits.train
    rows = sampled(train.labels, experiment.data.split_seed)
    blocks = {"as the network receives them": [train.images[indices] for indices in rows.values()]}
    if experiment.data.augment:
        # episodes draw images, and so the augmentation, in another order: this shows augmentation of the same kind
        title = "after augmentation" if experiment.few_shot else "after augmentation in the first epoch"
        blocks[title] = [augmented(train, indices, experiment) for indices in rows.values()]
    count = len(np.unique(train.labels))
    of = "each class" if len(rows) == count else f"{len(rows)} of {count:,} classes"
    return Samples(f"training images of {of}", [splits.class_names[label] for label in rows], blocks)


def sampled(labels: Labels, seed: int) -> dict[int, Indices]:
    """Select at most OF_EACH images per class, of at most MAX_CLASSES classes, by position."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    if len(classes) > MAX_CLASSES:
        classes = np.sort(generator.choice(classes, MAX_CLASSES, replace=False))
    return {int(label): np.sort(generator.permutation(np.flatnonzero(labels == label))[:OF_EACH]) for label in classes}


def augmented(train: ImageSet, indices: Indices, experiment: Experiment) -> NDArray[Any]:
    """Augment training images as in the first epoch: (B, H, W, C) in [0, 1]. Imports TensorFlow."""
    from cnnctl.data.pipeline import in_first_epoch, preparation

    images, _ = in_first_epoch(train, preparation(experiment.data, "channels_last"), indices, experiment.seed)
    return np.asarray(images)
