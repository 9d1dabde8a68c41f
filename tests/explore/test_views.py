"""The views of single layers in a real browser: every number beside a picture is the one that the network computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Window
from tests.browser import CHROMIUM, Browser
from tests.explore.arithmetic_page import ArithmeticPage
from tests.explore.views_page import Shown, Values, page_with_random_weights

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

EVERY_KIND = """
data: {source: digits, validation: 0.1, labels: one_hot}
model:
  style: functional
  layers:
    - zero_padding2d: {name: padded, padding: [[1, 0], [0, 2]]}
    - conv2d: {name: same, filters: 4, kernel_size: 3, padding: same, strides: 2, activation: tanh}
    - conv2d: {name: dilated, filters: 4, kernel_size: 3, padding: same, dilation_rate: 2, groups: 2}
    - batch_normalization: {name: norm, momentum: 0.9}
    - activation: {name: act, activation: relu}
    - conv2d: {name: side, filters: 4, kernel_size: [2, 1], padding: same, inputs: [same], use_bias: false}
    - add: {name: added, inputs: [act, side]}
    - concatenate: {name: joined, inputs: [added, same]}
    - average_pooling2d: {name: mean, pool_size: 3, strides: 1, padding: same}
    - max_pooling2d: {name: largest, pool_size: 2}
    - flatten: {name: flat}
    - dropout: {name: drop, rate: 0.4}
    - dense: {name: logits, units: classes}
train: {loss: {categorical_crossentropy: {label_smoothing: 0.1}}}
"""
CHANNELS_FIRST = """
data: {source: digits, validation: 0.1}
model:
  style: functional
  data_format: channels_first
  layers:
    - conv2d: {name: valid, filters: 6, kernel_size: [3, 2], strides: [2, 1], activation: relu}
    - max_pooling2d: {name: pooled, pool_size: [1, 2], strides: 1, padding: same}
    - conv2d: {name: deep, filters: 12, kernel_size: 2}
    - global_max_pooling2d: {name: highest}
    - dense: {name: hidden, units: 5, activation: elu}
    - dense: {name: probabilities, units: classes, activation: softmax}
"""

ODD_OPTIONS = """
data: {{source: folder, path: {path}, image_size: [9, 7], channels: 3, validation: 0.5}}
model:
  style: functional
  layers:
    - zero_padding2d: {{name: padded, padding: [[0, 2], [1, 0]]}}
    - conv2d: {{name: strided, filters: 6, kernel_size: [4, 3], strides: [2, 3], padding: same, groups: 3, activation: selu}}
    - batch_normalization: {{name: rows, axis: 1, scale: false}}
    - conv2d: {{name: own_format, filters: 6, kernel_size: 1, data_format: channels_first, use_bias: false}}
    - dense: {{name: mixed, units: 4, activation: softmax}}
    - activation: {{name: soft, activation: softmax}}
    - dropout: {{name: shared, rate: 0.25, noise_shape: [null, 1, 1, 4]}}
    - global_average_pooling2d: {{name: kept, keepdims: true}}
    - add: {{name: broadcast, inputs: [soft, kept]}}
    - concatenate: {{name: stacked, axis: 1, inputs: [broadcast, mixed]}}
    - average_pooling2d: {{name: wide, pool_size: [4, 2], strides: [3, 1], padding: same}}
    - max_pooling2d: {{name: gaps, pool_size: 1, strides: [3, 2], padding: same}}
    - flatten: {{name: flat}}
    - batch_normalization: {{name: vector, center: false}}
    - dense: {{name: hidden, units: 40, activation: mish, use_bias: false}}
    - dense: {{name: scores, units: classes}}
    - activation: {{name: ending, activation: softmax}}
"""
NEW_KINDS = """
data: {source: digits, validation: 0.1}
model:
  style: functional
  layers:
    - conv2d: {name: conv, filters: 4, kernel_size: 3, padding: same}
    - relu: {name: kinked, max_value: 1.5, negative_slope: 0.1, threshold: 0.2, inputs: [conv]}
    - leaky_relu: {name: leaky, inputs: [conv]}
    - prelu: {name: sloped, shared_axes: [1, 2], inputs: [conv]}
    - elu: {name: smooth, alpha: 0.5, inputs: [conv]}
    - softmax: {name: soft, axis: [1, 2], inputs: [conv]}
    - subtract: {name: less, inputs: [kinked, leaky]}
    - multiply: {name: product, inputs: [less, sloped, soft]}
    - average: {name: mean, inputs: [product, smooth, conv]}
    - maximum: {name: high, inputs: [mean, conv]}
    - minimum: {name: low, inputs: [high, smooth]}
    - layer_normalization: {name: pixel, axis: -1}
    - group_normalization: {name: grouped, groups: 2}
    - unit_normalization: {name: unit, axis: [1, 2]}
    - up_sampling2d: {name: larger, size: [2, 1], interpolation: bilinear}
    - cropping2d: {name: middle, cropping: [[3, 5], [0, 0]]}
    - up_sampling2d: {name: copies}
    - depthwise_conv2d: {name: depthwise, kernel_size: [3, 2], depth_multiplier: 2, padding: same}
    - separable_conv2d: {name: separable, filters: 3, kernel_size: 2, depth_multiplier: 2, activation: relu}
    - conv2d_transpose: {name: transposed, filters: 4, kernel_size: 3, strides: 2, padding: same}
    - permute: {name: turned, dims: [2, 1, 3]}
    - reshape: {name: reshaped, target_shape: [20, -1, 5]}
    - rescaling: {name: scaled, scale: 0.5, offset: 0.1}
    - spatial_dropout2d: {name: maps, rate: 0.5}
    - gaussian_noise: {name: noise, stddev: 0.1}
    - gaussian_dropout: {name: factors, rate: 0.3}
    - alpha_dropout: {name: alpha, rate: 0.3}
    - flatten: {name: flat}
    - prelu: {name: vector}
    - dense: {name: logits, units: classes}
    - softmax: {name: probabilities}
