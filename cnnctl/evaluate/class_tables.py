"""Scores as text: a row per class, and which classes are confused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cnnctl.errors import counted
from cnnctl.report.tables import PAGE_WIDTH, markdown_table, text_table
from cnnctl.report.text import loss_text, printable

if TYPE_CHECKING:
    from cnnctl.evaluate.scores import ClassScore, Scores

MAX_ROWS = 20
"""Classes in a table; of more, those with the lowest F1."""
MAX_CONFUSIONS = 10
NONE = "·"
COLUMNS = ("class", "precision", "recall", "F1", "images")

Draw = Callable[[Sequence[str], Sequence[Sequence[str]], int], str]


def evaluation_text(scores: Scores, subject: str, more: Sequence[str] = ()) -> str:
    """Format the scores for a terminal.

    Args:
        scores: of a network or an ensemble.
        subject: name of the images.
        more: paragraphs before the table of classes.
    """
    loss = loss_text(scores.loss, scores.regularized)
    head = f"{subject:<13}accuracy {scores.accuracy:.2%}, {loss}, on {counted(scores.images, 'image')}"
    calibration = f"{'calibration':<13}{_calibration(scores)}"
    return "\n\n".join([f"{head}\n{calibration}", *more, *_parts(scores, text_table, PAGE_WIDTH)])


def evaluation_markdown(scores: Scores, subject: str, more: Sequence[str] = ()) -> str:
    """Format the scores as Markdown; arguments as in `evaluation_text`."""
    loss = loss_text(scores.loss, scores.regularized)
    head = f"- {subject}: accuracy {scores.accuracy:.2%}, {loss}, on {counted(scores.images, 'image')}"
    return "\n\n".join([f"{head}\n- calibration: {_calibration(scores)}", *more, *_parts(scores, markdown_table, None)])


def _calibration(scores: Scores) -> str:
    return f"expected calibration error (ECE) {100 * scores.calibration_error:.2f} %, {scores.bins} bins"


def _parts(scores: Scores, draw: Draw, width: int | None) -> list[str]:
    shown = _shown_classes(scores)
    table = draw(COLUMNS, [_class_cells(each) for each in shown], 1)
    return [*_left_out(scores, shown), table, _mean(scores), _confusion(scores, draw, width)]


def _shown_classes(scores: Scores) -> list[ClassScore]:
    """Choose the classes to show: all in their order, of many those with the lowest F1, the lowest first."""
    if len(scores.occurring) <= MAX_ROWS:
        return scores.occurring
    return sorted(scores.occurring, key=lambda each: each.f1 or 0.0)[:MAX_ROWS]


def _left_out(scores: Scores, shown: Sequence[ClassScore]) -> list[str]:
    if len(shown) == len(scores.occurring):
        return []
    return [f"The {len(shown)} of {len(scores.occurring):,} classes with the lowest F1; --format json has all."]


def _class_cells(score: ClassScore) -> list[str]:
    return [printable(score.name), *map(_share, (score.precision, score.recall, score.f1)), f"{score.images:,}"]


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.2%}"


def _mean(scores: Scores) -> str:
    precision, recall, f1 = (scores.mean(field) for field in ("precision", "recall", "f1"))
    over = counted(len(scores.occurring), "class", "classes")
    undefined = any(None in (each.precision, each.recall, each.f1) for each in scores.occurring)
    zero = f", {NONE} as 0" if undefined else ""
    line = f"Mean of the {over}: precision {precision:.2%}, recall {recall:.2%}, F1 {f1:.2%}"
    return f"{line}\n(macro average: every class has the same weight{zero})."


def _confusion(scores: Scores, draw: Draw, width: int | None) -> str:
    """Format the confusion matrix, or the most frequent confusions where it is too wide for a page."""
    classes = scores.occurring
    names = [printable(each.name) for each in classes]
    labels = [str(each.label) for each in classes]
    numbered = [f"{label} {name}" for label, name in zip(labels, names, strict=True)]
    if len(classes) <= MAX_ROWS:
        for rows, columns in ((names, names), (numbered, labels)):
            table = draw(["true \\ predicted", *columns], _matrix_cells(rows, scores.matrix_of(classes).tolist()), 1)
            if width is None or max(map(len, table.splitlines())) <= width:
                return table
    return _frequent(scores)


def _matrix_cells(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[list[str]]:
    return [[name, *(f"{count:,}" if count else NONE for count in row)] for name, row in zip(names, matrix, strict=True)]


def _frequent(scores: Scores) -> str:
    confusions = scores.confusions
    if not confusions:
        return "No classes are confused."
    shown = confusions[:MAX_CONFUSIONS]
    lines = [
        f"- {printable(each.true)} predicted as {printable(each.predicted)}: {counted(each.images, 'image')}" for each in shown
    ]
    title = "The confusions:" if len(shown) == len(confusions) else f"The {len(shown)} most frequent confusions:"
    return "\n".join([title, *lines])
