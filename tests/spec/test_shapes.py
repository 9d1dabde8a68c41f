"""Shapes, parameters, MACs and receptive fields against published tables and against sums done by hand."""

from __future__ import annotations

import random
from math import prod
from pathlib import Path
from typing import Any

import pytest

from cnnctl.report.rows import as_plain, summarize
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.load import load
from cnnctl.spec.receptive import Receptive, receptive_fields
from cnnctl.spec.shapes import Facts, LayerContext, Misfit, Shape, Window, trace
from cnnctl.spec.stack import nodes_of
from tests.custom import use_layers_of

CONFIGS = Path(__file__).parents[2] / "configs"


def facts(layers: list[Any], image: Shape = (28, 28, 1), data_format: str = "channels_last") -> list[Facts]:
    """Returns the facts of a stack, 10 classes."""
    model = ModelSpec.model_validate({"style": "functional", "data_format": data_format, "layers": layers})
    nodes, complaints = nodes_of(model)
    assert complaints == []
    return trace(nodes, image, LayerContext(10, model.data_format))


def last(layers: list[Any], image: Shape, data_format: str = "channels_last") -> Facts:
    return facts(layers, image, data_format)[-1]


def shape(layers: list[Any], image: Shape, data_format: str = "channels_last") -> Shape:
    return last(layers, image, data_format).output_shape


# --- published tables ---------------------------------------------------------------------------------------------


def mobilenet(classes: int) -> list[Any]:
    """Returns MobileNetV1 of width 1, table 1 of Howard et al. (2017), with the paddings of Keras's own."""
    layers: list[Any] = []

    def convolution(layer: str, strides: int, **fields: Any) -> None:
        if strides > 1:
            layers.append({"zero_padding2d": {"padding": [[0, 1], [0, 1]]}})
        padding = "valid" if strides > 1 else "same"
        layers.extend([{layer: {**fields, "strides": strides, "padding": padding, "use_bias": False}}, "batch_normalization"])
        layers.append({"relu": {"max_value": 6.0}})

    convolution("conv2d", 2, filters=32, kernel_size=3)
    for filters, strides in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]:
        convolution("depthwise_conv2d", strides, kernel_size=3)
        convolution("conv2d", 1, filters=filters, kernel_size=1)
    return [*layers, "global_average_pooling2d", {"dense": {"units": classes}}]


def test_mobilenet_has_the_published_size() -> None:
    """4.2 million parameters and 569 million multiply-adds, table 8 of the paper; the exact count is that of Keras."""
    found = facts(mobilenet(1000), (224, 224, 3))
    assert sum(each.trainable for each in found) == 4_231_976
    assert sum(each.parameters for each in found) == 4_253_864
    assert round(sum(each.macs for each in found) / 1e6) == 569
    assert [each.output_shape for each in found if each.kind == "depthwise_conv2d"][-1] == (7, 7, 1024)


