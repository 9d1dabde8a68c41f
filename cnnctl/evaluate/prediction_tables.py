"""Predictions as a table, Markdown and JSON: a row per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from cnnctl.report.tables import as_json, markdown_table, text_table
from cnnctl.report.text import printable

MAX_DRAWN = 16
"""Images that are drawn in a picture."""


@dataclass(frozen=True)
class Guess:
    """A possible class of an image.

    Attributes:
        name: of the class.
        label: of the class.
        probability: by the network.
    """

    name: str
    label: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """An image and its most probable classes, in descending order."""

    image: str
    guesses: list[Guess]


def predictions_table(predictions: Sequence[Prediction]) -> str:
    """Format the predictions for a terminal."""
    return text_table(_columns(predictions), _cells(predictions), left=4)


def predictions_markdown(predictions: Sequence[Prediction]) -> str:
    """Format the predictions as Markdown."""
    return markdown_table(_columns(predictions), _cells(predictions), left=4)


def predictions_json(predictions: Sequence[Prediction]) -> str:
    """Format the predictions as JSON: a list with an object per image."""
    return as_json([{"image": each.image, "predictions": [_plain(guess) for guess in each.guesses]} for each in predictions])


def _plain(guess: Guess) -> dict[str, str | int | float]:
    return {"class": guess.name, "label": guess.label, "probability": guess.probability}


def _columns(predictions: Sequence[Prediction]) -> list[str]:
    columns = ["image", "class", "probability"]
    return [*columns, "next"] if len(predictions[0].guesses) > 1 else columns


def _cells(predictions: Sequence[Prediction]) -> list[list[str]]:
    return [_row(each) for each in predictions]


def _row(prediction: Prediction) -> list[str]:
    first, *others = prediction.guesses
    cells = [printable(prediction.image), printable(first.name), f"{first.probability:>7.2%}"]
    rest = ", ".join(f"{printable(each.name)} {each.probability:.2%}" for each in others)
    return [*cells, rest] if others else cells


def saliency_title(prediction: Prediction) -> str:
    """Format the title above an image in a saliency picture."""
    first = prediction.guesses[0]
    return f"{_short(prediction.image)}: {_short(first.name)}, {first.probability:.1%}"


def seen_title(prediction: Prediction) -> tuple[str, str]:
    """Format the titles above an image and the prepared image: the file name, and the prediction."""
    first = prediction.guesses[0]
    return _short(os.path.basename(prediction.image)), f"{_short(first.name)}  {first.probability:.1%}"


def _short(text: str, width: int = 28) -> str:
    """Cut a text to its end, which is where file names differ."""
    shown = printable(text)
    return shown if len(shown) <= width else f"…{shown[1 - width :]}"
