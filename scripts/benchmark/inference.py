"""How fast trained networks evaluate and predict: whole processes, and the images/s between a small split and a large one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import fill

from cnnctl.report.tables import PAGE_WIDTH, markdown_table, text_table

from .contenders import FAST, FLOAT32, Contender, Reported, changes
from .machine import versions_in
from .measure import Measured, measure, variables_for
from .rounds import Figures, Say, compete
from .settings import PROCESSES, NotPrepared, Setting, Settings, Size

TASKS = ("evaluate", "predict")
FEW, MANY = "test", "train"
"""Splits."""
LARGER = 2
"""How many times the images of FEW are at least in MANY. With fewer, noise hides what the further images take."""
RUNS = {"cnnctl": FAST, "cnnctl-float32": FLOAT32}
SOURCE = "cnnctl-float32"
"""The run whose weights the Keras scripts have too."""
KERAS = {"keras": "float32", "keras-bfloat16": "mixed_bfloat16"}
TORCH = {"torch": "float32", "torch-bfloat16": "bfloat16"}
"""Precisions."""
CONTENDERS = (*RUNS, *KERAS, *TORCH)
Command = Callable[[str, str], list[str]]
"""Task and split → command."""


@dataclass(frozen=True)
class Row:
    """One contender at one task.

    Attributes:
        network, task, contender: their names.
        few, many: images in the two splits.
        few_seconds, many_seconds: of whole processes, per round.
        speeds: images/s per round: the further images of the large split over the further seconds. None where noise hides them.
        accuracy: on the small split; None for predictions, and for PyTorch, whose weights are random.
    """

    network: str
    task: str
    contender: str
    few: int
    many: int
    few_seconds: tuple[float, ...]
    many_seconds: tuple[float, ...]
    speeds: tuple[float | None, ...]
    accuracy: float | None


def inference_rows(
    networks: Sequence[str],
    settings: Settings,
    images: int | None,
    rounds: int,
    only: Sequence[str],
    torch_python: str,
    say: Say,
) -> list[Row]:
    """Measure a row per network, task and contender.

    Raises:
        OSError: a process failed.
        NotPrepared: the images cannot be read, or the two splits have about as many.
    """
    with_torch = versions_in(torch_python)["torch"] is not None
    names = [name for name in only if with_torch or name not in TORCH]
    if len(names) < len(only):
        say("PyTorch left out: not installed")
    if not names:
        raise OSError("no contender is left")
    rows = []
    for network in networks:
        setting = settings.make(network, Size(images))
        _refuse_similar_splits(_counts(setting))
        say(f"training the network of configs/{network}.yaml, one epoch per precision")
        _prepare(setting, names, settings.folder)
        commands = {name: _command(name, setting, settings.folder, torch_python) for name in names}
        rows += _rows(setting, commands, rounds, settings.folder, say)
    return rows


def _counts(setting: Setting) -> dict[str, int]:
    """Read the number of images per split."""
    counts: dict[str, int] = json.loads(setting.data.with_suffix(".json").read_text())
    return counts


def _refuse_similar_splits(counts: Mapping[str, int]) -> None:
    few, many = counts[FEW], counts[MANY]
    if many < LARGER * few:
        raise NotPrepared(
            f"--inference needs {LARGER} times as many images in {MANY} as in {FEW}, received {many:,} and {few:,}; "
            "increase --images, or remove it"
        )


def _prepare(setting: Setting, names: Sequence[str], folder: Path) -> None:
    """Train the runs that the contenders need, and write the files of the plain scripts."""
    for name, settings in RUNS.items():
        if name in names or name == SOURCE:
            train = ["train", str(setting.config), "--run-dir", str(_run(setting, name, folder)), "--quiet"]
            _succeed([sys.executable, "-m", "cnnctl", *train, *changes(settings)], folder)
    files = [str(_run(setting, SOURCE, folder) / "model.keras"), str(folder), str(setting.data), *setting.network_arguments()]
    _succeed([sys.executable, str(PROCESSES / "inference_files.py"), *files], folder)


def _run(setting: Setting, name: str, folder: Path) -> Path:
    return folder / f"{setting.network}-{name}"


def _command(name: str, setting: Setting, folder: Path, torch_python: str) -> Command:
    if name in RUNS:
        return _cnnctl(_run(setting, name, folder), folder)
    if name in KERAS:
        return _keras(folder / f"{KERAS[name]}.keras", setting, folder)
    return _torch(torch_python, TORCH[name], setting, folder)


def _succeed(command: Sequence[str], folder: Path) -> None:
    done = measure(command, folder, variables_for(sys.executable, folder / "cache"))
    if done.exit_code:
        raise OSError("\n".join(["the networks cannot be prepared:", *done.last_lines()]))


def _cnnctl(run: Path, folder: Path) -> Command:
    def command(task: str, part: str) -> list[str]:
        where = ["--split", part] if task == "evaluate" else [str(folder / f"{part}-images.npz")]
        return [sys.executable, "-m", "cnnctl", task, str(run), *where, "--format", "json"]

    return command


def _keras(model: Path, setting: Setting, folder: Path) -> Command:
    def command(task: str, part: str) -> list[str]:
        script = [sys.executable, str(PROCESSES / "plain_keras_inference.py")]
        return [*script, task, str(model), _images(task, part, setting, folder), part, str(setting.size.batch_size)]

    return command


def _torch(python: str, precision: str, setting: Setting, folder: Path) -> Command:
    def command(task: str, part: str) -> list[str]:
        script = [python, str(PROCESSES / "plain_torch_inference.py")]
        network = [*setting.network_arguments(), "--precision", precision]
        return [*script, task, _images(task, part, setting, folder), part, *network]

    return command


def _images(task: str, part: str, setting: Setting, folder: Path) -> str:
    return str(setting.data if task == "evaluate" else folder / f"{part}-images.npz")


def _rows(setting: Setting, commands: Mapping[str, Command], rounds: int, folder: Path, say: Say) -> list[Row]:
    contenders = {
        (task, name, part): _contender(f"{name} {task} {part}", task, part, command)
        for task in TASKS
        for name, command in commands.items()
        for part in (FEW, MANY)
    }
    outcome = compete(list(contenders.values()), setting, rounds, folder, say)
    if outcome.failures:
        first = outcome.failures[0]
        raise OSError("\n".join([f"{first.contender} failed:", *first.lines]))
    done = {key: [figures for figures in outcome.rounds[each.name] if figures] for key, each in contenders.items()}
    return [_row(setting, task, name, done[task, name, FEW], done[task, name, MANY]) for task in TASKS for name in commands]


def _contender(name: str, task: str, part: str, command: Command) -> Contender:
    def reported(done: Measured, folder: Path) -> Reported:
        found = json.loads(done.stdout if "cnnctl" in name else done.stdout.splitlines()[-1])
        return {"accuracy": found["accuracy"]} if task == "evaluate" else {"predictions": len(found)}

    built = command(task, part)
    return Contender(name, built[0], None, lambda setting, folder: built, reported)


def _row(setting: Setting, task: str, name: str, few: Sequence[Figures], many: Sequence[Figures]) -> Row:
    counts = _counts(setting)
    first, second = (tuple(figures["wall_seconds"] for figures in those) for those in (few, many))
    speeds = further_speeds(counts[FEW], counts[MANY], first, second)
    accuracy = few[0].get("accuracy") if name not in TORCH else None
    return Row(setting.network, task, name, counts[FEW], counts[MANY], first, second, speeds, accuracy)


def further_speeds(few: int, many: int, first: Sequence[float], second: Sequence[float]) -> tuple[float | None, ...]:
    """Compute images/s from the seconds of two processes per round, which differ in the number of images alone."""
    pairs = zip(first, second, strict=True)
    return tuple((many - few) / (long - short) if long > short else None for short, long in pairs)


def inference_table(rows: Sequence[Row], form: str) -> str:
    """Draw the rows as text or Markdown: medians, and medians of the ratios within a round; above 1, cnnctl is faster."""
    own = {(row.network, row.task): row for row in rows if row.contender == "cnnctl"}
    columns = ["network", "task", "contender", "whole", "ratio", "images/s", "ratio", "accuracy"]
    cells = [
        [
            row.network,
            row.task,
            row.contender,
            f"{median(row.few_seconds):.2f} s",
            _ratio(row.few_seconds, _own(own, row, "few_seconds")),
            _shown([speed for speed in row.speeds if speed], "{:,.0f}"),
            _ratio(_own(own, row, "speeds"), row.speeds),
            "-" if row.accuracy is None else f"{row.accuracy:.2%}",
        ]
        for row in rows
    ]
    table = (markdown_table if form == "markdown" else text_table)(columns, cells, 3)
    return f"{table}\n\n{fill(_legend(rows), PAGE_WIDTH)}" if form == "table" else f"{table}\n\n{_legend(rows)}"


def _own(own: Mapping[tuple[str, str], Row], row: Row, figure: str) -> Sequence[float | None]:
    """Return the figures of cnnctl at the same task; empty if it did not take part."""
    found = own.get((row.network, row.task))
    return getattr(found, figure) if found else ()


def _ratio(over: Sequence[float | None], under: Sequence[float | None]) -> str:
    return _shown([one / other for one, other in zip(over, under, strict=False) if one and other], "{:.2f}")


def _shown(values: Sequence[float], form: str) -> str:
    return form.format(median(values)) if values else "-"


def _legend(rows: Sequence[Row]) -> str:
    row = rows[0]
    return (
        f"whole: a process with the {row.few:,} images of the split {FEW}; images/s: what the {row.many - row.few:,} further "
        f"images of the split {MANY} take, without the start; ratios to cnnctl in the same round: above 1, cnnctl is faster"
    )
