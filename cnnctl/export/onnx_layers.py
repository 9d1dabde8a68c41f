"""Translate layers to ONNX operators, one function per layer.

tf2onnx, which Keras uses, writes graphs that ONNX Runtime refuses for gelu, celu and grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce, singledispatch
from math import prod
from typing import Any

import keras
import numpy as np

from cnnctl.export.onnx_graph import TO_FIRST, TO_LAST, Graph, Place
from cnnctl.model.up_sampling import interpolation_weights
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import (
    Shape,
    apply,
    axes_of,
    axis_of,
    format_of,
    groups_of,
    per_channel,
    spatial,
    transposed_size,
    window_of,
)

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
    kernel = graph.constant(_filters_first(place.built.kernel), "kernel")
    return _window(graph, place, spec, "Conv", kernel, *_bias(graph, place), group=spec.groups)


@translate.register
def _(spec: L.DepthwiseConv2D, graph: Graph, place: Place) -> str:
    kernel = graph.constant(_by_channel(place.built.kernel), "kernel")
    return _window(graph, place, spec, "Conv", kernel, *_bias(graph, place), group=place.built.kernel.shape[2])


@translate.register
def _(spec: L.SeparableConv2D, graph: Graph, place: Place) -> str:
    """Add a convolution of each channel, and one of 1×1 with the bias."""
    tensor = _channels_first(graph, place)
    each = graph.constant(_by_channel(place.built.depthwise_kernel), "depthwise_kernel")
    tensor = _slid(graph, place, spec, "Conv", tensor, each, group=place.built.depthwise_kernel.shape[2])
    mixing = graph.constant(_filters_first(place.built.pointwise_kernel), "pointwise_kernel")
    return _activated(graph, place, spec, graph.operator("Conv", tensor, mixing, *_bias(graph, place)))


@translate.register
def _(spec: L.Conv2DTranspose, graph: Graph, place: Place) -> str:
    """Add a transposed convolution; what the output has beyond all windows is ONNX's output_padding."""
    window, sides = window_of(spec), (0, 1)
    pixels, _ = spatial(place.shapes[0], format_of(spec, place.context), spec.kind)
    outputs = [transposed_size(spec, pixels[axis], axis) for axis in sides]
    cropped = [window.padding(outputs[axis], axis) for axis in sides] if window.same else [(0, 0)] * 2
    whole = [(pixels[axis] - 1) * window.strides[axis] + window.extent(axis) for axis in sides]
    kernel = graph.constant(_filters_first(place.built.kernel), "kernel")
    tensor = graph.operator(
        "ConvTranspose",
        _channels_first(graph, place),
        kernel,
        *_bias(graph, place),
        kernel_shape=list(window.size),
        strides=list(window.strides),
        dilations=list(window.dilation),
        pads=[side for both in zip(*cropped, strict=True) for side in both],
        output_padding=[max(outputs[axis] - whole[axis], 0) for axis in sides],
    )
    return _activated(graph, place, spec, tensor)


def _filters_first(kernel: Any) -> Any:
    """Transpose a kernel (rows, columns, in, out) to (out, in, rows, columns)."""
    return np.transpose(kernel, (3, 2, 0, 1))


def _by_channel(kernel: Any) -> Any:
    """Reshape a depthwise kernel (rows, columns, channels, multiplier) to (channels · multiplier, 1, rows, columns)."""
    rows, columns, channels, multiplier = kernel.shape
    return np.transpose(kernel, (2, 3, 0, 1)).reshape(channels * multiplier, 1, rows, columns)


def _bias(graph: Graph, place: Place) -> list[str]:
    return [] if place.built.bias is None else [graph.constant(place.built.bias, "bias")]


@translate.register
def _(spec: L.MaxPooling2D, graph: Graph, place: Place) -> str:
    return _window(graph, place, spec, "MaxPool")


@translate.register
def _(spec: L.AveragePooling2D, graph: Graph, place: Place) -> str:
    return _window(graph, place, spec, "AveragePool")


