"""The network that a config describes: every layer with its shape and costs, without TensorFlow."""

from __future__ import annotations

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
        nodes: in the order in which they are computed.
        facts: shapes, parameters and MACs of each node.
        image: shape of one image, (H, W, C) or (C, H, W).
        classes: outputs that the data needs.
        data_format: of layers that set none of their own.
    """

    nodes: tuple[Node, ...]
    facts: tuple[Facts, ...]
    image: Shape
    classes: int
    data_format: DataFormat

    @property
    def context(self) -> LayerContext:
        """The classes and the data format, as single layers need them."""
        return LayerContext(self.classes, self.data_format)

    @property
    def parameters(self) -> int:
        """Trained weights and moving statistics, of all layers."""
        return sum(each.parameters for each in self.facts)


def input_of(data: DataSpec, model: ModelSpec) -> tuple[Shape, LayerContext]:
    """Find the shape of one image and what the layers take from the rest of a config whose data is resolved."""
    assert data.image_size and data.channels and data.classes
    height, width = data.image_size
    image = input_shape(height, width, data.channels, model.data_format)
    return image, LayerContext(data.classes, model.data_format)


def traced(experiment: Experiment) -> Network:
    """Compute the network of a checked experiment; `Experiment.network` keeps the result.

    Raises:
        Misfit: a layer does not fit its input. A checked experiment fits.
    """
    nodes, _ = nodes_of(with_head(experiment).model)
    image, context = input_of(experiment.data, experiment.model)
    return Network(tuple(nodes), tuple(trace(nodes, image, context)), image, context.classes, context.data_format)
