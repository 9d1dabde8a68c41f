"""Classify new images, by a run or by the mean of several, and draw them. Imported after TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.findings import Finding, findings, transposed, transposed_finding
from cnnctl.data.images import Pixels
from cnnctl.data.inputs import Inputs, source_of
from cnnctl.data.inspect.originals import Thumbnail
from cnnctl.data.inspect.statistics import ImageStatistics
from cnnctl.data.new_images import NewImages, Sample
from cnnctl.data.store.lazy import in_blocks
from cnnctl.data.store.memory import bytes_of_image
from cnnctl.errors import DataError
from cnnctl.evaluate.evaluated_images import merge_findings
from cnnctl.evaluate.prediction_tables import MAX_DRAWN, Guess, Prediction, saliency_title, seen_title
from cnnctl.evaluate.saliency_methods import GRAD_CAM, GRADIENT, last_convolution
from cnnctl.model.styles import layers_of, wiring_of
from cnnctl.report.console import Console
from cnnctl.session.environment import training_images
from cnnctl.session.trained_run import EndedRun, Trained, Values, with_network
from cnnctl.spec.dataset import DataSpec
from cnnctl.train.inference import grad_cam, saliency
from cnnctl.train.memory_check import FEWER_IMAGES, as_memory_error, refuse_too_large

MAX_AT_ONCE = 256
MIN_IMAGES, MIN_CLASSES, CERTAIN, HALVED = 50, 8, 4, 0.5
"""Conditions for a network to be surer of the transposes of images: images, predicted classes, standard errors of the entropy,
and the fraction of the entropy that is left."""


@dataclass(frozen=True)
class Predicted:
    """The predictions of a network.

    Attributes:
        predictions: of the images that can be read, in the order of the command line.
        drawn: the first images (B, H, W, C), prepared for the network.
        thumbnails: of the same images, as in their files; empty unless requested.
        broken: a message per image that cannot be read.
        findings: differences from the training images.
    """

    predictions: list[Prediction]
    drawn: Pixels
    thumbnails: list[Thumbnail]
    broken: list[str]
    findings: list[Finding]


def inputs_of(files: Sequence[Path], paths: Sequence[Path], own: DataSpec, data: DataSpec, max_thumbnails: int) -> Inputs:
    """Return what is to be predicted.

    Args:
        files: in the order of the predictions.
        paths: of the command line: files, which may have many images each, and folders, in which the other files were found.
        own: how the run reads its own images.
        data: how these images are read.
        max_thumbnails: of how many images a picture is drawn.

    Raises:
        DataError: a file of many images is damaged, or it is not clear which of them are meant.
    """
    roots = [path for path in paths if path.is_dir()]
    named = set(paths).difference(roots)
    folders = {file: root for root in roots for file in files if file not in named and file.is_relative_to(root)}
    sources = [source_of(file, own) if file in named else file for file in files]
    return Inputs(sources, data, max_thumbnails, folders)


def predicted(trained: Trained, inputs: Inputs, top: int, trained_on: ImageStatistics | None) -> Predicted:
    """Compute the `top` most probable classes of each image, and compare the images with the training images.

    Raises:
        RunError: there is not enough memory.
        DataError: a file of many images is damaged.
    """
    predictions: list[Prediction] = []

    def keep(names: Sequence[str], probabilities: Values) -> None:
        predictions.extend(_predictions(names, probabilities, trained.class_names, top))

    drawn, found = _classify(trained, inputs, trained_on, keep)
    return Predicted(predictions, drawn, inputs.thumbnails, inputs.broken, found)


def predicted_together(
    runs: Sequence[EndedRun], inputs_for: Callable[[EndedRun], Inputs], top: int, console: Console
) -> tuple[Predicted, Inputs]:
    """Classify images by the mean of the networks' probabilities. Return the inputs of the first run too.

    The images are read for each run as its config says, and one network at a time is in memory.

    Args:
        runs: two or more, with the same classes in the same order.
        inputs_for: opens the images for a run.
        top: classes per image.
        console: for messages about runs without statistics of their training images.

    Raises:
        RunError: a network is damaged, or there is not enough memory.
        DataError: a file of many images is damaged, or the images changed meanwhile.
    """
    members = [_member(run, inputs_for(run), console) for run in runs]
    first = members[0]
    if any(member.names != first.names for member in members):
        raise DataError("the images changed while they were read; run the command again")
    mean = sum(member.probabilities.astype(np.float64) for member in members) / len(members)
    predictions = _predictions(first.names, np.asarray(mean, np.float32), runs[0].class_names, top)
    found = merge_findings({member.run: member.findings for member in members if member.findings is not None})
    read = first.inputs
    return Predicted(predictions, first.drawn, read.thumbnails, read.broken, found), read


@dataclass(frozen=True)
class _Member:
    """The predictions of one network of several.

    Attributes:
        run: its folder.
        names: of the images that can be read.
        probabilities: (N, classes).
        inputs: the images, as they were read.
        drawn: as in `Predicted`.
        findings: as in `Predicted`; None for a run without statistics of its training images.
    """

    run: Path
    names: list[str]
    probabilities: Values
    inputs: Inputs
    drawn: Pixels
    findings: list[Finding] | None


def _member(run: EndedRun, inputs: Inputs, console: Console) -> _Member:
    names: list[str] = []
    parts = [np.zeros((0, len(run.class_names)), np.float32)]

    def keep(some: Sequence[str], probabilities: Values) -> None:
        names.extend(some)
        parts.append(probabilities)

    trained_on = training_images(run.run, console)
    drawn, found = _classify(with_network(run), inputs, trained_on, keep)
    return _Member(run.run.path, names, np.concatenate(parts), inputs, drawn, found if trained_on else None)


def _classify(
    trained: Trained, inputs: Inputs, trained_on: ImageStatistics | None, keep: Callable[[Sequence[str], Values], None]
) -> tuple[Pixels, list[Finding]]:
    """Classify images in batches; `keep` receives names and probabilities.

    Returns:
        The first images as prepared for the network, and the differences of all from the training images.
    """
    drawn: list[Pixels] = []
    count = 0
    size = min(trained.experiment.train.batch_size, MAX_AT_ONCE)
    refuse_too_large(trained.experiment, min(size, inputs.count), training=False)
    own = trained.experiment.data
    sample = Sample(inputs.count, bytes_of_image(own), MAX_AT_ONCE)
    with as_memory_error(FEWER_IMAGES):
        for batch in inputs.batches(size):
            drawn.extend(batch.images[: max(MAX_DRAWN - count, 0)])
            count += len(batch)
            keep(batch.names, _probabilities(trained, batch.images))
            if trained_on:
                sample.add(batch)
        new = sample.compared(trained_on, own, inputs.data) if trained_on else None
        found = _findings(trained, new, np.concatenate(sample.kept)) if new else []
    return np.array(drawn), found


def _predictions(names: Sequence[str], probabilities: Values, class_names: Sequence[str], top: int) -> list[Prediction]:
    return [Prediction(name, _guesses(each, class_names, top)) for name, each in zip(names, probabilities, strict=True)]


def _probabilities(trained: Trained, images: Pixels) -> Values:
    return trained.probabilities(np.asarray(trained.outputs(trained.inputs(images))))


def _findings(trained: Trained, new: NewImages, some: Pixels) -> list[Finding]:
    """Find the differences of new images from the training images. Where pixels do not show the orientation, the network does.

    Args:
        trained: the run.
        new: statistics of the images and of the training images.
        some: of the images, evenly chosen.
    """
    found = findings(new)
    orientation = new.trained_on.orientation
    undecided = not found and not (orientation and orientation.can_tell(len(new.each.mean)))
    if undecided and _is_surer(trained, transposed(some, new.data), some):
        return [
            transposed_finding(new, len(new.each.mean), "look transposed to the network, which is surer of their transposes")
        ]
    return found


def _is_surer(trained: Trained, images: Pixels, others: Pixels) -> bool:
    """Return True if a network is much surer of images (N, H, W, C) than of others, for N at least `MIN_IMAGES`.

    With images of one class it may be surer of the wrong ones: Omniglot has such classes. With images that are noisier or moved
    compared with training it may be a little surer either way, which is significant for 256 images: so the entropy must also
    be halved. Measured with networks of configs/mnist.yaml and configs/omniglot.yaml on test images, original, moved, rotated,
    scaled, thicker, noisier and on grey: the network was surer of the transposes in one of 17,600 sets of 50 and 256 images.
    Of sets of transposed Omniglot images, 82 % were found with 50 images and all with 256.
    """
    first, second = (np.concatenate([_probabilities(trained, part) for part in in_blocks(each)]) for each in (images, others))
    sure, unsure = _certainty(first), _certainty(second)
    gain = sure - unsure  # (N,)
    classes = min(MIN_CLASSES, len(trained.class_names) // 2)
    if len(gain) < MIN_IMAGES or len(np.unique(first.argmax(axis=1))) < classes:
        return False
    is_halved = float(sure.mean()) > HALVED * float(unsure.mean())  # both are negative
    return is_halved and float(gain.mean()) > CERTAIN * float(gain.std(ddof=1)) / math.sqrt(len(gain))


def _certainty(probabilities: Values) -> NDArray[np.float64]:
    """Compute the negative entropy (N,) of probabilities (N, classes), in nats."""
    exact = probabilities.astype(np.float64)
    return np.asarray((exact * np.log(np.maximum(exact, 1e-12))).sum(axis=1))


def _guesses(probabilities: Values, class_names: Sequence[str], top: int) -> list[Guess]:
    most_probable = np.argsort(-probabilities, kind="stable")[:top]
    return [Guess(class_names[label], int(label), float(probabilities[label])) for label in most_probable]


def saliency_picture(trained: Trained, named: Predicted, method: str = GRADIENT) -> bytes:
    """Draw the first images and what the score of their most probable class depends on, as a PNG.

    Args:
        trained: the run.
        named: its predictions.
        method: `gradient`, by pixel, or `grad_cam`, by place of the last convolution.
    """
    from cnnctl.report.figures import saliency_png

    shown = named.predictions[:MAX_DRAWN]
    labels = np.array([each.guesses[0].label for each in shown])
    images = trained.inputs(named.drawn)
    if method == GRAD_CAM:
        maps = _grad_cam(trained, images, labels, named.drawn.shape[1:3])
    else:
        maps = saliency(trained.model, images, labels, trained.from_logits, trained.channel_axis)
    empty = ["" if each.any() else "; the map is all 0" for each in maps]
    titles = [f"{saliency_title(each)}{note}" for each, note in zip(shown, empty, strict=True)]
    return saliency_png(named.drawn, maps, titles)


def _grad_cam(trained: Trained, images: Any, labels: NDArray[np.int64], size: tuple[int, ...]) -> Values:
    """Compute Grad-CAM for the last convolution, enlarged bilinearly to the size of the images, as in the paper."""
    nodes = trained.experiment.network.nodes
    last = last_convolution(nodes)
    assert last is not None  # refused before
    maps = grad_cam(layers_of(trained.model, nodes), wiring_of(nodes), last, images, labels, trained.from_logits)
    enlarged: Values = tf.image.resize(maps[..., np.newaxis], size, method="bilinear")[..., 0].numpy()
    return enlarged


def seen_picture(named: Predicted) -> bytes:
    """Draw the first images as in their files, each with the image prepared for the network, as a PNG."""
    from cnnctl.report.figures import seen_png

    thumbnails = named.thumbnails
    sizes = [f"{each.height}×{each.width}" for each in thumbnails]
    titles = [seen_title(each) for each in named.predictions[: len(thumbnails)]]
    return seen_png([each.pixels for each in thumbnails], sizes, named.drawn, titles)
