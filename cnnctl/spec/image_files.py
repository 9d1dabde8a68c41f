"""One image file: whether it is one, by its content, and what its header says; without TensorFlow."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.formats.recognise import kind_of
from cnnctl.reading import open_regular

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".jpe",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
    ".pbm",
    ".pnm",
)
"""Endings of files that are taken for images unseen; any other file is one if its first bytes are an image's."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What files are opened as, whatever they are called; Pillow has many more readers, some of them hardly ever used."""
KINDS = "PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM"
MAX_PIXELS = 100_000_000
"""Pixels that one image may have: a few bytes can claim any number, and each takes four bytes and more."""
MAX_LISTED = 20
"""Broken files that are named in a message; of more, the first ones."""
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of images without colour."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
"""The EXIF tag, its values for images that lie on their side (CIPA DC-008, 4.6.4), and the tags of a TIFF's stored size."""

SNIFFED = 64
"""Bytes that show the kind of a file."""


def begins_as_image(content: bytes) -> bool:
    """Return True if the first `SNIFFED` bytes of a file are those of an image that can be read."""
    return kind_of(content) == "image"


def image_header(file: Path, inside: Path | None = None) -> tuple[int, int, int]:
    """Return height, width and channels of an image as it is seen, turned as its EXIF data says.

    Args:
        file: the image.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.

    Raises:
        ValueError: the file is no image that can be read; the message says why.
    """
    try:
        with opened_image(file, inside) as image:  # reads the header only
            width, height = reversed(image.size) if _lies_on_its_side(image) else image.size
            return height, width, 1 if image.mode in GREY_MODES else 3
    except Exception as error:  # Pillow passes on whatever its many readers stumble over
        raise ValueError(broken_image(file, error)) from error


def _lies_on_its_side(image: Image.Image) -> bool:
    """Return True if EXIF data swaps height and width; newer versions of Pillow have swapped those of a TIFF already."""
    if image.getexif().get(_ORIENTATION) not in _TURNED:
        return False
    tags = getattr(image, "tag_v2", {})
    return not tags or image.size == (tags.get(_TIFF_WIDTH), tags.get(_TIFF_HEIGHT))


@contextlib.contextmanager
def opened_image(file: Path, inside: Path | None = None) -> Iterator[Image.Image]:
    """Open an image for the while; of its pixels none is read yet.

    Args:
        file: the image.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.

    Raises:
        Exception: it is no regular file, leads away, or is none of FORMATS, its header is broken, or it has no pixels or too many.
    """
    with (
        warnings.catch_warnings(action="ignore"),  # of what can be read nonetheless
        open_regular(file, inside) as content,
    ):
        if not content.peek(1):
            raise ValueError("it is an empty file")
        with _identified(content) as image:
            refuse_unusual_size(image)
            yield image


def _identified(content: BufferedReader) -> Image.Image:
    """Open an image by its header; one that begins as an image and goes on as none is called damaged."""
    from PIL import Image, UnidentifiedImageError

    known = begins_as_image(content.peek(SNIFFED)[:SNIFFED])
    try:
        return Image.open(content, formats=FORMATS)
    except UnidentifiedImageError as error:
        if known:
            raise ValueError("it is damaged or cut off") from error
        raise


def refuse_unusual_size(image: Image.Image) -> None:
    """Raise where an image has no pixels, or so many that it may be an attack on the memory."""
    from PIL import Image

    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise Image.DecompressionBombError
    if not pixels:
        raise ValueError("it has no pixels")


def broken_image(file: Path, error: Exception) -> str:
    """Return the message for an image that Pillow cannot read."""
    return f"{file}: cannot be read as an image ({reason(error)}); replace or remove it"


def broken_images(broken: Sequence[tuple[str, str]], of: str, most: int = MAX_LISTED) -> str:
    """Return the message for images that cannot be read.

    Args:
        broken: name and reason of each.
        of: how many images were to be read.
        most: how many are named.
    """
    if len(broken) == 1:
        name, why = broken[0]
        return f"{name}: cannot be read as an image ({why}); replace or remove it"
    lines = [f"  {name}: {why}" for name, why in broken[:most]]
    more = [f"  and {len(broken) - most:,} more; cnnctl data --verbose names all"] if len(broken) > most else []
    return "\n".join([f"{len(broken):,} of {of} cannot be read as images; replace or remove them:", *lines, *more])


def reason(error: Exception) -> str:
    """Return why Pillow cannot read an image, in a few words."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"not a {KINDS}"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS:,} pixels"
    system = error.strerror if isinstance(error, OSError) else None
    return system or str(error) or type(error).__name__
