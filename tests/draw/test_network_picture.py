"""The picture of a network shows its shapes to scale, its windows, its connections and its costs."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from math import ceil, log2, prod
from pathlib import Path

import pytest

from cnnctl.draw.boxes import COLOURS
from cnnctl.draw.labels import percent, short
from cnnctl.draw.network_picture import network_picture
from cnnctl.draw.routes import SIGNS
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.shapes import show_shape
from cnnctl.svg import width_of
from tests.custom import use_layers_of
from tests.draw.pictures import BRANCHES, FOLDED, IN_BLOCKS, Box, Picture, Text, experiment_of, random_stack

ROOT = Path(__file__).parents[2]
LAYOUTS = ("row", "column")
COMPLETE = ROOT / "configs/complete-cnn.yaml"
OPTIONS = """
- zero_padding2d: {name: padded, padding: [[1, 2], [0, 3]]}
- conv2d: {name: dilated, filters: 20, kernel_size: [3, 2], dilation_rate: [2, 3]}
- conv2d: {name: strided, filters: 33, kernel_size: 5, strides: [2, 3], padding: same}
- average_pooling2d: {name: pooled, pool_size: 3, strides: 2, padding: same}
- conv2d: {name: large, filters: 4, kernel_size: 9, padding: same}
- max_pooling2d: {name: last}
- flatten
- dense: {name: few, units: 7}
- dense: {name: many, units: 700}
- dense: {name: answer, units: classes}
"""


def drawn(experiment: Experiment, layout: str = "row") -> Picture:
    return Picture(network_picture(experiment, "a network", layout))


def maps_of(experiment: Experiment) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the outputs of all layers, and of the input."""
    network = experiment.network
    return {"input": network.image} | {each.name: each.output_shape for each in network.facts}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layers", [OPTIONS, BRANCHES, FOLDED], ids=["options", "branches", "folded"])
