"""ONNX graphs, run by ONNX Runtime, against Keras: every layer and every activation."""

from __future__ import annotations

from typing import Any, get_args

import keras
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from cnnctl.export.onnx_network import onnx_graph
from cnnctl.model import build_model
from cnnctl.model.adapted import use_stored_moments
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment

Layers = list[Any]
END: Layers = ["flatten", {"dense": {"units": "classes"}}]
POINTWISE = {"dense": {"units": "classes"}}


def conv(**fields: Any) -> dict[str, Any]:
    return {"conv2d": {"filters": 6, "kernel_size": 3, **fields}}  # 6 is no width here: see test_channels_first


def joined(join: dict[str, Any]) -> Layers:
    return [conv(name="left"), conv(name="right", inputs=["input"], activation="relu"), join, *END]


STACKS: dict[str, Layers] = {
    "valid": [conv(), *END],
    "same": [conv(padding="same", kernel_size=[4, 2], strides=[2, 3]), *END],
    "dilated": [conv(padding="same", dilation_rate=[2, 1]), *END],
    "grouped": [conv(), conv(groups=2, use_bias=False), *END],
    "kernel smaller than stride": [conv(padding="same", kernel_size=1, strides=2), *END],
    "depthwise": [conv(), {"depthwise_conv2d": {"kernel_size": [2, 3], "activation": "relu"}}, *END],
    "depthwise, several filters": [
        {"depthwise_conv2d": {"kernel_size": 3, "depth_multiplier": 2, "strides": 2, "padding": "same", "use_bias": False}},
        {"depthwise_conv2d": {"kernel_size": 2, "depth_multiplier": 3, "padding": "same", "dilation_rate": [1, 2]}}, *END,
    ],
    "depthwise with strides and dilation": [
        {"depthwise_conv2d": {"kernel_size": 2, "strides": [3, 2], "padding": "same", "dilation_rate": [1, 2]}}, *END,
    ],
    "separable": [
        {"separable_conv2d": {"filters": 5, "kernel_size": [3, 2], "strides": 2, "padding": "same", "activation": "softmax"}},
        {"separable_conv2d": {"filters": 4, "kernel_size": 2, "depth_multiplier": 3, "dilation_rate": [2, 1]}},
        {"separable_conv2d": {"filters": 2, "kernel_size": 1, "use_bias": False}}, *END,
    ],
    "transposed": [conv(), {"conv2d_transpose": {"filters": 4, "kernel_size": 3, "activation": "relu"}}, *END],
    "transposed, cropped": [
        {"conv2d_transpose": {"filters": 4, "kernel_size": [5, 4], "strides": [2, 3], "padding": "same", "use_bias": False}},
        {"conv2d_transpose": {"filters": 2, "kernel_size": 3, "padding": "same", "activation": "softmax"}}, *END,
    ],
    "transposed, with gaps": [
        {"conv2d_transpose": {"filters": 4, "kernel_size": [2, 1], "strides": [3, 2], "padding": "same"}},
        {"conv2d_transpose": {"filters": 2, "kernel_size": 2, "strides": 3}}, *END,
    ],
    "transposed, with output padding": [
        {"conv2d_transpose": {"filters": 4, "kernel_size": 3, "strides": 3, "padding": "same", "output_padding": [0, 2]}},
        {"conv2d_transpose": {"filters": 2, "kernel_size": 2, "strides": 2, "output_padding": [1, 0]}}, *END,
    ],
    "zero padding": [{"zero_padding2d": {"padding": [[1, 2], [0, 3]]}}, conv(), *END],
    "cropping": [{"cropping2d": {"cropping": [[1, 2], [0, 3]]}}, conv(), {"cropping2d": {"cropping": 1}}, *END],
    "up-sampling": [conv(activation="relu"), {"up_sampling2d": {"size": [2, 3]}}, conv(), *END],
    **{way: [conv(), {"up_sampling2d": {"size": [3, 2], "interpolation": way}}, *END] for way in ("bilinear", "bicubic", "lanczos3", "lanczos5")},
    "rescaling": [conv(), {"rescaling": {"scale": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "offset": 0.5}}, {"rescaling": {"scale": 0.5, "offset": [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]}}, *END],
    "reshape": [conv(), {"reshape": {"target_shape": [-1, 5, 2, 3]}}, {"reshape": {"target_shape": [18, -1]}}, POINTWISE, *END],
    "permute": [conv(), {"permute": {"dims": [2, 3, 1]}}, conv(), "flatten", {"permute": {"dims": [1]}}, POINTWISE],
    "flatten of two axes": [{"reshape": {"target_shape": [12, -1]}}, "flatten", POINTWISE],
    "max pooling": [{"max_pooling2d": {"pool_size": [3, 2], "strides": [2, 1], "padding": "same"}}, *END],
    "average pooling": [{"average_pooling2d": {"pool_size": [2, 3], "strides": [1, 2], "padding": "same"}}, *END],
    "a chain of windows": [conv(activation="relu"), "max_pooling2d", conv(), *END],
    "global average pooling": [conv(), "global_average_pooling2d", POINTWISE],
    "global max pooling": [conv(), {"global_max_pooling2d": {"keepdims": True}}, *END],
    "flatten in the other order": [conv(), {"flatten": {"data_format": "channels_first"}}, POINTWISE],
    "flatten after flatten": ["flatten", {"flatten": {"data_format": "channels_first"}}, POINTWISE],
    "a window in the other order": [conv(data_format="channels_first", padding="same", activation="softmax"), *END],
    "dense along pixels": [conv(), {"dense": {"units": 3, "activation": "relu"}}, *END],
    "dense without bias": ["flatten", {"dense": {"units": "classes", "use_bias": False}}],
    "batch norm": [conv(), {"batch_normalization": {"epsilon": 0.1}}, *END],
    "batch norm along rows": [conv(), {"batch_normalization": {"axis": 1, "scale": False}}, *END],
    "batch norm of vectors": ["flatten", {"batch_normalization": {"center": False}}, POINTWISE],
    "layer norm": [conv(), {"layer_normalization": {"epsilon": 0.1}}, *END],
    "layer norm of images": [conv(), {"layer_normalization": {"axis": [3, 1, -2]}}, "flatten", "layer_normalization", POINTWISE],
    "layer norm of rows": [conv(), {"layer_normalization": {"axis": [-1, 1], "scale": False}}, *END],
    "layer norm by deviation": [conv(), {"layer_normalization": {"rms_scaling": True}}, *END],
    "group norm": [conv(), {"group_normalization": {"groups": 3, "epsilon": 0.1}}, *END],
    "group norm of rows": [conv(), {"group_normalization": {"groups": -1, "axis": 1, "center": False}}, *END],
    "group norm of vectors": ["flatten", {"group_normalization": {"groups": 9}}, POINTWISE],
    "normalization": ["normalization", conv(), *END],
    "normalization of pixels": [{"normalization": {"axis": [1, 2], "invert": True}}, conv(), *END],
    "normalization by numbers": [conv(), {"normalization": {"mean": 0.2, "variance": 0.3}}, "flatten", {"normalization": {"axis": None, "mean": 1, "variance": 4, "invert": True}}, POINTWISE],
    "unit norm": [conv(), "unit_normalization", *END],
    "unit norm of images": [conv(activation="relu"), {"unit_normalization": {"axis": [1, 2]}}, "flatten", "unit_normalization", POINTWISE],
    "dropout": [conv(), {"dropout": {"rate": 0.5}}, *END],
    "dropout at the end": [*END, {"dropout": {"rate": 0.5}}],
    "noise": [
        conv(), {"spatial_dropout2d": {"rate": 0.5}}, {"gaussian_noise": {"stddev": 0.5}}, {"gaussian_dropout": {"rate": 0.5}},
        {"alpha_dropout": {"rate": 0.5}}, *END,
    ],
    "relu": [conv(), "relu", *END],
    "relu up to 1": [conv(), {"relu": {"max_value": 0.5}}, *END],
    "relu with everything": [conv(), {"relu": {"max_value": 0.5, "negative_slope": 0.2, "threshold": 0.1}}, *END],
    "relu with a slope": [conv(), {"relu": {"negative_slope": 0.2, "max_value": 6.0}}, *END],
    "leaky relu": [conv(), "leaky_relu", *END],
    "prelu": [conv(), {"prelu": {"alpha_initializer": "ones"}}, *END],
    "prelu of channels": [conv(), {"prelu": {"shared_axes": [1, 2]}}, "flatten", "prelu", POINTWISE],
    "elu": [conv(), {"elu": {"alpha": 0.5}}, *END],
    "softmax of rows": [conv(), {"softmax": {"axis": 1}}, *END],
    "softmax of pixels": [conv(), {"softmax": {"axis": [1, 2]}}, *END],
    "softmax as a layer": [*END, "softmax"],
    "add": joined({"add": {"inputs": ["left", "right"]}}),
    "add one thrice": [conv(name="one"), {"add": {"inputs": ["one", "one", "one"]}}, *END],
    "add a vector to maps": [
        conv(name="maps"), {"global_average_pooling2d": {"name": "mean"}}, {"add": {"inputs": ["maps", "mean"]}}, *END,
    ],
    "subtract": joined({"subtract": {"inputs": ["left", "right"]}}),
    "multiply three": joined({"multiply": {"inputs": ["left", "right", "left"]}}),
    "average": joined({"average": {"inputs": ["left", "right", "right"]}}),
    "maximum": joined({"maximum": {"inputs": ["left", "right"]}}),
    "minimum": joined({"minimum": {"inputs": ["left", "right"]}}),
    "a gate": [
        conv(name="maps"), {"global_average_pooling2d": {}}, {"dense": {"units": 6, "activation": "sigmoid"}},
        {"multiply": {"inputs": ["maps", "dense"]}}, *END,
    ],
    "concatenate": joined({"concatenate": {"inputs": ["left", "right"]}}),
    "concatenate rows": joined({"concatenate": {"inputs": ["right", "left"], "axis": 1}}),
    "softmax": ["flatten", {"dense": {"units": "classes", "activation": "softmax"}}],
    "softmax over maps": [conv(activation="softmax"), {"activation": {"activation": "softmax"}}, *END],
}  # fmt: skip


