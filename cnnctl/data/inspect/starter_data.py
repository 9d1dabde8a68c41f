"""Find the data section for a folder or file of images: its source, splits and labels."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cnnctl import formats
from cnnctl.errors import ConfigError, UsageError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.document import Document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.folders import FolderSet
from cnnctl.spec.found_folder import better_below, source_of, splits_like, tables_in
from cnnctl.spec.load import check

MAX_NAMED = 5
"""Maximum number of names in a message."""
FEW_LEAVES, SMALL_LEAF = 5, 50
"""Folders count as classes where each top folder has at least 5 of them, with at most 50 images each (median)."""


def find_data(path: Path) -> dict[str, Any]:
    """Find the source and path of a set: the start of its data section."""
    if not path.exists():
        raise UsageError(f"--from {path}: no such file or folder")
    kind = formats.recognised(path)
    if kind in formats.KINDS:
        return {"source": kind, "path": str(path)}
    if path.is_dir():
        return _of_files_below(path) or _as_folder(path)
    raise UsageError(f"--from {path}: not a readable set of images; {source_of(path)}")


def _of_files_below(path: Path) -> dict[str, Any] | None:
    """Build the data section for data files in a subfolder, as torchvision stores them; None where there are none.

    Raises:
        UsageError: several subfolders have data files.
    """
    if formats.recognised(path) == "folder":  # image files take precedence
        return None
    found = formats.folders_below(path)
    if len(found) > 1:
        raise UsageError(f"--from {path} contains several sets; choose one of {', '.join(map(str, found[:MAX_NAMED]))}")
    return {"source": formats.recognised(found[0]), "path": str(found[0])} if found else None


def _as_folder(path: Path) -> dict[str, Any]:
    """Build the data section for a folder of images, if necessary with split names, a labels file, or a subfolder."""
    data: dict[str, Any] = {"source": "folder", "path": str(path)}
    try:
        found = resolved(data, path).data
    except UsageError:
        completed = _with_splits(data) or _with_a_table(data, path) or _below(data)
        if completed is None:
            raise
        return completed
    return data | ({"class_folders": "leaf"} if _classes_are_deeper(found) else {})


def _with_splits(data: dict[str, Any]) -> dict[str, Any] | None:
    folder = FolderSet(DataSpec.model_validate(data))
    lines = splits_like(folder, sorted({place[0] for place in folder.listing.folders}))
    return data | lines if lines else None


def _with_a_table(data: dict[str, Any], path: Path) -> dict[str, Any] | None:
    for table in tables_in(FolderSet(DataSpec.model_validate(data))):
        with contextlib.suppress(UsageError):
            resolved(data | {"labels_file": table}, path)
            return data | {"labels_file": table}
    return None


def _below(data: dict[str, Any]) -> dict[str, Any] | None:
    below = better_below(DataSpec.model_validate(data))
    return _as_folder(Path(below)) if below else None


def _classes_are_deeper(data: DataSpec) -> bool:
    """Return True where folders look like Omniglot: every class has many small image folders and no images of its own."""
    folder = FolderSet(data)
    places = [each.place for each in folder.labelled(data.train)]
    of_leaf = Counter(place[:-1] for place in places)
    depth = len(folder.root(data.train))
    of_class = Counter(leaf[depth] for leaf in of_leaf)
    deeper = all(len(leaf) > depth + 1 for leaf in of_leaf)
    return deeper and min(of_class.values()) >= FEW_LEAVES and float(np.median(list(of_leaf.values()))) <= SMALL_LEAF


def resolved(data: dict[str, Any], path: Path) -> Experiment:
    """Check the data section in a minimal experiment; `path` is what the user named."""
    probe: dict[str, Any] = {"data": data, "model": {"layers": ["flatten", {"dense": {"units": "classes"}}]}}
    if data["source"] in formats.KINDS:
        probe["data"] = data | {"remap_labels": True}  # accept any labels
    try:
        return check(Document("config", probe))
    except ConfigError as error:
        lines = [problem.message.removeprefix(f"{path}: ") for problem in error.problems]
        hint = "; in a config, this goes below data. Copy one with: cnnctl init quickstart" if "write " in lines[0] else ""
        raise UsageError("\n".join(f"--from {path}: {line}{hint}" for line in lines)) from error
