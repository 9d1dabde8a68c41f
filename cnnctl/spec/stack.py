"""The stack as a graph: repeats and blocks expanded, layers named, inputs resolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from cnnctl.errors import counted, suggestion
from cnnctl.spec.document import Where
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.layers import IN_BLOCK, BlockUse, Join, Layer, Repeat, Use
from cnnctl.spec.places import definition
from cnnctl.spec.section import Section, show

INPUT = "input"
"""The name of the network's input in the `inputs` of a layer, and of a block's input inside the block."""
INSIDE = "/"
"""Between the name of a block and the name of a layer inside, in the full name of the layer."""

MAX_LAYERS = 10_000
MAX_NAMES = 20
"""Most layers named in one message."""

Complaint = tuple[Where, str]
"""The path of an error in the config, and its message."""


@dataclass(frozen=True)
class BlockCall:
    """A block around a layer, with the full names of the layers outside whose outputs it takes, in the order of the config."""

    use: BlockUse
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One layer of the network.

    Attributes:
        name: its unique name; inside a block after the block's, such as `residual_1/conv2d`.
        layer: its spec.
        inputs: the full names of its inputs; `input` is the image.
        where: its path in the config; inside a block the path of the use, `IN_BLOCK` and the path in the block.
        shares: the full name of the layer whose weights it uses; empty for its own.
        calls: the blocks that it is in, outermost first.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    where: Where
    shares: str = ""
    calls: tuple[BlockCall, ...] = ()

    @property
    def written(self) -> Where:
        """The path in the config where its layer is written: the same for all uses of a block."""
        return definition(self.where)

    @property
    def owner(self) -> str:
        """The full name of the layer that has the weights: its own, or that of the layer it shares."""
        return self.shares or self.name

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of the blocks that it is in, outermost first."""
        return tuple(self.name.split(INSIDE)[:-1])


@dataclass(frozen=True)
class _Written:
    """An item of a stack with repeats expanded, before names and inputs are resolved."""

    item: Layer
    where: Where
    scope: str  # the suffix that enclosing repeats add to names, such as _2


def nodes_of(model: ModelSpec) -> tuple[list[Node], list[Complaint]]:
    """Expand the stack into nodes in order of computation; return them with the errors of their wiring."""
    count = _count(model.layers)
    if count > MAX_LAYERS:
        message = f"repeats and blocks make {count:,} layers; the maximum is {MAX_LAYERS:,}; lower times, or use fewer blocks"
        return [], [(("model", "layers"), message)]
    level = _Level("", {INPUT: INPUT}, INPUT)
    level.add(_written_out(model.layers, ("model", "layers"), ""))
    complaints = level.complaints
    if not complaints:
        complaints = _branches(level.nodes) if model.style == "sequential" else []
    return level.nodes, [*complaints, *_unused_blocks(model)]


def _count(items: Sequence[Section]) -> int:
    """Count the layers of a stack; equal uses of a block share their stack, which is counted once."""
    known: dict[int, int] = {}

    def of(stack: Sequence[Section]) -> int:
        if id(stack) not in known:
            known[id(stack)] = sum(map(of_item, stack))
        return known[id(stack)]

    def of_item(item: Section) -> int:
        return getattr(item, "times", 1) * of(item.layers) if isinstance(item, Repeat | BlockUse) else 1

    return of(items)


def _written_out(items: Sequence[Section], where: Where, scope: str) -> list[_Written]:
    written = []
    for index, item in enumerate(items):
        here = (*where, index, item.kind)
        if isinstance(item, Repeat):
            for time in range(item.times):
                written += _written_out(item.layers, (*here, "layers"), f"{scope}_{time + 1}")
        else:
            assert isinstance(item, Layer)
            written.append(_Written(item, here, scope))
    return written


def _names(written: Sequence[_Written], inputs: Collection[str]) -> list[str]:
    """Name each item: its own name, or its kind with a number from the second on, as in Keras."""
    taken = {*inputs, *(each.item.name + each.scope for each in written if each.item.name)}
    counts: Counter[str] = Counter()
    names = []
    for each in written:
        if each.item.name:
            names.append(each.item.name + each.scope)
            continue
        while True:
            number, counts[each.item.kind] = counts[each.item.kind], counts[each.item.kind] + 1
            name = f"{each.item.kind}_{number}" if number else each.item.kind
            if name not in taken:
                break
        names.append(name)
    return names