def test_every_map_is_drawn_to_one_scale(layers: str, layout: str, tmp_path: Path) -> None:
    experiment = experiment_of(layers, tmp_path)
    shapes, boxes = maps_of(experiment), drawn(experiment, layout).boxes
    pixel = boxes["input"].width / shapes["input"][1]
    assert pixel > 2
    maps = {name: box for name, box in boxes.items() if len(shapes[name]) == 3}
    assert len(maps) > 3
    for name, box in maps.items():
        assert (box.height, box.width) == pytest.approx([side * pixel for side in shapes[name][:2]], abs=0.02), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_as_long_as_the_logarithm_of_their_values(layout: str, tmp_path: Path) -> None:
    experiment = experiment_of(OPTIONS, tmp_path)
    shapes, boxes = maps_of(experiment), drawn(experiment, layout).boxes
    lengths = {name: max(box.width, box.height) for name, box in boxes.items() if len(shapes[name]) == 1}
    assert set(lengths) == {"flatten", "few", "many", "answer"}
    units = [length / log2(1 + shapes[name][0]) for name, length in lengths.items()]
    assert units == pytest.approx([units[0]] * 4, rel=1e-3)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_depth_shows_the_logarithm_of_the_channels_in_both_data_formats(data_format: str, tmp_path: Path) -> None:
    layers = "- conv2d: {name: a, filters: 3, kernel_size: 1}\n- conv2d: {name: b, filters: 255, kernel_size: 1}\n- flatten"
    picture = drawn(experiment_of(f"{layers}\n- dense: {{units: classes}}", tmp_path, "[9, 12]", data_format))
    assert picture.boxes["b"].width / picture.boxes["b"].height == pytest.approx(12 / 9, rel=1e-3)
    depths = {}
    for group in picture.all("g", "box"):
        top = [each for each in group if "top" in each.get("class", "").split()]
        corners = [point.split(",") for each in top for point in each.attrib["points"].split()]
        depths[group.attrib["data-layer"]] = float(corners[1][0]) - float(corners[0][0]) if corners else 0.0
    assert depths["b"] / depths["a"] == pytest.approx(8 / 2, rel=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layers", [OPTIONS, BRANCHES, FOLDED], ids=["options", "branches", "folded"])
def test_every_box_has_its_name_and_shape_and_every_layer_is_named(layers: str, layout: str, tmp_path: Path) -> None:
    experiment = experiment_of(layers, tmp_path)
    picture = drawn(experiment, layout)
    for name in picture.boxes:
        assert picture.labels[name][:2] == [name, show_shape(maps_of(experiment)[name])]
    titles = " ".join(each.text or "" for each in picture.all("title"))
    folded = {"_2", "_3", "_4"} if layers == FOLDED else set()
    hidden = {name for name in maps_of(experiment) if name[-2:] in folded and name[:-2] in ("start", "change", "norm", "sum")}
    assert [name for name in maps_of(experiment) if name not in hidden and f"{name}:" not in titles] == []
    described = picture.root.findtext("{http://www.w3.org/2000/svg}desc") or ""
    assert [each.name for each in experiment.network.facts if f"{each.name} ({each.kind})" not in described] == []


@pytest.mark.parametrize("layers", [OPTIONS, BRANCHES, FOLDED, IN_BLOCKS], ids=["options", "branches", "folded", "blocks"])
def test_the_shares_are_those_of_the_layers_and_sum_to_the_whole(layers: str, tmp_path: Path) -> None:
    experiment = experiment_of(layers, tmp_path)
    picture, network = drawn(experiment), experiment.network
    for what, counts in (
        ("parameters", [each.parameters for each in network.facts]),
        ("MACs", [each.macs for each in network.facts]),
    ):
        bars = [float(each.attrib["width"]) for each in picture.all("rect", "share") if each.attrib["data-share"] == what]
        starts = [float(each.attrib["x"]) for each in picture.all("rect", "share") if each.attrib["data-share"] == what]
        assert starts[0] + sum(bars) == pytest.approx(picture.width - 24, abs=0.1)
        assert all(end == pytest.approx(start, abs=0.02) for end, start in zip(map(sum, zip(starts, bars)), starts[1:]))  # noqa: B905
        total = sum(counts)
        own = [count for count in counts if count]
        if layers == OPTIONS:  # no layer is drawn with another
            assert [bar / sum(bars) for bar in bars] == pytest.approx([count / total for count in own], abs=1e-3)
    lines = [line for own in picture.labels.values() for line in own if line.endswith(" of all")]
    percents = [float(line.removeprefix("< ").split()[0]) for line in lines]
    assert sum(percents) == pytest.approx(100, abs=0.05 * len(percents) + 0.01)


def test_costs_are_formatted_with_their_digits() -> None:
    assert [short(count) for count in (7, 999, 1000, 12_345, 3_276_800, 2 * 10**9)] == [
        "7",
        "999",
        "1 k",
        "12.3 k",
        "3.28 M",
        "2 G",
    ]
    assert [percent(*each) for each in ((1, 3), (1, 100_000), (0, 5), (5, 5))] == ["33.3 %", "< 0.1 %", "0.0 %", "100.0 %"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_and_their_values_are_where_the_arithmetic_puts_them(layout: str, tmp_path: Path) -> None:
    """TensorFlow's rule for `same`, written out here, against the rectangles of the picture."""
    experiment = experiment_of(OPTIONS, tmp_path)
    network, picture = experiment.network, drawn(experiment, layout)
    shapes, boxes = maps_of(experiment), picture.boxes
    pixel = boxes["input"].width / shapes["input"][1]
    windows = {each.attrib["data-layer"]: each for each in picture.all("rect", "window")}
    values = {each.attrib["data-layer"]: each for each in picture.all("rect", "value")}
    sliding = [node for node in network.nodes if isinstance(node.layer, L.Convolution | L.Pooling)]
    assert set(windows) == set(values) == {node.name for node in sliding}
    for node in sliding:
        layer = node.layer
        size = layer.pool_size if isinstance(layer, L.Pooling) else layer.kernel_size  # type: ignore[attr-defined]
        strides = layer.strides or size  # type: ignore[attr-defined]
        dilation = getattr(layer, "dilation_rate", (1, 1))
        for axis, (start, side) in enumerate((("y", "height"), ("x", "width"))):
            before, after = boxes[node.inputs[0]], boxes[node.name]
            origin = [(before.top, before.left), (after.top, after.left)]
            first = (float(windows[node.name].attrib[start]) - origin[0][axis]) / pixel
            extent = float(windows[node.name].attrib[side]) / pixel
            place = (float(values[node.name].attrib[start]) - origin[1][axis]) / pixel
            pixels = shapes[node.inputs[0]][axis]
            spans = (size[axis] - 1) * dilation[axis] + 1
            outputs = ceil(pixels / strides[axis])
            pad = max((outputs - 1) * strides[axis] + spans - pixels, 0) // 2 if layer.padding == "same" else 0  # type: ignore[attr-defined]
            assert extent == pytest.approx(spans, abs=0.02), node.name
            assert 0 <= round(place) < shapes[node.name][axis]
            assert first == pytest.approx(round(place) * strides[axis] - pad, abs=0.02), node.name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_window_of_a_transposed_convolution_is_on_its_output(padding: str, layout: str, tmp_path: Path) -> None:
    layer = f"conv2d_transpose: {{name: up, filters: 4, kernel_size: 4, strides: 2, padding: {padding}}}"
    experiment = experiment_of(f"- max_pooling2d: {{name: half}}\n- {layer}\n- flatten\n- dense: {{units: classes}}", tmp_path)
    picture = drawn(experiment, layout)
    boxes, crop = picture.boxes, 1 if padding == "same" else 0
    unit = boxes["input"].width / maps_of(experiment)["input"][1]
    taken, reached = (next(each for each in picture.all("rect", kind) if each.attrib["data-layer"] == "up") for kind in ("window", "value"))  # fmt: skip
    for start, side, before, after in (
        ("y", "height", boxes["half"].top, boxes["up"].top),
        ("x", "width", boxes["half"].left, boxes["up"].left),
    ):
        assert float(taken.attrib[side]) / unit == pytest.approx(1, abs=0.02)
        assert float(reached.attrib[side]) / unit == pytest.approx(4, abs=0.02)
        place = round((float(taken.attrib[start]) - before) / unit)
        assert (float(reached.attrib[start]) - after) / unit == pytest.approx(2 * place - crop, abs=0.02)


@pytest.mark.parametrize("layers", [OPTIONS, BRANCHES], ids=["options", "branches"])
def test_connections_are_those_of_the_network(layers: str, tmp_path: Path) -> None:
    experiment = experiment_of(layers, tmp_path)
    sheets = {"norm": "middle", "active": "middle"}
    expected = sorted(
        (sheets.get(name, name), node.name)
        for node in experiment.network.nodes
        if node.name not in sheets
        for name in node.inputs
    )
    assert sorted(drawn(experiment).edges) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_connections_start_and_end_at_their_boxes_and_a_join_has_one_for_each_input(layout: str, tmp_path: Path) -> None:
    picture = drawn(experiment_of(BRANCHES, tmp_path), layout)
    boxes = picture.boxes
    assert [end for _, end in picture.edges].count("sum") == 3
    assert [end for _, end in picture.edges].count("twice") == 2
    paths = list(picture.all("path", "edge"))
    assert len({each.attrib["d"] for each in paths}) == len(paths)  # none hides another
    for each in paths:
        (x, y), *_, (to_x, to_y) = points_of(each.attrib["d"])
        start, end = boxes[each.attrib["data-from"]], boxes[each.attrib["data-to"]]
        assert start.left < x < start.right and start.top < y < start.bottom
        near = 45 if layout == "column" else 25
        assert end.left - near < to_x < end.right and end.top - near < to_y < end.bottom


def points_of(path: str) -> list[tuple[float, float]]:
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


STACKS = {"options": OPTIONS, "branches": BRANCHES, "folded": FOLDED, "blocks": IN_BLOCKS} | {
    f"seed {seed}": random_stack(seed) for seed in range(12)
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
def test_no_text_covers_another_text_or_a_box_and_no_connection_crosses_a_box(layers: str, layout: str, tmp_path: Path) -> None:
    picture = drawn(experiment_of(layers, tmp_path), layout)
    texts, boxes = picture.texts(), picture.boxes
    assert [(a.content, b.content) for a, b in itertools.combinations(texts, 2) if a.meets(b)] == []
    signs = {"+", "∥"}
    assert [(text.content, box.layer) for text in texts for box in boxes.values() if text.content not in signs and text.meets(box)] == []  # fmt: skip
    for each in picture.all("path", "edge"):
        ends = {each.attrib["data-from"], each.attrib["data-to"]}
        points = points_of(each.attrib["d"])
        for (x, y), (to_x, to_y) in itertools.pairwise(points):
            for name, box in boxes.items():
                outside = max(x, to_x) <= box.left or min(x, to_x) >= box.right or max(y, to_y) <= box.top or min(y, to_y) >= box.bottom  # fmt: skip
                assert name in ends or outside, (each.attrib, name)


@pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)
def test_a_row_fits_a_slide_and_a_column_a_page_and_nothing_is_outside(layers: str, tmp_path: Path) -> None:
    experiment = experiment_of(layers, tmp_path)
    row, column = drawn(experiment, "row"), drawn(experiment, "column")
    assert row.height <= row.width * 9 / 16 + 0.02
    assert column.height <= column.width * 297 / 210 + 0.02
    for picture in (row, column):
        x, y = picture.shift
        ends: list[Text | Box] = [*picture.texts(), *picture.boxes.values()]
        assert min(each.left for each in ends) + x >= 0 and max(each.right for each in ends) + x <= picture.width
        assert min(each.top for each in ends) + y >= 0 and max(each.bottom for each in ends) + y <= picture.height
        points = [point for each in picture.all("path", "edge") for point in points_of(each.attrib["d"])]
        assert all(0 <= a + x <= picture.width and 0 <= b + y <= picture.height for a, b in points)


def test_long_networks_are_broken_into_rows(tmp_path: Path) -> None:
    layers = "\n".join(f"- conv2d: {{filters: {8 + number}, kernel_size: 3, padding: same}}" for number in range(30))
    picture = drawn(experiment_of(f"{layers}\n- flatten\n- dense: {{units: classes}}", tmp_path))
    rows = {round((box.top + box.bottom) / 2) for box in picture.boxes.values()}
    assert 3 <= len(rows) <= 6
    assert picture.height <= picture.width * 9 / 16 + 0.02


def test_equal_rounds_are_folded_and_others_are_drawn_each(tmp_path: Path) -> None:
    experiment = experiment_of(FOLDED, tmp_path)
    picture = drawn(experiment)
    assert set(picture.boxes) == {
        "input", "conv2d", "start_1", "change_1", "sum_1", "wide_1", "half_1", "wide_2", "half_2", "flatten", "dense",
    }  # fmt: skip
    labels = [each.text for each in picture.all("text") if (each.text or "").startswith("repeat ")]
    assert labels == ["repeat × 4", "repeat 1 of 2", "repeat 2 of 2"]
    each = 8 * 8 * 9 + 8 + 4 * 8  # with its batch norm
    assert f"4 × {each:,} parameters" in picture.labels["change_1"]
    assert {("sum_1", "wide_1"), ("conv2d", "start_1"), ("start_1", "sum_1"), ("change_1", "sum_1")} <= set(picture.edges)
    assert prod(picture.edges.count(edge) for edge in picture.edges) == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("- conv2d: {name: later, inputs: [sum_2], filters: 8, kernel_size: 1}\n- add: {inputs: [later, sum_4]}", "used later"),
        ("", "none"),
    ],
    ids=["used", "not used"],
)
def test_rounds_that_a_later_layer_takes_from_are_all_drawn(changed: str, reason: str, tmp_path: Path) -> None:
    start, middle, end = FOLDED.partition("- repeat:\n    times: 2\n")
    boxes = drawn(experiment_of(f"{start}{changed}\n{middle}{end}", tmp_path)).boxes
    assert ("sum_3" in boxes) == (reason == "used later")


