"""Draw the confusion matrix and the most confident mistakes with NumPy and Pillow only: importing matplotlib takes 0.5 s."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cnnctl.report.text import printable
from cnnctl.report.tiles import CARD_WIDTH, png

Color = tuple[int, int, int]
MAX_NAMED = 40
"""Maximum number of classes of a matrix with names and numbers, which would not be legible for more."""
MAX_ON_CARD, MIN_CELL = 12, 24
"""Maximum number of classes of a matrix as wide as a card, and the minimum side of a cell with a number, in pixels."""
PIXELS_PER_CLASS, SIDES = 42, (250, 1250)
"""Side of the cells of a larger matrix in pixels, and the minimum and maximum side of all of them."""
NAME_LENGTH, ACROSS_LENGTH = 40, 3
"""Maximum number of characters of a name beside a matrix, and of names that are written from left to right below it."""
TITLE, NAME, NUMBER, SMALLEST = 13, 13, 10, 5
"""Sizes of text in pixels."""
GAP, LINE, SPACE = 6, 14, 2
"""Room around a matrix, height of a line of text, and room between neighbouring texts, in pixels."""
WRONG_SIDE, WRONG_SHORT, WRONG_LONG = 55, 3, 17
"""Side of a misclassified image in pixels, and the longest class names, in characters, that fit below it and beside it."""
INK, PAPER, FRAME = (0, 0, 0), (255, 255, 255), (153, 153, 153)
TRUE_COLOR, WRONG_COLOR = (27, 120, 55), (178, 24, 43)
_BLUES = np.array(
    [
        (247, 251, 255), (222, 235, 247), (198, 219, 239), (158, 202, 225), (107, 174, 214),
        (66, 146, 198), (33, 113, 181), (8, 81, 156), (8, 48, 107),
    ]
)  # fmt: skip
"""The scale from 0 to 1: Cynthia Brewer's Blues, ColorBrewer 2.0."""


