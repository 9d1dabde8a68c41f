"""Build a stack in one of three styles: Sequential, functional and a subclassed `keras.Model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from cnnctl.model.custom_calls import check_custom_layers
from cnnctl.model.keras_layers import acts_in_training, keras_layers
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.stack import INPUT

Wiring = dict[str, list[str]]
"""The names of the input layers of each layer."""


def build_model(experiment: Experiment, precision: str | None = None, twice_differentiable: bool = False) -> keras.Model:
    """Build the network of a checked experiment in its style.

    The initial weights depend only on the seed and the stack: they are bit-identical in the three styles.

    Args:
        experiment: the config; an unresolved precision `auto` is float32.
        precision: a Keras dtype policy that replaces that of the config; `float64` is for gradient checks.
        twice_differentiable: whether gradients through gradients will be computed, as in MAML; the weights are
            those of the plain network.
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
    wiring = {node.name: list(node.inputs) for node in network.nodes}
    return STYLES[experiment.model.style](layers, wiring, network.image)


def build_sequential(layers: list[keras.Layer], wiring: Wiring, image: tuple[int, ...]) -> keras.Model:
    """Build a `keras.Sequential`; each layer takes the one before."""
    return keras.Sequential([keras.Input(image, name=INPUT), *layers])


def build_functional(layers: list[keras.Layer], wiring: Wiring, image: tuple[int, ...]) -> keras.Model:
    """Build a functional `keras.Model`: layers called on symbolic tensors."""
    tensors = {INPUT: keras.Input(image, name=INPUT)}
    for layer in layers:
        tensors[layer.name] = layer(_taken(tensors, wiring[layer.name]))
    return keras.Model(tensors[INPUT], tensors[layers[-1].name])


def build_subclass(layers: list[keras.Layer], wiring: Wiring, image: tuple[int, ...]) -> keras.Model:
    """Build a `StackModel` and call it once, since an optimizer needs its variables."""
    model = StackModel([keras.layers.serialize(layer) for layer in layers], wiring)
    model(keras.ops.zeros((1, *image)))
    return model


STYLES: dict[str, Callable[[list[keras.Layer], Wiring, tuple[int, ...]], keras.Model]] = {
    "sequential": build_sequential,
    "functional": build_functional,
    "subclass": build_subclass,
}


@keras.saving.register_keras_serializable(package="cnnctl")
class StackModel(keras.Model):
    """A stack as a subclassed model: layers created in `__init__`, used in `call`.

    Args:
        layer_configs: the result of `keras.layers.serialize` for each layer, in order of computation.
        wiring: the names of the input layers of each layer; `input` is the images.
    """

    def __init__(self, layer_configs: list[dict[str, Any]], wiring: Wiring, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer_configs = layer_configs
        self.wiring = wiring
        self.stack = [keras.layers.deserialize(config) for config in layer_configs]

    def call(self, images: Any, training: bool = False) -> Any:
        """Compute the output of the last layer for `images` (B, H, W, C)."""
        return outputs_of_layers(self.stack, self.wiring, images, training)[self.stack[-1].name]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`, so that Keras can save and load the model."""
        return {**super().get_config(), "layer_configs": self.layer_configs, "wiring": self.wiring}


def outputs_of_layers(layers: Sequence[keras.Layer], wiring: Wiring, images: Any, training: bool = False) -> dict[str, Any]:
    """Compute the output of each layer by name for `images` (B, H, W, C), with the images themselves as `input`."""
    tensors = {INPUT: images}
    for layer in layers:
        taken = _taken(tensors, wiring[layer.name])
        if acts_in_training(layer):
            tensors[layer.name] = layer(taken, training=training)
        else:
            tensors[layer.name] = layer(taken)
    return tensors


def _taken(tensors: dict[str, Any], names: list[str]) -> Any:
    return tensors[names[0]] if len(names) == 1 else [tensors[name] for name in names]
