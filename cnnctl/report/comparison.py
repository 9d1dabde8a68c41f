"""Run folders → rows that compare them: only the config keys that differ, and what came of each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cnnctl.errors import CnnctlError, RunError
from cnnctl.reading import open_regular
from cnnctl.report.text import printable
from cnnctl.runs import RunFolder
from cnnctl.spec.document import Where, dotted, read_document

RESULTS = ("validation_accuracy", "test_accuracy", "test_loss", "epochs", "train_seconds", "device")
SEED = "seed"
HEADINGS = {"epochs": "epochs done", "train_seconds": "seconds"}
WIDEST = 30
"""Letters that a config value may take in a table."""
LONGEST_REASON = 200
"""Letters of why a folder is passed over."""


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        name: its folder, seen from where the search began.
        config: its config as plain data.
        results: numbers by the names of `RESULTS`; what a run has not reached is not there.
    """

    name: str
    config: dict[str, Any]
    results: dict[str, Any]


def read_runs(root: Path) -> tuple[list[RunRow], list[str]]:
    """Returns the runs below a folder, oldest first, and a line for each folder that is passed over."""
    folders = {file.parent for name in ("config.yaml", "environment.json") for file in root.rglob(name)}
    rows, passed_over = [], []
    for folder in sorted(folders, key=lambda folder: (folder.name, str(folder))):
        try:
            rows.append(_row(RunFolder(folder), str(folder.relative_to(root))))
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
    open_regular(run.config, run.path).close()
    config = read_document(run.config).content
    result = run.read_result()
    device = run.read_environment().get("device")
    if not isinstance(device, str):
        raise RunError(f"{run.environment} is damaged: it does not say the device")
    results: dict[str, Any] = {"device": f"{device.partition(' (')[0]:.{WIDEST}}", **_of_epochs(run, result)}
    if result is not None:
        null = [name for name in ("test_accuracy", "test_loss") if result.get(name, "") is None]
        if null == ["test_accuracy"]:
            raise RunError(f"{run.result} is damaged: it has a loss of the test and no accuracy")
        # a loss that is no number is null, and both are where the test was not read, as in the trials of a sweep
        told = [name for name in ("test_accuracy", "test_loss", "epochs", "train_seconds") if name not in null]
        results |= {key: _number(run.result, result, key) for key in told}
    return RunRow(name, config, results)


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


def differing(rows: Sequence[RunRow]) -> dict[str, list[Any]]:
    """Returns, for each config path in which the runs are not all the same, the value of each run.

    Where runs are built differently (other layers, another optimizer), the path is that of the whole
    part and not of every field in it.
    """
    return {dotted(path): values for path, values in _differing([row.config for row in rows], ())}


def _differing(values: list[Any], path: Where) -> Iterator[tuple[Where, list[Any]]]:
    first = values[0]
    if all(value == first for value in values):
        return
    if all(isinstance(value, dict) and value.keys() == first.keys() for value in values):
        for key in first:
            yield from _differing([value[key] for value in values], (*path, key))
    elif all(isinstance(value, list) and len(value) == len(first) for value in values) and _alike(values):
        for index in range(len(first)):
            yield from _differing([value[index] for value in values], (*path, index))
    else:
        yield path, values


def _alike(stacks: list[Any]) -> bool:
    """Returns whether lists hold the same layers in the same order, whatever their fields."""
    kinds = [[list(item) if isinstance(item, dict) else None for item in stack] for stack in stacks]
    return all(each == kinds[0] and None not in each for each in kinds)


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
    for name in RESULTS:
        values = [row.results[name] for row in group if name in row.results]
        if values and isinstance(values[0], int | float):
            results[name] = [mean(values), stdev(values)] if len(values) > 1 else [values[0]]
        elif values:
            results[name] = ", ".join(dict.fromkeys(values))
    name = group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more"
    return RunRow(name, {**group[0].config, SEED: None}, results)


