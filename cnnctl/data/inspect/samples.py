"""Some training images of each class, as the network takes them and as augmentation changes them."""

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
        title: what they are.
        class_names: of each row.
        blocks: by what was done to them, for each class its images (N, H, W, C), uint8 or in [0, 1].
    """

    title: str
    class_names: list[str]
    blocks: dict[str, list[NDArray[Any]]]


def samples(splits: Splits, experiment: Experiment) -> Samples:
    """Returns training images of each class, or of a choice of classes that `data.split_seed` makes."""
    train = splits.train
    rows = sampled(train.labels, experiment.data.split_seed)
    blocks = {"as the network takes them": [train.images[indices] for indices in rows.values()]}
    if experiment.data.augment:
        # episodes draw images, and with them the changes, in another order: these are changes of the same kind
        title = "as augmentation changes them" if experiment.few_shot else "as the first epoch changes them"
        blocks[title] = [augmented(train, indices, experiment) for indices in rows.values()]
    of = (
        "each class"
        if len(rows) == len(np.unique(train.labels))
        else f"{len(rows)} of {len(np.unique(train.labels)):,} classes"
    )
    return Samples(f"training images of {of}", [splits.class_names[label] for label in rows], blocks)


def sampled(labels: Labels, seed: int) -> dict[int, Indices]:
    """Returns positions of at most OF_EACH images for each class, of at most MAX_CLASSES classes that have some."""
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    if len(classes) > MAX_CLASSES:
        classes = np.sort(generator.choice(classes, MAX_CLASSES, replace=False))
    return {int(label): np.sort(generator.permutation(np.flatnonzero(labels == label))[:OF_EACH]) for label in classes}


def augmented(train: ImageSet, indices: Indices, experiment: Experiment) -> NDArray[Any]:
    """Returns training images (B, H, W, C) in [0, 1] as the first epoch sees them; imports TensorFlow."""
    from cnnctl.data.pipeline import Preparation

    prepare = Preparation(classes=0, channels_first=False, augment=experiment.data.augment)
    draws = prepare.draws_of(indices, experiment.seed, 0)
    images, _ = prepare.network_inputs(train.images[indices], train.labels[indices], draws)
    return np.asarray(images)
