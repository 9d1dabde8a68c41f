"""Draw tiles of images, filters and feature maps with NumPy and Pillow only, which is fast."""

from __future__ import annotations

import functools
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
MAX_TILES, MAX_COLUMNS = 64, 8
CARD_WIDTH, CARD_HEIGHT = 350, 215
"""Pixels of TensorBoard's cards. TensorBoard drops pixels of larger pictures, so text becomes illegible."""
MAX_TIMES = 4
"""Largest width of a picture with large maps, in card widths; its text is scaled accordingly."""
MIDDLE = 127.5
TILE, INPUT, GAP, TEXT, TITLE, BAR = 28, 64, 5, 10, 12, 6
"""Layout of a sheet of maps as wide as a card, in pixels: smallest side of a map, side of the input image, gap, heights of
text, title and color scale."""
TOP = TITLE + GAP + 2
"""Top of the tiles, below the title."""
INK, FRAME, PAPER = (40, 40, 40), (190, 190, 190), (255, 255, 255)
BELOW, ABOVE = np.array((33, 102, 172)), np.array((178, 24, 43))
"""Colors of the smallest and the largest value of signed values; 0 is white, so inactive maps are obvious."""


def images_picture(images: NDArray[Any]) -> Picture:
    """Draw images (N, H, W, C), in [0, 1], side by side."""
    return enlarged(tiled(_bytes(images * 255.0)))


def filters_picture(kernel: NDArray[Any], title: str) -> Picture:
    """Draw the filters of a convolution, (k, k, C, filters), each with its number.

    Filters of grayscale images have the colors of `maps_picture`. Filters of RGB images show their three weights as a color:
    gray is 0, and the largest weight of a filter is fully saturated.
    """
    filters = np.moveaxis(kernel, -1, 0)[:MAX_TILES]
    if kernel.shape[2] == 1:
        scale = _scale(filters)
        return _sheet(title, [_coloured(each[..., 0], scale) for each in filters], kernel.shape[-1], scale=scale)
    sizes = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    coloured = _bytes(MIDDLE + MIDDLE * filters / np.maximum(sizes, 1e-12))
    return _sheet(f"{title}; gray is 0", list(coloured), kernel.shape[-1])


def maps_picture(maps: NDArray[Any], image: NDArray[Any], title: str) -> Picture:
    """Draw feature maps (H, W, C), each with its number, beside their input image (h, w, c) and above a shared color scale."""
    chosen = np.moveaxis(maps, -1, 0)[:MAX_TILES]
    scale = _scale(chosen)
    return _sheet(title, [_coloured(each, scale) for each in chosen], maps.shape[-1], _bytes(image * 255.0), scale)


