"""Figures with text and axes, as PNG: matplotlib without a window and without pyplot's global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnctl.surroundings import own_matplotlib

own_matplotlib()

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from cnnctl.report.text import printable

DOTS_PER_INCH = 100
CELL_INCHES, CELL_PIXELS, GAP_COLOUR = 0.5, 128, (176, 196, 222)
NAME_LENGTH = 40
PAIRS_PER_ROW, PAIR_SIDE, PAIR_WIDE, PAIR_HIGH, PAIR_MARGIN = 4, 1.3, 3.3, 2.2, 0.18
"""Layout of pairs of an image and the network's input, in inches."""


def samples_png(blocks: Mapping[str, Sequence[NDArray[Any]]], names: Sequence[str], title: str) -> bytes:
    """Draw images in rows, one row per name, in blocks side by side.

    Args:
        blocks: by heading, the images (N, H, W, C) of each name, uint8 or in [0, 1]; all of one size.
        names: the labels of the rows.
        title: the title of the figure.
    """
    names = _short(_drawable(names))
    pictures = [_mosaic(rows) for rows in blocks.values()]
    widths = [picture.shape[1] for picture in pictures]
    high = len(names) * CELL_INCHES
    wide = sum(widths) / len(pictures[0]) * high
    figure = Figure(figsize=(max(wide, 3) + 0.08 * max(map(len, names)) + 0.3, high + 0.7), layout="constrained")
    every_axes = figure.subplots(1, len(pictures), squeeze=False, width_ratios=widths)[0]
    for axes, heading, picture in zip(every_axes, blocks, pictures, strict=True):
        axes.imshow(picture, interpolation="nearest" if max(picture.shape) < DOTS_PER_INCH * high else "auto")
        axes.set_title(heading, fontsize=9)
        axes.set(xticks=[], yticks=[], frame_on=False)
    rows = len(pictures[0]) / len(names)
    every_axes[0].set_yticks([rows * (row + 0.5) for row in range(len(names))], names, fontsize=9)
    every_axes[0].tick_params(length=0)
    figure.suptitle(title, fontsize=10)
    return png_of(figure)


