"""The files of an evaluation in its run folder, and which images they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnctl.errors import RunError
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.files import write_whole
from cnnctl.reading import read_bounded
from cnnctl.report.text import printable
from cnnctl.run_folder import MAX_BYTES, RunFolder

OWN_SPLITS = ("train", "validation", "test")
MAX_LETTERS = 50
"""Characters of a folder's name within a file name, which may have 255 bytes with up to four per character."""


def about_images(split: str | None, root: Path | None, options: ImageOptions, warnings: Sequence[str]) -> dict[str, Any]:
    """Describe the evaluated images for JSON; of other data also how it was read, and the warnings about it."""
    own = {"split": split, "data": str(root) if root else None}
    return own if root is None else {**own, "options": options.as_plain(), "warnings": list(warnings)}


def write_result(file: Path, content: bytes) -> str:
    """Write a file of an evaluation and return the line for the console."""
    verb = "replaced" if file.exists() else "written"
    write_whole(file, content)
    return f"{verb:<12}{printable(str(file))}"


def result_file(run: RunFolder, name: str, plain: Mapping[str, Any]) -> Path:
    """Choose the JSON file of an evaluation and create its folder. Only an earlier evaluation of the same images is replaced.

    Args:
        run: of the network.
        name: of the file, unless it has an evaluation of other images.
        plain: the evaluation for JSON; its images are identified by `split`, `data` and `options`.

    Raises:
        RunError: the folder cannot be created.
    """
    folder = run.path / "evaluation"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be created: {error.strerror}") from error
    number = 1
    while True:
        file = folder / f"{name if number == 1 else f'{name}_{number}'}.json"
        if not file.exists() or _has_images_of(file, plain):
            return file
        number += 1


def images_name(split: str | None, root: Path | None) -> str:
    """Name evaluated images: the split of the run's own data; `photos`, or `photos-test` for the folder photos/test."""
    if root is None:
        return split or "images"
    name = f"{root.parent.name}-{root.name}" if split or root.name in OWN_SPLITS else root.name or "root"
    return name[:MAX_LETTERS]


def _has_images_of(file: Path, plain: Mapping[str, Any]) -> bool:
    """Return True if a file has an earlier evaluation of the same images, read in the same way."""
    try:
        before = json.loads(read_bounded(file, MAX_BYTES, file.parent))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(before, dict) and _identity(before) == _identity(plain)


def _identity(plain: Mapping[str, Any]) -> tuple[Any, ...]:
    return plain.get("split"), plain.get("data"), plain.get("options", AS_TRAINED.as_plain())