@pytest.mark.parametrize(
    ("layer", "output", "parameters", "macs"),
    [
        ({"depthwise_conv2d": {"kernel_size": 3}}, (6, 5, 4), 9 * 4 + 4, 6 * 5 * 36),
        ({"depthwise_conv2d": {"kernel_size": 3, "depth_multiplier": 5, "use_bias": False}}, (6, 5, 20), 180, 6 * 5 * 180),
        ({"depthwise_conv2d": {"kernel_size": [2, 3], "strides": 2, "padding": "same"}}, (4, 4, 4), 28, 16 * 24),
        ({"depthwise_conv2d": {"kernel_size": 3, "strides": [2, 1], "dilation_rate": 2}}, (2, 3, 4), 40, 6 * 36),
        ({"separable_conv2d": {"filters": 7, "kernel_size": 3}}, (6, 5, 7), 36 + 28 + 7, 30 * 64),
        ({"separable_conv2d": {"filters": 7, "kernel_size": 3, "depth_multiplier": 2}}, (6, 5, 7), 72 + 56 + 7, 30 * 128),
        ({"conv2d_transpose": {"filters": 5, "kernel_size": 3}}, (10, 9, 5), 185, 56 * 180),
        ({"conv2d_transpose": {"filters": 5, "kernel_size": 3, "strides": 2}}, (17, 15, 5), 185, 56 * 180),
        ({"conv2d_transpose": {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same"}}, (16, 14, 5), 185, 56 * 180),
        ({"conv2d_transpose": {"filters": 5, "kernel_size": [1, 2], "strides": 3}}, (24, 21, 5), 45, 56 * 40),
        ({"conv2d_transpose": {"filters": 5, "kernel_size": 2, "strides": 3, "output_padding": [0, 2]}}, (23, 22, 5), 85, 56 * 80),
        (
            {"conv2d_transpose": {"filters": 5, "kernel_size": 3, "strides": 3, "padding": "same", "output_padding": [1, 0]}},
            (23, 19, 5), 185, 56 * 180,
        ),
        ({"conv2d_transpose": {"filters": 5, "kernel_size": 3, "dilation_rate": [2, 1]}}, (12, 9, 5), 185, 56 * 180),
    ],
)  # fmt: skip
def test_kinds_of_convolution_by_hand(layer: dict[str, Any], output: Shape, parameters: int, macs: int) -> None:
    for data_format, image in (("channels_last", (8, 7, 4)), ("channels_first", (4, 8, 7))):
        found = last([layer], image, data_format)
        expected = output if data_format == "channels_last" else (output[2], *output[:2])
        assert (found.output_shape, found.parameters, found.macs) == (expected, parameters, macs)


def test_the_receptive_fields_of_a_transposed_convolution_are_those_of_a_scatter() -> None:
    """Each input pixel is added to its window one by one, by the rule of TensorFlow: a convolution of the output, reversed."""
    draw = random.Random(0)
    for _ in range(2000):
        pixels, size, stride = draw.randint(1, 9), draw.randint(1, 7), draw.randint(1, 5)
        dilation, same = (draw.randint(1, 3) if stride == 1 else 1), draw.random() < 0.5
        padding = "same" if same else "valid"
        fields: dict[str, Any] = {"filters": 1, "kernel_size": [size, 2], "strides": [stride, 1], "padding": padding}
        fields["dilation_rate"] = [dilation, 1]
        layer = ModelSpec.model_validate({"layers": [{"conv2d_transpose": fields}]})
        nodes, _ = nodes_of(layer)
        network = trace(nodes, (pixels, 1, 1), LayerContext(10, "channels_last"))
        (field,) = receptive_fields(nodes, network, (pixels, 1, 1), LayerContext(10, "channels_last"))
        output, extent = network[0].output_shape[0], dilation * (size - 1) + 1
        crop = max((pixels - 1) * stride + extent - output, 0) // 2 if same else 0
        reaching: list[set[int]] = [set() for _ in range(output)]
        for pixel in range(pixels):
            for tap in range(size):
                place = pixel * stride - crop + tap * dilation
                if 0 <= place < output:
                    reaching[place].add(pixel)
        spans = {(max(each) - min(each) + 1, len(each)) if each else (0, 0) for each in reaching}
        assert field and (field.field[0], field.seen[0]) == max(spans), fields
        assert field.same == (len({span for span, _ in spans}) == 1), fields
        assert field.unseen[0] == tuple(sorted(set(range(pixels)) - set().union(*reaching))), fields


# config: (trainable parameters, others, MACs). Every shipped config has a row.
SHIPPED = {
    "batchnorm.yaml": (17_642, 128, 1_317_824),
    "complete-cnn.yaml": (62_346, 0, 3_747_840),
    "fashion-mnist.yaml": (59_690, 256, 11_095_168),
    "custom-layer.yaml": (10_570, 0, 309_888),
    "digits-sweep.yaml": (2_730, 0, 11_776),
    "few-shot.yaml": (4_896, 96, 82_944),
    "lenet5.yaml": (61_706, 0, 416_520),
    "mnist.yaml": (34_826, 0, 2_440_960),
    "mnist-best.yaml": (307_818, 896, 18_499_712),
    "mnist-fast.yaml": (215_194, 0, 1_244_160),
    "mobilenet.yaml": (35_274, 2_240, 1_531_248),
    "omniglot.yaml": (120_520, 512, 9_823_744),
    "omniglot-maml.yaml": (112_261, 512, 9_815_360),
    "omniglot-one-shot.yaml": (573_024, 1_344, 52_070_400),
    "omniglot-protonet.yaml": (111_936, 512, 9_815_040),
    "quickstart.yaml": (30_634, 0, 905_728),
    "residual.yaml": (19_626, 192, 1_718_848),
    "subclass.yaml": (21_738, 0, 2_066_176),
}


def test_every_shipped_config_has_a_row_here() -> None:
    assert sorted(file.name for file in CONFIGS.glob("*.yaml")) == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_config_has_exactly_these_parameters_and_macs(name: str) -> None:
    summary = summarize(load(use_layers_of(CONFIGS / name)))
    assert (summary.trainable, summary.non_trainable, summary.macs) == SHIPPED[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_rows_sum_to_the_totals(name: str) -> None:
    plain = as_plain(summarize(load(use_layers_of(CONFIGS / name)), batch_size=3))
    total, rows = plain["total"], plain["layers"]
    for field in ("parameters", "trainable_parameters", "macs", "activation_bytes"):
        assert total[field] == sum(row[field] for row in rows), field
    assert total["non_trainable_parameters"] == total["parameters"] - total["trainable_parameters"]
    size = 4 if load(use_layers_of(CONFIGS / name)).train.precision in ("float32", "auto") else 2
    sizes = [*[size] * (len(rows) - 1), 4]  # the last layer is float32 always
    assert total["activation_bytes"] == sum(3 * size * prod(row["output_shape"]) for size, row in zip(sizes, rows, strict=True))


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("mixed_bfloat16", 2), ("mixed_float16", 2)])
def test_activation_bytes_follow_precision_and_batch_size(precision: str, size: int) -> None:
    summary = summarize(load(CONFIGS / "mnist.yaml", [f"train.precision={precision}"]), batch_size=128)
    assert summary.rows[0].activation_bytes == 26 * 26 * 32 * size * 128


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_the_style_does_not_change_the_numbers(style: str) -> None:
    assert summarize(load(CONFIGS / "mnist.yaml", [f"model.style={style}"])) == summarize(load(CONFIGS / "mnist.yaml"))


def test_lenet5_agrees_with_its_published_table() -> None:
    rows = summarize(load(CONFIGS / "lenet5.yaml")).rows
    table = [(row.facts.output_shape, row.facts.parameters) for row in rows]
    assert table == [
        ((32, 32, 1), 0),
        ((28, 28, 6), 156),
        ((14, 14, 6), 0),
        ((10, 10, 16), 2_416),
        ((5, 5, 16), 0),
        ((400,), 0),
        ((120,), 48_120),
        ((84,), 10_164),
        ((10,), 850),
    ]


def test_the_complete_cnn_goes_24_12_8_4_1024_10() -> None:
    shapes = [row.facts.output_shape for row in summarize(load(CONFIGS / "complete-cnn.yaml")).rows]
    assert shapes == [(24, 24, 32), (12, 12, 32), (8, 8, 64), (4, 4, 64), (1024,), (10,)]


def test_the_prototypical_networks_encoder_has_111936_trained_parameters_and_64_outputs() -> None:
    """Snell, Swersky and Zemel, "Prototypical networks for few-shot learning" (2017), section 3.1."""
    block = [
        {"conv2d": {"filters": 64, "kernel_size": 3, "padding": "same"}},
        "batch_normalization",
        {"activation": {"activation": "relu"}},
        "max_pooling2d",
    ]
    encoder = facts([{"repeat": {"times": 4, "layers": block}}, "flatten"])
    assert sum(each.trainable for each in encoder) == 111_936
    assert sum(each.parameters for each in encoder) == 112_448
    assert encoder[-1].output_shape == (64,)


# --- output sizes, each worked out by hand ------------------------------------------------------------------------


def conv(**fields: Any) -> dict[str, Any]:
    return {"conv2d": {"filters": 4, "kernel_size": 3, **fields}}


@pytest.mark.parametrize(
    ("layer", "image", "expected"),
    [
        # convolution: floor((n - (d(k - 1) + 1)) / s) + 1, or ceil(n / s)
        (conv(), (28, 28, 1), (26, 26, 4)),
        (conv(kernel_size=1), (5, 7, 3), (5, 7, 4)),
        (conv(kernel_size=[3, 5]), (9, 9, 2), (7, 5, 4)),
        (conv(strides=2), (28, 28, 1), (13, 13, 4)),
        (conv(strides=2), (29, 29, 1), (14, 14, 4)),
        (conv(strides=[1, 3]), (10, 10, 1), (8, 3, 4)),
        (conv(kernel_size=2, strides=3), (8, 8, 1), (3, 3, 4)),
        (conv(padding="same"), (28, 28, 1), (28, 28, 4)),
        (conv(padding="same", strides=2), (7, 8, 1), (4, 4, 4)),
        (conv(padding="same", kernel_size=9, strides=4), (5, 9, 1), (2, 3, 4)),
        (conv(dilation_rate=2), (28, 28, 1), (24, 24, 4)),
        (conv(dilation_rate=[1, 4]), (9, 9, 1), (7, 1, 4)),
        (conv(dilation_rate=3, padding="same"), (5, 5, 1), (5, 5, 4)),
        (conv(kernel_size=28), (28, 28, 1), (1, 1, 4)),
        # pooling: strides default to the pool size
        ("max_pooling2d", (28, 28, 3), (14, 14, 3)),
        ("average_pooling2d", (29, 27, 3), (14, 13, 3)),
        ({"max_pooling2d": {"pool_size": 3}}, (11, 12, 3), (3, 4, 3)),
        ({"max_pooling2d": {"pool_size": [2, 3]}}, (12, 12, 3), (6, 4, 3)),
        ({"max_pooling2d": {"pool_size": 3, "strides": 2}}, (11, 12, 3), (5, 5, 3)),
        ({"average_pooling2d": {"pool_size": 2, "padding": "same"}}, (5, 6, 3), (3, 3, 3)),
        ({"average_pooling2d": {"pool_size": 7, "strides": 1, "padding": "same"}}, (5, 6, 3), (5, 6, 3)),
        # zero padding: one number, [rows, columns], [[top, bottom], [left, right]]
        ("zero_padding2d", (28, 28, 1), (30, 30, 1)),
        ({"zero_padding2d": {"padding": 2}}, (28, 28, 1), (32, 32, 1)),
        ({"zero_padding2d": {"padding": [1, 3]}}, (28, 28, 1), (30, 34, 1)),
        ({"zero_padding2d": {"padding": [[1, 2], [3, 5]]}}, (28, 28, 1), (31, 36, 1)),
        ({"zero_padding2d": {"padding": 0}}, (4, 5, 1), (4, 5, 1)),
        ("cropping2d", (4, 5, 1), (4, 5, 1)),
        ("up_sampling2d", (4, 5, 3), (8, 10, 3)),
        ({"reshape": {"target_shape": [-1]}}, (4, 5, 3), (60,)),
        ({"reshape": {"target_shape": [2, -1, 3, 1, 5]}}, (4, 5, 3), (2, 2, 3, 1, 5)),
        ({"reshape": {"target_shape": [20, 3]}}, (4, 5, 3), (20, 3)),
        ({"permute": {"dims": [3, 1, 2]}}, (4, 5, 3), (3, 4, 5)),
        ({"rescaling": {"scale": [1, 2, 3], "offset": [0.5]}}, (4, 5, 3), (4, 5, 3)),
        ({"up_sampling2d": {"size": [1, 3], "interpolation": "lanczos5"}}, (4, 5, 3), (4, 15, 3)),
        ({"cropping2d": {"cropping": 2}}, (28, 28, 1), (24, 24, 1)),
        ({"cropping2d": {"cropping": [1, 3]}}, (28, 28, 1), (26, 22, 1)),
        ({"cropping2d": {"cropping": [[1, 2], [3, 5]]}}, (28, 28, 1), (25, 20, 1)),
        # what leaves pixels alone or ends them
        ("global_average_pooling2d", (4, 5, 6), (6,)),
        ({"global_max_pooling2d": {"keepdims": True}}, (4, 5, 6), (1, 1, 6)),
        ("flatten", (4, 5, 6), (120,)),
        ({"dense": {"units": 7}}, (4, 5, 6), (4, 5, 7)),
        ({"dense": {"units": "classes"}}, (4, 5, 6), (4, 5, 10)),
        ("batch_normalization", (4, 5, 6), (4, 5, 6)),
        ({"dropout": {"rate": 0.5}}, (4, 5, 6), (4, 5, 6)),
        ({"activation": {"activation": "relu"}}, (4, 5, 6), (4, 5, 6)),
    ],
)
def test_output_shape(layer: Any, image: Shape, expected: Shape) -> None:
    assert shape([layer], image) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (conv(kernel_size=[3, 5]), (4, 6, 5)),
        (conv(strides=[2, 1], padding="same"), (4, 4, 9)),
        ({"max_pooling2d": {"pool_size": [2, 3]}}, (3, 4, 3)),
        ({"zero_padding2d": {"padding": [[1, 2], [3, 5]]}}, (3, 11, 17)),
        ({"cropping2d": {"cropping": [[1, 2], [3, 5]]}}, (3, 5, 1)),
        ({"up_sampling2d": {"size": [1, 3]}}, (3, 8, 27)),
        ({"global_average_pooling2d": {}}, (3,)),
        ({"global_max_pooling2d": {"keepdims": True}}, (3, 1, 1)),
        ("flatten", (216,)),
        ({"dense": {"units": 7}}, (3, 8, 7)),
    ],
)
def test_channels_first_counts_rows_and_columns_after_the_channels(layer: Any, expected: Shape) -> None:
    assert shape([layer], (3, 8, 9), "channels_first") == expected


