"""The arithmetic of --explain: golden files, and every equation in it worked out again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnnctl.report.explain import explanation
from cnnctl.spec.document import parse
from cnnctl.spec.load import check, load
from tests.custom import use_layers_of

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), ROOT / "tests" / "spec" / "everything.yaml"]


def explained(layers: str, data: str = "{source: digits}", rest: str = "") -> str:
    """Returns the explanation of a stack, each sentence on one line."""
    return unwrapped(explanation(check(parse(f"data: {data}\nmodel: {{layers: {layers}}}\n{rest}", "x.yaml"))))


def unwrapped(text: str) -> str:
    return re.sub(r"\n    ", " ", text)


def equations(text: str) -> Iterator[tuple[str, float, float]]:
    """Yields every `expression = number` with the value of the expression and the number."""
    words = re.sub(r" (positions?|weights?)\b", "", text)
    for found in re.finditer(r"((?:floor|ceil)?[(\d](?:floor|ceil|[\d.,()·+\-/ ])*) = ([\d,.]*\d)", words):
        expression, result = (part.replace(",", "") for part in found.groups())
        code = expression.replace("·", "*")
        assert re.fullmatch(r"(floor|ceil|[\d.()*+\-/ ])+", code)
        yield found[0], eval(code, {"floor": math.floor, "ceil": math.ceil}), float(result)


@pytest.mark.parametrize("name", ["mnist", "batchnorm", "residual"])
def test_the_explanation_reads_as_in_the_golden_files(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"explain-{name}.txt", explanation(load(ROOT / "configs" / f"{name}.yaml")))


NORMALIZATIONS = """
data: {source: digits, channels: 3}
model:
  layers:
    - normalization
    - conv2d: {filters: 8, kernel_size: 3, use_bias: false}
    - batch_normalization: {renorm: true, renorm_clipping: {rmax: 3, dmax: 5}, synchronized: true}
    - layer_normalization
    - layer_normalization: {axis: [1, 2, 3], name: whole}
    - group_normalization: {groups: 4}
    - group_normalization: {groups: -1, scale: false, name: instance}
    - unit_normalization
    - normalization: {mean: 0.5, variance: 0.25, name: fixed}
    - flatten
    - dense: {units: classes}