def _mosaic(rows: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Join images in one array (H, W, 3), one row per sequence, with gaps in a color that no grayscale image has."""
    rows = [_small(images) for images in rows]
    height, width = rows[0].shape[1:3]
    gap = max(1, height // 16)
    across, down = width + gap, height + gap
    mosaic = np.full((len(rows) * down, max(map(len, rows)) * across, 3), GAP_COLOUR, np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            mosaic[row * down : row * down + height, column * across : column * across + width] = image
    return mosaic[:-gap, :-gap]


def _small(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert images to uint8 with sides of at most CELL_PIXELS; more pixels would not be visible."""
    step = -(-max(images.shape[1:3]) // CELL_PIXELS)
    small = images[:, ::step, ::step]
    return small if small.dtype == np.uint8 else np.round(np.clip(small, 0, 1) * 255).astype(np.uint8)


def saliency_png(images: NDArray[np.uint8], maps: NDArray[Any], titles: Sequence[str]) -> bytes:
    """Draw images (N, H, W, C), each with its saliency map (N, H, W) beside it and over it.

    Each map is scaled from black, no influence, to its own maximum.
    """
    per_row = min(len(images), 2)
    rows = -(-len(images) // per_row)
    figure = Figure(figsize=(4.2 * per_row, 1.65 * rows), layout="constrained")
    parts = figure.subfigures(rows, per_row, squeeze=False).flat
    for part, image, saliency, title in zip(parts, images, maps, _drawable(titles), strict=False):
        part.suptitle(title, fontsize=8)
        left, middle, right = part.subplots(1, 3)
        strength = saliency / max(float(saliency.max()), np.finfo(np.float32).tiny)
        show_image(left, image)
        middle.imshow(strength, cmap="inferno", vmin=0, vmax=1, interpolation="nearest")
        show_image(right, image)
        right.imshow(strength, cmap="autumn", vmin=0, vmax=1, alpha=strength, interpolation="nearest")
        for axes in (left, middle, right):
            axes.axis("off")
    return png_of(figure)


def seen_png(
    originals: Sequence[NDArray[np.uint8]], sizes: Sequence[str], seen: NDArray[np.uint8], titles: Sequence[tuple[str, str]]
) -> bytes:
    """Draw images (H, W, 3), each beside the network's input (N, H, W, C), below its title.

    Args:
        originals: the images of the files.
        sizes: the sizes of the files, which may be larger than the drawn images.
        seen: the input of the network, drawn pixel by pixel.
        titles: name and prediction of each.
    """
    columns = min(len(seen), PAIRS_PER_ROW)
    rows = -(-len(seen) // columns)
    wide, high = PAIR_WIDE * columns, PAIR_HIGH * rows + 0.1
    figure = Figure(figsize=(wide, high))
    axes = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    own_size = f"{seen.shape[1]}×{seen.shape[2]}"
    for place, (original, size, image, title) in enumerate(zip(originals, sizes, seen, titles, strict=True)):
        left, top = PAIR_WIDE * (place % columns), PAIR_HIGH * (place // columns)
        name, answer = _drawable(title)
        axes.text(left + PAIR_WIDE / 2, top + 0.27, name, ha="center", va="bottom", fontsize=8, color="0.35")
        axes.text(left + PAIR_WIDE / 2, top + 0.48, answer, ha="center", va="bottom", fontsize=11)
        _draw_framed(axes, original, left + PAIR_MARGIN, top + 0.55, f"file  {size}")
        _draw_framed(axes, image, left + PAIR_WIDE - PAIR_MARGIN - PAIR_SIDE, top + 0.55, f"network  {own_size}")
        axes.text(left + PAIR_WIDE / 2, top + 0.55 + PAIR_SIDE / 2, "→", ha="center", va="center", fontsize=13, color="0.45")
    axes.set(xlim=(0, wide), ylim=(high, 0), aspect="auto")  # imshow sets them too
    return png_of(figure)


def _draw_framed(axes: Any, image: NDArray[Any], left: float, top: float, caption: str) -> None:
    """Draw an image in the center of a square with sides in inches, framed, since paper and page are both white."""
    height, width = (PAIR_SIDE * side / max(image.shape[:2]) for side in image.shape[:2])
    across, down = left + (PAIR_SIDE - width) / 2, top + (PAIR_SIDE - height) / 2
    show_image(axes, image, (across, across + width, down + height, down))
    axes.add_patch(Rectangle((across, down), width, height, fill=False, edgecolor="0.6", linewidth=0.8))
    axes.text(left + PAIR_SIDE / 2, top + PAIR_SIDE + 0.05, caption, ha="center", va="top", fontsize=7, color="0.45")


def mistakes_png(triples: Sequence[NDArray[np.uint8]], titles: Sequence[str], title: str) -> bytes:
    """Draw wrong matches, each below its title.

    Args:
        triples: for each, the image, the predicted and the correct match, (3, H, W, C).
        titles: one per match.
        title: the title of the figure.
    """
    columns = min(len(triples), 4)
    rows = -(-len(triples) // columns)
    figure = Figure(figsize=(max(2.4 * columns, 4.0), 1.1 * rows + 0.5), layout="constrained")
    every_axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in every_axes:
        axes.axis("off")
    for axes, triple, text in zip(every_axes, triples, _drawable(titles), strict=False):
        show_image(axes, _mosaic([triple]))
        axes.set_title(text, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return png_of(figure)


def _drawable(texts: Sequence[str]) -> list[str]:
    """Escape texts for drawing; they may have several lines."""
    return ["\n".join(map(printable, text.split("\n"))) for text in texts]


def _short(names: Sequence[str]) -> list[str]:
    """Shorten names to leave room for the images."""
    return [name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…" for name in names]


def show_image(axes: Any, image: NDArray[Any], extent: tuple[float, float, float, float] | None = None) -> None:
    """Draw an image (H, W, C), uint8 or in [0, 1], pixel by pixel; `extent` is left, right, bottom, top."""
    colours: dict[str, Any] = {"cmap": "gray"} if image.shape[-1] == 1 else {}
    most = 255 if image.dtype == np.uint8 else 1.0
    shown = image[..., 0] if colours else image
    axes.imshow(shown, vmin=0, vmax=most, interpolation="nearest", extent=extent, **colours)


def png_of(figure: Figure) -> bytes:
    """Encode a figure as PNG; equal figures have equal bytes."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar sign in a class name is not a formula
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Class names may be in any script; missing glyphs are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()
