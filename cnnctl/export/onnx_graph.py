"""Translate a network to an ONNX graph, layer by layer. Needs the packages of the extra `onnx`.

tf2onnx, which Keras uses, writes graphs that ONNX Runtime refuses for gelu, celu and grouped convolutions.
The operators are those of https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import keras
import numpy as np
import onnx

from cnnctl.spec import layers as L
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import LayerContext, Shape, format_of, spatial, window_of
from cnnctl.spec.stack import INPUT

OUTPUT = "output"
OPSET = 20  # the first with Gelu, of 2023
IR_VERSION = 9  # the file version of that year; an older runtime refuses a newer one
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Orders of axes: ONNX has convolutions and pooling for (B, C, H, W) only."""

OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "celu": ("Celu", {}),
    "elu": ("Elu", {}),
    "exponential": ("Exp", {}),
    "gelu": ("Gelu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
    "hard_silu": ("HardSwish", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "tanh": ("Tanh", {}),
}
"""The activations that are one operator."""


def onnx_graph(network: Network, model: keras.Model) -> onnx.ModelProto:
    """Translate a network to ONNX: from `input` (B, H, W, C) to `output` (B, classes), float32, for any B.

    Args:
        network: the layers.
        model: has these layers by name, with their weights.
    """
    graph = _Graph()
    tensors = {INPUT: INPUT}
    for node, each in zip(network.nodes, network.facts, strict=True):
        graph.layer = node.name
        inputs = [tensors[name] for name in node.inputs]
        place = _Place(node.layer, model.get_layer(node.name), inputs, each.input_shapes, network.context)
        tensors[node.name] = _translate(graph, place)
    graph.operator("Identity", tensors[network.nodes[-1].name], result=OUTPUT)
    return graph.model(network.image, network.facts[-1].output_shape)


class _Graph:
    """The operators and constants of the graph.

    Attributes:
        layer: name of the current layer, the prefix of their names.
    """

    def __init__(self) -> None:
        self.layer = ""
        self._operators: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._counts: Counter[str] = Counter()
        self._transposed: dict[tuple[str, Sequence[int]], str] = {}

    def operator(self, kind: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        """Add an operator and return the name of its result."""
        name = result or self._name(kind)
        self._operators.append(onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, values: Any, name: str, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        name = self._name(name)
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def transposed(self, tensor: str, order: Sequence[int]) -> str:
        """Transpose a tensor; one that was just transposed is replaced by its original."""
        if (tensor, order) not in self._transposed:
            result = self.operator("Transpose", tensor, perm=order)
            self._transposed[tensor, order] = result
            self._transposed[result, TO_LAST if order == TO_FIRST else TO_FIRST] = tensor
        return self._transposed[tensor, order]

    def _name(self, what: str) -> str:
        name = f"{self.layer}/{what}"
        self._counts[name] += 1
        return name if self._counts[name] == 1 else f"{name}_{self._counts[name]}"

    def model(self, image: Shape, output: Shape) -> onnx.ModelProto:
        """Build the checked ONNX model, for images and outputs of these shapes."""
        graph = onnx.helper.make_graph(
            self._needed(), "cnnctl", [_tensor_info(INPUT, image)], [_tensor_info(OUTPUT, output)], self._constants
        )
        opset = onnx.helper.make_opsetid("", OPSET)
        model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="cnnctl")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _needed(self) -> list[onnx.NodeProto]:
        """List the operators without those whose result is not used: transpositions that were undone."""
        needed = {OUTPUT}
        operators = []
        for operator in reversed(self._operators):
            if operator.output[0] in needed:
                needed.update(operator.input)
                operators.append(operator)
        return operators[::-1]


def _tensor_info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["B", *shape])


@dataclass(frozen=True)
class _Place:
    """A layer and its inputs.

    Attributes:
        spec: its section of the config.
        built: the Keras layer, with the weights.
        inputs: names of its input tensors.
        shapes: of the inputs, without the batch axis.
        context: settings of the data and the model.
    """

    spec: L.Layer
    built: keras.Layer
    inputs: list[str]
    shapes: tuple[Shape, ...]
    context: LayerContext

    @property
    def channels_first(self) -> bool:
        """Whether the input is (B, C, H, W)."""
        return format_of(self.spec, self.context) == "channels_first"


def _translate(graph: _Graph, place: _Place) -> str:
    """Add the operators of a layer and return the name of its result."""
    spec, tensor, shape = place.spec, place.inputs[0], place.shapes[0]
    match spec:
        case L.Conv2D():
            return _convolution(graph, place, spec)
        case L.MaxPooling2D():
            return _window(graph, place, spec, "MaxPool")
        case L.AveragePooling2D():
            return _window(graph, place, spec, "AveragePool")
        case L.ZeroPadding2D():
            return _zero_padding(graph, place, spec)
        case L.GlobalPooling():
            return _global_pooling(graph, place, spec)
        case L.Flatten():
            image = place.channels_first and len(shape) == 3  # Keras flattens with the channels last
            return _reshape(graph, graph.transposed(tensor, TO_LAST) if image else tensor, (prod(shape),))
        case L.Dense():
            return _dense(graph, place, spec)
        case L.BatchNormalization():
            return _batch_normalization(graph, place, spec)
        case L.ActivationLayer():
            return _activate(graph, tensor, spec.activation)
        case L.ValueJoin():
            return _combined(graph, place, spec)
        case L.Concatenate():
            return graph.operator("Concat", *place.inputs, axis=spec.axis)
    assert isinstance(spec, L.Dropout)  # acts in training only
    return tensor


def _convolution(graph: _Graph, place: _Place, spec: L.Conv2D) -> str:
    kernel = np.transpose(place.built.kernel, (3, 2, 0, 1))  # (rows, columns, in, out) → (out, in, rows, columns)
    weights = [graph.constant(kernel, "kernel")]
    if spec.use_bias:
        weights.append(graph.constant(place.built.bias, "bias"))
    dilations = list(spec.dilation_rate)
    return _window(graph, place, spec, "Conv", *weights, group=spec.groups, dilations=dilations)


def _window(graph: _Graph, place: _Place, spec: L.Conv2D | L.Pooling, kind: str, *weights: str, **attributes: Any) -> str:
    """Add a convolution or pooling; the result has the layer's own order of axes."""
    tensor = place.inputs[0] if place.channels_first else graph.transposed(place.inputs[0], TO_FIRST)
    window = window_of(spec)
    pixels, _ = spatial(place.shapes[0], format_of(spec, place.context), spec.kind)
    top_bottom, left_right = (window.padding(pixels[axis], axis) for axis in (0, 1))
    pads = [side for sides in zip(top_bottom, left_right, strict=True) for side in sides]
    tensor = graph.operator(
        kind, tensor, *weights, kernel_shape=list(window.size), strides=list(window.strides), pads=pads, **attributes
    )
    tensor = _activate(graph, tensor, getattr(spec, "activation", None), axis=-1 if place.channels_first else 1)
    return tensor if place.channels_first else graph.transposed(tensor, TO_LAST)


def _zero_padding(graph: _Graph, place: _Place, spec: L.ZeroPadding2D) -> str:
    none = (0, 0)
    sides = (none, none, *spec.padding) if place.channels_first else (none, *spec.padding, none)
    pads = [before for before, _ in sides] + [after for _, after in sides]
    return graph.operator("Pad", place.inputs[0], graph.constant(pads, "pads", np.int64))


def _global_pooling(graph: _Graph, place: _Place, spec: L.GlobalPooling) -> str:
    kind = "ReduceMean" if isinstance(spec, L.GlobalAveragePooling2D) else "ReduceMax"
    axes = graph.constant([2, 3] if place.channels_first else [1, 2], "axes", np.int64)
    return graph.operator(kind, place.inputs[0], axes, keepdims=int(spec.keepdims))


def _reshape(graph: _Graph, tensor: str, shape: Shape) -> str:
    return graph.operator("Reshape", tensor, graph.constant((-1, *shape), "shape", np.int64))


def _dense(graph: _Graph, place: _Place, spec: L.Dense) -> str:
    tensor = graph.operator("MatMul", place.inputs[0], graph.constant(place.built.kernel, "kernel"))
    if spec.use_bias:
        tensor = graph.operator("Add", tensor, graph.constant(place.built.bias, "bias"))
    return _activate(graph, tensor, spec.activation)


def _batch_normalization(graph: _Graph, place: _Place, spec: L.BatchNormalization) -> str:
    """Add `gamma·(x - mean) / sqrt(variance + epsilon) + beta` as one product and one sum, along any axis."""
    layer = place.built
    scale = 1 / np.sqrt(np.asarray(layer.moving_variance, np.float64) + spec.epsilon)
    if spec.scale:
        scale = scale * layer.gamma
    shift = -scale * layer.moving_mean
    if spec.center:
        shift = shift + layer.beta
    spread = np.ones(len(place.shapes[0]) + 1, int)
    spread[spec.axis] = -1
    product = graph.operator("Mul", place.inputs[0], graph.constant(scale.reshape(spread), "scale"))
    return graph.operator("Add", product, graph.constant(shift.reshape(spread), "shift"))


_JOINS = {"add": "Sum", "average": "Mean", "maximum": "Max", "minimum": "Min", "subtract": "Sub"}


def _combined(graph: _Graph, place: _Place, spec: L.ValueJoin) -> str:
    """Add a join value by value. Keras inserts the missing axes of an input after the batch axis, ONNX before it."""
    rank = max(map(len, place.shapes))
    inputs = [
        tensor if len(shape) == rank else _reshape(graph, tensor, ((1,) * (rank - len(shape)) + shape))
        for tensor, shape in zip(place.inputs, place.shapes, strict=True)
    ]
    if isinstance(spec, L.Multiply):  # ONNX multiplies two at a time
        return reduce(lambda product, each: graph.operator("Mul", product, each), inputs)
    return graph.operator(_JOINS[spec.kind], *inputs)


def _activate(graph: _Graph, tensor: str, activation: str | None, axis: int = -1) -> str:
    """Add an activation as Keras defines it; softmax along `axis`."""
    match activation:
        case None | "linear":
            return tensor
        case "softmax":
            return graph.operator("Softmax", tensor, axis=axis)
        case "relu6":
            return _clip(graph, tensor, 0, 6)
        case "hard_tanh":
            return _clip(graph, tensor, -1, 1)
        case "silu" | "swish":
            return graph.operator("Mul", tensor, graph.operator("Sigmoid", tensor))
        case "log_sigmoid":  # -softplus(-x)
            return graph.operator("Neg", graph.operator("Softplus", graph.operator("Neg", tensor)))
    assert activation is not None
    kind, attributes = OPERATORS[activation]
    return graph.operator(kind, tensor, **attributes)


def _clip(graph: _Graph, tensor: str, low: float, high: float) -> str:
    return graph.operator("Clip", tensor, graph.constant(low, "low"), graph.constant(high, "high"))
