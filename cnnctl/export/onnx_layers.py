"""Translate layers to ONNX operators, one function per layer.

tf2onnx, which Keras uses, writes graphs that ONNX Runtime refuses for gelu, celu and grouped convolutions.
"""

from __future__ import annotations

from functools import reduce, singledispatch
from math import prod
from typing import Any

import numpy as np

from cnnctl.export.onnx_graph import TO_FIRST, TO_LAST, Graph, Place
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Shape, axes_of, format_of, spatial, window_of

OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "celu": ("Celu", {}),
    "elu": ("Elu", {}),
    "exponential": ("Exp", {}),
    "gelu": ("Gelu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6}),
    "hard_silu": ("HardSwish", {}),
    "hard_shrink": ("Shrink", {"lambd": 0.5}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "soft_shrink": ("Shrink", {"bias": 0.5, "lambd": 0.5}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "tanh": ("Tanh", {}),
}
"""The activations that are one operator."""


@singledispatch
def translate(spec: L.Layer, graph: Graph, place: Place) -> str:
    """Add the operators of a layer and return the name of its result."""
    raise NotImplementedError(spec.kind)


# Windows


@translate.register
def _(spec: L.Conv2D, graph: Graph, place: Place) -> str:
    kernel = np.transpose(place.built.kernel, (3, 2, 0, 1))  # (rows, columns, in, out) → (out, in, rows, columns)
    weights = [graph.constant(kernel, "kernel")]
    if spec.use_bias:
        weights.append(graph.constant(place.built.bias, "bias"))
    dilations = list(spec.dilation_rate)
    return _window(graph, place, spec, "Conv", *weights, group=spec.groups, dilations=dilations)


@translate.register
def _(spec: L.MaxPooling2D, graph: Graph, place: Place) -> str:
    return _window(graph, place, spec, "MaxPool")


@translate.register
def _(spec: L.AveragePooling2D, graph: Graph, place: Place) -> str:
    return _window(graph, place, spec, "AveragePool")


def _window(graph: Graph, place: Place, spec: L.Conv2D | L.Pooling, kind: str, *weights: str, **attributes: Any) -> str:
    """Add a convolution or pooling; the result has the layer's own order of axes."""
    tensor = place.inputs[0] if place.channels_first else graph.transposed(place.inputs[0], TO_FIRST)
    window = window_of(spec)
    pixels, _ = spatial(place.shapes[0], format_of(spec, place.context), spec.kind)
    top_bottom, left_right = (window.padding(pixels[axis], axis) for axis in (0, 1))
    pads = [side for sides in zip(top_bottom, left_right, strict=True) for side in sides]
    tensor = graph.operator(
        kind, tensor, *weights, kernel_shape=list(window.size), strides=list(window.strides), pads=pads, **attributes
    )
    tensor = activate(graph, tensor, getattr(spec, "activation", None), axis=-1 if place.channels_first else 1)
    return tensor if place.channels_first else graph.transposed(tensor, TO_LAST)


# Images


@translate.register
def _(spec: L.ZeroPadding2D, graph: Graph, place: Place) -> str:
    none = (0, 0)
    sides = (none, none, *spec.padding) if place.channels_first else (none, *spec.padding, none)
    pads = [before for before, _ in sides] + [after for _, after in sides]
    return graph.operator("Pad", place.inputs[0], graph.constant(pads, "pads", np.int64))


@translate.register
def _(spec: L.GlobalPooling, graph: Graph, place: Place) -> str:
    kind = "ReduceMean" if isinstance(spec, L.GlobalAveragePooling2D) else "ReduceMax"
    axes = graph.constant([2, 3] if place.channels_first else [1, 2], "axes", np.int64)
    return graph.operator(kind, place.inputs[0], axes, keepdims=int(spec.keepdims))


@translate.register
def _(spec: L.Flatten, graph: Graph, place: Place) -> str:
    tensor, shape = place.inputs[0], place.shapes[0]
    image = place.channels_first and len(shape) == 3  # Keras flattens with the channels last
    return reshape(graph, graph.transposed(tensor, TO_LAST) if image else tensor, (prod(shape),))


def reshape(graph: Graph, tensor: str, shape: Shape) -> str:
    """Add a reshape; `shape` is without the batch."""
    return graph.operator("Reshape", tensor, graph.constant((-1, *shape), "shape", np.int64))


# Values


@translate.register
def _(spec: L.Dense, graph: Graph, place: Place) -> str:
    tensor = graph.operator("MatMul", place.inputs[0], graph.constant(place.built.kernel, "kernel"))
    if spec.use_bias:
        tensor = graph.operator("Add", tensor, graph.constant(place.built.bias, "bias"))
    return activate(graph, tensor, spec.activation)


@translate.register
def _(spec: L.BatchNormalization, graph: Graph, place: Place) -> str:
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


@translate.register
def _(spec: L.RandomLayer, graph: Graph, place: Place) -> str:
    return place.inputs[0]  # acts in training only


# Joins


_JOINS = {"add": "Sum", "average": "Mean", "maximum": "Max", "minimum": "Min", "subtract": "Sub"}


@translate.register
def _(spec: L.ValueJoin, graph: Graph, place: Place) -> str:
    """Add a join value by value. Keras inserts the missing axes of an input after the batch axis, ONNX before it."""
    rank = max(map(len, place.shapes))
    inputs = [
        tensor if len(shape) == rank else reshape(graph, tensor, ((1,) * (rank - len(shape)) + shape))
        for tensor, shape in zip(place.inputs, place.shapes, strict=True)
    ]
    if isinstance(spec, L.Multiply):  # ONNX multiplies two at a time
        return reduce(lambda product, each: graph.operator("Mul", product, each), inputs)
    return graph.operator(_JOINS[spec.kind], *inputs)


@translate.register
def _(spec: L.Concatenate, graph: Graph, place: Place) -> str:
    return graph.operator("Concat", *place.inputs, axis=spec.axis)


# Activations


@translate.register
def _(spec: L.ActivationLayer, graph: Graph, place: Place) -> str:
    return activate(graph, place.inputs[0], spec.activation)


@translate.register
def _(spec: L.LeakyReLU, graph: Graph, place: Place) -> str:
    return graph.operator("LeakyRelu", place.inputs[0], alpha=spec.negative_slope)


@translate.register
def _(spec: L.ELU, graph: Graph, place: Place) -> str:
    return graph.operator("Elu", place.inputs[0], alpha=spec.alpha)


@translate.register
def _(spec: L.PReLU, graph: Graph, place: Place) -> str:
    return graph.operator("PRelu", place.inputs[0], graph.constant(place.built.alpha, "alpha"))


@translate.register
def _(spec: L.ReLU, graph: Graph, place: Place) -> str:
    """Add a ReLU as Keras computes it: the part above the threshold, clipped, minus the slope times the part below."""
    tensor = place.inputs[0]
    if spec.threshold:
        threshold, zero = graph.constant(spec.threshold, "threshold"), graph.constant(0, "zero")
        result = graph.operator("Where", graph.operator("Greater", tensor, threshold), tensor, zero)
        below = graph.operator("Sub", threshold, tensor)
    else:
        result, below = graph.operator("Relu", tensor), graph.operator("Neg", tensor)
    if spec.max_value is not None:
        result = clip(graph, result, 0, spec.max_value)
    if spec.negative_slope:
        slope = graph.constant(spec.negative_slope, "slope")
        result = graph.operator("Sub", result, graph.operator("Mul", graph.operator("Relu", below), slope))
    return result


@translate.register
def _(spec: L.Softmax, graph: Graph, place: Place) -> str:
    """Add a softmax along one axis or several; ONNX's own has one."""
    tensor, axes = place.inputs[0], [index + 1 for index in axes_of(spec.axis, place.shapes[0])]
    if len(axes) == 1:
        return graph.operator("Softmax", tensor, axis=axes[0])
    names = graph.constant(axes, "axes", np.int64)
    largest = graph.operator("ReduceMax", tensor, names, keepdims=1)
    powers = graph.operator("Exp", graph.operator("Sub", tensor, largest))
    return graph.operator("Div", powers, graph.operator("ReduceSum", powers, names, keepdims=1))


def activate(graph: Graph, tensor: str, activation: str | None, axis: int = -1) -> str:
    """Add an activation as Keras defines it; softmax and log_softmax along `axis`."""
    match activation:
        case None | "linear":
            return tensor
        case "softmax":
            return graph.operator("Softmax", tensor, axis=axis)
        case "log_softmax":
            return graph.operator("LogSoftmax", tensor, axis=axis)
        case "relu6":
            return clip(graph, tensor, 0, 6)
        case "hard_tanh":
            return clip(graph, tensor, -1, 1)
        case "silu" | "swish":
            return graph.operator("Mul", tensor, graph.operator("Sigmoid", tensor))
        case "log_sigmoid":  # -softplus(-x)
            return graph.operator("Neg", graph.operator("Softplus", graph.operator("Neg", tensor)))
        case "tanh_shrink":
            return graph.operator("Sub", tensor, graph.operator("Tanh", tensor))
        case "squareplus":
            return _squareplus(graph, tensor)
        case "sparse_plus":
            return _sparse_plus(graph, tensor)
        case "sparse_sigmoid":
            return clip(graph, graph.operator("Mul", _plus_one(graph, tensor), graph.constant(0.5, "half")), 0, 1)
    assert activation is not None
    kind, attributes = OPERATORS[activation]
    return graph.operator(kind, tensor, **attributes)


def _plus_one(graph: Graph, tensor: str) -> str:
    return graph.operator("Add", tensor, graph.constant(1, "one"))


def _squareplus(graph: Graph, tensor: str) -> str:
    """Add `(x + sqrt(x² + 4)) / 2`."""
    square = graph.operator("Add", graph.operator("Mul", tensor, tensor), graph.constant(4, "four"))
    return graph.operator("Mul", graph.operator("Add", tensor, graph.operator("Sqrt", square)), graph.constant(0.5, "half"))


def _sparse_plus(graph: Graph, tensor: str) -> str:
    """Add 0 up to -1, `(x + 1)² / 4` up to 1 and x from there on, as a clipped square and what is above 1."""
    root = graph.operator("Mul", clip(graph, _plus_one(graph, tensor), 0, 2), graph.constant(0.5, "half"))
    above = graph.operator("Relu", graph.operator("Sub", tensor, graph.constant(1, "one")))
    return graph.operator("Add", graph.operator("Mul", root, root), above)


def clip(graph: Graph, tensor: str, low: float, high: float) -> str:
    """Add bounds."""
    return graph.operator("Clip", tensor, graph.constant(low, "low"), graph.constant(high, "high"))
