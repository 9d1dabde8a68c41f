"""Format rows as text tables, Markdown and JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from cnnctl.errors import counted
from cnnctl.report.rows import Row, Summary, as_plain
from cnnctl.spec.groups import local
from cnnctl.spec.receptive import Receptive
from cnnctl.spec.shapes import show_shape
from cnnctl.spec.stack import INPUT, INSIDE

LEFT_OUT_FIRST = (5, 4, 6, 3)
"""Columns that are left out on a narrow terminal, in this order: stride, receptive field, memory, MACs."""
_UNITS = ("kB", "MB", "GB", "TB")
_PREFIXES = ("k", "M", "G", "T")
PAGE_WIDTH = 80
NAME_WIDTHS = (22, 16)  # of kind and inputs below a name; the second if the table is too wide
PADDED = "+"
UNKNOWN = "?"
"""The MACs, or the receptive field, that a layer of one's own does not state."""
COLUMNS = ("layer", "output", "params", "MACs", "receptive", "stride", "memory")


def summary_json(summary: Summary) -> str:
    """Format a summary as JSON."""
    return json.dumps(as_plain(summary), indent=2)


def summary_markdown(summary: Summary) -> str:
    """Format a summary as a Markdown table followed by the totals."""
    return "\n".join([markdown_table(COLUMNS, _cells(summary), left=2), "", *(f"- {line}" for line in totals(summary))])


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Format a table as Markdown; the first `left` columns are texts, the others numbers."""
    ruler = ["---" if index < left else "---:" for index in range(len(columns))]
    return "\n".join(_markdown_row(cells) for cells in [columns, ruler, *rows])


def _markdown_row(cells: Iterable[str]) -> str:
    texts = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def summary_table(summary: Summary, width: int | None = None) -> str:
    """Format a summary as a table, at most 80 columns wide for usual names.

    On a narrower terminal some columns are left out; a line below names them.
    """
    shown, left_out = list(range(len(COLUMNS))), list[str]()
    table = _of_columns(summary, shown, PAGE_WIDTH)
    for column in LEFT_OUT_FIRST:
        if width is None or _width(table) <= width:
            break
        shown.remove(column)
        left_out.append(COLUMNS[column])
        table = _of_columns(summary, shown, min(width, PAGE_WIDTH))
    return f"{table}\n(too narrow for {', '.join(left_out)})" if left_out else table


def _of_columns(summary: Summary, shown: Sequence[int], width: int) -> str:
    """Format some columns of a summary, with narrower names if the table is wider than `width`."""
    columns = [COLUMNS[at] for at in shown]
    rows = ([[row[at] for at in shown] for row in _cells(summary, most)] for most in NAME_WIDTHS)
    wide, narrow = (text_table(columns, each, left=2) for each in rows)
    return wide if _width(wide) <= width else narrow


def _width(table: str) -> int:
    return max(map(len, table.split("\n")))


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Format a table as text; the first `left` columns are texts, the others numbers. Cells may have several lines.

    Without rich, whose import takes as long as the whole computation of a summary.
    """
    heading = max(column.count("\n") for column in columns) + 1
    lines = [line for cells in [columns, *rows] for line in zip_longest(*(cell.split("\n") for cell in cells), fillvalue="")]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = ["<" if index < left else ">" for index in range(len(columns))]
    gap = "  " if sum(widths) + 2 * (len(columns) - 1) <= PAGE_WIDTH else " "
    drawn = [
        gap.join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*drawn[:heading], "─" * max(map(len, drawn)), *drawn[heading:]])


def _cells(summary: Summary, name_width: int = NAME_WIDTHS[0]) -> list[list[str]]:
    cells = [[INPUT, show_shape(summary.image), "", "", "", "", ""]]
    before = INPUT
    for row in summary.rows:
        cells.append(_layer_cells(row, before, name_width, bool(summary.unknown_from)))
        before = row.facts.name
    return cells


