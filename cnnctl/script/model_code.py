"""The network of a config as Keras code, with a definition of each of its blocks.

A block becomes what a Keras user would write: a function that returns a Sequential or a functional model, or a class with
`call`. Uses of a block share it where it would be written alike; otherwise the later ones get a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cnnctl.script.expressions import Call, literal
from cnnctl.script.layer_names import Step, argument_name
from cnnctl.script.network_code import acts_in_training, layer_call
from cnnctl.script.style_code import STYLES
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.groups import Group, local, tree_of
from cnnctl.spec.layers import CLASSES, CustomLayer, Normalization
from cnnctl.spec.layers.blocks import SIGN
from cnnctl.spec.network import Network
from cnnctl.spec.places import definition
from cnnctl.spec.section import Section
from cnnctl.spec.stack import INPUT, Node


class Scope:
    """What the code of one stack has beside its layers: the seeds of random draws, and inside a block its parameters."""

    def __init__(self, inside: bool) -> None:
        self.inside = inside
        self.seeds: list[int] = []
        self.used: set[str] = set()

    def seed(self, value: int) -> str:
        """Return the expression of the next seed: a number, or inside a block an item of its argument `seeds`."""
        self.seeds.append(value)
        return f"seeds[{len(self.seeds) - 1}]" if self.inside else str(value)

    def seeds_of_block(self, values: Sequence[int]) -> str:
        """Return the expression of the seeds of a block inside."""
        start = len(self.seeds)
        self.seeds += values
        return f"seeds[{start}:{len(self.seeds)}]" if self.inside else f"[{', '.join(map(str, values))}]"

    def parameter(self, value: object) -> str:
        """Return the name of a parameter for its `$name`."""
        name = str(value).removeprefix(SIGN)
        self.used.add(name)
        return argument_name(name)


class ModelCode:
    """Generates the code of a network and of its blocks.

    Args:
        experiment: the config.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.network: Network = experiment.network
        self.style = STYLES[experiment.model.style]
        self.shapes = {INPUT: self.network.image} | {facts.name: facts.output_shape for facts in self.network.facts}
        self.places = {node.name: index for index, node in enumerate(self.network.nodes)}
        own = {type(node.layer).__name__ for node in self.network.nodes if isinstance(node.layer, CustomLayer)}
        self.definitions: dict[str, tuple[str, str]] = dict.fromkeys(own, ("", ""))  # names that are taken

    def text(self) -> str:
        """Return the definitions of the blocks, and the code that makes `model`."""
        model = self.style.network(self.network, self.steps(tree_of(self.network.nodes), Scope(inside=False)))
        return "\n\n\n".join([*(text for text, _ in self.definitions.values() if text), model])

    def steps(self, items: Sequence[Node | Group], scope: Scope) -> list[Step]:
        """Return the code of each layer and block of a stack."""
        return [self._of_block(item, scope) if isinstance(item, Group) else self._of_layer(item, scope) for item in items]

    def _of_layer(self, node: Node, scope: Scope) -> Step:
        call = Call("") if node.shares else self._layer_call(node, scope)
        is_named = node.layer.name is not None and not node.shares
        trains = acts_in_training(node.layer)
        # A normalization that is built inside `call` would have constants of a graph that is gone.
        built = literal((None, *self.shapes[node.inputs[0]])) if isinstance(node.layer, Normalization) else ""
        shape = self.shapes[node.name]
        return Step(node.name, local(node.name), node.inputs, call, local(node.owner), is_named, trains, shape, built)

    def _layer_call(self, node: Node, scope: Scope) -> Call:
        raw = self._raw(node.where)
        parameters = {
            field: scope.parameter(value)
            for field, value in raw.items()
            if _is_parameter(value) and not isinstance(getattr(node.layer, field), Section)
        }
        last = node is self.network.nodes[-1]
        return layer_call(node, self.places[node.name], self.experiment, last, parameters, scope.seed)

    def _of_block(self, block: Group, scope: Scope) -> Step:
        call = Call("") if block.shares else self._block_call(block, scope)
        is_named = block.use.name is not None and not block.shares
        return Step(
            block.output, local(block.name), block.inputs, call, local(block.owner), is_named, True, self.shapes[block.output]
        )

    def _block_call(self, block: Group, scope: Scope) -> Call:
        """Define a block, unless it is already defined alike, and return the call that makes it."""
        inside = Scope(inside=True)
        steps = self.steps(block.items, inside)
        names = [name for name in block.use.arguments if name in inside.used]
        raw = self._raw(block.where)
        given = {name: raw.get(name, block.use.arguments[name]) for name in names}
        arguments = [
            f"{argument_name(name)}={scope.parameter(value) if _is_parameter(value) else _value(value)}"
            for name, value in given.items()
        ]
        parameters = [argument_name(name) for name in names]
        if inside.seeds:
            parameters.append("seeds")
            arguments.append(f"seeds={scope.seeds_of_block(inside.seeds)}")
        made = self.style.made_of(tuple(self.shapes[name] for name in block.inputs))
        defined, name = self._defined(block, steps, parameters), local(block.name)
        if block.use.name or not self.style.names_like_keras(defined, block.kind):
            arguments.append(f"name={literal(name)}")
        return Call(defined, (*made, *arguments))

    def _defined(self, block: Group, steps: Sequence[Step], parameters: Sequence[str]) -> str:
        """Return the name of the definition of a block, a new one if none of the block's is alike."""
        plain, number = self.style.block_name(block.kind), 1
        while True:
            name = plain if number == 1 else f"{plain}{number}"
            text = self.style.block(block, name, steps, parameters)
            if self.definitions.setdefault(name, (text, block.kind)) == (text, block.kind):
                return name
            number += 1

    def _raw(self, where: Sequence[Any]) -> Mapping[str, Any]:
        """Return the fields of a layer or block as written in the block around it; none at the top and for a bare name."""
        path = definition(tuple(where))
        if path[:2] != ("model", "blocks"):
            return {}
        content: Any = self.experiment.model.blocks[str(path[2])].layers
        for key in path[4:]:
            if isinstance(content, str):
                return {}
            content = content[key]
        return content or {}


def _is_parameter(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SIGN)


def _value(value: object) -> str:
    return "CLASSES" if value == CLASSES else literal(value)
