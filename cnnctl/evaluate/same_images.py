"""Check by their configs that runs can be evaluated as an ensemble, on the same images. Without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.errors import UsageError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.section import show

ROLES = ("test", "validation", "train")
"""In the order in which `data.splits.read_splits` draws fractions; train is the rest."""


def check_compatible(folders: Sequence[Path], experiments: Sequence[Experiment], split: str | None) -> None:
    """Raise UsageError where runs cannot be evaluated as an ensemble.

    Runs may differ in everything but their classes and the evaluated images. A fraction that is drawn with another seed holds
    out other images, so a run would be evaluated on images that it was trained on.

    Args:
        folders: of the runs, as on the command line.
        experiments: of the same runs.
        split: of the runs' own data; None for other images.
    """
    _refuse_few_shot(folders, experiments)
    _refuse_twice(folders)
    sections = [experiment.data for experiment in experiments]
    if split == "validation":
        _refuse_without_validation(folders, sections)
    for folder, data in zip(folders[1:], sections[1:], strict=True):
        _refuse_other_outputs(folder, data, folders[0], sections[0])
        if split:
            _refuse_other_images(folder, data, folders[0], sections[0], split)


def _refuse_few_shot(folders: Sequence[Path], experiments: Sequence[Experiment]) -> None:
    for folder, experiment in zip(folders, experiments, strict=True):
        if experiment.few_shot:
            raise UsageError(f"{folder} is a few-shot run, and an ensemble needs classification runs; evaluate it alone")


def _refuse_twice(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UsageError(f"{folder} is given twice; name each run once")
        seen.add(folder.resolve())


def _refuse_without_validation(folders: Sequence[Path], sections: Sequence[DataSpec]) -> None:
    for folder, data in zip(folders, sections, strict=True):
        if data.validation is None:
            raise UsageError(
                f"--split validation: {folder} has no validation data (data.validation is null); remove the run or --split"
            )


def _refuse_other_outputs(folder: Path, data: DataSpec, first: Path, expected: DataSpec) -> None:
    if data.classes != expected.classes:
        raise incompatible(folder, first, f"its model has {data.classes} outputs, expected {expected.classes}; remove it")


def _refuse_other_images(folder: Path, data: DataSpec, first: Path, expected: DataSpec, split: str) -> None:
    fields = dict.fromkeys([*_deciding(expected, split), *_deciding(data, split)])
    differences = [
        f"data.{field} is {show(getattr(data, field))}, expected {show(getattr(expected, field))}"
        for field in fields
        if getattr(data, field) != getattr(expected, field)
    ]
    if differences:
        raise incompatible(
            folder,
            first,
            f"{'; '.join(differences)}. All runs must hold out the same images; "
            "remove the run, or evaluate other images with --data FOLDER",
        )


def incompatible(folder: Path, first: Path, reason: str) -> UsageError:
    """Create the error for a run that cannot be in an ensemble with the first one."""
    return UsageError(f"{folder} cannot be in an ensemble with {first}: {reason}")


def _deciding(data: DataSpec, split: str) -> list[str]:
    """List the fields of a checked config that decide which images a split has."""
    return ["source", "name", "path", "data_dir", *_drawn_by(data, split)]


def _drawn_by(data: DataSpec, split: str) -> list[str]:
    """List the fields that decide which images of its source a split has, those of splits drawn before it included."""
    if split != "train" and isinstance(getattr(data, split), str):
        return [split]
    fractions = [role for role in ROLES[: ROLES.index(split) + 1] if isinstance(getattr(data, role), float)]
    return ["train", *fractions, *(["split_seed"] if fractions else [])]
