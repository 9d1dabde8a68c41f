"""Facts of a folder of images: splits, classes and image size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cnnctl.errors import DataError, counted, suggestion
from cnnctl.formats.names import ROLES, role_of
from cnnctl.spec.dataset import DataSpec, NotUsable, Part
from cnnctl.spec.folders import DEFAULT_TRAIN, FEWEST_CLASSES, HERE, FolderSet, data_path
from cnnctl.spec.found import DEFAULT_TEST, Found
from cnnctl.spec.image_files import KINDS, broken_images, image_header, opened_image, reason
from cnnctl.spec.listing import Place, accounted
from cnnctl.spec.section import one_line
from cnnctl.spec.tfds_images import Images
from cnnctl.surroundings import shell_word

FEW = 5
"""Most names in a note."""
MAX_LEVELS = 3
"""Levels below a folder that are searched for a folder of classes."""
LOOKED_AT = 50
"""Images whose headers are read, spread over the dataset, to find differing sizes."""


def found_folder(data: DataSpec) -> Found:
    """Inspect a folder of images; raise as `found_in` does."""
    _refuse_files(data)
    folder = FolderSet(data)
    itself = data.train == HERE  # with `train: .` folders with names of splits are classes
    data = data.model_copy(update={"train": _train(data, folder)})
    folder = FolderSet(data, folder.listing)
    _refuse_missing_splits(data, folder)
    _refuse_no_classes(data, folder)
    if not (itself or folder.root(data.train) or data.labels_file or data.class_folders == "leaf"):
        _refuse_splits_as_classes(folder, folder.class_names(data.train))
    validation = _part(data, folder, "validation", data.validation)
    test = _part(data, folder, "test", data.test)
    images, notes = _images(data, folder)
    return Found(images, data.train, validation, DEFAULT_TEST if test is None else test, tuple(notes))


def _refuse_files(data: DataSpec) -> None:
    path = data_path(data)
    if path.is_file():
        raise NotUsable("path", f"'{data.path}' is a file, expected a folder; {source_of(path)}")


def source_of(path: Path) -> str:
    """Return the remedy for a `path` that is a file of another kind."""
    from cnnctl import formats

    kind = formats.recognised(path)
    if kind in formats.KINDS:
        return f"write source: {kind}"
    if kind in (None, "image"):
        return "pass the folder that contains it" if kind else "pass a folder of images"
    try:
        formats.open_parts("npz", path)
    except DataError as error:
        return str(error).partition(", but ")[2] or "pass a folder of images"
    return "pass a folder of images"


# splits


def _train(data: DataSpec, folder: FolderSet) -> str:
    """Return the split to train on: the one that is set, the one folder with such a name, or else the folder itself."""
    if data.train != DEFAULT_TRAIN or (folder.path / DEFAULT_TRAIN).is_symlink():
        return data.train
    candidates = folder.candidates("train")
    if DEFAULT_TRAIN in candidates and "train" in data.model_fields_set:
        return DEFAULT_TRAIN
    _refuse_several("train", candidates)
    return candidates[0] if candidates else DEFAULT_TRAIN


def _part(data: DataSpec, folder: FolderSet, role: str, given: Part | None) -> Part | None:
    """Return the part that the config sets for a role, or else the one folder with such a name."""
    if given is not None and role in data.model_fields_set:
        return given
    if (given is None and role == "validation") or data.train == HERE:
        return given
    candidates = folder.candidates(role)
    _refuse_several(role, candidates)
    return candidates[0] if candidates else given


def _refuse_several(role: str, candidates: list[str]) -> None:
    if len(candidates) > 1:
        raise NotUsable(role, several(role, candidates))


def several(role: str, candidates: list[str]) -> str:
    """Format the message for several splits of one role."""
    named = " and ".join(f"'{name}'" for name in candidates)
    return f"{named} may {'both' if len(candidates) == 2 else 'all'} be the {role} split; write {role}: {candidates[0]}, or the other one"


def _refuse_missing_splits(data: DataSpec, folder: FolderSet) -> None:
    for role, split in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if isinstance(split, str) and split not in (DEFAULT_TRAIN, HERE) and not folder.class_names(split):
            path = folder.path / split
            near = suggestion(split, {place[0] for place in folder.listing.folders} - {split}, of_data=True)
            unlabelled = folder.unlabelled(role).get(split)
            if unlabelled:
                near = f"; its {unlabelled:,} images have no classes; use cnnctl predict"
            raise NotUsable(role, f"there is no split '{split}', a folder {path} with a folder for each class{near}")


# classes


def _refuse_no_classes(data: DataSpec, folder: FolderSet) -> None:
    classes = folder.class_names(data.train)
    root = folder.path.joinpath(*folder.root(data.train))
    if len(classes) >= FEWEST_CLASSES:
        return
    if data.labels_file:
        found = f"the images of '{data.train}' have {counted(len(classes), 'class', 'classes')}; at least 2 are required"
        raise NotUsable("labels_file", f"{data.labels_file}: {found}")
    has = f"one class folder, '{classes[0]}'" if classes else "no class folders"
    raise NotUsable("path", f"the folder '{root}' has {has}; {_remedy(data, folder)}")


def _refuse_splits_as_classes(folder: FolderSet, classes: list[str]) -> None:
    """Raise if the folders that would be classes have names of splits, such as `train_set` and `test_set`.

    Folders with loose images, such as `train/` and `test/` beside a table of labels, get a message of their own.
    """
    if lines := splits_like(folder, classes):
        written = ", ".join(f"{role}: {split}" for role, split in lines.items())
        tops = dict.fromkeys(split.partition("/")[0] for split in lines.values())
        message = f"{_quoted(tops)} look like splits, not classes; write {written} (or train: . if they are classes)"
        raise NotUsable("path", message)
    if all(name.lower() in ROLES.get(str(role_of(name)), ()) for name in classes):
        table = _table(folder) or "FILE.csv, a table of file names and labels"
        raise NotUsable("path", f"{_quoted(classes)} are splits, and their images have no classes; write labels_file: {table}")


def splits_like(folder: FolderSet, names: Iterable[str]) -> dict[str, str]:
    """Return the split for each role among folders with names such as `train_set`; empty if there are fewer than two."""
    found: dict[str, str] = {}
    for name in names:
        if (role := role_of(name)) and role not in found:
            split = _unwrapped(folder, name)
            if len(folder.class_names(split)) >= FEWEST_CLASSES:
                found[role] = split
    ordered = {role: found[role] for role in ROLES if role in found}
    return ordered if len(ordered) > 1 and "train" in ordered else {}


def _unwrapped(folder: FolderSet, split: str) -> str:
    """Return the folder with the classes of a split if a single folder wraps them, as in `train/train`."""
    while True:
        inside, root = folder.class_names(split), folder.root(split)
        loose = any(place[:-1] == root for place in folder.listing.images)
        if loose or len(inside) != 1:
            return split
        split = f"{split}/{inside[0]}"


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def _remedy(data: DataSpec, folder: FolderSet) -> str:
    """Return the remedy for a folder with fewer than two classes, depending on its contents."""
    if lines := splits_like(folder, sorted({place[0] for place in folder.listing.folders})):
        return f"the classes are deeper: write {', '.join(f'{role}: {split}' for role, split in lines.items())}"
    if below := better_below(data):
        return f"the folder below it looks right: write path: {below}"
    if not folder.listing.images:
        return _about_no_images(folder)
    if data.class_folders == "top" and len(_leaves(folder, folder.root(data.train))) >= FEWEST_CLASSES:
        return "its images are in several folders below; if those are the classes, write class_folders: leaf"
    classes = "put the images of each class into a separate folder, at least 2 classes"
    return f"{classes}, or write labels_file: {_table(folder) or 'FILE.csv, a table of file names and labels'}"


def _table(folder: FolderSet) -> str:
    """Return the first table of a folder that labels training images; empty if there is none."""
    return next(iter(tables_in(folder)), "")


def tables_in(folder: FolderSet) -> list[str]:
    """Return the tables of a folder, that of train first, without those of validation and test."""
    tables = ["/".join(each.place) for each in folder.listing.unread if each.why in (".csv", ".tsv")]
    roles = {table: next(filter(None, map(role_of, table.split("/"))), None) for table in tables}
    return sorted((table for table in tables if roles[table] in (None, "train")), key=lambda table: roles[table] is None)


def better_below(data: DataSpec) -> str:
    """Return the nearest folder below with splits or classes; empty if there is none."""
    folder = FolderSet(data)
    for place in sorted(
        (each for each in folder.listing.folders if len(each) <= MAX_LEVELS), key=lambda each: (len(each), each)
    ):
        if any(map(role_of, place[:-1])) or (role_of(place[-1]) in ("validation", "test")):
            continue  # part of a split is not the whole dataset
        path = Path(str(data.path)).joinpath(*place)
        inside = data.model_copy(update={"path": str(path), "train": DEFAULT_TRAIN, "validation": None, "test": None})
        below = FolderSet(inside)
        if below.candidates("train") or (len(below.class_names(DEFAULT_TRAIN)) >= FEWEST_CLASSES and below.listing.images):
            return str(path)
    return ""


def _about_no_images(folder: FolderSet) -> str:
    from cnnctl import formats

    kind = formats.recognised(folder.path)
    if kind in formats.KINDS:
        return f"it holds {kind} files: write source: {kind}"
    for below in formats.folders_below(folder.path):
        return f"a folder below it holds {formats.recognised(below)} files: write source: {formats.recognised(below)}, path: {below}"
    for prepared in (each.place[:-2] for each in folder.listing.unread if each.place[-1] == "dataset_info.json"):
        if prepared:
            return (
                f"it holds a dataset prepared by TFDS: write source: tfds, name: {'/'.join(prepared)}, data_dir: {folder.path}"
            )
    left = accounted(folder.listing.unread)
    kinds = Counter(each.why for each in folder.listing.unread)
    return f"it holds no image ({KINDS}); not read: {left or 'nothing, it is empty'}{_convert(kinds, folder.path)}"


def _convert(kinds: Counter[str], path: Path) -> str:
    """Explain how to convert the most common kind of file into images, if known."""
    most = next((why for why, _ in kinds.most_common() if why in (".npy", ".zip", ".heic", ".mp4", ".svg")), None)
    remedies = {
        ".npy": 'these are arrays; save each as an image: python -c "import sys, pathlib, numpy as np; from PIL import Image; '
        "[Image.fromarray(np.load(f)).save(f.with_suffix('.png')) for f in pathlib.Path(sys.argv[1]).rglob('*.npy')]\" "
        f"{shell_word(path)}",
        ".zip": f"unpack each: python -m zipfile -e FILE.zip {shell_word(path)}",
        ".heic": "save them as JPEG first",
        ".mp4": "save frames of the films as images first",
        ".svg": "save them as PNG first",
    }
    return f"; {remedies[most]}" if most else ""


def _leaves(folder: FolderSet, root: Place) -> set[Place]:
    """Return the folders below a root that contain images."""
    return {place[:-1] for place in folder.listing.images if place[: len(root)] == root and len(place) > len(root) + 1}


# notes


def folder_notes(data: DataSpec, folder: FolderSet) -> list[str]:
    """Summarize a folder in one line, followed by notes about its layout."""
    return [folder.account(), *layout_notes(data, folder)]


def layout_notes(data: DataSpec, folder: FolderSet) -> Iterator[str]:
    """Yield notes about how a folder was read: its splits, images without classes, deeper folders.

    Args:
        data: the data section of a checked config.
        folder: its images.
    """
    parts = (("train", data.train), ("validation", data.validation), ("test", data.test))
    named = [
        f"{role} from {'/'.join(folder.root(part))}/" for role, part in parts if isinstance(part, str) and folder.root(part)
    ]
    if named:
        yield f"splits by folder: {', '.join(named)}"
    for role in ("train", "validation", "test"):
        if role != "train" or folder.root(data.train):
            yield from _unlabelled_notes(folder, role)
    if folder.labels and folder.labels.columns[1]:
        (name, label), others = folder.labels.columns
        yield f"{data.labels_file}: file names from column '{name}', labels from column '{label}'; not read: {', '.join(others[:FEW])}"
    if folder.labels and folder.labels.missing:
        missing = folder.labels.missing
        are = "name in {} is" if len(missing) == 1 else "names in {} are"
        yield f"{len(missing):,} {are.format(data.labels_file)} no image here, such as '{missing[0]}'"
    yield from _deeper_notes(data, folder)
    if data.class_folders == "top" and not folder.labels and (others := folder.without_images(data.train)):
        more = f" and {len(others) - FEW:,} more" if len(others) > FEW else ""
        yield f"{', '.join(f'{name}/' for name in others[:FEW])}{more}: no readable images, so not classes"


def _unlabelled_notes(folder: FolderSet, role: str) -> Iterator[str]:
    for top, count in folder.unlabelled(role).items():
        path = shell_word(folder.path / top)
        yield (
            f"{top}/ holds {counted(count, 'image')} without classes: treated as unlabelled {role} images, neither a split nor a "
            f"class (unless data.train is .); cnnctl predict RUN {path} classifies them"
        )


def _deeper_notes(data: DataSpec, folder: FolderSet) -> Iterator[str]:
    """Yield a hint if every class has several folders of images and no images directly, as alphabets have characters."""
    if data.class_folders == "leaf" or folder.labels:
        return
    leaves = _leaves(folder, root := folder.root(data.train))
    of_class = Counter(leaf[len(root)] for leaf in leaves)
    if of_class and min(of_class.values()) >= FEWEST_CLASSES and all(len(leaf) > len(root) + 1 for leaf in leaves):
        deepest = "/".join(min(leaves)[len(root) :])
        yield f"the images of every class are in folders below it, such as {deepest}; if those are the classes, write class_folders: leaf"


# sizes


def _images(data: DataSpec, folder: FolderSet) -> tuple[Images, list[str]]:
    """Return the facts of the images, with notes if their size is that of the first image."""
    labelled = folder.labelled(data.train)
    classes = folder.class_names(data.train)
    if data.remap_labels:
        classes = sorted({each.class_name for each in labelled})
    if (data.image_size and data.channels) or not labelled:  # then no image need be opened
        return Images(classes=len(classes)), []
    height, width, channels = _header(folder, [each.place for each in labelled])
    if data.transpose:
        height, width = width, height
    notes = [] if data.image_size else list(_size_notes(data, folder, (height, width)))
    return Images(height, width, channels, len(classes)), notes


def _header(folder: FolderSet, places: list[Place]) -> tuple[int, int, int]:
    """Return height, width and channels of the first image; if it is broken, report all broken images at once."""
    try:
        return image_header(folder.path.joinpath(*places[0]), folder.within)
    except ValueError as error:
        broken = list(_broken(folder, places))
        message = broken_images(broken, counted(len(places), "image")) if broken else one_line(str(error))
        raise NotUsable("path", message, several_lines=True) from None


def _broken(folder: FolderSet, places: list[Place]) -> Iterator[tuple[str, str]]:
    for place in places:
        file = folder.path.joinpath(*place)
        try:
            with opened_image(file, folder.within) as image:
                image.getexif()
                image.load()
        except Exception as error:  # Pillow passes on whatever its many readers stumble over
            yield one_line(str(file)), one_line(reason(error))


def _size_notes(data: DataSpec, folder: FolderSet, size: tuple[int, int]) -> Iterator[str]:
    places = [each.place for each in folder.labelled(data.train)]
    sizes = Counter(_some_sizes(folder, places))
    others = sizes.total() - sizes[size[::-1] if data.transpose else size]
    alike = "" if others else f", and of all {sizes.total():,} inspected"
    yield f"image_size [{size[0]}, {size[1]}] is that of the first image, {'/'.join(places[0])}{alike}"
    if others * 2 > sizes.total():
        height, width = sizes.most_common(1)[0][0]
        write = [width, height] if data.transpose else [height, width]
        yield (
            f"warning: {others:,} of {sizes.total():,} images inspected have another size, most often {height}×{width}; "
            f"write data.image_size: {write}, or another size"
        )


def spread(places: list[Place], most: int) -> list[Place]:
    """Return at most `most` places, evenly spread."""
    count = min(len(places), most)
    return [places[number * len(places) // count] for number in range(count)]


def _some_sizes(folder: FolderSet, places: list[Place]) -> Iterator[tuple[int, int]]:
    """Yield height and width of images spread over the dataset; broken ones are reported when all are read."""
    for place in spread(places, LOOKED_AT):
        try:
            height, width, _ = image_header(folder.path.joinpath(*place), folder.within)
        except ValueError:
            continue
        yield height, width