def experiment(layers: Layers, data_format: str = "channels_last") -> Experiment:
    data = {"source": "digits", "image_size": [11, 12], "channels": 3, "classes": 5, "test": 0.2}
    model = {"style": "functional", "data_format": data_format, "layers": layers}
    return Experiment.model_validate({"data": data, "model": model})


def network_of(spec: Experiment) -> keras.Model:
    """Build the network with random weights, none of them zero or one."""
    network = build_model(spec)
    random = np.random.default_rng(0)
    for weight in network.weights:
        change = random.random(weight.shape) if "variance" in weight.path else random.normal(0, 0.3, weight.shape)
        weight.assign(np.asarray(weight) + change)
    use_stored_moments(network)
    return network


def run(file: bytes, images: NDArray[np.float32]) -> Any:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(["output"], {"input": images})[0]


def assert_equal_answers(spec: Experiment) -> None:
    network = network_of(spec)
    file = onnx_graph(spec.network, network).SerializeToString()
    for count in (1, 4):
        images = np.random.default_rng(count).random((count, *network.input_shape[1:]), np.float32)
        expected = np.asarray(network(images, training=False))
        rounding = max(1e-5, 1e-6 * np.abs(expected).max())  # of sums, whose terms may be larger than they are
        np.testing.assert_allclose(run(file, images), expected, rtol=1e-4, atol=rounding)


