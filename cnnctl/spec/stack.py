"""The stack as a graph: repeats expanded, layers named, inputs resolved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cnnctl.errors import suggestion
from cnnctl.spec.document import Where
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.layers import Join, Layer, Repeat
from cnnctl.spec.section import Section, show

INPUT = "input"
"""The name of the network's input in the `inputs` of a layer."""

MAX_LAYERS = 10_000
MAX_NAMES = 20
"""Most layers named in one message."""

Complaint = tuple[Where, str]
"""The path of an error in the config, and its message."""


@dataclass(frozen=True)
class Node:
    """One layer of the network.

    Attributes:
        name: its unique name.
        layer: its spec.
        inputs: the names of its inputs; `input` is the image.
        where: its path in the config.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    where: Where


@dataclass(frozen=True)
class _Written:
    """A layer of the expanded stack, before names and inputs are resolved."""

    layer: Layer
    where: Where
    scope: str  # the suffix that enclosing repeats add to names, such as _2


def nodes_of(model: ModelSpec) -> tuple[list[Node], list[Complaint]]:
    """Expand the stack into nodes in order of computation; return them with the errors of their wiring."""
    count = _count(model.layers)
    if count > MAX_LAYERS:
        message = f"the repeats make {count:,} layers; the maximum is {MAX_LAYERS:,}; lower times"
        return [], [(("model", "layers"), message)]
    written = list(_written_out(model.layers, ("model", "layers"), ""))
    nodes, complaints = _wired(written, _names(written))
    if not complaints:
        complaints = [*_unused(nodes), *(_branches(nodes) if model.style == "sequential" else [])]
    return nodes, complaints


def _count(items: Sequence[Section]) -> int:
    return sum(item.times * _count(item.layers) if isinstance(item, Repeat) else 1 for item in items)


def _written_out(items: Sequence[Section], where: Where, scope: str) -> Iterator[_Written]:
    for index, item in enumerate(items):
        here = (*where, index, item.kind)
        if isinstance(item, Repeat):
            for time in range(item.times):
                yield from _written_out(item.layers, (*here, "layers"), f"{scope}_{time + 1}")
        else:
            assert isinstance(item, Layer)
            yield _Written(item, here, scope)


def _names(written: Sequence[_Written]) -> list[str]:
    """Name each layer: its own name, or its kind with a number from the second on, as in Keras."""
    taken = {each.layer.name + each.scope for each in written if each.layer.name}
    counts: Counter[str] = Counter()
    names = []
    for each in written:
        if each.layer.name:
            names.append(each.layer.name + each.scope)
            continue
        while True:
            number, counts[each.layer.kind] = counts[each.layer.kind], counts[each.layer.kind] + 1
            name = f"{each.layer.kind}_{number}" if number else each.layer.kind
            if name not in taken:
                break
        names.append(name)
    return names


def _wired(written: Sequence[_Written], names: Sequence[str]) -> tuple[list[Node], list[Complaint]]:
    nodes: list[Node] = []
    complaints: list[Complaint] = []
    known, all_names = {INPUT}, frozenset(names)
    reported: set[Where] = set()
    for each, name in zip(written, names, strict=True):
        before = (nodes[-1].name if nodes else INPUT,)
        inputs = before if each.layer.inputs is None else tuple(_resolved(each, word, known) for word in each.layer.inputs)
        if each.where not in reported:  # an error in one round of a repeat is in all rounds
            found = _wired_wrongly(each, name, inputs, known, all_names)
            complaints += found
            reported.update(each.where for _ in found)
        nodes.append(Node(name, each.layer, inputs, each.where))
        known.add(name)
    return nodes, complaints


def _wired_wrongly(
    each: _Written, name: str, inputs: tuple[str, ...], known: set[str], names: frozenset[str]
) -> list[Complaint]:
    complaints: list[Complaint] = []
    if name in known:
        reason = "is the network's input" if name == INPUT else "is the name of an earlier layer"
        complaints.append(((*each.where, "name"), f"'{name}' {reason}; names must be unique; remove it, or choose another"))
    where = (*each.where, "inputs")
    complaints += [(where, _no_such_input(word, name, known, names)) for word in inputs if word not in known]
    if len(inputs) > 1 and not isinstance(each.layer, Join):
        complaints.append((where, f"takes one input, received {len(inputs)}; join them with add or concatenate"))
    return complaints


def _resolved(each: _Written, word: str, known: set[str]) -> str:
    """Resolve an input name to a full name; inside a repeat the layer of the same round has precedence."""
    scope = each.scope
    while scope:
        if word + scope in known:
            return word + scope
        scope = scope.rpartition("_")[0]
    return word


def _no_such_input(word: str, name: str, known: set[str], names: frozenset[str]) -> str:
    if word == name:
        return f"'{word}' would be its own input: a cycle"
    if word in names:
        return f"'{word}' comes later, but a layer can only take outputs of layers above it"
    above = ", ".join(sorted(known)) if len(known) <= MAX_NAMES else f"{len(known):,} layers and the input"
    return f"there is no layer {show(word)}{suggestion(word, known) or f'; known: {above}'}"


def _unused(nodes: Sequence[Node]) -> list[Complaint]:
    taken = {name for node in nodes for name in node.inputs}
    last = nodes[-1].name
    unused: dict[Where, str] = {}  # the rounds of a repeat share a path; report the first
    for node in nodes:
        if node.name not in taken and node.name != last:
            message = f"no layer takes the output of '{node.name}'; add it to the inputs of a layer, or remove it"
            unused.setdefault(node.where, message)
    return list(unused.items())


def _branches(nodes: Sequence[Node]) -> list[Complaint]:
    before = INPUT
    for node in nodes:
        if node.inputs != (before,):
            takes = ", ".join(node.inputs)
            message = f"takes {takes}, but in a sequential model each layer takes the one before ({before})"
            return [(node.where, f"{message}; write style: functional under model, or subclass")]
        before = node.name
    return []


def without(nodes: Sequence[Node], where: Where) -> list[Node]:
    """Remove one written layer from the stack; its input goes to the layers that took its output."""
    passed_on: dict[str, str] = {}
    remaining: list[Node] = []
    for node in nodes:
        inputs = tuple(passed_on.get(word, word) for word in node.inputs)
        if node.where == where:
            passed_on[node.name] = inputs[0]
        else:
            remaining.append(replace(node, inputs=inputs))
    return remaining


def below(nodes: Sequence[Node], node: Node, target: Node) -> list[Node]:
    """Move one layer to just below another; return an empty list if a repeat builds either more than once."""
    if sum(other.where in (node.where, target.where) for other in nodes) > 2:
        return []
    moved: list[Node] = []
    for other in without(nodes, node.where):
        moved.append(replace(other, inputs=tuple(node.name if word == target.name else word for word in other.inputs)))
        if other.name == target.name:
            moved.append(replace(node, inputs=(target.name,)))
    return moved
