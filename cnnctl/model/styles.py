"""One stack, three builds: Sequential, Functional and a subclassed `keras.Model`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from cnnctl.model.keras_layers import keras_layers
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.stack import INPUT

Wiring = dict[str, list[str]]
"""The names of the layers that each layer takes."""


def build_model(experiment: Experiment, precision: str | None = None, twice_differentiable: bool = False) -> keras.Model:
    """Return the built network of a checked experiment, in the style it says.

    The initial weights depend on the seed and the stack alone: the three styles agree to the bit.

    Args:
        experiment: what to build; a precision of `auto` that no device has decided is float32.
        precision: a Keras dtype policy in place of the config's; `float64` is for looking closely at gradients.
        twice_differentiable: whether a gradient is to be taken through a gradient, as MAML does; the weights are
            those of the plain network.
    """
    network = experiment.network
    layers = keras_layers(
        network.nodes,
        experiment.seed,
        network.context,
        precision or on_any_machine(experiment).train.precision,
        twice_differentiable,
    )
    wiring = {node.name: list(node.inputs) for node in network.nodes}
    return STYLES[experiment.model.style](layers, wiring, network.image)


def build_sequential(layers: list[keras.Layer], wiring: Wiring, image: tuple[int, ...]) -> keras.Model:
    """Return a `keras.Sequential`; each layer takes the one before."""
    return keras.Sequential([keras.Input(image, name=INPUT), *layers])


def build_functional(layers: list[keras.Layer], wiring: Wiring, image: tuple[int, ...]) -> keras.Model:
    """Return a functional `keras.Model`: layers called on symbolic tensors."""
    tensors = {INPUT: keras.Input(image, name=INPUT)}
    for layer in layers:
        tensors[layer.name] = layer(_taken(tensors, wiring[layer.name]))
    return keras.Model(tensors[INPUT], tensors[layers[-1].name])


def build_subclass(layers: list[keras.Layer], wiring: Wiring, image: tuple[int, ...]) -> keras.Model:
    """Return a `StackModel`, called once: an optimizer needs its variables to be there."""
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
    """A stack as a subclassed model: layers made in `__init__`, used in `call`.

    Args:
        layer_configs: what `keras.layers.serialize` gives for each layer, in the order of computing.
        wiring: the names of the layers that each layer takes; `input` is the images.
    """

    def __init__(self, layer_configs: list[dict[str, Any]], wiring: Wiring, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer_configs = layer_configs
        self.wiring = wiring
        self.stack = [keras.layers.deserialize(config) for config in layer_configs]

    def call(self, images: Any, training: bool = False) -> Any:
        """Return the output of the last layer for `images` (B, H, W, C)."""
        return outputs_of_layers(self.stack, self.wiring, images, training)[self.stack[-1].name]

    def get_config(self) -> dict[str, Any]:
        """Return what `__init__` takes, so that Keras can save and load the model."""
        return {**super().get_config(), "layer_configs": self.layer_configs, "wiring": self.wiring}


def outputs_of_layers(layers: Sequence[keras.Layer], wiring: Wiring, images: Any, training: bool = False) -> dict[str, Any]:
    """Return the output of each layer by its name, for `images` (B, H, W, C), and the images themselves as `input`."""
    tensors = {INPUT: images}
    for layer in layers:
        taken = _taken(tensors, wiring[layer.name])
        if isinstance(layer, keras.layers.Dropout | keras.layers.BatchNormalization):
            tensors[layer.name] = layer(taken, training=training)
        else:
            tensors[layer.name] = layer(taken)
    return tensors


def _taken(tensors: dict[str, Any], names: list[str]) -> Any:
    return tensors[names[0]] if len(names) == 1 else [tensors[name] for name in names]