def confusion_png(matrix: NDArray[np.int64], class_names: Sequence[str], title: str, for_card: bool = False) -> bytes:
    """Draw a confusion matrix (classes, classes): rows are true classes, columns predicted ones.

    Colors are shares of the true class, numbers are images.

    Args:
        matrix: numbers of images.
        class_names: the classes in the order of the matrix.
        title: the title of the picture.
        for_card: whether to fit the picture to a card of TensorBoard if numbers are legible then.
    """
    names = [_short(printable(name)) for name in class_names] if len(matrix) <= MAX_NAMED else []
    beside = max((_width(name, NAME) for name in names), default=0)
    turned = max(map(len, names), default=0) > ACROSS_LENGTH
    below = beside if turned else LINE
    left, top = LINE + beside + 3 * GAP, LINE + 2 * GAP
    cells = _cells(matrix, CARD_WIDTH - left - 2 * GAP if for_card and len(matrix) <= MAX_ON_CARD else None)
    page = Image.new("RGB", (left + cells.width + 2 * GAP, top + cells.height + below + LINE + 3 * GAP), PAPER)
    page.paste(cells, (left, top))
    draw = ImageDraw.Draw(page)
    draw.rectangle((left - 1, top - 1, left + cells.width, top + cells.height), outline=INK)
    middle, bottom = left + cells.width / 2, top + cells.height
    draw.text((middle, GAP), title, INK, _fitting(title, TITLE, page.width), anchor="ma")
    draw.text((middle, page.height - GAP), "predicted", INK, _font(NAME), anchor="md")
    _write_upwards(page, "true", GAP + LINE // 2, top + cells.height // 2)
    for place, name in enumerate(names):
        center = (place + 0.5) * cells.width / len(names)
        draw.text((left - GAP, top + center), name, INK, _font(NAME), anchor="rm")
        if turned:
            _write_upwards(page, name, int(left + center), bottom + GAP + _width(name, NAME) // 2)
        else:
            draw.text((left + center, bottom + GAP), name, INK, _font(NAME), anchor="ma")
    return png(np.asarray(page))


def _cells(matrix: NDArray[np.int64], side: int | None) -> Image.Image:
    """Draw the cells of a matrix; `side` is the room for all of them in pixels, None for a side that suits their number."""
    classes = len(matrix)
    numbered = classes <= MAX_NAMED
    room = side or min(max(PIXELS_PER_CLASS * classes, SIDES[0]), SIDES[1])
    cell = max(room // classes, MIN_CELL if numbered else 1)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = Image.fromarray(_blues(shares)).resize((cell * classes, cell * classes), Image.Resampling.NEAREST)
    if numbered:
        _write_numbers(ImageDraw.Draw(cells), matrix, shares, cell)
    cells.thumbnail((SIDES[1], SIDES[1]), Image.Resampling.BOX)  # only of more classes than pixels
    return cells


def _write_numbers(draw: ImageDraw.ImageDraw, matrix: NDArray[np.int64], shares: NDArray[Any], cell: int) -> None:
    font = _fitting(str(matrix.max()), NUMBER, cell)
    for row, column in np.argwhere(matrix):
        color = PAPER if shares[row, column] > 0.5 else INK
        draw.text(((column + 0.5) * cell, (row + 0.5) * cell), str(matrix[row, column]), color, font, anchor="mm")


def _blues(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map shares (N, M), from 0 to 1, to colors (N, M, 3)."""
    at = np.linspace(0, 1, len(_BLUES))
    return np.stack([np.interp(shares, at, _BLUES[:, part]).round().astype(np.uint8) for part in range(3)], axis=-1)


def _write_upwards(page: Image.Image, text: str, across: int, down: int) -> None:
    """Write a text from bottom to top around a place."""
    line = Image.new("RGB", (max(_width(text, NAME), 1), LINE + 2), PAPER)
    ImageDraw.Draw(line).text((0, line.height / 2), text, INK, _font(NAME), anchor="lm")
    turned = line.transpose(Image.Transpose.ROTATE_90)
    page.paste(turned, (across - turned.width // 2, down - turned.height // 2))


def wrong_png(
    images: NDArray[Any], truth: Sequence[str], answers: Sequence[str], probabilities: NDArray[Any], title: str
) -> bytes:
    """Draw misclassified images (N, H, W, C), uint8 or in [0, 1], each with its true and its predicted class.

    The picture has the size of a card of TensorBoard, which drops pixels of larger ones. Short names are below an image,
    longer ones beside it.

    Args:
        images: the images.
        truth: the true class of each.
        answers: the predicted class of each.
        probabilities: (N,), the probabilities of the predictions.
        title: the title of the picture.
    """
    truth, answers = ([_without_middle(printable(name)) for name in names] for names in (truth, answers))
    beside = max(map(len, (*truth, *answers))) > WRONG_SHORT
    columns = 2 if beside else 5
    wide, high = CARD_WIDTH // columns, WRONG_SIDE + (10 if beside else 35)
    page = Image.new("RGB", (CARD_WIDTH, high * -(-len(images) // columns) + 27), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((5, 5), printable(title), INK, _fitting(title, TITLE, CARD_WIDTH - 5), anchor="la")
    for place, image in enumerate(images):
        left, top = wide * (place % columns) + GAP, high * (place // columns) + 26
        _draw_framed(page, image, left, top)
        across, down = (left + WRONG_SIDE + 8, top + 5) if beside else (left, top + WRONG_SIDE + 4)
        room = wide - (across - left) - GAP  # a long name must not overlap its neighbour
        for row, (line, color) in enumerate(_about_wrong(truth[place], answers[place], probabilities[place], beside)):
            draw.text((across, down + LINE * row), line, color, _fitting(line, NUMBER, room), anchor="la")
    return png(np.asarray(page))


def _about_wrong(truth: str, answer: str, probability: float, long: bool) -> list[tuple[str, Color]]:
    """Return the lines of text for an image, with their colors."""
    if long:
        wrong = [(f"pred {answer}", WRONG_COLOR), (f"probability {probability:.0%}", WRONG_COLOR)]
        return [(f"true {truth}", TRUE_COLOR), *wrong]
    return [(f"true {truth}", TRUE_COLOR), (f"pred {answer} {probability:.0%}", WRONG_COLOR)]


def _draw_framed(page: Image.Image, image: NDArray[Any], left: int, top: int) -> None:
    """Draw an image (H, W, C) in the center of a square, framed, since images and page may both be white."""
    pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    longest = max(pixels.shape[:2])
    height, width = (max(round(WRONG_SIDE * side / longest), 1) for side in pixels.shape[:2])
    small = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    across, down = left + (WRONG_SIDE - width) // 2, top + (WRONG_SIDE - height) // 2
    page.paste(small.resize((width, height), Image.Resampling.NEAREST), (across, down))
    ImageDraw.Draw(page).rectangle((across - 1, down - 1, across + width, down + height), outline=FRAME)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _without_middle(name: str) -> str:
    """Shorten a name to WRONG_LONG characters and keep its end, which is the most specific, as in alphabet/character07."""
    half = WRONG_LONG // 2
    return name if len(name) <= WRONG_LONG else f"{name[: half - 2]}…{name[-half - 2 :]}"


def _fitting(text: str, size: int, room: float) -> Any:
    """Return the font of at most `size` pixels, and at least SMALLEST, in which a text has room."""
    sizes = range(size, SMALLEST, -1)
    return _font(next((each for each in sizes if _width(text, each) + SPACE <= room), SMALLEST))


def _width(text: str, size: int) -> int:
    return int(np.ceil(_font(size).getlength(text)))


@functools.cache
def _font(size: int) -> Any:
    """Load DejaVu Sans, which has Latin, Greek, Cyrillic, Arabic and more; from matplotlib's files, without importing it."""
    found = importlib.util.find_spec("matplotlib")
    folder = Path(found.origin).parent if found and found.origin else Path()
    try:
        return ImageFont.truetype(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf", size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:  # a distribution may keep the fonts elsewhere
        return ImageFont.load_default(size)
