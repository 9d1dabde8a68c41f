"""The result of the one-shot test as text, Markdown and JSON: a row per run, and the error rate of all runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from cnnctl.errors import counted
from cnnctl.report.tables import markdown_table, text_table
from cnnctl.report.text import printable
from cnnctl.train.observers import NORMAL_95

MAX_DRAWN = 60
"""Mistakes that are drawn in a picture."""
COLUMNS = ("run", "classes", "images", "errors", "error rate")
KEY_WIDTH = 24


@dataclass(frozen=True)
class Mistake:
    """A test image that was matched with a wrong training image; each by its file name."""

    test: str
    chosen: str
    right: str


@dataclass(frozen=True)
class RunRow:
    """One run of the challenge.

    Attributes:
        name: of its folder.
        classes: number of classes, with one training image each.
        images: number of test images.
        mistakes: test images that were matched with a wrong class.
    """

    name: str
    classes: int
    images: int
    mistakes: list[Mistake]


@dataclass(frozen=True)
class ChallengeResult:
    """All runs.

    Attributes:
        rows: one per run.
        compared: how two images were compared, in words.
        tta: augmented views averaged with each image.
        tta_poses: poses in which two images were compared.
    """

    rows: list[RunRow]
    compared: str
    tta: int
    tta_poses: int = 1

    @property
    def images(self) -> int:
        """Count the test images of all runs."""
        return sum(row.images for row in self.rows)

    @property
    def mistakes(self) -> list[Mistake]:
        """List the mistakes of all runs."""
        return [mistake for row in self.rows for mistake in row.mistakes]

    @property
    def guessing(self) -> float:
        """Compute the expected error rate of guessing."""
        return sum(row.images * (1 - 1 / row.classes) for row in self.rows) / self.images

    def as_plain(self) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
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
            "tta": self.tta,
            "tta_poses": self.tta_poses,
            "runs": rows,
            "total": {**total, "interval_95": interval, "guessing": self.guessing},
            "mistakes": [asdict(mistake) for mistake in self.mistakes],
        }


def wilson_interval(errors: int, images: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the error rate, as if all images were independent.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22, 1927: unlike the mean ± 1.96 standard errors it stays within 0 and 1, and has a
    width above 0 without any error.
    """
    rate, square = errors / images, NORMAL_95**2
    middle = rate + square / (2 * images)
    half = NORMAL_95 * math.sqrt(rate * (1 - rate) / images + square / (4 * images**2))
    scale = 1 + square / images
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def challenge_text(result: ChallengeResult) -> str:
    """Format the result for a terminal."""
    lines = [f"{key:<{KEY_WIDTH}}{text}" for key, text in _facts(result)]
    return "\n\n".join([text_table(COLUMNS, _cells(result), left=1), "\n".join(lines)])


def challenge_markdown(result: ChallengeResult) -> str:
    """Format the result as Markdown."""
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
        ("test-time augmentation", augmentation_text(result.tta, result.tta_poses)),
    ]


def augmentation_text(tta: int, tta_poses: int) -> str:
    """Describe the test-time augmentation: the augmented views and the poses that were averaged."""
    views = f"mean of each image and {counted(tta, 'augmented view')}" if tta else ""
    poses = f"mean over {tta_poses} poses" if tta_poses > 1 else ""
    return ", ".join(filter(None, [views, poses])) or "off"


def mistake_title(mistake: Mistake) -> str:
    """Format the title above the three images of a mistake: `run01/item05: class03, not class08`."""
    run, _, test = mistake.test.split("/")
    chosen, right = (_stem(file.rsplit("/", 1)[-1]) for file in (mistake.chosen, mistake.right))
    return printable(f"{run}/{_stem(test)}: {chosen}, not {right}")


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]
