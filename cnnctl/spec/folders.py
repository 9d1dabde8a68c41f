"""A folder of images: its splits, its classes and what one image of it is like, found without TensorFlow."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.reading import open_regular, refuse_leading_away

if TYPE_CHECKING:
    from PIL import Image

DEFAULT_TRAIN = DataSpec.model_fields["train"].default
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS = ("PNG", "JPEG", "BMP")
"""What files are opened as, whatever they are called; Pillow has many more readers, some of them hardly ever used."""
MOST_PIXELS = 100_000_000
"""So many has one image at most: a few bytes can claim any number, and each takes four bytes and more."""
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
    except (RuntimeError, ValueError) as error:
        raise NotUsable(field, f"'{path}' begins with a home folder that is not known here") from error


def folder_path(data: DataSpec) -> Path:
    """Returns the folder of a set of source `folder`."""
    assert data.path is not None
    return expanded("path", data.path)


def split_folder(path: Path, split: str) -> Path:
    """Returns the folder of a split: `path/split`, or for the default train `path` itself where there is no such folder."""
    below = path / split
    return path if split == DEFAULT_TRAIN and not below.is_dir() else below


def class_folders(path: Path, split: str, within: Path | None = None) -> list[Path]:
    """Returns the folders of a split's classes, sorted by name.

    Args:
        path: the folder of the set.
        split: a folder in it.
        within: the folder that no link may lead out of; None for `path`.

    Raises:
        OSError: a folder cannot be read, or a link leads away.
    """
    root, within = split_folder(path, split), within or path
    if not root.is_dir():
        return []
    refuse_leading_away(root, within)
    return [
        root / entry.name for entry in _visible(root) if _is_folder(entry, within) and _may_be_class(root / entry.name, within)
    ]


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Returns what is in a folder by its names; hidden files, such as the `._1.png` of macOS, are left out.

    What kind of thing an entry is the system has said with its name: nothing more is asked of it, but for links.
    """
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str], within: Path) -> bool:
    if not entry.is_dir():
        return False
    if entry.is_symlink():
        refuse_leading_away(Path(entry.path), within)
    return True


def _may_be_class(folder: Path, within: Path) -> bool:
    """Returns whether a folder holds images, or nothing yet; one of folders alone is a split beside flat classes."""
    has_folders = False
    for entry in _visible(folder):
        if _is_image(entry, within):
            return True
        has_folders = has_folders or entry.is_dir()
    return not has_folders


def image_files(folder: Path, within: Path) -> list[Path]:
    """Returns the images in a folder, sorted by name.

    Raises:
        OSError: the folder cannot be read, or a link among the images is broken or leads out of `within`.
    """
    return [folder / entry.name for entry in _visible(folder) if _is_image(entry, within)]


def _is_image(entry: os.DirEntry[str], within: Path) -> bool:
    """Returns whether this is a regular file with the name of an image, or a link to one."""
    if not entry.name.lower().endswith(IMAGE_SUFFIXES):
        return False
    if entry.is_symlink():
        refuse_leading_away(Path(entry.path), within)
        entry.stat()  # a broken link is told, and not passed over
    return entry.is_file()


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
    try:
        with opened_image(file) as image:  # reads the header only
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            width, height = reversed(image.size) if turned else image.size
            return height, width, 1 if image.mode in GREY_MODES else 3
    except Exception as error:  # Pillow passes on whatever its many readers stumble over
        raise NotUsable("path", broken_image(file, error)) from error


@contextlib.contextmanager
def opened_image(file: Path) -> Iterator[Image.Image]:
    """Opens an image for the while; of its pixels none is read yet.

    Raises:
        Exception: it is no regular file or none of FORMATS, its header is broken, or it has no pixels or too many.
    """
    from PIL import Image

    with (
        warnings.catch_warnings(action="ignore"),  # of what can be read nonetheless
        open_regular(file) as content,
        Image.open(content, formats=FORMATS) as image,
    ):
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            raise Image.DecompressionBombError
        if not pixels:
            raise ValueError("it has no pixels")
        yield image


def broken_image(file: Path, error: Exception) -> str:
    """Returns what to say of an image that Pillow cannot read."""
    return f"{file}: cannot be read as an image ({_reason(error)}); replace or remove it"


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG or BMP"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MOST_PIXELS:,} pixels"
    system = error.strerror if isinstance(error, OSError) else None
    return system or str(error) or type(error).__name__
