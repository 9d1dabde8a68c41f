"""Split classes for few-shot tasks: validation and test classes never occur in training, chosen by name, at random or by split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet, Labels, Source, some_of
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import Splits
from cnnctl.data.store.lazy import Indices
from cnnctl.errors import DataError, suggestion
from cnnctl.spec.dataset import DataSpec

Classes = NDArray[np.int64]
"""Labels, each once."""


def read_disjoint_splits(data: DataSpec) -> Splits:
    """Read splits that share no class. The images of the test split are read later, by `read_test`.

    Labels are numbered from 0 without gaps: first the classes of train, then of validation, then of test, each in the
    order of the source. `class_names` has the same order.

    Raises:
        DataError: data is missing or broken, a held-out class or group does not exist, or splits share classes.
    """
    source = open_source(data)
    whole = source.read(data.train)
    classes = _classes(source, data, whole.labels)
    order = np.concatenate(list(classes.values()))

    def read(role: str) -> ImageSet:
        part = getattr(data, role)
        images = source.read(part) if isinstance(part, str) and role != "train" else whole
        return _numbered(_of_classes(images, classes[role]), order)

    test_labels = source.labels(data.test) if isinstance(data.test, str) else whole.labels
    sizes = [np.count_nonzero(test_labels == label) for label in classes["test"]]
    return Splits(
        read("train"),
        read("validation") if "validation" in classes else None,
        lambda: read("test"),
        int(sum(sizes)),
        [source.class_names[label] for label in order],
        source.notes,
        tuple(map(int, sizes)),
    )


def disjoint_positions(data: DataSpec) -> dict[str, Indices]:
    """Find the positions of the images of each split of `read_disjoint_splits` in the split they come from.

    They come from the split that the config names, or from train where a part of train is held out. Decodes no image.

    Raises:
        DataError: as `read_disjoint_splits` does.
    """
    source = open_source(data)
    classes = _classes(source, data, source.labels(data.train))
    return {role: np.flatnonzero(np.isin(source.labels(_read_from(role, data)), each)) for role, each in classes.items()}


def disjoint_groups(data: DataSpec) -> dict[str, list[str]]:
    """List the groups that occur in each split of `read_disjoint_splits`, such as its alphabets. Decodes no image.

    Raises:
        DataError: as `read_disjoint_splits` does, or the data has no groups.
    """
    source = open_source(data)
    return {
        role: np.unique(np.array(source.groups(_read_from(role, data)))[positions]).tolist()
        for role, positions in disjoint_positions(data).items()
    }


def _read_from(role: str, data: DataSpec) -> str:
    part = getattr(data, role)
    return part if isinstance(part, str) else data.train


def _classes(source: Source, data: DataSpec, labels: Labels) -> dict[str, Classes]:
    """Choose the classes of each split, as labels of the source; `labels` are all labels of train."""
    held_out = _held_out(source, data, labels)
    trained = np.setdiff1d(labels, np.concatenate([*held_out.values(), np.array([], np.int64)]))
    if not len(trained):
        raise DataError(f"data: test and validation hold out every class of '{data.train}'; hold out fewer of them")
    return {"train": trained, **_classes_of_parts(source, data, held_out, trained)}


def _of_classes(images: ImageSet, classes: Classes) -> ImageSet:
    return images.take(np.flatnonzero(np.isin(images.labels, classes)))


def _numbered(images: ImageSet, order: Classes) -> ImageSet:
    """Replace each label by its position in `order`."""
    by_label = np.argsort(order)
    return replace(images, labels=by_label[np.searchsorted(order, images.labels, sorter=by_label)])


# classes held out of train


def _held_out(source: Source, data: DataSpec, labels: Labels) -> dict[str, Classes]:
    """Choose the classes of test and validation that are parts of train."""
    parts = {role: part for role in ("test", "validation") if not isinstance(part := getattr(data, role), str | None)}
    if not parts:
        return {}
    units = _units(source, data, labels)
    free = list(units)
    generator = np.random.default_rng(data.split_seed)
    held_out: dict[str, Classes] = {}
    for role, part in sorted(
        parts.items(), key=lambda each: isinstance(each[1], float)
    ):  # names first, so that no draw takes them
        names = (
            _drawn(role, part, units, free, data, generator)
            if isinstance(part, float)
            else _named(role, part, free, units, data)
        )
        free = [name for name in free if name not in names]
        held_out[role] = np.sort(np.concatenate([units[name] for name in names]))
    return held_out


def _units(source: Source, data: DataSpec, labels: Labels) -> Mapping[str, Classes]:
    """Map each class or group of train, which is held out as a whole, to its classes."""
    if data.hold_out != "group":
        return {source.class_names[label]: np.array([label]) for label in np.unique(labels)}
    groups = np.array(source.groups(data.train))
    units = {str(group): np.unique(labels[groups == group]) for group in np.unique(groups)}
    _refuse_classes_in_two(units, source, data)
    return units


def _refuse_classes_in_two(groups: Mapping[str, Classes], source: Source, data: DataSpec) -> None:
    labels, counts = np.unique(np.concatenate(list(groups.values())), return_counts=True)
    if counts.max() > 1:
        name = source.class_names[labels[counts.argmax()]]
        raise DataError(f"data.group: class '{name}' is in several groups of '{data.group}', so they cannot be held out whole")


def _drawn(
    role: str, share: float, units: Mapping[str, Classes], free: list[str], data: DataSpec, generator: np.random.Generator
) -> list[str]:
    count = max(round(share * len(units)), 1)
    if count >= len(free):
        remedy = "write a smaller fraction" if len(free) > 1 else f"train on a split of more {_noun(data, 2)}"
        raise DataError(
            f"data.{role}: {share:g} of the {len(units):,} {_noun(data, len(units))} of '{data.train}' leaves none to train on; {remedy}"
        )
    return [str(name) for name in generator.permutation(free)[:count]]


def _named(role: str, names: tuple[str, ...], free: list[str], units: Mapping[str, Classes], data: DataSpec) -> list[str]:
    for name in names:
        if name not in units:
            known = suggestion(name, units, of_data=True) or f"; it has {some_of(list(units))}"
            raise DataError(f"data.{role}: there is no {data.hold_out} '{name}' in '{data.train}'{known}")
        if name not in free:
            raise DataError(
                f"data.{role}: {data.hold_out} '{name}' is already held out for test; remove it from one of the two"
            )
    return list(dict.fromkeys(names))


def _noun(data: DataSpec, count: int) -> str:
    nouns = {"group": ("group", "groups")}.get(data.hold_out or "", ("class", "classes"))
    return nouns[count != 1]


# splits that may share classes


def _classes_of_parts(source: Source, data: DataSpec, held_out: Mapping[str, Classes], trained: Classes) -> dict[str, Classes]:
    """Choose the classes of validation and test: validation shares none with train, test none with either.

    Choices are made on validation, so a class of validation must not be in the test.
    """
    classes = dict(held_out)
    known, others = np.concatenate([trained, *held_out.values()]), f"'{data.train}'"
    for role in ("validation", "test"):
        part = getattr(data, role)
        if part is not None and role not in held_out:
            classes[role] = _without_shared(role, np.unique(source.labels(part)), known, others, source, data)
            known, others = np.union1d(known, classes[role]), f"'{data.train}' or in {role}"
    return {role: classes[role] for role in ("validation", "test") if role in classes}


def _without_shared(role: str, classes: Classes, known: Classes, others: str, source: Source, data: DataSpec) -> Classes:
    shared, left = np.intersect1d(classes, known), np.setdiff1d(classes, known)
    if not len(shared):
        return classes
    names = some_of([source.class_names[label] for label in shared])
    if data.shared_classes == "refuse" or not len(left):
        remedy = f"name another split, hold out classes of '{data.train}' (such as {role}: 0.2)"
        remedy += ", or write shared_classes: drop" if len(left) else ""
        raise DataError(
            f"data.{role}: {len(shared):,} of its {len(classes):,} classes are also in {others} ({names}), "
            f"but few-shot tasks are evaluated on classes never trained on; {remedy}"
        )
    source.notes.append(f"{role}: {len(left):,} classes; {len(shared):,} more were dropped because they are also in {others}")
    return left