def _scale(values: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest finite value; symmetric around 0 for signed values."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return (min(low, -high), max(high, -low)) if low < 0 else (0.0, high)


def _coloured(values: NDArray[Any], scale: tuple[float, float]) -> Picture:
    """Map values (H, W) to colors (H, W, 3): white is 0, red is positive, blue is negative, black is NaN or infinite."""
    largest = max(scale[1], 1e-12)
    share = np.clip(np.nan_to_num(values.astype(np.float64)) / largest, -1, 1)[..., np.newaxis]
    colours = 255 + np.abs(share) * (np.where(share < 0, BELOW, ABOVE) - 255.0)
    return _bytes(np.where(np.isfinite(values)[..., np.newaxis], colours, 0))


@dataclass(frozen=True)
class _Grid:
    """The layout of tiles on a sheet, in pixels of a sheet as wide as a card.

    Attributes:
        left: left edge of the first column.
        columns: tiles per row.
        side: side of the square of each tile.
    """

    left: int
    columns: int
    side: int

    def place(self, number: int) -> tuple[int, int]:
        """Return left and top of the number above a tile."""
        column, row = number % self.columns, number // self.columns
        return self.left + column * (self.side + GAP), TOP + row * (self.side + TEXT + GAP)


def _grid(count: int, left: int) -> _Grid:
    """Choose the number of columns with the largest tiles for `count` tiles on a card, at least TILE each."""

    def side(columns: int) -> int:
        across = (CARD_WIDTH - left) // columns - GAP
        down = (CARD_HEIGHT - TOP - BAR - TEXT - 2 * GAP) // -(-count // columns) - TEXT - GAP
        return min(across, max(down, TILE))

    columns = max(range(1, min(count, MAX_COLUMNS) + 1), key=lambda columns: (side(columns), columns))
    return _Grid(left, columns, side(columns))


def _sheet(
    title: str, tiles: list[Picture], of: int, image: Picture | None = None, scale: tuple[float, float] | None = None
) -> Picture:
    """Lay out numbered tiles below a title, with the image on the left and the color scale at the bottom.

    Args:
        title: the title of the sheet.
        tiles: uint8, all of one size.
        of: the total number, of which these are the first.
        image: the input image.
        scale: the values of the first and the last color.
    """
    grid = _grid(len(tiles), GAP if image is None else INPUT + 3 * GAP)
    times = min(max(math.ceil(max(tiles[0].shape[:2]) / grid.side), 1), MAX_TIMES)
    down = grid.place(len(tiles) - 1)[1] + TEXT + grid.side + GAP
    down = max(down, 0 if image is None else TOP + TEXT + INPUT + GAP)
    height = down + (0 if scale is None else BAR + TEXT + GAP)
    page = _Page(times, CARD_WIDTH, height)
    page.text(GAP, GAP, f"{title}{f', the first {len(tiles)}' if len(tiles) < of else ''}", TITLE)
    if image is not None:
        page.tile(image, (GAP, TOP), INPUT, f"input {image.shape[0]}x{image.shape[1]}")
    for number, tile in enumerate(tiles):
        page.tile(tile, grid.place(number), grid.side, str(number))
    if scale is not None:
        page.scale(scale, grid.left, down, CARD_WIDTH - grid.left - GAP)
    return page.picture()


class _Page:
    """A white sheet with coordinates of a sheet as wide as a card, `times` times enlarged."""

    def __init__(self, times: int, width: int, height: int) -> None:
        self._times = times
        self._image = Image.new("RGB", (times * width, times * height), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self) -> Picture:
        """Return the drawn picture."""
        return np.asarray(self._image)

    def text(self, left: float, top: float, text: str, size: int, anchor: str = "la") -> None:
        """Draw a line of text."""
        place = (left * self._times, top * self._times)
        self._draw.text(place, text, INK, _font(size * self._times), anchor=anchor)

    def tile(self, tile: Picture, place: tuple[int, int], side: int, text: str) -> None:
        """Draw a tile into a square below its text, framed, since paper and many tiles are white."""
        self.text(*place, text, TEXT)
        grown = _grown(tile, side * self._times)
        left, top = place[0] * self._times, (place[1] + TEXT + 2) * self._times
        height, width = grown.shape[:2]
        self._draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FRAME)
        self._image.paste(Image.fromarray(np.broadcast_to(grown, (height, width, 3)).copy()), (left, top))

    def scale(self, scale: tuple[float, float], left: int, top: int, width: int) -> None:
        """Draw the color scale with its values."""
        low, high = scale
        values = np.linspace(low, high, width * self._times)[np.newaxis]
        bar = Image.fromarray(_coloured(values, scale).repeat(BAR * self._times, axis=0))
        self._image.paste(bar, (left * self._times, top * self._times))
        marks = {0.0: (low, "la"), -low / (high - low): (0.0, "ma"), 1.0: (high, "ra")} if high > low else {0.0: (low, "la")}
        if low == 0:
            marks[0.0] = (0.0, "la")
        for share, (value, anchor) in marks.items():
            self.text(left + share * width, top + BAR + 2, f"{value:.3g}", TEXT, anchor)


def _grown(picture: Picture, side: int) -> Picture:
    """Resize a picture to fit a square of `side`: enlarged by an integer factor, or averaged down."""
    longer = max(picture.shape[:2])
    if longer <= side:
        times = side // longer
        return picture.repeat(times, axis=0).repeat(times, axis=1)
    height, width = (max(round(each * side / longer), 1) for each in picture.shape[:2])
    mode = picture[..., 0] if picture.shape[-1] == 1 else picture
    return np.asarray(Image.fromarray(mode).resize((width, height), Image.Resampling.BOX)).reshape(height, width, -1)


@functools.cache
def _font(size: int) -> Any:
    """Load Pillow's default font, which has no ×."""
    return ImageFont.load_default(size)


def tiled(images: Picture) -> Picture:
    """Arrange up to `MAX_TILES` images (N, H, W, C) in a square grid with blue lines between them."""
    chosen = images[:MAX_TILES]
    count, height, width, _ = chosen.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.empty((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), np.uint8)
    sheet[:] = (40, 60, 110)
    for position, image in enumerate(chosen):
        top, left = position // columns * (height + 1), position % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image
    return sheet


def enlarged(picture: Picture) -> Picture:
    """Enlarge a picture by the largest integer factor that fits the width of a card."""
    times = max(CARD_WIDTH // max(picture.shape[:2]), 1)
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _bytes(values: NDArray[Any]) -> Picture:
    pixels: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


def png(picture: Picture) -> bytes:
    """Encode a picture (H, W, 3) as PNG."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", compress_level=1)  # speed matters more than size
    return content.getvalue()
