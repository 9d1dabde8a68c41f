"""Translate a network to an ONNX graph, layer by layer. Needs the packages of the extra `onnx`.

tf2onnx, which Keras uses, writes graphs that ONNX Runtime refuses for gelu, celu and grouped convolutions.
The operators are those of https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import keras
import onnx

from cnnctl.export.onnx_graph import OUTPUT, Graph, Place
from cnnctl.export.onnx_layers import translate
from cnnctl.model.styles import layers_of
from cnnctl.spec.network import Network
from cnnctl.spec.stack import INPUT


def onnx_graph(network: Network, model: keras.Model) -> onnx.ModelProto:
    """Translate a network to ONNX: from `input` (B, H, W, C) to `output` (B, classes), float32, for any B.

    Args:
        network: the layers.
        model: has these layers by name, with their weights.
    """
    graph = Graph()
    tensors = {INPUT: INPUT}
    layers = layers_of(model, network.nodes)
    for node, each in zip(network.nodes, network.facts, strict=True):
        graph.layer = node.name
        inputs = [tensors[name] for name in node.inputs]
        place = Place(node.layer, layers[node.name], inputs, each.input_shapes, network.context)
        tensors[node.name] = translate(node.layer, graph, place)
    graph.operator("Identity", tensors[network.nodes[-1].name], result=OUTPUT)
    return graph.model(network.image, network.facts[-1].output_shape)
