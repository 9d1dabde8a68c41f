"""Match the arrays of images in a file with the arrays of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from cnnctl.errors import DataError, suggestion
from cnnctl.formats.arrays import shown
from cnnctl.formats.names import IMAGE_WORDS, LABEL_WORDS, keys_line, listed, role_of, without_word
from cnnctl.formats.part import Keys

Shapes = Mapping[str, Sequence[int]]
Pair = tuple[str, str | None]
"""The names of images and labels; None where there are no labels."""


def find_pairs(shapes: Shapes, keys: Keys, file: Path, alone: str) -> dict[str, Pair]:
    """Find the images and labels of each split.

    Args:
        shapes: shapes of all arrays of a file, by name.
        keys: the config's names, or None.
        file: for messages.
        alone: name of a split that the arrays do not name.

    Raises:
        DataError: an array does not exist, or the match is ambiguous.
    """
    if isinstance(keys, Mapping):
        return {split: _existing(pair, shapes, file) for split, pair in keys.items()}
    if keys and set(keys) <= set(shapes):
        return {alone: keys}
    image_words, label_words = ((keys[0],), (keys[1],)) if keys else (IMAGE_WORDS, LABEL_WORDS)
    images, labels = _named(shapes, image_words, 2), _named(shapes, label_words, 1)
    if not images and not keys:
        images, labels = _unnamed(shapes)
    if not images:
        raise _missing(keys[0], shapes, file) if keys else _unclear(shapes, file)
    pairs = {rest: (names[0], _one_of(labels.get(rest, []), shapes, file)) for rest, names in images.items()}
    _refuse_left_over(pairs, labels, shapes, file)
    return {rest or alone: pair for rest, pair in pairs.items()}


def left_over(pairs: Mapping[str, Pair], shapes: Shapes) -> tuple[str, ...]:
    """List the arrays that no split uses, each with its shape."""
    used = {name for pair in pairs.values() for name in pair}
    return tuple(f"{name} {shown(shape)}" for name, shape in shapes.items() if name not in used)


def _named(shapes: Shapes, words: Sequence[str], rank: int) -> dict[str, list[str]]:
    """Find the arrays whose names contain one of the words, grouped by the rest of the name, in the order of the words."""
    found: dict[str, list[str]] = {}
    for word in words:
        for name, shape in shapes.items():
            rest = without_word(name, word)
            if rest is not None and len(shape) >= rank:
                found.setdefault(rest, []).append(name)
    return found


def _unnamed(shapes: Shapes) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Match arrays without usual names: np.savez(file, images, labels), or a single array."""
    if list(shapes) == ["arr_0", "arr_1"] and len(shapes["arr_0"]) > len(shapes["arr_1"]):
        return {"": ["arr_0"]}, {"": ["arr_1"]}
    only = [name for name, shape in shapes.items() if len(shapes) == 1 and len(shape) > 2]
    return ({"": only}, {}) if only else ({}, {})


def _existing(pair: tuple[str, str], shapes: Shapes, file: Path) -> Pair:
    for name in pair:
        if name not in shapes:
            raise _missing(name, shapes, file)
    return pair


def _one_of(labels: list[str], shapes: Shapes, file: Path) -> str | None:
    if len(labels) > 1:
        raise _unclear(shapes, file)
    return labels[0] if labels else None


def _refuse_left_over(pairs: Mapping[str, Pair], labels: Mapping[str, list[str]], shapes: Shapes, file: Path) -> None:
    """Refuse unmatched labels that may belong to images without labels, such as 'fine_labels' beside 'images'."""
    lacking = {role_of(rest) for rest, (_, label) in pairs.items() if label is None}
    if any(rest not in pairs and role_of(rest) in lacking for rest in labels):
        raise _unclear(shapes, file)


def _missing(name: str, shapes: Shapes, file: Path) -> DataError:
    return DataError(f"{file}: data.keys: there is no array '{name}'{suggestion(name, shapes)}; expected one of {_all(shapes)}")


def _unclear(shapes: Shapes, file: Path) -> DataError:
    if len(shapes) < 2:
        return DataError(
            f"{file}: expected arrays of images and labels, received {_all(shapes) or 'none'}; save both in the file"
        )
    likely = _likely(shapes)
    line = keys_line(*likely) if likely else "data.keys: [IMAGES, LABELS] with two of these names"
    return DataError(f"{file}: it is not clear which arrays are images and labels among {_all(shapes)}; write {line}")


def _likely(shapes: Shapes) -> tuple[str, str] | None:
    """Choose names to suggest: the largest array, and the first small array with one value per image."""
    images = max(shapes, key=lambda name: (len(shapes[name]) > 1, prod(shapes[name])))
    counts = {count for count in shapes[images] if count > 1}
    others = [name for name in shapes if name != images]
    labels = next((name for name in others if prod(shapes[name]) in counts), None)
    return (images, labels) if labels else None


def _all(shapes: Shapes) -> str:
    return listed(f"{name} {shown(shape)}" for name, shape in shapes.items())
