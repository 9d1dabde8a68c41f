"""`cnnctl summary`: print the shape and cost of every layer. Only `--check` starts TensorFlow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cnnctl.commands.custom_layers import check_calls
from cnnctl.errors import RunError, UsageError
from cnnctl.report import rows, tables
from cnnctl.report.console import Console
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load


def summary(
    config: Path,
    overrides: Sequence[str],
    form: str,
    batch_size: int,
    depth: int | None,
    explain: bool,
    check: bool,
    console: Console,
    verbose: bool,
) -> None:
    """Print the summary of a config.

    Args:
        config: the YAML file.
        overrides: values of `--set`, such as `train.epochs=3`.
        form: `table`, `json` or `markdown`.
        batch_size: batch size for the memory estimate.
        depth: how many levels of blocks are shown; at the last level a block is one row. None for 1.
        explain: print the arithmetic of every layer after the table.
        check: compare with the built Keras model.
        console: prints results and messages.
        verbose: show TensorFlow's log.

    Raises:
        ConfigError: the config is wrong.
        UsageError: `explain` or `depth` with json.
        RunError: `check` finds a difference.
    """
    if explain and form == "json":
        raise UsageError("--explain has no JSON form; use --format table or markdown")
    if depth is not None and form == "json":
        raise UsageError("--depth is for the table; the JSON form lists every layer, with the block it is in")
    notes: list[str] = []
    experiment = load(config, overrides, notes=notes)
    for note in notes:
        console.say(note if note.startswith("warning") else f"note: {note}")
    check_calls(experiment)
    numbers = rows.summarize(experiment, batch_size)
    shown = rows.folded(numbers, experiment.network.nodes, depth or 1)
    if form == "json":
        console.result(tables.summary_json(numbers))
    elif form == "markdown":
        console.result(tables.summary_markdown(shown))
    else:
        console.result(tables.summary_table(shown, _width()))
        console.result("\n" + "\n".join(tables.totals(shown)))
    if explain:
        from cnnctl.report.explain import explanation

        console.result("\n" + explanation(experiment))
    if check:
        _check(experiment, console, verbose)


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _check(experiment: Experiment, console: Console, verbose: bool) -> None:
    from cnnctl.train.quiet import import_tensorflow

    with console.working("building the Keras model"):
        import_tensorflow(verbose)
        from cnnctl.model.shape_check import differences

        found = differences(experiment)
    if found:
        raise RunError("\n".join(["the built Keras model differs:", *found]))
    console.say(f"The built Keras model ({experiment.model.style}) has the same shapes and parameters in every layer.")
