"""`cnnctl init --from PATH`: looks at a folder or file of images and writes a small config that trains on it; no TensorFlow."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from cnnctl import formats
from cnnctl.data.images import DEEP_WHITE, as_bytes, deepest, likely_white
from cnnctl.data.sources.file_source import opened_bytes
from cnnctl.data.sources.folder_source import open_image
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import hold_out
from cnnctl.errors import ConfigError, DataError, UsageError, counted
from cnnctl.files import refuse_output
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.document import Document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.folders import FolderSet
from cnnctl.spec.found_files import open_originals
from cnnctl.spec.found_folder import better_below, source_of, splits_like, spread, tables_in
from cnnctl.spec.load import check

SAMPLED = 96
"""Images that are looked at."""
SIDES = (28, 32, 48, 64, 96)
"""Sides that images of different or large sizes are resized to; a first network should be fast."""
LIGHT_BORDER = 170
"""From this median border value on, grey images are taken for dark ink on light paper."""
SMALLEST_POOLED = 8
"""Pixels of a side from which a pooling is worth it."""
MAX_FILTERS = 128
FEW = 5
"""Names in a message; of more, the first ones."""
FEW_LEAVES, SMALL_LEAF = 5, 50
"""From so many folders in every class on, of so few images each, the folders are taken for the classes."""
FRACTIONS = ((0.2, 0.1), (0.2, 0.2), (0.25, 0.25), (0.34, 0.34))
"""Fractions of test and validation that are tried, the usual ones first."""


@dataclass(frozen=True)
class Look:
    """What a sample of images is like.

    Attributes:
        sizes: height and width of each, as the network would take them.
        grey: whether no pixel has a colour.
        border: median of the outermost pixels, 0 to 255.
        highest: the highest value of images with more than 8 bits per pixel; None where there are none.
        fractions: whether those are floats from 0 to 1.
    """

    sizes: list[tuple[int, int]]
    grey: bool
    border: float
    highest: float | None
    fractions: bool


def config_for(path: Path) -> str:
    """Return the text of a config that trains on a folder or file of images.

    Raises:
        UsageError: there is nothing there that cnnctl can read, or too little of it.
        DataError: its images cannot be read.
    """
    data = _where(path)
    fields: dict[str, tuple[Any, str]] = {}
    try:
        look = looked_at(_sample(_resolved(data, path).data))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if white := _white(look):
        fields["pixel_max"] = white, f"the value of white: the pixels are {look.highest:g} at most"
    if _stored_by_columns(data):
        fields["transpose"] = True, "EMNIST is stored by columns"
        look = replace(look, sizes=[size[::-1] for size in look.sizes])
    fields |= _size_fields(look)
    fields["channels"] = (1, "no pixel has a colour") if look.grey else (3, "colour")
    if look.grey and look.border > LIGHT_BORDER:
        fields["invert"] = True, "dark on light: inverted, so that the background is 0"
    if _has_gaps(data, path):
        fields["remap_labels"] = True, "the labels do not start at 0 or leave gaps"
    experiment = _resolved(data | {name: value for name, (value, _) in fields.items()}, path)
    return _text(path, data, fields | _split_fields(experiment.data), experiment)


# what is there


def _where(path: Path) -> dict[str, Any]:
    """Return source and path of the set."""
    if not path.exists():
        raise UsageError(f"--from {path}: there is no such file or folder")
    kind = formats.recognised(path)
    if kind in formats.KINDS:
        return {"source": kind, "path": str(path)}
    if path.is_dir():
        return _of_files_below(path) or _as_folder(path)
    raise UsageError(f"--from {path}: not a set of images that can be read; {source_of(path)}")


def _of_files_below(path: Path) -> dict[str, Any] | None:
    """Return the data section for original files some folders below, as torchvision leaves them; None where there are none.

    Raises:
        UsageError: there are several such folders.
    """
    if formats.recognised(path) == "folder":  # images come first
        return None
    found = formats.folders_below(path)
    if len(found) > 1:
        raise UsageError(f"--from {path}: there are several sets in it; give one: {', '.join(map(str, found[:FEW]))}")
    return {"source": formats.recognised(found[0]), "path": str(found[0])} if found else None


def _as_folder(path: Path) -> dict[str, Any]:
    """Return the data section for a folder of images: with a table of labels, the lines of splits, or of the folder below it."""
    data: dict[str, Any] = {"source": "folder", "path": str(path)}
    try:
        found = _resolved(data, path).data
    except UsageError as error:
        return _with_splits(data) or _with_a_table(data, path) or _below(data) or _refuse(error)
    return data | ({"class_folders": "leaf"} if _classes_lie_deeper(found) else {})


def _with_splits(data: dict[str, Any]) -> dict[str, Any] | None:
    folder = FolderSet(DataSpec.model_validate(data))
    lines = splits_like(folder, sorted({place[0] for place in folder.listing.folders}))
    return data | lines if lines else None


def _with_a_table(data: dict[str, Any], path: Path) -> dict[str, Any] | None:
    for table in tables_in(FolderSet(DataSpec.model_validate(data))):
        with contextlib.suppress(UsageError):
            _resolved(data | {"labels_file": table}, path)
            return data | {"labels_file": table}
    return None


def _below(data: dict[str, Any]) -> dict[str, Any] | None:
    below = better_below(DataSpec.model_validate(data))
    return _as_folder(Path(below)) if below else None


def _refuse(error: UsageError) -> NoReturn:
    raise error


def _classes_lie_deeper(data: DataSpec) -> bool:
    """Return whether folders look like Omniglot's: every class has many small folders of images and none of its own."""
    folder = FolderSet(data)
    places = [each.place for each in folder.labelled(data.train)]
    of_leaf = Counter(place[:-1] for place in places)
    depth = len(folder.root(data.train))
    of_class = Counter(leaf[depth] for leaf in of_leaf)
    deeper = all(len(leaf) > depth + 1 for leaf in of_leaf)
    return deeper and min(of_class.values()) >= FEW_LEAVES and float(np.median(list(of_leaf.values()))) <= SMALL_LEAF


