"""Decode image files and fit them to a config, block by block.

Decoding processes start with this module, so it imports Pillow and NumPy, but not pydantic, TensorFlow or `DataSpec`.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cnnctl.data.images import SEVERAL_FRAMES, SIXTEEN_BIT_COLOUR, Fitting, Pixels, fit_upright
from cnnctl.data.inspect.census import Census
from cnnctl.reading import FolderOpener, read_pieces
from cnnctl.spec.image_files import FORMATS, identified, reason, refuse_unusual_size

Item = TypeVar("Item")

MAX_WHOLE = 2**24
"""Maximum bytes of a file that is read as a whole, which is faster; Pillow reads larger ones in pieces."""


@dataclass(frozen=True)
class DecodedBlock:
    """Decoded images of a block of files.

    Attributes:
        images: (B, H, W, C), without the broken ones.
        census: the arrays of their `Census`.
        broken: position in the block and reason of each image that cannot be read.
    """

    images: Pixels
    census: Mapping[str, NDArray[Any]]
    broken: Sequence[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.images) + len(self.broken)


def decode_files(files: Sequence[str], inside: Path | None, fitting: Fitting) -> DecodedBlock:
    """Decode files.

    Args:
        files: their paths.
        inside: the folder that links must stay inside of; None allows any link.
        fitting: what the images are fitted to.
    """
    with FolderOpener(inside) as opener:
        return _block(files, lambda file: opened_file(file, opener), fitting)


def decode_contents(contents: Sequence[bytes], fitting: Fitting) -> DecodedBlock:
    """Decode image files in memory."""
    return _block(contents, opened_bytes, fitting)


def _block(items: Sequence[Item], opened: Callable[[Item], Image.Image], fitting: Fitting) -> DecodedBlock:
    images = np.empty((len(items), *fitting.image_size, fitting.channels), np.uint8)
    census, broken, count = Census(), list[tuple[int, str]](), 0
    with warnings.catch_warnings(action="ignore"):  # about images that can be read nonetheless
        for place, item in enumerate(items):
            try:
                image = opened(item)
                census.add(image)
                images[count] = fit_upright(image, fitting)
            except Exception as error:  # Pillow's plugins raise errors of any type
                broken.append((place, reason(error)))
            else:
                count += 1
    return DecodedBlock(images[:count], census.arrays(), broken)


def opened_file(file: str, opener: FolderOpener) -> Image.Image:
    """Decode an image file and apply its EXIF orientation. Raises Pillow's errors."""
    with _content(opener.open(file)) as content:
        image = identified(content)
        refuse_unusual_size(image)
        return decoded(image)


def _content(opened: int) -> IO[bytes]:
    """Read the file of a descriptor into memory, unless it is large. The descriptor is closed in the end."""
    if os.fstat(opened).st_size > MAX_WHOLE:
        return os.fdopen(opened, "rb")
    try:
        return io.BytesIO(b"".join(read_pieces(opened)))
    finally:
        os.close(opened)


def opened_bytes(content: bytes) -> Image.Image:
    """Decode an image file in memory and apply its EXIF orientation. Raises Pillow's errors."""
    if not content:
        raise ValueError("it is empty")
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        refuse_unusual_size(image)
        return decoded(image)


def decoded(image: Image.Image) -> Image.Image:
    """Decode an opened image and apply its EXIF orientation. Raises Pillow's errors."""
    deep = image.mode in ("RGB", "RGBA", "LA") and ";16" in str(getattr(image, "tile", ""))
    several = getattr(image, "is_animated", False)  # known only while the file is open
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image.info.update({SIXTEEN_BIT_COLOUR: deep, SEVERAL_FRAMES: several})
    return image
