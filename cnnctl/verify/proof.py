"""Compare the builds, the loops and the gradients of one config. Imported after TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cnnctl.data.image_set import ImageSet
from cnnctl.data.moments import moments_of
from cnnctl.data.pipeline import as_read_error
from cnnctl.data.splits import read_splits
from cnnctl.model.adapted import Moments
from cnnctl.report.console import Console
from cnnctl.session.trial_steps import known_speeds
from cnnctl.spec.auto import on_any_machine, with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.train.device import Device, choose_device
from cnnctl.train.memory_check import as_memory_error, smaller_training
from cnnctl.train.settings import resolve_auto
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
from cnnctl.verify.fast_path import FastPath, compare_fast_path
from cnnctl.verify.gradients import TOLERANCE, GradientRow, compare_gradients

TO_THE_BIT = ("initial weights", "batches")
"""Values that depend on the seed alone, so they are equal on every device."""


@dataclass(frozen=True)
class Compared:
    """A build or training, compared with the reference.

    Attributes:
        style: its style.
        loop: its loop; empty for a build.
        differences: by name of the compared values.
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
    """The result of all comparisons.

    Attributes:
        experiment: the config.
        steps: of each training.
        device: on which everything but the gradients was computed.
        tolerance: largest relative difference that agrees; see `agreement.tolerance`.
        misfits: by style, lines about layers whose Keras shape or parameters differ from the arithmetic.
        builds: each compared with the first.
        trainings: each compared with the first.
        losses: of the first training, one per step.
        gradients: a row per trained variable.
        fast_path: how the training of the config itself computes; None where that is as Keras does.
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
    fast_path: FastPath | None = None

    def disagreements(self) -> list[str]:
        """Describe each comparison that failed, in a line; empty where all agree."""
        fast_path = self.fast_path.disagreements() if self.fast_path else []
        return [*self._misfit_lines(), *self._difference_lines(), *self._gradient_lines(), *fast_path]

    def _misfit_lines(self) -> Iterator[str]:
        for style, lines in self.misfits.items():
            yield from (f"{style}: {line}" for line in lines)

    def _difference_lines(self) -> Iterator[str]:
        for group in (self.builds, self.trainings):
            for compared in group:
                for what, found in compared.differences.items():
                    if not found.exact and (what in TO_THE_BIT or not found.relative <= self.tolerance):
                        expected = "equal bits" if what in TO_THE_BIT else f"at most {self.tolerance:.0e}"
                        yield f"{what} of {compared.name}: differ from {group[0].name} by {found.relative:.1e}, expected {expected}"

    def _gradient_lines(self) -> Iterator[str]:
        for row in self.gradients:
            if not row.agrees:
                name, error = f"{row.layer}/{row.variable}", f"{row.largest_error:.1e}"
                yield f"gradients of {name}: differ from numerical ones by {error}, expected at most {TOLERANCE:.0e}"


WHOLE_BATCHES = (
    "builds and loops are compared with whole batches on one device, in float32 for precision: auto; batch_parts and strategy "
    "change rounding and dropout masks only"
)


def prove(experiment: Experiment, steps: int, console: Console) -> Proof:
    """Compare the builds, loops and gradients of a config; nothing is written.

    Args:
        experiment: checked; its own style and loop are the reference.
        steps: of each training.
        console: for progress.

    Raises:
        DataError: the data is missing or broken.
        RunError: the loss is not finite, or memory is too small.
    """
    with as_memory_error(smaller_training(experiment)), as_read_error():
        return _prove(experiment, steps, console)


def _prove(experiment: Experiment, steps: int, console: Console) -> Proof:
    device = choose_device("auto")
    console.say(f"on {device}")
    settings = resolve_auto(experiment, device, measure=known_speeds)
    alone = experiment.train.strategy in ("auto", "one_device")  # replicas compute as Keras does
    experiment = _on_one_device(experiment, console)
    train_images = _training_images(experiment, console)
    images, labels = next(iter(first_batches(experiment, train_images, 1)))
    moments = moments_of(train_images, experiment.network)
    builds = _builds(experiment, images, moments, console)
    trainings = _trainings(experiment, train_images, steps, console)
    with console.working("differentiating numerically"):
        gradients = compare_gradients(experiment, trainings[0].weights, images, labels, moments)
    with console.working("comparing the fast path"):
        fast_path = compare_fast_path(settings, device.kind, images, labels, moments) if alone else None
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
        fast_path=fast_path,
    )


def _on_one_device(experiment: Experiment, console: Console) -> Experiment:
    """Return the experiment with settings that every machine has, and print a note if that changes any."""
    simple = on_any_machine(experiment)
    if experiment not in (simple, with_settings(simple, strategy="auto")):
        console.say(WHOLE_BATCHES)
    return simple


def _training_images(experiment: Experiment, console: Console) -> ImageSet:
    with console.working("reading the data"):
        splits = read_splits(experiment.data)
    for note in splits.notes:
        console.say(note)
    return splits.train


def _builds(experiment: Experiment, images: Any, moments: Moments, console: Console) -> list[Build]:
    builds = []
    for style in possible_styles(experiment):
        with console.working(f"building {style}"):
            builds.append(build(in_style(experiment, style), images, moments))
    return builds


def _trainings(experiment: Experiment, images: ImageSet, steps: int, console: Console) -> list[Training]:
    trainings = []
    for style, loop in possible_trainings(experiment):
        with console.working(f"training {style} by {loop}"):
            trainings.append(train(in_style(experiment, style), loop, images, steps))
    return trainings


def compared_build(mine: Build, reference: Build) -> Compared:
    """Compare a build with the reference."""
    differences = {
        "initial weights": difference(mine.weights, reference.weights),
        "outputs": difference(mine.outputs, reference.outputs),
    }
    return Compared(mine.style, "", differences)


def compared_training(mine: Training, reference: Training, start: Build) -> Compared:
    """Compare a training with the reference; weights relative to their change since `start`."""
    differences = {
        "batches": difference(mine.batches, reference.batches),
        "losses": difference(mine.losses, reference.losses),
        "accuracies": difference(mine.accuracies, reference.accuracies),
        "weights": difference(mine.weights, reference.weights, start.weights),
        "optimizer": difference(mine.optimizer, reference.optimizer),
    }
    return Compared(mine.style, mine.loop, differences)
