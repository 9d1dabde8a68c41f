"""Export a trained network to a file and check it in its runtime. Imported after TensorFlow."""

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
from cnnctl.spec.layers.custom import note_of
from cnnctl.train.quiet import without_native_stderr

TOLERANCE = 1e-4
"""Largest difference of probabilities where the export has the same floats; differences of about 1e-6 were measured."""
HALF_TOLERANCE = 0.05
"""Largest difference where the run computes in mixed precision and the export in float32."""
MAX_COMPARED, MAX_QUANTIZED = 1_000, 10_000
"""Test images for the check: few show whether a runtime computes the same floats, the accuracy of int8 needs many."""
MAX_TYPICAL = 300
"""Training images for the ranges of int8; more change little."""
RANDOM_IMAGES = 256
ABSURD_DROP = 0.1


@dataclass(frozen=True)
class Check:
    """Comparison of an exported network with the run's.

    Attributes:
        runtime: name and version.
        images: number of compared images.
        of: `test`, or `random` where the test images cannot be read.
        available: number of test images, of which the compared ones are evenly chosen.
        largest_difference: of the probability of a class.
        same_class: fraction of the images with the same predicted class.
        accuracy_before: of the run's network; None on random images.
        accuracy_after: of the exported network.
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
    """An exported file.

    Attributes:
        bytes: of the file, or of all files in the folder.
        bytes_before: of the run's model.keras.
        input_name: name of the input in the file; None where it has no name.
        output_name: name of the output in the file; None where it has no name.
        image: shape of one image.
        outputs: number of outputs.
        check: comparison with the run's network.
        notes: for the console.
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
    """Images for the check of an export, and for its quantization.

    Attributes:
        tested: the images; their labels are valid only where `of` is `test`.
        of: as in `Check`.
        available: as in `Check`.
        typical: prepared training images, for quantization.
        notes: for the console.
    """

    tested: ImageSet
    of: str
    available: int
    typical: Values | None
    notes: list[str]


def export_network(trained: Trained, to: str, quantize: str | None, output: Path, verbose: bool) -> Exported:
    """Export a trained network to another runtime, whole and checked or not at all.

    Args:
        trained: the run.
        to: `keras`, `saved_model`, `tflite` or `onnx`.
        quantize: `int8` with tflite, or None.
        output: the new file or folder.
        verbose: show the messages of converters and runtimes.

    Raises:
        DataError: int8 needs training images, and they cannot be read.
        RunError: it cannot be converted or written, or its runtime computes other outputs.
    """
    network = plain_network(trained.experiment, trained.model)
    with as_read_error():
        images = _images(trained, quantize)
    with _folder_beside(output) as beside:
        file = beside / ("network" if to == "saved_model" else f"network{output.suffix}")
        with contextlib.nullcontext() if verbose else without_native_stderr(), as_read_error():
            opened = _write_and_open(trained, network, to, images.typical, file)
            check = _compare(trained, opened, images)
        if quantize is None and not check.largest_difference <= _tolerance(trained.experiment):
            raise RunError(_disagrees(check, _tolerance(trained.experiment), output))
        output.parent.mkdir(parents=True, exist_ok=True)
        file.rename(output)
    notes = [*images.notes, *_notes(trained.experiment, to), *_accuracy_warning(check)]
    names = opened.input_name, opened.output_name
    before = trained.run.model.stat().st_size
    return Exported(_size(output), before, *names, network.input_shape[1:], network.output_shape[-1], check, notes)


@contextlib.contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """Create a temporary folder on the same disk, in the nearest existing folder, so that a failure leaves nothing behind."""
    place = next(parent for parent in output.absolute().parents if parent.is_dir())
    try:
        with passing_folder(place, ".cnnctl-export-") as beside:
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
            raise DataError(f"--quantize {quantize} needs training images for the range of every layer: {error}") from error
        reason = f"the test images cannot be read, so the check used random images and has no accuracy ({error})"
        return _Images(_random(experiment), "random", RANDOM_IMAGES, None, [reason])
    typical = _inputs(experiment, _evenly(splits.train, MAX_TYPICAL)) if quantize else None
    changes = data_changes(trained, fingerprint(splits.train), fingerprint(whole))
    test = _evenly(whole, MAX_QUANTIZED if quantize else MAX_COMPARED)
    return _Images(test, "test", len(whole), np.concatenate(list(typical)) if typical else None, changes)


