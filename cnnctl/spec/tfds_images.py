"""Image size and classes of datasets of TensorFlow Datasets (TFDS), without TensorFlow.

A table has the usual datasets; for others the metadata of the prepared data is read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnctl.errors import suggestion
from cnnctl.reading import read_bounded
from cnnctl.spec.dataset import DataSpec, NotUsable, expanded
from cnnctl.spec.section import MAX

_FEATURES = "features.json"
MAX_DESCRIBED = 10_000_000
"""Most bytes of a metadata file; the largest of TFDS have a few thousand."""


@dataclass(frozen=True)
class Images:
    """Facts of the images of a dataset as the network receives them; None for unknown ones."""

    height: int | None = None
    width: int | None = None
    channels: int | None = None
    classes: int | None = None


DIGITS = Images(8, 8, 1, 10)
# tests/data/test_sources.py compares these with TFDS's own builders.
TFDS_IMAGES = {
    "mnist": Images(28, 28, 1, 10),
    "fashion_mnist": Images(28, 28, 1, 10),
    "kmnist": Images(28, 28, 1, 10),
    "emnist": Images(28, 28, 1, 62),
    "emnist/byclass": Images(28, 28, 1, 62),
    "emnist/bymerge": Images(28, 28, 1, 47),
    "emnist/balanced": Images(28, 28, 1, 47),
    "emnist/letters": Images(28, 28, 1, 37),
    "emnist/digits": Images(28, 28, 1, 10),
    "emnist/mnist": Images(28, 28, 1, 10),
    "omniglot": Images(105, 105, 3, 1623),
    "cifar10": Images(32, 32, 3, 10),
    "cifar100": Images(32, 32, 3, 100),
    "svhn_cropped": Images(32, 32, 3, 10),
    "cmaterdb": Images(32, 32, 3, 10),
    "binary_alpha_digits": Images(20, 16, 1, 36),
    "quickdraw_bitmap": Images(28, 28, 1, 345),
    "stl10": Images(96, 96, 3, 10),
    "eurosat": Images(64, 64, 3, 10),
    "rock_paper_scissors": Images(300, 300, 3, 3),
    "horses_or_humans": Images(300, 300, 3, 2),
    "beans": Images(500, 500, 3, 3),
    "tf_flowers": Images(None, None, 3, 5),
    "cats_vs_dogs": Images(None, None, 3, 2),
}


def tfds_dir(data: DataSpec) -> Path:
    """Return the folder of prepared TFDS data: `data_dir`, else `TFDS_DATA_DIR`, else TFDS's default."""
    return expanded("data_dir", data.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def prepared_dir(data: DataSpec) -> Path | None:
    """Find the prepared folder of a TFDS dataset, in the version of its name or else the newest; None if not prepared.

    A name without a config means TFDS's default config, which only TFDS knows.
    """
    name, version = _name_and_version(data)
    below = tfds_dir(data) / name
    if not below.is_dir():
        return None
    found = [folder for folder in below.iterdir() if folder.name == (version or folder.name) and (folder / _FEATURES).is_file()]
    return max(found, key=lambda folder: _version(folder.name), default=None)


def _name_and_version(data: DataSpec) -> tuple[str, str]:
    """Split `emnist/balanced:3.1.0` into (`emnist/balanced`, `3.1.0`)."""
    assert data.name is not None
    name, _, version = data.name.partition(":")
    return name, version


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in name.split("."))


def tfds_images(data: DataSpec) -> Images:
    """Return the known facts of the images of a TFDS dataset.

    Raises:
        NotUsable: `data_dir` cannot be expanded, or holds original files instead of prepared data.
        OSError: a folder cannot be read.
    """
    folder = tfds_dir(data)  # report a wrong folder now, not after the network is built
    if prepared_dir(data) is None:
        refuse_originals(folder)
    return TFDS_IMAGES.get(_name_and_version(data)[0]) or _prepared_images(data)


def refuse_originals(folder: Path) -> None:
    """Raise NotUsable if a folder for prepared data holds IDX files, as torchvision downloads MNIST."""
    if not folder.is_dir():
        return
    for below in (folder, *sorted(each for each in folder.iterdir() if each.is_dir())):
        for raw in (below, below / "raw"):
            if raw.is_dir() and any("-idx" in each.name or ".idx" in each.name for each in raw.iterdir()):
                raise NotUsable(
                    "data_dir", f"'{raw}' holds IDX files, not data prepared by TFDS; write source: idx, path: {raw}"
                )


def _prepared_images(data: DataSpec) -> Images:
    folder = prepared_dir(data)
    if folder is None:
        return Images()
    try:
        features = json.loads(read_bounded(folder / _FEATURES, MAX_DESCRIBED, folder))["featuresDict"]["features"]
        image = next(part["image"] for part in features.values() if "image" in part)
        label = features.get("label") or next(part for part in features.values() if "classLabel" in part)
        height, width, channels = _dimensions(image)
        classes = int(label["classLabel"]["numClasses"])
        return Images(height, width, channels, classes if 2 <= classes <= MAX else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError, OverflowError):
        return Images()


def _dimensions(image: dict[str, Any]) -> list[int | None]:
    """Read height, width and channels; TFDS writes -1 or nothing for variable ones."""
    sizes = [int(size) for size in image["shape"]["dimensions"]]
    return [size if 0 < size <= MAX else None for size in sizes]


def missing_facts(data: DataSpec, images: Images) -> str:
    """Write the message if the config must set further facts; empty if none are missing."""
    fields = []
    if images.height is None or images.width is None:
        fields.append("image_size: [28, 28]")
    if images.channels is None:
        fields.append("channels: 1")
    if images.classes is None:
        fields.append("classes: 10")
    if not fields:
        return ""
    remedy = f"write {', '.join(fields)} under data, with the numbers of your images"
    if data.source != "tfds":
        return f"'{data.path}' has no readable image to derive this from; {remedy}"
    if _name_and_version(data)[0] in TFDS_IMAGES or prepared_dir(data):
        what = (
            f"the images of '{data.name}' differ in size"
            if len(fields) == 1
            else f"the metadata of '{data.name}' is incomplete"
        )
        return f"{what}; {remedy}"
    hint = suggestion(data.name, TFDS_IMAGES)
    return f"the dataset '{data.name}' is neither known nor prepared{hint}{' Or' if hint else ';'} {remedy}"
