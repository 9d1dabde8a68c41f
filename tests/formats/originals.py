"""Makers of the files in which people have their image sets, and what reads their parts whole."""

from __future__ import annotations

import gzip
import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnctl.formats import Part

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def some(*shape: int, high: int = 256, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """Returns random values below `high`."""
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def idx(array: NDArray[Any], shape: tuple[int, ...] | None = None) -> bytes:
    """Returns the content of an IDX file; `shape` for what its header claims."""
    kind = array.dtype.newbyteorder("=").str[1:]
    shape = array.shape if shape is None else shape
    header = struct.pack(f">HBB{len(shape)}I", 0, CODES[kind], len(shape), *shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(file: Path, content: bytes) -> Path:
    """Writes a file, compressed where its name says so."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content, 1, mtime=0) if file.suffix == ".gz" else content)
    return file


def png(image: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def images_of(part: Part, most: int = 7) -> NDArray[Any]:
    """Returns all images of a part, read some at a time."""
    blocks = list(part.blocks(most))
    assert all(1 <= len(block) <= most for block in blocks)
    arrays = [block for block in blocks if isinstance(block, np.ndarray)]
    assert len(arrays) == len(blocks)
    images = np.concatenate(arrays)
    assert images.shape == (part.count, part.height, part.width, part.channels)
    return images


def encoded_of(part: Part, most: int = 7) -> list[bytes]:
    """Returns the encoded images of a part, read some at a time."""
    blocks = list(part.blocks(most))
    assert all(1 <= len(block) <= most for block in blocks)
    images = [image for block in blocks for image in block]
    assert len(images) == part.count
    assert (part.height, part.width, part.channels) == (None, None, None)
    return [image for image in images if isinstance(image, bytes)]


def labels_of(part: Part) -> list[Any]:
    """Returns the labels of a part as a list."""
    assert part.labels is not None
    labels = part.labels()
    if isinstance(labels, np.ndarray):
        assert labels.dtype == np.int64
        assert labels.shape == (part.count,)
    assert len(labels) == part.count
    return list(labels)


def everything(part: Part) -> tuple[NDArray[Any] | list[bytes], list[Any]]:
    """Returns the images and labels of a part."""
    return (encoded_of(part) if part.height is None else images_of(part)), labels_of(part)


def with_this_python() -> dict[str, str]:
    """Returns an environment in which `python` is the one that runs the tests."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
