"""Prepares images as someone does who has only an exported file: Pillow and NumPy, and what the file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def prepared(file: Path, facts: dict[str, Any]) -> NDArray[np.float32]:
    """Returns an image as an exported network takes it, a batch of one; step by step as `facts["steps"]` says."""
    image = ImageOps.exif_transpose(Image.open(file))
    image = on_white(eight_bits(image, facts["pixel_max"])).convert("L" if facts["channels"] == 1 else "RGB")
    if facts["transpose"]:
        image = Image.fromarray(np.asarray(image).swapaxes(0, 1))
    pixels = np.asarray(resized(image, facts["width"], facts["height"], facts["fit"]))
    pixels = pixels.reshape(1, facts["height"], facts["width"], facts["channels"])
    pixels = (255 - pixels if facts["invert"] else pixels).astype(np.float32) / np.float32(255)
    return pixels.transpose(0, 3, 1, 2) if facts["data_format"] == "channels_first" else pixels


def eight_bits(image: Image.Image, white: float | None) -> Image.Image:
    if image.mode in DEEP:
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.minimum(255, values * 255 // int(white)) if white else values // 257).astype(np.uint8))
    if not white:
        return image
    rgba = np.array(image.convert("RGBA"))
    rgba[..., :3] = np.minimum(255, np.floor(rgba[..., :3].astype(np.float64) * 255 / white))
    return Image.fromarray(rgba)


def on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, (255, 255, 255, 255))
    page.alpha_composite(image)
    return page


def resized(image: Image.Image, width: int, height: int, fit: str) -> Image.Image:
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if fit == "crop":
        unit = min(image.width / width, image.height / height)
        left, top = (image.width - unit * width) / 2, (image.height - unit * height) / 2
        box = (left, top, left + unit * width, top + unit * height)
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    unit = max(image.width / width, image.height / height)
    inner = image.resize((max(round(image.width / unit), 1), max(round(image.height / unit), 1)), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    border = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0).astype(int)
    page = Image.new(image.mode, (width, height), tuple(border.tolist()) if len(border) > 1 else int(border[0]))
    page.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return page


def difficult_files(digits: NDArray[np.uint8], folder: Path) -> list[Path]:
    """Writes grey images (N, 8, 8), each in another of the ways that a file can differ from plain pixels."""
    folder.mkdir()
    writers = [turned, deep, transparent, palette, coloured, half_transparent, black_and_white, wide]
    files = []
    for number, digit in enumerate(digits):
        write = writers[number % len(writers)]
        files.append(folder / f"{number:03}-{write.__name__}.{'jpg' if write is turned else 'png'}")
        write(Image.fromarray(digit).resize((93, 71), Image.Resampling.NEAREST), files[-1])
    return files


def turned(image: Image.Image, file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image.rotate(90, expand=True).convert("RGB").save(file, exif=exif, quality=95)


def deep(image: Image.Image, file: Path) -> None:
    values = np.asarray(image).astype(np.uint16)
    Image.fromarray(values * np.uint16(257) + np.uint16(100) * (values < 200)).save(file)


def transparent(image: Image.Image, file: Path) -> None:
    rgba = image.convert("RGBA")
    rgba.putalpha(image.point([0] * 40 + [255] * 216))
    rgba.save(file)


def palette(image: Image.Image, file: Path) -> None:
    image.convert("RGB").quantize(16).save(file, transparency=3)


def coloured(image: Image.Image, file: Path) -> None:
    Image.merge("RGB", [image, image.point([255 - value for value in range(256)]), image]).save(file)


def half_transparent(image: Image.Image, file: Path) -> None:
    Image.merge("LA", [image, image.point([64 + value // 2 for value in range(256)])]).save(file)


def black_and_white(image: Image.Image, file: Path) -> None:
    image.convert("1").save(file)


def wide(image: Image.Image, file: Path) -> None:
    page = Image.new("L", (170, 71), 30)
    page.paste(image, (40, 0))
    page.save(file)
