"""One export, from the trained network to a file that was checked; imported after TensorFlow is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cnnctl.data.image_set import ImageSet, Labels
from cnnctl.data.pipeline import as_read_error, iterate, ordered_batches, preparation
from cnnctl.data.splits import fingerprint, read_splits
from cnnctl.errors import DataError, RunError, counted
from cnnctl.export.preparation import preparation_facts, preparation_json
from cnnctl.export.writers import (
    OPEN,
    Opened,
    Values,
    add_preparation,
    plain_network,
    write_keras,
    write_onnx,
    write_saved_model,
    write_tflite,
)
from cnnctl.files import passing_folder
from cnnctl.session.trained_run import Trained, data_changes
from cnnctl.spec.experiment import Experiment
from cnnctl.train.quiet import without_native_stderr

TOLERANCE = 1e-4
"""Probabilities of a network that keeps its floats may differ by so much; measured are some 1e-6."""
HALF_TOLERANCE = 0.05
"""The same where the run computes in mixed precision and the export in float32."""
MAX_COMPARED, MAX_JUDGED = 1_000, 10_000
"""Test images: the same floats show on few whether a runtime computes them; what int8 costs shows on many."""
MAX_TYPICAL = 300
"""Training images that int8 ranges are taken from; more change little."""
RANDOM_IMAGES = 256
ABSURD_DROP = 0.1


@dataclass(frozen=True)
class Check:
    """An exported network against the run's.

    Attributes:
        runtime: what ran it.
        images: how many they were compared on.
        of: `test`, or `random` where the test images cannot be read.
        available: how many test images there are; they are compared on some, evenly chosen.
        largest_difference: between the probabilities that the two give a class.
        same_class: the share of images that both give the same class.
        accuracy_before: of the run's network; None on random images.
        accuracy_after: of the exported one.
    """

    runtime: str
    images: int
    of: str
    available: int
    largest_difference: float
    same_class: float
    accuracy_before: float | None
    accuracy_after: float | None


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        bytes: of the file, or of all files in the folder.
        bytes_before: of the run's model.keras.
        input_name: what the file calls the images; None where they have no name.
        output_name: the same for the outputs.
        image: the shape of one image.
        outputs: how many numbers an image gives.
        notes: what a person should know about the file.
    """

    bytes: int
    bytes_before: int
    input_name: str | None
    output_name: str | None
    image: tuple[int, ...]
    outputs: int
    check: Check
    notes: list[str]


@dataclass(frozen=True)
class _Images:
    """What an export is checked on.

    Attributes:
        tested: the images; their labels mean something only where `of` is `test`.
        available: how many there are, of which `tested` may be a part.
        typical: training images as the network takes them, where it is quantized.
        notes: what a person should know about them.
    """

    tested: ImageSet
    of: str
    available: int
    typical: Values | None
    notes: list[str]


def export_network(trained: Trained, to: str, quantize: str | None, output: Path, verbose: bool) -> Exported:
    """Writes a trained network for another runtime, whole and checked or not at all.

    Args:
        trained: the network.
        to: `keras`, `saved_model`, `tflite` or `onnx`.
        quantize: `int8` with tflite, or None.
        output: the file or folder to be.
        verbose: let the converters' and runtimes' messages through.

    Raises:
        DataError: int8 needs training images, and they cannot be read.
        RunError: it cannot be converted or written, or its own runtime answers otherwise.
    """
    network = plain_network(trained.experiment, trained.model)
    with as_read_error():
        images = _images(trained, quantize)
    with _folder_beside(output) as beside:
        file = beside / ("network" if to == "saved_model" else f"network{output.suffix}")
        with contextlib.nullcontext() if verbose else without_native_stderr(), as_read_error():
            opened = _written(trained, network, to, images.typical, file)
            check = _checked(trained, opened, images)
        if quantize is None and not check.largest_difference <= _tolerance(trained.experiment):
            raise RunError(_disagrees(check, _tolerance(trained.experiment), output))
        output.parent.mkdir(parents=True, exist_ok=True)
        file.rename(output)
    notes = [*images.notes, *_notes(trained.experiment, to), *_dropped(check)]
    names = opened.input_name, opened.output_name
    before = trained.run.model.stat().st_size
    return Exported(_size(output), before, *names, network.input_shape[1:], network.output_shape[-1], check, notes)


@contextlib.contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """Makes a folder on the same disk for the while: the nearest place that is there, so that a failure leaves nothing."""
    ground = next(parent for parent in output.absolute().parents if parent.is_dir())
    try:
        with passing_folder(ground, ".cnnctl-export-") as beside:
            yield beside
    except OSError as error:
        raise RunError(f"{output} cannot be written: {error.strerror or error}; choose another --output") from error


