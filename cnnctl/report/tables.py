"""Rows → tables, Markdown and JSON, as text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from cnnctl.errors import counted
from cnnctl.report.rows import Row, Summary, as_plain
from cnnctl.spec.shapes import HeightWidth, show_shape
from cnnctl.spec.stack import INPUT

LEFT_OUT_FIRST = (5, 4, 6, 3)
"""Columns of a summary that a narrow terminal goes without: stride, receptive field, memory, MACs."""
_UNITS = ("kB", "MB", "GB", "TB")
PAGE_WIDTH = 80
NAME_WIDTH = 22  # of what stands below a name: its kind, its inputs
COLUMNS = ("layer", "output", "params", "MACs", "field", "stride", "memory")


def summary_json(summary: Summary) -> str:
    """Returns the summary as JSON."""
    return json.dumps(as_plain(summary), indent=2)


def summary_markdown(summary: Summary) -> str:
    """Returns the summary as a Markdown table and the totals."""
    return "\n".join([markdown_table(COLUMNS, _cells(summary), left=2), "", *(f"- {line}" for line in totals(summary))])


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Returns a table as Markdown; the first `left` columns are texts, the others numbers."""
    ruler = ["---" if index < left else "---:" for index in range(len(columns))]
    return "\n".join(_markdown_row(cells) for cells in [columns, ruler, *rows])


def _markdown_row(cells: Iterable[str]) -> str:
    texts = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def summary_table(summary: Summary, width: int | None = None) -> str:
    """Return the summary as a table of at most 80 columns for usual names; on a narrower terminal without some columns, named below."""
    cells = _cells(summary)
    kept, left_out = list(range(len(COLUMNS))), []
    table = text_table(COLUMNS, cells, left=2)
    for column in LEFT_OUT_FIRST:
        if width is None or max(map(len, table.split("\n"))) <= width:
            break
        kept.remove(column)
        left_out.append(COLUMNS[column])
        table = text_table([COLUMNS[at] for at in kept], [[row[at] for at in kept] for row in cells], left=2)
    return f"{table}\n(too narrow for {', '.join(left_out)})" if left_out else table


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Returns a table as text; the first `left` columns are texts, the others numbers. Cells may have several lines.

    Drawn here and not by rich, whose import costs as much as all the arithmetic of a summary.
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


def _cells(summary: Summary) -> list[list[str]]:
    cells = [[INPUT, show_shape(summary.image), "", "", "", "", ""]]
    before = INPUT
    for row in summary.rows:
        cells.append(_layer_cells(row, before))
        before = row.facts.name
    return cells


def _layer_cells(row: Row, before: str) -> list[str]:
    facts = row.facts
    numbered = facts.name.removeprefix(facts.kind).removeprefix("_")
    kind = [] if not numbered or numbered.isdigit() else [facts.kind.replace("_", "_ ")]  # may go on after any _
    origin = [] if facts.inputs == (before,) else [f"from {', '.join(facts.inputs)}"]
    about = wrap(" ".join(kind + origin), NAME_WIDTH)
    name = "\n".join([facts.name, *(f"  {line.replace('_ ', '_')}" for line in about)])
    params = f"{facts.trainable:,}" + (f" + {facts.non_trainable:,}" if facts.non_trainable else "")
    return [
        name,
        show_shape(facts.output_shape),
        params if facts.parameters else "",
        f"{facts.macs:,}" if facts.macs else "",
        _times(facts.receptive_field),
        _times(facts.stride),
        show_bytes(row.activation_bytes),
    ]


def _times(pair: HeightWidth) -> str:
    return f"{pair[0]}×{pair[1]}"


def totals(summary: Summary) -> list[str]:
    """Returns the lines below a summary."""
    parameters = counted(summary.trainable + summary.non_trainable, "parameter")
    if summary.non_trainable:
        parameters += f": {summary.trainable:,} trained, {summary.non_trainable:,} not (moving averages, after the +)"
    images = "one image" if summary.batch_size == 1 else f"a batch of {summary.batch_size:,}"
    memory = f"{show_bytes(summary.activation_bytes)} for the outputs of all layers, {images}"
    return [parameters, f"{summary.macs:,} multiply-accumulates for one image", memory]


def show_bytes(count: int) -> str:
    """Returns bytes with a unit, such as 84.5 kB (powers of 1,000)."""
    if count < 1000:
        return f"{count} B"
    power = 1
    while count >= 999.95 * 1000**power and power < len(_UNITS):
        power += 1
    return f"{count / 1000**power:.1f} {_UNITS[power - 1]}"


def as_json(content: Any) -> str:
    """Returns JSON for programs; what is infinite or no number is null, since JSON has neither."""
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
