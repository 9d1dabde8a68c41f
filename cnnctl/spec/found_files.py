"""Facts of the original files of a dataset: splits, image size and classes."""

from __future__ import annotations

import contextlib
import io
import re
from typing import TYPE_CHECKING

from cnnctl.errors import DataError, suggestion
from cnnctl.formats.names import ROLES
from cnnctl.spec.dataset import DataSpec, NotUsable, Part
from cnnctl.spec.folders import data_path
from cnnctl.spec.found import DEFAULT_TEST, Found
from cnnctl.spec.found_folder import several
from cnnctl.spec.image_files import FORMATS, GREY_MODES, KINDS, refuse_unusual_size
from cnnctl.spec.section import MAX
from cnnctl.spec.tfds_images import Images

if TYPE_CHECKING:
    from cnnctl.formats import Part as FilePart


SOME = 16
"""Images per block in the search for the first readable one."""


def open_originals(data: DataSpec) -> dict[str, FilePart]:
    """Open the original files of a data section and return their splits by name.

    Raises:
        DataError: the files do not exist, or do not match the section.
    """
    from cnnctl import formats

    path = data_path(data)
    if not path.exists():
        raise DataError(f"there is no file or folder '{data.path}'; a relative path starts at the current folder")
    size = data.image_size[::-1] if data.image_size and data.transpose else data.image_size
    return formats.open_parts(data.source, path, data.keys, size)


def found_files(data: DataSpec) -> Found:
    """Inspect original files; raise as `found_in` does."""
    try:
        parts = open_originals(data)
        train = _train(data, parts)
        validation = _part(data, parts, "validation", train, data.validation)
        test = _part(data, parts, "test", train, data.test)
        _refuse_unlabelled(parts, {"train": train, "validation": validation, "test": test})
        images = _images(data, parts[train])
    except DataError as error:
        raise NotUsable("path", str(error)) from error
    return Found(images, train, validation, DEFAULT_TEST if test is None else test)


def _train(data: DataSpec, parts: dict[str, FilePart]) -> str:
    if data.train in parts:
        return data.train
    if data.train != DataSpec.model_fields["train"].default:
        raise NotUsable("train", _no_split(data.train, parts))
    candidates = _candidates("train", parts)
    if not candidates and len(parts) == 1:
        return next(iter(parts))
    if len(candidates) != 1:
        raise NotUsable("train", several("train", candidates) if candidates else _none(parts))
    return candidates[0]


def _part(data: DataSpec, parts: dict[str, FilePart], role: str, train: str, given: Part | None) -> Part | None:
    if isinstance(given, str) and given not in parts:
        raise NotUsable(role, _no_split(given, parts))
    if (given is not None and role in data.model_fields_set) or (given is None and role == "validation"):
        return given
    candidates = [name for name in _candidates(role, parts) if parts[name].labels]
    if len(candidates) > 1:  # of several sets in a folder, the one that is trained on
        candidates = [name for name in candidates if _set_of(name) == _set_of(train)] or candidates
    if len(candidates) > 1:
        raise NotUsable(role, several(role, candidates))
    return candidates[0] if candidates else given


def _set_of(name: str) -> str:
    """Return the name of a split without the word for its role: `emnist-letters` for `emnist-letters-test`."""
    words = {word for names in ROLES.values() for word in names}
    return "-".join(part for part in re.split(r"[-_. ]+", name.lower()) if part not in words)


def _candidates(role: str, parts: dict[str, FilePart]) -> list[str]:
    from cnnctl import formats

    return [name for name in parts if formats.role_of(name) == role]


def _none(parts: dict[str, FilePart]) -> str:
    return f"there is no split 'train'; the files have {', '.join(parts)}; write train: {next(iter(parts), 'NAME')}"


def _no_split(name: str, parts: dict[str, FilePart]) -> str:
    return f"there is no split '{name}'{suggestion(name, parts) or '; the files have ' + ', '.join(parts)}"


def _refuse_unlabelled(parts: dict[str, FilePart], roles: dict[str, Part | None]) -> None:
    for role, name in roles.items():
        if isinstance(name, str) and parts[name].labels is None:
            raise NotUsable(
                role, f"'{name}' has images without labels, so it cannot be used for training or test; use cnnctl predict"
            )


def _images(data: DataSpec, part: FilePart) -> Images:
    height, width, channels = (part.height, part.width, part.channels)
    if height is None and part.count and not (data.image_size and data.channels):
        height, width, channels = _first(part)
    if data.transpose:
        height, width = width, height
    return Images(height, width, channels if channels in (1, 3) else 3 if channels else None, _classes(data, part))


def _first(part: FilePart) -> tuple[int, int, int]:
    """Return height, width and channels of the first readable image of a part that holds image files.

    Unreadable ones are reported when all images are read.
    """
    from PIL import Image

    for block in part.blocks(SOME):
        for content in block:
            with contextlib.suppress(Exception), Image.open(io.BytesIO(content), formats=FORMATS) as image:
                refuse_unusual_size(image)
                return image.height, image.width, 1 if image.mode in GREY_MODES else 3
    raise DataError(f"{part.files[0]}: none of its {part.count:,} images can be read as a {KINDS}; download it again")


def _classes(data: DataSpec, part: FilePart) -> int | None:
    """Count the classes: the named ones of the files, or one more than the highest label."""
    if data.classes or part.labels is None:
        return data.classes
    if part.class_names and not data.remap_labels:
        return len(part.class_names)
    labels = part.labels()
    if isinstance(labels, list):
        return len(set(labels))
    import numpy as np

    count = len(np.unique(labels)) if data.remap_labels else int(labels.max(initial=0)) + 1
    if not 2 <= count <= MAX:
        what = f"labels from {int(labels.min()):,} to {int(labels.max()):,}" if len(labels) else "no labels"
        raise DataError(
            f"{part.files[-1]} has {what}: expected at least 2 classes, numbered from 0; write data.remap_labels: true to number them"
        )
    return count