def test_a_layers_own_data_format_wins_over_the_models() -> None:
    own = conv(data_format="channels_last")
    assert shape([own], (8, 9, 3), "channels_first") == (6, 7, 4)
    assert last([own], (8, 9, 3), "channels_first").trainable == 3 * 3 * 3 * 4 + 4


@pytest.mark.parametrize(
    ("pixels", "size", "stride", "dilation", "expected"),
    [
        (5, 3, 1, 1, (1, 1)),
        (5, 2, 1, 1, (0, 1)),  # the odd zero comes after
        (5, 4, 1, 1, (1, 2)),
        (6, 3, 2, 1, (0, 1)),  # TensorFlow: 3 windows need 7 pixels
        (7, 3, 2, 1, (1, 1)),
        (5, 3, 1, 2, (2, 2)),
        (5, 2, 1, 3, (1, 2)),
        (8, 1, 2, 1, (0, 0)),  # never less than nothing
        (7, 2, 4, 1, (0, 0)),
    ],
)
def test_same_padding_puts_the_odd_zero_after(
    pixels: int, size: int, stride: int, dilation: int, expected: tuple[int, int]
) -> None:
    window = Window((size, 1), (stride, 1), (dilation, 1), same=True)
    assert window.padding(pixels, 0) == expected
    padded = pixels + sum(expected)
    starts = range(0, padded - dilation * (size - 1), stride)
    assert window.output(pixels, 0) == len(starts), "as many windows as the padded row has places for"


