"""A layer to explain, and the words for parts of its shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from cnnctl.spec.experiment import Experiment
from cnnctl.spec.receptive import Receptive
from cnnctl.spec.shapes import Facts, LayerContext
from cnnctl.spec.stack import Node

WIDTH = 80


@dataclass(frozen=True)
class Subject:
    """A layer with the values for its sentences.

    Attributes:
        node, facts, receptive: the layer, its shapes and costs, and its receptive field.
        context: the number of classes and the model's data format.
        experiment: the config.
        total: parameters of all layers.
    """

    node: Node
    facts: Facts
    receptive: Receptive | None
    context: LayerContext
    experiment: Experiment
    total: int


def wrapped(line: str, indent: str = "  ") -> str:
    """Break a sentence into lines, the first with an indent, the others with two."""
    return fill(line, WIDTH, initial_indent=indent, subsequent_indent=2 * indent)


def listed(words: Sequence[str]) -> str:
    """Join words: `a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}"


def axis_name(axis: int, rank: int, context: LayerContext) -> str:
    """Name the elements along an axis; axis 0 is the batch."""
    names = {"channels_last": ["row", "column", "channel"], "channels_first": ["channel", "row", "column"]}
    return names[context.data_format][axis - 1] if rank == 3 else "value"
