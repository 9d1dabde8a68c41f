"""The layers of a picture: those of the network, with a `repeat` of equal rounds folded into one round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cnnctl.spec.document import Where
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.layers import Repeat
from cnnctl.spec.network import Network
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import Facts
from cnnctl.spec.stack import Node


@dataclass(frozen=True)
class Round:
    """One round of a `repeat` that a layer is in.

    Attributes:
        block: the repeat, and the rounds of those around it: equal for all layers of one bracket.
        number: the round, from 0.
        times: rounds of the repeat.
        folded: whether this round is drawn for all of them.
    """

    block: tuple[Where, tuple[int, ...]]
    number: int
    times: int
    folded: bool = False


@dataclass(frozen=True)
class Item:
    """A layer of the picture.

    Attributes:
        node, facts: the layer with its shapes and costs.
        inputs: the names of the items whose outputs it takes.
        rounds: the repeats around it, outermost first.
        times: layers of the network that it is drawn for.
    """

    node: Node
    facts: Facts
    inputs: tuple[str, ...]
    rounds: tuple[Round, ...]
    times: int = 1

    @property
    def name(self) -> str:
        """The layer's name; of the first round where rounds are folded."""
        return self.node.name


def items_of(network: Network, model: ModelSpec) -> list[Item]:
    """List the layers of a network, with repeats of equal rounds folded.

    Args:
        network: the layers with their shapes.
        model: the section of the config that they come from.
    """
    seen: Counter[Where] = Counter()
    items = []
    for node, facts in zip(network.nodes, network.facts, strict=True):
        rounds = _rounds(node.where, model.layers, seen[node.where])
        seen[node.where] += 1
        items.append(Item(node, facts, node.inputs, rounds))
    blocks = dict.fromkeys(each.block for item in items for each in item.rounds)
    for block in sorted(blocks, key=lambda block: -len(block[0])):  # the innermost first
        items = _folded(items, block)
    return items


def _rounds(where: Where, layers: Sequence[Section], occurrence: int) -> tuple[Round, ...]:
    """Compute the rounds of the layer that is the `occurrence`-th one built from a place in the config."""
    found = list(_repeats(where, layers))
    numbers: list[int] = []
    for _, times in reversed(found):  # the innermost repeat counts fastest
        occurrence, number = divmod(occurrence, times)
        numbers.insert(0, number)
    return tuple(Round((path, tuple(numbers[:depth])), numbers[depth], times) for depth, (path, times) in enumerate(found))


def _repeats(where: Where, layers: Sequence[Section]) -> Iterator[tuple[Where, int]]:
    """Yield the path and the rounds of each repeat around a place, outermost first."""
    for end, key in enumerate(where):
        if isinstance(key, int):
            item = layers[key] if key < len(layers) else None  # the head that maml adds is not in the config
            if not isinstance(item, Repeat):
                return
            yield where[: end + 2], item.times
            layers = item.layers


def _folded(items: list[Item], block: tuple[Where, tuple[int, ...]]) -> list[Item]:
    """Keep the first round of a repeat if all its rounds are equal; else return the items as they are."""
    inside = [place for place, item in enumerate(items) if any(each.block == block for each in item.rounds)]
    first, count = inside[0], len(inside)
    times = next(each.times for each in items[first].rounds if each.block == block)
    length = count // times
    rounds = [items[first + start : first + start + length] for start in range(0, count, max(length, 1))]
    if times < 2 or count % times or not _are_equal(rounds, items[first - 1].name if first else "input"):
        return items
    if _is_used_elsewhere(items, first, count, length):
        return items
    kept = [_as_folded(item, block) for item in rounds[0]]
    names = dict(zip((item.name for item in rounds[-1]), (item.name for item in rounds[0]), strict=True))
    after = [replace(item, inputs=tuple(names.get(name, name) for name in item.inputs)) for item in items[first + count :]]
    return [*items[:first], *kept, *after]


def _as_folded(item: Item, block: tuple[Where, tuple[int, ...]]) -> Item:
    rounds = tuple(replace(each, folded=True) if each.block == block else each for each in item.rounds)
    times = next(each.times for each in rounds if each.block == block)
    return replace(item, rounds=rounds, times=item.times * times)


def _are_equal(rounds: Sequence[Sequence[Item]], before: str) -> bool:
    """Compare the shapes and the wiring of rounds, of which each takes the output of the one before alone."""
    ends = [before, *(each[-1].name for each in rounds)]
    looks = [[_look(item, each, end) for item in each] for each, end in zip(rounds, ends, strict=False)]
    return all(look == looks[0] for look in looks) and not any(None in inputs for _, inputs, *_ in looks[0])


def _look(item: Item, around: Sequence[Item], before: str) -> tuple[object, tuple[int | None, ...], object, int]:
    """Describe an item relative to its round: -1 is the output before the round, None one from farther away."""
    places = {each.name: place for place, each in enumerate(around)} | {before: -1}
    inputs = tuple(places.get(name) for name in item.inputs)
    return item.node.where, inputs, (item.facts.input_shapes, item.facts.output_shape), item.times


def _is_used_elsewhere(items: Sequence[Item], first: int, count: int, length: int) -> bool:
    """Return True if a layer after the repeat takes an output of a round that is not the last."""
    hidden = {item.name for item in items[first : first + count - length]}
    return any(hidden & set(item.inputs) for item in items[first + count :])
