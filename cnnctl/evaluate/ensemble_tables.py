"""Scores of an ensemble as text, Markdown and JSON, with those of each network alone."""

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
EVALUATED = "The scores are of the mean of the probabilities of {count} networks; the loss\nis cross-entropy alone, without regularization."
LOSS = "The loss of a run is its training loss, which includes regularization and label\nsmoothing; its cross-entropy does not."


@dataclass(frozen=True)
class Member:
    """One network of an ensemble, evaluated alone.

    Attributes:
        run: its folder.
        accuracy: as in its own evaluation.
        loss: as in its own evaluation. It includes regularization and label smoothing, so losses of runs are not comparable.
        cross_entropy: comparable with the loss of the ensemble.
    """

    run: str
    accuracy: float
    loss: float
    cross_entropy: float


def ensemble_text(scores: Scores, subject: str, members: Sequence[Member]) -> str:
    """Format the scores for a terminal.

    Args:
        scores: of the mean of the probabilities.
        subject: name of the images.
        members: two or more.
    """
    return evaluation_text(scores, subject, _about(members, text_table))


def ensemble_markdown(scores: Scores, subject: str, members: Sequence[Member]) -> str:
    """Format the scores as Markdown; arguments as in `ensemble_text`."""
    return evaluation_markdown(scores, subject, _about(members, markdown_table))


def _about(members: Sequence[Member], draw: Draw) -> list[str]:
    average, deviation = accuracy_of(members)
    spread = f"Mean of the runs: accuracy {average:.2%}, standard deviation {deviation:.2%}."
    return [EVALUATED.format(count=len(members)), draw(COLUMNS, [_cells(each) for each in members], 1), f"{spread}\n{LOSS}"]


def _cells(member: Member) -> list[str]:
    return [printable(member.run), f"{member.accuracy:.2%}", f"{member.cross_entropy:.4f}", f"{member.loss:.4f}"]


def accuracy_of(members: Sequence[Member]) -> tuple[float, float]:
    """Compute mean and sample standard deviation (n - 1) of the networks' accuracies."""
    accuracies = [member.accuracy for member in members]
    return mean(accuracies), stdev(accuracies)


def members_as_plain(members: Sequence[Member]) -> dict[str, Any]:
    """Return the members as plain data for JSON; a non-finite number is null."""
    average, deviation = accuracy_of(members)
    return {
        "runs": [{key: _finite(value) for key, value in asdict(member).items()} for member in members],
        "accuracy_of_runs": {"mean": average, "standard_deviation": deviation},
    }


def _finite(value: str | float) -> str | float | None:
    return None if isinstance(value, float) and not isfinite(value) else value
