"""Kinds of images: recognised by content, equal to Pillow pixel by pixel, and every broken one named at once."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from cnnctl.data.images import as_bytes, fit_array, fit_image
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.image_files import begins_as_image, image_header

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (6, 8), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def spec(root: Path | str, **fields: Any) -> DataSpec:
    usual = {"source": "folder", "path": str(root), "image_size": [6, 8], "channels": 1, "classes": 2, "test": 0.2}
    return DataSpec.model_validate({**usual, **fields})


def folder(root: Path, files: dict[str, bytes]) -> Path:
    """Writes files into two classes; `files` are those of the first."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for index in range(4):
            Image.fromarray(GREY).save(root / name / f"z{index}.png")
    for name, content in files.items():
        (root / "a" / name).write_bytes(content)
    return root


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


KINDS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95},
    "BMP": {},
    "GIF": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF deflated": {"compression": "tiff_adobe_deflate"},
    "PPM": {},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["0.png", "0.jpg", "0.tif", "0", "0.dat", "0.txt", "0.JFIF"])
def test_images_are_told_by_their_content_whatever_they_are_called(kind: str, name: str, tmp_path: Path) -> None:
    content = encoded(Image.fromarray(GREY), kind.partition(" ")[0], **KINDS[kind])
    assert begins_as_image(content[:64])
    root = folder(tmp_path / "set", {name: content})
    source = open_source(spec(root))
    images = source.read("train")
    assert source.notes[0] == "read 9 images in 2 classes"
    with Image.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(images.images[0, ..., 0], np.asarray(opened.convert("L")))


@pytest.mark.parametrize(
    "text", [b"BMW is a car\n" * 4, b"P1 is the first of them\n", b"GIF is a kind\n", b"II. Chapter\n", b"RIFF\0\0\0\0WAVEfmt "]
)
def test_texts_that_begin_like_images_are_none(text: bytes) -> None:
    assert not begins_as_image(text[:64])


def sixteen_bits(image: Image.Image, mode: str) -> Image.Image:
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert(mode)


def by_pillow(content: bytes, mode: str) -> np.ndarray[Any, Any]:
    """Converts an image as Pillow does, with white behind what is transparent and 16 bits scaled to 8."""
    with Image.open(io.BytesIO(content)) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode in ("I", "I;16", "I;16B"):
        return np.asarray(sixteen_bits(image, mode))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert(mode))