train: {loss: sparse_categorical_crossentropy}
"""


KINDS = {each.kind for each in L.LAYERS}


def with_known_kinds(config: str) -> str:
    """Remove the layers of types that the vocabulary lacks."""
    plain = yaml.safe_load(config)
    plain["model"]["layers"] = [layer for layer in plain["model"]["layers"] if {*layer} <= KINDS]
    return yaml.safe_dump(plain, sort_keys=False)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
    keras.backend.clear_session()


def shown(browser: Browser, folder: Path, config: str, seed: int) -> Shown:
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    page, network, weights = page_with_random_weights(folder / "config.yaml", seed)
    (folder / "page.html").write_bytes(page)
    return Shown(browser, folder / "page.html", network, weights)


@pytest.fixture(scope="module")
def every_kind(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return shown(browser, tmp_path_factory.mktemp("last"), EVERY_KIND, 1)


@pytest.fixture(scope="module")
def channels_first(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return shown(browser, tmp_path_factory.mktemp("first"), CHANNELS_FIRST, 2)


@pytest.fixture(scope="module")
def odd_options(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Show colour images of 9×7 pixels."""
    folder = tmp_path_factory.mktemp("odd")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 7, 3), np.uint8)
    for number, image in enumerate(pixels):
        file = folder / "set" / ("train", "test")[number % 2] / f"class {number // 2 % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return shown(browser, folder, ODD_OPTIONS.format(path=folder / "set"), 3)


