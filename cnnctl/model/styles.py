"""Build a stack in one of three styles: Sequential, functional and a subclassed `keras.Model`.

A block of the config is a model inside the model: a nested Sequential, a nested functional model, or a custom layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from cnnctl.model.adapted import Moments, set_moments
from cnnctl.model.custom_calls import check_custom_layers
from cnnctl.model.custom_class import MODULE
from cnnctl.model.keras_layers import acts_in_training, keras_layers, repaired
from cnnctl.spec import layers as L
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.groups import Group, local, tree_of
from cnnctl.spec.stack import INPUT, INSIDE, Node

Layers = Mapping[str, keras.Layer]
"""Keras layers by the full name of their node."""
Wiring = dict[str, list[str]]
"""The names of the inputs of each layer, in order of computation."""


def build_model(
    experiment: Experiment,
    precision: str | None = None,
    twice_differentiable: bool = False,
    moments: Moments | None = None,
) -> keras.Model:
    """Build the network of a checked experiment in its style.

    The initial weights depend only on the seed and the stack: they are bit-identical in the three styles.

    Args:
        experiment: the config; an unresolved precision `auto` is float32.
        precision: a Keras dtype policy that replaces that of the config; `float64` is for gradient checks.
        twice_differentiable: whether gradients through gradients will be computed, as in MAML; the weights are
            those of the plain network.
        moments: mean and variance of the training images for layers that need them; without, 0 and 1.
    """
    network = experiment.network
    precision = precision or on_any_machine(experiment).train.precision
    check_custom_layers(network, precision)
    layers = keras_layers(
        network.nodes,
        experiment.seed,
        network.context,
        precision,
        twice_differentiable,
    )
    for node, facts in zip(network.nodes, network.facts, strict=True):
        if isinstance(node.layer, L.Normalization):  # else a subclassed model would build it in a graph, with constants of it
            layers[node.name].build((None, *facts.input_shapes[0]))
    model = STYLES[experiment.model.style](layers, network.nodes, network.image)
    set_moments(model, moments or {})
    return model


def build_sequential(layers: Layers, nodes: Sequence[Node], image: tuple[int, ...]) -> keras.Model:
    """Build a `keras.Sequential`; each layer takes the one before, and a block is a Sequential inside."""
    return _in_a_row(layers, tree_of(nodes), keras.Input(image, name=INPUT))


def _in_a_row(layers: Layers, items: Sequence[Node | Group], tensor: Any, name: str | None = None) -> keras.Model:
    """Build a Sequential; `tensor` is its input, which a Sequential inside would name by the number of those before."""
    made = [tensor]
    for item in items:
        if isinstance(item, Group):
            inside = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=INPUT)
            made.append(_in_a_row(layers, item.items, inside, local(item.name)))
        else:
            made.append(layers[item.name])
        tensor = keras.KerasTensor(made[-1].compute_output_shape(tensor.shape), dtype=made[-1].compute_dtype)
    return keras.Sequential(made, name=name)


def build_functional(layers: Layers, nodes: Sequence[Node], image: tuple[int, ...]) -> keras.Model:
    """Build a functional `keras.Model`: layers called on symbolic tensors, and a block is a model inside."""
    tensors = {INPUT: keras.Input(image, name=INPUT)}
    _call_all(layers, tree_of(nodes), tensors, {})
    return keras.Model(tensors[INPUT], tensors[nodes[-1].name])


def _call_all(layers: Layers, items: Sequence[Node | Group], tensors: dict[str, Any], blocks: dict[str, keras.Model]) -> None:
    """Call layers and blocks on symbolic tensors, by full name; `blocks` has those built so far."""
    for item in items:
        taken = _taken(tensors, item.inputs)
        if isinstance(item, Group):
            if item.owner not in blocks:
                blocks[item.owner] = _functional_block(layers, item, tensors, blocks)
            tensors[item.output] = blocks[item.owner](taken)
        else:
            tensors[item.name] = layers[item.name](taken)


def _functional_block(layers: Layers, block: Group, around: Mapping[str, Any], blocks: dict[str, keras.Model]) -> keras.Model:
    names = _input_names(block)
    inputs = {
        outer: keras.Input(around[outer].shape[1:], dtype=around[outer].dtype, name=name) for outer, name in names.items()
    }
    tensors = dict(inputs)
    _call_all(layers, block.items, tensors, blocks)
    taken = list(inputs.values())
    return keras.Model(taken if len(taken) > 1 else taken[0], tensors[block.output], name=local(block.name))


def _input_names(block: Group) -> dict[str, str]:
    """Name the inputs of a block inside: `input`, or `input_1`, `input_2` and so on."""
    if len(block.inputs) == 1:
        return {block.inputs[0]: INPUT}
    return {outer: f"{INPUT}_{number}" for number, outer in enumerate(block.inputs, 1)}


def build_subclass(layers: Layers, nodes: Sequence[Node], image: tuple[int, ...]) -> keras.Model:
    """Build a `StackModel` and call it once, since an optimizer needs its variables."""
    model = StackModel(**_described(layers, tree_of(nodes), {INPUT: INPUT}))
    model(keras.ops.zeros((1, *image)))
    return model


def _described(layers: Layers, items: Sequence[Node | Group], names: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of `StackModel` or `Block` for the items of one level.

    Args:
        layers: the Keras layers.
        items: the layers and blocks of the level.
        names: the names here of the inputs of the level, by full name.
    """
    configs, wiring, shared = [], {}, {}
    for item in items:
        name = local(item.name)
        if not item.shares:
            configs.append(keras.layers.serialize(_block(layers, item) if isinstance(item, Group) else layers[item.name]))
        else:
            shared[name] = local(item.owner)
        wiring[name] = [names[outer] for outer in item.inputs]
        names = {**names, item.output if isinstance(item, Group) else item.name: name}
    return {"layer_configs": configs, "wiring": wiring} | ({"shared": shared} if shared else {})


