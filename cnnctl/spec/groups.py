"""The network as a tree: layers, and blocks with their layers inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from cnnctl.spec.document import Where
from cnnctl.spec.layers import IN_BLOCK, BlockUse, Repeat
from cnnctl.spec.section import Section
from cnnctl.spec.stack import INSIDE, Node


@dataclass(frozen=True)
class Group:
    """A block of the network.

    Attributes:
        name: its full name, such as `residual_1`, or `stage/residual_1` inside another block.
        items: its layers and blocks in order of computation.
        inputs: the full names of the layers outside whose outputs it takes, in the order of the config.
        output: the full name of the layer that makes its output.
        shares: the full name of the block whose weights it uses; empty for its own.
        where: the path of its use in the config.
        use: the block with its parameters filled in.
    """

    name: str
    items: tuple[Node | Group, ...]
    inputs: tuple[str, ...]
    output: str
    shares: str
    where: Where
    use: BlockUse

    @property
    def kind(self) -> str:
        """The name of its block in `model.blocks`."""
        return self.use.kind

    @property
    def owner(self) -> str:
        """The full name of the block that has the weights: its own, or that of the block it shares."""
        return self.shares or self.name

    @property
    def title(self) -> str:
        """Its name inside the block around it, with the block's name in `model.blocks` where it does not begin with that."""
        name = local(self.name)
        return name if name.startswith(self.kind) else f"{name} ({self.kind})"

    @property
    def shared_here(self) -> str:
        """The name beside it of the block whose weights it uses; empty where that follows from the block around it."""
        around, _, name = self.shares.rpartition(INSIDE)
        return name if around == self.name.rpartition(INSIDE)[0] else ""

    @property
    def nodes(self) -> Iterator[Node]:
        """All layers inside, those of inner blocks too."""
        for item in self.items:
            yield from item.nodes if isinstance(item, Group) else (item,)


@dataclass(frozen=True)
class Enclosing:
    """One round of a `repeat`, or one use of a block, that a layer is in.

    Attributes:
        where: the path of the repeat or of the use.
        outer: the rounds of those around it.
        number: the round, from 0.
        times: the rounds of the repeat; 1 for a block.
        block: the use of the block; None for a repeat.
    """

    where: Where
    outer: tuple[int, ...]
    number: int
    times: int
    block: Group | None = None


def local(name: str) -> str:
    """Return the last part of a full name: the layer's name inside its block."""
    return name.rpartition(INSIDE)[2]


def tree_of(nodes: Sequence[Node], depth: int = 0) -> list[Node | Group]:
    """Group the layers of a network by the blocks that they are in.

    Args:
        nodes: the layers in order of computation.
        depth: the number of blocks around all of them.
    """
    items: list[Node | Group] = []
    for block, inside in groupby(nodes, lambda node: node.blocks[: depth + 1]):
        if len(block) > depth:
            items.append(_group(INSIDE.join(block), list(inside), depth))
        else:
            items += inside
    return items


def groups_of(nodes: Sequence[Node]) -> Iterator[Group]:
    """Yield all blocks of a network, each before those inside it."""
    yield from _inside(tree_of(nodes))


def _inside(items: Sequence[Node | Group]) -> Iterator[Group]:
    for item in items:
        if isinstance(item, Group):
            yield item
            yield from _inside(item.items)


def enclosing(nodes: Sequence[Node], layers: Sequence[Section]) -> list[tuple[Enclosing, ...]]:
    """List the repeats and blocks around each layer of a network, outermost first.

    Args:
        nodes: the layers.
        layers: the stack of the config that they come from.
    """
    groups = {group.name: group for group in groups_of(nodes)}
    seen: Counter[Where] = Counter()
    found = []
    for node in nodes:
        found.append(_rounds(list(_around(node, layers, groups)), seen[node.where]))
        seen[node.where] += 1
    return found


def _rounds(around: Sequence[tuple[Where, int, Group | None]], occurrence: int) -> tuple[Enclosing, ...]:
    """Compute the rounds of the layer that is the `occurrence`-th one built from a place in the config."""
    numbers: list[int] = []
    for _, times, _ in reversed(around):  # the innermost repeat counts fastest
        occurrence, number = divmod(occurrence, times)
        numbers.insert(0, number)
    return tuple(
        Enclosing(where, tuple(numbers[:depth]), numbers[depth], times, block)
        for depth, (where, times, block) in enumerate(around)
    )


def _around(node: Node, layers: Sequence[Section], groups: Mapping[str, Group]) -> Iterator[tuple[Where, int, Group | None]]:
    """Yield the path of each repeat and block around a layer, outermost first, with its rounds or the block."""
    depth = 0
    for end, key in enumerate(node.where):
        if key == IN_BLOCK:
            depth += 1
            group = groups[INSIDE.join(node.blocks[:depth])]
            layers = group.use.layers
            yield node.where[:end], 1, group
        elif isinstance(key, int):
            item = layers[key] if key < len(layers) else None  # the head that maml adds is not in the config
            if isinstance(item, Repeat):
                layers = item.layers
                yield node.where[: end + 2], item.times, None


def relative(name: str, to: str) -> str:
    """Return the full name of a layer as it is written beside another: without the blocks that both are in."""
    parts, others = name.split(INSIDE), to.split(INSIDE)
    while len(parts) > 1 and len(others) > 1 and parts[0] == others[0]:
        parts, others = parts[1:], others[1:]
    return INSIDE.join(parts)


def _group(name: str, nodes: Sequence[Node], depth: int) -> Group:
    first = nodes[0]
    call = first.calls[depth]
    shares = INSIDE.join(first.shares.split(INSIDE)[: depth + 1]) if first.shares else ""
    ends = [index for index, key in enumerate(first.where) if key == IN_BLOCK]
    return Group(
        name,
        tuple(tree_of(nodes, depth + 1)),
        call.inputs,
        nodes[-1].name,
        shares,
        first.where[: ends[depth]],
        call.use,
    )