def test_valid_pads_nothing() -> None:
    assert Window((5, 5), (1, 1), (1, 1), same=False).padding(9, 0) == (0, 0)


# --- parameters and MACs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "image", "trainable", "others", "macs"),
    [
        (conv(), (28, 28, 3), 3 * 3 * 3 * 4 + 4, 0, 26 * 26 * 3 * 3 * 3 * 4),  # a filter spans all channels
        (conv(use_bias=False), (28, 28, 3), 108, 0, 26 * 26 * 108),
        (conv(kernel_size=[1, 5], padding="same"), (8, 8, 2), 1 * 5 * 2 * 4 + 4, 0, 64 * 40),
        (conv(strides=2, padding="same"), (7, 7, 2), 76, 0, 4 * 4 * 72),
        (conv(dilation_rate=2), (8, 8, 2), 76, 0, 4 * 4 * 72),  # holes cost nothing
        (conv(groups=2), (8, 8, 6), 3 * 3 * 3 * 4 + 4, 0, 36 * 108),  # each filter sees its group's 3 channels
        (conv(groups=4, filters=8), (8, 8, 4), 3 * 3 * 1 * 8 + 8, 0, 36 * 72),  # depthwise, two filters a channel
        ({"dense": {"units": 10}}, (1, 1, 4), 50, 0, 40),
        ({"dense": {"units": 7}}, (4, 5, 6), 6 * 7 + 7, 0, 4 * 5 * 6 * 7),  # the same weights at each pixel
        ({"dense": {"units": 7, "use_bias": False}}, (4, 5, 6), 42, 0, 840),
        ({"dense": {"units": "classes"}}, (4, 5, 6), 70, 0, 1200),
        ("batch_normalization", (4, 5, 6), 12, 12, 0),
        ({"batch_normalization": {"center": False}}, (4, 5, 6), 6, 12, 0),
        ({"batch_normalization": {"scale": False}}, (4, 5, 6), 6, 12, 0),
        ({"batch_normalization": {"center": False, "scale": False}}, (4, 5, 6), 0, 12, 0),
        ({"batch_normalization": {"axis": 1}}, (4, 5, 6), 8, 8, 0),
        ({"batch_normalization": {"axis": -2}}, (4, 5, 6), 10, 10, 0),
        ("max_pooling2d", (4, 5, 6), 0, 0, 0),
        ("average_pooling2d", (4, 5, 6), 0, 0, 0),
        ("zero_padding2d", (4, 5, 6), 0, 0, 0),
        ("global_average_pooling2d", (4, 5, 6), 0, 0, 0),
        ({"dropout": {"rate": 0.5}}, (4, 5, 6), 0, 0, 0),
    ],
)
def test_parameters_and_macs(layer: Any, image: Shape, trainable: int, others: int, macs: int) -> None:
    found = last([layer], image)
    assert (found.trainable, found.non_trainable, found.macs) == (trainable, others, macs)
    assert found.parameters == trainable + others


