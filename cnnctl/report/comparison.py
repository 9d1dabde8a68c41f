"""Run folders → rows that compare them: what became of each, and only the config values that differ."""

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
"""In the order of the columns."""
USUAL = ("seeds", "tested_seeds", STATE, *RESULTS)
SEED = "seed"
HEADINGS = {"train_seconds": "seconds"}
"""Results that tables call by another name, which `--filter` and its like know too."""
LEFT_OUT_FIRST = ("epochs", "train_seconds", "test_loss", "device")
"""Columns that make room for what differs, the last one first."""
LONGEST_HEADING = 14
"""Letters of a heading of one line, where it has a dot to be parted at."""
WIDEST = 30
"""Letters of a line in a cell."""
NARROW = 20
"""Letters of a line of the state, which is seldom long."""
EPOCHS = "train.epochs"
MAY_CHANGE = (EPOCHS, "train.strategy", *(f"data.{field}" for field in ("path", "data_dir", "labels_file", "memory")))
"""What a run may be given anew while it is resumed: the config.yaml says it, and an older checkpoint does not yet."""
MAX_LINES = 4
"""Lines of a cell; the whole text is in the JSON."""
LONGEST_REASON = 400
"""Letters of why a folder is passed over."""
FEWEST_DIGITS = 4
"""Digits of a number in a column, where they tell its values apart."""


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        name: the path of its folder, as the next command takes it.
        config: the config it was trained with, as plain data.
        results: what came of it: its state, numbers by the names of `RESULTS`; what a run has not reached is not there.
        leaves: the config, value by value.
        edited: whether its config.yaml is another one by now.
    """

    name: str
    config: dict[str, Any]
    results: dict[str, Any]
    leaves: Mapping[str, Leaf]
    edited: bool = False


def read_runs(root: Path) -> tuple[list[RunRow], list[str]]:
    """Returns the runs below a folder, oldest first, and a line for each folder that is passed over."""
    folders = {file.parent for name in ("config.yaml", "environment.json") for file in root.rglob(name)}
    rows, passed_over = [], []
    for folder in sorted(folders, key=lambda folder: (folder.name, str(folder))):
        try:
            rows.append(_row(RunFolder(folder), str(folder)))
        except (CnnctlError, OSError, RecursionError) as error:
            passed_over.append(f"{folder} is passed over: {_reason(error)}")
    return rows, passed_over


def _reason(error: Exception) -> str:
    told = (
        f"{error.filename} cannot be read: {error.strerror}"
        if isinstance(error, OSError)
        else str(error) or "nested too deeply"
    )
    first = told.partition("\n")[0]
    return first if len(first) <= LONGEST_REASON else f"{first[: LONGEST_REASON - 1]}…"


def _row(run: RunFolder, name: str) -> RunRow:
    """Returns what a run folder says of itself.

    Raises:
        CnnctlError: it is damaged.
        OSError: the config cannot be read, is no regular file, or is a link that leads out of the folder.
    """
    result = run.read_result()
    config, edited = _trained_with(run, finished=result is not None)
    state, reason = run.state()
    results: dict[str, Any] = {STATE: state, **({REASON: reason} if reason else {})}
    results |= {"device": _device(run), **_of_epochs(run, result)}
    if result is not None:
        null = [name for name in ("test_accuracy", "test_loss") if result.get(name, "") is None]
        if null == ["test_accuracy"]:
            raise RunError(f"{run.result} is damaged: it has a loss of the test and no accuracy")
        # a loss that is no number is null, and both are where the test was not read, as in the trials of a sweep
        told = [name for name in ("test_accuracy", "test_loss", "epochs", "train_seconds") if name not in null]
        results |= {key: _number(run.result, result, key) for key in told}
    return RunRow(name, config, results, leaves(config), edited)


def _trained_with(run: RunFolder, finished: bool) -> tuple[dict[str, Any], bool]:
    """Return the config that a run was trained with, and whether its config.yaml is another one.

    The checkpoint says it, since results beside an edited config would be those of another network.

    Raises:
        CnnctlError: config.yaml cannot be understood, and there is no checkpoint.
        OSError: it cannot be read.
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
        raise RunError(f"{run.environment} is damaged: it does not say the device")
    return f"{device.partition(' (')[0]:.{WIDEST}}"