def _layer_cells(row: Row, before: str, name_width: int, unknown: bool = False) -> list[str]:
    facts = row.facts
    is_usual = re.fullmatch(rf"{re.escape(facts.kind)}(_\d+)*", local(facts.name))  # its kind, with a number
    kind = [] if is_usual else [facts.kind.replace("_", "_ ")]  # may be wrapped after any _
    layers = [f"{'of ' if kind else ''}{counted(row.layers, 'layer')}"] if row.layers else []
    follows = len(facts.inputs) == 1 and f"{before}{INSIDE}".startswith(f"{facts.inputs[0]}{INSIDE}")  # a layer, or its block
    origin = [] if follows else [f"from {', '.join(_seen_from(facts.name, word) for word in facts.inputs)}"]
    weights = [f"with the weights of {row.shares}"] if row.shares else []
    about = wrap(" ".join(kind + layers + origin + weights), name_width)
    name = "\n".join([facts.name, *(f"  {line.replace('_ ', '_')}" for line in about)])
    params = f"{facts.trainable:,}" + (f" + {facts.non_trainable:,}" if facts.non_trainable else "")
    return [
        name,
        show_shape(facts.output_shape),
        params if facts.parameters else "",
        (f"{facts.macs:,}" if facts.macs else "") if facts.macs_known else UNKNOWN,
        *_receptive_cells(row.receptive, unknown),
        show_bytes(row.activation_bytes),
    ]


def _seen_from(name: str, other: str) -> str:
    """Return the name of another layer as its block has it, where both are in one."""
    return other.removeprefix(name[: len(name) - len(local(name))])


def _receptive_cells(receptive: Receptive | None, unknown: bool) -> list[str]:
    if receptive is None:
        return [UNKNOWN if unknown else "", ""]
    (high, wide), (down, right) = receptive.field, receptive.stride
    stride = f"{down or '-'}×{right or '-'}" if down or right else ""
    return [f"{high}×{wide}{PADDED if receptive.padded else ''}", stride]


def totals(summary: Summary) -> list[str]:
    """Format the totals below a summary."""
    parameters = counted(summary.trainable + summary.non_trainable, "parameter")
    if summary.non_trainable:
        parameters += f": {summary.trainable:,} trainable, {summary.non_trainable:,} non-trainable ({_kinds(summary)})"
    images = "image" if summary.batch_size == 1 else f"batch of {summary.batch_size:,}"
    memory = f"{show_bytes(summary.activation_bytes)} for the outputs of all layers per {images}"
    macs = f"{show_macs(summary)} MACs per image"
    if summary.uncounted:
        macs += f"; those of {', '.join(summary.uncounted)} are unknown: the class has no method macs"
    return [parameters, macs, memory, *_field_notes(summary)]


def show_macs(summary: Summary) -> str:
    """Format the MACs of a network; `at least` if a layer of one's own does not count its own."""
    return f"at least {show_count(summary.macs)}" if summary.uncounted else show_count(summary.macs)


def _kinds(summary: Summary) -> str:
    """Name what the parameters are that no gradient changes."""
    stored = {row.facts.kind for row in summary.rows if row.facts.non_trainable}
    names = ("moving averages", stored - {"normalization"}), ("statistics of the training images", stored & {"normalization"})
    return " and ".join(name for name, kinds in names if kinds)


def _field_notes(summary: Summary) -> Iterator[str]:
    """Yield notes on the receptive fields."""
    if any(row.receptive and row.receptive.padded for row in summary.rows):
        yield f"{PADDED} the window is larger and reaches into zero padding"
    if summary.unknown_from:
        yield f"receptive fields are unknown from '{summary.unknown_from}' on: its class has no method window"
    elif any(row.receptive is None for row in summary.rows):
        yield "receptive fields are not computed for images of this size"
    if summary.never_seen:
        yield summary.never_seen


def show_bytes(count: int) -> str:
    """Format bytes with a unit, such as 84.5 kB (powers of 1,000)."""
    if count < 1000:
        return f"{count} B"
    power = 1
    while count >= 999.95 * 1000**power and power < len(_UNITS):
        power += 1
    return f"{count / 1000**power:.1f} {_UNITS[power - 1]}"


def show_count(count: int) -> str:
    """Format a large number with three digits and a unit, such as 2.44 M (powers of 1,000)."""
    if count < 1000:
        return str(count)
    power = 1
    while count >= 999.5 * 1000**power and power < len(_PREFIXES):
        power += 1
    scaled = count / 1000**power
    return f"{scaled:.{2 - (scaled >= 9.995) - (scaled >= 99.95)}f} {_PREFIXES[power - 1]}"


def as_json(content: Any) -> str:
    """Dump JSON; NaN and infinite values become null, since JSON has neither."""
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