def test_channels_first_has_the_same_parameters_and_macs() -> None:
    stack = [conv(groups=3, filters=6), {"batch_normalization": {"axis": 1}}, "flatten", {"dense": {"units": 5}}]
    first = facts(stack, (3, 8, 9), "channels_first")
    stack[1] = "batch_normalization"
    assert [(f.trainable, f.non_trainable, f.macs) for f in first] == [
        (f.trainable, f.non_trainable, f.macs) for f in facts(stack, (8, 9, 3))
    ]


# --- joins --------------------------------------------------------------------------------------------------------


def joined(join: Any, *branches: Any) -> list[Any]:
    """Returns a stack in which each branch takes the network's input and `join` takes all of them."""
    stack: list[Any] = []
    for number, branch in enumerate(branches):
        ((kind, fields),) = branch.items()
        stack.append({kind: {**fields, "name": f"branch{number}", "inputs": ["input"]}})
    ((kind, fields),) = join.items()
    return [*stack, {kind: {**fields, "inputs": [f"branch{number}" for number in range(len(branches))]}}]


SAME = {"activation": {"activation": "relu"}}
GLOBAL: dict[str, Any] = {"global_average_pooling2d": {}}
KEPT = {"global_average_pooling2d": {"keepdims": True}}
WIDER = {"zero_padding2d": {"padding": [0, 1]}}
HIGHER = {"zero_padding2d": {"padding": [2, 0]}}
DEEPER = {"conv2d": {"filters": 4, "kernel_size": 1}}


