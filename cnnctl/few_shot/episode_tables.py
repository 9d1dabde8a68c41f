"""Accuracy on few-shot episodes → text, Markdown and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cnnctl.errors import counted
from cnnctl.few_shot.challenge_tables import averaged
from cnnctl.report.tables import markdown_table
from cnnctl.report.text import accuracy_text, printable
from cnnctl.train.observers import Score

KEY_WIDTH = 12


@dataclass(frozen=True)
class EpisodeResult:
    """How a network did on a series of episodes.

    Attributes:
        subject: what the images are, such as `test`.
        images: how many there are.
        classes: of them.
        way: classes of an episode.
        shot: labelled images a class.
        query: images a class that were classified.
        episodes: how many.
        compared: how the learner names a class, in words.
        copies: augmented copies of each image that were averaged with it.
        turns: in which two images were compared.
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
    copies: int
    turns: int
    score: Score

    @property
    def series(self) -> str:
        """Returns a name for what was asked, such as `5way-1shot-5query-1000episodes`."""
        asked = [f"{self.way}way", f"{self.shot}shot", f"{self.query}query", f"{self.episodes}episodes"]
        looks = [f"{self.copies}copies"] * (self.copies > 0) + [f"{self.turns}turns"] * (self.turns > 1)
        return "-".join([*asked, *looks])

    def as_plain(self) -> dict[str, Any]:
        """Returns it for JSON; the interval is half the width of the 95 % confidence interval."""
        fields = {key: value for key, value in asdict(self).items() if key not in ("score", "subject")}
        return {**fields, "loss": self.score.loss, "accuracy": self.score.accuracy, "interval": self.score.interval}


def episodes_text(result: EpisodeResult) -> str:
    """Returns the result for a terminal."""
    return "\n".join(f"{key:<{KEY_WIDTH}}{text}" for key, text in _facts(result))


def episodes_markdown(result: EpisodeResult) -> str:
    """Returns the result as Markdown."""
    return markdown_table(("", printable(result.subject)), [list(fact) for fact in _facts(result)], left=2)


def _facts(result: EpisodeResult) -> list[tuple[str, str]]:
    score = result.score
    return [
        ("accuracy", f"{accuracy_text(score)}; guessing {1 / result.way:.2%}"),
        ("loss", f"{score.loss:.4f}"),
        ("episodes", f"{result.episodes:,}: {result.way}-way, {result.shot}-shot, {result.query} queries a class"),
        ("images", f"{result.images:,} of {counted(result.classes, 'class', 'classes')} ({printable(result.subject)})"),
        ("compared", result.compared),
        ("averaged", averaged(result.copies, result.turns)),
    ]