def _evenly(images: ImageSet, limit: int) -> ImageSet:
    """Choose at most `limit` images evenly from the set: the images of a folder are sorted by class."""
    return images if len(images) <= limit else images.take(np.linspace(0, len(images) - 1, limit).astype(np.int64))


def _random(experiment: Experiment) -> ImageSet:
    data = experiment.data
    assert data.image_size and data.channels
    shape = (RANDOM_IMAGES, *data.image_size, data.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return ImageSet(pixels, np.zeros(RANDOM_IMAGES, np.int64))


def _inputs(experiment: Experiment, images: ImageSet) -> Iterator[Values]:
    """Yield the images in batches, prepared for the network, (B, H, W, C) or (B, C, H, W)."""
    with iterate(
        ordered_batches(images, preparation(experiment.data, experiment.model.data_format), experiment.train.batch_size)
    ) as batches:
        for inputs, _ in batches:
            yield np.asarray(inputs)


def _write_and_open(trained: Trained, network: keras.Model, to: str, typical: Values | None, file: Path) -> Opened:
    """Write the file with the preparation of images, and open it in its runtime."""
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
        raise  # such as a full disk: `_folder_beside` names the output
    except Exception as error:  # each of the four converters and runtimes raises its own
        raise RunError(f"the network cannot be exported to {to}: {_first_line(error)}; nothing was written") from error


def preparation_of(trained: Trained) -> dict[str, Any]:
    """Describe how images become the input of a trained network, and what its outputs are."""
    outputs = "logits" if trained.from_logits else "probabilities"
    return preparation_facts(trained.experiment, trained.class_names, outputs)


def _tolerance(experiment: Experiment) -> float:
    """Return the largest difference of a probability that is accepted; the run's own network may compute in half precision."""
    return TOLERANCE if experiment.train.precision == "float32" else HALF_TOLERANCE


def _compare(trained: Trained, opened: Opened, images: _Images) -> Check:
    """Compare the outputs of the opened network with those of the run's."""
    outputs = [
        (np.asarray(trained.model(inputs, training=False), np.float32), _outputs(opened, inputs))
        for inputs in _inputs(trained.experiment, images.tested)
    ]
    before, after = (trained.probabilities(np.concatenate(parts)) for parts in zip(*outputs, strict=True))
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


def _outputs(opened: Opened, inputs: Values) -> Values:
    try:
        return opened.outputs(inputs)
    except Exception as error:  # each runtime raises its own
        failed = f"{opened.runtime} cannot run the exported network: {_first_line(error)}"
        raise RunError(f"{failed}; nothing was written, export to another runtime") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _disagrees(check: Check, tolerance: float, output: Path) -> str:
    return (
        f"the outputs of {check.runtime} differ from the run's on {counted(check.images, check.of + ' image')}: probabilities by up to "
        f"{check.largest_difference:.1e}, expected at most {tolerance:.0e}; {check.same_class:.2%} have the same class. "
        f"{output} was not written; export to another runtime"
    )


def _notes(experiment: Experiment, to: str) -> list[str]:
    notes, precision = [], experiment.train.precision
    if precision != "float32":
        notes.append(f"trained in {precision}; the file computes in float32 and agrees with the run within {HALF_TOLERANCE:g}")
    own = note_of([node.layer for node in experiment.network.nodes])
    if to == "keras" and own:
        notes.append(f"Keras opens the file where the layers of {own['file']} are registered: run that file before load_model")
    if to == "keras" and experiment.model.style == "subclass":
        notes.append(
            "the run's model is subclassed; the file has the same network in functional style, which opens without cnnctl"
        )
    return notes


def _accuracy_warning(check: Check) -> list[str]:
    if check.accuracy_before is None or check.accuracy_after is None:
        return []
    drop = check.accuracy_before - check.accuracy_after
    if drop <= ABSURD_DROP:
        return []
    return [
        f"warning: accuracy is {100 * drop:.1f} percentage points lower; int8 does not suit this network, export it without --quantize"
    ]


def _size(output: Path) -> int:
    files = output.rglob("*") if output.is_dir() else [output]
    return sum(file.stat().st_size for file in files if file.is_file())