def _resolved(data: dict[str, Any], path: Path) -> Experiment:
    """Return the checked experiment of a data section; `path` is what the user named."""
    probe: dict[str, Any] = {"data": data, "model": {"layers": ["flatten", {"dense": {"units": "classes"}}]}}
    if data["source"] in formats.KINDS:
        probe["data"] = data | {"remap_labels": True}  # whatever the labels are
    try:
        return check(Document("config", probe))
    except ConfigError as error:
        lines = [problem.message.removeprefix(f"{path}: ") for problem in error.problems]
        hint = "; such lines go below data: in a config, such as cnnctl init quickstart copies" if "write " in lines[0] else ""
        raise UsageError("\n".join(f"--from {path}: {line}{hint}" for line in lines)) from error


def _sample(data: DataSpec) -> Iterator[Image.Image]:
    """Yield some training images, spread over the set where that costs nothing."""
    if data.source == "folder":
        folder = FolderSet(data)
        places = [each.place for each in folder.labelled(data.train)]
        for place in spread(places, SAMPLED):
            yield open_image(folder.path.joinpath(*place), folder.within)
        return
    block = next(iter(open_originals(data)[data.train].blocks(SAMPLED)), [])
    for each in block:
        if isinstance(each, bytes):
            with contextlib.suppress(Exception):  # the training names all that are broken
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


def looked_at(images: Iterator[Image.Image]) -> Look:
    """Look at a sample of images."""
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
        raise DataError("there is no image to look at; put images there first")
    return Look(sizes, grey, float(np.median(borders)), highest, fractions and (highest or 0) <= 1)


def _bytes_of(image: Image.Image) -> NDArray[np.uint8]:
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    return as_bytes(values, float(values.max()) or 1.0)


# the fields