def _block(layers: Layers, block: Group) -> Block:
    names = _input_names(block)
    return Block(**_described(layers, block.items, names), inputs=list(names.values()), name=local(block.name))


STYLES: dict[str, Callable[[Layers, Sequence[Node], tuple[int, ...]], keras.Model]] = {
    "sequential": build_sequential,
    "functional": build_functional,
    "subclass": build_subclass,
}


class _Stack:
    """Layers created in `__init__` and used in `call`, for `StackModel` and `Block`."""

    stack: list[keras.Layer]

    def _create(self, layer_configs: list[dict[str, Any]], wiring: Wiring, shared: dict[str, str] | None) -> None:
        self.layer_configs = layer_configs
        self.wiring = wiring
        self.shared = shared or {}
        self.stack = [repaired(keras.layers.deserialize(config)) for config in layer_configs]

    def _output(self, inputs: dict[str, Any], training: bool) -> Any:
        by_name = {layer.name: layer for layer in self.stack}
        layers = {name: by_name[self.shared.get(name, name)] for name in self.wiring}
        return outputs_of_layers(layers, self.wiring, inputs, training)[list(self.wiring)[-1]]

    def _arguments(self) -> dict[str, Any]:
        shared = {"shared": self.shared} if self.shared else {}
        return {"layer_configs": self.layer_configs, "wiring": self.wiring, **shared}


@keras.saving.register_keras_serializable(package="cnnctl")
class StackModel(_Stack, keras.Model):
    """A stack as a subclassed model.

    Args:
        layer_configs: the result of `keras.layers.serialize` for each layer, in order of computation.
        wiring: the names of the input layers of each layer; `input` is the images.
        shared: the layers whose weights other layers of `wiring` use.
    """

    def __init__(
        self, layer_configs: list[dict[str, Any]], wiring: Wiring, shared: dict[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._create(layer_configs, wiring, shared)

    def call(self, images: Any, training: bool = False) -> Any:
        """Compute the output of the last layer for `images` (B, H, W, C)."""
        return self._output({INPUT: images}, training)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`, so that Keras can save and load the model."""
        return {**super().get_config(), **self._arguments()}


@keras.saving.register_keras_serializable(package="cnnctl")
class Block(_Stack, keras.layers.Layer):
    """A block of a config as a custom layer.

    Args:
        layer_configs, wiring, shared: as for `StackModel`.
        inputs: the names in `wiring` of what the block takes.
    """

    def __init__(
        self,
        layer_configs: list[dict[str, Any]],
        wiring: Wiring,
        inputs: list[str],
        shared: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._create(layer_configs, wiring, shared)
        self.input_names = inputs

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Compute the output of the last layer for one tensor (B, ...), or a list of them."""
        taken = inputs if len(self.input_names) > 1 else [inputs]
        return self._output(dict(zip(self.input_names, taken, strict=True)), training)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`, so that Keras can save and load the layer."""
        return {**super().get_config(), **self._arguments(), "inputs": self.input_names}


def layers_by_name(network: keras.Model) -> dict[str, keras.Layer]:
    """Find the layers of a network of any style by the full names of their nodes."""
    found: dict[str, keras.Layer] = {}
    for layer in network.stack if isinstance(network, _Stack) else network.layers:
        if isinstance(layer, Block | keras.Model) and type(layer).__module__ != MODULE:  # a class of the user is one layer
            found |= {f"{layer.name}{INSIDE}{name}": inner for name, inner in layers_by_name(layer).items()}
        elif not isinstance(layer, keras.layers.InputLayer):
            found[layer.name] = layer
    return found


def layers_of(network: keras.Model, nodes: Sequence[Node]) -> dict[str, keras.Layer]:
    """Return the Keras layer of each node of a network, by the node's name; nodes that share weights have the same one."""
    known = layers_by_name(network)
    return {node.name: known[node.owner] for node in nodes}


def wiring_of(nodes: Sequence[Node]) -> Wiring:
    """Return the names of the inputs of each node."""
    return {node.name: list(node.inputs) for node in nodes}


def outputs_of_layers(layers: Layers, wiring: Wiring, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
    """Compute the output of each layer by name, with the inputs themselves under their names.

    Args:
        layers: by the names of `wiring`.
        wiring: in order of computation.
        inputs: the inputs by name, such as the images (B, H, W, C) as `input`.
        training: whether dropout and batch norm act as in training.
    """
    tensors = dict(inputs)
    for name, taken in wiring.items():
        layer = layers[name]
        if isinstance(layer, Block) or acts_in_training(layer):
            tensors[name] = layer(_taken(tensors, taken), training=training)
        else:
            tensors[name] = layer(_taken(tensors, taken))
    return tensors


def _taken(tensors: Mapping[str, Any], names: Sequence[str]) -> Any:
    return tensors[names[0]] if len(names) == 1 else [tensors[name] for name in names]
