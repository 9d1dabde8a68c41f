"""Whether several runs can be judged together, on the same images, as their configs say; no TensorFlow."""

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
    """Raises UsageError where the networks of several runs cannot be judged together.

    Runs may differ in all but their classes and the images that are judged. So none is judged on what it was trained on
    while another was not: a fraction that is drawn anew holds out other images.

    Args:
        folders: of the runs, as they were given.
        experiments: of the same runs.
        split: of the runs' own data; None where other images are judged.
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
            raise UsageError(
                f"{folder} is a run of few-shot learning, and only networks that tell the same classes apart are judged "
                "together; give it as the only RUN"
            )


def _refuse_twice(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UsageError(f"{folder} is given twice; give each run once")
        seen.add(folder.resolve())


def _refuse_without_validation(folders: Sequence[Path], sections: Sequence[DataSpec]) -> None:
    for folder, data in zip(folders, sections, strict=True):
        if data.validation is None:
            raise UsageError(
                f"--split validation: {folder} has no validation data (data.validation is null); leave it or --split out"
            )


def _refuse_other_outputs(folder: Path, data: DataSpec, first: Path, expected: DataSpec) -> None:
    if data.classes != expected.classes:
        raise apart(folder, first, f"its network tells {data.classes} classes apart, expected {expected.classes}; leave it out")


def _refuse_other_images(folder: Path, data: DataSpec, first: Path, expected: DataSpec, split: str) -> None:
    fields = dict.fromkeys([*_deciding(expected, split), *_deciding(data, split)])
    differences = [
        f"data.{field} is {show(getattr(data, field))}, expected {show(getattr(expected, field))}"
        for field in fields
        if getattr(data, field) != getattr(expected, field)
    ]
    if differences:
        raise apart(
            folder,
            first,
            f"{'; '.join(differences)}. All must be judged on the same images, and none be trained on what another holds out; "
            "leave it out, or give other images by --data FOLDER",
        )


def apart(folder: Path, first: Path, reason: str) -> UsageError:
    """Returns the refusal of a run that does not go with the first one."""
    return UsageError(f"{folder} cannot be judged together with {first}: {reason}")


def _deciding(data: DataSpec, split: str) -> list[str]:
    """Returns the fields of a checked config that decide which images a split has."""
    return ["source", "name", "path", "data_dir", *_drawn_by(data, split)]


def _drawn_by(data: DataSpec, split: str) -> list[str]:
    """Returns the fields that decide which images of its source a split has; what is drawn before leaves less."""
    if split != "train" and isinstance(getattr(data, split), str):
        return [split]
    fractions = [role for role in ROLES[: ROLES.index(split) + 1] if isinstance(getattr(data, role), float)]
    return ["train", *fractions, *(["split_seed"] if fractions else [])]
