"""Compute the rows of a summary as numbers; `tables` formats them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.groups import Group, tree_of
from cnnctl.spec.layers import CustomLayer
from cnnctl.spec.receptive import Receptive, never_seen, receptive_fields
from cnnctl.spec.shapes import Facts, Shape
from cnnctl.spec.stack import INSIDE, Node

BYTES_PER_VALUE = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


@dataclass(frozen=True)
class Row:
    """One layer of a summary, or a block as one row.

    Attributes:
        facts: its shapes and costs.
        receptive: its receptive field.
        activation_bytes: of its output for the whole batch; of a block, of the outputs of its layers.
        shares: the name of the layer or block whose weights it uses; empty for its own.
        layers: the number of layers of a block; 0 for a layer.
    """

    facts: Facts
    receptive: Receptive | None
    activation_bytes: int
    shares: str = ""
    layers: int = 0


@dataclass(frozen=True)
class Summary:
    """A network in numbers.

    Attributes:
        image: shape of one image, without the batch axis.
        batch_size: images that `activation_bytes` counts.
        rows: one row per layer.
        never_seen: the part of the image that affects no output, in words; empty if there is none.
        unknown_from: the layer of one's own from which on receptive fields are unknown; empty if there is none.
    """

    image: Shape
    batch_size: int
    rows: Sequence[Row]
    never_seen: str = ""
    unknown_from: str = ""

    @property
    def trainable(self) -> int:
        """Parameters that training updates."""
        return sum(row.facts.trainable for row in self.rows)

    @property
    def non_trainable(self) -> int:
        """Other parameters, such as moving averages."""
        return sum(row.facts.non_trainable for row in self.rows)

    @property
    def macs(self) -> int:
        """MACs (multiply-accumulate operations) per image."""
        return sum(row.facts.macs for row in self.rows)

    @property
    def uncounted(self) -> list[str]:
        """Names of the layers whose MACs are unknown; `macs` is without them."""
        return [row.facts.name for row in self.rows if not row.facts.macs_known]

    @property
    def activation_bytes(self) -> int:
        """Bytes of the outputs of all layers."""
        return sum(row.activation_bytes for row in self.rows)


def summarize(experiment: Experiment, batch_size: int = 1) -> Summary:
    """Summarize the network of a checked experiment."""
    network = experiment.network
    facts, image, context = network.facts, network.image, network.context
    size = BYTES_PER_VALUE[on_any_machine(experiment).train.precision]
    in_float32 = [getattr(node.layer, "only_in_float32", False) for node in network.nodes[:-1]] + [
        True
    ]  # the last layer always
    sizes = [BYTES_PER_VALUE["float32"] if always else size for always in in_float32]
    fields = receptive_fields(network.nodes, facts, image, context)
    rows = [
        Row(each, field, prod(each.output_shape) * size * batch_size, node.shares)
        for node, each, field, size in zip(network.nodes, facts, fields, sizes, strict=True)
    ]
    return Summary(image, batch_size, rows, never_seen(fields, image, context), _unknown_from(network.nodes, fields))


def _unknown_from(nodes: Sequence[Node], fields: Sequence[Receptive | None]) -> str:
    """Name the first layer without a receptive field, if its class could say what its outputs depend on."""
    first = next((node for node, field in zip(nodes, fields, strict=True) if field is None), None)
    return first.name if first and isinstance(first.layer, CustomLayer) else ""


def folded(summary: Summary, nodes: Sequence[Node], depth: int) -> Summary:
    """Make each block one row, except the outermost `depth - 1` ones of blocks inside each other."""
    rows = {row.facts.name: row for row in summary.rows}
    return replace(summary, rows=_folded(tree_of(nodes), rows, depth, {}))


def _folded(items: Sequence[Node | Group], rows: Mapping[str, Row], depth: int, names: dict[str, str]) -> list[Row]:
    """Return the rows of layers and blocks; `names` has the shown name of each output of a block that is one row."""
    shown: list[Row] = []
    for item in items:
        if not isinstance(item, Group):
            shown.append(_renamed(rows[item.name], names))
        elif depth > 1:
            shown += _folded(item.items, rows, depth - 1, names)
        else:
            shown.append(_renamed(_block_row(item, [rows[node.name] for node in item.nodes]), names))
        if isinstance(item, Group):
            names[item.output] = item.name
    return shown


def _renamed(row: Row, names: Mapping[str, str]) -> Row:
    inputs = tuple(names.get(name, name) for name in row.facts.inputs)
    return replace(row, facts=replace(row.facts, inputs=inputs))


def _block_row(block: Group, rows: Sequence[Row]) -> Row:
    shapes = {name: shape for row in rows for name, shape in zip(row.facts.inputs, row.facts.input_shapes, strict=True)}
    facts = Facts(
        block.name,
        block.kind,
        block.inputs,
        tuple(shapes[name] for name in block.inputs),
        rows[-1].facts.output_shape,
        sum(row.facts.trainable for row in rows),
        sum(row.facts.non_trainable for row in rows),
        sum(row.facts.macs for row in rows),
    )
    return Row(facts, rows[-1].receptive, sum(row.activation_bytes for row in rows), block.shares, len(rows))


def as_plain(summary: Summary) -> dict[str, Any]:
    """Convert a summary to plain data for JSON; the names are documented."""
    return {
        "input_shape": list(summary.image),
        "batch_size": summary.batch_size,
        "layers": [_plain_row(row) for row in summary.rows],
        "never_seen": _plain_unseen(summary.rows[-1].receptive),
        "total": {
            "parameters": summary.trainable + summary.non_trainable,
            "trainable_parameters": summary.trainable,
            "non_trainable_parameters": summary.non_trainable,
            "macs": None if summary.uncounted else summary.macs,
            "activation_bytes": summary.activation_bytes,
        },
    }


def _plain_row(row: Row) -> dict[str, Any]:
    facts = row.facts
    return {
        "name": facts.name,
        "type": facts.kind,
        "block": facts.name.rpartition(INSIDE)[0] or None,
        "inputs": list(facts.inputs),
        "shares_weights_of": row.shares or None,
        "output_shape": list(facts.output_shape),
        "parameters": facts.parameters,
        "trainable_parameters": facts.trainable,
        "macs": facts.macs if facts.macs_known else None,
        **_plain_receptive(row.receptive),
        "activation_bytes": row.activation_bytes,
    }


def _plain_receptive(receptive: Receptive | None) -> dict[str, Any]:
    """Convert a receptive field to plain data; null if unknown, or for a stride without neighbours."""
    if receptive is None:
        return {"receptive_field": None, "padding_enlarges": None, "stride": None}
    return {
        "receptive_field": list(receptive.field),
        "padding_enlarges": receptive.padded,
        "stride": list(receptive.stride) if any(receptive.stride) else None,
    }


def _plain_unseen(receptive: Receptive | None) -> dict[str, Any] | None:
    return {"rows": list(receptive.unseen[0]), "columns": list(receptive.unseen[1])} if receptive else None
