"""`cnnctl verify`: compare three builds, two loops and the gradients of a config; explain differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from cnnctl.errors import RunError, UsageError, counted
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.rows import summarize
from cnnctl.report.tables import PAGE_WIDTH, as_json, markdown_table, text_table
from cnnctl.report.text import printable
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.listing import listings_kept
from cnnctl.spec.load import load
from cnnctl.surroundings import shell_word
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.verify.agreement import Difference
    from cnnctl.verify.gradients import GradientRow
    from cnnctl.verify.proof import Compared, Proof

Table = Callable[[Sequence[str], Sequence[Sequence[str]], int], str]
GRADIENT_COLUMNS = ("layer", "variable", "weights", "sampled", "at kinks", "gradient", "error")


@listings_kept()
def verify(
    config: Path | None,
    overrides: Sequence[str],
    steps: int,
    explain: bool,
    form: str,
    console: Console,
    verbose: bool,
    output: Path | None = None,
) -> None:
    """Compare the builds, loops and gradients of a config, and print the differences.

    Args:
        config: the YAML file; None to explain only.
        overrides: values of `--set`, such as `train.epochs=3`.
        steps: training steps of each compared training.
        explain: explain differentiation with a small worked example, after the tables.
        form: `table`, `json` or `markdown`.
        console: prints results and messages.
        verbose: show TensorFlow's log.
        output: the .svg file to draw the worked example in; None for none.

    Raises:
        ConfigError: the config is wrong.
        UsageError: there is nothing to do, options conflict, or the output exists already.
        RunError: something does not agree, or the loss is NaN or infinite.
        CnnctlError: any other failure; see `errors`.
    """
    _refuse(config, overrides, explain, form)
    if output is not None:
        if not explain:
            raise UsageError("--output draws the worked example of --explain; add --explain, or remove --output")
        refuse_output(output, "--output", ".svg")
    experiment = load(config, overrides) if config else None
    if experiment:
        refuse_few_shot(experiment, "verify", "it has only one loop; compare its shapes with Keras: cnnctl summary --check")
    if experiment and not summarize(experiment).trainable:
        raise RunError("the network has no trainable weights to verify; add a conv2d or dense layer")
    disagreements = _show(experiment, steps, explain, form, console, verbose)
    if output is not None:
        from cnnctl.verify.tape_picture import tape_picture

        write_whole(output, f"{tape_picture()}\n".encode())
        console.result(f"\n{printable(str(output))} is ready. Open it in a browser: {shell_word(output)}")
    if disagreements:
        remedy = "This is a bug in cnnctl or a package it uses, not in the config. Please report it with the config."
        raise RunError("\n".join(["not everything agrees:", *(f"  {line}" for line in disagreements), remedy]))


def _show(experiment: Experiment | None, steps: int, explain: bool, form: str, console: Console, verbose: bool) -> list[str]:
    """Print the comparison, the explanation or both; return one line per disagreement."""
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
    disagreements: list[str] = []
    if experiment:
        from cnnctl.verify.proof import prove

        proof = prove(experiment, steps, console)
        disagreements = proof.disagreements()
        console.result(as_json(as_plain(proof)) if form == "json" else shown(proof, form))
    if explain:
        from cnnctl.verify.differentiation import worked_case

        case = worked_case(summarize(experiment).trainable if experiment else None)
        console.result(f"\n{case}" if experiment else case)
    return disagreements


def _refuse(config: Path | None, overrides: Sequence[str], explain: bool, form: str) -> None:
    if config is None and not explain:
        raise UsageError("expected a config to verify, or --explain for an explanation of differentiation, or both")
    if config is None and overrides:
        raise UsageError("--set needs a config to change; add the config, or remove --set")
    if explain and form == "json":
        raise UsageError("--explain has no JSON form; use --format table or markdown")


def shown(proof: Proof, form: str) -> str:
    """Format the proof as text or Markdown tables, each with a heading sentence."""
    table = markdown_table if form == "markdown" else text_table
    parts = [
        *_builds(proof, table),
        *_trainings(proof, table),
        *_gradients(proof, table),
        *_fast_path(proof, table),
        _conclusion(proof),
    ]
    return "\n\n".join(parts)


def _builds(proof: Proof, table: Table) -> list[str]:
    first = proof.builds[0]
    columns = ["build", "shapes, parameters", *first.differences]
    layers = len(summarize(proof.experiment).rows)
    rows = [["values", f"{layers} layer{'s' if layers > 1 else ''}", *_counts(first)]]
    for compared in proof.builds:
        wrong = len(proof.misfits[compared.style])
        cells = [""] * len(first.differences) if compared is first else _cells(compared)
        rows.append([compared.name, f"{wrong} differ" if wrong else "equal", *cells])
    branches = all(each.style != "sequential" for each in proof.builds)
    left_out = " Sequential is left out: it cannot build a stack with branches." if branches else ""
    head = f"Builds: shapes and parameters compared with the arithmetic, the rest with {first.name}.{left_out}"
    return [fill(head, PAGE_WIDTH), table(columns, rows, 1)]


def _trainings(proof: Proof, table: Table) -> list[str]:
    first, train = proof.trainings[0], proof.experiment.train
    rows = [["values", *_counts(first)], *([each.name, *_cells(each)] for each in proof.trainings[1:])]
    head = (
        f"Trainings: {_steps(proof)} of {counted(train.batch_size, 'image')}, in {train.precision} on the {proof.device.kind.upper()}, "
        f"compared with {first.name}, whose loss goes from {proof.losses[0]:.4f} to {proof.losses[-1]:.4f}."
    )
    return [fill(head, PAGE_WIDTH), table(["training", *first.differences], rows, 1)]


def _steps(proof: Proof) -> str:
    return counted(proof.steps, "step")


def _gradients(proof: Proof, table: Table) -> list[str]:
    from cnnctl.verify.gradients import FLOOR, IMAGES, TOLERANCE

    head = (
        f"Gradients: the tape's compared with central differences, in float64, for {IMAGES} images, after {_steps(proof)} "
        f"of {proof.trainings[0].name}. Shown are the largest gradient and the largest relative error of the sampled weights, "
        f"|tape - difference| / max(|tape|, |difference|, {FLOOR:g}). Errors up to {TOLERANCE:.0e} count as agreement."
    )
    kinks = "Weights at kinks are left out: a kink of relu or max pooling is too near for a central difference to measure the slope."
    tail = [fill(kinks, PAGE_WIDTH)] if any(row.kinks for row in proof.gradients) else []
    return [fill(head, PAGE_WIDTH), table(GRADIENT_COLUMNS, [_gradient_cells(row) for row in proof.gradients], 2), *tail]


def _gradient_cells(row: GradientRow) -> list[str]:
    counts = [f"{row.weights:,}", str(row.sampled), str(row.kinks or "")]
    found = [f"{row.largest_gradient:.1e}", f"{row.largest_error:.1e}"] if row.sampled else ["", ""]
    return [row.layer, row.variable, *counts, *found]


def _fast_path(proof: Proof, table: Table) -> list[str]:
    from cnnctl.verify.fast_path import AS_KERAS

    found = proof.fast_path
    if found is None:
        return []
    kinks = (
        f" Of gradients up to {found.gradient_tolerance:.0e}, since rounding turns single ReLUs on or off."
        if found.gradient_tolerance > found.tolerance
        else ""
    )
    head = (
        f"Fast path: one step of a batch in {found.settings}, as the config trains here, without dropout and noise. Relative "
        f"differences from Keras in float32; up to {found.tolerance:.0e}, or {AS_KERAS:g} times those of Keras in the same "
        f"precision, count as agreement.{kinks}"
    )
    rows = [[name, *(f"{each.relative:.1e}" for each in row.values())] for name, row in found.rows.items()]
    return [fill(head, PAGE_WIDTH), table(["computed by", *next(iter(found.rows.values()))], rows, 1)]


def _conclusion(proof: Proof) -> str:
    found = [each for group in (proof.builds, proof.trainings) for row in group[1:] for each in row.differences.values()]
    if proof.disagreements():
        return "Not everything agrees."
    what = "Everything" if all(row.sampled for row in proof.gradients) else "Everything that could be compared"
    if all(each.exact for each in found):
        return f"{what} agrees, builds and trainings to the bit."
    meaning = (
        f"{what} agrees, though not all of it to the bit. Each number is the norm of the difference divided by the norm of "
        f"the reference, or for weights by the norm of their change in training. Up to {proof.tolerance:.0e} counts as agreement."
    )
    return fill(meaning, PAGE_WIDTH)


def _counts(compared: Compared) -> list[str]:
    return [f"{each.values:,}" for each in compared.differences.values()]


def _cells(compared: Compared) -> list[str]:
    return ["equal" if each.exact else f"{each.relative:.1e}" for each in compared.differences.values()]


def _plain_fast_path(proof: Proof) -> dict[str, Any] | None:
    if proof.fast_path is None:
        return None
    differences = {name: {what: each.relative for what, each in row.items()} for name, row in proof.fast_path.rows.items()}
    return {
        "settings": proof.fast_path.settings,
        "tolerance": proof.fast_path.tolerance,
        "gradient_tolerance": proof.fast_path.gradient_tolerance,
        "differences": differences,
    }


def as_plain(proof: Proof) -> dict[str, Any]:
    """Convert the proof to JSON types."""
    from cnnctl.verify.gradients import FLOOR, TOLERANCE

    return {
        "agrees": not proof.disagreements(),
        "disagreements": proof.disagreements(),
        "steps": proof.steps,
        "batch_size": proof.experiment.train.batch_size,
        "precision": proof.experiment.train.precision,
        "device": str(proof.device),
        "tolerance": proof.tolerance,
        "losses": proof.losses,
        "builds": [{**_plain(each), "misfits": proof.misfits[each.style]} for each in proof.builds],
        "trainings": [_plain(each) for each in proof.trainings],
        "gradient_tolerance": TOLERANCE,
        "gradient_floor": FLOOR,
        "fast_path": _plain_fast_path(proof),
        "gradients": [{**asdict(row), "agrees": row.agrees} for row in proof.gradients],
    }


def _plain(compared: Compared) -> dict[str, Any]:
    names = {"style": compared.style} | ({"loop": compared.loop} if compared.loop else {})
    return {**names, **{what.replace(" ", "_"): _plain_difference(each) for what, each in compared.differences.items()}}


def _plain_difference(difference: Difference) -> dict[str, Any]:
    relative = difference.relative if math.isfinite(difference.relative) else None  # JSON has no infinity
    return {**asdict(difference), "relative": relative}
