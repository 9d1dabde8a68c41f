"""Collect what a page shows: the network of a run or a config, its weights, images and snapshots. Imported after TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cnnctl import __version__
from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.image_set import ImageSet
from cnnctl.data.inspect.statistics import evenly
from cnnctl.data.pipeline import as_read_error, ordered_batches, preparation
from cnnctl.data.sources.opening import named_outputs
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError
from cnnctl.evaluate.evaluated_images import read_evaluated
from cnnctl.explore.few_shot_data import Episode, adapt_to, episode_of
from cnnctl.explore.images import (
    BATCH,
    MAX_SCORED,
    PageImages,
    chosen_tags,
    entries_of,
    look_of,
    partners,
    tall_first,
)
from cnnctl.explore.network_data import network_description, weights_from, weights_of, with_own_weights
from cnnctl.explore.page import FORMAT
from cnnctl.model import build_model
from cnnctl.report.text import printable
from cnnctl.run_folder import RunFolder
from cnnctl.session.snapshots import read_snapshot
from cnnctl.session.trained_run import Trained, open_trained
from cnnctl.spec.experiment import Experiment, Maml
from cnnctl.train.inference import outputs_of
from cnnctl.train.memory_check import refuse_too_large

BEFORE_TRAINING, TRAINED = "before training", "the trained network"
MAX_BATCH_BYTES = 2_000_000
"""Of the partners' pixels: 128 grey images of 125×125 pixels."""
_NONE = PageImages([], [])
_DATED = re.compile(r"\d{4}-\d\d-\d\d_")
"""How the names of run folders begin that `train` chose."""


@dataclass(frozen=True)
class Content:
    """What a page is written from.

    Attributes:
        data: JSON types, see docs/guide/explore.md.
        weights: the weight sets one after the other, little-endian float32.
        sets: their number.
        kept: how many of them a run kept during training, which --snapshots limits.
        images: of the page.
        notes: how the images were read, and what has changed since the training.
    """

    data: dict[str, Any]
    weights: bytes
    sets: int
    kept: int
    images: PageImages
    notes: list[str]


@dataclass(frozen=True)
class _Images:
    """The images of a page with what they need: class names, notes, and for few-shot tasks the episode."""

    chosen: PageImages
    class_names: list[str]
    notes: list[str]
    episode: Episode | None = None


def content_of_run(folder: Path, images: int, snapshots: int | None) -> Content:
    """Collect the page of a run.

    Args:
        folder: of the run.
        images: number of test images to choose; 0 reads no data.
        snapshots: the most weight sets of the training; None for all.

    Raises:
        RunError: the run is incomplete or damaged.
        DataError: the test images cannot be read.
    """
    trained = open_trained(folder)
    experiment = trained.experiment
    shown = _images_of_run(trained, images) if images else _Images(_NONE, list(trained.class_names), [])
    class_names = _outputs(experiment, shown)
    network = network_description(experiment, class_names)
    shown = replace(shown, notes=[*shown.notes, *_rounding(experiment)])
    sets = [*_kept(trained.run, network, snapshots), (TRAINED, None, weights_of(network, trained.model))]
    sets = _without_repeated(sets)
    return _content(
        experiment, _title(folder), {"kind": "run", "name": printable(str(folder))}, network, sets, shown, trained.model
    )


def content_of_config(experiment: Experiment, config: Path, images: int) -> Content:
    """Collect the page of a config: its network with the initial weights of its seed; arguments as in `content_of_run`.

    The images are of the validation split, or of train where there is none. The test split is read after training only.

    Raises:
        DataError: the images cannot be read.
        RunError: there is not enough memory.
    """
    refuse_too_large(experiment, images=1, training=False)
    shown = _images_of_config(experiment, images) if images else _Images(_NONE, [], [])
    model = build_model(experiment, "float32")
    network = network_description(experiment, _outputs(experiment, shown))
    sets: list[_Set] = [(BEFORE_TRAINING, 0, weights_of(network, model))]
    source = {"kind": "config", "name": printable(str(config))}
    return _content(experiment, printable(config.stem), source, network, sets, shown, model)


_Set = tuple[str, int | None, bytes]
"""A label, the epoch where it is known, and the weights as the page has them."""


def _content(
    experiment: Experiment,
    title: str,
    source: dict[str, str],
    network: dict[str, Any],
    sets: list[_Set],
    shown: _Images,
    model: keras.Model,
) -> Content:
    own = len(sets)
    sets = [*sets, *_adapted(experiment, network, shown.episode, model)]
    data = {
        "format": FORMAT,
        "cnnctl": __version__,
        "title": title,
        "source": source,
        "network": network,
        "snapshots": [{"epoch": epoch, "label": label, "set": number} for number, (label, epoch, _) in enumerate(sets)],
        "preparation": _preparation(experiment),
        "pad": look_of(_pixels(shown.chosen)).as_plain(),
        "images": [entry.as_plain() for entry in shown.chosen.images],
        "batch": [entry.as_plain() for entry in shown.chosen.batch],
        "few_shot": shown.episode.description if shown.episode else None,
        "notes": shown.notes,
    }
    weights = b"".join(weights for _, _, weights in sets)
    return Content(data, weights, len(sets), max(own - 1, 0), shown.chosen, shown.notes)


def _rounding(experiment: Experiment) -> list[str]:
    """Describe how the page's numbers differ from those of the run, if they do."""
    precision = experiment.train.precision
    return [] if precision == "float32" else [f"the run computes in {precision}, the page in float32: the last digits differ"]