class _Level:
    """The stack of the network or of one block while it is expanded.

    Args:
        prefix: what precedes the names of its layers: the names of the blocks around it.
        known: the full name of the output of each item by its name here; at first those of the inputs.
        first: the name here of what the first item takes.
        shared: what precedes the names of the layers whose weights it uses, where a block is used again.
        calls: the blocks around it, outermost first.
    """

    def __init__(
        self, prefix: str, known: Mapping[str, str], first: str, shared: str = "", calls: tuple[BlockCall, ...] = ()
    ) -> None:
        self.prefix = prefix
        self.known = dict(known)
        self.inputs = frozenset(known)
        self.last = first
        self.shared = shared
        self.calls = calls
        self.nodes: list[Node] = []
        self.complaints: list[Complaint] = []
        self._items: dict[str, Layer] = {}
        self._owners: dict[str, str] = {}
        self._unused: dict[str, Where] = {}

    def add(self, written: Sequence[_Written]) -> None:
        """Expand all items of the stack; an error in one round of a repeat is in all rounds, and reported once."""
        names = _names(written, self.inputs - {INPUT})
        all_names = frozenset(names)
        reported: set[Where] = set()
        for each, name in zip(written, names, strict=True):
            words = [self.last] if each.item.inputs is None else [self._resolved(each, word) for word in each.item.inputs]
            item, owner = self._target(each)
            if each.where not in reported:
                found = [*_wired_wrongly(each, name, words, self.known, all_names), *self._used_wrongly(each, all_names)]
                found += [((*each.where, "inputs"), message) for message in _wrong_count(item, words)]
                self.complaints += found
                reported.update(each.where for _ in found)
            self._expand(item, each.where, name, words, owner)
        if not self.complaints:
            self.complaints = self._without_use(written[-1].where)

    def _target(self, each: _Written) -> tuple[Layer, str]:
        """Return the layer or block that an item builds, and the full name of that whose weights it uses, if any."""
        if not isinstance(each.item, Use):
            return each.item, ""
        word = self._resolved(each, each.item.layer)
        return self._items.get(word, each.item), self._owners.get(word, "")

    def _expand(self, item: Layer, where: Where, name: str, words: Sequence[str], owner: str) -> None:
        owner = owner or (self.shared + name if self.shared else "")
        inputs = tuple(self.known.get(word, word) for word in words)
        if isinstance(item, BlockUse):
            use = where if where[-1] == item.kind else (*where, item.kind)  # of `use`, which names a block
            output = self._expand_block(item, use, name, inputs, owner)
        else:
            output = self.prefix + name
            self.nodes.append(Node(output, item, inputs, where, owner, self.calls))
        for word in words:
            self._unused.pop(word, None)
        self._items[name], self._owners[name], self._unused[name] = item, owner or self.prefix + name, where
        self.known[name], self.last = output, name

    def _expand_block(self, block: BlockUse, where: Where, name: str, inputs: Sequence[str], owner: str) -> str:
        """Expand a block; return the full name of the layer that makes its output."""
        known = dict(
            zip_longest(block.takes, inputs[: len(block.takes)], fillvalue=inputs[0])
        )  # a wrong number is reported once
        shared = f"{owner}{INSIDE}" if owner else ""
        level = _Level(
            f"{self.prefix}{name}{INSIDE}", known, block.takes[0], shared, (*self.calls, BlockCall(block, tuple(inputs)))
        )
        level.add(_written_out(block.layers, (*where, IN_BLOCK, "layers"), ""))
        self.nodes += level.nodes
        self.complaints += level.complaints
        return level.nodes[-1].name

    def _resolved(self, each: _Written, word: str) -> str:
        """Resolve an input name; inside a repeat the layer of the same round has precedence."""
        scope = each.scope
        while scope:
            if word + scope in self.known:
                return word + scope
            scope = scope.rpartition("_")[0]
        return word

    def _used_wrongly(self, each: _Written, names: Collection[str]) -> Iterator[Complaint]:
        if not isinstance(each.item, Use):
            return
        word, where = self._resolved(each, each.item.layer), (*each.where, "layer")
        if word in self.inputs:
            yield where, f"'{word}' is an input, not a layer"
        elif word not in self.known:
            yield where, _no_such_input(word, "", self.known, names)

    def _without_use(self, end: Where) -> list[Complaint]:
        """Report items whose output nobody takes, and inputs of a block that no layer takes."""
        unused: dict[Where, str] = {}  # the rounds of a repeat share a path; report the first
        for name, where in self._unused.items():
            if name != self.last:
                unused.setdefault(
                    where, f"no layer takes the output of '{name}'; add it to the inputs of a layer, or remove it"
                )
        return [*unused.items(), *self._inputs_without_use(end)]

    def _inputs_without_use(self, end: Where) -> Iterator[Complaint]:
        if self.prefix:  # the image may be unused: `oddities` says so
            taken = {name for node in self.nodes for name in node.inputs}
            for word in sorted(self.inputs):
                if self.known[word] not in taken:
                    yield end, f"no layer of the block takes its input '{word}'"


