"""What the outputs of a network are, followed through all its layers; every remedy that is named is tried."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from cnnctl.errors import ConfigError
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss, output_kind, values_of
from cnnctl.spec.load import check

Layers = list[Any]
SOFTMAX = {"activation": {"activation": "softmax"}}
LINEAR = {"activation": {"activation": "linear"}}


def dense(units: Any = "classes", **fields: Any) -> dict[str, Any]:
    return {"dense": {"units": units, **fields}}


def maps(activation: str = "linear", size: int = 3) -> dict[str, Any]:
    return {"conv2d": {"filters": 10, "kernel_size": size, "activation": activation}}


def checked(layers: Layers, data_format: str = "channels_last", notes: list[str] | None = None, **train: Any) -> Experiment:
    model = {"style": "functional", "data_format": data_format, "layers": layers}
    return check(parse(yaml.safe_dump({"data": {"source": "digits"}, "model": model, "train": train}), "x.yaml"), notes=notes)


def two(first: str, second: str, join: Any, units: int | str = "classes") -> Layers:
    """Returns two dense layers on the image, joined."""
    ((kind, fields),) = join.items()
    branches = [dense(units, activation=word, name=name, inputs=["flatten"]) for word, name in ((first, "a"), (second, "b"))]
    return ["flatten", *branches, {kind: {**fields, "inputs": ["a", "b"]}}]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["flatten", dense()], "logits"),
        (["flatten", dense(activation="softmax")], "probabilities"),
        (["flatten", dense(), SOFTMAX], "probabilities"),
        (["flatten", dense(), SOFTMAX, LINEAR, {"dropout": {"rate": 0.0}}], "probabilities"),
        (["flatten", dense(activation="softmax"), {"activation": {"activation": "relu"}}], "probabilities"),
        (["flatten", dense(5, activation="softmax"), {"dropout": {"rate": 0.5}}, dense()], "logits"),
        (["flatten", dense(), {"dropout": {"rate": 0.5}}], "logits"),
        (["flatten", dense(), "batch_normalization"], "logits"),
        (["flatten", dense(), "softmax"], "probabilities"),
        (["flatten", dense(activation="log_softmax")], "logits"),
        (["flatten", dense(activation="log_softmax"), SOFTMAX], "probabilities"),
        ([maps("log_softmax"), "global_average_pooling2d"], "logits"),
        (["flatten", dense(), {"softmax": {"axis": 1}}], "probabilities"),
        (["flatten", dense(), "softmax", "relu", {"relu": {"max_value": 1.0}}, "leaky_relu", "prelu", "elu"], "probabilities"),
        ([maps("linear", 8), {"softmax": {"axis": [1, 2, 3]}}, "flatten"], "probabilities"),
        ([maps(), "relu", "global_average_pooling2d"], "logits"),
        (["flatten", dense(activation="sigmoid"), "batch_normalization"], "logits"),
        ([maps("softmax", 8), "flatten"], "probabilities"),
        ([maps("softmax"), {"cropping2d": {"cropping": 1}}, "global_average_pooling2d"], "probabilities"),
        (["flatten", dense(activation="softmax"), {"rescaling": {"scale": [1]}}], "probabilities"),
        (["flatten", dense(), {"reshape": {"target_shape": [2, -1]}}, "flatten"], "logits"),
        ([maps("softmax", 8), {"reshape": {"target_shape": [-1]}}], "probabilities"),
        ([maps("softmax"), {"permute": {"dims": [2, 1, 3]}}, "global_average_pooling2d"], "probabilities"),
        ([maps("softmax"), {"reshape": {"target_shape": [4, -1, 10]}}, "global_average_pooling2d"], "probabilities"),
        (["flatten", dense(), {"rescaling": {"scale": 10, "offset": 1}}], "logits"),
        ([maps("softmax"), {"up_sampling2d": {"interpolation": "bilinear"}}, "global_average_pooling2d"], "probabilities"),
        ([maps("softmax", 8), {"global_max_pooling2d": {}}], "probabilities"),
        ([maps("softmax"), "average_pooling2d", "global_average_pooling2d"], "probabilities"),
        ([maps("softmax"), {"max_pooling2d": {}}, {"conv2d": {"filters": 10, "kernel_size": 3}}, "flatten"], "logits"),
        ([maps("relu"), "global_average_pooling2d"], "logits"),
        ([maps("softmax"), {"depthwise_conv2d": {"kernel_size": 3}}, "global_average_pooling2d"], "logits"),
        ([maps("softmax"), {"conv2d_transpose": {"filters": 10, "kernel_size": 3}}, "global_average_pooling2d"], "logits"),
        ([{"separable_conv2d": {"filters": 10, "kernel_size": 8, "activation": "softmax"}}, "flatten"], "probabilities"),
        (two("linear", "softmax", {"add": {}}), "logits"),
        (two("relu", "linear", {"add": {}}), "logits"),
        (two("linear", "linear", {"concatenate": {}}, 5), "logits"),
        ([*two("softmax", "softmax", {"add": {}}), dense()], "logits"),
        (two("softmax", "softmax", {"average": {}}), "probabilities"),
        (two("linear", "sigmoid", {"multiply": {}}), "logits"),
        (two("relu", "relu", {"subtract": {}}), "logits"),
        (two("linear", "linear", {"maximum": {}}), "logits"),
        (["flatten", dense(activation="softmax", name="a"), {"minimum": {"inputs": ["a", "a"]}}], "probabilities"),
    ],
)
def test_outputs_are_followed_through_the_layers_after_the_activation(layers: Layers, expected: str) -> None:
    experiment = checked(layers)
    network = experiment.network
    nodes, facts = network.nodes, network.facts
    assert output_kind(nodes) == expected
    assert values_of(nodes, facts)[nodes[-1].name].kind == expected
    assert chosen_loss(experiment).from_logits == (expected == "logits")


def without_softmax(layers: Layers, end: Layers) -> Layers:
    """Returns the stack without any softmax, then `end`: what the message says to do."""
    text = re.sub("activation: (log_)?softmax", "activation: linear", yaml.safe_dump(layers))
    return [*yaml.safe_load(text), *end]


@pytest.mark.parametrize(
    ("layers", "data_format", "message"),
    [
        (two("softmax", "softmax", {"add": {}}), "channels_last", "the sum of 2 softmax outputs, which sums to 2"),
        (two("softmax", "softmax", {"subtract": {}}), "channels_last", "the difference of 2 softmax outputs, which sums to 0"),
        (two("softmax", "softmax", {"multiply": {}}), "channels_last", "the product of 2 softmax outputs, which does not"),
        (two("softmax", "softmax", {"maximum": {}}), "channels_last", "the maximum of 2 softmax outputs, which does not"),
        (two("softmax", "softmax", {"minimum": {}}), "channels_last", "the minimum of 2 softmax outputs, which does not"),
        (two("softmax", "softmax", {"concatenate": {}}, 5), "channels_last", "2 softmax outputs side by side, which sum to 2"),
        (
            [{"conv2d": {"filters": 5, "kernel_size": [8, 7], "activation": "softmax"}}, "flatten"],
            "channels_last",
            "2 softmax outputs side by side",
        ),
        ([maps("softmax"), "global_max_pooling2d"], "channels_last", "maxima of probabilities, which do not sum to 1"),
        ([maps("softmax"), "max_pooling2d", "global_average_pooling2d"], "channels_last", "maxima of probabilities"),
        ([maps("softmax"), "zero_padding2d", "global_average_pooling2d"], "channels_last", "zeros around probabilities"),
        ([maps("softmax", 8), "flatten"], "channels_first", r"1 everywhere \(softmax over one value"),
        (
            [maps("softmax"), {"cropping2d": {"cropping": [0, 2]}}, "global_average_pooling2d"],
            "channels_first",
            "cropped outputs of a softmax along the columns",
        ),
        (
            [{"conv2d": {"filters": 5, "kernel_size": [8, 7], "activation": "softmax"}}, {"reshape": {"target_shape": [10]}}],
            "channels_last",
            "softmax outputs that a reshape cut into rows of 10",
        ),
        (
            [
                {"conv2d": {"filters": 10, "kernel_size": [8, 1], "activation": "softmax"}},
                {"permute": {"dims": [1, 3, 2]}},
                {"permute": {"dims": [1, 3, 2]}},
                "global_average_pooling2d",
            ],
            "channels_last",
            "softmax outputs that a permute moved to another axis than the last",
        ),
        (["flatten", dense(activation="softmax"), {"rescaling": {"scale": 2}}], "channels_last", "rescaled probabilities"),
        (
            [maps("softmax"), "up_sampling2d", "global_average_pooling2d"],
            "channels_first",
            "interpolated outputs of a softmax along the columns",
        ),
        (
            [maps("softmax"), {"up_sampling2d": {"interpolation": "bicubic"}}, "global_average_pooling2d"],
            "channels_last",
            "probabilities after bicubic interpolation, whose weights may be negative",
        ),
        ([maps("log_softmax", 8), "flatten"], "channels_first", r"0 everywhere \(log_softmax over one value"),
        ([maps("softmax"), "global_average_pooling2d"], "channels_first", "pooled outputs of a softmax along the columns"),
    ],
)
def test_what_is_no_longer_probabilities_is_refused_with_a_remedy_that_works(
    layers: Layers, data_format: str, message: str
) -> None:
    with pytest.raises(
        ConfigError, match=f"the outputs are {message}.*remove that softmax for logits, or end the network with"
    ):
        checked(layers, data_format)
    for end in ([], [SOFTMAX]):
        checked(without_softmax(layers, end), data_format)


def test_dropout_on_probabilities_is_refused_and_may_stand_before_the_softmax() -> None:
    drop, end = {"dropout": {"rate": 0.25}}, dense(activation="softmax")
    with pytest.raises(ConfigError, match=r"divides the others by 0\.75.*move the dropout before the softmax of 'dense'"):
        checked(["flatten", end, drop])
    checked(["flatten", drop, end])


@pytest.mark.parametrize("between", [[], [{"dropout": {"rate": 0.5}}], [LINEAR, {"dropout": {"rate": 0.0}}]])
def test_a_softmax_of_a_softmax_is_refused_whatever_lies_between(between: Layers) -> None:
    with pytest.raises(ConfigError, match="softmax of a softmax: 'dense' already outputs probabilities"):
        checked(["flatten", dense(activation="softmax"), *between, SOFTMAX])


@pytest.mark.parametrize("layers", [["flatten", dense(activation="sigmoid")], [maps("sigmoid"), "global_average_pooling2d"]])
def test_sigmoid_at_the_end_scores_each_class_by_itself(layers: Layers) -> None:
    with pytest.raises(ConfigError, match="ends with sigmoid, which scores each class separately, from 0 to 1"):
        checked(layers)
    for word in ("linear", "softmax"):
        checked(yaml.safe_load(yaml.safe_dump(layers).replace("sigmoid", word)))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["flatten", dense(), "prelu"], "ends with prelu, which outputs neither logits nor probabilities"),
        (["flatten", dense(), {"relu": {"max_value": 6.0}}], "the outputs are relu of at most 6: neither"),
        (
            [maps(), {"softmax": {"axis": 1}}, "global_average_pooling2d"],
            "the outputs are outputs of a softmax along other axes",
        ),
        (["flatten", dense(activation="softmax"), {"relu": {"threshold": 0.5}}], "ends with relu, which"),
        (["flatten", dense(activation="relu")], "ends with relu, which outputs neither logits nor probabilities"),
        (two("sigmoid", "tanh", {"add": {}}), "the outputs are sums of sigmoid and tanh: neither"),
        (two("softmax", "linear", {"concatenate": {}}, 5), "probabilities and logits side by side: neither"),
        (two("relu", "relu", {"concatenate": {}}, 5), "ends with relu"),
    ],
)
def test_what_was_never_logits_or_probabilities_is_refused(layers: Layers, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(layers)


@pytest.mark.parametrize("layer", [{"gaussian_noise": {"stddev": 0.1}}, {"alpha_dropout": {"rate": 0.1}}])
def test_noise_on_probabilities_is_refused_and_may_stand_before_the_softmax(layer: Any) -> None:
    (kind,) = layer
    end = dense(activation="softmax")
    with pytest.raises(ConfigError, match=f"after {kind}, which changes them at random in training.*move the {kind} before"):
        checked(["flatten", end, layer])
    checked(["flatten", layer, end])


def test_a_softmax_of_an_average_of_two_is_refused() -> None:
    with pytest.raises(ConfigError, match="softmax of a softmax: 'a' already outputs probabilities"):
        checked([*two("softmax", "softmax", {"average": {}}), SOFTMAX])


def test_from_logits_is_compared_with_the_outputs_and_not_with_the_last_layer() -> None:
    layers = [maps("softmax"), "global_average_pooling2d", LINEAR]
    with pytest.raises(ConfigError, match="expects logits, but 'conv2d' at the end of the network outputs probabilities"):
        checked(layers, loss={"sparse_categorical_crossentropy": {"from_logits": True}})