def _adapted(experiment: Experiment, network: dict[str, Any], episode: Episode | None, model: keras.Model) -> list[_Set]:
    """Adapt the weights of `maml` to the labelled images of the episode; no set for other methods."""
    method = experiment.few_shot.method if experiment.few_shot else None
    if episode is None or not isinstance(method, Maml):
        return []
    prepare = preparation(experiment.data, experiment.model.data_format)
    adapt_to(model, episode, method, lambda pixels: prepare.network_inputs(pixels, np.zeros(len(pixels), np.int64))[0])
    return [("adapted to the support images", None, weights_of(network, model))]


def _outputs(experiment: Experiment, shown: _Images) -> list[str]:
    """Name the outputs of the network: the classes, with `maml` those of the episode, and none of an embedding."""
    if experiment.few_shot is None:
        return shown.class_names or named_outputs([], experiment.data)
    if not isinstance(experiment.few_shot.method, Maml):
        return []
    return shown.episode.class_names if shown.episode else [f"class {label}" for label in range(experiment.few_shot.way)]


def _preparation(experiment: Experiment) -> dict[str, Any]:
    data = experiment.data
    assert data.image_size
    height, width = data.image_size
    size = {"height": height, "width": width, "channels": data.channels, "tall_first": tall_first()}
    return size | {name: getattr(data, name) for name in ("invert", "transpose", "fit", "pixel_max")}


def _pixels(images: PageImages) -> NDArray[np.uint8]:
    entries = [*images.images, *images.batch]
    return np.stack([entry.pixels for entry in entries]) if entries else np.zeros((0, 1, 1, 1), np.uint8)


def _title(folder: Path) -> str:
    named = folder.resolve()
    return printable(named.parent.name if _DATED.match(named.name) else named.name)


# Images


def _images_of_run(trained: Trained, count: int) -> _Images:
    try:
        subject = read_evaluated(trained, "test", None)
    except DataError as error:
        reason = error.__cause__ if isinstance(error.__cause__, DataError) else error
        raise DataError(f"{reason}. For a page without images: --images 0") from error
    notes = [*subject.notes, *subject.changes_since(trained)]
    with as_read_error():
        if trained.experiment.few_shot:
            episode = episode_of(trained.experiment, "test", subject.images, subject.class_names)
            return _Images(episode.images, [], notes, episode)
        chosen = _scored(trained, subject.images, count)
    return _Images(chosen, list(trained.class_names), notes)


def _images_of_config(experiment: Experiment, count: int) -> _Images:
    splits = (read_disjoint_splits if experiment.few_shot else read_splits)(experiment.data)
    name, images = ("validation", splits.validation) if splits.validation else ("train", splits.train)
    with as_read_error():
        if experiment.few_shot:
            episode = episode_of(experiment, name, images, splits.class_names)
            return _Images(episode.images, [], list(splits.notes), episode)
        tags = chosen_tags(images.labels, None, count)
        chosen = _with_partners(images, name, tags)
    return _Images(chosen, named_outputs(splits.class_names, experiment.data), list(splits.notes))


def _scored(trained: Trained, images: ImageSet, count: int) -> PageImages:
    """Classify images of the test split, at most `MAX_SCORED`, and choose by the result."""
    positions = evenly(len(images), 1, MAX_SCORED)
    some = images.take(positions)
    prepare = preparation(trained.experiment.data, trained.experiment.model.data_format)
    outputs = outputs_of(trained.model, ordered_batches(some, prepare, trained.experiment.train.batch_size))
    tags = chosen_tags(some.labels, trained.probabilities(outputs), count)
    return _with_partners(images, "test", {int(positions[place]): reasons for place, reasons in tags.items()})


def _with_partners(images: ImageSet, split: str, tags: dict[int, tuple[str, ...]]) -> PageImages:
    entries = entries_of(images, list(tags), split, tags)
    most = min(BATCH, MAX_BATCH_BYTES // max(entries[0].pixels.nbytes, 1)) if entries else 0
    return PageImages(entries, entries_of(images, partners(len(images), list(tags), most), split, {}))


# Snapshots


def _kept(run: RunFolder, network: dict[str, Any], most: int | None) -> list[_Set]:
    """Read the weights that a run kept during training."""
    shapes = {
        f"{layer['name']}/{name}": tuple(weight["shape"])
        for layer in with_own_weights(network["layers"])
        for name, weight in layer["weights"].items()
    }
    return [
        (f"epoch {epoch}" if epoch else BEFORE_TRAINING, epoch, weights_from(network, read_snapshot(run, epoch, shapes)))
        for epoch in evenly_spread(list(run.snapshot_files()), most)
    ]


def evenly_spread(epochs: Sequence[int], most: int | None) -> list[int]:
    """Choose at most `most` epochs, evenly spread with the first and the last; all for None."""
    if most is None or len(epochs) <= most:
        return list(epochs)
    places = np.linspace(0, len(epochs) - 1, most).round().astype(int) if most > 1 else range(-most, 0)
    return [epochs[place] for place in places]


def _without_repeated(sets: Sequence[_Set]) -> list[_Set]:
    """Leave out a last snapshot that has the weights of the trained network, and name the epoch that these are from.

    Where the best weights were restored, an earlier epoch has them. It stays, so that the epochs are in order.
    """
    *kept, (label, epoch, final) = sets
    same = [at for _, at, weights in kept if weights == final]
    epoch = same[-1] if same else epoch
    left = kept[:-1] if kept and kept[-1][2] == final else kept
    return [*left, (f"{label}, epoch {epoch}" if epoch else label, epoch, final)]
