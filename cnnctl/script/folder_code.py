"""A folder of images as code: splits, classes and labels file, as found by `cnnctl.spec.folders`.

The script is for the folder of the config: rules that do not apply to it are left out.
"""

from __future__ import annotations

from cnnctl.errors import UsageError
from cnnctl.script.expressions import WIDTH, Call, hung, laid_out, literal
from cnnctl.script.image_code import helpers, image_values
from cnnctl.script.label_code import LABEL_OF, LABELS, LabelsCode, labels_code
from cnnctl.script.reading_code import Reading, base_needs
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.folders import FolderSet
from cnnctl.spec.image_files import FORMATS, IMAGE_SUFFIXES
from cnnctl.spec.listing import SYSTEM_FOLDERS, Place

FOLDER = '''
def is_image(file):
    """Return True if a file is an image, by its name."""  #? !by_content
    return file.name.lower().endswith(SUFFIXES) and file.is_file()  #? !by_content
    """Return True if a file is an image, by its content."""  #? by_content
    if not file.is_file():  #? by_content
        return False  #? by_content
    try:  #? by_content
        Image.open(file, formats=$formats).close()  #? by_content
    except OSError:  #? by_content
        return False  #? by_content
    return True  #? by_content


def is_hidden(name):
    """Return True if a file or folder belongs to the system and not to the dataset."""
    return name.startswith(".") or name in $hidden


def files_below(folder):  #? linked
    """List the files below a folder, including linked folders."""  #? linked
    for place, _, names in os.walk(folder, followlinks=True):  #? linked
        yield from (Path(place, name) for name in names)  #? linked
  #? linked
  #? linked
def find(folder):
    """List the images below a folder as (class name, file), sorted."""
    found = []
    for file in folder.rglob("*"):  #? !linked
    for file in files_below(folder):  #? linked
        *folders, _ = place = file.relative_to(folder).parts
        if any(map(is_hidden, place)) or not is_image(file):
            continue
        if place[0] in $others:  # folders of other splits  #? others
            continue  #? others
        name = "/".join(folders[:1])  # all images below a folder are of its class  #? by_folder !leaf
        name = "/".join(folders)  # each folder with images is a class  #? by_folder leaf
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


def folder_reading(data: DataSpec) -> Reading:
    """Choose how a script reads the folder of a checked config; raise as `reading_of` does."""
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
    """Raise if a script that follows links would not terminate."""
    links = (folder.path.joinpath(*each.place) for each in folder.listing.unread)
    for link in links:
        if link.is_symlink() and link.is_dir():
            raise UsageError(f"{link} is a link to a parent folder, which a script would follow without end; remove it")


def _by_folder(data: DataSpec, folder: FolderSet) -> bool:
    """Return True if images that are not in a labels file have the class of their folder, as all do without a labels file.

    Raises:
        UsageError: this differs between splits.
    """
    by_folder = {split: _keeps_folders(folder, split) for split in _splits(data)}
    without = [split for split, keeps in by_folder.items() if not keeps and _unnamed(data, folder, split)]
    if any(by_folder.values()) and without:
        raise UsageError(
            f"images not in {data.labels_file} have the class of their folder in some splits and no class in "
            f"'{without[0]}', which a short script cannot reproduce; add all images to the file"
        )
    return any(by_folder.values())


def _keeps_folders(folder: FolderSet, split: str) -> bool:
    root = folder.root(split)
    tops = {place[-1] for place in folder.listing.folders if place[:-1] == root}
    return folder.labels is None or folder.labels.labels_folders(tops)


def _unnamed(data: DataSpec, folder: FolderSet, split: str) -> bool:
    """Return True if a split has images in folders that are not in the labels file."""
    root, named = folder.root(split), folder.labels.by_place if folder.labels else {}
    others = () if root else _others(data, folder)
    inside = (place for place in folder.listing.images if place[: len(root)] == root and len(place) > len(root) + 1)
    return any(place not in named and place[0] not in others for place in inside)


def _others(data: DataSpec, folder: FolderSet) -> list[str]:
    """Return the folders of other splits among the class folders of train."""
    if folder.root(data.train):
        return []
    named = None if _keeps_folders(folder, data.train) or not folder.labels else folder.labels.by_place
    tops = {place[0] for place in folder.listing.images if len(place) > 1 and (named is None or place in named)}
    return sorted(tops - {each.place[0] for each in folder.labelled(data.train)})


def _class_names(data: DataSpec, folder: FolderSet, train: str) -> str:
    """Generate the line with the class names, including empty class folders."""
    empty = sorted(set(folder.class_names(data.train)) - {each.class_name for each in folder.labelled(data.train)})
    names = f"{{name for name, _ in find({train})}}"
    more = f" | {{{', '.join(map(literal, empty))}}}" if empty else ""
    return "\n".join(laid_out("CLASS_NAMES = ", Call("sorted", (names + more,))))
