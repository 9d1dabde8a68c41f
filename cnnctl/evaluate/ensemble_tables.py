"""Scores of several networks as one → text, Markdown and JSON, beside what each reached alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from cnnctl.evaluate.class_tables import Draw, evaluation_markdown, evaluation_text
from cnnctl.report.tables import markdown_table, text_table
from cnnctl.report.text import printable

if TYPE_CHECKING:
    from cnnctl.evaluate.scores import Scores

COLUMNS = ("run", "accuracy", "cross-entropy", "loss")
EVALUATED = (
    "The mean of the probabilities of {count} networks is judged; its loss is\ncross-entropy alone, without regularization."
)
LOSS = (
    "A run's loss is that of its training, with regularization and label smoothing\n"
    "where it has them; its cross-entropy is without."
)


@dataclass(frozen=True)
class Member:
    """What one network of an ensemble reached alone.

    Attributes:
        run: its folder.
        accuracy: as its own evaluation shows it.
        loss: the same; regularization and label smoothing are in it, so it is no measure of one run against another.
        cross_entropy: what the loss of the ensemble is too.
    """

    run: str
    accuracy: float
    loss: float
    cross_entropy: float


def ensemble_text(scores: Scores, subject: str, members: Sequence[Member]) -> str:
    """Returns the scores for a terminal.

    Args:
        scores: of the mean of the probabilities.
        subject: says which images they are of.
        members: two at least.
    """
    return evaluation_text(scores, subject, _about(members, text_table))


def ensemble_markdown(scores: Scores, subject: str, members: Sequence[Member]) -> str:
    """Returns the scores as Markdown; arguments as those of `ensemble_text`."""
    return evaluation_markdown(scores, subject, _about(members, markdown_table))


def _about(members: Sequence[Member], draw: Draw) -> list[str]:
    average, deviation = accuracy_of(members)
    spread = f"Mean of the runs: accuracy {average:.2%}, standard deviation {deviation:.2%}."
    return [EVALUATED.format(count=len(members)), draw(COLUMNS, [_cells(each) for each in members], 1), f"{spread}\n{LOSS}"]


def _cells(member: Member) -> list[str]:
    return [printable(member.run), f"{member.accuracy:.2%}", f"{member.cross_entropy:.4f}", f"{member.loss:.4f}"]


def accuracy_of(members: Sequence[Member]) -> tuple[float, float]:
    """Returns mean and standard deviation (of a sample, n - 1) of the accuracies that the networks reached alone."""
    accuracies = [member.accuracy for member in members]
    return mean(accuracies), stdev(accuracies)


def members_as_plain(members: Sequence[Member]) -> dict[str, Any]:
    """Returns the members for JSON; a number that JSON cannot say is null."""
    average, deviation = accuracy_of(members)
    return {
        "runs": [{key: _sayable(value) for key, value in asdict(member).items()} for member in members],
        "accuracy_of_runs": {"mean": average, "standard_deviation": deviation},
    }


def _sayable(value: str | float) -> str | float | None:
    return None if isinstance(value, float) and not isfinite(value) else value
