"""Advice on the facts of a dataset; empty if nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

Facts = Mapping[str, Any]
Adviser = Callable[[Facts], Iterator[str]]

LIGHT = 0.6
"""Smallest mean of grayscale images that counts as ink on white."""
UNBALANCED = 5
"""Smallest ratio of the largest class to the smallest for which accuracy is not representative of the small ones."""


def advice(facts: Facts) -> list[str]:
    """Return advice, one text per point; points that invalidate a result come first."""
    of_the_task: tuple[Adviser, ...] = (_too_few_classes, _too_few_images, _not_apart, _conflicts, _blank)
    if facts["episodes"] is None:
        of_the_task = (_test_in_train, _validation_in_train, _test_in_validation, _conflicts, _blank, _missing, _unbalanced)
    return list(chain.from_iterable(each(facts) for each in (*of_the_task, _light, _colourless)))


# few-shot tasks


def _too_few_classes(facts: Facts) -> Iterator[str]:
    for name, episode in facts["episodes"].items():
        if episode["way"] > episode["classes"]:
            yield (
                f"an episode of {episode['way']:,} classes cannot be drawn from {name}, which has {episode['classes']:,}; "
                f"{_more_classes(name, episode['classes'], facts)}"
            )


def _more_classes(split: str, classes: int, facts: Facts) -> str:
    """Return the remedy for a split with too few classes; an episode has at least two."""
    more = "hold out fewer classes" if split == "train" else f"add classes to data.{split}"
    return f"{more}, or lower {_field('way', split, facts)} to {classes:,}" if classes > 1 else more


def _too_few_images(facts: Facts) -> Iterator[str]:
    for name, episode in facts["episodes"].items():
        if short := episode["short"]:
            have = "has" if short == 1 else "have"
            yield (
                f"an episode takes {episode['shot']:,} + {episode['query']:,} images per class, "
                f"but {short:,} of the {facts['splits'][name]['classes']:,} classes of {name} {have} fewer, "
                f"the smallest {episode['images']:,}; {_fewer_images(name, episode['images'], facts)}"
            )


def _fewer_images(split: str, images: int, facts: Facts) -> str:
    if images == 1:
        return "add images, so that every class has at least two, one to learn from and one to classify"
    return f"lower {_field('shot', split, facts)} or {_field('query', split, facts)} to take at most {images:,}"


def _field(name: str, split: str, facts: Facts) -> str:
    """Return the field to lower; `maml` has one way for all splits."""
    of_training = split == "train" and not (name == "way" and facts["method"] == "maml")
    return f"few_shot.train_{name}" if of_training else f"few_shot.{name}"


def _not_apart(facts: Facts) -> Iterator[str]:
    for name, split in facts["splits"].items():
        for other, count in split["shared"].items():
            if count:
                yield (
                    f"{count:,} of {split['images']:,} {name} images are {other} images too, in another class there, "
                    "so these splits are not disjoint although their classes are; find the right class and remove the other images"
                )


# classification


def _test_in_train(facts: Facts) -> Iterator[str]:
    test = facts["splits"]["test"]
    if count := test["shared"]["train"]:
        share = count / test["images"]
        yield (
            f"duplicates across train and test (leakage): {count:,} of {test['images']:,} test images are train images too, "
            f"so test accuracy may be up to {100 * share:.2f} percentage points too high; "
            "remove each from one of the two, or report it with the accuracy"
        )


def _validation_in_train(facts: Facts) -> Iterator[str]:
    validation = facts["splits"].get("validation")
    if validation and (count := validation["shared"]["train"]):
        yield (
            f"{count:,} of {validation['images']:,} validation images are train images too, so validation detects overfitting late; "
            "remove each from one of the two"
        )


def _test_in_validation(facts: Facts) -> Iterator[str]:
    test = facts["splits"]["test"]
    if count := test["shared"].get("validation", 0):
        yield (
            f"{count:,} of {test['images']:,} test images are validation images too, "
            "so selection on validation uses part of the test; remove each from one of the two"
        )


def _missing(facts: Facts) -> Iterator[str]:
    splits = facts["splits"]
    untested = set(splits["test"]["missing"]) - set(splits["train"]["missing"])
    if count := len(untested):
        classes = "class is" if count == 1 else "classes are"
        yield f"{count:,} {classes} trained but never tested; add images of every class to the test split"


def _unbalanced(facts: Facts) -> Iterator[str]:
    if facts["splits"]["train"]["balance"]["ratio"] >= UNBALANCED:
        yield (
            "the classes are imbalanced, so accuracy hides errors on small classes; "
            "check the row of each class in cnnctl evaluate, and compare accuracy with the baseline"
        )


# both


def _conflicts(facts: Facts) -> Iterator[str]:
    if count := facts["conflicts"]:
        images = "image occurs" if count == 1 else "images occur"
        yield f"{count:,} {images} with different labels, so no network can be right about all of them; find the right label"


def _blank(facts: Facts) -> Iterator[str]:
    if count := sum(len(split["blank"]) for split in facts["splits"].values()):
        images = "image is" if count == 1 else "images are"
        yield f"{count:,} {images} a single color; check whether the files are broken"


def _light(facts: Facts) -> Iterator[str]:
    pixels = facts["splits"]["train"]["pixels"]
    mean = sum(pixels["mean"]) / len(pixels["mean"])
    if not pixels["colourless"] or mean < LIGHT:
        return
    if facts["inverted"]:
        yield f"the mean pixel is {mean:.2f} after data.invert, so the images were dark before; remove data.invert"
    else:
        yield (
            f"the mean pixel is {mean:.2f}, as for ink on white; networks usually learn faster from high values on zero: "
            "try --set data.invert=true"
        )


def _colourless(facts: Facts) -> Iterator[str]:
    if facts["image_shape"][-1] == 3 and all(split["pixels"]["colourless"] for split in facts["splits"].values()):
        yield "the three channels of every image are equal: --set data.channels=1 loses nothing and needs a third of the memory"