@pytest.mark.parametrize("name", STACKS)
def test_every_layer_answers_as_in_keras(name: str) -> None:
    assert_equal_answers(experiment(STACKS[name]))


@pytest.mark.parametrize(
    "name",
    [
        "same",
        "grouped",
        "a chain of windows",
        "zero padding",
        "cropping",
        "up-sampling",
        "bicubic",
        "rescaling",
        "reshape",
        "permute",
        "flatten of two axes",
        "global max pooling",
        "softmax over maps",
        "depthwise, several filters",
        "separable",
    ],
)
def test_channels_first_answers_as_in_keras(name: str) -> None:
    """But where a convolution gives as many columns as maps: there Keras 3.15 adds its bias along the columns."""
    assert_equal_answers(experiment(STACKS[name], "channels_first"))


@pytest.mark.parametrize("activation", get_args(L.Activation))
def test_every_activation_answers_as_in_keras(activation: str) -> None:
    wide = {"dense": {"units": 40, "kernel_initializer": {"random_normal": {"stddev": 2.0}}, "activation": activation}}
    assert_equal_answers(experiment(["flatten", wide, {"activation": {"activation": activation}}, POINTWISE]))


def test_every_layer_has_a_stack_here() -> None:
    here = {layer if isinstance(layer, str) else next(iter(layer)) for stack in STACKS.values() for layer in stack}
    assert here | {"activation"} == {layer.kind for layer in L.LAYERS}


def test_transpositions_that_undo_each_other_are_left_out() -> None:
    spec = experiment(STACKS["a chain of windows"])
    operators = [operator.op_type for operator in onnx_graph(spec.network, network_of(spec)).graph.node]
    assert operators == ["Transpose", "Conv", "Relu", "MaxPool", "Conv", "Transpose", "Reshape", "MatMul", "Add", "Identity"]


def test_operators_and_weights_are_named_after_their_layers() -> None:
    spec = experiment([conv(name="first"), *END])
    graph = onnx_graph(spec.network, network_of(spec)).graph
    assert {"first/Conv", "dense/MatMul"} <= {operator.name for operator in graph.node}
    assert {"first/kernel", "first/bias", "dense/kernel"} <= {constant.name for constant in graph.initializer}
