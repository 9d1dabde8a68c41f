"""The network that a config describes: every layer with its shape and costs, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment, ModelSpec
from cnnctl.spec.few_shot import with_head
from cnnctl.spec.layers import DataFormat
from cnnctl.spec.shapes import Facts, LayerContext, Shape, input_shape, trace
from cnnctl.spec.stack import Node, nodes_of


@dataclass(frozen=True)
class Network:
    """The layers of a checked config.

    Attributes:
        nodes: the layers in order of computation.
        facts: shapes, parameters and MACs of each node.
        image: shape of one image, (H, W, C) or (C, H, W).
        classes: number of classes of the data.
        data_format: the default of layers without their own.
    """

    nodes: tuple[Node, ...]
    facts: tuple[Facts, ...]
    image: Shape
    classes: int
    data_format: DataFormat

    @property
    def context(self) -> LayerContext:
        """The number of classes and the data format, as arguments of functions on single layers."""
        return LayerContext(self.classes, self.data_format)

    @property
    def parameters(self) -> int:
        """Trainable and non-trainable parameters of all layers."""
        return sum(each.parameters for each in self.facts)


def input_of(data: DataSpec, model: ModelSpec) -> tuple[Shape, LayerContext]:
    """Return the shape of one image, and the context of the layers, for a data section with the facts of its source."""
    assert data.image_size and data.channels and data.classes
    height, width = data.image_size
    image = input_shape(height, width, data.channels, model.data_format)
    return image, LayerContext(data.classes, model.data_format)


def network_of(nodes: Sequence[Node], data: DataSpec, model: ModelSpec) -> Network:
    """Compute shapes and costs of a stack.

    Args:
        nodes: the stack.
        data: the data section with the facts of its source.
        model: the model section, for its data format.

    Raises:
        Misfit: a layer does not fit its input.
    """
    image, context = input_of(data, model)
    return Network(tuple(nodes), tuple(trace(nodes, image, context)), image, context.classes, context.data_format)


def traced(experiment: Experiment) -> Network:
    """Compute the network of a checked experiment, in which every layer fits; `Experiment.network` caches the result."""
    nodes, _ = nodes_of(with_head(experiment).model)
    return network_of(nodes, experiment.data, experiment.model)