def chosen(rows: Sequence[RunRow], wanted: Sequence[tuple[str, str]]) -> list[RunRow]:
    """Returns the rows that have each (key, text) among their config values or results."""
    return [row for row in rows if all(_text(_value(row, key)) == text for key, text in wanted)]


def ordered(rows: Sequence[RunRow], key: str, descending: bool) -> list[RunRow]:
    """Returns the rows by one config value or result; those without it come last."""
    there = [row for row in rows if _value(row, key) is not None]
    return [
        *sorted(there, key=lambda row: _sortable(_value(row, key)), reverse=descending),
        *(row for row in rows if _value(row, key) is None),
    ]


def known_keys(rows: Sequence[RunRow]) -> list[str]:
    """Returns what rows can be chosen and ordered by: results and config paths."""
    paths = (path for row in rows for path, _ in leaves(row.config, ()))
    return list(dict.fromkeys([*(key for row in rows for key in row.results), *paths]))


def leaves(content: Any, path: Where) -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, value) of everything in plain data that is no mapping and no list of mappings."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from leaves(value, (*path, key))
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        for index, item in enumerate(content):
            yield from leaves(item, (*path, index))
    else:
        yield dotted(path), content


def full_key(key: str, rows: Sequence[RunRow]) -> str | None:
    """Returns the result or config path that `key` names, whole or by its last part as tables show it; None for neither."""
    known = known_keys(rows)
    by_end = [path for path in known if path.rpartition(".")[2] == key]
    return key if key in known else by_end[0] if len(by_end) == 1 else None


def _value(row: RunRow, key: str) -> Any:
    return row.results[key] if key in row.results else dict(leaves(row.config, ())).get(key)


def _sortable(value: Any) -> tuple[int, Any]:
    """Returns numbers by size before all else by its text; of [mean, deviation] the mean."""
    first = value[0] if isinstance(value, list) and value else value
    return (0, first) if isinstance(first, int | float) else (1, str(first))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def as_plain(rows: Sequence[RunRow]) -> list[Mapping[str, Any]]:
    """Returns the rows as programs read them: name, the config values that differ, results."""
    values = differing(rows)
    return [
        {"run": row.name, "config": {key: _for_json(values[key][index]) for key in values}, **row.results}
        for index, row in enumerate(rows)
    ]


def _for_json(value: Any) -> Any:
    """Returns a config value with the text of each number that JSON does not have, such as an infinite one."""
    if isinstance(value, dict):
        return {key: _for_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_for_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def columns_and_cells(rows: Sequence[RunRow]) -> tuple[list[str], list[list[str]]]:
    """Returns the columns of a table of runs and a row of texts for each run."""
    values = differing(rows)
    results = [name for name in ("seeds", *RESULTS) if any(name in row.results for row in rows)]
    cells = [
        [
            printable(row.name),
            *(printable(_brief(values[key][index])) for key in values),
            *(_cell(name, row.results.get(name)) for name in results),
        ]
        for index, row in enumerate(rows)
    ]
    return [
        "run",
        *map(printable, short_names(list(values))),
        *(HEADINGS.get(name, name.replace("_", " ")) for name in results),
    ], cells


def _brief(value: Any) -> str:
    """Returns a config value in a few letters: of a stack how many layers it has, of a named section its name."""
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value)))
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return f"{len(value)} layers"
    if isinstance(value, dict):
        return f"{', '.join(f'{key} {_brief(each)}' for key, each in value.items() if each):.{WIDEST}}"
    return "-" if value is None else f"{_text(value):.{WIDEST}}"


def short_names(keys: Sequence[str]) -> list[str]:
    """Returns the last part of each path where that tells it apart, else the whole path."""
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        mean, *deviation = (_cell(name, part) for part in value)
        return f"{mean} (sd {deviation[0]})" if deviation else mean  # ± is the 95 % interval everywhere
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:.4f}" if name.endswith("loss") else f"{value:.1f}"
    return str(value)
