"""A folder of images: its splits, its classes and what one image of it is like, found without TensorFlow."""

from __future__ import annotations

from pathlib import Path

from cnnctl.spec.experiment import DataSpec

DEFAULT_TRAIN = DataSpec.model_fields["train"].default
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of images without colour."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF tag, and its values for images that lie on their side (CIPA DC-008, 4.6.4)."""


class NotUsable(Exception):
    """What a data section names cannot be used.

    Attributes:
        field: the field of the data section that names it.
        message: what is wrong and what to do.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def expanded(field: str, path: str) -> Path:
    """Returns the path that a field of the data section gives, `~` and `~user` resolved."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise NotUsable(field, f"'{path}' begins with a home folder that is not known here") from error


def folder_path(data: DataSpec) -> Path:
    """Returns the folder of a set of source `folder`."""
    assert data.path is not None
    return expanded("path", data.path)


def split_folder(path: Path, split: str) -> Path:
    """Returns the folder of a split: `path/split`, or for the default train `path` itself where there is no such folder."""
    below = path / split
    return path if split == DEFAULT_TRAIN and not below.is_dir() else below


def class_folders(path: Path, split: str) -> list[Path]:
    """Returns the folders of a split's classes, sorted by name."""
    root = split_folder(path, split)
    if not root.is_dir():
        return []
    return sorted(each for each in root.iterdir() if not each.name.startswith(".") and each.is_dir() and _may_be_class(each))


def _may_be_class(folder: Path) -> bool:
    """Returns whether a folder holds images, or nothing yet; one of folders alone is a split beside flat classes."""
    has_folders = False
    for each in folder.iterdir():
        if _is_image(each):
            return True
        has_folders = has_folders or each.is_dir()
    return not has_folders


def image_files(folder: Path) -> list[Path]:
    """Returns the images in a folder, sorted by name."""
    return sorted(file for file in folder.iterdir() if _is_image(file))


def _is_image(file: Path) -> bool:
    """Returns whether a name is that of an image; hidden files, such as the `._1.png` of macOS, are none."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def check_folder(data: DataSpec) -> None:
    """Raises what is wrong with the folders of a set of source `folder`.

    Raises:
        NotUsable: a folder is not there, or there are fewer than two classes.
        OSError: a folder cannot be read.
    """
    path = folder_path(data)
    if not path.is_dir():
        raise NotUsable("path", f"there is no folder '{data.path}'; a path starts at the folder where cnnctl is called")
    for field, split in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if isinstance(split, str) and split != DEFAULT_TRAIN and not class_folders(path, split):
            raise NotUsable(field, f"there is no split '{split}', a folder {path / split} with a folder for each class")
    classes = class_folders(path, data.train)
    if len(classes) < 2:
        has = f"one folder of a class, '{classes[0].name}'" if classes else "no folders of classes"
        remedy = "put the images of each class into a folder of its own, two classes at least"
        raise NotUsable("path", f"the folder '{split_folder(path, data.train)}' has {has}; {remedy}")


def image_header(file: Path) -> tuple[int, int, int]:
    """Returns height, width and channels of an image as it is seen, turned as its EXIF data says.

    Raises:
        NotUsable: the file is no image.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:  # reads the header only
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            width, height = reversed(image.size) if turned else image.size
            return height, width, 1 if image.mode in GREY_MODES else 3
    except Exception as error:  # Pillow passes on whatever its many readers stumble over
        raise NotUsable("path", broken_image(file, error)) from error


def broken_image(file: Path, error: Exception) -> str:
    """Returns what to say of an image that Pillow cannot read."""
    from PIL import UnidentifiedImageError

    system = error.strerror if isinstance(error, OSError) else None
    reason = "not an image" if isinstance(error, UnidentifiedImageError) else system or str(error) or type(error).__name__
    return f"{file}: cannot be read as an image ({reason}); replace or remove it"