def _of_epochs(run: RunFolder, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns what metrics.csv says: validation of the weights that the run left, or of its last epoch as long as it goes on."""
    epochs = run.read_epochs()
    if not epochs:
        return {}
    seconds = [_number(run.metrics, row, "seconds") for row in epochs]
    found: dict[str, Any] = {"epochs": len(epochs), "train_seconds": round(sum(seconds), 3)}
    kept = result["weights_epoch"] if result and "weights_epoch" in result else len(epochs)
    row = next((each for each in epochs if each.get("epoch") == str(kept)), epochs[-1])
    if row.get("validation_accuracy"):
        found["validation_accuracy"] = _number(run.metrics, row, "validation_accuracy")
    return found


def _number(file: Path, row: Mapping[str, Any], key: str) -> float:
    """Returns the number that a row of a file has under a key; what is no finite one, a run never writes.

    Raises:
        RunError: it is something else.
    """
    value = row.get(key)
    try:
        number = value if isinstance(value, int) and not isinstance(value, bool) else float(str(value))
        if math.isfinite(number):  # also whether an integer is too large to be shown
            return number
    except (ValueError, OverflowError):
        pass
    raise RunError(f"{file} is damaged: {key} is {printable(str(value)):.60}, expected a number")


# What differs


def by_seed(rows: Sequence[RunRow]) -> list[RunRow]:
    """Returns a row for all runs that differ in the seed alone; numbers become [mean, standard deviation].

    The deviation is that of a sample (n - 1); of one run it is absent.
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


# What runs are chosen and ordered by


def chosen(rows: Sequence[RunRow], wanted: Sequence[tuple[str, str]]) -> list[RunRow]:
    """Returns the rows that have each (key, text) among their config values or results."""
    return [row for row in rows if all(_is(value_of(row, key), text) for key, text in wanted)]


def _is(value: Any, text: str) -> bool:
    """Return whether a text means a value: as a config or the JSON would have it; numbers in any form, such as 1e-3."""
    if text in (text_of(value), json.dumps(value)):
        return True
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and float(text) == value
    except ValueError:
        return False


def ordered(rows: Sequence[RunRow], key: str, descending: bool) -> list[RunRow]:
    """Returns the rows by one config value or result; those without it come last."""
    there = [row for row in rows if value_of(row, key) is not None]
    return [
        *sorted(there, key=lambda row: _sortable(value_of(row, key)), reverse=descending),
        *(row for row in rows if value_of(row, key) is None),
    ]


def known_keys(rows: Sequence[RunRow]) -> list[str]:
    """Returns what rows can be chosen and ordered by: results and config paths."""
    return list(
        dict.fromkeys([RUN, *(key for row in rows for key in row.results), *(path for row in rows for path in row.leaves)])
    )


def keys_meant(key: str, rows: Sequence[RunRow]) -> list[str]:
    """Return the results or config paths that `key` may mean: whole, by its last parts, or a path as `--set` has it."""
    known = known_keys(rows)
    key = next((name for name, heading in HEADINGS.items() if heading == key), key)
    if key in known:
        return [key]
    by_end = [path for path in known if path.endswith(f".{key}")]
    in_config = any(_by_position(row, key) is not None for row in rows)
    return by_end or ([key] if in_config else [])


def value_of(row: RunRow, key: str) -> Any:
    """Return the result, or the value of the config, that a key of `keys_meant` names; None where the run has none."""
    if key == RUN:
        return row.name
    if key in row.results:
        return row.results[key]
    return row.leaves[key].value if key in row.leaves else _by_position(row, key)


def _by_position(row: RunRow, key: str) -> Any:
    """Return what stands at a path as `--set` has it, such as `model.layers[1].dropout.rate`, where that is one value."""
    here: Any = row.config
    for part in keys_of(key):
        if isinstance(here, dict):
            here = here.get(str(part))
        else:
            here = here[part] if isinstance(here, list) and isinstance(part, int) and part < len(here) else None
    return None if isinstance(here, dict) else here


def _sortable(value: Any) -> tuple[int, Any]:
    """Returns numbers by size before all else by its text; of [mean, deviation] the mean."""
    first = value[0] if isinstance(value, list) and value else value
    return (0, first) if isinstance(first, int | float) else (1, str(first))


def as_plain(rows: Sequence[RunRow]) -> list[Mapping[str, Any]]:
    """Returns the rows as programs read them: name, the config values that differ, results."""
    values = differing([row.leaves for row in rows])
    return [
        {RUN: row.name, **row.results, "config": {key: _for_json(values[key][index]) for key in values}}
        for index, row in enumerate(rows)
    ]


def _for_json(value: Any) -> Any:
    """Returns a config value with the text of each number that JSON does not have, such as an infinite one."""
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
        heading: the shortest name by which `--filter`, `--sort` and `--columns` know it.
        cells: a text a run; may have several lines.
    """

    key: str
    heading: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        """Letters of its longest line."""
        return max(len(line) for cell in (self.heading, *self.cells) for line in cell.split("\n"))


def usual_keys(rows: Sequence[RunRow]) -> list[str]:
    """Return what a table shows: results first, then what differs; the device only where it does."""
    devices = {row.results.get("device") for row in rows}
    results = [name for name in USUAL if any(name in row.results for row in rows)]
    return [*(name for name in results if name != "device" or len(devices) > 1), *differing([row.leaves for row in rows])]


def columns(rows: Sequence[RunRow], keys: Iterable[str]) -> list[Column]:
    """Return the columns of a table of runs; the path of each run comes first."""
    known = known_keys(rows)
    shown = [Column(key, _heading(key, known), _cells(rows, key)) for key in keys if key != RUN]
    return [Column(RUN, RUN, [_path(row) for row in rows]), *shown]


def _path(row: RunRow) -> str:
    """Return the path of a run as a shell takes it; several runs that are one row have a name for people."""
    return printable(row.name) if "seeds" in row.results else shell_word(row.name)


def _heading(key: str, known: Sequence[str]) -> str:
    """Return a name over a column, in two lines where it is long."""
    if key in USUAL:
        return HEADINGS.get(key, key).replace("_", "\n", 1)
    name = printable(short_name(key, known))
    begin, dot, end = name.rpartition(".")
    return f"{begin}{dot}\n{end}" if dot and len(name) > LONGEST_HEADING else name


def short_names(keys: Sequence[str]) -> list[str]:
    """Return the last part of each path where that tells it apart, else more of it."""
    return [short_name(key, keys) for key in keys]


def short_name(key: str, known: Sequence[str]) -> str:
    """Return the shortest end of a path that no other known key has."""
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
    """Return the layers of each stack without those that all have at the beginning and at the end: … stands for these."""
    shortest = min(map(len, stacks))
    before = next((at for at in range(shortest) if len({stack[at] for stack in stacks}) > 1), shortest)
    kinds = [[_kind(name) for name in reversed(stack)] for stack in stacks]
    after = next((at for at in range(shortest - before) if len({stack[at] for stack in kinds}) > 1), shortest - before)
    return [", ".join([*["…"] * bool(before), *stack[before : len(stack) - after], *["…"] * bool(after)]) for stack in stacks]


def _kind(name: str) -> str:
    """Return the name of a layer without its number: what comes after a layer that is put in between is numbered on."""
    begin, _, number = name.rpartition("_")
    return begin if number.isdigit() else name


def _digits(values: Sequence[Any]) -> int:
    """Return how many digits tell the numbers of a column apart, at least `FEWEST_DIGITS`."""
    numbers = {value for value in values if isinstance(value, float)}
    return next((count for count in range(FEWEST_DIGITS, 17) if len({f"{n:.{count}g}" for n in numbers}) == len(numbers)), 17)


def _config_cell(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else printable(text_of(value))


def _in_lines(text: str, width: int = WIDEST) -> str:
    lines = wrap(text, width, break_on_hyphens=False)
    kept = lines[:MAX_LINES]
    if len(lines) > MAX_LINES:
        kept[-1] = f"{kept[-1][: width - 1]}…"
    return "\n".join(kept)


def _result_cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        mean, *deviation = (_result_cell(name, part) for part in value)
        return f"{mean} (sd {deviation[0]})" if deviation else mean  # ± is the 95 % interval everywhere
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:.4f}" if name.endswith("loss") else f"{value:.1f}"
    return printable(str(value))


def fitting(columns: Sequence[Column], width: int, gap: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that a line of a width has room for, in their order, and those left out; the first is always there."""
    first, *others = columns
    room, kept = width - first.width, {first.key}
    for column in sorted(others, key=_weight):
        if column.width + gap <= room:
            room -= column.width + gap
            kept.add(column.key)
    return [each for each in columns if each.key in kept], [each for each in columns if each.key not in kept]


def _weight(column: Column) -> int:
    return LEFT_OUT_FIRST.index(column.key) + 1 if column.key in LEFT_OUT_FIRST else 0
