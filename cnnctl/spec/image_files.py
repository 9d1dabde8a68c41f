"""Image files: recognition by content, and the header; without TensorFlow."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

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
"""Suffixes of files that count as images unseen; any other file counts if its first bytes are those of an image."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""The formats that Pillow may try, whatever the suffix; it has many more readers, some of them rarely tested."""
KINDS = "PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM"
MAX_PIXELS = 100_000_000
"""Most pixels of one image: a few bytes of header can claim any number, and each pixel takes 4 bytes or more."""
MAX_LISTED = 20
"""Most broken files listed in one message."""
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes of grayscale images."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
"""The EXIF orientation tag, its values that swap height and width (CIPA DC-008, 4.6.4), and the tags of a TIFF's stored size."""

SNIFFED = 64
"""Bytes at the start of a file that identify its format."""


def begins_as_image(content: bytes) -> bool:
    """Return True if the first `SNIFFED` bytes of a file are those of a supported image."""
    return kind_of(content) == "image"


def image_header(file: Path, inside: Path | None = None) -> tuple[int, int, int]:
    """Return height, width and channels of an image after its EXIF rotation.

    Args:
        file: the image.
        inside: the folder that links must stay in; None to follow all links.

    Raises:
        ValueError: the file is not a readable image; the message has the reason.
    """
    try:
        with opened_image(file, inside) as image:  # reads the header only
            width, height = reversed(image.size) if _is_rotated(image) else image.size
            return height, width, 1 if image.mode in GREY_MODES else 3
    except Exception as error:  # Pillow's readers raise many kinds of errors
        raise ValueError(broken_image(file, error)) from error


def _is_rotated(image: Image.Image) -> bool:
    """Return True if EXIF data swaps height and width; newer versions of Pillow already swap those of a TIFF."""
    if image.getexif().get(_ORIENTATION) not in _TURNED:
        return False
    tags = getattr(image, "tag_v2", {})
    return not tags or image.size == (tags.get(_TIFF_WIDTH), tags.get(_TIFF_HEIGHT))


@contextlib.contextmanager
def opened_image(file: Path, inside: Path | None = None) -> Iterator[Image.Image]:
    """Open an image without reading its pixels.

    Args:
        file: the image.
        inside: the folder that links must stay in; None to follow all links.

    Raises:
        Exception: the file is not a regular file, a link out of `inside`, not one of FORMATS, has a broken header, or no
            pixels or too many.
    """
    with (
        warnings.catch_warnings(action="ignore"),  # about images that can be read nonetheless
        open_regular(file, inside) as content,
        identified(content) as image,
    ):
        refuse_unusual_size(image)
        yield image


def identified(content: IO[bytes]) -> Image.Image:
    """Open an image file by its header; raise ValueError for one that is empty, or starts as an image but is damaged."""
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(content, formats=FORMATS)
    except UnidentifiedImageError as error:
        content.seek(0)
        first = content.read(SNIFFED)
        if not first:
            raise ValueError("it is an empty file") from error
        if begins_as_image(first):
            raise ValueError("it is damaged or cut off") from error
        raise


def refuse_unusual_size(image: Image.Image) -> None:
    """Raise if an image has no pixels, or more than memory may hold."""
    from PIL import Image

    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise Image.DecompressionBombError
    if not pixels:
        raise ValueError("it has no pixels")


def broken_image(file: Path, error: Exception) -> str:
    """Format the message for an image that Pillow cannot read."""
    return f"{file}: cannot be read as an image ({reason(error)}); replace or remove it"


def broken_images(broken: Sequence[tuple[str, str]], of: str, most: int = MAX_LISTED) -> str:
    """Format the message for images that cannot be read.

    Args:
        broken: name and reason of each.
        of: the total, such as `1,200 images`.
        most: maximum number of images listed.
    """
    if len(broken) == 1:
        name, why = broken[0]
        return f"{name}: cannot be read as an image ({why}); replace or remove it"
    lines = [f"  {name}: {why}" for name, why in broken[:most]]
    more = [f"  and {len(broken) - most:,} more; cnnctl data --verbose lists all"] if len(broken) > most else []
    return "\n".join([f"{len(broken):,} of {of} cannot be read as images; replace or remove them:", *lines, *more])


def reason(error: Exception) -> str:
    """Describe in a few words why Pillow cannot read an image."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return f"not a {KINDS}"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS:,} pixels"
    system = error.strerror if isinstance(error, OSError) else None
    return system or str(error) or type(error).__name__
