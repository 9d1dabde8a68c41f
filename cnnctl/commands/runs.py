"""`cnnctl runs`: compare the runs in a folder: results, state, and the config values that differ."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnnctl.errors import ConfigError, UsageError, suggestion
from cnnctl.files import refuse_output, write_whole
from cnnctl.report import comparison, runs_plot, tables
from cnnctl.report.comparison import Column, RunRow
from cnnctl.report.console import Console
from cnnctl.report.text import printable
from cnnctl.run_folder import RunFolder
from cnnctl.session.run_files import config_edits, unchecked_edits
from cnnctl.spec.layers.custom import OtherCustomLayers
from cnnctl.spec.leaves import text_of
from cnnctl.surroundings import shell_word

PIPE_WIDTH = 100
"""Width in columns where stdout is not a terminal."""
GAP = 2
CURVES, GRADIENTS = "curves", "gradients"
"""What `--plot` draws."""
ALL = "all"
MAX_NAMED = 6
"""Names of hidden columns, and known values, listed in a message."""


def runs(
    roots: Sequence[Path],
    form: str,
    sort: str | None,
    filters: Sequence[str],
    seeds: bool,
    console: Console,
    shown: str | None = None,
    plot: Path | None = None,
    of: str | None = None,
) -> None:
    """Print one row per run. Folders that cannot be read are reported on stderr and skipped.

    Args:
        roots: runs, and folders to search with all their subfolders.
        form: `table`, `json` or `markdown`.
        sort: a config path or result to sort by, descending with a leading minus; None for oldest first.
        filters: `key=value` texts; only runs that match all of them are shown.
        seeds: show runs that differ only in the seed as one row, with mean and standard deviation.
        console: prints results and messages.
        shown: keys of the columns, separated by commas; with a leading plus, in addition to the default columns; `all` for
            every column. None for the default columns that fit the terminal.
        plot: SVG file for a picture of the runs, or None.
        of: what the picture shows, `curves` or `gradients`; None for curves.

    Raises:
        UsageError: a folder does not exist or contains no run, a key is unknown, or the picture cannot show these runs.
        RunError: what the picture needs is missing or damaged.
    """
    _refuse_unusable(plot, of, seeds)
    rows = _found(roots, console)
    for row in rows:
        if row.edited:
            _warn_edited(RunFolder(Path(row.name)), console)
    rows = _arranged(rows, sort, filters, seeds)
    content = _picture(rows, of, console) if plot else ""
    _print(rows, form, shown, console)
    if plot:
        write_whole(plot, content.encode())
        console.say(f"plot    {printable(str(plot))}")


def _refuse_unusable(plot: Path | None, of: str | None, seeds: bool) -> None:
    if plot is None:
        if of:
            raise UsageError(f"--of {of} is what --plot draws; add --plot OUT.svg")
        return
    refuse_output(plot, "--plot", ".svg")
    if seeds:
        raise UsageError("--plot draws single runs; remove --seeds, which shows runs that differ in the seed as one")


def _found(roots: Sequence[Path], console: Console) -> list[RunRow]:
    """Read the runs in all folders, each once, in the order of the folders."""
    found: dict[Path, RunRow] = {}
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"there is no folder {root}; runs are in runs/ unless --run-dir named another folder")
        rows, skipped = comparison.read_runs(root)
        for line in skipped:
            console.say(line)
        if not rows:
            raise UsageError(f"{root} contains no run")
        for row in rows:
            found.setdefault(Path(row.name).resolve(), row)
    return list(found.values())


def _picture(rows: Sequence[RunRow], of: str | None, console: Console) -> str:
    if of == GRADIENTS:
        if len(rows) > 1:
            raise UsageError(
                f"--of {GRADIENTS} draws one run, received {len(rows)}; name one, such as {shell_word(rows[0].name)}"
            )
        return runs_plot.gradients_svg(RunFolder(Path(rows[0].name)))
    curves = [runs_plot.read_curves(row) for row in rows]
    for each in curves:
        if not each.epochs:
            console.say(f"note    {printable(each.row.name)} has no finished epoch; it is not drawn")
    if not any(each.epochs for each in curves):
        raise UsageError("--plot: no run has a finished epoch; wait for one")
    return runs_plot.runs_svg([each for each in curves if each.epochs])


def _print(rows: list[RunRow], form: str, shown: str | None, console: Console) -> None:
    if form == "json":
        console.result(tables.as_json(comparison.as_plain(rows)))
        return
    columns = comparison.columns(rows, _keys(shown, rows))
    if form == "markdown":
        console.result(_drawn(tables.markdown_table, columns))
        return
    visible, hidden = (columns, []) if shown else comparison.fitting(columns, _width(), GAP)
    console.result(_drawn(tables.text_table, visible))
    if hidden:
        console.say(_hidden_note(hidden))


def _warn_edited(run: RunFolder, console: Console) -> None:
    """Warn where config.yaml differs from what the run was trained with."""
    try:
        edits = config_edits(run, run.read_config(look_at_data=False), strict=run.result.exists())
    except OtherCustomLayers:
        edits = unchecked_edits(run, strict=run.result.exists())
    except ConfigError as error:
        edits = [f"it is invalid now: {error.problems[0]}"]
    if edits:
        shown = "The table shows the values it was trained with."
        console.say(f"warning  {run.config} was edited after training started: {'; '.join(edits)}. {shown}")


def _drawn(draw: Callable[..., str], columns: Sequence[Column]) -> str:
    rows = list(zip(*(column.cells for column in columns), strict=True))
    return draw([column.heading for column in columns], rows, left=2)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH


def _hidden_note(hidden: Sequence[Column]) -> str:
    names = [column.heading.replace("\n", "" if "." in column.heading else "_") for column in hidden]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"hidden columns: {', '.join(names[:MAX_NAMED])}{more}. Show all with --columns all, one with --columns +{names[0]}"


def _keys(shown: str | None, rows: Sequence[RunRow]) -> list[str]:
    default = comparison.usual_keys(rows)
    if shown in (None, ALL):
        return default
    chosen = [_known(key.strip(), rows) for key in str(shown).removeprefix("+").split(",") if key.strip()]
    return list(dict.fromkeys([*default, *chosen] if str(shown).startswith("+") else chosen))


def _arranged(rows: list[RunRow], sort: str | None, filters: Sequence[str], seeds: bool) -> list[RunRow]:
    pairs = [_pair(text, rows) for text in filters]
    found = comparison.chosen(rows, pairs)
    if not found:
        raise UsageError(f"no run has {' and '.join(filters)}{_known_values(pairs, rows)}")
    key = _known(sort.removeprefix("-"), found) if sort else None
    if seeds:
        found = comparison.by_seed(found)
    return comparison.ordered(found, key, str(sort).startswith("-")) if key else found


def _known_values(pairs: Sequence[tuple[str, str]], rows: Sequence[RunRow]) -> str:
    """List the values of the first key without a match, since a table rounds numbers."""
    key = next((key for key, text in pairs if not comparison.chosen(rows, [(key, text)])), None)
    if key is None:
        return " at once"
    values = list(dict.fromkeys(text_of(comparison.value_of(row, key)) for row in rows))
    more = " ..." if len(values) > MAX_NAMED else ""
    return f"; found {key}={f', {key}='.join(values[:MAX_NAMED])}{more}"


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
        raise UsageError(
            f"'{key}' is ambiguous; write one of {', '.join(meant[:MAX_NAMED])}{' ...' * (len(meant) > MAX_NAMED)}"
        )
    return meant[0]
