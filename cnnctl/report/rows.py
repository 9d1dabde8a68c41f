"""Shapes → rows of numbers; nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import facts_of, image_of
from cnnctl.spec.shapes import Facts, Shape

BYTES_PER_VALUE = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


@dataclass(frozen=True)
class Row:
    """One layer of a summary: its facts and the bytes of its output for the batch asked for."""

    facts: Facts
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """A network in numbers.

    Attributes:
        image: shape of one image, without the batch axis.
        batch_size: images that `activation_bytes` are for.
        rows: a row a layer.
    """

    image: Shape
    batch_size: int
    rows: Sequence[Row]

    @property
    def trainable(self) -> int:
        """Parameters that training changes."""
        return sum(row.facts.trainable for row in self.rows)

    @property
    def non_trainable(self) -> int:
        """Parameters that it does not."""
        return sum(row.facts.non_trainable for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiplications with weights for one image."""
        return sum(row.facts.macs for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs together."""
        return sum(row.activation_bytes for row in self.rows)


def summarize(experiment: Experiment, batch_size: int = 1) -> Summary:
    """Returns the summary of a checked experiment."""
    _, facts = facts_of(experiment)
    size = BYTES_PER_VALUE[on_any_machine(experiment).train.precision]
    sizes = [size] * (len(facts) - 1) + [BYTES_PER_VALUE["float32"]]  # the last layer is float32 always
    rows = [Row(each, prod(each.output_shape) * size * batch_size) for each, size in zip(facts, sizes, strict=True)]
    return Summary(image_of(experiment), batch_size, rows)


def as_plain(summary: Summary) -> dict[str, Any]:
    """Returns a summary as programs read it; the names are a promise of the README."""
    return {
        "input_shape": list(summary.image),
        "batch_size": summary.batch_size,
        "layers": [_plain_row(row) for row in summary.rows],
        "total": {
            "parameters": summary.trainable + summary.non_trainable,
            "trainable_parameters": summary.trainable,
            "non_trainable_parameters": summary.non_trainable,
            "macs": summary.macs,
            "activation_bytes": summary.activation_bytes,
        },
    }


def _plain_row(row: Row) -> dict[str, Any]:
    facts = row.facts
    return {
        "name": facts.name,
        "type": facts.kind,
        "inputs": list(facts.inputs),
        "output_shape": list(facts.output_shape),
        "parameters": facts.parameters,
        "trainable_parameters": facts.trainable,
        "macs": facts.macs,
        "receptive_field": list(facts.receptive_field),
        "stride": list(facts.stride),
        "activation_bytes": row.activation_bytes,
    }