def test_nested_repeats_are_folded_from_the_inside(tmp_path: Path) -> None:
    inner = "- repeat:\n    times: 2\n    layers:\n      - repeat:\n          times: 3\n          layers:\n"
    stack = f"- conv2d: {{filters: 4, kernel_size: 1}}\n{inner}            - conv2d: {{name: x, filters: 4, kernel_size: 1}}\n"
    picture = drawn(experiment_of(f"{stack}- flatten\n- dense: {{units: classes}}", tmp_path))
    assert set(picture.boxes) == {"input", "conv2d", "x_1_1", "flatten", "dense"}
    assert "6 × 20 parameters" in picture.labels["x_1_1"]
    labels = [each.text for each in picture.all("text") if (each.text or "").startswith("repeat ")]
    assert labels == ["repeat × 2", "repeat × 3"]


HOSTILE = '</title><script>alert(1)</script>"&\' onload="x" \u2028]]>'


def test_a_hostile_title_is_text(tmp_path: Path) -> None:
    picture = Picture(network_picture(experiment_of(BRANCHES, tmp_path), HOSTILE))
    assert HOSTILE in {each.text for each in picture.all("text")}
    assert [
        each.tag for each in picture.root.iter() if "script" in each.tag or any("on" in key[:2] for key in each.attrib)
    ] == []