def _white(look: Look) -> float | None:
    """Return the value of white of images of more than 8 bits, where it is not the usual one."""
    if look.highest is None:
        return None
    white = likely_white(look.highest, look.fractions)
    return None if white == DEEP_WHITE else white


def _stored_by_columns(data: dict[str, Any]) -> bool:
    """Return whether these are the original files of EMNIST, which has rows and columns swapped."""
    path = Path(data["path"])
    names = [path.name.lower(), *(each.name.lower() for each in path.glob("*"))]
    if data["source"] == "mat":  # EMNIST names its classes, and other sets do not
        parts = open_originals(DataSpec.model_validate(data)).values()
        return "emnist" in names[0] or any(part.class_names for part in parts)
    return data["source"] == "idx" and any(name.startswith("emnist-") for name in names)


def _size_fields(look: Look) -> dict[str, tuple[Any, str]]:
    counts = Counter(look.sizes)
    (height, width), most = counts.most_common(1)[0]
    if most == len(look.sizes) and max(height, width) <= max(SIDES):
        return {"image_size": ([height, width], f"as all {most:,} images looked at")}
    sides = np.array(look.sizes, np.float64)
    side = max((each for each in SIDES if each <= np.median(sides.min(axis=1))), default=SIDES[0])
    least, largest = int(sides.min()), int(sides.max())
    found: dict[str, tuple[Any, str]] = {
        "image_size": ([side, side], f"resized to; the images have sides of {least:,} to {largest:,} pixels")
    }
    if (np.abs(np.log(sides[:, 0] / sides[:, 1])) > np.log(1.1)).mean() > 0.1:
        found["fit"] = "pad", "keeps proportions; or crop, or stretch"
    return found


def _has_gaps(data: dict[str, Any], path: Path) -> bool:
    """Return whether integer labels of a file leave numbers out."""
    if data["source"] == "folder":
        return False
    resolved = _resolved(data, path).data
    labels = open_originals(resolved)[resolved.train].labels
    values = labels() if labels else []
    return isinstance(values, np.ndarray) and not np.array_equal(np.unique(values), np.arange(len(np.unique(values))))


def _split_fields(data: DataSpec) -> dict[str, tuple[Any, str]]:
    """Return fractions that work, where the usual ones are too small for the set; named splits stay as they are found."""
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
        f"--from {data.path}: {counted(len(labels), 'image')}: too few to train, validate and test; give the classes more images"
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
    """Return the lines below `data`, each with its reason in one column."""
    said: list[tuple[str, str]] = [(f"source: {data['source']}", ""), (f"path: {_scalar(data['path'])}", "")]
    if data.get("labels_file"):
        said.append((f"labels_file: {_scalar(data['labels_file'])}", "the class of each image"))
    elif data.get("class_folders"):
        said.append(("class_folders: leaf", "each folder of images is a class; top: each of the first folders"))
    elif data["source"] == "folder":
        said.append(("class_folders: top", "each of the first folders is a class; leaf: each folder of images"))
    for role in ("train", "validation", "test"):
        part = getattr(found, role)
        if isinstance(part, str) and role not in fields and part not in ("train", ".") and formats.role_of(part):
            said.append((f"{role}: {_scalar(part)}", "found by its name"))
    said += [(f"{name}: {_scalar(value)}", why) for name, (value, why) in fields.items()]
    said.append(("# augment: {rotation: 10, shift: 0.1}", "random changes of the training images"))
    width = max(len(text) for text, why in said if why)
    return [f"  {text:<{width}}  # {why}" if why else f"  {text}" for text, why in said]


def _scalar(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).strip()
    return text.removesuffix("...").strip()


def _layers(data: DataSpec) -> Iterator[str]:
    """Yield convolutions with as many poolings as the images have room for."""
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
    """Return where the config is written: `output`, or the name of the set with `.yaml` in the current folder.

    Raises:
        UsageError: it is there already.
    """
    name = path.resolve().name.split(".")[0] or "config"
    target = output or Path(f"{name}.yaml")
    refuse_output(target, "--output")
    return target
