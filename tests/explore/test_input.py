"""Images that a person puts into the page have the pixels that cnnctl makes of them, whatever their form."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.images import fit_image
from cnnctl.data.sources.folder_source import decoded
from cnnctl.explore.bundle import FOLDER, joined_script
from cnnctl.explore.images import tall_first
from cnnctl.spec.dataset import DataSpec
from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

Pixels = NDArray[np.uint8]
ENTRY = """
import { decodeImageFile } from "./input/file.js";
import { centredImage } from "./input/ink.js";
import { prepareImage } from "./input/prepare.js";
import { resizeImage } from "./input/resample.js";

const decodedText = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const encodedText = (bytes) => btoa(Array.from(bytes, (value) => String.fromCharCode(value)).join(""));

/** Decode and prepare files; a file that cannot be read becomes its message. */
async function prepared(cases) {
  const results = [];
  for (const { file, name, preparation } of cases) {
    try {
      const image = await decodeImageFile(new File([decodedText(file)], name));
      results.push(encodedText(prepareImage(image, preparation)));
    } catch (error) {
      results.push({ error: error.message });
    }
  }
  return results;
}

window.input = { prepared, centredImage, resizeImage };
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def modules(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """The modules of `input/` in an empty page."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "input").symlink_to(FOLDER / "input")
    (folder / "entry.js").write_text(ENTRY, encoding="utf-8")
    page = folder / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><script>{joined_script(folder, 'entry.js')}</script>", encoding="utf-8")
    browser.open_loaded(page.as_uri())
    return browser


def spec(channels: int = 1, size: tuple[int, int] = (12, 10), **options: Any) -> DataSpec:
    return DataSpec(source="folder", path="x", image_size=size, channels=channels, classes=2, **options)


def preparation(data: DataSpec) -> dict[str, Any]:
    assert data.image_size
    height, width = data.image_size
    options = {name: getattr(data, name) for name in ("channels", "invert", "transpose", "fit", "pixel_max")}
    return {"height": height, "width": width, "tall_first": tall_first(), **options}


def in_page(modules: Browser, files: list[tuple[bytes, DataSpec]], name: str = "x.png") -> list[Any]:
    cases = [
        {"file": base64.b64encode(file).decode(), "name": name, "preparation": preparation(data)} for file, data in files
    ]
    return list(modules.compute(f"input.prepared({json.dumps(cases)})"))


def pixels_of(result: Any, data: DataSpec) -> Pixels:
    assert isinstance(result, str), result
    assert data.image_size and data.channels
    return np.frombuffer(base64.b64decode(result), np.uint8).reshape(*data.image_size, data.channels)


def expected(file: bytes, data: DataSpec) -> Pixels:
    with Image.open(io.BytesIO(file)) as image:
        return fit_image(decoded(image), data)


def as_png(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def photo(generator: np.random.Generator, height: int, width: int, channels: int) -> Pixels:
    """A smooth picture with noise: neighbours are alike as in real images, so that every PNG filter is used."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / generator.uniform(2, 9) + columns / generator.uniform(2, 9)) for _ in range(channels)]
    noise = generator.normal(0, 12, (height, width, channels))
    return (128 + 100 * np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)


def grey(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(photo(generator, *size, 1)[:, :, 0])


def colour(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(photo(generator, *size, 3))


def with_alpha(generator: np.random.Generator, size: tuple[int, int], mode: str) -> Image.Image:
    image = colour(generator, size).convert(mode)
    image.putalpha(Image.fromarray(generator.integers(0, 256, size, np.uint8)))
    return image


def sixteen_bits(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(generator.integers(0, 65536, size, np.uint16))


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], bytes]] = {
    "1 bit": lambda generator, size: as_png(grey(generator, size).convert("1")),
    "grey": lambda generator, size: as_png(grey(generator, size)),
    "grey of 16 bits": lambda generator, size: as_png(sixteen_bits(generator, size)),
    "grey with alpha": lambda generator, size: as_png(with_alpha(generator, size, "LA")),
    "grey with a transparent value": lambda generator, size: as_png(grey(generator, size).quantize(4).convert("L"), transparency=_value(generator, size)),
    "palette": lambda generator, size: as_png(colour(generator, size).quantize(200)),
    "palette of 4 bits": lambda generator, size: as_png(colour(generator, size).quantize(13), bits=4),
    "palette with transparency": lambda generator, size: as_png(colour(generator, size).quantize(7), transparency=bytes([0, 90, 200])),
    "RGB": lambda generator, size: as_png(colour(generator, size)),
    "RGB with a transparent colour": lambda generator, size: as_png(_flat(generator, size), transparency=(255, 0, 0)),
    "RGBA": lambda generator, size: as_png(with_alpha(generator, size, "RGBA")),
    "RGB of 16 bits": lambda generator, size: raw_png(generator.integers(0, 65536, (*size, 3), np.uint16)),
    "RGBA of 16 bits": lambda generator, size: raw_png(generator.integers(0, 65536, (*size, 4), np.uint16)),
    "interlaced": lambda generator, size: raw_png(photo(generator, *size, 3), interlaced=True),
    "interlaced grey": lambda generator, size: raw_png(photo(generator, *size, 1), interlaced=True),
}


def _value(generator: np.random.Generator, size: tuple[int, int]) -> int:
    return int(np.asarray(grey(generator, size).quantize(4).convert("L"))[0, 0])


def _flat(generator: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Pure colours, of which red is to be transparent."""
    return Image.fromarray(generator.choice(np.array([[255, 0, 0], [0, 255, 0], [9, 9, 200]], np.uint8), size))


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def raw_png(values: NDArray[Any], interlaced: bool = False) -> bytes:
    """Write a PNG of forms that Pillow does not write: 16 bits per channel, or interlaced (Adam7)."""
    height, width, channels = values.shape
    kind = {1: 0, 3: 2, 4: 6}[channels]
    depth = values.dtype.itemsize * 8
    parts = [values[top::down, left::across] for left, top, across, down in PASSES] if interlaced else [values]
    lines = [b"\0" + line.astype(line.dtype.newbyteorder(">")).tobytes() for part in parts for line in part if line.size]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


OPTIONS: list[dict[str, Any]] = [
    {},
    {"channels": 3},
    {"invert": True},
    {"transpose": True},
    {"fit": "crop"},
    {"fit": "pad"},
    {"fit": "pad", "channels": 3, "invert": True},
    {"fit": "crop", "transpose": True, "channels": 3},
    {"pixel_max": 200},
    {"pixel_max": 4095},
    {"size": (40, 33)},
    {"size": (40, 33), "fit": "pad"},
    {"size": (40, 33), "fit": "crop"},
]
SIZES = [(12, 10), (10, 12), (31, 47), (90, 25), (7, 5), (1, 60)]


@pytest.mark.parametrize("kind", KINDS)
def test_png_files_have_the_pixels_of_fit_image(modules: Browser, kind: str) -> None:
    generator = np.random.default_rng(list(KINDS).index(kind))
    files = [(KINDS[kind](generator, size), spec(**options)) for size in SIZES for options in OPTIONS]
    for (file, data), result in zip(files, in_page(modules, files), strict=True):
        assert np.array_equal(pixels_of(result, data), expected(file, data)), (data, Image.open(io.BytesIO(file)).size)
