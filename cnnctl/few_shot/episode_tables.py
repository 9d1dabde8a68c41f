"""Accuracy on few-shot episodes as text, Markdown and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnnctl.errors import counted
from cnnctl.few_shot.challenge_tables import KEY_WIDTH, augmentation_text
from cnnctl.report.tables import markdown_table
from cnnctl.report.text import accuracy_text, printable
from cnnctl.train.observers import Score


@dataclass(frozen=True)
class EpisodeResult:
    """Evaluation of a network on a series of episodes.

    Attributes:
        subject: name of the images, such as `test`.
        images: number of images.
        classes: number of classes.
        way: classes per episode.
        shot: labelled images per class.
        query: classified images per class.
        episodes: number of episodes.
        compared: how images are classified, in words.
        tta: augmented views averaged with each image.
        tta_poses: poses in which two images were compared.
        score: means and interval.
    """

    subject: str
    images: int
    classes: int
    way: int
    shot: int
    query: int
    episodes: int
    compared: str
    tta: int
    tta_poses: int
    score: Score

    @property
    def series(self) -> str:
        """Name the evaluation, such as `5way-1shot-5query-1000episodes`."""
        size = [f"{self.way}way", f"{self.shot}shot", f"{self.query}query", f"{self.episodes}episodes"]
        views = [f"{self.tta}tta"] * (self.tta > 0) + [f"{self.tta_poses}poses"] * (self.tta_poses > 1)
        return "-".join([*size, *views])

    def as_plain(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; `interval` is half the width of the 95 % confidence interval."""
        fields = {key: value for key, value in asdict(self).items() if key not in ("score", "subject")}
        return {**fields, "loss": self.score.loss, "accuracy": self.score.accuracy, "interval": self.score.interval}


def episodes_text(result: EpisodeResult) -> str:
    """Format the result for a terminal."""
    return "\n".join(f"{key:<{KEY_WIDTH}}{text}" for key, text in _facts(result))


def episodes_markdown(result: EpisodeResult) -> str:
    """Format the result as Markdown."""
    return markdown_table(("", printable(result.subject)), [list(fact) for fact in _facts(result)], left=2)


def _facts(result: EpisodeResult) -> list[tuple[str, str]]:
    score = result.score
    return [
        ("accuracy", f"{accuracy_text(score)}; guessing {1 / result.way:.2%}"),
        ("loss", f"{score.loss:.4f}"),
        ("episodes", f"{result.episodes:,}: {result.way}-way, {result.shot}-shot, {result.query} queries per class"),
        ("images", f"{result.images:,} of {counted(result.classes, 'class', 'classes')} ({printable(result.subject)})"),
        ("compared", result.compared),
        ("test-time augmentation", augmentation_text(result.tta, result.tta_poses)),
    ]