def _wired_wrongly(
    each: _Written, name: str, words: Sequence[str], known: Mapping[str, str], names: Collection[str]
) -> list[Complaint]:
    complaints: list[Complaint] = []
    if name in known:
        reason = "is the network's input" if name == INPUT else "is the name of an earlier layer"
        complaints.append(((*each.where, "name"), f"'{name}' {reason}; names must be unique; remove it, or choose another"))
    where = (*each.where, "inputs")
    complaints += [(where, _no_such_input(word, name, known, names)) for word in words if word not in known]
    return complaints


def _wrong_count(item: Layer, words: Sequence[str]) -> Iterator[str]:
    """Describe a wrong number of inputs, and an input that a block takes twice."""
    count = len(words)
    if isinstance(item, BlockUse) and count != len(item.takes):
        yield f"{item.kind} takes {counted(len(item.takes), 'input')} ({', '.join(item.takes)}), received {count}"
    elif isinstance(item, BlockUse) and len(set(words)) < count:
        yield f"{item.kind} takes {counted(count, 'different input')}, received {', '.join(words)}"
    elif count > 1 and not isinstance(item, Join | BlockUse | Use):
        yield f"takes one input, received {count}; join them with add or concatenate"


def _no_such_input(word: str, name: str, known: Collection[str], names: Collection[str]) -> str:
    if word == name:
        return f"'{word}' would be its own input: a cycle"
    if word in names:
        return f"'{word}' comes later, but a layer can only take outputs of layers above it"
    above = ", ".join(sorted(known)) if len(known) <= MAX_NAMES else f"{len(known):,} layers and the input"
    return f"there is no layer {show(word)}{suggestion(word, known) or f'; known: {above}'}"


def _branches(nodes: Sequence[Node]) -> list[Complaint]:
    before = INPUT
    for node in nodes:
        remedy = "write style: functional under model, or subclass"
        if node.inputs != (before,):
            takes = ", ".join(node.inputs)
            message = f"takes {takes}, but in a sequential model each layer takes the one before ({before})"
            return [(node.where, f"{message}; {remedy}")]
        if node.shares:
            return [(node.where, f"a sequential model cannot use a layer twice; {remedy}")]
        before = node.name
    return []


def _unused_blocks(model: ModelSpec) -> list[Complaint]:
    used: set[str] = set()

    def look(items: Sequence[Section]) -> None:
        for item in items:
            if isinstance(item, BlockUse):
                used.add(item.kind)
            if isinstance(item, Repeat | BlockUse):
                look(item.layers)

    look(model.layers) if model.blocks else None
    message = "no layer uses this block; remove it, or add it to model.layers: - {}"
    return [(("model", "blocks", name), message.format(name)) for name in model.blocks if name not in used]


def without(nodes: Sequence[Node], written: Where) -> list[Node]:
    """Remove one written layer from the stack; its input goes to the layers that took its output."""
    passed_on: dict[str, str] = {}
    remaining: list[Node] = []
    for node in nodes:
        inputs = tuple(passed_on.get(word, word) for word in node.inputs)
        if node.written == written:
            passed_on[node.name] = inputs[0]
        else:
            remaining.append(replace(node, inputs=inputs))
    return remaining


def below(nodes: Sequence[Node], node: Node, target: Node) -> list[Node]:
    """Move one layer to just below another; return an empty list if a repeat or block builds either more than once."""
    if sum(other.written in (node.written, target.written) for other in nodes) > 2:
        return []
    moved: list[Node] = []
    for other in without(nodes, node.written):
        moved.append(replace(other, inputs=tuple(node.name if word == target.name else word for word in other.inputs)))
        if other.name == target.name:
            moved.append(replace(node, inputs=(target.name,)))
    return moved
