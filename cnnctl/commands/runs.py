"""`cnnctl runs`: the runs below a folder side by side; results, state, and only what differs between them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnnctl.errors import ConfigError, UsageError, suggestion
from cnnctl.report import comparison, tables
from cnnctl.report.comparison import Column, RunRow
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.run_files import config_edits
from cnnctl.spec.leaves import text_of

PIPE_WIDTH = 100
"""Columns of a table that goes to no terminal."""
GAP = 2
ALL = "all"
MAX_NAMED = 6
"""So many columns that are left out are named, and so many values that there are."""


def runs(
    root: Path, form: str, sort: str | None, wanted: Sequence[str], seeds: bool, console: Console, shown: str | None = None
) -> None:
    """Prints a row a run; folders that cannot be read are named on stderr and passed over.

    Args:
        root: where to look, itself and all folders below.
        form: `table`, `json` or `markdown`.
        sort: a config path or result to order by, with a minus in front for the largest first; None for oldest first.
        wanted: `key=value` texts; only runs that have all of them are shown.
        seeds: show runs that differ in the seed alone as one row, mean and standard deviation.
        console: where to print.
        shown: the columns of the table: keys with commas between; with a plus in front, besides the usual ones; `all`, as
            many as there are. None for the usual ones that there is room for.

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
    for row in rows:
        if row.edited:
            _tell_edited(RunFolder(Path(row.name)), console)
    rows = _arranged(rows, sort, wanted, seeds)
    if form == "json":
        console.result(tables.as_json(comparison.as_plain(rows)))
        return
    columns = comparison.columns(rows, _keys(shown, rows))
    if form == "markdown":
        console.result(_drawn(tables.markdown_table, columns))
        return
    kept, left_out = (columns, []) if shown else comparison.fitting(columns, _width(), GAP)
    console.result(_drawn(tables.text_table, kept))
    if left_out:
        console.say(_told(left_out))


def _tell_edited(run: RunFolder, console: Console) -> None:
    """Warn of a config.yaml that is not what the run was trained with, and say what differs."""
    try:
        edits = config_edits(run, run.read_config(look_at_data=False), strict=run.result.exists())
    except ConfigError as error:
        edits = [f"it is wrong now: {error.problems[0]}"]
    if edits:
        what = "its columns show what it was trained with"
        console.say(f"warning  {run.config} was edited after the training began: {'; '.join(edits)}; {what}")


def _drawn(draw: Callable[..., str], columns: Sequence[Column]) -> str:
    rows = list(zip(*(column.cells for column in columns), strict=True))
    return draw([column.heading for column in columns], rows, left=2)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH


def _told(left_out: Sequence[Column]) -> str:
    names = [column.heading.replace("\n", "" if "." in column.heading else "_") for column in left_out]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"not shown for want of room: {', '.join(names[:MAX_NAMED])}{more}; --columns all shows all, --columns +{names[0]} this one"


def _keys(shown: str | None, rows: Sequence[RunRow]) -> list[str]:
    usual = comparison.usual_keys(rows)
    if shown in (None, ALL):
        return usual
    asked = [_known(key.strip(), rows) for key in str(shown).removeprefix("+").split(",") if key.strip()]
    return list(dict.fromkeys([*usual, *asked] if str(shown).startswith("+") else asked))


def _arranged(rows: list[RunRow], sort: str | None, wanted: Sequence[str], seeds: bool) -> list[RunRow]:
    pairs = [_pair(text, rows) for text in wanted]
    found = comparison.chosen(rows, pairs)
    if not found:
        raise UsageError(f"no run has {' and '.join(wanted)}{_there_are(pairs, rows)}")
    key = _known(sort.removeprefix("-"), found) if sort else None
    if seeds:
        found = comparison.by_seed(found)
    return comparison.ordered(found, key, str(sort).startswith("-")) if key else found


def _there_are(pairs: Sequence[tuple[str, str]], rows: Sequence[RunRow]) -> str:
    """Return the values that there are, since a table shows fewer digits than a number has."""
    key = next((key for key, text in pairs if not comparison.chosen(rows, [(key, text)])), None)
    if key is None:
        return " at once"
    values = list(dict.fromkeys(text_of(comparison.value_of(row, key)) for row in rows))
    more = " ..." if len(values) > MAX_NAMED else ""
    return f"; there is {key}={f', {key}='.join(values[:MAX_NAMED])}{more}"


def _pair(text: str, rows: Sequence[RunRow]) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--filter {text}: expected key=value, such as train.loop=fit")
    return _known(key, rows), value


def _known(key: str, rows: Sequence[RunRow]) -> str:
    meant = comparison.keys_meant(key, rows)
    if not meant:
        hint = suggestion(key, comparison.known_keys(rows)) or f"; results are {', '.join(comparison.RESULTS)}"
        raise UsageError(f"no run has '{key}'{hint}")
    if len(meant) > 1:
        raise UsageError(f"'{key}' may be {', '.join(meant[:MAX_NAMED])}{' ...' * (len(meant) > MAX_NAMED)}; write which")
    return meant[0]
