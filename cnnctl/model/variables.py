"""Names of the variables of a network, equal in every process and style."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import keras


def names_of(layers: Mapping[str, keras.Layer]) -> dict[int, str]:
    """Name each variable `layer/variable`, by its `id`.

    A layer of one's own may have variables of equal names, in layers inside it, or of none, which Keras numbers per process
    (`variable_135`): these are numbered here, from the second on.
    """
    names: dict[int, str] = {}
    for of_layer, layer in layers.items():
        counts: Counter[str] = Counter()
        for variable in layer.variables:
            name = re.sub(r"^variable_\d+$", "variable", variable.name)
            number, counts[name] = counts[name], counts[name] + 1
            names[id(variable)] = f"{of_layer}/{name}{f'_{number}' if number else ''}"
    return names


def named(layers: Mapping[str, keras.Layer], kind: str = "variables") -> list[tuple[str, Any]]:
    """Return the variables of layers, by the layers' names, with names of their own; `kind` is the attribute, such as `trainable_weights`."""
    names = names_of(layers)
    return [(names[id(each)], each) for layer in layers.values() for each in getattr(layer, kind)]
