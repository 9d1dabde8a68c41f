"""What to do about the facts of a data set; nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

Facts = Mapping[str, Any]
Adviser = Callable[[Facts], Iterator[str]]

LIGHT = 0.6
"""From this mean on, grey images are taken to be ink on white."""
UNBALANCED = 5
"""From this ratio of the largest class to the smallest on, accuracy says little of the small ones."""


def advice(facts: Facts) -> list[str]:
    """Returns what a person should do or keep in mind, one text each; what spoils a result comes first."""
    of_the_task: tuple[Adviser, ...] = (_too_few_classes, _too_few_images, _not_apart, _conflicts, _blank)
    if facts["episodes"] is None:
        of_the_task = (_judged_on_trained, _chosen_on_trained, _judged_on_chosen, _conflicts, _blank, _missing, _unbalanced)
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
    """Returns what to do where a split has too few classes; an episode has two at least."""
    more = "hold out fewer classes" if split == "train" else f"take more classes into data.{split}"
    return f"{more}, or lower {_field('way', split, facts)} to {classes:,}" if classes > 1 else more


def _too_few_images(facts: Facts) -> Iterator[str]:
    for name, episode in facts["episodes"].items():
        if short := episode["short"]:
            have = "has" if short == 1 else "have"
            yield (
                f"an episode takes {episode['shot']:,} + {episode['query']:,} images of a class, "
                f"but {short:,} of the {facts['splits'][name]['classes']:,} classes of {name} {have} fewer, "
                f"the least {episode['images']:,}; {_fewer_images(name, episode['images'], facts)}"
            )


def _fewer_images(split: str, images: int, facts: Facts) -> str:
    if images == 1:
        return "give every class two images at least, one to learn from and one to classify"
    return f"lower {_field('shot', split, facts)} or {_field('query', split, facts)} to take {images:,} at most"


def _field(name: str, split: str, facts: Facts) -> str:
    """Returns the field of the config to lower; `maml` has one way for all splits."""
    of_training = split == "train" and not (name == "way" and facts["method"] == "maml")
    return f"few_shot.train_{name}" if of_training else f"few_shot.{name}"


def _not_apart(facts: Facts) -> Iterator[str]:
    for name, split in facts["splits"].items():
        for other, count in split["shared"].items():
            if count:
                yield (
                    f"{count:,} of {split['images']:,} {name} images are {other} images too, in another class there, "
                    "so these splits are not as much apart as their classes; look which class is right, and remove the others"
                )


# classification


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


# both


def _conflicts(facts: Facts) -> Iterator[str]:
    if count := facts["conflicts"]:
        images = "image occurs" if count == 1 else "images occur"
        yield f"{count:,} {images} with different labels, and no network can be right about all of them; look which label is right"


def _blank(facts: Facts) -> Iterator[str]:
    if count := sum(len(split["blank"]) for split in facts["splits"].values()):
        images = "image is" if count == 1 else "images are"
        yield f"{count:,} {images} one single colour and show{'s' if count == 1 else ''} nothing; look whether the files are broken"


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
