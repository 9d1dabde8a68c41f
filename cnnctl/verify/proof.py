"""Three builds, two loops and the gradients of one config, compared; imported after TensorFlow is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnnctl.data.pipeline import as_read_error, first_of
from cnnctl.data.splits import read_splits
from cnnctl.report.console import Console
from cnnctl.spec.auto import on_any_machine, with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.train.device import Device, choose_device
from cnnctl.train.memory_check import as_memory_error, smaller_training
from cnnctl.verify.agreement import (
    Build,
    Difference,
    Training,
    build,
    difference,
    first_batches,
    in_style,
    possible_styles,
    possible_trainings,
    tolerance,
    train,
)
from cnnctl.verify.gradients import TOLERANCE, GradientRow, compare_gradients

TO_THE_BIT = ("initial weights", "batches")
"""What follows from the seed alone and so is equal on every device."""


@dataclass(frozen=True)
class Compared:
    """One build or training beside the one that all are compared with.

    Attributes:
        style: its own.
        loop: its own; empty for a build.
        differences: by what is compared.
    """

    style: str
    loop: str
    differences: dict[str, Difference]

    @property
    def name(self) -> str:
        """Such as `functional` or `functional by fit`."""
        return f"{self.style} by {self.loop}" if self.loop else self.style


@dataclass(frozen=True)
class Proof:
    """Everything that was compared.

    Attributes:
        experiment: the config.
        steps: of each training.
        device: where all but the gradients was computed.
        tolerance: the largest relative difference that agrees; see `agreement.tolerance`.
        misfits: by style, lines on layers whose shape or parameters are not those of the arithmetic.
        builds: each against the first.
        trainings: each against the first.
        losses: of the first training, a number a step.
        gradients: a row a trained variable.
    """

    experiment: Experiment
    steps: int
    device: Device
    tolerance: float
    misfits: dict[str, list[str]]
    builds: list[Compared]
    trainings: list[Compared]
    losses: list[float]
    gradients: list[GradientRow]

    def disagreements(self) -> list[str]:
        """Returns a line for each comparison that failed; none where all agree."""
        return [*self._misfit_lines(), *self._difference_lines(), *self._gradient_lines()]

    def _misfit_lines(self) -> Iterator[str]:
        for style, lines in self.misfits.items():
            yield from (f"{style}: {line}" for line in lines)

    def _difference_lines(self) -> Iterator[str]:
        for group in (self.builds, self.trainings):
            for compared in group:
                for what, found in compared.differences.items():
                    if not found.exact and (what in TO_THE_BIT or found.relative > self.tolerance):
                        wanted = "equal bits are" if what in TO_THE_BIT else f"up to {self.tolerance:.0e} is"
                        yield f"{what} of {compared.name}: {found.relative:.1e} from {group[0].name}, where {wanted} expected"

    def _gradient_lines(self) -> Iterator[str]:
        for row in self.gradients:
            if not row.agrees:
                wanted = f"where up to {TOLERANCE:.0e} is expected"
                yield f"gradients of {row.layer}/{row.variable}: {row.largest_error:.1e} from numerical ones, {wanted}"


LEFT_OUT = (
    "compared are whole batches on one device, in float32 for precision: auto; what batch_parts and strategy change in training "
    "is rounding and dropout"
)


def prove(experiment: Experiment, steps: int, console: Console) -> Proof:
    """Returns what was found; nothing is written.

    Args:
        experiment: checked; its own style and loop are what the others are compared with.
        steps: how many each training has.
        console: shows what is going on.

    Raises:
        DataError: the data is missing or broken.
        RunError: the loss is not finite, or memory is too small.
    """
    with as_memory_error(smaller_training(experiment)), as_read_error():
        return _prove(experiment, steps, console)


def _prove(experiment: Experiment, steps: int, console: Console) -> Proof:
    device = choose_device("auto")
    console.say(f"on {device}")
    asked, experiment = experiment, on_any_machine(experiment)
    if asked != experiment and asked != with_settings(experiment, strategy="auto"):
        console.say(LEFT_OUT)
    with console.working("reading the data"):
        splits = read_splits(experiment.data)
    for note in splits.notes:
        console.say(note)
    images, labels = first_of(first_batches(experiment, splits.train, 1))
    builds, trainings = [], []
    for style in possible_styles(experiment):
        with console.working(f"building {style}"):
            builds.append(build(in_style(experiment, style), images))
    for style, loop in possible_trainings(experiment):
        with console.working(f"training {style} by {loop}"):
            trainings.append(train(in_style(experiment, style), loop, splits.train, steps))
    with console.working("differentiating numerically"):
        gradients = compare_gradients(experiment, trainings[0].weights, images, labels)
    return Proof(
        experiment=experiment,
        steps=steps,
        device=device,
        tolerance=tolerance(device.kind, experiment.train.precision),
        misfits={each.style: each.misfits for each in builds},
        builds=[compared_build(each, builds[0]) for each in builds],
        trainings=[compared_training(each, trainings[0], builds[0]) for each in trainings],
        losses=[float(loss) for loss in trainings[0].losses["losses"]],
        gradients=gradients,
    )


def compared_build(mine: Build, reference: Build) -> Compared:
    """Returns a build beside another."""
    differences = {
        "initial weights": difference(mine.weights, reference.weights),
        "outputs": difference(mine.outputs, reference.outputs),
    }
    return Compared(mine.style, "", differences)


def compared_training(mine: Training, reference: Training, start: Build) -> Compared:
    """Returns a training beside another, their weights by how far they moved from `start`."""
    differences = {
        "batches": difference(mine.batches, reference.batches),
        "losses": difference(mine.losses, reference.losses),
        "accuracies": difference(mine.accuracies, reference.accuracies),
        "weights": difference(mine.weights, reference.weights, start.weights),
        "optimizer": difference(mine.optimizer, reference.optimizer),
    }
    return Compared(mine.style, mine.loop, differences)