@pytest.mark.parametrize(
    ("join", "branches", "expected"),
    [
        ({"add": {}}, (SAME, SAME), (4, 5, 6)),
        ({"add": {}}, (SAME, KEPT), (4, 5, 6)),  # an axis of 1 spreads
        ({"add": {}}, (KEPT, SAME, SAME), (4, 5, 6)),
        ({"add": {}}, (GLOBAL, SAME), (4, 5, 6)),  # so does one that is not there
        ({"concatenate": {}}, (SAME, DEEPER), (4, 5, 10)),
        ({"concatenate": {"axis": 3}}, (SAME, DEEPER, DEEPER), (4, 5, 14)),
        ({"concatenate": {"axis": 2}}, (SAME, WIDER), (4, 12, 6)),
        ({"concatenate": {"axis": -2}}, (WIDER, SAME), (4, 12, 6)),
        ({"concatenate": {"axis": 1}}, (SAME, HIGHER), (12, 5, 6)),
        ({"concatenate": {"axis": -3}}, (SAME, SAME), (8, 5, 6)),
        ({"concatenate": {}}, (GLOBAL, GLOBAL), (12,)),
    ],
)
def test_join(join: Any, branches: tuple[Any, ...], expected: Shape) -> None:
    assert shape(joined(join, *branches), (4, 5, 6)) == expected


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (joined({"add": {}}, SAME, DEEPER), r"add requires inputs of the same shape, received \(4, 5, 6\) and \(4, 5, 4\)"),
        (joined({"add": {}}, SAME, WIDER), "add requires inputs of the same shape"),
        (
            joined({"concatenate": {}}, SAME, WIDER),
            "concatenate along axis -1 requires inputs that are equal along the other axes",
        ),
        (joined({"concatenate": {}}, SAME, GLOBAL), "concatenate requires inputs of the same rank"),
        (joined({"concatenate": {"axis": 0}}, SAME, SAME), "axis 0 is not an axis of"),
        (joined({"concatenate": {"axis": 4}}, SAME, SAME), "axis 4 is not an axis of"),
        (joined({"concatenate": {"axis": -4}}, SAME, SAME), "axis -4 is not an axis of"),
        ([{"batch_normalization": {"axis": 0}}], "axis 0 is not an axis of"),
        ([{"batch_normalization": {"axis": 4}}], "axis 4 is not an axis of"),
        ([conv(groups=4)], r"channels of its input \(6\) must be a multiple of groups \(4\)"),
        ([conv(kernel_size=[3, 6])], r"needs 6 pixels of width but receives 5: floor\(\(5 - 6\) / 1\) \+ 1 = 0"),
        ([conv(dilation_rate=[2, 1])], r"needs 5 pixels of height but receives 4: floor\(\(4 - 5\) / 1\) \+ 1 = 0"),
        ([{"max_pooling2d": {"pool_size": [5, 2]}}], "needs 5 pixels of height but receives 4"),
        (["flatten", conv()], r"conv2d needs an image .* received \(120\): it is after flatten"),
        (["global_max_pooling2d", "average_pooling2d"], "average_pooling2d needs an image"),
        ([{"cropping2d": {"cropping": [[1, 3], 0]}}], "leaves no rows: 4 - 1 - 3 = 0, but at least 1 is required"),
        ([{"rescaling": {"scale": [1, 2]}}], r"scale has 2 numbers, but its input \(4, 5, 6\) has 6 channels"),
        (
            ["flatten", {"rescaling": {"scale": 1, "offset": [1, 2]}}],
            r"offset has 2 numbers, but its input \(120\) has 120 along its last",
        ),
        (
            [{"reshape": {"target_shape": [4, 29]}}],
            r"does not hold the values of its input \(4, 5, 6\): 4·29 = 116, but there are 120",
        ),
        ([{"reshape": {"target_shape": [7, -1]}}], r"-1 would be 120 / 7 = 17\.14, which is not an integer"),
        ([{"permute": {"dims": [2, 1]}}], r"dims \[2, 1\] order 2 axes, but its input \(4, 5, 6\) has 3"),
        ([{"reshape": {"target_shape": [20, 6]}}, conv()], "conv2d needs an image .* its input is not an image"),
        ([{"cropping2d": {"cropping": [0, 4]}}], "leaves no columns: 5 - 4 - 4 = -3, but at least 1 is required"),
        (["flatten", "zero_padding2d"], "zero_padding2d needs an image"),
        (["flatten", "global_max_pooling2d"], "global_max_pooling2d needs an image"),
        ([{"dropout": {"rate": 0.5, "noise_shape": [None, 1, 6]}}], "noise_shape .* one value per axis"),
        ([{"dropout": {"rate": 0.5, "noise_shape": [None, 2, 5, 6]}}], "noise_shape .* one value per axis"),
        ([{"dropout": {"rate": 0.5, "noise_shape": [128, 1, 1, 6]}}], "noise_shape .* one value per axis"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_arithmetic(stack: list[Any], message: str) -> None:
    with pytest.raises(Misfit, match=message):
        facts(stack, (4, 5, 6))


@pytest.mark.parametrize("noise", [[None, 1, 1, 6], [1, 4, 5, 6], [None, None, None, None], [None, 4, 1, None]])
def test_a_noise_shape_that_spreads_over_the_input_fits(noise: list[int | None]) -> None:
    assert shape([{"dropout": {"rate": 0.5, "noise_shape": noise}}], (4, 5, 6)) == (4, 5, 6)


# --- receptive field ----------------------------------------------------------------------------------------------

Sliding = list[tuple[int, int, int]]
"""(kernel, stride, dilation) of each layer, on one axis."""


def seen(layers: Sliding, output: int) -> set[int]:
    """Returns the input pixels that one output pixel sees, followed back window by window."""
    pixels = {output}
    for kernel, stride, dilation in reversed(layers):
        pixels = {at * stride + tap * dilation for at in pixels for tap in range(kernel)}
    return pixels


def _random_sliding(draw: random.Random) -> tuple[Any, tuple[int, int, int], tuple[int, int, int]]:
    kernel = [draw.randint(1, 5), draw.randint(1, 5)]
    if draw.random() < 0.4:
        kind = draw.choice(["max_pooling2d", "average_pooling2d"])
        layer: Any = {kind: {"pool_size": kernel, "padding": "same"}}
        return layer, (kernel[0], kernel[0], 1), (kernel[1], kernel[1], 1)
    strides = [draw.randint(1, 3), draw.randint(1, 3)]
    dilation = [1, 1] if max(strides) > 1 else [draw.randint(1, 3), draw.randint(1, 3)]
    layer = {"conv2d": {"filters": 1, "kernel_size": kernel, "strides": strides, "dilation_rate": dilation, "padding": "same"}}
    return layer, (kernel[0], strides[0], dilation[0]), (kernel[1], strides[1], dilation[1])


@pytest.mark.parametrize("seed", range(20))
def test_receptive_field_and_stride_equal_those_followed_back_pixel_by_pixel(seed: int) -> None:
    draw = random.Random(seed)
    chain = [_random_sliding(draw) for _ in range(draw.randint(1, 4))]
    found = last_field([layer for layer, _, _ in chain], (301, 301, 1))
    for axis, sliding in enumerate(([rows for _, rows, _ in chain], [columns for _, _, columns in chain])):
        first, second = seen(sliding, 0), seen(sliding, 1)
        assert (found.field[axis], found.seen[axis]) == (max(first) - min(first) + 1, len(first))
        assert found.stride[axis] == min(second) - min(first)


def fields(layers: list[Any], image: Shape, data_format: str = "channels_last") -> list[Receptive]:
    model = ModelSpec.model_validate({"style": "functional", "data_format": data_format, "layers": layers})
    nodes, _ = nodes_of(model)
    around = LayerContext(10, model.data_format)
    found = receptive_fields(nodes, trace(nodes, image, around), image, around)
    assert all(found)
    return [each for each in found if each]


def last_field(layers: list[Any], image: Shape, data_format: str = "channels_last") -> Receptive:
    return fields(layers, image, data_format)[-1]


def test_receptive_fields_of_the_mnist_network() -> None:
    summary = summarize(load(CONFIGS / "mnist.yaml"))
    found = [row.receptive for row in summary.rows if row.receptive]
    assert [(each.field[0], each.stride[0]) for each in found[:4]] == [(3, 1), (4, 2), (8, 2), (10, 4)]
    assert found[-1].field == (26, 26), "the second pooling leaves out the last of 11 rows and columns"
    assert found[-1].unseen == ((26, 27), (26, 27))
    assert summary.never_seen == "the network never sees rows 26 and 27 and columns 26 and 27 of the image"


def test_a_join_sees_what_its_branches_see_together() -> None:
    small, large = ({"conv2d": {"filters": 2, "kernel_size": size, "padding": "same"}} for size in ([3, 7], [5, 1]))
    assert last_field(joined({"add": {}}, small, large), (9, 9, 1)).field == (5, 7)


def test_branches_that_look_to_opposite_sides_see_more_together_than_the_wider_one() -> None:
    left, right = (
        [
            {"zero_padding2d": {"padding": [0, sides], "name": f"pad{name}", "inputs": ["input"]}},
            {"conv2d": {"filters": 2, "kernel_size": [1, 3], "name": name}},
        ]
        for name, sides in (("a", [2, 0]), ("b", [0, 2]))
    )
    found = last_field([*left, *right, {"add": {"inputs": ["a", "b"]}}], (9, 9, 1))
    assert found.field == (1, 5), "two columns before, itself, and two after; each branch sees three"


def test_a_concatenation_along_rows_keeps_what_each_row_sees() -> None:
    low, high = ({"conv2d": {"filters": 2, "kernel_size": size, "padding": "same"}} for size in ([1, 3], [5, 1]))
    stack = joined({"concatenate": {"axis": 1}}, low, high)
    assert last_field(stack, (9, 9, 1)).field == (5, 3), "the most rows and the most columns that any value sees"
    after = last_field([*stack, {"conv2d": {"filters": 2, "kernel_size": [2, 1]}}], (9, 9, 1))
    assert after.field == (9, 3), "one window holds the last row of one and the first of the other"


@pytest.mark.parametrize("layer", [{"dense": {"units": 2}}, {"activation": {"activation": "softmax"}}])
def test_under_channels_first_dense_and_softmax_see_whole_rows(layer: Any) -> None:
    found = last_field([{"conv2d": {"filters": 2, "kernel_size": 3}}, layer], (1, 9, 7), "channels_first")
    assert (found.field, found.stride) == ((3, 7), (1, None))


def test_softmax_over_one_value_sees_nothing() -> None:
    found = last_field([{"conv2d": {"filters": 1, "kernel_size": 3, "activation": "softmax"}}], (5, 5, 1))
    assert (found.field, found.unseen) == ((0, 0), (tuple(range(5)), tuple(range(5))))


@pytest.mark.parametrize("layer", ["batch_normalization", {"dropout": {"rate": 0.1}}, {"dense": {"units": 2}}])
def test_what_works_pixel_by_pixel_keeps_receptive_field_and_stride(layer: Any) -> None:
    found = last_field([conv(strides=2), layer], (9, 9, 1))
    assert (found.field, found.stride) == ((3, 3), (2, 2))


def test_what_global_pooling_and_dense_see_is_what_the_layers_before_see() -> None:
    assert last_field([conv(), "global_average_pooling2d"], (9, 7, 1)).field == (9, 7)
    assert last_field(["max_pooling2d", "global_max_pooling2d"], (9, 7, 1)).field == (8, 6)
    assert last_field([conv(strides=3), "flatten", {"dense": {"units": 2}}], (10, 11, 1)).field == (9, 9)


def test_fields_stay_within_the_image_and_padding_that_enlarges_them_is_marked() -> None:
    found = fields([conv(padding="same")] * 6, (8, 8, 1))
    assert [each.field[0] for each in found] == [3, 5, 7, 8, 8, 8]
    assert [each.padded for each in found] == [False, False, False, True, True, True]
    assert not last_field([{"max_pooling2d": {"pool_size": 3, "padding": "same"}}, "flatten"], (8, 8, 1)).padded, "no zeros"


def test_a_reshape_keeps_what_each_value_sees() -> None:
    back = {"reshape": {"target_shape": [7, 7, 4]}}
    assert last_field([conv(), "flatten", back, conv()], (9, 9, 1)).field == (5, 5)
    assert last_field([conv(), back], (9, 9, 1)).stride == (1, 1)
    patches = [
        {"reshape": {"target_shape": [3, 4, 3, 4]}},
        {"permute": {"dims": [1, 3, 2, 4]}},
        {"reshape": {"target_shape": [9, 16]}},
    ]
    found = fields([*patches, {"dense": {"units": 5}}], (12, 12, 1))
    assert [each.field for each in found] == [(1, 1), (1, 1), (1, 1), (4, 4)], "a patch of 4 by 4 pixels"
    rows = {"reshape": {"target_shape": [6, 24]}}
    assert last_field([rows, {"dense": {"units": 2}}], (12, 12, 1)).field == (2, 12), "two rows each"


def test_a_permute_moves_rows_to_columns() -> None:
    turned = last_field(
        [{"permute": {"dims": [2, 1, 3]}}, {"conv2d": {"filters": 1, "kernel_size": [1, 3], "strides": [1, 2]}}], (9, 8, 1)
    )
    assert (turned.field, turned.stride) == ((3, 1), (2, 1))


def test_a_reshape_that_cuts_every_row_has_no_receptive_field_told() -> None:
    model = ModelSpec.model_validate({"layers": [{"reshape": {"target_shape": [151, 149]}}]})
    nodes, _ = nodes_of(model)
    around = LayerContext(10, "channels_last")
    assert receptive_fields(nodes, trace(nodes, (149, 151, 1), around), (149, 151, 1), around) == [None]


def test_what_is_multiplied_by_0_sees_nothing() -> None:
    split = [{"rescaling": {"scale": [0, 1]}}, {"cropping2d": {"cropping": [0, [3, 0]]}}]
    assert last_field([{"rescaling": {"scale": 0}}, conv()], (9, 9, 2)).field == (0, 0)
    assert last_field(split, (9, 9, 2)).field == (1, 1)
    assert last_field([*split, "global_max_pooling2d"], (9, 9, 2)).field == (9, 6)


def test_under_channels_first_a_list_of_numbers_needs_an_image() -> None:
    with pytest.raises(Misfit, match=r"needs an image \(channels, height, width\), received \(18\); one number fits any input"):
        facts(["flatten", {"rescaling": {"scale": [1.0] * 18}}], (2, 3, 3), "channels_first")
    assert shape(["flatten", {"rescaling": {"scale": [2]}}], (2, 3, 3), "channels_first") == (18,)
    assert shape([{"rescaling": {"scale": [2, 3]}}], (2, 3, 3), "channels_first") == (2, 3, 3)


def test_what_is_cropped_is_never_seen() -> None:
    found = last_field([{"cropping2d": {"cropping": [[1, 2], [0, 3]]}}, conv()], (9, 9, 1))
    assert (found.field, found.stride, found.unseen) == ((3, 3), (1, 1), ((0, 7, 8), (6, 7, 8)))


BETWEEN = {"nearest": [1, 1, 1], "bilinear": [1, 2, 2], "bicubic": [2, 3, 3], "lanczos3": [3, 4, 4], "lanczos5": [5, 6, 6]}
"""Pixels that the first three rows of an image of 12 rows see after an up-sampling by 2."""


@pytest.mark.parametrize("way", BETWEEN)
def test_an_interpolated_value_sees_the_pixels_between_which_it_lies(way: str) -> None:
    layer = {"up_sampling2d": {"size": [2, 1], "interpolation": way}}
    rows = [{"cropping2d": {"cropping": [[each, 23 - each], 0]}} for each in range(3)]
    assert [last_field([layer, row], (12, 3, 1)).field[0] for row in rows] == BETWEEN[way]


def test_distances_after_an_up_sampling_are_told_where_they_are_equal() -> None:
    def stride(*layers: Any) -> tuple[int | None, int | None]:
        return last_field(list(layers), (32, 32, 1)).stride

    up: dict[str, Any] = {"up_sampling2d": {}}
    down: dict[str, Any] = {"max_pooling2d": {}}
    assert stride(up) == (None, None), "0, 1, 0, 1, ..."
    assert stride(down, down, up) == (None, None)
    assert stride(up, down) == (1, 1)
    assert stride(down, up, down) == (2, 2)
    assert stride(up, conv(strides=4)) == (2, 2)
    assert stride(up, conv(strides=3)) == (None, None), "1, 2, 1, 2, ..."
    assert stride(up, conv(strides=3), {"up_sampling2d": {"size": [1, 3]}}, conv(strides=[2, 2])) == (3, None)


def test_vectors_have_no_stride() -> None:
    found = fields([conv(strides=2), "flatten", {"dense": {"units": 2}}], (9, 9, 1))
    assert [each.stride for each in found] == [(2, 2), (None, None), (None, None)]


def test_windows_that_skip_pixels_leave_some_unseen() -> None:
    found = last_field([{"conv2d": {"filters": 1, "kernel_size": 1, "strides": [1, 3]}}], (4, 7, 1))
    assert found.unseen == ((), (1, 2, 4, 5))


def test_huge_windows_and_paddings_end_at_once() -> None:
    layers = [{"repeat": {"times": 1000, "layers": [{"max_pooling2d": {"pool_size": 2**31 - 1, "padding": "same"}}]}}]
    found = last_field(layers, (8, 8, 1))
    assert (found.field, found.stride) == ((8, 8), (None, None))
    nodes, _ = nodes_of(ModelSpec.model_validate({"layers": [{"zero_padding2d": {"padding": 2**30}}, "flatten"]}))
    around = LayerContext(10, "channels_last")
    assert receptive_fields(nodes, trace(nodes, (8, 8, 1), around), (8, 8, 1), around) == [None, None]
    assert receptive_fields(nodes[:1], trace(nodes[:1], (8192, 8, 1), around), (8192, 8, 1), around) == [None]