def _window(graph: Graph, place: Place, spec: L.Convolution | L.Pooling, kind: str, *weights: str, **attributes: Any) -> str:
    """Add a convolution or pooling; the result has the layer's own order of axes."""
    tensor = _slid(graph, place, spec, kind, _channels_first(graph, place), *weights, **attributes)
    return _activated(graph, place, spec, tensor)


def _slid(
    graph: Graph, place: Place, spec: L.Convolution | L.Pooling, kind: str, tensor: str, *weights: str, **attributes: Any
) -> str:
    """Add the operator of a window, for (B, C, H, W)."""
    window = window_of(spec)
    pixels, _ = spatial(place.shapes[0], format_of(spec, place.context), spec.kind)
    top_bottom, left_right = (window.padding(pixels[axis], axis) for axis in (0, 1))
    pads = [side for sides in zip(top_bottom, left_right, strict=True) for side in sides]
    dilations = {} if isinstance(spec, L.Pooling) else {"dilations": list(window.dilation)}
    shape: dict[str, Any] = {"kernel_shape": list(window.size), "strides": list(window.strides), "pads": pads, **dilations}
    return graph.operator(kind, tensor, *weights, **shape, **attributes)


def _channels_first(graph: Graph, place: Place) -> str:
    return place.inputs[0] if place.channels_first else graph.transposed(place.inputs[0], TO_FIRST)


def _activated(graph: Graph, place: Place, spec: L.Layer, tensor: str) -> str:
    """Add the activation of a layer computed with the channels first, and give the result the layer's own order of axes."""
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
def _(spec: L.Cropping2D, graph: Graph, place: Place) -> str:
    """Add a slice; its ends are counted from the last row and column."""
    axes = [2, 3] if place.channels_first else [1, 2]
    pixels, _ = spatial(place.shapes[0], format_of(spec, place.context), spec.kind)
    starts = [first for first, _ in spec.cropping]
    ends = [n - last for n, (_, last) in zip(pixels, spec.cropping, strict=True)]
    numbers = [graph.constant(each, name, np.int64) for each, name in ((starts, "starts"), (ends, "ends"), (axes, "axes"))]
    return graph.operator("Slice", place.inputs[0], *numbers)


@translate.register
def _(spec: L.UpSampling2D, graph: Graph, place: Place) -> str:
    """Add a resize, or the products of an interpolation that ONNX computes with other weights or not at all."""
    tensor = place.inputs[0] if place.channels_first else graph.transposed(place.inputs[0], TO_FIRST)
    if spec.interpolation == "nearest":
        sizes = graph.constant([1, 1, *spec.size], "scales")
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        tensor = graph.operator("Resize", tensor, "", sizes, **how)
    else:
        (height, width), _ = spatial(place.shapes[0], format_of(spec, place.context), spec.kind)
        rows = interpolation_weights(height, spec.size[0], spec.interpolation)
        columns = interpolation_weights(width, spec.size[1], spec.interpolation)
        tensor = graph.operator("MatMul", graph.constant(rows, "rows"), tensor)
        tensor = graph.operator("MatMul", tensor, graph.constant(columns.T, "columns"))
    return tensor if place.channels_first else graph.transposed(tensor, TO_LAST)


@translate.register
def _(spec: L.GlobalPooling, graph: Graph, place: Place) -> str:
    kind = "ReduceMean" if isinstance(spec, L.GlobalAveragePooling2D) else "ReduceMax"
    axes = graph.constant([2, 3] if place.channels_first else [1, 2], "axes", np.int64)
    return graph.operator(kind, place.inputs[0], axes, keepdims=int(spec.keepdims))


@translate.register
def _(spec: L.Flatten, graph: Graph, place: Place) -> str:
    tensor, shape = place.inputs[0], place.shapes[0]
    if place.channels_first and len(shape) > 1:  # Keras flattens with the first axis last
        tensor = graph.transposed(tensor, (0, *range(2, len(shape) + 1), 1))
    return reshape(graph, tensor, (prod(shape),))


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
def _(spec: L.Rescaling, graph: Graph, place: Place) -> str:
    scale, offset = (per_channel(numbers, place.context.data_format) for numbers in (spec.scale, spec.offset))
    product = graph.operator("Mul", place.inputs[0], graph.constant(scale, "scale"))
    return graph.operator("Add", product, graph.constant(offset, "offset"))


