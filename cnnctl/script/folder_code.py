"""A folder of images as code: its splits, its classes and its labels file, as `cnnctl.spec.folders` finds them.

The script is for the folder that the config names: a rule that it does not need is left out.
"""

from __future__ import annotations

from cnnctl.errors import UsageError
from cnnctl.script.expressions import WIDTH, Call, hung, laid_out, literal
from cnnctl.script.image_code import helpers, image_values
from cnnctl.script.label_code import LABEL_OF, LABELS, LabelsCode, labels_code
from cnnctl.script.reading_code import Reading, base_needs
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.folders import FolderSet, Place
from cnnctl.spec.image_files import FORMATS, IMAGE_SUFFIXES

FOLDER = '''
def is_image(file):
    """Tell whether a file is an image, by its name."""  #? !by_content
    return file.name.lower().endswith(SUFFIXES) and file.is_file()  #? !by_content
    """Tell whether a file is an image, by its content."""  #? by_content
    if not file.is_file():  #? by_content
        return False  #? by_content
    try:  #? by_content
        Image.open(file, formats=$formats).close()  #? by_content
    except OSError:  #? by_content
        return False  #? by_content
    return True  #? by_content


def is_hidden(name):
    """Tell whether a file or folder belongs to the system and not to the set."""
    return name.startswith(".") or name in $hidden


def files_below(folder):  #? linked
    """List the files below a folder, those in folders that links lead to, too."""  #? linked
    for place, _, names in os.walk(folder, followlinks=True):  #? linked
        yield from (Path(place, name) for name in names)  #? linked
  #? linked
  #? linked
def find(folder):
    """List the images below a folder, each behind the name of its class, in this order."""
    found = []
    for file in folder.rglob("*"):  #? !linked
    for file in files_below(folder):  #? linked
        *folders, _ = place = file.relative_to(folder).parts
        if any(map(is_hidden, place)) or not is_image(file):
            continue
        if place[0] in $others:  # folders of other splits  #? others
            continue  #? others
        name = "/".join(folders[:1])  # whatever lies below a folder is of its class  #? by_folder !leaf
        name = "/".join(folders)  # each folder that holds images is a class  #? by_folder leaf
        name = label_of(file) or name  #? by_folder labels_file
        name = label_of(file)  #? !by_folder
        if name:
            found.append((name, file))
    return sorted(found)


def read(folder):
    """Read the images below a folder, uint8 $shape, and their labels (N,)."""
    found = find(folder)
    images = np.stack([read_image(file) for _, file in found])
    return images, np.searchsorted(CLASS_NAMES, [name for name, _ in found])
'''

CONSTANTS = """
FOLDER = Path($folder)
$suffixes  #? !by_content
"""

CLASSES = """
$class_names
"""
SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
"""Folders that `cnnctl.spec.folders` passes over, too."""


def folder_reading(data: DataSpec) -> Reading:
    """Choose how a script reads the folder of a checked config; raises as `reading_of` does."""
    folder = FolderSet(data)
    arguments = {split: _argument(folder.root(split)) for split in _splits(data)}
    labels = _labels(data, folder)
    own = {"image_files": True, "converted": True, "not_finite": True}
    needs = {**base_needs(data), **own, **_needs(data, folder), **labels.needs}
    values = {**image_values(data), **_values(data, folder), **labels.values}
    values["class_names"] = _class_names(data, folder, arguments[data.train])
    constants = [CONSTANTS, *([LABELS] if folder.labels else []), CLASSES]
    functions = [*helpers(needs), *([LABEL_OF] if folder.labels else []), FOLDER]
    return Reading((*functions, "\n".join(each.strip("\n") for each in constants)), needs, values, arguments)


def _splits(data: DataSpec) -> list[str]:
    return [part for part in (data.train, data.validation, data.test) if isinstance(part, str)]


def _argument(root: Place) -> str:
    return f"FOLDER / {literal('/'.join(root))}" if root else "FOLDER"