def oriented(value: int, form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(Image.fromarray(COLOUR), form, exif=exif)


def alpha(mode: str) -> Image.Image:
    grey = np.stack([GREY, GREY[::-1]], axis=-1)
    return Image.fromarray(grey, "LA") if mode == "LA" else Image.fromarray(np.dstack([COLOUR, GREY]), "RGBA")


KEPT: dict[str, Callable[[], bytes]] = {
    "1 bit": lambda: encoded(Image.fromarray(GREY > 127), "PNG"),
    "palette": lambda: encoded(Image.fromarray(COLOUR).quantize(16), "PNG"),
    "palette of a gif": lambda: encoded(Image.fromarray(COLOUR).quantize(16), "GIF"),
    "transparent palette": lambda: encoded(Image.fromarray(COLOUR).quantize(16), "PNG", transparency=3),
    "transparent grey": lambda: encoded(Image.fromarray(GREY), "PNG", transparency=int(GREY[0, 0])),
    "16 bits": lambda: encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "16 bits in a tiff": lambda: encoded(Image.fromarray(GREY.astype(np.uint16) * 257 + 3), "TIFF"),
    "16 bits in a pgm": lambda: b"P5 8 6 65535\n" + (GREY.astype(">u2") * 257).tobytes(),
    "grey and alpha": lambda: encoded(alpha("LA"), "PNG"),
    "colour and alpha": lambda: encoded(alpha("RGBA"), "PNG"),
    "alpha in webp": lambda: encoded(alpha("RGBA"), "WEBP", lossless=True),
    "cmyk": lambda: encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "cmyk in a tiff": lambda: encoded(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"),
    "ycbcr": lambda: encoded(Image.fromarray(COLOUR).convert("YCbCr"), "JPEG"),
    **{
        f"exif {value} in {form}": partial(oriented, value, form)
        for value in range(1, 9)
        for form in ("JPEG", "PNG", "TIFF", "WEBP")
    },
}


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_what_pillow_makes_of_it(name: str, channels: int, tmp_path: Path) -> None:
    content = KEPT[name]()
    wanted = by_pillow(content, "L" if channels == 1 else "RGB").reshape(*by_pillow(content, "L").shape, channels)
    root = folder(tmp_path / "set", {"0": content})
    height, width, _ = image_header(root / "a" / "0")
    assert wanted.shape[:2] == (height, width)
    images = open_source(spec(root, image_size=[height, width], channels=channels)).read("train")
    np.testing.assert_array_equal(images.images[0], wanted)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_read_and_that_is_said(form: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(each) for each in (GREY, 255 - GREY, GREY.T.reshape(6, 8))]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    source = open_source(spec(folder(tmp_path / "set", {"0.png": content})))
    images = source.read("train")
    np.testing.assert_array_equal(images.images[0, ..., 0], by_pillow(content, "L"))
    np.testing.assert_array_equal(images.images[0, ..., 0], GREY)
    assert "1 of 9 images of 'train' has several frames; the first is read" in source.notes


# the value of white

DEEP: dict[str, tuple[Callable[[], bytes], int]] = {
    "12 bits in a png": (lambda: encoded(Image.fromarray(GREY.astype(np.uint16) * 16), "PNG"), 4095),
    "8 bits in 16": (lambda: encoded(Image.fromarray(GREY.astype(np.uint16)), "PNG"), 255),
    "floats in a tiff": (lambda: encoded(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"), 1),
    "large floats": (lambda: encoded(Image.fromarray(GREY.astype(np.float32) * 4), "TIFF"), 1023),
}


@pytest.mark.parametrize("name", DEEP)
def test_images_that_are_nearly_black_are_a_warning_whose_remedy_works(name: str, tmp_path: Path) -> None:
    make, white = DEEP[name]
    root = tmp_path / "set"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for index in range(4):
            (root / label / f"{index}.tif").write_bytes(make())
    source = open_source(spec(root))
    source.read("train")
    (warning,) = [note for note in source.notes if note.startswith("warning: 8 of 8 images of 'train' are")]
    found = re.search(r"write data\.pixel_max: (\d+), the value of white", warning)
    assert found and int(found[1]) == white
    corrected = open_source(spec(root, pixel_max=white))
    images = corrected.read("train")
    assert not [note for note in corrected.notes if note.startswith("warning")]
    np.testing.assert_allclose(images.images[0, ..., 0].astype(int), GREY, atol=1)


def test_sixteen_bits_of_their_whole_range_are_no_warning(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG")
    source = open_source(spec(folder(tmp_path / "set", {"0.png": content})))
    source.read("train")
    assert source.notes == ["read 9 images in 2 classes"]


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "P", "1"])
def test_white_is_what_the_config_says_in_every_mode(mode: str) -> None:
    image = alpha(mode) if "A" in mode else Image.fromarray(COLOUR).convert(mode)
    plain = spec("x", channels=3)
    if "A" in mode:  # alpha has a white of its own
        opaque = image.copy()
        opaque.putalpha(255)
        found = fit_image(opaque, plain.model_copy(update={"pixel_max": 100.0}))
        wanted = np.asarray(opaque.convert("RGB"))
    else:
        found, wanted = fit_image(image, plain.model_copy(update={"pixel_max": 100.0})), np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(found, np.minimum(wanted, 100).astype(int) * 255 // 100)


@pytest.mark.parametrize("white", [255, 65535])
def test_the_usual_white_changes_nothing(white: int) -> None:
    image = Image.fromarray(COLOUR) if white == 255 else Image.fromarray(GREY.astype(np.uint16) * 257 + 9)
    plain = spec("x", channels=3)
    np.testing.assert_array_equal(
        fit_image(image, plain.model_copy(update={"pixel_max": float(white)})), fit_image(image, plain)
    )


ARRAYS = {
    "booleans": (GREY > 127, None, (GREY > 127) * 255),
    "long integers": (GREY.astype(np.int64), None, GREY),
    "whole floats": (GREY.astype(np.float32), None, GREY),
    "fractions": (GREY.astype(np.float64) / 255, 1.0, GREY),
    "16 levels": (GREY // 16, 15.0, GREY // 16 * 17),
    "16 bits": (GREY.astype(np.uint16) * 257, 65535.0, GREY),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_type_become_pixels(name: str) -> None:
    values, white, wanted = ARRAYS[name]
    np.testing.assert_allclose(as_bytes(values, white).astype(int), wanted.astype(int), atol=1 if name == "fractions" else 0)


def test_negative_pixels_and_those_that_are_no_number_are_refused() -> None:
    for values in (GREY.astype(np.int16) - 128, GREY / 127.5 - 1, np.where(GREY > 9, GREY, np.nan)):
        for white in (None, 1.0, 255.0):
            with pytest.raises(DataError, match=r"expected (0 or more; rescale them|pixels of 0 or more)"):
                as_bytes(values, white)


def test_float_images_below_zero_and_beyond_white_are_warned_about(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"0.tif": encoded(Image.fromarray((GREY / 127.5 - 1).astype(np.float32)), "TIFF")})
    source = open_source(spec(root))
    source.read("train")
    printed = "warning: 1 of 9 images of 'train' has values below 0 or NaN, which become black; rescale them to 0 or more"
    assert printed in source.notes
    deep = folder(tmp_path / "deep", {"0.tif": encoded(Image.fromarray(GREY.astype(np.int32) * 1000), "TIFF")})
    source = open_source(spec(deep))
    source.read("train")
    assert any("and values above 65535 become white; write data.pixel_max: 262143" in note for note in source.notes)


def test_white_and_a_transparent_grey_go_together() -> None:
    grey = np.array([[4, 10, 30, 200]], np.uint8)
    content = encoded(Image.fromarray(grey), "PNG", transparency=10)
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        found = fit_image(opened, spec("x", image_size=[1, 4], pixel_max=100))
    assert found[0, :, 0].tolist() == [10, 255, 76, 255]


@pytest.mark.parametrize(
    "values",
    [GREY / 255, GREY.astype(np.uint16) * 16, GREY * 1.5],
    ids=["0..1", "12", "1.5"],
)
def test_arrays_that_are_no_pixels_are_refused_with_the_value_of_white(values: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match=r"expected 0 to 255; write data\.pixel_max: \d+, the value of white") as raised:
        as_bytes(values, None)
    found = re.search(r"data\.pixel_max: (\d+)", str(raised.value))
    assert found
    assert as_bytes(values, float(found[1])).max() > 60, "not nearly black"


# proportions

WIDE = np.zeros((10, 40), np.uint8)
WIDE[:, 15:25] = 200
WIDE[[0, -1]] = WIDE[:, [0, -1]] = 50


def fitted(image: np.ndarray[Any, Any], fit: str, size: tuple[int, int] = (10, 10), **more: Any) -> np.ndarray[Any, Any]:
    data = spec("x", image_size=list(size), fit=fit, channels=1 if image.ndim == 2 else 3, **more)
    return fit_image(Image.fromarray(image), data)[..., 0] if image.ndim == 2 else fit_image(Image.fromarray(image), data)


def test_crop_takes_the_middle() -> None:
    np.testing.assert_array_equal(fitted(WIDE, "crop"), WIDE[:, 15:25])
    np.testing.assert_array_equal(fitted(WIDE.T.copy(), "crop"), WIDE.T[15:25])


def test_pad_keeps_all_of_it_on_the_colour_of_its_border() -> None:
    padded = fitted(WIDE, "pad", (40, 40))
    np.testing.assert_array_equal(padded[15:25], WIDE)
    assert (padded[:15] == 50).all() and (padded[25:] == 50).all()
    colour = np.broadcast_to(np.array([10, 20, 30], np.uint8), (6, 3, 3)).copy()
    colour[2:4, 1] = 255
    assert fitted(colour, "pad", (6, 6))[0, 0].tolist() == [10, 20, 30]


def test_stretch_is_the_default_and_as_before() -> None:
    assert DataSpec(source="digits").fit == "stretch"
    np.testing.assert_array_equal(
        fitted(WIDE, "stretch"), np.asarray(Image.fromarray(WIDE).resize((10, 10), Image.Resampling.BILINEAR))
    )


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_images_of_the_same_proportions_are_the_same_however_they_are_fitted(fit: str) -> None:
    np.testing.assert_array_equal(fitted(GREY, fit, (12, 16)), fitted(GREY, "stretch", (12, 16)))


def test_arrays_are_fitted_as_images_are() -> None:
    images = RNG.integers(0, 256, (3, 6, 8, 3), np.uint8)
    for change in ({"fit": "crop"}, {"fit": "pad"}, {"transpose": True}, {"pixel_max": 90.0}, {"channels": 1, "invert": True}):
        data = spec("x", **{"image_size": [5, 9], "channels": 3, **change})
        by_image = np.stack([fit_image(Image.fromarray(image), data) for image in images])
        np.testing.assert_array_equal(fit_array(images, data), by_image)


def test_transpose_swaps_rows_and_columns() -> None:
    data = spec("x", image_size=[8, 6], transpose=True)
    np.testing.assert_array_equal(fit_image(Image.fromarray(GREY), data)[..., 0], GREY.T)
    np.testing.assert_array_equal(fit_array(GREY[np.newaxis, ..., np.newaxis], data)[0, ..., 0], GREY.T)


# broken files


def test_all_broken_images_of_a_set_are_named_at_once(tmp_path: Path) -> None:
    cut = encoded(Image.fromarray(COLOUR), "JPEG")[:-60]
    root = folder(tmp_path / "set", {"0.png": b"", "1.png": b"<html>", "2.jpg": cut})
    with pytest.raises(DataError) as raised:
        read_splits(spec(root))
    lines = str(raised.value).splitlines()
    assert lines[0] == "3 of 11 images cannot be read as images; replace or remove them:"
    assert lines[1:3] == [
        f"  {root}/a/0.png: it is an empty file",
        f"  {root}/a/1.png: not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM",
    ]
    assert lines[3].startswith(f"  {root}/a/2.jpg: ")
    assert len(lines) == 4


def test_of_many_broken_images_the_first_are_named_and_verbose_names_all(tmp_path: Path) -> None:
    from cnnctl.data.image_set import BrokenImages

    root = folder(tmp_path / "set", {f"{index:02d}.png": b"" for index in range(30)})
    with pytest.raises(BrokenImages) as raised:
        read_splits(spec(root))
    lines = str(raised.value).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  and 10 more; cnnctl data --verbose lists all"
    assert len(raised.value.every.splitlines()) == 31


def test_one_broken_image_is_one_line(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"0.png": b""})
    with pytest.raises(
        DataError, match=r"^.*/a/0\.png: cannot be read as an image \(it is an empty file\); replace or remove it$"
    ):
        read_splits(spec(root))
