"""Write a starter config for a folder or file of images, for `cnnctl init --from PATH`. Needs no TensorFlow."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from cnnctl import formats
from cnnctl.data.decoding import opened_bytes
from cnnctl.data.images import DEEP_WHITE, as_bytes, deepest, likely_white
from cnnctl.data.inspect.starter_data import find_data, resolved
from cnnctl.data.sources.folder_source import open_image
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import hold_out
from cnnctl.errors import DataError, UsageError, counted
from cnnctl.files import refuse_output
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.folders import FolderSet
from cnnctl.spec.found_files import open_originals
from cnnctl.spec.found_folder import spread

SAMPLED = 96
"""Number of sampled images."""
SIDES = (28, 32, 48, 64, 96)
"""Candidate sides for images of different or large sizes, small enough for a fast first network."""
LIGHT_BORDER = 170
"""Grey images with a brighter median border count as dark ink on light paper."""
SMALLEST_POOLED = 8
"""Minimum side in pixels for another pooling."""
MAX_FILTERS = 128
FRACTIONS = ((0.2, 0.1), (0.2, 0.2), (0.25, 0.25), (0.34, 0.34))
"""Fractions of test and validation to try, the default ones first."""


@dataclass(frozen=True)
class SampleFacts:
    """Properties of a sample of images.

    Attributes:
        sizes: (height, width) per image.
        grey: True where every pixel is grey.
        border: median of the outermost pixels, 0 to 255.
        highest: the highest value of images with more than 8 bits per channel; None where there are none.
        fractions: True where those images are floats from 0 to 1.
    """

    sizes: list[tuple[int, int]]
    grey: bool
    border: float
    highest: float | None
    fractions: bool


def config_for(path: Path) -> str:
    """Write the text of a config that trains on a folder or file of images.

    Raises:
        UsageError: the path does not exist, is not a set of images, or has too few images.
        DataError: an image cannot be read.
    """
    data = find_data(path)
    fields: dict[str, tuple[Any, str]] = {}
    try:
        sample = measure_sample(_sample(resolved(data, path).data))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if white := _white(sample):
        fields["pixel_max"] = white, f"the value of white: the pixels are at most {sample.highest:g}"
    if _stored_by_columns(data):
        fields["transpose"] = True, "EMNIST stores its images transposed"
        sample = replace(sample, sizes=[size[::-1] for size in sample.sizes])
    fields |= _size_fields(sample)
    fields["channels"] = (1, "all pixels are grey") if sample.grey else (3, "colour")
    if sample.grey and sample.border > LIGHT_BORDER:
        fields["invert"] = True, "dark ink on a light background: invert, so that the background is 0"
    if _has_gaps(data, path):
        fields["remap_labels"] = True, "the labels do not start at 0, or have gaps"
    experiment = resolved(data | {name: value for name, (value, _) in fields.items()}, path)
    return _text(path, data, fields | _split_fields(experiment.data), experiment)


# the sample


def _sample(data: DataSpec) -> Iterator[Image.Image]:
    """Yield some training images, spread over the set where that is cheap."""
    if data.source == "folder":
        folder = FolderSet(data)
        places = [each.place for each in folder.labelled(data.train)]
        for place in spread(places, SAMPLED):
            yield open_image(folder.path.joinpath(*place), folder.within)
        return
    block = next(iter(open_originals(data)[data.train].blocks(SAMPLED)), [])
    for each in block:
        if isinstance(each, bytes):
            with contextlib.suppress(Exception):  # training reports all broken images
                yield opened_bytes(each)
        else:
            yield _as_image(each)


def _as_image(values: NDArray[Any]) -> Image.Image:
    with contextlib.suppress(DataError):
        values = as_bytes(values, None)
    if values.dtype != np.uint8:
        return (
            Image.fromarray(values.astype(np.float32)[..., 0])
            if values.shape[-1] == 1
            else Image.fromarray(as_bytes(values, float(values.max()) or 1))
        )
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def measure_sample(images: Iterator[Image.Image]) -> SampleFacts:
    """Measure a sample of images."""
    sizes, borders, grey, highest, fractions = [], [], True, None, False
    for image in images:
        sizes.append((image.height, image.width))
        high = deepest(image)
        if high is not None:
            highest, fractions = max(highest or 0.0, high), image.mode == "F"
        pixels = np.asarray(image.convert("RGB") if high is None else Image.fromarray(_bytes_of(image)).convert("RGB"))
        grey = grey and bool((pixels == pixels[..., :1]).all())
        borders.append(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    if not sizes:
        raise DataError("there is no image; add images first")
    return SampleFacts(sizes, grey, float(np.median(borders)), highest, fractions and (highest or 0) <= 1)


def _bytes_of(image: Image.Image) -> NDArray[np.uint8]:
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    return as_bytes(values, float(values.max()) or 1.0)


# the fields


def _white(sample: SampleFacts) -> float | None:
    """Find the value of white of images with more than 8 bits; None where it is 65535, the default."""
    if sample.highest is None:
        return None
    white = likely_white(sample.highest, sample.fractions)
    return None if white == DEEP_WHITE else white


def _stored_by_columns(data: dict[str, Any]) -> bool:
    """Return True for the original files of EMNIST, which stores images transposed."""
    path = Path(data["path"])
    names = [path.name.lower(), *(each.name.lower() for each in path.glob("*"))]
    if data["source"] == "mat":  # EMNIST names its classes, and other sets do not
        parts = open_originals(DataSpec.model_validate(data)).values()
        return "emnist" in names[0] or any(part.class_names for part in parts)
    return data["source"] == "idx" and any(name.startswith("emnist-") for name in names)


def _size_fields(sample: SampleFacts) -> dict[str, tuple[Any, str]]:
    counts = Counter(sample.sizes)
    (height, width), most = counts.most_common(1)[0]
    if most == len(sample.sizes) and max(height, width) <= max(SIDES):
        return {"image_size": ([height, width], f"size of all {most:,} sampled images")}
    sides = np.array(sample.sizes, np.float64)
    side = max((each for each in SIDES if each <= np.median(sides.min(axis=1))), default=SIDES[0])
    least, largest = int(sides.min()), int(sides.max())
    found: dict[str, tuple[Any, str]] = {
        "image_size": ([side, side], f"resized; the images have sides of {least:,} to {largest:,} pixels")
    }
    if (np.abs(np.log(sides[:, 0] / sides[:, 1])) > np.log(1.1)).mean() > 0.1:
        found["fit"] = "pad", "keeps proportions; or crop or stretch"
    return found


def _has_gaps(data: dict[str, Any], path: Path) -> bool:
    """Return True where the integer labels of a file are not 0, 1, 2 ... without gaps."""
    if data["source"] == "folder":
        return False
    found = resolved(data, path).data
    labels = open_originals(found)[found.train].labels
    values = labels() if labels else []
    return isinstance(values, np.ndarray) and not np.array_equal(np.unique(values), np.arange(len(np.unique(values))))


def _split_fields(data: DataSpec) -> dict[str, tuple[Any, str]]:
    """Choose fractions that leave images of every class for training. Named splits are unchanged."""
    labels = open_source(data).labels(data.train)
    drawn = [role for role in ("test", "validation") if isinstance(getattr(data, role), float)]
    for test, validation in FRACTIONS:
        fractions = {role: {"test": test, "validation": validation}[role] for role in drawn}
        try:
            held_out = hold_out(labels, fractions, data.split_seed)
        except DataError:
            continue
        taken = np.concatenate([*held_out.values(), np.array([], np.int64)])
        if len(np.unique(np.delete(labels, taken))) == len(np.unique(labels)):
            return {role: (value, "fraction of each class") for role, value in fractions.items()}
    raise UsageError(
        f"--from {data.path}: {counted(len(labels), 'image')}: too few for train, validation and test; add images to the classes"
    )


# the text


def _text(path: Path, data: dict[str, Any], fields: dict[str, tuple[Any, str]], experiment: Experiment) -> str:
    images = len(open_source(experiment.data).labels(experiment.data.train))
    about = f"{images:,} training images of {experiment.data.classes:,} classes"
    lines = [
        f"# Trains on {' '.join(str(path).split())}: {about}. Written by cnnctl init --from.",
        "data:",
        *_data_lines(data, fields, experiment.data),
        "model:",
        "  layers:",
        *_layers(experiment.data),
        "train:",
        f"  epochs: {_epochs(images)}",
        f"  batch_size: {_batch_size(images)}",
        "  optimizer: {adam: {learning_rate: 1e-3}}",
    ]
    return "\n".join(lines) + "\n"


def _data_lines(data: dict[str, Any], fields: dict[str, tuple[Any, str]], found: DataSpec) -> list[str]:
    """Write the lines below `data`, each with an aligned comment."""
    lines: list[tuple[str, str]] = [(f"source: {data['source']}", ""), (f"path: {_scalar(data['path'])}", "")]
    if data.get("labels_file"):
        lines.append((f"labels_file: {_scalar(data['labels_file'])}", "the class of each image"))
    elif data.get("class_folders"):
        lines.append(("class_folders: leaf", "every folder with images is a class; top: every top folder"))
    elif data["source"] == "folder":
        lines.append(("class_folders: top", "every top folder is a class; leaf: every folder with images"))
    for role in ("train", "validation", "test"):
        part = getattr(found, role)
        if isinstance(part, str) and role not in fields and part not in ("train", ".") and formats.role_of(part):
            lines.append((f"{role}: {_scalar(part)}", "found by name"))
    lines += [(f"{name}: {_scalar(value)}", why) for name, (value, why) in fields.items()]
    lines.append(("# augment: {rotation: 10, shift: 0.1}", "random changes of the training images"))
    width = max(len(text) for text, why in lines if why)
    return [f"  {text:<{width}}  # {why}" if why else f"  {text}" for text, why in lines]


def _scalar(value: Any) -> str:
    """Format a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    return text.removesuffix("...").strip()


