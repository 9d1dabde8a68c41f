"""What to do about the facts of a data set; nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

Facts = Mapping[str, Any]

LIGHT = 0.6
"""From this mean on, grey images are taken to be ink on white."""
UNBALANCED = 5
"""From this ratio of the largest class to the smallest on, accuracy says little of the small ones."""


def advice(facts: Facts) -> list[str]:
    """Returns what a person should do or keep in mind, one text each; what spoils a result comes first."""
    about = (
        _judged_on_trained,
        _chosen_on_trained,
        _judged_on_chosen,
        _conflicts,
        _blank,
        _missing,
        _unbalanced,
        _light,
        _colourless,
    )
    return list(chain.from_iterable(each(facts) for each in about))


def _judged_on_trained(facts: Facts) -> Iterator[str]:
    test = facts["splits"]["test"]
    if count := test["shared"]["train"]:
        share = count / test["images"]
        yield (
            f"{count:,} of {test['images']:,} test images are train images too, so the network is judged on what it was trained on: "
            f"test accuracy may come out up to {100 * share:.2f} percentage points too high. Remove each from one of the two, or say so beside the accuracy"
        )


def _chosen_on_trained(facts: Facts) -> Iterator[str]:
    validation = facts["splits"].get("validation")
    if validation and (count := validation["shared"]["train"]):
        yield (
            f"{count:,} of {validation['images']:,} validation images are train images too, so validation notices overfitting late; "
            "remove each from one of the two"
        )


def _judged_on_chosen(facts: Facts) -> Iterator[str]:
    test = facts["splits"]["test"]
    if count := test["shared"].get("validation", 0):
        yield (
            f"{count:,} of {test['images']:,} test images are validation images too, "
            "so what is chosen on validation is chosen on part of the test; remove each from one of the two"
        )


def _conflicts(facts: Facts) -> Iterator[str]:
    if count := facts["conflicts"]:
        images = "image occurs" if count == 1 else "images occur"
        yield f"{count:,} {images} with different labels, and no network can be right about all of them; look which label is right"


def _blank(facts: Facts) -> Iterator[str]:
    if count := sum(len(split["blank"]) for split in facts["splits"].values()):
        images = "image is" if count == 1 else "images are"
        yield f"{count:,} {images} one single colour and show{'s' if count == 1 else ''} nothing; look whether the files are broken"


def _missing(facts: Facts) -> Iterator[str]:
    splits = facts["splits"]
    unjudged = set(splits["test"]["missing"]) - set(splits["train"]["missing"])
    if count := len(unjudged):
        classes = "class is" if count == 1 else "classes are"
        yield f"{count:,} {classes} trained but never tested; take images of every class into the test split"


def _unbalanced(facts: Facts) -> Iterator[str]:
    if facts["splits"]["train"]["balance"]["ratio"] >= UNBALANCED:
        yield (
            "the classes are of very different size, so accuracy says little of the small ones; "
            "look at the row of each class that cnnctl evaluate shows, and compare accuracy with the baseline"
        )


def _light(facts: Facts) -> Iterator[str]:
    pixels = facts["splits"]["train"]["pixels"]
    mean = sum(pixels["mean"]) / len(pixels["mean"])
    if not pixels["colourless"] or mean < LIGHT:
        return
    if facts["inverted"]:
        yield f"the mean pixel is {mean:.2f} after data.invert, so the images were dark before; leave data.invert out"
    else:
        yield (
            f"the mean pixel is {mean:.2f}, as of ink on white; networks mostly learn faster from ink of high values on zero: "
            "try --set data.invert=true"
        )


def _colourless(facts: Facts) -> Iterator[str]:
    if facts["image_shape"][-1] == 3 and all(split["pixels"]["colourless"] for split in facts["splits"].values()):
        yield "the three channels of every image are equal: --set data.channels=1 loses nothing and takes a third of the memory"