train: {batch_size: 32}
"""


def test_the_explanation_of_normalizations_reads_as_in_the_golden_file(golden: Callable[[Path, str], None]) -> None:
    experiment = check(parse(NORMALIZATIONS, "x.yaml"))
    text = explanation(experiment)
    golden(GOLDEN / "explain-normalizations.txt", text)
    assert [found for found, value, reported in equations(unwrapped(text)) if not math.isclose(value, reported)] == []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_every_equation_of_an_explanation_holds(config: Path) -> None:
    experiment = load(use_layers_of(config))
    found = list(equations(unwrapped(explanation(experiment))))
    facts = [each for each in experiment.network.facts if each.kind != "squeeze_excitation"]  # its equations are its own
    windows_and_dense = [each for each in facts if each.macs or "pooling2d" in each.kind]
    assert len(found) >= len(windows_and_dense)
    assert [text for text, value, reported in found if not math.isclose(value, reported)] == []


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_the_parameters_told_are_those_of_the_layers(config: Path) -> None:
    experiment = load(use_layers_of(config))
    text = unwrapped(explanation(experiment))
    paragraphs = {part.split(" ")[0].rstrip(":"): part for part in text.split("\n\n")[1:-1]}
    for facts in experiment.network.facts:
        if facts.name not in paragraphs:
            assert "/" in facts.name  # in a block that is equal to an earlier one
        elif facts.kind in ("conv2d", "depthwise_conv2d", "separable_conv2d", "conv2d_transpose", "dense"):
            assert f"= {facts.parameters:,}" in paragraphs[facts.name]
        elif facts.kind == "batch_normalization":
            assert f" trained ({facts.trainable:,}), moving mean" in paragraphs[facts.name]
            assert f" not ({facts.non_trainable:,})" in paragraphs[facts.name]


# facts with the numbers of small configs, worked out by hand


def test_a_filter_spans_all_channels_and_gives_one_map() -> None:
    text = explained(
        "[conv2d: {filters: 5, kernel_size: 3}, flatten, dense: {units: classes}]", "{source: digits, channels: 3}"
    )
    assert (
        "a filter spans all 3 input channels: 3·3·3 = 27 weights; it slides without being flipped (cross-correlation)" in text
    )
    assert "so 5 filters output 5 maps, not 5·3" in text
    assert "parameters: 3·3·3·5 + 5 = 140" in text
    assert "MACs: 6·6 positions · 135 weights = 4,860" in text


def test_groups_and_dilation_and_padding_are_told() -> None:
    layers = (
        "[conv2d: {filters: 4, kernel_size: 3, groups: 2, dilation_rate: 2, padding: same}, flatten, dense: {units: classes}]"
    )
    text = explained(layers.replace("[conv2d", "[conv2d: {filters: 2, kernel_size: 1}, conv2d"))
    assert "a filter spans the one input channel of its group (2 groups): 3·3·1 = 9 weights" in text
    assert "ceil(8 / 1) = 8, where the window spans 2·(3 - 1) + 1 = 5; zeros added: 2 before, 2 after" in text


@pytest.mark.parametrize(
    ("layer", "sentences"),
    [
        (
            "conv2d: {filters: 8, kernel_size: 1}",
            ["1×1: it mixes the channels of each pixel and sees no neighbours; a 3×3 filter has 9 times the weights and MACs"],
        ),
        (
            "conv2d: {filters: 8, kernel_size: 3, dilation_rate: [2, 1]}",
            ["dilated: it spans 5×3 pixels and reads 9 of them; a plain 5×3 filter has 1.67 times the weights and MACs"],
        ),
        (
            "conv2d: {filters: 8, kernel_size: 3, groups: 2}",
            ["grouped: a filter that spans all channels has 2 times the weights and MACs (288 weights in all)"],  # 9·4·8
        ),
        (
            "depthwise_conv2d: {kernel_size: 3}",
            [
                "each of 4 input channels has its own filter of 3·3 = 9 weights, and outputs 1 map, which is not mixed",
                "parameters: 3·3·4·1 + 4 = 40",
                "MACs: 6·6 positions · 36 weights = 1,296",
                "a plain conv2d with the same output has 4 times the weights and MACs: 3·3·4·4 = 144 weights, 5,184 MACs",
            ],
        ),
        (
            "depthwise_conv2d: {kernel_size: [2, 1], depth_multiplier: 3, use_bias: false, strides: 2}",
            [
                "each of 4 input channels has 3 filters of its own (depth_multiplier) of 2·1 = 2 weights, and outputs 3 maps",
                "parameters: 2·1·4·3 = 24",
                "MACs: 4·4 positions · 24 weights = 384",
                "4 times the weights and MACs: 2·1·4·12 = 96 weights, 1,536 MACs",
            ],
        ),
        (
            "separable_conv2d: {filters: 10, kernel_size: 3, depth_multiplier: 2}",
            [
                "first depthwise: each of 4 input channels has 2 filters of its own (depth_multiplier) of 3·3 = 9 weights",
                "then pointwise: 10 filters of 1×1 mix these 8 maps; there is no activation between the two",
                "parameters: 3·3·4·2 + 8·10 + 10 = 162",
                "MACs: 6·6 positions · (72 + 80 weights) = 5,472",
                "a plain conv2d with the same output has 2.37 times the weights and MACs: 3·3·4·10 = 360 weights, 12,960 MACs",
            ],
        ),
    ],
)
def test_a_kind_of_convolution_is_compared_with_a_plain_one(layer: str, sentences: list[str]) -> None:
    text = explained(f"[conv2d: {{filters: 4, kernel_size: 1}}, {layer}, flatten, dense: {{units: classes}}]")
    paragraph = text.split("\n\n")[2]
    assert [sentence for sentence in sentences if sentence not in paragraph] == []


@pytest.mark.parametrize(
    ("fields", "sentences"),
    [
        (
            "kernel_size: 3, strides: 2",
            [
                "rows and columns: (8 - 1)·2 + 3 = 17\n",
                "to a window of 3×3 pixels of the output; from one input pixel to the next the window moves by 2×2",
                "some outputs are in more windows than others",
                "a filter spans all 4 input channels and outputs one map: 3·3·4 = 36 weights",
                "parameters: 3·3·5·4 + 5 = 185",
                "once per position of the input: 8·8 positions · 180 weights = 11,520",
                "as many weights and 4.52 times the MACs: 17·17 positions · 180 weights = 52,020",
            ],
        ),
        (
            "kernel_size: 4, strides: 2, padding: same, use_bias: false",
            ["8·2 = 16; cropped of the windows: 1 before, 1 after", "4·4·5·4 = 320\n", "4 times the MACs: 16·16 positions"],
        ),
        (
            "kernel_size: [1, 2], strides: 2, output_padding: [1, 0]",
            [
                "rows: (8 - 1)·2 + 1 + 1 = 16; the last of 16 is in no window",
                "columns: (8 - 1)·2 + 2 + 0 = 16\n",
                "the bias alone",
            ],
        ),
    ],
)
def test_a_transposed_convolution_is_explained_from_its_input_to_its_windows(fields: str, sentences: list[str]) -> None:
    layer = f"conv2d_transpose: {{filters: 5, {fields}}}"
    text = explained(f"[conv2d: {{filters: 4, kernel_size: 1}}, {layer}, flatten, dense: {{units: classes}}]")
    paragraph = text.split("\n\n")[2]
    assert [sentence for sentence in sentences if sentence not in paragraph] == []
    assert ("checkerboard" in paragraph) == ("kernel_size: 3" in fields)
    assert [found for found, value, reported in equations(paragraph) if not math.isclose(value, reported)] == []


def test_a_plain_convolution_is_compared_with_nothing_and_one_channel_saves_nothing() -> None:
    end = "flatten, dense: {units: classes}]"
    assert "plain" not in explained(f"[conv2d: {{filters: 4, kernel_size: [1, 3], dilation_rate: [2, 1]}}, {end}")
    text = explained(f"[depthwise_conv2d: {{kernel_size: 3}}, {end}")
    assert "the one input channel has its own filter" in text
    assert "a plain conv2d with the same output has as many weights and MACs" in text


def test_same_padding_tells_which_side_gets_the_odd_zero() -> None:
    text = explained("[max_pooling2d: {pool_size: 2, strides: 1, padding: same}, flatten, dense: {units: classes}]")
    reported = " ".join(text.split())
    assert "rows and columns: ceil(8 / 1) = 8; padding added, which is ignored: 0 before, 1 after" in reported
    assert "1 after; the odd one is after" in reported
    assert "strides 1×1; no parameters" in text


def test_rows_and_columns_are_told_apart_where_they_differ() -> None:
    text = explained("[average_pooling2d: {pool_size: [2, 3]}, flatten, dense: {units: classes}]")
    assert "rows: floor((8 - 2) / 2) + 1 = 4\n  columns: floor((8 - 3) / 3) + 1 = 2" in text
    assert "the mean of each 2×3 window, separately for each map; strides are the pool size" in text


def test_flatten_keeps_the_batch_axis_and_dense_holds_most_parameters() -> None:
    text = explained("[conv2d: {filters: 4, kernel_size: 3}, flatten, dense: {units: classes}]")
    assert "the batch axis is unchanged: (B, 6, 6, 4) becomes (B, 6 · 6 · 4) = (B, 144)" in text
    assert "144·10 + 10 = 1,450 parameters, 97% of all" in text  # 1,450 of 1,490


def test_batch_norm_counts_the_values_of_a_batch_and_what_is_trained() -> None:
    layers = "[batch_normalization: {momentum: 0.8, epsilon: 0.01, scale: false}, flatten, dense: {units: classes}]"
    text = explained(layers, rest="train: {batch_size: 20}")
    assert "for the one channel: mean and variance over the batch, 1,280 values with a batch of 20" in text  # 20 · 8 · 8
    assert "no square root" in text
    assert "then (x - mean) / sqrt(variance + 0.01) + beta" in text, "without scale there is no gamma"
    assert "moving averages instead, updated in training as 0.8 · old + 0.2 · batch's" in text
    assert "parameters: beta trained (1), moving mean and variance not (2)" in text


def test_dropout_acts_in_training_only() -> None:
    text = explained("[flatten, dropout: {rate: 0.2}, dense: {units: classes}]")
    assert "0 with probability 0.2 and the others are divided by 1 - 0.2 = 0.8" in text
    assert "in validation, test and prediction values are unchanged" in text


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            "spatial_dropout2d: {rate: 0.25}",
            "each map is set to 0 as a whole with probability 0.25 and the others are divided by 1 - 0.25 = 0.75",
        ),
        (
            "gaussian_noise: {stddev: 0.1}",
            "a random number is added to each value, from a normal distribution with standard deviation 0.1;",
        ),
        ("gaussian_dropout: {rate: 0.2}", "with mean 1 and standard deviation 0.5, the root of 0.2 / (1 - 0.2); in validation"),
        (
            "alpha_dropout: {rate: 0.1}",
            "each value is set to -1.758, the lowest output of SELU, with probability 0.1, and all are scaled",
        ),
        ("gaussian_noise: {stddev: 0.0}", "with stddev 0 values are unchanged, also in training"),
    ],
)
def test_noise_acts_in_training_only(layer: str, sentence: str) -> None:
    assert sentence in explained(f"[{layer}, flatten, dense: {{units: classes}}]")


def test_rank_is_not_shape() -> None:
    text = explained("[flatten, dense: {units: classes}]", rest="train: {batch_size: 7}")
    assert re.match(
        r"A batch of images is one tensor of rank 4 .* of shape \(B,\s8,\s8,\s1\), with B = 7", text.replace("\n", " ")
    )


@pytest.mark.parametrize(
    ("activation", "labels", "meaning", "loss"),
    [
        ("linear", "integer", "The outputs are logits", "sparse_categorical_crossentropy"),
        ("softmax", "integer", "The outputs are probabilities", "sparse_categorical_crossentropy"),
        ("linear", "one_hot", "The outputs are logits", "categorical_crossentropy"),
        ("softmax", "one_hot", "The outputs are probabilities", "categorical_crossentropy"),
    ],
)
def test_the_end_tells_what_comes_out_and_which_loss_goes_with_it(
    activation: str, labels: str, meaning: str, loss: str
) -> None:
    text = explained(f"[flatten, dense: {{units: classes, activation: {activation}}}]", f"{{source: digits, labels: {labels}}}")
    end = text.split("\n\n")[-1]
    assert end.startswith(meaning)
    assert end.endswith(f"\nLoss: {loss}")
    assert ("Labels are one-hot" in end) == (labels == "one_hot")
    assert ("softmax: exp(z) / sum of all exp(z)" in text) == (activation == "softmax")


# sentences that are true of usual networks alone


FUNCTIONAL = "{style: functional, layers: %s}"


def of_branches(layers: str, head: str = "flatten, dense: {units: classes}") -> str:
    text = f"data: {{source: digits}}\nmodel: {FUNCTIONAL % f'[{layers}, {head}]'}"
    return unwrapped(explanation(check(parse(text, "x.yaml"))))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("relu", "value by value: x where it is positive, else 0; no parameters"),
        (
            "relu: {max_value: 6.0, negative_slope: 0.1, threshold: 0.5}",
            "x where it is above 0.5, but at most 6, else 0.1 · (x - 0.5)",
        ),
        ("leaky_relu", "value by value: x where it is positive, else 0.3 · x"),
        ("elu: {alpha: 0.5}", "value by value: x where it is positive, else 0.5 · (exp(x) - 1)"),
        ("prelu", "parameters: 8·8·1 = 64; each position has its own"),
        ("prelu: {shared_axes: [1, 2]}", "parameters: 1·1·1 = 1; 64 positions share each (shared_axes)"),
        ("activation: {activation: squareplus}", "squareplus, value by value: (x + sqrt(x² + 4)) / 2"),
        ("activation: {activation: hard_shrink}", "hard_shrink, value by value: x where |x| is above 0.5, else 0"),
        (
            "conv2d: {filters: 3, kernel_size: 3, activation: log_softmax}",
            "log_softmax over the 3 channels of the last axis: z - log(sum of their exp(z)), the logarithms of the probabilities",
        ),
        ("activation: {activation: log_softmax}", "log_softmax over one value, the last axis: always 0 for any input"),
        ("softmax: {axis: 1}", "softmax at each of 8 positions, over the 8 rows of axis 1: exp(z)"),
        (
            "softmax: {axis: [1, 2]}",
            "softmax at each of 1 position, over the 64 values over the rows and columns of axes [1, 2]",
        ),
    ],
)
def test_an_activation_is_explained_with_its_arguments(layer: str, sentence: str) -> None:
    assert sentence in explained(f"[{layer}, flatten, dense: {{units: classes}}]")


def test_an_add_of_equal_shapes_passes_gradients_on() -> None:
    text = of_branches("zero_padding2d: {padding: 0, name: a}, add: {inputs: [a, input]}")
    assert "the sum of a and input, value by value; gradients flow into each unchanged" in text
    assert "broadcast" not in text


@pytest.mark.parametrize(
    ("join", "sentence"),
    [
        ("multiply: {inputs: [a, b]}", "the product of a and b, value by value; the gradient of each is that of the output times the other"),
        ("average: {inputs: [a, b, a]}", "the mean of a, b and a, value by value; each gets 1/3 of the gradient"),
        ("maximum: {inputs: [a, b]}", "the larger value of a and b, value by value; each gradient flows into the input whose value is the largest"),
        ("minimum: {inputs: [a, b, input]}", "the smallest value of a, b and input, value by value"),
        ("subtract: {inputs: [b, a]}", "b minus a, value by value; gradients flow into b unchanged and into a with the opposite sign"),
    ],
)  # fmt: skip
def test_a_join_value_by_value_tells_where_its_gradients_flow(join: str, sentence: str) -> None:
    convs = "conv2d: {filters: 1, kernel_size: 1, name: a}, conv2d: {filters: 1, kernel_size: 1, name: b}"
    assert f"{sentence}" in of_branches(f"{convs}, {join}")


def test_an_add_that_broadcasts_sums_the_gradient_of_the_smaller_input() -> None:
    convs = "conv2d: {filters: 4, kernel_size: 1, name: a}, conv2d: {filters: 1, kernel_size: 1, name: b}"
    text = of_branches(f"{convs}, add: {{inputs: [a, b]}}")
    assert "the sum of a and b, value by value; gradients flow into the others unchanged" in text
    assert "'b' (8, 8, 1) is smaller and is broadcast: each of its values is added at 4 positions" in text
    assert "its gradient is the sum of the gradients at these" in text


def test_a_concatenation_names_its_axis() -> None:
    convs = "conv2d: {filters: 4, kernel_size: 1, name: a}, conv2d: {filters: 3, kernel_size: 1, name: b}"
    assert "a and b side by side along axis -1: 4 + 3 = 7 channels" in of_branches(f"{convs}, concatenate: {{inputs: [a, b]}}")
    twice = of_branches("zero_padding2d: {name: a}, concatenate: {inputs: [a, a], axis: 1}")
    assert "a and a side by side along axis 1: 10 + 10 = 20 rows" in twice


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ("dropout: {rate: 0}, flatten", "with rate 0 values are unchanged, also in training"),
        ("flatten, flatten: {name: again}", "the input is already a vector: (B, 64) is unchanged"),
        ("zero_padding2d: {padding: 0}, flatten", "padding of 0 adds nothing"),
        (
            "up_sampling2d: {size: [2, 3]}, flatten",
            "rows: 8 · 2 = 16\n  columns: 8 · 3 = 24\n  each value becomes a block of 2×3 equal values",
        ),
        ("up_sampling2d: {interpolation: bilinear}, flatten", "with a factor of 2 first by 0.75 and 0.25; nothing is learned"),
        (
            "up_sampling2d: {size: 3, interpolation: bilinear}, flatten",
            "with a factor of 3 first by 0.667 and 0.333; nothing is learned",
        ),
        (
            "up_sampling2d: {interpolation: lanczos3}, flatten",
            "the 6 nearest rows and 6 nearest columns (lanczos3); some weights are negative",
        ),
        ("rescaling: {scale: 2, offset: -1}, flatten", "value by value: 2 · x + (-1), in training and in inference;"),
        ("rescaling: {scale: 2, offset: -1}, flatten", "pixels are divided by 255 before, so 0 to 1 becomes -1 to 1"),
        ("rescaling: {scale: [2]}, flatten", "with the numbers of each channel: [2.0] · x + 0,"),
        (
            "reshape: {target_shape: [4, -1]}, flatten",
            "-1 is what remains: 64 / 4 = 16\n  rank 4 becomes 3 (with the batch axis): (B, 8, 8, 1) becomes (B, 4, 16), the same 64 values",
        ),
        (
            "reshape: {target_shape: [4, 16, 1]}, flatten",
            "the rank stays 4 (with the batch axis): (B, 8, 8, 1) becomes (B, 4, 16, 1)",
        ),
        (
            "permute: {dims: [3, 1, 2]}, flatten",
            "axis 1 is axis 3 of the input, axis 2 is axis 1 of the input and axis 3 is axis 2 of the input; axis 0",
        ),
        ("permute: {dims: [3, 1, 2]}, flatten", "output[i, j, k] = input[j, k, i], other than after a reshape"),
        ("permute: {dims: [1, 2, 3]}, flatten", "the axes keep their order: nothing changes"),
        ("up_sampling2d: {size: 1}, flatten", "size 1 changes nothing"),
        ("cropping2d: {cropping: 0}, flatten", "cropping of 0 removes nothing"),
        (
            "cropping2d: {cropping: [[1, 2], 0]}, flatten",
            "rows: 8 - 1 - 2 = 5\n  the removed values reach no later layer through it",
        ),
        ("zero_padding2d: {padding: [[1, 2], [1, 0]]}, flatten", "zeros: 1 row above, 2 below, 1 column left, 0 right"),
        ("activation: {activation: linear}, flatten", "linear: values are unchanged"),
        ("conv2d: {filters: 1, kernel_size: 3}, flatten", "so 1 filter outputs 1 map\n"),
        ("conv2d: {filters: 2, kernel_size: 1, padding: same}, flatten", "ceil(8 / 1) = 8; no zeros added"),
        ("max_pooling2d: {pool_size: 3}, flatten", "floor((8 - 3) / 3) + 1 = 2; the last 2 of 8 are in no window"),
        ("conv2d: {filters: 2, kernel_size: 1, strides: 3}, flatten", "; 5 of 8 are in no window"),
        ("max_pooling2d: {pool_size: 8}, global_max_pooling2d", "(a single value here, so it is unchanged)"),
        ("conv2d: {filters: 3, kernel_size: 3, activation: softmax}, flatten", "at each of 36 positions, over the 3 channels"),
        (
            "conv2d: {filters: 1, kernel_size: 3, activation: softmax}, flatten",
            "softmax over one value, the last axis: always 1",
        ),
        ("conv2d: {filters: 1, kernel_size: 3, activation: softmax}, flatten", "no pixel of the image affects its outputs"),
        ("batch_normalization: {scale: false, center: false}, flatten", "then (x - mean) / sqrt(variance + 0.001)\n"),
        (
            "batch_normalization: {renorm: true, renorm_momentum: 0.5, renorm_clipping: {rmin: 0.5, dmax: 2}}, flatten",
            "(mean - mean of renorm) / deviation of renorm, clipped to r ≥ 0.5, |d| ≤ 2; gradients take r and d as constants, its "
            "statistics are updated as 0.5 · old + 0.5 · batch's",
        ),
        ("batch_normalization: {renorm: true}, flatten", "the outputs are those of the statistics of renorm, not of the batch"),
        ("batch_normalization: {renorm: true}, flatten", "and mean and deviation of renorm not (5)"),
        ("batch_normalization: {synchronized: true}, flatten", "synchronized: of several replicas, the whole batch counts"),
        (
            "normalization, flatten",
            "one mean and variance, over all training images, 8 · 8 · 1 / 1 = 64 values of each image; then (x - mean)",
        ),
        ("normalization: {axis: [1, 2]}, flatten", "64 means and variances, one per row and column, over all training images"),
        ("normalization: {axis: null}, flatten", "1 mean + 1 variance + Keras's counter = 3 stored"),
        ("normalization, flatten", "from the training images alone (without augmentation), and stored in the run"),
        (
            "flatten, normalization: {mean: 0.5, variance: 4, invert: true}",
            "mean + x · sqrt(variance), with mean 0.5 and variance 4 of the config; no parameters",
        ),
        ("batch_normalization: {momentum: 1}, flatten", "they keep their initial values"),
        (
            "conv2d: {filters: 4, kernel_size: 3}, layer_normalization, flatten",
            "each image alone, in training and inference: mean and variance over 4 channels, 36 of each per image (6 · 6 · 4 / 4)",
        ),
        (
            "conv2d: {filters: 4, kernel_size: 3}, layer_normalization: {axis: [3, 1, 2]}, flatten",
            "over 6 rows · 6 columns · 4 channels = 144 values, 1 of each per image (6 · 6 · 4 / 144)",
        ),
        ("layer_normalization: {axis: [1, 2]}, flatten", "parameters: gamma and beta trained, 8 · 8 = 64 of each"),
        ("layer_normalization: {axis: [1, 2], rms_scaling: true}, flatten", "then gamma · x / sqrt(variance + 0.001)\n"),
        ("layer_normalization: {axis: 1, center: false, scale: false}, flatten", "batch size does not matter\n  no parameters"),
        (
            "conv2d: {filters: 4, kernel_size: 3}, group_normalization: {groups: 2, scale: false}, flatten",
            "4 channels in 2 groups of 2\n  each image alone, in training and inference: mean and variance over 6 · 6 · 2 = 72 values, "
            "2 of each per image (6 · 6 · 4 / 72), then (x - mean) / sqrt(variance + 0.001) + beta",
        ),
        (
            "conv2d: {filters: 4, kernel_size: 3}, group_normalization: {groups: -1}, flatten",
            "4 channels in 4 groups of 1 (one channel each: instance normalization)",
        ),
        (
            "conv2d: {filters: 4, kernel_size: 3}, unit_normalization, flatten",
            "over 4 channels, 36 norms per image: each becomes 1",
        ),
        ("flatten, unit_normalization", "x / sqrt(sum of x²) over 64 values, 1 norm per image"),
        (
            "flatten, layer_normalization",
            "the other 127 images of a batch of 128 change nothing, so the batch size does not matter",
        ),
        ("dropout: {rate: 0.5, noise_shape: [null, 1, 1, 1]}, flatten", "noise_shape [null, 1, 1, 1] has a 1 share one draw"),
        (
            "conv2d: {filters: 2, kernel_size: 1, strides: 3}, flatten",
            "3 pixels; the rows and columns between them are in neither",
        ),
        (
            "conv2d: {filters: 2, kernel_size: 3, dilation_rate: 2}, flatten",
            "5×5 pixels of the image, with gaps: 3 rows and",
        ),
        (
            "conv2d: {filters: 2, kernel_size: 9, padding: same}, flatten",
            "8×8 pixels of the image; the window is larger and reaches into",
        ),
        (
            "conv2d: {filters: 2, kernel_size: [8, 7]}, flatten",
            "8×7 pixels of the image; distance between neighbouring receptive fields: 1 column",
        ),
    ],
)
def test_sentences_speak_of_the_network_that_is_explained(layers: str, sentence: str) -> None:
    assert sentence in explained(f"[{layers}, dense: {{units: classes}}]")


def test_a_share_of_parameters_is_100_percent_only_of_all() -> None:
    text = explained("[flatten, dense: {units: 100}, dense: {units: 1}, dense: {units: classes}]")
    assert "1·10 + 10 = 20 parameters, less than 1% of all" in text
    assert "parameters, 100% of all" in explained("[flatten, dense: {units: classes}]")
    few = "batch_normalization: {scale: false, center: false}"  # 2 of 652
    assert "parameters, more than 99% of all" in explained(f"[{few}, flatten, dense: {{units: classes}}]")


def test_under_channels_first_softmax_and_dense_go_along_the_columns() -> None:
    model = "{data_format: channels_first, layers: [dense: {units: 5, activation: softmax}, flatten, dense: {units: classes}]}"
    text = unwrapped(explanation(check(parse(f"data: {{source: digits}}\nmodel: {model}", "x.yaml"))))
    assert "connected to every input along the last axis, the columns: 8·5 + 5 = 45" in text
    assert "softmax at each of 8 positions, over the 5 columns of the last axis" in text
    assert "after the channels are moved to the end" in text


def test_logits_that_are_means_of_relu_are_said_to_be_so() -> None:
    text = explained("[conv2d: {filters: 10, kernel_size: 3, activation: relu}, global_average_pooling2d]")
    assert "The outputs are logits: here means or maxima of relu; softmax makes them" in text.replace("\n", " ")


def test_label_smoothing_is_told_with_its_numbers() -> None:
    rest = "train: {loss: {categorical_crossentropy: {label_smoothing: 0.1}}}"
    text = explained("[flatten, dense: {units: classes}]", "{source: digits, labels: one_hot}", rest).replace("\n", " ")
    assert "With label_smoothing: 0.1 the 1 becomes 1 - 0.1 + 0.1/10 = 0.91, and each 0 becomes 0.1/10 = 0.01." in text


def of_maml(learner: str, layers: str) -> str:
    data = "{source: digits, validation: ['4', '5'], test: ['6', '7', '8', '9']}"
    rest = f"task: few_shot\nfew_shot: {{method: {{maml: {learner}}}, way: 2}}"
    return explained(layers, data, rest).replace("\n", " ")


def test_steps_of_maml_are_those_of_training_and_of_tests() -> None:
    text = of_maml("{inner_steps: 2, test_steps: 5}", "[batch_normalization, flatten]")
    assert "after 2 steps of gradient descent on its labelled images (5 in validation and test). Batch norm" in text
    assert text.endswith("Loss: cross-entropy of the query images, differentiated through these steps.")
    assert "its query images are one batch each, and the moving averages are not used" in text


def test_maml_of_first_order_and_without_batch_norm_is_told_as_that() -> None:
    text = of_maml("{first_order: true}", "[flatten]")
    assert "after 1 step of gradient descent on its labelled images. Loss" in text
    assert text.endswith("differentiated through this step without second derivatives (first_order).")


def test_one_weight_and_one_pixel_are_no_plurals() -> None:
    text = explained("[conv2d: {filters: 1, kernel_size: 1, strides: 8}, flatten, dense: {units: classes}]")
    assert "1·1·1 = 1 weight;" in text
    assert "1·1 position · 1 weight = 1" in text
    assert "receptive field: 1×1 pixel" in text
    assert "1 weights" not in text


BLOCKS = """
data: {source: digits}
model:
  style: functional
  blocks:
    unit:
      parameters: {filters: 4}
      layers:
        - conv2d: {filters: $filters, kernel_size: 3, padding: same}
        - batch_normalization
    double:
      layers: [unit, unit]
    plain:
      layers: [relu]
  layers:
    - conv2d: {filters: 4, kernel_size: 1, name: first}
    - unit
    - unit
    - unit: {name: third}
    - unit: {filters: 5}
    - unit
    - double
    - use: {layer: third, name: fourth}
    - plain
    - plain
    - conv2d: {filters: 4, kernel_size: 3, padding: same, name: wide}
    - max_pooling2d
    - use: {layer: wide, name: small}
    - conv2d: {filters: 1, kernel_size: 1, name: thin}
    - use: {layer: first, name: second}
    - conv2d: {filters: 1, kernel_size: 1, name: thinner}
    - use: {layer: second, name: again}
    - flatten
    - dense: {units: classes}