def _labels(data: DataSpec, folder: FolderSet) -> LabelsCode:
    if folder.labels is None:
        return LabelsCode({"labels_file": False, "by_path": False}, {})
    return labels_code(data, folder.path, folder.listing.images, folder.labels.by_place)


def _needs(data: DataSpec, folder: FolderSet) -> dict[str, bool]:
    read = [each.place[-1] for split in _splits(data) for each in folder.labelled(split)]
    linked = any(folder.path.joinpath(*place).is_symlink() for place in folder.listing.folders)
    if linked:
        _refuse_circles(folder)
    return {
        "by_content": not all(name.lower().endswith(IMAGE_SUFFIXES) for name in read),
        "linked": linked,
        "leaf": data.class_folders == "leaf",
        "by_folder": _by_folder(data, folder),
        "others": bool(_others(data, folder)),
    }


def _values(data: DataSpec, folder: FolderSet) -> dict[str, object]:
    return {
        "folder": literal(str(folder.path)),
        "suffixes": "\n".join(hung("SUFFIXES = ", Call("", tuple(map(literal, IMAGE_SUFFIXES))), "", WIDTH)),
        "formats": literal(FORMATS),
        "hidden": literal(SYSTEM_FOLDERS),
        "others": literal(_others(data, folder)),
    }


def _refuse_circles(folder: FolderSet) -> None:
    """Raise where a script that follows links would not come to an end."""
    links = (folder.path.joinpath(*each.place) for each in folder.listing.unread)
    for link in links:
        if link.is_symlink() and link.is_dir():
            raise UsageError(
                f"{link} leads to a folder that it lies in, and a script would follow it again and again; remove it"
            )


def _by_folder(data: DataSpec, folder: FolderSet) -> bool:
    """Return True if images that a file of labels does not name have the class of their folder; without one all have.

    Raises:
        UsageError: those of one split have, and those of another have none.
    """
    kept = {split: _keeps_folders(folder, split) for split in _splits(data)}
    without = [split for split, keeps in kept.items() if not keeps and _unnamed(data, folder, split)]
    if any(kept.values()) and without:
        raise UsageError(
            f"images that {data.labels_file} does not name have the class of their folder in some splits and none in "
            f"'{without[0]}', which a short script cannot follow; name all of them"
        )
    return any(kept.values())


def _keeps_folders(folder: FolderSet, split: str) -> bool:
    root = folder.root(split)
    tops = {place[-1] for place in folder.listing.folders if place[:-1] == root}
    return folder.labels is None or folder.labels.labels_folders(tops)


def _unnamed(data: DataSpec, folder: FolderSet, split: str) -> bool:
    """Return True if a split has images in folders that the file of labels does not name."""
    root, named = folder.root(split), folder.labels.by_place if folder.labels else {}
    others = () if root else _others(data, folder)
    inside = (place for place in folder.listing.images if place[: len(root)] == root and len(place) > len(root) + 1)
    return any(place not in named and place[0] not in others for place in inside)


def _others(data: DataSpec, folder: FolderSet) -> list[str]:
    """Return the folders of other splits that lie among those of the classes of train."""
    if folder.root(data.train):
        return []
    named = None if _keeps_folders(folder, data.train) or not folder.labels else folder.labels.by_place
    tops = {place[0] for place in folder.listing.images if len(place) > 1 and (named is None or place in named)}
    return sorted(tops - {each.place[0] for each in folder.labelled(data.train)})


def _class_names(data: DataSpec, folder: FolderSet, train: str) -> str:
    """Return the line that names the classes; folders that have no images yet are classes, too."""
    empty = sorted(set(folder.class_names(data.train)) - {each.class_name for each in folder.labelled(data.train)})
    names = f"{{name for name, _ in find({train})}}"
    more = f" | {{{', '.join(map(literal, empty))}}}" if empty else ""
    return "\n".join(laid_out("CLASS_NAMES = ", Call("sorted", (names + more,))))
