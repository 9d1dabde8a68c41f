"""Find builders of TensorFlow Datasets on this disk, or download and prepare them once."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnnctl.errors import DataError
from cnnctl.reading import read_bounded, refuse_leading_away
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.tfds_images import MAX_DESCRIBED, prepared_dir, tfds_dir

MAX_NAMED = 10_000_000
"""Maximum number of classes in a description; TFDS builds a name for each."""


def image_and_label(features: Any, name: str) -> tuple[str, str]:
    """Find the names of the image and the label among a builder's features.

    Raises:
        DataError: there is no image or no label.
    """
    kinds = {key: type(feature).__name__ for key, feature in features.items()} if hasattr(features, "items") else {}
    images = [key for key, kind in kinds.items() if kind == "Image"]
    labels = [key for key, kind in kinds.items() if kind == "ClassLabel"]
    image = "image" if "image" in images else next(iter(images), None)
    label = "label" if "label" in labels else next(iter(labels), None)
    if image is None or label is None:
        has = ", ".join(f"{key} ({kind})" for key, kind in kinds.items())
        raise DataError(f"{name} has no image with a class label; its features are {has or features}")
    return image, label


def prepared_builder(data: DataSpec) -> Any:
    """Open the builder of a set; prepare it first where it is not on this disk.

    Raises:
        DataError: the set is missing and cannot be downloaded.
    """
    import tensorflow_datasets as tfds

    try:
        folder = prepared_dir(data)
        _refuse_unsafe(data)
    except OSError as error:
        raise DataError(f"'{error.filename or 'the data'}' cannot be read: {error.strerror}") from error
    if folder is not None:  # opened from its folder, without registry or network
        try:
            return tfds.builder_from_directory(folder)
        except Exception as error:  # TFDS raises errors of its JSON and protocol buffer readers
            raise DataError(f"{folder} cannot be opened: {first_line(error)}; prepare it again") from error
    builder = _registered_builder(data)
    if Path(builder.data_dir).is_dir() and builder.is_prepared():  # found by a default config, or by a version such as 3.*.*
        return builder
    image_and_label(builder.info.features, data.name or "")  # before a useless download
    return _downloaded(builder, data)


def _refuse_unsafe(data: DataSpec) -> None:
    """Check the descriptions of a set on this disk before TFDS trusts them.

    TFDS imports any module and opens any file that a description names.

    Raises:
        DataError: a description names code that is not TFDS's own, or files that are not beside it.
        OSError: a file cannot be read, or a link leads out of its folder.
    """
    below = tfds_dir(data) / re.split("[/:]", data.name or "")[0]  # without config and version
    for file in [*below.rglob("features.json"), *below.rglob("dataset_info.json")]:
        for each in file.parent.iterdir():
            if each.is_symlink():
                refuse_leading_away(each, file.parent)
        try:
            for key, value in _entries(json.loads(read_bounded(file, MAX_DESCRIBED, file.parent))):
                _refuse_unsafe_entry(file, key, value)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file} is damaged: {first_line(error)}; prepare the set again") from error


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of a description with its value, including JSON inside a text, which old descriptions have."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _entries(json.loads(value) if key == "content" and isinstance(value, str) else value)
    elif isinstance(content, list):
        for each in content:
            yield from _entries(each)


def _refuse_unsafe_entry(file: Path, key: str, value: Any) -> None:
    word = key.replace("_", "").lower()  # protocol buffers accept pythonClassName and python_class_name
    if word == "filepathtemplate" and re.search(r"[/\\]", str(value)):
        raise DataError(f"{file} names the files '{value}', which are not beside it; prepare the set again")
    if file.name != "features.json":
        return
    if word in ("pythonclassname", "type") and not str(value).startswith("tensorflow_datasets."):
        raise DataError(f"{file} names the class '{value}', but only TFDS's own are allowed; prepare the set again")
    if re.search(r"[/\\]", key) or word.endswith("file"):
        raise DataError(f"{file} names files in '{key}', which is not allowed; prepare the set again")
    if word == "numclasses" and not (str(value).isdecimal() and int(value) <= MAX_NAMED):
        raise DataError(f"{file} has {value} classes, expected at most {MAX_NAMED:,}; prepare the set again")


def _registered_builder(data: DataSpec) -> Any:
    """Open the builder that TFDS registers under the set's name."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(data.name, data_dir=tfds_dir(data))
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(
            f"TensorFlow Datasets has no set '{data.name}', and there is no prepared one in {tfds_dir(data)}"
        ) from error
    except (ImportError, TypeError, ValueError, AssertionError, OSError) as error:
        raise DataError(f"TensorFlow Datasets cannot open '{data.name}': {first_line(error)}") from error


def _downloaded(builder: Any, data: DataSpec) -> Any:
    import tensorflow_datasets as tfds

    if not _network():
        raise DataError(_how_to_prepare(data, "there is no network"))
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder.download_and_prepare()
    except Exception as error:  # TFDS raises errors of its download and parsing libraries
        raise DataError(_how_to_prepare(data, first_line(error))) from error
    return builder


def count_of(split: str, lengths: Mapping[str, int]) -> int:
    """Count the examples of a split such as `train[:50%]+test`, within one where a part is rounded.

    TFDS counts exactly, but its import takes seconds.

    Args:
        split: in the notation of TFDS.
        lengths: number of examples per split; unknown splits count as 0.
    """
    return sum(_count_of_part(part.strip(), lengths) for part in split.split("+"))


def _count_of_part(part: str, lengths: Mapping[str, int]) -> int:
    whole = lengths.get(part.partition("[")[0], 0)
    found = re.search(r"\[(-?\d*)(%?):(-?\d*)(%?)\]$", part)
    if not found:
        return whole
    first, last = (_place(number, unit, whole) for number, unit in (found.groups()[:2], found.groups()[2:]))
    return max((whole if last is None else last) - (first or 0), 0)


def _place(number: str, unit: str, whole: int) -> int | None:
    """Compute the index of one end of a slice among `whole` examples; None where that end is open."""
    if not number:
        return None
    place = whole * int(number) // 100 if unit else int(number)
    return min(max(place + whole if number.startswith("-") else place, 0), whole)


def _network() -> bool:
    """Return True where host names resolve; TFDS would retry for minutes before it fails."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")):
        return True
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)
    except OSError:
        return False
    return True


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _how_to_prepare(data: DataSpec, reason: str) -> str:
    folder = re.split("[/:]", data.name or "")[0]  # without config and version
    return (
        f"'{data.name}' is not prepared in {tfds_dir(data)} and cannot be downloaded: {reason}. "
        f"Run 'tfds build {data.name}' on a machine with network and copy its {folder} folder to {tfds_dir(data)}, "
        "or set TFDS_DATA_DIR to a folder that has it"
    )
