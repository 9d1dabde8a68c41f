"""Rows → tables, Markdown and JSON, as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cnnctl.report.rows import Row, Summary, as_plain
from cnnctl.spec.shapes import HeightWidth, show_shape
from cnnctl.spec.stack import INPUT

_UNITS = ("kB", "MB", "GB", "TB")
COLUMNS = ("layer", "output", "params", "MACs", "field", "stride", "memory")


def summary_json(summary: Summary) -> str:
    """Returns the summary as JSON."""
    return json.dumps(as_plain(summary), indent=2)


def summary_markdown(summary: Summary) -> str:
    """Returns the summary as a Markdown table and the totals."""
    lines = [_markdown_row(COLUMNS), _markdown_row(["---", "---", *["---:"] * (len(COLUMNS) - 2)])]
    lines += [_markdown_row(cells) for cells in _cells(summary)]
    return "\n".join([*lines, "", *(f"- {line}" for line in totals(summary))])


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace(chr(10), ' ') for cell in cells)} |"


def summary_table(summary: Summary) -> Table:
    """Returns the summary as a table of at most 80 columns for usual names."""
    return table(COLUMNS, _cells(summary), left=2)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> Table:
    """Returns a table in this program's look; the first `left` columns are texts, the others numbers."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    for index, name in enumerate(columns):
        drawn.add_column(name, justify="left" if index < left else "right", overflow="fold", no_wrap=index > 0)
    for cells in rows:
        drawn.add_row(*cells)
    return drawn


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
    name = facts.name if not numbered or numbered.isdigit() else f"{facts.name} ({facts.kind})"
    if facts.inputs != (before,):
        name += f"\n  from {', '.join(facts.inputs)}"
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
    parameters = f"{summary.trainable + summary.non_trainable:,} parameters"
    if summary.non_trainable:
        parameters += f": {summary.trainable:,} trained, {summary.non_trainable:,} not (moving averages, after the + above)"
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
    """Returns JSON for programs."""
    return json.dumps(content, indent=2)
