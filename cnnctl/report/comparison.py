"""Compare run folders: a row per run with its state, its results, and only the config values that differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from textwrap import wrap
from typing import Any

from cnnctl.errors import CnnctlError, ConfigError, RunError
from cnnctl.reading import open_regular
from cnnctl.report.text import printable
from cnnctl.run_folder import RunFolder
from cnnctl.spec.document import read_document
from cnnctl.spec.leaves import Leaf, differing, leaves, text_of
from cnnctl.spec.overrides import keys_of
from cnnctl.surroundings import shell_word

RUN, STATE, REASON = "run", "state", "reason"
RESULTS = ("test_accuracy", "validation_accuracy", "test_loss", "epochs", "train_seconds", "device")
"""Results, in the order of the columns."""
USUAL = ("seeds", "tested_seeds", STATE, *RESULTS)
SEED = "seed"
HEADINGS = {"train_seconds": "seconds"}
"""Shorter headings of results, which `--filter`, `--sort` and `--columns` accept too."""
LEFT_OUT_FIRST = ("epochs", "train_seconds", "test_loss", "device")
"""Result columns that are left out first on a narrow terminal, from the last to the first."""
LONGEST_HEADING = 14
"""Longest heading on one line, in characters, if it has a dot to split at."""
WIDEST = 30
"""Longest line in a cell, in characters."""
NARROW = 20
"""Longest line of the state, in characters."""
EPOCHS = "train.epochs"
MAY_CHANGE = (EPOCHS, "train.strategy", *(f"data.{field}" for field in ("path", "data_dir", "labels_file", "memory")))
"""Fields that may change when a run is resumed: config.yaml has the new value, an older checkpoint the old one."""
MAX_LINES = 4
"""Most lines of a cell; the JSON has the whole text."""
LONGEST_REASON = 400
"""Longest reason for skipping a folder, in characters."""
FEWEST_DIGITS = 4
"""Fewest significant digits of numbers in a column."""


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        name: the path of its folder, as other commands take it.
        config: the config it was trained with, as plain data.
        results: its state, and numbers by the names of `RESULTS`; missing ones have no key.
        leaves: the flattened config.
        edited: whether its config.yaml was changed since.
    """

    name: str
    config: dict[str, Any]
    results: dict[str, Any]
    leaves: Mapping[str, Leaf]
    edited: bool = False


def read_runs(root: Path) -> tuple[list[RunRow], list[str]]:
    """Read the runs below a folder, oldest first, and return them with a line per skipped folder."""
    folders = {file.parent for name in ("config.yaml", "environment.json") for file in root.rglob(name)}
    rows, skipped = [], []
    for folder in sorted(folders, key=lambda folder: (folder.name, str(folder))):
        try:
            rows.append(_row(RunFolder(folder), str(folder)))
        except (CnnctlError, OSError, RecursionError) as error:
            skipped.append(f"{folder} is skipped: {_reason(error)}")
    return rows, skipped


def _reason(error: Exception) -> str:
    text = (
        f"{error.filename} cannot be read: {error.strerror}"
        if isinstance(error, OSError)
        else str(error) or "nested too deeply"
    )
    first = text.partition("\n")[0]
    return first if len(first) <= LONGEST_REASON else f"{first[: LONGEST_REASON - 1]}…"


def _row(run: RunFolder, name: str) -> RunRow:
    """Read the row of a run folder.

    Raises:
        CnnctlError: the folder is damaged.
        OSError: the config cannot be read, is not a regular file, or is a link out of the folder.
    """
    result = run.read_result()
    config, edited = _trained_with(run, finished=result is not None)
    state, reason = run.state()
    results: dict[str, Any] = {STATE: state, **({REASON: reason} if reason else {})}
    results |= {"device": _device(run), **_of_epochs(run, result)}
    if result is not None:
        null = [name for name in ("test_accuracy", "test_loss") if result.get(name, "") is None]
        if null == ["test_accuracy"]:
            raise RunError(f"{run.result} is damaged: it has a test loss but no test accuracy")
        # A non-finite loss is null; both are null if the test split was not read, as in the trials of a sweep.
        present = [name for name in ("test_accuracy", "test_loss", "epochs", "train_seconds") if name not in null]
        results |= {key: _number(run.result, result, key) for key in present}
    return RunRow(name, config, results, leaves(config), edited)