@translate.register
def _(spec: L.Reshape, graph: Graph, place: Place) -> str:
    return reshape(graph, place.inputs[0], apply(spec, place.shapes, place.context)[0])


@translate.register
def _(spec: L.Permute, graph: Graph, place: Place) -> str:
    return graph.transposed(place.inputs[0], (0, *spec.dims))


@translate.register
def _(spec: L.LayerNormalization, graph: Graph, place: Place) -> str:
    """Add `(x - mean) / sqrt(variance + epsilon)` over axes, then gamma and beta; with rms_scaling the mean stays."""
    tensor, shape = place.inputs[0], place.shapes[0]
    axes = [index + 1 for index in axes_of(spec.axis, shape)]
    centred, deviation = _centred(graph, tensor, axes, spec.epsilon)
    spread = [size if index in axes else 1 for index, size in enumerate((1, *shape))]
    result = graph.operator("Div", tensor if spec.rms_scaling else centred, deviation)
    return _scaled(graph, place, result, spec.trained, spread)


@translate.register
def _(spec: L.GroupNormalization, graph: Graph, place: Place) -> str:
    """Add a normalization of groups: the axis of the channels is divided into two, and joined again."""
    shape, axis = place.shapes[0], axis_of(spec.axis, place.shapes[0])
    groups = groups_of(spec, shape)
    divided = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    axes = [index for index in range(1, len(divided) + 1) if index != axis + 1]
    centred, deviation = _centred(graph, reshape(graph, place.inputs[0], divided), axes, spec.epsilon)
    result = reshape(graph, graph.operator("Div", centred, deviation), shape)
    spread = [size if index == axis + 1 else 1 for index, size in enumerate((1, *shape))]
    return _scaled(graph, place, result, spec.trained, spread)


def _centred(graph: Graph, tensor: str, axes: list[int], epsilon: float) -> tuple[str, str]:
    """Add `x - mean` and `sqrt(variance + epsilon)` over axes."""
    names = graph.constant(axes, "axes", np.int64)
    centred = graph.operator("Sub", tensor, graph.operator("ReduceMean", tensor, names, keepdims=1))
    variance = graph.operator("ReduceMean", graph.operator("Mul", centred, centred), names, keepdims=1)
    return centred, graph.operator("Sqrt", graph.operator("Add", variance, graph.constant(epsilon, "epsilon")))


def _scaled(graph: Graph, place: Place, tensor: str, trained: Sequence[str], spread: list[int]) -> str:
    """Multiply by gamma and add beta, those that the layer has, in the shape `spread`."""
    for name in trained:
        weight = graph.constant(np.reshape(getattr(place.built, name), spread), name)
        tensor = graph.operator("Mul" if name == "gamma" else "Add", tensor, weight)
    return tensor


@translate.register
def _(spec: L.Normalization, graph: Graph, place: Place) -> str:
    """Add `(x - mean) / deviation`, or inverted `mean + x * deviation`."""
    deviation = np.maximum(np.sqrt(place.built.variance), keras.backend.epsilon())
    mean, deviation = graph.constant(place.built.mean, "mean"), graph.constant(deviation, "deviation")
    if spec.invert:
        return graph.operator("Add", graph.operator("Mul", place.inputs[0], deviation), mean)
    return graph.operator("Div", graph.operator("Sub", place.inputs[0], mean), deviation)


@translate.register
def _(spec: L.UnitNormalization, graph: Graph, place: Place) -> str:
    """Add `x / norm` along axes; zeros stay zeros."""
    tensor = place.inputs[0]
    axes = graph.constant([index + 1 for index in axes_of(spec.axis, place.shapes[0])], "axes", np.int64)
    norm = graph.operator("ReduceL2", tensor, axes, keepdims=1)
    return graph.operator("Div", tensor, graph.operator("Max", norm, graph.constant(1e-12, "least")))


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
