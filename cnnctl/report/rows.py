"""Shapes → rows of numbers; nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.receptive import Receptive, never_seen, receptive_fields
from cnnctl.spec.shapes import Facts, Shape

BYTES_PER_VALUE = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


@dataclass(frozen=True)
class Row:
    """One layer of a summary: its facts, what it sees of the image, and the bytes of its output for the batch asked for."""

    facts: Facts
    receptive: Receptive | None
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """A network in numbers.

    Attributes:
        image: shape of one image, without the batch axis.
        batch_size: images that `activation_bytes` are for.
        rows: a row a layer.
        never_seen: what part of the image changes no output, in words; empty where all does.
    """

    image: Shape
    batch_size: int
    rows: Sequence[Row]
    never_seen: str = ""

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
    """Return the summary of a checked experiment."""
    network = experiment.network
    facts, image, context = network.facts, network.image, network.context
    size = BYTES_PER_VALUE[on_any_machine(experiment).train.precision]
    sizes = [size] * (len(facts) - 1) + [BYTES_PER_VALUE["float32"]]  # the last layer is float32 always
    fields = receptive_fields(network.nodes, facts, image, context)
    rows = [
        Row(each, field, prod(each.output_shape) * size * batch_size)
        for each, field, size in zip(facts, fields, sizes, strict=True)
    ]
    return Summary(image, batch_size, rows, never_seen(fields, image, context))


def as_plain(summary: Summary) -> dict[str, Any]:
    """Return a summary as programs read it; the names are a promise of the README."""
    return {
        "input_shape": list(summary.image),
        "batch_size": summary.batch_size,
        "layers": [_plain_row(row) for row in summary.rows],
        "never_seen": _plain_unseen(summary.rows[-1].receptive),
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
        **_plain_receptive(row.receptive),
        "activation_bytes": row.activation_bytes,
    }


def _plain_receptive(receptive: Receptive | None) -> dict[str, Any]:
    """Return what a layer sees; null where it is not known, or where values have no neighbours."""
    if receptive is None:
        return {"receptive_field": None, "padding_enlarges": None, "stride": None}
    return {
        "receptive_field": list(receptive.field),
        "padding_enlarges": receptive.padded,
        "stride": list(receptive.stride) if any(receptive.stride) else None,
    }


def _plain_unseen(receptive: Receptive | None) -> dict[str, Any] | None:
    return {"rows": list(receptive.unseen[0]), "columns": list(receptive.unseen[1])} if receptive else None