def _images(trained: Trained, quantize: str | None) -> _Images:
    experiment = trained.experiment
    try:
        splits = read_splits(experiment.data)
        whole = splits.read_test()
    except DataError as error:
        if quantize:
            raise DataError(f"--quantize {quantize} takes the range of every layer from training images; {error}") from error
        reason = f"the test images cannot be read, so it was checked on random ones and says no accuracy ({error})"
        return _Images(_random(experiment), "random", RANDOM_IMAGES, None, [reason])
    typical = _inputs(experiment, _spread(splits.train, MAX_TYPICAL)) if quantize else None
    changes = data_changes(trained, fingerprint(splits.train), fingerprint(whole))
    test = _spread(whole, MAX_JUDGED if quantize else MAX_COMPARED)
    return _Images(test, "test", len(whole), np.concatenate(list(typical)) if typical else None, changes)


def _spread(images: ImageSet, most: int) -> ImageSet:
    """Returns at most so many of the images, from all over the set: a folder's lie class by class."""
    return images if len(images) <= most else images.take(np.linspace(0, len(images) - 1, most).astype(np.int64))


def _random(experiment: Experiment) -> ImageSet:
    data = experiment.data
    assert data.image_size and data.channels
    shape = (RANDOM_IMAGES, *data.image_size, data.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return ImageSet(pixels, np.zeros(RANDOM_IMAGES, np.int64))


def _inputs(experiment: Experiment, images: ImageSet) -> Iterator[Values]:
    """Yields the images in batches as the network takes them, (B, H, W, C) or (B, C, H, W)."""
    with iterate(ordered_batches(images, preparation(experiment), experiment.train.batch_size)) as batches:
        for inputs, _ in batches:
            yield np.asarray(inputs)


def _written(trained: Trained, network: keras.Model, to: str, typical: Values | None, file: Path) -> Opened:
    """Writes the file, with what to do with images, and opens it."""
    try:
        match to:
            case "keras":
                write_keras(network, file)
            case "saved_model":
                write_saved_model(network, file)
            case "tflite":
                write_tflite(network, file, typical)
            case "onnx":
                write_onnx(trained.experiment, network, file)
        add_preparation(to, file, preparation_json(preparation_of(trained)), trained.class_names)
        return OPEN[to](file)
    except OSError:
        raise  # a full disk, said where the place is known
    except Exception as error:  # each of the four converters and runtimes raises its own
        raise RunError(f"the network cannot be exported to {to}: {_first_line(error)}; nothing was written") from error


def preparation_of(trained: Trained) -> dict[str, Any]:
    """Return how images become the input of a trained network, and what its outputs are."""
    gives = "logits" if trained.from_logits else "probabilities"
    return preparation_facts(trained.experiment, trained.class_names, gives)


def _tolerance(experiment: Experiment) -> float:
    """Returns how far a probability may be from the run's, whose own network may compute with fewer digits."""
    return TOLERANCE if experiment.train.precision == "float32" else HALF_TOLERANCE


def _checked(trained: Trained, opened: Opened, images: _Images) -> Check:
    """Returns how the opened network answers, beside the run's own."""
    answers = [
        (np.asarray(trained.model(inputs, training=False), np.float32), _answer(opened, inputs))
        for inputs in _inputs(trained.experiment, images.tested)
    ]
    before, after = (trained.probabilities(np.concatenate(parts)) for parts in zip(*answers, strict=True))
    labels = images.tested.labels if images.of == "test" else None
    return Check(
        opened.runtime,
        len(images.tested),
        images.of,
        images.available,
        float(np.abs(after - before).max()),
        _agreement(before, after.argmax(axis=1)),
        None if labels is None else _agreement(before, labels),
        None if labels is None else _agreement(after, labels),
    )


def _agreement(probabilities: Values, classes: Labels) -> float:
    return float(np.mean(probabilities.argmax(axis=1) == classes))


def _answer(opened: Opened, inputs: Values) -> Values:
    try:
        return opened.outputs(inputs)
    except Exception as error:  # each runtime raises its own
        failed = f"{opened.runtime} cannot run the network it was given: {_first_line(error)}"
        raise RunError(f"{failed}; nothing was written, export to another runtime") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _disagrees(check: Check, tolerance: float, output: Path) -> str:
    return (
        f"{check.runtime} does not answer as the run does on {counted(check.images, check.of + ' image')}: probabilities differ by up to "
        f"{check.largest_difference:.1e}, and {tolerance:.0e} is allowed; {check.same_class:.2%} get the same class. "
        f"{output} was not written; export to another runtime"
    )


def _notes(experiment: Experiment, to: str) -> list[str]:
    notes, precision = [], experiment.train.precision
    if precision != "float32":
        notes.append(
            f"trained in {precision}; the file computes in float32, and is compared with the run within {HALF_TOLERANCE:g}"
        )
    if to == "keras" and experiment.model.style == "subclass":
        notes.append("subclassed in the run; exported as the same network in functional style, which needs no cnnctl to open")
    return notes


def _dropped(check: Check) -> list[str]:
    if check.accuracy_before is None or check.accuracy_after is None:
        return []
    drop = check.accuracy_before - check.accuracy_after
    if drop <= ABSURD_DROP:
        return []
    return [f"warning: the accuracy fell by {100 * drop:.1f} points; this network does not bear int8, better use it without"]


def _size(output: Path) -> int:
    files = output.rglob("*") if output.is_dir() else [output]
    return sum(file.stat().st_size for file in files if file.is_file())