def _trained_with(run: RunFolder, finished: bool) -> tuple[dict[str, Any], bool]:
    """Return the config that a run was trained with, and whether its config.yaml differs.

    The checkpoint has it; results beside an edited config would be those of another network.

    Raises:
        CnnctlError: config.yaml is invalid, and there is no checkpoint.
        OSError: config.yaml cannot be read.
    """
    open_regular(run.config, run.path).close()
    origin = run.origin()
    try:
        filed = read_document(run.config).content
    except ConfigError:
        if origin is None:
            raise
        return dict(origin.config), True
    if origin is None or not (others := differing([leaves(origin.config), leaves(filed)])):
        return filed, False
    free = [path for path in MAY_CHANGE if path != EPOCHS or not finished]
    edited = any(path not in free for path in others)
    return (dict(origin.config), True) if edited else (filed, False)


def _device(run: RunFolder) -> str:
    device = run.read_environment().get("device")
    if not isinstance(device, str):
        raise RunError(f"{run.environment} is damaged: it has no device")
    return f"{device.partition(' (')[0]:.{WIDEST}}"


def _of_epochs(run: RunFolder, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read metrics.csv: the validation of the final weights, or of the last epoch while the run continues."""
    epochs = run.read_epochs()
    if not epochs:
        return {}
    seconds = [_number(run.metrics, row, "seconds") for row in epochs]
    found: dict[str, Any] = {"epochs": len(epochs), "train_seconds": round(sum(seconds), 3)}
    chosen = result["weights_epoch"] if result and "weights_epoch" in result else len(epochs)
    row = next((each for each in epochs if each.get("epoch") == str(chosen)), epochs[-1])
    if row.get("validation_accuracy"):
        found["validation_accuracy"] = _number(run.metrics, row, "validation_accuracy")
    return found


def _number(file: Path, row: Mapping[str, Any], key: str) -> float:
    """Return the number under a key of a row of a file; a run writes only finite numbers.

    Raises:
        RunError: the value is not a finite number.
    """
    value = row.get(key)
    try:
        number = value if isinstance(value, int) and not isinstance(value, bool) else float(str(value))
        if math.isfinite(number):  # raises OverflowError for an integer beyond any float
            return number
    except (ValueError, OverflowError):
        pass
    raise RunError(f"{file} is damaged: {key} is {printable(str(value)):.60}, expected a number")


# Differences


def by_seed(rows: Sequence[RunRow]) -> list[RunRow]:
    """Merge runs that differ only in the seed into one row; numbers become [mean, standard deviation].

    The deviation is that of a sample (n - 1); for one run it is omitted.
    """
    groups: dict[str, list[RunRow]] = {}
    for row in rows:
        groups.setdefault(json.dumps({**row.config, SEED: None}, sort_keys=True), []).append(row)
    return [_merged(group) for group in groups.values()]


def _merged(group: Sequence[RunRow]) -> RunRow:
    results: dict[str, Any] = {"seeds": len(group)}
    tested = sum("test_accuracy" in row.results for row in group)
    if 0 < tested < len(group):  # such as of a sweep, whose trials are not tested
        results["tested_seeds"] = tested
    for name in (STATE, *RESULTS):
        values = [row.results[name] for row in group if name in row.results]
        if values and isinstance(values[0], int | float):
            results[name] = [mean(values), stdev(values)] if len(values) > 1 else [values[0]]
        elif values:
            results[name] = ", ".join(dict.fromkeys(values))
    name = group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more"
    without_seed = {path: leaf for path, leaf in group[0].leaves.items() if path != SEED}
    return RunRow(name, {**group[0].config, SEED: None}, results, without_seed)


# Filters and order


def chosen(rows: Sequence[RunRow], wanted: Sequence[tuple[str, str]]) -> list[RunRow]:
    """Filter the rows by (key, text) pairs of config values or results."""
    return [row for row in rows if all(_is(value_of(row, key), text) for key, text in wanted)]


def _is(value: Any, text: str) -> bool:
    """Return True if a text equals a value as written in a config or the JSON; numbers in any form, such as 1e-3."""
    if text in (text_of(value), json.dumps(value)):
        return True
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and float(text) == value
    except ValueError:
        return False


def ordered(rows: Sequence[RunRow], key: str, descending: bool) -> list[RunRow]:
    """Sort the rows by one config value or result; those without it come last."""
    present = [row for row in rows if value_of(row, key) is not None]
    return [
        *sorted(present, key=lambda row: _sortable(value_of(row, key)), reverse=descending),
        *(row for row in rows if value_of(row, key) is None),
    ]


def known_keys(rows: Sequence[RunRow]) -> list[str]:
    """Return the keys for filters and order: results and config paths."""
    return list(
        dict.fromkeys([RUN, *(key for row in rows for key in row.results), *(path for row in rows for path in row.leaves)])
    )


def keys_meant(key: str, rows: Sequence[RunRow]) -> list[str]:
    """Return the results or config paths that `key` matches: exactly, by their last parts, or as a path of `--set`."""
    known = known_keys(rows)
    key = next((name for name, heading in HEADINGS.items() if heading == key), key)
    if key in known:
        return [key]
    by_end = [path for path in known if path.endswith(f".{key}")]
    in_config = any(_by_position(row, key) is not None for row in rows)
    return by_end or ([key] if in_config else [])


def value_of(row: RunRow, key: str) -> Any:
    """Return the result or config value of a key from `keys_meant`; None if the run has none."""
    if key == RUN:
        return row.name
    if key in row.results:
        return row.results[key]
    return row.leaves[key].value if key in row.leaves else _by_position(row, key)


def _by_position(row: RunRow, key: str) -> Any:
    """Return the value at a path of `--set`, such as `model.layers[1].dropout.rate`; None for a section."""
    here: Any = row.config
    for part in keys_of(key):
        if isinstance(here, dict):
            here = here.get(str(part))
        else:
            here = here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else None
    return None if isinstance(here, dict) else here


def _sortable(value: Any) -> tuple[int, Any]:
    """Return a sort key: numbers by value, then everything else by text; [mean, deviation] by the mean."""
    first = value[0] if isinstance(value, list) and value else value
    return (0, first) if isinstance(first, int | float) else (1, str(first))


def as_plain(rows: Sequence[RunRow]) -> list[Mapping[str, Any]]:
    """Convert the rows to plain data for JSON: name, results, and the config values that differ."""
    values = differing([row.leaves for row in rows])
    return [
        {RUN: row.name, **row.results, "config": {key: _for_json(values[key][index]) for key in values}}
        for index, row in enumerate(rows)
    ]


def _for_json(value: Any) -> Any:
    """Replace NaN and infinite numbers, which JSON does not have, by their text."""
    if isinstance(value, dict):
        return {key: _for_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_for_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


# Columns


@dataclass(frozen=True)
class Column:
    """One column of a table of runs.

    Attributes:
        key: the result or config path that it shows.
        heading: the shortest name that `--filter`, `--sort` and `--columns` accept.
        cells: a text per run; may have several lines.
    """

    key: str
    heading: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(len(line) for cell in (self.heading, *self.cells) for line in cell.split("\n"))


def usual_keys(rows: Sequence[RunRow]) -> list[str]:
    """Return the default columns: results, then config values that differ; the device only if it differs."""
    devices = {row.results.get("device") for row in rows}
    results = [name for name in USUAL if any(name in row.results for row in rows)]
    return [*(name for name in results if name != "device" or len(devices) > 1), *differing([row.leaves for row in rows])]


def columns(rows: Sequence[RunRow], keys: Iterable[str]) -> list[Column]:
    """Create the columns of a table of runs; the first has the path of each run."""
    known = known_keys(rows)
    shown = [Column(key, _heading(key, known), _cells(rows, key)) for key in keys if key != RUN]
    return [Column(RUN, RUN, [_path(row) for row in rows]), *shown]


def _path(row: RunRow) -> str:
    """Quote the path of a run for the shell; merged runs have a descriptive name."""
    return printable(row.name) if "seeds" in row.results else shell_word(row.name)


def _heading(key: str, known: Sequence[str]) -> str:
    """Format the heading of a column, on two lines if it is long."""
    if key in USUAL:
        return HEADINGS.get(key, key).replace("_", "\n", 1)
    name = printable(short_name(key, known))
    begin, dot, end = name.rpartition(".")
    return f"{begin}{dot}\n{end}" if dot and len(name) > LONGEST_HEADING else name


def short_names(keys: Sequence[str]) -> list[str]:
    """Shorten each path to its last parts, as few as make it unique."""
    return [short_name(key, keys) for key in keys]


def short_name(key: str, known: Sequence[str]) -> str:
    """Return the shortest end of a path that is unique among the known keys."""
    parts = key.split(".")
    ends = (".".join(parts[-count:]) for count in range(1, len(parts)))
    return next((end for end in ends if [each for each in known if each == end or each.endswith(f".{end}")] == [key]), key)


def _cells(rows: Sequence[RunRow], key: str) -> list[str]:
    values = [value_of(row, key) for row in rows]
    if key == STATE:
        return [_in_lines(_state(row), NARROW) for row in rows]
    if key in USUAL:
        return [_result_cell(key, value) for value in values]
    if all(isinstance(value, list) and key.endswith("layers") for value in values):
        return [_in_lines(text) for text in _parted(values)]
    digits = _digits(values)
    return [_in_lines(_config_cell(value, digits)) for value in values]


def _state(row: RunRow) -> str:
    reason = row.results.get(REASON, "")
    return printable(f"{row.results[STATE]}: {reason}" if row.results[STATE] == "failed" and reason else row.results[STATE])


def _parted(stacks: Sequence[Sequence[str]]) -> list[str]:
    """Format the layers of each stack, with … for the layers that all share at the start and at the end."""
    shortest = min(map(len, stacks))
    before = next((at for at in range(shortest) if len({stack[at] for stack in stacks}) > 1), shortest)
    kinds = [[_kind(name) for name in reversed(stack)] for stack in stacks]
    after = next((at for at in range(shortest - before) if len({stack[at] for stack in kinds}) > 1), shortest - before)
    return [", ".join([*["…"] * bool(before), *stack[before : len(stack) - after], *["…"] * bool(after)]) for stack in stacks]


def _kind(name: str) -> str:
    """Return the name of a layer without its number, which changes if a layer is inserted before it."""
    begin, _, number = name.rpartition("_")
    return begin if number.isdigit() else name


def _digits(values: Sequence[Any]) -> int:
    """Find the number of digits that distinguishes all numbers of a column, at least `FEWEST_DIGITS`."""
    numbers = {value for value in values if isinstance(value, float)}
    return next((count for count in range(FEWEST_DIGITS, 17) if len({f"{n:.{count}g}" for n in numbers}) == len(numbers)), 17)


def _config_cell(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else printable(text_of(value))


def _in_lines(text: str, width: int = WIDEST) -> str:
    lines = wrap(text, width, break_on_hyphens=False)
    shown = lines[:MAX_LINES]
    if len(lines) > MAX_LINES:
        shown[-1] = f"{shown[-1][: width - 1]}…"
    return "\n".join(shown)


def _result_cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        mean, *deviation = (_result_cell(name, part) for part in value)
        return f"{mean} (sd {deviation[0]})" if deviation else mean  # ± is reserved for 95 % intervals
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:.4f}" if name.endswith("loss") else f"{value:.1f}"
    return printable(str(value))


def fitting(columns: Sequence[Column], width: int, gap: int) -> tuple[list[Column], list[Column]]:
    """Split the columns into those that fit into a width, always with the first, and those left out."""
    first, *others = columns
    room, shown = width - first.width, {first.key}
    for column in sorted(others, key=_weight):
        if column.width + gap <= room:
            room -= column.width + gap
            shown.add(column.key)
    return [each for each in columns if each.key in shown], [each for each in columns if each.key not in shown]


def _weight(column: Column) -> int:
    return LEFT_OUT_FIRST.index(column.key) + 1 if column.key in LEFT_OUT_FIRST else 0
