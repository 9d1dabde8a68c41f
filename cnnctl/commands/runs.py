"""`cnnctl runs`: the runs below a folder side by side; only what differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.errors import UsageError, suggestion
from cnnctl.report import comparison, tables
from cnnctl.report.console import Console


def runs(root: Path, form: str, sort: str | None, wanted: Sequence[str], seeds: bool, console: Console) -> None:
    """Prints a row a run; folders that cannot be read are named on stderr and passed over.

    Args:
        root: where to look, itself and all folders below.
        form: `table`, `json` or `markdown`.
        sort: a config path or result to order by, with a minus in front for the largest first; None for oldest first.
        wanted: `key=value` texts; only runs that have all of them are shown.
        seeds: show runs that differ in the seed alone as one row, mean and standard deviation.
        console: where to print.

    Raises:
        UsageError: there is no such folder, no run in it, or no such key.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}; runs lie in runs/, or where --run-dir put them")
    rows, passed_over = comparison.read_runs(root)
    for line in passed_over:
        console.say(line)
    if not rows:
        raise UsageError(f"there is no run in {root}")
    rows = _arranged(rows, sort, wanted, seeds)
    if form == "json":
        console.result(tables.as_json(comparison.as_plain(rows)))
        return
    columns, cells = comparison.columns_and_cells(rows)
    draw = tables.markdown_table if form == "markdown" else tables.text_table
    console.result(draw(columns, cells, left=1))


def _arranged(rows: list[comparison.RunRow], sort: str | None, wanted: Sequence[str], seeds: bool) -> list[comparison.RunRow]:
    rows = comparison.chosen(rows, [_pair(text, rows) for text in wanted])
    if not rows:
        raise UsageError(f"no run has {' and '.join(wanted)}")
    key = _known(sort.removeprefix("-"), rows) if sort else None
    if seeds:
        rows = comparison.by_seed(rows)
    return comparison.ordered(rows, key, str(sort).startswith("-")) if key else rows


def _pair(text: str, rows: Sequence[comparison.RunRow]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--filter {text}: expected key=value, such as train.loop=fit")
    return _known(key, rows), value


def _known(key: str, rows: Sequence[comparison.RunRow]) -> str:
    found = comparison.full_key(key, rows)
    if found is None:
        hint = suggestion(key, comparison.known_keys(rows)) or f"; results are {', '.join(comparison.RESULTS)}"
        raise UsageError(f"no run has '{key}'{hint}")
    return found