"""


def in_blocks() -> str:
    return unwrapped(explanation(check(parse(BLOCKS, "x.yaml"))))


def test_equal_blocks_are_explained_at_their_first_use_and_later_ones_get_a_line() -> None:
    text = in_blocks().replace("\ntheir", " their").replace("\ngradient", " gradient")
    heads = [part.splitlines()[0] for part in text.split("\n\n")[1:-1]]
    assert heads[:6] == [
        "first (conv2d): (8, 8, 1) → (8, 8, 4)",
        "unit: (8, 8, 4) → (8, 8, 4), a block of 2 layers.",
        "unit/conv2d: (8, 8, 4) → (8, 8, 4)",
        "unit/batch_normalization: (8, 8, 4) → (8, 8, 4)",
        "unit_1, third: as unit, with weights of their own.",
        "unit_2: (8, 8, 4) → (8, 8, 5), a block of 2 layers.",  # other arguments
    ]
    assert "unit_3: (8, 8, 5) → (8, 8, 4), a block of 2 layers." in heads  # another input
    assert "double: (8, 8, 4) → (8, 8, 4), a block of 4 layers." in heads
    assert "double/unit, double/unit_1: as unit, with weights of their own." in heads
    assert "plain_1: as plain." in heads  # there are no weights
    assert [head for head in heads if head.startswith("double/unit/")] == []


def test_shared_layers_and_blocks_say_whose_weights_they_use_and_that_gradients_are_summed() -> None:
    text = re.sub(r"\n(?=[A-Za-z])", " ", in_blocks().replace("\n\n", "\x00"))
    parts = {part.split(":")[0].split(" ")[0]: part for part in text.split("\x00")}
    said = "which are counted there. Their gradient is the sum of the gradients of all uses."
    assert f"as unit, with the weights of third, {said}" in parts["fourth"]
    assert f"It uses the weights of wide, {said}" in parts["small"]
    assert "parameters: 3·3·4·4 + 4 = 148" in parts["small"]  # its inputs are smaller, so it is explained again
    assert f"It uses the weights of first, {said}" in parts["again"] and f"weights of first, {said}" in parts["second"]


def test_a_long_network_of_blocks_has_a_short_explanation() -> None:
    uses = "".join("    - unit\n" for _ in range(50))
    start, _, end = BLOCKS.partition("    - unit\n    - unit\n")
    text = explanation(check(parse(f"{start}{uses}{end}", "x.yaml")))
    assert len(text.split("\n\n")) == len(in_blocks().split("\n\n"))
    assert len(unwrapped(text).splitlines()) < len(in_blocks().splitlines()) + 20
