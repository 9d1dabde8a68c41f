"""Pictures with text and axes, as PNG: matplotlib without a window and without pyplot's global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

DOTS_PER_INCH = 100
MOST_NAMED = 40
"""Of more classes a confusion matrix shows colours alone: names and numbers would not be readable."""


def confusion_png(matrix: NDArray[np.int64], class_names: Sequence[str], title: str) -> bytes:
    """Returns a picture of a confusion matrix (classes, classes): rows are true classes, columns predicted ones.

    Colours are shares of the true class, numbers are images.
    """
    classes = len(matrix)
    side = float(np.clip(1.5 + 0.42 * classes, 4, 14))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if classes <= MOST_NAMED:
        axes.set_xticks(range(classes), class_names, rotation=90 if max(map(len, class_names)) > 3 else 0)
        axes.set_yticks(range(classes), class_names)
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=7, color=colour)
    return png_of(figure)


def grid_png(images: NDArray[Any], titles: Sequence[str], columns: int, title: str = "") -> bytes:
    """Returns a picture of images (N, H, W, C), uint8 or in [0, 1], in rows of `columns`, each below its title."""
    rows = -(-len(images) // columns)
    lines = max((text.count("\n") + 1 for text in titles), default=1)
    figure = Figure(figsize=(1.2 * columns, (1.1 + 0.17 * lines) * rows + (0.35 if title else 0)), layout="constrained")
    for position, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis("off")
        if position < len(images):
            show_image(axes, images[position])
            axes.set_title(titles[position], fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    return png_of(figure)


def show_image(axes: Any, image: NDArray[Any]) -> None:
    """Draws an image (H, W, C), uint8 or in [0, 1], pixel by pixel."""
    grey = image.shape[-1] == 1
    most = 255 if image.dtype == np.uint8 else 1.0
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=most, interpolation="nearest")


def png_of(figure: Figure) -> bytes:
    """Returns a figure as a PNG file; the same figure always gives the same bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return content.getvalue()
