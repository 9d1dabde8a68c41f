"""The layers of a picture: those of the network, with equal rounds of a `repeat` and equal blocks in a row drawn once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from cnnctl.spec.document import Where
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.groups import Enclosing, Group, enclosing
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import Facts
from cnnctl.spec.stack import Node


@dataclass(frozen=True)
class Round:
    """One round of a `repeat`, or one use of a block, that a layer is in.

    Attributes:
        place: the repeat or block, and the rounds of those around it.
        number: the round, from 0.
        times: rounds of the repeat, or equal blocks in a row.
        folded: whether this one is drawn for all of them.
        block: the use of a block; None for a repeat.
    """

    place: tuple[Where, tuple[int, ...]]
    number: int
    times: int
    folded: bool = False
    block: Group | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """What is written at its bracket."""
        if self.block is None:
            return f"repeat × {self.times}" if self.folded else f"repeat {self.number + 1} of {self.times}"
        shares = self.block.shared_here
        weights = f", weights of {shares}" if shares else ""
        return f"{self.block.kind} × {self.times}{weights}" if self.folded else f"{self.block.title}{weights}"


@dataclass(frozen=True)
class Item:
    """A layer of the picture.

    Attributes:
        node, facts: the layer with its shapes and costs.
        inputs: the names of the items whose outputs it takes.
        rounds: the repeats and blocks around it, outermost first.
        shares: the full name of the layer whose weights it uses; empty for its own, or if there are none.
        times: layers of the network that it is drawn for.
    """

    node: Node
    facts: Facts
    inputs: tuple[str, ...]
    rounds: tuple[Round, ...]
    shares: str = ""
    times: int = 1

    @property
    def name(self) -> str:
        """The layer's name; of the first round or block where several are drawn as one."""
        return self.node.name


Span = Sequence[Item]
"""The layers of one round, or of one block."""


def items_of(network: Network, model: ModelSpec) -> list[Item]:
    """List the layers of a network, with equal rounds of repeats and equal blocks in a row folded.

    Args:
        network: the layers with their shapes.
        model: the section of the config that they come from.
    """
    around = enclosing(network.nodes, model.layers)
    with_weights = {facts.name for facts in network.facts if facts.parameters}
    items = []
    for node, facts, each in zip(network.nodes, network.facts, around, strict=True):
        shares = node.shares if node.shares in with_weights else ""
        items.append(Item(node, facts, node.inputs, tuple(map(_round, each)), shares))
    for level in reversed(range(max(len(item.rounds) for item in items))):  # the innermost first
        items = _folded(items, level)
    return items


def _round(each: Enclosing) -> Round:
    return Round((each.where, each.outer), each.number, each.times, block=each.block)


def _folded(items: Sequence[Item], level: int) -> list[Item]:
    """Keep the first of equal rounds, and of equal blocks in a row, that are inside `level` others."""
    spans = [list(span) for _, span in groupby(items, lambda item: item.rounds[: level + 1])]
    takers = _takers(spans)
    kept: list[Item] = []
    names: dict[str, str] = {}
    place = 0
    while place < len(spans):
        count = _equal(spans, place, level, takers)
        first, last = spans[place], spans[place + count - 1]
        names |= {old.name: new.name for old, new in zip(last, first, strict=True)} if count > 1 else {}
        kept += [_as_folded(item, level, count) for item in first] if count > 1 else first
        place += count
    return [replace(item, inputs=tuple(names.get(name, name) for name in item.inputs)) for item in kept]


def _takers(spans: Sequence[Span]) -> Mapping[str, set[int]]:
    """Collect the spans that take the output of each layer."""
    takers: dict[str, set[int]] = defaultdict(set)
    for place, span in enumerate(spans):
        for item in span:
            for name in item.inputs:
                takers[name].add(place)
    return takers


def _equal(spans: Sequence[Span], place: int, level: int, takers: Mapping[str, set[int]]) -> int:
    """Count the spans from a place on that are drawn as one."""
    if len(spans[place][0].rounds) <= level or spans[place][0].rounds[level].number:
        return 1
    end = place + 1
    while end < len(spans) and _continues(spans, end, level, takers):
        end += 1
    first = spans[place][0].rounds[level]
    return end - place if first.block or end - place == first.times else 1  # a repeat as a whole


def _continues(spans: Sequence[Span], place: int, level: int, takers: Mapping[str, set[int]]) -> bool:
    """Return True if a span is equal to the one before, whose output it alone takes."""
    before, span = spans[place - 1], spans[place]
    if not _follows(before[0].rounds, span[0].rounds, level) or _outside(span) != {before[-1].name}:
        return False
    if any(takers.get(item.name, set()) - {place - 1, place} for item in before):
        return False
    return _looks(before, level) == _looks(span, level)


def _follows(before: Sequence[Round], after: Sequence[Round], level: int) -> bool:
    """Return True for two rounds of a repeat, and for two uses of a block, inside the same others."""
    if len(after) <= level or len(before) <= level or before[:level] != after[:level]:
        return False
    one, other = before[level], after[level]
    if one.block and other.block:
        return one.block.kind == other.block.kind
    return one.place == other.place


def _outside(span: Span) -> set[str]:
    """Return the names of the outputs that a span takes from others."""
    return {name for item in span for name in item.inputs} - {item.name for item in span}


def _looks(span: Span, level: int) -> list[object]:
    """Describe the layers of a span with one input: their arguments, shapes and wiring, without their names."""
    places = {item.name: place for place, item in enumerate(span)}
    if len(_outside(span)) > 1:
        return [item.name for item in span]
    return [
        (
            item.node.layer,
            [places.get(name) for name in item.inputs],
            (item.facts.input_shapes, item.facts.output_shape),
            places.get(item.shares, item.shares),
            [(each.block and each.block.kind, each.number, each.times) for each in item.rounds[level + 1 :]],
            item.times,
        )
        for item in span
    ]


def _as_folded(item: Item, level: int, count: int) -> Item:
    folded = replace(item.rounds[level], folded=True, times=count)
    rounds = (*item.rounds[:level], folded, *item.rounds[level + 1 :])
    return replace(item, rounds=rounds, times=item.times * count)