@pytest.fixture(scope="module")
def new_kinds(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return shown(browser, tmp_path_factory.mktemp("new"), with_known_kinds(NEW_KINDS), 4)


@pytest.fixture
def page(every_kind: Shown) -> Iterator[Shown]:
    """Show the network with every kind of layer; a test leaves no error in the console and asks for no file but the page."""
    every_kind.show()
    yield every_kind
    assert every_kind.browser.events.errors == []
    assert every_kind.browser.events.requests == [every_kind.file.as_uri()]


@pytest.fixture
def first_page(channels_first: Shown) -> Iterator[Shown]:
    channels_first.show()
    yield channels_first
    assert channels_first.browser.events.errors == []


def maps_last(page: Shown, name: str) -> Values:
    """Return a layer's maps as (H, W, C)."""
    maps = page.activations(name)
    return maps.transpose(1, 2, 0) if page.network["input"]["data_format"] == "channels_first" and maps.ndim == 3 else maps


OUTPUT, SECOND = ".output-picture", "figure:nth-of-type(2) .output-picture"
"""The only map with values to choose, or that of the output beside that of the input."""

# --- convolution ----------------------------------------------------------------------------------------------------

PRODUCTS = """[...document.querySelectorAll('.products td')].map((cell) => ({
  row: Number(cell.dataset.row), column: Number(cell.dataset.column), padding: cell.classList.contains('padding'),
  value: Number(cell.dataset.value), weight: Number(cell.dataset.weight), product: Number(cell.dataset.product),
  text: cell.textContent.replaceAll('\u2212', '-')}))"""
ACTIVATIONS: dict[str | None, Callable[[float], float]] = {
    None: lambda x: x,
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
}
CONVOLUTIONS = [
    ("every_kind", "same", (0, 0)),
    ("every_kind", "same", (4, 3)),
    ("every_kind", "dilated", (2, 2)),
    ("every_kind", "dilated", (0, 4)),
    ("every_kind", "side", (4, 1)),
    ("channels_first", "valid", (2, 6)),
    ("channels_first", "deep", (1, 5)),
]


def products_of_all_maps(page: Shown) -> list[list[dict[str, Any]]]:
    """Click each input map in turn, on every page of them, and read its table of products."""
    tables = []
    while True:
        for index in range(page.read("document.querySelectorAll('.contribution').length")):
            page.run(f"document.querySelectorAll('.contribution .row-title')[{index}].click()")
            tables.append(page.read(PRODUCTS))
        turned = page.run("""(() => { const next = document.querySelector('h4 .view-pager [aria-label^=next]');
          if (next.disabled || next.closest('[hidden]')) return false; next.click(); return true; })()""")
        if not turned:
            return tables


@pytest.mark.parametrize(("network", "name", "place"), CONVOLUTIONS)
def test_the_products_of_a_hovered_value_add_up_to_it(
    request: pytest.FixtureRequest, network: str, name: str, place: tuple[int, int]
) -> None:
    page: Shown = request.getfixturevalue(network)
    page.show()
    layer = page.layer(name)
    output = maps_last(page, name)
    chosen = output.shape[2] - 1
    page.open(name)
    page.run(
        f"(() => {{ const field = document.querySelector('.chooser input'); field.value = {chosen}; field.dispatchEvent(new Event('change')); }})()"
    )
    page.hover(OUTPUT, *place)
    tables = products_of_all_maps(page)

    kernel = page.weight(name, "kernel")
    (kernel_height, kernel_width, depth, _), source = kernel.shape, maps_last(page, layer["inputs"][0])
    groups = layer["fields"]["groups"]
    first = chosen // (output.shape[2] // groups) * depth
    window = Window(
        (kernel_height, kernel_width),
        tuple(layer["fields"]["strides"]),
        tuple(layer["fields"]["dilation_rate"]),
        layer["fields"]["padding"] == "same",
    )
    tops = [place[axis] * window.strides[axis] - window.padding(source.shape[axis], axis)[0] for axis in (0, 1)]
    assert len(tables) == depth
    for channel, table in enumerate(tables):
        for index, cell in enumerate(table):
            i, j = divmod(index, kernel_width)
            row, column = tops[0] + i * window.dilation[0], tops[1] + j * window.dilation[1]
            inside = 0 <= row < source.shape[0] and 0 <= column < source.shape[1]
            assert (cell["row"], cell["column"], cell["padding"]) == (row, column, not inside)
            assert cell["value"] == (source[row, column, first + channel] if inside else 0)
            assert cell["weight"] == kernel[i, j, channel, chosen]
            assert cell["product"] == pytest.approx(cell["value"] * cell["weight"])
    steps = page.steps()
    total = sum(cell["product"] for table in tables for cell in table)
    bias = page.weight(name, "bias")[chosen] if layer["fields"]["use_bias"] else 0.0
    assert steps["sum"] == pytest.approx(total)
    assert steps.get("bias", 0.0) == pytest.approx(bias)
    activation = ACTIVATIONS[layer["fields"]["activation"]]
    assert activation(total + bias) == pytest.approx(steps["output"], abs=1e-5)
    assert steps["output"] == output[(*place, chosen)]
    assert page.browser.events.errors == []


def test_numbers_are_written_as_they_are(page: Shown) -> None:
    page.open("same")
    page.hover(OUTPUT, 1, 2)
    exact, texts = page.steps(), page.step_texts()
    assert len(exact) == 4
    for name, value in exact.items():
        assert float(texts[name].replace("−", "-")) == pytest.approx(value, abs=6e-4)
    for cell in page.read(PRODUCTS):
        factors, product = cell["text"].split("=")
        value, weight = (float(factor) for factor in factors.split("×"))
        assert (value, weight, float(product)) == pytest.approx((cell["value"], cell["weight"], cell["product"]), abs=6e-4)
    number = texts["output"]
    assert page.sentence() == f"output (1, 2) of map 0: {number} = tanh({texts['sum']} + {texts['bias']})"


def test_zeros_of_the_padding_are_drawn_outside_of_the_image(page: Shown) -> None:
    page.open("dilated")
    page.hover(OUTPUT, 0, 4)
    marks = page.read("""[...document.querySelectorAll('.contribution')[0].querySelector('.map-picture').querySelectorAll('rect')]
      .map((cell) => [Number(cell.dataset.row), Number(cell.dataset.column), cell.getAttribute('class')])""")
    outside = sorted((row, column) for row, column, kind in marks if "outside" in kind)
    assert outside == [(-2, 2), (-2, 4), (-2, 6), (0, 6), (2, 6)]
    assert sorted((row, column) for row, column, kind in marks if "outside" not in kind) == [(0, 2), (0, 4), (2, 2), (2, 4)]
    zeros = page.read(
        "[...document.querySelectorAll('.contribution')[0].querySelectorAll('.marks text')].map((zero) => zero.textContent)"
    )
    assert zeros == ["0"] * 5
    box, canvas = page.read("""(() => {
      const picture = document.querySelector('.contribution .map-picture');
      const zero = picture.querySelector('.outside').getBoundingClientRect();
      const canvas = picture.querySelector('canvas').getBoundingClientRect();
      return [[zero.left, zero.bottom], [canvas.left, canvas.top, canvas.width / 5]];
    })()""")
    assert box[1] <= canvas[1], "the zero of row -2 lies above the image"
    assert box[0] == pytest.approx(canvas[0] + 2 * canvas[2], abs=2)


def test_the_receptive_field_is_the_part_of_the_image_that_changes_the_value(page: Shown) -> None:
    page.open("dilated")
    page.hover(OUTPUT, 1, 3)
    box = page.read("""(() => { const {top, left, bottom, right} = document.querySelector('.field').closest('figure').dataset;
      return [top, left, bottom, right].map(Number); })()""")
    image = page.activations("input")
    before = page.activations("dilated")[1, 3]
    others = np.repeat(image.reshape(1, 64), 64, axis=0) + 0.5 * np.eye(64, dtype=np.float32)
    values = page.read(f"""{others.tolist()}.map((image) => {{
      cnnctl.setImage(image);
      return cnnctl.activations('dilated').values.slice(1 * 20 + 3 * 4, 1 * 20 + 3 * 4 + 4);
    }})""")
    changed = [
        divmod(pixel, 8) for pixel, value in enumerate(values) if not np.array_equal(np.array(value, np.float32), before)
    ]
    rows, columns = zip(*changed, strict=True)
    assert box == [min(rows), min(columns), max(rows), max(columns)]


def test_arrow_keys_and_a_finger_choose_values(every_kind: Shown) -> None:
    every_kind.show(width=360, touch=True)
    every_kind.open("same")
    every_kind.browser.touch([every_kind.place(OUTPUT, 3, 1)])
    every_kind.wait()
    assert every_kind.sentence().startswith("output (3, 1) of map 0: ")
    every_kind.run("document.querySelector('.output-picture').focus()")
    for key in ["ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowUp"]:
        every_kind.browser.press(key)
        every_kind.wait()
    assert every_kind.sentence().startswith("output (3, 1) of map 0: ")
    assert every_kind.read("document.querySelector('.view-sentence').getAttribute('aria-live')") == "polite"


# --- poolings, moves and joins --------------------------------------------------------------------------------------


def test_a_maximum_is_at_the_winner_of_its_window(page: Shown) -> None:
    source = page.activations("mean")
    page.open("largest")
    for row, column in [(0, 0), (1, 1), (0, 1)]:
        page.hover(SECOND, row, column)
        window = source[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0]
        winner = page.read(
            "(({dataset}) => [Number(dataset.row), Number(dataset.column)])(document.querySelector('.products .winner'))"
        )
        best = np.unravel_index(np.argmax(window), window.shape)
        assert winner == [2 * row + best[0], 2 * column + best[1]]
        assert page.steps()["output"] == window.max()
        assert page.read("document.querySelector('.marks .winner').dataset.row") == str(winner[0])


def test_a_mean_counts_real_pixels_only(page: Shown) -> None:
    source = page.activations("joined")
    page.open("mean")
    page.hover(SECOND, 0, 0)
    steps = page.steps()
    assert steps["count"] == 4
    assert steps["sum"] == pytest.approx(source[:2, :2, 0].sum(dtype=np.float64))
    assert steps["output"] == pytest.approx(steps["sum"] / 4)
    outside = page.read("[...document.querySelectorAll('.products .padding')].length")
    assert outside == 5


def test_a_global_maximum_is_one_value_of_the_whole_map(first_page: Shown) -> None:
    source = first_page.activations("deep")
    first_page.open("highest")
    first_page.hover(SECOND, 0, 7)
    assert first_page.steps()["output"] == source[7].max()
    winner = first_page.read(
        "(({dataset}) => [Number(dataset.row), Number(dataset.column)])(document.querySelector('.products .winner'))"
    )
    assert winner == list(np.unravel_index(source[7].argmax(), source[7].shape))


def test_flatten_shows_where_each_value_goes_from_both_sides(page: Shown) -> None:
    source, flat = page.activations("largest"), page.activations("flat")
    page.open("flat")
    page.run(
        "(() => { const field = document.querySelector('.chooser input'); field.value = 5; field.dispatchEvent(new Event('change')); })()"
    )
    page.hover("figure:nth-of-type(1) .output-picture", 1, 0)
    unit = (1 * 2 + 0) * 8 + 5
    assert page.read("document.querySelector('.formula').textContent").endswith(f"(1 · 2 + 0) · 8 + 5 = {unit}")
    page.hover(SECOND, 3, 6)  # 32 values in rows of 8
    assert page.read("document.querySelector('.formula').textContent").endswith("(1 · 2 + 1) · 8 + 6 = 30")
    assert flat[30] == source[1, 1, 6]
    assert "at (1, 1) of map 6 goes to unit 30" in page.sentence()


def test_sums_concatenations_and_paddings_name_their_sources(page: Shown) -> None:
    page.open("added")
    page.hover(OUTPUT, 2, 3)
    steps = page.steps()
    assert steps["input 0"] + steps["input 1"] == pytest.approx(steps["output"])
    assert steps["input 1"] == page.activations("side")[2, 3, 0]
    page.open("joined")
    page.run(
        "(() => { const field = document.querySelector('.chooser input'); field.value = 6; field.dispatchEvent(new Event('change')); })()"
    )
    page.hover(OUTPUT, 1, 1)
    assert page.steps()["output"] == page.activations("same")[1, 1, 2]
    assert "is a copy of same, output (1, 1) of map 2" in page.sentence()
    page.open("padded")
    page.hover(OUTPUT, 0, 3)
    assert page.steps() == {"output": 0}
    assert "a zero of the padding" in page.sentence()
    page.hover(OUTPUT, 5, 3)
    assert page.steps()["output"] == page.activations("input")[4, 3, 0]


# --- dense, softmax and loss ----------------------------------------------------------------------------------------

CONTRIBUTIONS = """[...document.querySelectorAll('.bar-row')].map((row) => ({...row.dataset, product: Number(row.querySelector('.value').dataset.value)}))"""


def test_contributions_to_a_unit_are_sorted_and_add_up(page: Shown) -> None:
    page.open("logits")
    page.hover(OUTPUT, 0, 3)
    kernel, source = page.weight("logits", "kernel"), page.activations("drop")
    seen: list[dict[str, Any]] = []
    for _ in range(4):
        rows = page.read(CONTRIBUTIONS)
        steps = page.steps()
        assert sum(row["product"] for row in rows) == pytest.approx(steps["sum"])
        seen += [row for row in rows if "index" in row]
        page.run("document.querySelector('h4 .view-pager [aria-label^=next]').click()")
    assert [int(row["index"]) for row in seen] == sorted(range(32), key=lambda i: -abs(float(source[i]) * float(kernel[i, 3])))
    assert all(
        row["product"] == pytest.approx(float(source[int(row["index"])] * kernel[int(row["index"]), 3]), abs=1e-6)
        for row in seen
    )
    assert steps["sum"] + page.weight("logits", "bias")[3] == pytest.approx(steps["output"], abs=1e-5)
    assert steps["output"] == page.activations("logits")[3]
    assert steps["positive"] + steps["negative"] == pytest.approx(steps["sum"])


def class_table(page: Shown) -> dict[str, Values]:
    rows = page.read(
        "[...document.querySelectorAll('.classes tbody tr')].map(({dataset}) => [dataset.probability, dataset.logit, dataset.target].map(Number))"
    )
    probabilities, logits, target = np.array(rows).T
    return {"probabilities": probabilities, "logits": logits, "target": target}


def choose_class(page: Shown, index: int) -> None:
    page.run(
        f"(() => {{ const field = document.querySelector('[aria-label=\"true class\"]'); field.value = {index}; field.dispatchEvent(new Event('change')); }})()"
    )


def test_probabilities_sum_to_1_and_the_loss_equals_keras(page: Shown) -> None:
    page.open("logits")
    logits = page.activations("logits")
    for chosen in (0, 7):
        choose_class(page, chosen)
        table = class_table(page)
        assert table["probabilities"].sum() == pytest.approx(1)
        np.testing.assert_array_equal(table["logits"].astype(np.float32), logits)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        expected = float(loss(keras.ops.one_hot([chosen], 10), logits[None]))
        assert page.steps(".output-section")["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_temperature_divides_the_logits(page: Shown) -> None:
    page.open("logits")
    logits = page.activations("logits").astype(np.float64)
    page.run(
        "(() => { const slider = document.querySelector('input[aria-label=temperature]'); slider.value = 1; slider.dispatchEvent(new Event('input')); })()"
    )
    scaled = np.exp((logits - logits.max()) / 10)
    assert class_table(page)["probabilities"] == pytest.approx(scaled / scaled.sum())
    assert page.read("document.querySelector('.output-controls output').textContent") == "T = 10.00"
    page.run("document.querySelector('.output-controls button').click()")
    exact = np.exp(logits - logits.max())
    assert class_table(page)["probabilities"] == pytest.approx(exact / exact.sum())


def test_a_softmax_layer_shows_its_logits(first_page: Shown) -> None:
    first_page.open("probabilities")
    choose_class(first_page, 4)
    table = class_table(first_page)
    probabilities = first_page.activations("probabilities")
    assert table["probabilities"] == pytest.approx(probabilities, abs=1e-6)
    logits = first_page.activations("hidden") @ first_page.weight("probabilities", "kernel") + first_page.weight(
        "probabilities", "bias"
    )
    assert table["logits"] == pytest.approx(logits, abs=1e-5)
    expected = float(keras.losses.SparseCategoricalCrossentropy()(np.array([4]), probabilities[None]))
    assert first_page.steps(".output-section")["loss"] == pytest.approx(expected, rel=1e-4)


# --- batch norm and dropout -----------------------------------------------------------------------------------------


def normalized(page: Shown, mean: float, variance: float, value: float) -> float:
    return (value - mean) / math.sqrt(variance + 1e-3) * float(page.weight("norm", "gamma")[0]) + float(
        page.weight("norm", "beta")[0]
    )


def test_a_normalization_in_numbers_is_the_value(page: Shown) -> None:
    page.open("norm")
    page.hover(SECOND, 3, 2)
    steps = page.steps()
    mean, variance = float(page.weight("norm", "moving_mean")[0]), float(page.weight("norm", "moving_variance")[0])
    assert steps["value"] == page.activations("dilated")[3, 2, 0]
    assert (steps["mean"], steps["deviation"]) == pytest.approx((mean, np.sqrt(variance + 1e-3)))
    assert steps["output"] == page.activations("norm")[3, 2, 0]
    assert steps["output"] == pytest.approx(normalized(page, mean, variance, steps["value"]), abs=1e-5)


def test_training_normalizes_with_the_batch(page: Shown) -> None:
    page.open("norm")
    page.hover(SECOND, 3, 2)
    outputs = set()
    for size in (8, 32):
        page.run(
            f"[...document.querySelectorAll('.mode-switch button')].find((button) => button.textContent === '{size}').click()"
        )
        steps = page.steps()
        row = page.read("""(() => { const row = document.querySelector('.statistics [data-name=batch]');
          return [row.className, row.textContent, ...[...row.querySelectorAll('.value')].map((each) => Number(each.dataset.value))]; })()""")
        assert row[0] == "used"
        assert f"batch of {size} ({25 * size} values)" in row[1]
        assert (steps["mean"], steps["deviation"]) == pytest.approx((row[2], np.sqrt(row[3] + 1e-3)))
        assert steps["output"] == page.activations("norm")[3, 2, 0]
        assert steps["output"] == pytest.approx(normalized(page, row[2], row[3], steps["value"]), abs=1e-5)
        outputs.add(steps["output"])
    assert len(outputs) == 2
    page.run(
        "[...document.querySelectorAll('.mode-switch button')].find((button) => button.textContent === 'inference').click()"
    )
    assert page.read("document.querySelector('.statistics .used').dataset.name") == "moving"


def test_statistics_of_a_batch_are_those_of_all_its_values(page: Shown) -> None:
    random = np.random.default_rng(3)
    images = random.uniform(0, 1, (4, 64)).astype(np.float32)
    page.run("cnnctl.setTraining(true)")
    values = []
    for first in range(4):
        order = [first, *(each for each in range(4) if each != first)]
        page.run(f"cnnctl.setBatch({images[order].tolist()})")
        values.append(page.activations("dilated")[..., 1])
    page.open("norm")
    page.run(
        "(() => { const field = document.querySelector('.chooser input'); field.value = 1; field.dispatchEvent(new Event('change')); })()"
    )
    steps, all_values = page.steps(), np.stack(values).astype(np.float64)
    assert steps["mean"] == pytest.approx(all_values.mean(), abs=1e-6)
    assert steps["deviation"] == pytest.approx(np.sqrt(all_values.var() + 1e-3), rel=1e-5)


def test_dropout_drops_and_scales_in_training_and_takes_new_masks(page: Shown) -> None:
    page.open("drop")
    source = page.activations("flat")
    np.testing.assert_array_equal(page.activations("drop"), source)
    masks = []
    for _ in range(3):
        page.run("[...document.querySelectorAll('button')].find((button) => button.textContent === 'new masks').click()")
        source, output = page.activations("flat"), page.activations("drop")
        kept = output != 0
        np.testing.assert_allclose(output[kept], source[kept] / 0.6, rtol=1e-5)
        masks.append(tuple(kept))
        unit = int(np.flatnonzero(source)[5])
        page.hover(SECOND, *divmod(unit, 8))
        steps = page.steps()
        assert steps["mask"] == float(kept[unit])
        assert steps["scale"] == pytest.approx(1 / 0.6)
        assert steps["output"] == output[unit] == pytest.approx(steps["input"] * steps["mask"] / 0.6)
    assert len(set(masks)) == 3
    pictures = page.read(
        """[...document.querySelectorAll('.view-body .map-picture canvas')].map((canvas) => canvas.toDataURL())"""
    )
    assert len(pictures) == len(set(pictures)) == 4


# --- gradients ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arithmetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArithmeticPage]:
    with Browser(tmp_path_factory.mktemp("other-profile")) as browser:
        yield ArithmeticPage(browser, tmp_path_factory.mktemp("arithmetic"))


NODES = "[...document.querySelectorAll('.graph .node')].map(({dataset}) => ({...dataset, value: Number(dataset.value), adjoint: Number(dataset.adjoint)}))"
GRAPHS = {
    "every_kind": [
        ("same", OUTPUT, (2, 3)),
        ("dilated", OUTPUT, (2, 3)),
        ("norm", SECOND, (1, 1)),
        ("act", SECOND, (1, 1)),
        ("mean", SECOND, (0, 1)),
        ("largest", SECOND, (0, 1)),
        ("flat", SECOND, (0, 5)),
        ("padded", OUTPUT, (4, 2)),
        ("logits", OUTPUT, (0, 4)),
    ],
    "channels_first": [
        ("deep", OUTPUT, (0, 2)),
        ("highest", SECOND, (0, 5)),
        ("hidden", OUTPUT, (0, 2)),
    ],
}


def inputs_of_graph(page: Shown, nodes: list[dict[str, Any]]) -> dict[tuple[int, ...], float]:
    """Return the adjoints of the nodes that are values of the layer's input, by index without the batch."""
    found = {}
    for node in nodes:
        if node["kind"] == "input" and node["label"].startswith("x "):
            index = tuple(int(number) for number in node["label"][2:].strip("()[]").split(", "))
            found[index_of(page, index)] = node["adjoint"]
    return found


def index_of(page: Shown, place: tuple[int, ...]) -> tuple[int, ...]:
    """Convert (row, column, map) to an index of a tensor without the batch; that of a vector stays."""
    return (place[-1], *place[:-1]) if page.network["input"]["data_format"] == "channels_first" else place


def graph_of(page: Shown, name: str, selector: str, place: tuple[int, int]) -> list[dict[str, Any]]:
    """Point at a value, open its graph with all terms, and read the nodes."""
    page.open(name)
    page.hover(selector, *place)
    page.open_sections()
    while page.read("document.querySelector('.graph .more') !== null"):
        page.run("document.querySelector('.graph .more').dispatchEvent(new Event('click'))")
    nodes: list[dict[str, Any]] = page.read(NODES)
    return nodes


def some_images(page: Shown, count: int, training: bool) -> Values:
    """Let the page show a batch of random images."""
    images = np.random.default_rng(5).uniform(0, 1, (count, *page.network["input"]["shape"])).astype(np.float32)
    page.run(f"cnnctl.setTraining({str(training).lower()}); cnnctl.setBatch({images.reshape(count, -1).tolist()})")
    return images


@pytest.mark.parametrize("network", list(GRAPHS))
def test_adjoints_of_the_graph_equal_the_gradients(
    request: pytest.FixtureRequest, arithmetic: ArithmeticPage, network: str
) -> None:
    page: Shown = request.getfixturevalue(network)
    page.show()
    image = some_images(page, 1, training=False)
    for name, selector, place in GRAPHS[network]:
        nodes, outputs = graph_of(page, name, selector, place), page.activations(name)
        index = index_of(page, (*place, 0)) if outputs.ndim == 3 else place[1:]
        assert (nodes[-1]["value"], nodes[-1]["adjoint"]) == (pytest.approx(float(outputs[index]), abs=1e-5), 1), name
        target = {"kind": "value", "layer": name, "index": int(np.ravel_multi_index(index, outputs.shape))}
        gradients = arithmetic.compute(page.network, page.weights, image, target)["gradients"]
        expected = gradients[page.layer(name)["inputs"][0]][0]
        found = inputs_of_graph(page, nodes)
        for where, adjoint in found.items():
            assert adjoint == pytest.approx(float(expected[where]), abs=1e-5), (name, where)
        # No value with a gradient is missing in the graph.
        assert sum(map(abs, found.values())) == pytest.approx(float(np.abs(expected).sum()), rel=1e-4), name
    assert page.browser.events.errors == []


def test_in_training_a_value_acts_through_the_mean_and_the_variance_too(page: Shown, arithmetic: ArithmeticPage) -> None:
    images = some_images(page, 3, training=True)
    nodes = graph_of(page, "norm", SECOND, (1, 1))
    target = {"kind": "value", "layer": "norm", "index": (1 * 5 + 1) * 4}
    gradients = arithmetic.compute(page.network, page.weights, images, target, training=True)["gradients"]
    assert inputs_of_graph(page, nodes) == {(1, 1, 0): pytest.approx(float(gradients["dilated"][0, 1, 1, 0]), abs=1e-5)}


def test_joins_pass_the_adjoint_to_their_sources(page: Shown) -> None:
    nodes = graph_of(page, "added", OUTPUT, (1, 1))
    assert {node["label"]: node["adjoint"] for node in nodes} == {"act": 1, "side": 1, "+": 1}
    assert nodes[-1]["value"] == pytest.approx(nodes[0]["value"] + nodes[1]["value"])
    assert [(node["label"], node["adjoint"]) for node in graph_of(page, "joined", OUTPUT, (1, 1))] == [
        ("added", 1),
        ("copy", 1),
    ]


def test_the_graph_of_softmax_has_the_other_logits(first_page: Shown) -> None:
    nodes = graph_of(first_page, "probabilities", OUTPUT, (0, 4))
    probabilities = first_page.activations("probabilities").astype(np.float64)
    others = {node["label"]: node["adjoint"] for node in nodes if node["label"].startswith("z ")}
    assert others == {f"z [{k}]": pytest.approx(-probabilities[4] * probabilities[k], abs=1e-6) for k in range(10) if k != 4}
    logit = next(node for node in nodes if node["label"] == "+ bias")
    assert logit["adjoint"] == pytest.approx(probabilities[4] * (1 - probabilities[4]), abs=1e-6)
    kernel = first_page.weight("probabilities", "kernel")
    assert inputs_of_graph(first_page, nodes) == {
        (i,): pytest.approx(logit["adjoint"] * kernel[i, 4], abs=1e-6) for i in range(5)
    }


def test_the_graph_of_the_target_starts_with_its_gradient(page: Shown) -> None:
    page.run("cnnctl.setTarget({loss: 2})")
    page.open("same")
    page.hover(OUTPUT, 2, 3)
    page.open_sections()
    page.run(
        "[...document.querySelectorAll('.view-switch button')].find((button) => button.textContent === 'the target').click()"
    )
    gradient = page.gradients("same")[2, 3, 0]
    assert page.read(NODES)[-1]["adjoint"] == pytest.approx(float(gradient), rel=1e-5)
    assert page.steps(".view-section")["gradient"] == pytest.approx(float(gradient), rel=1e-5)


def test_terms_not_shown_are_one_node_that_a_key_opens(page: Shown) -> None:
    page.open("dilated")
    page.hover(OUTPUT, 2, 2)
    page.open_sections()
    nodes = page.read(NODES)
    assert [node["label"] for node in nodes if node["kind"] == "more"] == ["+ 14 more"]
    value = nodes[-1]["value"]
    page.run("document.querySelector('.graph .more').focus()")
    page.browser.press("Enter")
    page.wait()
    opened = page.read(NODES)
    assert [node for node in opened if node["kind"] == "more"] == []
    assert opened[-1]["value"] == pytest.approx(value, abs=1e-6)


def test_the_target_is_chosen_beside_the_gradients(page: Shown) -> None:
    page.open("largest")
    page.open_sections()
    seen = []
    for kind, index in [("class", 3), ("class", 8), ("loss", 8)]:
        page.run(f"""(() => {{ const [kind, chosen] = document.querySelectorAll('.target-choice select');
          kind.value = '{kind}'; chosen.value = '{index}'; chosen.dispatchEvent(new Event('change')); }})()""")
        steps = page.steps(".view-section")
        page.read(f"cnnctl.setTarget({{{kind}: {index}}})")
        row, column = np.unravel_index(page.activations("largest")[..., 0].argmax(), (2, 2))
        assert steps["gradient"] == pytest.approx(float(page.gradients("largest")[row, column, 0]), rel=1e-5)
        seen.append(steps["gradient"])
    assert len(set(seen)) == 3


def test_grad_cam_is_shown_from_the_last_convolution_on(page: Shown) -> None:
    for name, expected in [("same", 0), ("side", 1), ("logits", 1)]:
        page.open(name)
        page.open_sections()
        assert page.read("document.querySelectorAll('.heat').length") == expected
    outputs, gradients = page.activations("side"), page.gradients("side")
    heat = np.maximum((outputs * gradients.mean(axis=(0, 1))).sum(axis=-1), 0)
    alpha = page.read("""(() => { const canvas = document.querySelector('.heat canvas');
      const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return Array.from({length: data.length / 4}, (_, pixel) => data[4 * pixel + 3]); })()""")
    np.testing.assert_allclose(np.reshape(alpha, heat.shape), 220 * heat / max(heat.max(), 1e-9), atol=1)


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_with_every_option_the_first_value_is_what_its_equation_says(odd_options: Shown, training: bool) -> None:
    page = odd_options
    page.show()
    page.run(f"cnnctl.setTraining({str(training).lower()})")
    for layer in page.network["layers"]:
        name, kind = layer["name"], layer["kind"]
        page.open(name)
        page.hover(".output-picture" if page.read("document.querySelectorAll('.output-picture').length") == 1 else SECOND, 0, 0)
        page.open_sections()
        steps, output = page.steps(), float(page.activations(name).ravel()[0])
        assert steps.get("output", output) == output, name
        if kind in ("conv2d", "dense"):
            assert steps["sum"] + steps.get("bias", 0) == pytest.approx(steps.get("before", output), abs=1e-5), name
        if kind == "batch_normalization":
            scaled = steps["normalized"] * steps.get("gamma", 1) + steps.get("beta", 0)
            assert (steps["value"] - steps["mean"]) / steps["deviation"] == pytest.approx(steps["normalized"], abs=1e-5), name
            assert scaled == pytest.approx(output, abs=1e-5), name
        if kind == "average_pooling2d":
            assert steps["sum"] / steps["count"] == pytest.approx(output, abs=1e-6), name
        if kind == "dropout":
            assert steps["input"] * steps.get("mask", 1) * steps.get("scale", 1) == pytest.approx(output, abs=1e-6), name
        if kind == "activation":
            assert steps["exponential"] / steps["sum"] == pytest.approx(output, abs=1e-6), name
        if kind == "add":
            assert steps["input 0"] + steps["input 1"] == pytest.approx(output, abs=1e-6), name
        nodes = page.read(NODES)
        assert nodes[-1]["value"] == pytest.approx(output, abs=1e-5), name
        assert page.steps(".view-section")["gradient"] == pytest.approx(float(page.gradients(name).ravel()[0]), rel=1e-5), name
    assert page.browser.events.errors == []


JOINED: dict[str, Callable[[list[float]], float]] = {
    "subtract": lambda values: values[0] - values[1],
    "multiply": math.prod,
    "average": lambda values: sum(values) / len(values),
    "maximum": max,
    "minimum": min,
}
"""How the inputs of a join make its output."""


ONE_CHOICE = {*JOINED, "up_sampling2d", "cropping2d", "reshape", "permute", *(kind for kind in KINDS if "conv" in kind)}
"""Layers whose view has one picture of the kind of the output."""


def noisy(kind: str, steps: dict[str, float]) -> float:
    """Compute the output of a dropout or a noise from the steps of its equation."""
    if kind == "gaussian_noise":
        return steps["input"] + steps["noise"]
    if kind == "gaussian_dropout":
        return steps["input"] * steps["noise"]
    if kind == "alpha_dropout":
        return steps["taken"] * steps["scale"] + steps["shift"]
    return steps["input"] * steps["mask"] * steps["scale"]


@pytest.mark.parametrize("training", [False, True])
def test_activations_joins_and_noise_are_what_their_equations_and_graphs_say(
    new_kinds: Shown, arithmetic: ArithmeticPage, training: bool
) -> None:
    page = new_kinds
    page.show()
    images = some_images(page, 1, training)
    for layer in page.network["layers"]:
        name, kind = layer["name"], layer["kind"]
        if kind in ("flatten", "dense"):
            continue
        place = (1, 2) if len(layer["shape"]) == 3 else (0, 4)
        nodes = graph_of(page, name, ".view-stage .output-picture" if kind in ONE_CHOICE else SECOND, place)
        steps, outputs = page.steps(), page.activations(name)
        index = (*place, 0) if outputs.ndim == 3 else place[1:]
        output = float(outputs[index])
        assert steps["output"] == output, name
        if kind in JOINED:
            assert JOINED[kind]([value for step, value in steps.items() if step.startswith("input")]) == pytest.approx(
                output
            ), name
        elif kind == "softmax":
            assert steps["exponential"] / steps["sum"] == pytest.approx(output, rel=1e-5), name
        elif "normalized" in steps:
            scaled = (steps["value"] - steps.get("mean", 0)) / steps["deviation"] * steps.get("gamma", 1) + steps.get("beta", 0)
            assert scaled == pytest.approx(output, abs=1e-5), name
        elif "scale" in steps and "offset" in steps:
            assert steps["input"] * steps["scale"] + steps["offset"] == pytest.approx(output, abs=1e-6), name
        elif "conv" in kind:
            assert steps["sum"] + steps["bias"] == pytest.approx(steps.get("before", output), abs=1e-5), name
        elif kind == "up_sampling2d":
            assert steps["sum"] == pytest.approx(output, abs=1e-6), name
        elif "rate" in layer["fields"] or "stddev" in layer["fields"]:
            assert (noisy(kind, steps) if training else steps["input"]) == pytest.approx(output, abs=1e-6), name
        assert nodes[-1]["value"] == pytest.approx(output, abs=1e-5), name
        target = {"kind": "value", "layer": name, "index": int(np.ravel_multi_index(index, outputs.shape))}
        gradients = arithmetic.compute(page.network, page.weights, images, target, training=training, seed=1)["gradients"]
        if kind in JOINED:
            adjoints = {source: sum(node["adjoint"] for node in nodes if node["label"] == source) for source in layer["inputs"]}
            expected = {source: float(np.sum(gradients[source][0][index])) for source in layer["inputs"]}
            direct = {*layer["inputs"]} - SEEN_TWICE.get(name, set())
            assert all(adjoints[each] == pytest.approx(expected[each], abs=1e-5) for each in direct), name
        else:
            found = inputs_of_graph(page, nodes)
            assert {where: pytest.approx(float(gradients[layer["inputs"][0]][0][where]), abs=1e-5) for where in found} == found
    assert page.browser.events.errors == []


SEEN_TWICE = {"mean": {"conv"}, "high": {"conv"}, "low": {"smooth"}}
"""Inputs of joins that act on the value through another input too, so that their gradient is larger."""


# --- the page as a whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "width", "theme"),
    [
        ("every_kind", 360, "dark"),
        ("every_kind", 1280, "light"),
        ("new_kinds", 360, "light"),
        ("channels_first", 3840, "light"),
    ],
)
def test_every_view_fits_into_the_window(request: pytest.FixtureRequest, network: str, width: int, theme: str) -> None:
    page: Shown = request.getfixturevalue(network)
    page.show(width, theme)
    for layer in page.network["layers"]:
        page.open(layer["name"])
        page.open_sections()
        assert page.sentence(), layer["name"]
        beyond = page.read("""(() => { const edge = document.querySelector('.detail-panel').getBoundingClientRect().right + 1;
          return [...document.querySelectorAll('.view *')].filter((each) => !each.closest('.products-scroll, .graph-scroll, .marks')
            && each.getBoundingClientRect().right > edge).map((each) => `${each.tagName} ${each.getAttribute('class')}`); })()""")
        assert beyond == [], layer["name"]
    assert page.browser.events.errors == []
    assert page.browser.events.requests == [page.file.as_uri()]