def _layers(data: DataSpec) -> Iterator[str]:
    """Yield convolutions, with as many poolings as the image size allows."""
    assert data.image_size
    side, filters = min(data.image_size), 32
    while True:
        yield f"    - conv2d: {{filters: {filters}, kernel_size: 3, padding: same, activation: relu}}"
        if side < SMALLEST_POOLED:
            break
        yield "    - max_pooling2d"
        side, filters = side // 2, min(2 * filters, MAX_FILTERS)
        if side < SMALLEST_POOLED:
            break
    yield "    - flatten"
    yield "    - dropout: {rate: 0.4}"
    yield "    - dense: {units: classes}"


def _batch_size(images: int) -> int:
    return next((size for most, size in ((500, 16), (5_000, 32), (20_000, 64)) if images < most), 128)


def _epochs(images: int) -> int:
    return next((epochs for most, epochs in ((1_000, 40), (10_000, 20), (30_000, 12)) if images < most), 8)


def target_of(path: Path, output: Path | None) -> Path:
    """Choose the file to write: `output`, or the name of the set with `.yaml` in the current folder.

    Raises:
        UsageError: the file exists already.
    """
    name = path.resolve().name.split(".")[0] or "config"
    target = output or Path(f"{name}.yaml")
    refuse_output(target, "--output")
    return target