def test_the_theme_is_that_of_the_viewer_unless_it_is_set(tmp_path: Path) -> None:
    experiment = experiment_of(BRANCHES, tmp_path)
    auto, light, dark = (network_picture(experiment, "x", "row", theme) for theme in ("auto", "light", "dark"))
    assert ("prefers-color-scheme" in auto, "prefers-color-scheme" in light, "prefers-color-scheme" in dark) == (
        True,
        False,
        False,
    )
    assert (".paper{fill:#ffffff}" in light, ".paper{fill:#12181f}" in dark) == (True, True)
    assert "#12181f" not in light and "#ffffff" not in dark


def test_the_picture_of_the_complete_cnn_has_the_shapes_of_its_page() -> None:
    boxes = drawn(load(COMPLETE)).boxes
    sides = [round(box.height / boxes["input"].height * 28) for box in boxes.values()]
    assert sides[:5] == [28, 24, 12, 8, 4]


def test_drawing_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib", "numpy", "PIL", "cairosvg")
    program = (
        "import sys\nfrom cnnctl.cli import app\n"
        f"app(['draw', {str(COMPLETE)!r}, '-o', 'x.svg'], standalone_mode=False)\n"
        f"app(['draw', {str(COMPLETE)!r}, '--layer', 'conv2d', '-o', 'y.svg'], standalone_mode=False)\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "x.svg").read_text().endswith("</svg>\n") and (tmp_path / "y.svg").exists()


VALUES = ["rescaling: {scale: 2}", "relu", "leaky_relu", "prelu", "elu", "softmax", *(f"{kind}: {{rate: 0.5}}" for kind in ("spatial_dropout2d", "gaussian_dropout", "alpha_dropout")), "gaussian_noise: {stddev: 0.5}"]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("join", ["add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate"])
def test_every_join_has_its_sign_before_a_box_with_two_inputs(join: str, layout: str, tmp_path: Path) -> None:
    layers = f"- conv2d: {{name: a, filters: 4, kernel_size: 1}}\n- conv2d: {{name: b, filters: 4, kernel_size: 3, padding: same}}\n- {join}: {{name: j, inputs: [a, b]}}\n- flatten\n- dense: {{units: classes}}"  # fmt: skip
    picture = drawn(experiment_of(layers, tmp_path), layout)
    assert SIGNS[join] in [each.content for each in picture.texts()]
    assert len([each for each in picture.all("path", "edge") if each.attrib["data-to"] == "j"]) == 2


@pytest.mark.parametrize("layer", VALUES)
def test_a_layer_that_changes_values_only_is_a_sheet_with_its_name(layer: str, tmp_path: Path) -> None:
    layers = f"- conv2d: {{name: a, filters: 4, kernel_size: 1}}\n- {layer}\n- flatten\n- dense: {{units: classes}}"
    picture = drawn(experiment_of(layers, tmp_path))
    kind = layer.partition(":")[0]
    assert set(picture.boxes) == {"input", "a", "flatten", "dense"}
    assert [each for each in picture.texts() if each.content.startswith(f"+ {kind.removesuffix('2d').replace('_', ' ')}")]


def test_a_layer_of_every_kind_is_drawn() -> None:
    kinds = {layer.kind for layer in L.LAYERS}
    assert kinds - set(COLOURS) == {"dropout", "activation", "batch_normalization"} - set(COLOURS)
    assert {layer.kind for layer in L.LAYERS if issubclass(layer, L.Join)} == set(SIGNS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_long_title_ends_inside_the_picture(layout: str, tmp_path: Path) -> None:
    experiment = experiment_of("- flatten\n- dense: {units: classes}", tmp_path)
    picture = Picture(network_picture(experiment, "w" * 500, layout))
    title = next(each for each in picture.all("text") if "www" in (each.text or ""))
    assert "…" in str(title.text)
    assert float(title.attrib["x"]) + width_of(str(title.text), float(title.attrib["font-size"])) <= picture.width


PATHS = sorted((ROOT / "configs").glob("*.yaml"))
NETWORKS = [
    *(pytest.param(path, id=path.stem) for path in PATHS),
    *(pytest.param(seed, id=f"random {seed}") for seed in range(12)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_nothing_comes_near_the_bars_and_all_text_ends_inside(network: Path | int, layout: str, tmp_path: Path) -> None:
    picture = drawn(
        load(use_layers_of(network)) if isinstance(network, Path) else experiment_of(random_stack(network), tmp_path), layout
    )
    bars = min(float(each.attrib["y"]) for each in picture.all("rect", "share"))
    paths = [re.findall(r"[-\d.]+ ([-\d.]+)", each.attrib["d"]) for each in picture.all("path", "edge")]
    assert max(float(y) for path in paths for y in path) + picture.shift[1] < bars - 18
    for each in picture.all("text"):
        if each.get("text-anchor") is None and "data-of" not in each.attrib:
            assert float(each.attrib["x"]) + width_of(each.text or "", float(each.get("font-size", 13))) < picture.width
            assert float(each.attrib["y"]) < picture.height - 8


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_bracket_is_longer_than_its_label(network: Path | int, layout: str, tmp_path: Path) -> None:
    picture = drawn(
        load(use_layers_of(network)) if isinstance(network, Path) else experiment_of(random_stack(network), tmp_path), layout
    )
    lengths = []
    for each in picture.all("polyline", "bracket"):
        _, start, end, _ = (tuple(map(float, corner.split(","))) for corner in each.attrib["points"].split())
        lengths.append(abs(end[0] - start[0]) + abs(end[1] - start[1]))
    labels = [
        each for each in picture.all("text", "purple") if each.get("font-weight") == "bold" and each.text not in SIGNS.values()
    ]
    assert len(labels) == len(lengths)
    for label, length in zip(labels, lengths, strict=True):
        assert width_of(label.text or "", 11.5) <= length


def test_a_difference_names_what_is_subtracted_from_what(tmp_path: Path) -> None:
    layers = "- conv2d: {name: first_of_the_layers, filters: 4, kernel_size: 1}\n- conv2d: {name: b, filters: 4, kernel_size: 1}\n- subtract: {name: one, inputs: [b, first_of_the_layers]}\n- flatten\n- dense: {units: classes}"  # fmt: skip
    assert "b − first_o…layers" in drawn(experiment_of(layers, tmp_path)).labels["one"]
