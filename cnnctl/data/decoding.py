"""Decode image files and fit them to a config, block by block.

Decoding processes start with this module, so it imports Pillow and NumPy, but not pydantic, TensorFlow or `DataSpec`.
"""

from __future__ import annotations

import contextlib
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
from cnnctl.data.inspect.originals import Originals, Thumbnail, originals_of, thumbnail
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
        originals: the images before they were fitted; empty unless requested.
        thumbnails: of the first images; empty unless requested.
    """

    images: Pixels
    census: Mapping[str, NDArray[Any]]
    broken: Sequence[tuple[int, str]]
    originals: Originals
    thumbnails: Sequence[Thumbnail]

    def __len__(self) -> int:
        return len(self.images) + len(self.broken)


@dataclass
class Decoder:
    """Decodes blocks of image files.

    Attributes:
        fitting: what the images are fitted to.
        inspects: also measures the images before they are fitted.
        max_thumbnails: number of thumbnails to draw per block, which may be lowered from block to block.
    """

    fitting: Fitting
    inspects: bool = False
    max_thumbnails: int = 0

    def files(self, files: Sequence[tuple[str, Path | None]]) -> DecodedBlock:
        """Decode files, each given with the folder that links must stay inside of; None allows any link."""
        with contextlib.ExitStack() as opened:
            openers = {inside: opened.enter_context(FolderOpener(inside)) for inside in {inside for _, inside in files}}
            return self._block(files, lambda item: opened_file(item[0], openers[item[1]]))

    def contents(self, contents: Sequence[bytes]) -> DecodedBlock:
        """Decode image files in memory."""
        return self._block(contents, opened_bytes)

    def _block(self, items: Sequence[Item], opened: Callable[[Item], Image.Image]) -> DecodedBlock:
        images = np.empty((len(items), *self.fitting.image_size, self.fitting.channels), np.uint8)
        census, broken = Census(), list[tuple[int, str]]()
        originals, thumbnails = [originals_of([])], list[Thumbnail]()
        with warnings.catch_warnings(action="ignore"):  # about images that can be read nonetheless
            for place, item in enumerate(items):
                try:
                    image = opened(item)
                    images[place - len(broken)] = fit_upright(image, self.fitting)
                    if self.inspects:
                        originals.append(originals_of([image]))
                    if len(thumbnails) < self.max_thumbnails:
                        thumbnails.append(thumbnail(image))
                    census.add(image)
                except Exception as error:  # Pillow's plugins raise errors of any type
                    broken.append((place, reason(error)))
        count = len(items) - len(broken)
        return DecodedBlock(images[:count], census.arrays(), broken, Originals.joined(originals), thumbnails)


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
