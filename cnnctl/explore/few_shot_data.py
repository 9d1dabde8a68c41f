"""Draw the episode that the page of a few-shot task shows, and adapt the weights of `maml` to its labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnctl.data.image_set import ImageSet
from cnnctl.errors import counted
from cnnctl.explore.images import BATCH, Entry, PageImages, entries_of, partners
from cnnctl.few_shot.methods import COSINE_SCALE, adapt, episode_labels
from cnnctl.few_shot.task import series_of
from cnnctl.spec.experiment import CosineClassifier, Experiment, Maml
from cnnctl.spec.few_shot import distance_of, size_of

_NUMBER = 0
"""The first episode of the series that a split is evaluated on."""
_COUNT = 2
"""The smallest number of episodes that a series has."""


@dataclass(frozen=True)
class Episode:
    """An episode of a few-shot task.

    Attributes:
        images: its labelled and its query images, class by class, and partners for batches. The label of an image is the
            position of its class in the episode.
        class_names: of the episode.
        description: as the page reads it.
    """

    images: PageImages
    class_names: list[str]
    description: dict[str, Any]


def episode_of(experiment: Experiment, split: str, images: ImageSet, class_names: Sequence[str]) -> Episode:
    """Draw the first episode that a split is evaluated on.

    Args:
        experiment: of a few-shot task.
        split: `test`, `validation` or `train`.
        images: of the split.
        class_names: by label.

    Raises:
        DataError: the split has too few classes, or too few images of one.
    """
    assert experiment.few_shot
    spec, size = experiment.few_shot, size_of(experiment.few_shot)
    series = series_of(experiment, split, images, size, _COUNT, class_names)
    positions = np.asarray(series.episodes.indices(series.seed, _NUMBER))  # (way, shot + query)
    names = [class_names[images.labels[row[0]]] for row in positions]
    entries = _entries(images, positions, split, size.shot)
    first = [place * size.images_per_class for place in range(size.way)]
    classes = [
        {"name": name, "support": list(range(start, start + size.shot))} for name, start in zip(names, first, strict=True)
    ]
    queries = [start + size.shot + query for start in first for query in range(size.query)]
    description = {
        **_method(spec.method),
        "way": size.way,
        "shot": size.shot,
        "classes": classes,
        "queries": queries,
    }
    return Episode(PageImages(entries, _batch(spec.method, entries, queries, images, positions, split)), names, description)


def _entries(images: ImageSet, positions: Any, split: str, shot: int) -> list[Entry]:
    entries = []
    for label, row in enumerate(positions.tolist()):
        tags: dict[int, tuple[str, ...]] = {
            position: ("support" if place < shot else "query",) for place, position in enumerate(row)
        }
        entries += [Entry(each.pixels, label, each.name, each.tags) for each in entries_of(images, row, split, tags)]
    return entries


def _batch(
    method: Any, entries: Sequence[Entry], queries: Sequence[int], images: ImageSet, positions: Any, split: str
) -> list[Entry]:
    """Choose partners in batches: with `maml`, which classifies all query images as one batch, these; else others of the split."""
    if isinstance(method, Maml):
        return [entries[query] for query in queries]
    chosen = partners(len(images), positions.ravel().tolist(), BATCH)
    return [
        Entry(each.pixels, None, each.name) for each in entries_of(images, chosen, split, {})
    ]  # of classes without a label here


def _method(method: Any) -> dict[str, Any]:
    if isinstance(method, Maml):
        steps = counted(method.test_steps or method.inner_steps, "step")
        note = (
            f"The last weights are adapted to the support images by {steps} of gradient descent, which starts from the weights "
            "before them. MAML uses batch statistics in tests too, those of all query images: so the page starts in training mode."
        )
        return {"method": method.kind, "distance": None, "scale": None, "note": note}
    scale = method.scale if isinstance(method, CosineClassifier) else COSINE_SCALE
    note = (
        ""
        if not isinstance(method, CosineClassifier)
        else ("Classes never trained on have no weight vectors; the mean of their support images takes their place.")
    )
    return {"method": method.kind, "distance": distance_of(method), "scale": scale, "note": note}


def adapt_to(model: keras.Model, episode: Episode, method: Maml, inputs: Any) -> None:
    """Replace the trained weights of a network by those adapted to the labelled images of an episode.

    Args:
        model: images to logits (B, way); its weights change.
        episode: with the labelled images.
        method: the config's section.
        inputs: converts pixels (B, H, W, C) to the network's inputs.
    """
    support = [place for each in episode.description["classes"] for place in each["support"]]
    images = inputs(np.stack([episode.images.images[place].pixels for place in support]))
    way, shot = episode.description["way"], episode.description["shot"]
    weights = [tf.convert_to_tensor(variable) for variable in model.trainable_variables]
    steps, rate = method.test_steps or method.inner_steps, method.inner_learning_rate
    labels = episode_labels(way, shot)
    adapted = adapt(model, weights, images, labels, steps=steps, rate=rate, first_order=True)  # no gradient is taken through it
    for variable, value in zip(model.trainable_variables, adapted, strict=True):
        variable.assign(value)
