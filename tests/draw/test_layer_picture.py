"""The picture of a layer at work: its numbers are Keras's, its window walks as the arithmetic says, and it can stand still."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from cnnctl.draw.example_numbers import BIAS, Example, example_of
from cnnctl.draw.layer_picture import layer_picture
from cnnctl.draw.scatter import Scatter
from cnnctl.errors import UsageError
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import window_of
from tests.browser import CHROMIUM, Browser
from tests.draw.pictures import Picture, experiment_of

END = "- flatten: {name: row}\n- dense: {name: answer, units: classes}"
OPTIONS = [
    "kernel_size: 3",
    "kernel_size: 3, padding: same",
    "kernel_size: 3, padding: same, strides: 2",
    "kernel_size: [2, 5], padding: same, strides: [1, 3]",
    "kernel_size: 3, dilation_rate: 2",
    "kernel_size: [2, 3], dilation_rate: [3, 1], padding: same",
    "kernel_size: 11, strides: 3",
    "kernel_size: 1",
    "kernel_size: 7, padding: same",
    "kernel_size: 3, use_bias: false",
]
POOLS = [
    "pool_size: 2",
    "pool_size: 3, strides: 1, padding: same",
    "pool_size: 3, strides: 2, padding: same",
    "pool_size: [2, 3], strides: [3, 1]",
    "pool_size: 2, padding: same",
]


def conv_of(options: str) -> L.Conv2D:
    import yaml

    return L.Conv2D.model_validate(yaml.safe_load(f"{{filters: 2, {options}}}"))


def numbers_of(svg: str) -> list[str]:
    """Read the values of the output in the order in which they appear."""
    groups = Picture(svg).all("g")
    steps = {int(found[1]): each for each in groups if (found := re.fullmatch(r"u(\d+)", each.get("class", "")))}
    return [next(each.text or "" for each in steps[step] if each.text) for step in sorted(steps)]


def as_numbers(texts: list[str]) -> list[float]:
    return [float(each.replace("\u2212", "-")) for each in texts]


def stack(layer: str, channels: int = 1) -> str:
    first = f"- conv2d: {{name: first, filters: {channels}, kernel_size: 1}}\n" if channels > 1 else ""
    return f"{first}- {layer}\n{END}"


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_values_of_a_convolution_are_those_of_keras(options: str, channels: int, tmp_path: Path) -> None:
    from keras import ops

    experiment = experiment_of(stack(f"conv2d: {{name: it, filters: 2, {options}}}", channels), tmp_path)
    layer = conv_of(options)
    example = example_of(layer, window_of(layer), (24, 32), channels)
    images = np.array(example.maps, "float32").transpose(1, 2, 0)[None]
    kernel = np.array(example.filters, "float32").transpose(1, 2, 0)[..., None]
    assert images.shape[-1] == kernel.shape[-2] == min(channels, 3)
    expected = ops.conv(images, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)
    found = as_numbers(numbers_of(layer_picture(experiment, "it")))
    assert found == [float(value) + (BIAS if layer.use_bias else 0) for value in np.ravel(ops.convert_to_numpy(expected))]
    assert len(set(found)) > 1


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("options", POOLS)
def test_the_values_of_a_pooling_are_those_of_keras(options: str, kind: str, tmp_path: Path) -> None:
    from keras import ops

    experiment = experiment_of(stack(f"{kind}_pooling2d: {{name: it, {options}}}"), tmp_path)
    layer = experiment.network.nodes[0].layer
    assert isinstance(layer, L.Pooling)
    example = example_of(layer, window_of(layer), (24, 32), 1)
    images = np.array(example.maps, "float32").transpose(1, 2, 0)[None]
    pool = ops.max_pool if kind == "max" else ops.average_pool
    expected = ops.convert_to_numpy(pool(images, layer.pool_size, layer.strides or layer.pool_size, layer.padding))
    found = as_numbers(numbers_of(layer_picture(experiment, "it")))
    np.testing.assert_allclose(found, np.ravel(expected), atol=0.0051)
    assert len(set(found)) > 1


def evaluated(line: str) -> float:
    """Compute the arithmetic of a line, such as `output (0, 1) = 3·1 + 0·(−1) + bias 1 = 4`."""
    text = line.split(" = ")[1].replace("\u2212", "-").replace("·", "*").replace("bias ", "")
    text = re.sub(r" from \d+ products| without the padding", "", text)
    return float(eval(text, {"max": lambda *values: max(values)}))


@pytest.mark.parametrize(
    "layer",
    [
        *(f"conv2d: {{name: it, filters: 2, {options}}}" for options in OPTIONS),
        *(f"{kind}_pooling2d: {{name: it, {options}}}" for options in POOLS for kind in ("max", "average")),
    ],
)
@pytest.mark.parametrize("channels", [1, 4])
def test_each_line_of_arithmetic_gives_its_value(layer: str, channels: int, tmp_path: Path) -> None:
    svg = layer_picture(experiment_of(stack(layer, channels), tmp_path), "it")
    lines = [each.text or "" for each in Picture(svg).all("text") if (each.text or "").startswith("output (")]
    values = as_numbers(numbers_of(svg))
    assert len(lines) == len(values) > 1
    assert [evaluated(line) for line in lines] == pytest.approx(values, abs=0.0051)
    assert as_numbers([line.rpartition("= ")[2] for line in lines]) == values


@pytest.mark.parametrize("options", OPTIONS)
def test_the_window_walks_by_the_strides_from_the_padding_on(options: str, tmp_path: Path) -> None:
    layer = conv_of(options)
    example = example_of(layer, window_of(layer), (24, 32), 1)
    svg = layer_picture(experiment_of(stack(f"conv2d: {{name: it, filters: 2, {options}}}"), tmp_path), "it")
    moves = re.search(r"@keyframes move\{(.*?)to\{", svg)
    assert moves
    found = [tuple(map(float, pair)) for pair in re.findall(r"translate\(([-\d.]+)px,([-\d.]+)px\)", moves[1])]
    group = next(each for each in Picture(svg).all("g", "move"))
    cell = float(next(each for each in group if "tap" in each.attrib["class"]).attrib["width"])
    rows, columns = example.output
    (top, _), (left, _) = example.padding
    expected = [
        ((column * layer.strides[1] - left) * cell, (row * layer.strides[0] - top) * cell)
        for row in range(rows)
        for column in range(columns)
    ]
    assert found == [pytest.approx(each, abs=0.01) for each in expected]
    taps = [each for each in group if "tap" in each.attrib["class"]]
    starts = sorted({round((float(each.attrib["y"]) - float(taps[0].attrib["y"])) / cell) for each in taps})
    assert starts == [row * layer.dilation_rate[0] for row in range(layer.kernel_size[0])]


@pytest.mark.parametrize(
    "layer", ["conv2d: {name: it, filters: 2, kernel_size: 16}", "max_pooling2d: {name: it, pool_size: 8}"]
)
def test_a_line_of_arithmetic_is_never_wider_than_the_picture(layer: str, tmp_path: Path) -> None:
    picture = Picture(layer_picture(experiment_of(stack(layer), tmp_path), "it"))
    lines = [each for each in picture.all("text") if (each.text or "").startswith("output (")]
    assert lines
    assert [
        each.text for each in lines if 24 + len(each.text or "") * 0.55 * float(each.attrib["font-size"]) > picture.width
    ] == []


BY_CHANNEL = ["kernel_size: 3", "kernel_size: [2, 3], padding: same, strides: 2", "kernel_size: 2, dilation_rate: [1, 2]"]


@pytest.mark.parametrize("kind", ["depthwise_conv2d", "separable_conv2d"])
@pytest.mark.parametrize("options", BY_CHANNEL)
def test_a_depthwise_convolution_is_shown_on_one_map_with_keras_values(kind: str, options: str, tmp_path: Path) -> None:
    from keras import ops

    filters = "filters: 5, " if kind == "separable_conv2d" else ""
    experiment = experiment_of(stack(f"{kind}: {{name: it, {filters}{options}}}", 4), tmp_path)
    layer = experiment.network.nodes[1].layer
    assert isinstance(layer, L.DepthwiseConv2D | L.SeparableConv2D)
    example = example_of(layer, window_of(layer), (24, 32), 1)
    images, kernel = (np.array(each, "float32")[0][None, ..., None] for each in (example.maps, example.filters))
    kernel = np.moveaxis(kernel, 0, 2)
    expected = ops.depthwise_conv(images, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)
    svg = layer_picture(experiment, "it")
    bias = BIAS if kind == "depthwise_conv2d" else 0
    assert as_numbers(numbers_of(svg)) == [float(value) + bias for value in np.ravel(ops.convert_to_numpy(expected))]
    assert ("before the 1×1 filters that mix the maps" in svg) == (kind == "separable_conv2d")


TRANSPOSED = [
    "kernel_size: 3",
    "kernel_size: 3, strides: 2",
    "kernel_size: 3, strides: 2, padding: same",
    "kernel_size: [4, 2], strides: 2, padding: same, use_bias: false",
    "kernel_size: 2, strides: 3, padding: same, output_padding: 1",
    "kernel_size: [1, 3], strides: [2, 1], output_padding: [1, 0]",
    "kernel_size: 5, padding: same",
]


def transposed(options: str, tmp_path: Path) -> tuple[L.Conv2DTranspose, str]:
    experiment = experiment_of(stack(f"conv2d_transpose: {{name: it, filters: 2, {options}}}", 3), tmp_path, "[3, 2]")
    layer = experiment.network.nodes[1].layer
    assert isinstance(layer, L.Conv2DTranspose)
    return layer, layer_picture(experiment, "it")


@pytest.mark.parametrize("options", TRANSPOSED)
def test_a_transposed_convolution_ends_with_the_values_of_keras(options: str, tmp_path: Path) -> None:
    from keras import ops

    layer, svg = transposed(options, tmp_path)
    scatter = Scatter(layer, (3, 2))
    images = np.array(scatter.values, "float32")[None, ..., None]
    kernel = np.array(scatter.weights, "float32")[..., None, None]
    added = layer.output_padding
    expected = ops.conv_transpose(images, kernel, layer.strides, layer.padding, added) + BIAS * layer.use_bias
    picture = Picture(svg)
    cells: dict[tuple[float, float], str] = {}
    for group in sorted(
        (each for each in picture.all("g") if re.fullmatch(r"u\d+", each.get("class", ""))),
        key=lambda each: int(each.attrib["class"][1:]),
    ):
        squares = [each for each in group if each.get("class") == "paper"]
        numbers = [each.text or "" for each in group if each.text]
        cells |= {(float(at.attrib["y"]), float(at.attrib["x"])): number for at, number in zip(squares, numbers, strict=True)}
    empty = list(picture.all("rect", "zero"))
    corner = float(empty[0].attrib["y"]), float(empty[0].attrib["x"])
    found = np.full(scatter.output, float(BIAS * layer.use_bias))
    for (y, x), number in cells.items():
        found[round((y - corner[0]) / 30), round((x - corner[1]) / 30)] = as_numbers([number])[0]
    np.testing.assert_array_equal(found, ops.convert_to_numpy(expected)[0, ..., 0])
    assert len(empty) == found.size


@pytest.mark.parametrize("options", TRANSPOSED)
def test_the_window_of_a_transposed_convolution_walks_over_the_output(options: str, tmp_path: Path) -> None:
    layer, svg = transposed(options, tmp_path)
    rows, columns = layer.kernel_size
    outputs = Scatter(layer, (3, 2)).output
    crop = [
        max((n - 1) * s + k - o, 0) // 2 if layer.padding == "same" else 0
        for n, s, k, o in zip((3, 2), layer.strides, layer.kernel_size, outputs, strict=True)
    ]
    moves = re.search(r"@keyframes move\{(.*?)to\{", svg)
    assert moves
    found = [tuple(map(float, pair)) for pair in re.findall(r"translate\(([-\d.]+)px,([-\d.]+)px\)", moves[1])]
    assert found == [
        ((column * layer.strides[1] - crop[1]) * 30, (row * layer.strides[0] - crop[0]) * 30)
        for row in range(3)
        for column in range(2)
    ]
    (group,) = Picture(svg).all("g", "move")
    assert len([each for each in group if "tap" in each.attrib["class"]]) == rows * columns
    assert ("what is outside is cropped" in svg) == any(
        (n - 1) * s + k > o for n, s, k, o in zip((3, 2), layer.strides, layer.kernel_size, outputs, strict=True)
    )


def test_a_layer_without_bias_adds_none(tmp_path: Path) -> None:
    for option, shows in (("true", True), ("false", False)):
        layer = f"conv2d: {{name: it, filters: 2, kernel_size: 3, use_bias: {option}}}"
        assert ("bias" in layer_picture(experiment_of(stack(layer), tmp_path), "it")) == shows


def test_padding_is_shown_as_on_the_layers_own_input() -> None:
    """An input of even length and stride 2 has its zero after the last row: the small one does too."""
    for pixels in (27, 28):
        layer = conv_of("kernel_size: 3, padding: same, strides: 2")
        example = example_of(layer, window_of(layer), (pixels, pixels), 1)
        assert example.padding[0] == window_of(layer).padding(pixels, 0)


def small(example: Example) -> bool:
    return max(example.size) <= 8 and max(example.output) <= 5


def test_a_large_map_is_shown_small_and_the_picture_reports_it(tmp_path: Path) -> None:
    layer = conv_of("kernel_size: 3")
    assert small(example_of(layer, window_of(layer), (24, 32), 1))
    svg = layer_picture(experiment_of(stack("conv2d: {name: it, filters: 2, kernel_size: 3}"), tmp_path), "it")
    assert "Shown on a smaller input of 7×7, which gives 5×5." in svg
    assert "floor((24 - 3) / 1) + 1 = 22, columns floor((32 - 3) / 1) + 1 = 30" in svg
    svg = layer_picture(experiment_of(stack("conv2d: {name: it, filters: 2, kernel_size: 3}"), tmp_path, "[6, 5]"), "it")
    assert "Shown on its input of 6×5" in svg or "Shown on a smaller input" in svg


def test_flatten_puts_values_where_numpy_puts_them(tmp_path: Path) -> None:
    svg = layer_picture(experiment_of(stack("max_pooling2d: {name: p}", 3), tmp_path, "[6, 4]"), "row")
    numbers = [int(each.text or "") for each in Picture(svg).all("text") if (each.text or "").isdigit()]
    maps = np.array(numbers[: 3 * 3 * 2]).reshape(3, 3, 2)  # map, row, column
    assert maps.transpose(1, 2, 0).ravel().tolist() == list(range(18)) == numbers[18:]


def test_zero_padding_shows_its_zeros_on_each_side(tmp_path: Path) -> None:
    layer = "zero_padding2d: {name: it, padding: [[1, 2], [0, 3]]}"
    picture = Picture(layer_picture(experiment_of(stack(layer), tmp_path), "it"))
    assert len(list(picture.all("rect", "zero"))) == (1 + 6 + 2) * (6 + 3) - 36
    assert "6×6 becomes 9×9" in [each.text for each in picture.all("text")]


def test_cropping_shows_what_it_removes_on_each_side(tmp_path: Path) -> None:
    layer = "cropping2d: {name: it, cropping: [[1, 2], [0, 3]]}"
    picture = Picture(layer_picture(experiment_of(stack(layer), tmp_path, "[12, 7]"), "it"))
    assert len(list(picture.all("rect", "zero"))) == (1 + 6 + 2) * (4 + 3) - 6 * 4
    texts = [each.text for each in picture.all("text")]
    assert "9×7 becomes 6×4" in texts
    assert texts.count("×") == 39
    assert "cropping2d" not in str(texts[0]) and "it: crops 1, 2; 0, 3" in texts


def test_a_layer_without_a_picture_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    experiment = experiment_of(stack("max_pooling2d: {name: it}"), tmp_path)
    with pytest.raises(UsageError) as raised:
        layer_picture(experiment, "answer")
    assert str(raised.value) == (
        "--layer answer: dense has no picture of its own; expected one of it, row. The whole network is drawn without --layer"
    )
    with pytest.raises(
        UsageError, match=r"--layer answr: there is no such layer; did you mean 'answer'\?; expected one of it, row"
    ):
        layer_picture(experiment, "answr")
    twice = experiment_of("- flatten\n- flatten: {name: again}\n- dense: {units: classes}", tmp_path)
    with pytest.raises(UsageError, match="--layer again: flatten has no picture of its own; expected one of flatten"):
        layer_picture(twice, "again")


@pytest.mark.parametrize(
    ("layer", "cells"),
    [
        ("conv2d: {name: it, filters: 2, kernel_size: 40}", "41×41"),
        ("max_pooling2d: {name: it, pool_size: 40}", "80×80"),
        ("conv2d_transpose: {name: it, filters: 2, kernel_size: 2, strides: 20}", "60×60"),
        ("zero_padding2d: {name: it, padding: [20, 1]}", "46×8"),
        ("cropping2d: {name: it, cropping: [20, 1]}", "46×8"),
    ],
)
def test_a_picture_with_more_numbers_than_can_be_read_is_refused(layer: str, cells: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"would have {cells} cells; the maximum is 32×32"):
        layer_picture(experiment_of(stack(layer), tmp_path, "[90, 90]"), "it")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_a_browser_values_appear_step_by_step_and_less_motion_shows_one_step(tmp_path: Path) -> None:
    svg = layer_picture(experiment_of(stack("max_pooling2d: {name: it}"), tmp_path, "[8, 8]"), "it")
    (tmp_path / "it.svg").write_text(svg)
    count = """(at) => {
      if (at !== null) document.getAnimations().forEach((each) => { each.pause(); each.currentTime = at; });
      const seen = (style) => [...document.querySelectorAll(style)].filter((each) => getComputedStyle(each).opacity === "1");
      return [seen("g[class^=u]").length, seen("text.now").map((each) => each.textContent),
              getComputedStyle(document.querySelector(".move")).transform];
    }"""
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"file://{tmp_path / 'it.svg'}")
        until = time.monotonic() + 20
        while not browser.evaluate("document.getAnimations().length") and time.monotonic() < until:
            time.sleep(0.05)
        assert browser.evaluate("document.getAnimations().length") == 4 * 16 + 1
        seconds = 1.6
        for step in (0, 5, 15):
            values, lines, move = browser.evaluate(f"({count})({1000 * seconds * (step + 0.5)})")
            assert (values, len(lines)) == (step + 1, 1)
            assert lines[0].startswith(f"output ({step // 4}, {step % 4}) = max(")
            assert [float(each) for each in move.strip("matrix()").split(", ")[4:]] == [step % 4 * 64, step // 4 * 64]
        browser._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        assert browser.evaluate("document.getAnimations().length") == 0
        values, lines, _ = browser.evaluate(f"({count})(null)")
        assert (values, len(lines)) == (16, 1)
