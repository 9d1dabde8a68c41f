"""`cnnctl verify`: three builds, two loops and the gradients of a config, compared; and differentiation explained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from cnnctl.errors import RunError, UsageError, counted
from cnnctl.report.console import Console
from cnnctl.report.rows import summarize
from cnnctl.report.tables import PAGE_WIDTH, as_json, markdown_table, text_table
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.verify.agreement import Difference
    from cnnctl.verify.gradients import GradientRow
    from cnnctl.verify.proof import Compared, Proof

Table = Callable[[Sequence[str], Sequence[Sequence[str]], int], str]
GRADIENT_COLUMNS = ("layer", "variable", "weights", "sampled", "at kinks", "gradient", "error")


def verify(
    config: Path | None,
    overrides: Sequence[str],
    steps: int,
    explain: bool,
    form: str,
    console: Console,
    verbose: bool,
) -> None:
    """Prints how well builds, loops and gradients of a config agree.

    Args:
        config: the YAML file; None to explain only.
        overrides: `--set` texts.
        steps: of each of the trainings that are compared.
        explain: show differentiation by a small worked case, after the tables.
        form: `table`, `json` or `markdown`.
        console: where to print.
        verbose: let TensorFlow's messages through.

    Raises:
        ConfigError: the config is wrong.
        UsageError: there is nothing to do, or options do not go together.
        RunError: something does not agree, or the loss is not finite.
        CnnctlError: whatever else went wrong; see `errors`.
    """
    _refuse(config, overrides, explain, form)
    experiment = load(config, overrides) if config else None
    if experiment:
        refuse_few_shot(experiment, "verify", "it has one loop; cnnctl summary --check compares its shapes with Keras")
    if experiment and not summarize(experiment).trainable:
        raise RunError("the network has no weights to train, so there is nothing to verify; give it a conv2d or a dense layer")
    disagreements = _show(experiment, steps, explain, form, console, verbose)
    if disagreements:
        remedy = "this is a fault of cnnctl or of its packages, not of the config; please report it with the config"
        raise RunError("\n".join(["not everything agrees:", *(f"  {line}" for line in disagreements), remedy]))


def _show(experiment: Experiment | None, steps: int, explain: bool, form: str, console: Console, verbose: bool) -> list[str]:
    """Prints what was asked for; returns a line for each disagreement."""
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
        raise UsageError("give the config to verify, or --explain for differentiation by a small worked case, or both")
    if config is None and overrides:
        raise UsageError("--set changes a config, and none is given; name it, or leave --set out")
    if explain and form == "json":
        raise UsageError("--explain is text for people; use it with --format table or markdown")


def shown(proof: Proof, form: str) -> str:
    """Returns the proof as text or Markdown tables, each below what it shows."""
    table = markdown_table if form == "markdown" else text_table
    parts = [*_builds(proof, table), *_trainings(proof, table), *_gradients(proof, table), _conclusion(proof)]
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
    left_out = " Sequential is left out: the stack branches, which a Sequential cannot." if branches else ""
    head = f"Builds: shapes and parameters against the arithmetic, the rest against {first.name}.{left_out}"
    return [fill(head, PAGE_WIDTH), table(columns, rows, 1)]


def _trainings(proof: Proof, table: Table) -> list[str]:
    first, train = proof.trainings[0], proof.experiment.train
    rows = [["values", *_counts(first)], *([each.name, *_cells(each)] for each in proof.trainings[1:])]
    head = (
        f"Trainings: {_steps(proof)} of {counted(train.batch_size, 'image')}, in {train.precision} on the {proof.device.kind.upper()}, "
        f"against {first.name}, whose loss goes from {proof.losses[0]:.4f} to {proof.losses[-1]:.4f}."
    )
    return [fill(head, PAGE_WIDTH), table(["training", *first.differences], rows, 1)]


def _steps(proof: Proof) -> str:
    return counted(proof.steps, "step")


def _gradients(proof: Proof, table: Table) -> list[str]:
    from cnnctl.verify.gradients import FLOOR, IMAGES, TOLERANCE

    head = (
        f"Gradients: the tape's against central differences, in float64, for {IMAGES} images, after {_steps(proof)} "
        f"of {proof.trainings[0].name}; of the weights sampled, the largest gradient and the largest relative error, "
        f"|tape - difference| / max(|tape|, |difference|, {FLOOR:g}). Up to {TOLERANCE:.0e} agrees."
    )
    kinks = "Weights at kinks are left out: relu or max pooling has one too near for a difference to tell the slope."
    tail = [fill(kinks, PAGE_WIDTH)] if any(row.kinks for row in proof.gradients) else []
    return [fill(head, PAGE_WIDTH), table(GRADIENT_COLUMNS, [_gradient_cells(row) for row in proof.gradients], 2), *tail]


def _gradient_cells(row: GradientRow) -> list[str]:
    counts = [f"{row.weights:,}", str(row.sampled), str(row.kinks or "")]
    found = [f"{row.largest_gradient:.1e}", f"{row.largest_error:.1e}"] if row.sampled else ["", ""]
    return [row.layer, row.variable, *counts, *found]


def _conclusion(proof: Proof) -> str:
    found = [each for group in (proof.builds, proof.trainings) for row in group[1:] for each in row.differences.values()]
    if proof.disagreements():
        return "Not everything agrees."
    what = "Everything" if all(row.sampled for row in proof.gradients) else "Everything that could be compared"
    if all(each.exact for each in found):
        return f"{what} agrees, builds and trainings to the bit."
    meaning = (
        f"{what} agrees, though not all of it to the bit. A number is the length of the difference over the length of "
        f"what it is compared with, or for weights of what training changed; up to {proof.tolerance:.0e} agrees."
    )
    return fill(meaning, PAGE_WIDTH)


def _counts(compared: Compared) -> list[str]:
    return [f"{each.values:,}" for each in compared.differences.values()]


def _cells(compared: Compared) -> list[str]:
    return ["equal" if each.exact else f"{each.relative:.1e}" for each in compared.differences.values()]


def as_plain(proof: Proof) -> dict[str, Any]:
    """Returns the proof as programs read it."""
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
        "gradients": [{**asdict(row), "agrees": row.agrees} for row in proof.gradients],
    }


def _plain(compared: Compared) -> dict[str, Any]:
    names = {"style": compared.style} | ({"loop": compared.loop} if compared.loop else {})
    return {**names, **{what.replace(" ", "_"): _plain_difference(each) for what, each in compared.differences.items()}}


def _plain_difference(difference: Difference) -> dict[str, Any]:
    relative = difference.relative if math.isfinite(difference.relative) else None  # JSON has no infinity
    return {**asdict(difference), "relative": relative}
