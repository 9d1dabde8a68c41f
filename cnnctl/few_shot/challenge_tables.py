"""The result of a one-shot challenge → text, Markdown and JSON: a row a run, and the error rate of all."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from cnnctl.errors import counted
from cnnctl.report.tables import markdown_table, text_table
from cnnctl.report.text import printable
from cnnctl.train.observers import NORMAL_95

MAX_DRAWN = 60
"""So many mistakes have a place in the picture."""
COLUMNS = ("run", "classes", "images", "errors", "error rate")
KEY_WIDTH = 11


@dataclass(frozen=True)
class Mistake:
    """A test image that was matched with a wrong training image; each is named by its file."""

    test: str
    chosen: str
    right: str


@dataclass(frozen=True)
class RunRow:
    """One run of the challenge.

    Attributes:
        name: of its folder.
        classes: training images, one of each class.
        images: test images.
        mistakes: those of them that were matched wrongly.
    """

    name: str
    classes: int
    images: int
    mistakes: list[Mistake]


@dataclass(frozen=True)
class ChallengeResult:
    """All runs.

    Attributes:
        rows: one a run.
        compared: how two images were compared, in words.
        copies: augmented copies of each image that were averaged with it.
        turns: in which two images were compared.
    """

    rows: list[RunRow]
    compared: str
    copies: int
    turns: int = 1

    @property
    def images(self) -> int:
        """Returns the test images of all runs."""
        return sum(row.images for row in self.rows)

    @property
    def mistakes(self) -> list[Mistake]:
        """Returns the mistakes of all runs."""
        return [mistake for row in self.rows for mistake in row.mistakes]

    @property
    def guessing(self) -> float:
        """Returns the error rate to be expected of guesses."""
        return sum(row.images * (1 - 1 / row.classes) for row in self.rows) / self.images

    def as_plain(self) -> dict[str, Any]:
        """Returns it for JSON."""
        rows = [
            {
                "run": row.name,
                "classes": row.classes,
                "images": row.images,
                "errors": len(row.mistakes),
                "error_rate": len(row.mistakes) / row.images,
            }
            for row in self.rows
        ]
        errors = len(self.mistakes)
        total = {"images": self.images, "errors": errors, "error_rate": errors / self.images}
        interval = list(wilson_interval(errors, self.images))
        return {
            "compared": self.compared,
            "copies": self.copies,
            "turns": self.turns,
            "runs": rows,
            "total": {**total, "interval_95": interval, "guessing": self.guessing},
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
        }


def wilson_interval(errors: int, images: int) -> tuple[float, float]:
    """Returns between what the true error rate lies, with 95 % confidence, were all images independent.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22, 1927: unlike the mean ± 1.96 standard errors it stays within 0 and 1, and is no
    point where there are no errors.
    """
    rate, square = errors / images, NORMAL_95**2
    middle = rate + square / (2 * images)
    half = NORMAL_95 * math.sqrt(rate * (1 - rate) / images + square / (4 * images**2))
    scale = 1 + square / images
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def challenge_text(result: ChallengeResult) -> str:
    """Returns the result for a terminal."""
    lines = [f"{key:<{KEY_WIDTH}}{text}" for key, text in _facts(result)]
    return "\n\n".join([text_table(COLUMNS, _cells(result), left=1), "\n".join(lines)])


def challenge_markdown(result: ChallengeResult) -> str:
    """Returns the result as Markdown."""
    lines = [f"- {key}: {text}" for key, text in _facts(result)]
    return "\n\n".join([markdown_table(COLUMNS, _cells(result), left=1), "\n".join(lines)])


def _cells(result: ChallengeResult) -> list[list[str]]:
    return [_row(row.name, f"{row.classes:,}", row.images, len(row.mistakes)) for row in result.rows]


def _row(name: str, classes: str, images: int, errors: int) -> list[str]:
    return [printable(name), classes, f"{images:,}", f"{errors:,}", f"{errors / images:.2%}"]


def _facts(result: ChallengeResult) -> list[tuple[str, str]]:
    errors, images = len(result.mistakes), result.images
    low, high = wilson_interval(errors, images)
    return [
        ("error rate", f"{errors / images:.2%}: {errors:,} of {images:,} images in {counted(len(result.rows), 'run')}"),
        ("interval", f"{low:.2%} to {high:.2%} with 95 % confidence (Wilson)"),
        ("guessing", f"{result.guessing:.2%} wrong"),
        ("compared", result.compared),
        ("averaged", averaged(result.copies, result.turns)),
    ]


def averaged(copies: int, turns: int) -> str:
    """Returns how often each image was looked at."""
    if not copies and turns == 1:
        return "nothing: each image alone"
    looks = f"each image and {copies:,} changed copies" if copies else "each image"
    return looks if turns == 1 else f"{looks}, in {turns} turns"


def mistake_title(mistake: Mistake) -> str:
    """Returns what stands above the three images of a mistake: `run01/item05: class03, not class08`."""
    run, _, test = mistake.test.split("/")
    chosen, right = (_stem(file.rsplit("/", 1)[-1]) for file in (mistake.chosen, mistake.right))
    return printable(f"{run}/{_stem(test)}: {chosen}, not {right}")


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]
