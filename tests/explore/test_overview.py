"""The overview of an explore page in a real browser: every layer, map and line is there, and every switch does what it says."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.explore.bundle import FOLDER, joined_script
from cnnctl.explore.page import page_of
from cnnctl.explore.page_data import Content, content_of_config
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

BRANCHES = """
data: {source: digits, validation: 0.1}
model:
  style: functional
  layers:
    - conv2d: {name: stem, filters: 40, kernel_size: 3, padding: same, activation: relu}
    - conv2d: {name: one, inputs: [stem], filters: 8, kernel_size: 1}
    - conv2d: {name: narrow, inputs: [stem], filters: 3, kernel_size: 1, activation: relu}
    - conv2d: {name: three, filters: 16, kernel_size: 3, padding: same}
    - average_pooling2d: {name: pool, inputs: [stem], pool_size: 3, strides: 1, padding: same}
    - concatenate: {name: mixed, inputs: [one, three, pool, stem]}
    - repeat:
        times: 2
        layers:
          - conv2d: {filters: 5, kernel_size: 3, padding: same, use_bias: false}
          - repeat:
              times: 2
              layers:
                - batch_normalization
                - activation: {activation: relu}
    - flatten: {name: short}
    - flatten: {name: long, inputs: [mixed]}
    - concatenate: {name: vector, inputs: [short, long]}
    - dropout: {rate: 0.25}
    - dense: {units: classes}
train: {epochs: 1, batch_size: 32, optimizer: {adam: {learning_rate: 0.001}}}
"""
SHARES = "[...document.querySelectorAll('.class-row')].map((row) => row.querySelector('.class-value').textContent)"
STILL = """new Promise((done) => {
  const place = () => `${scrollY} ${document.querySelector(".network").scrollLeft}`;
  let [last, calm] = [place(), 0];
  const look = () => {
    calm = place() === last ? calm + 1 : 0;
    last = place();
    if (calm < 4) requestAnimationFrame(look);
    else done();
  };
  look();
})"""
"""A promise that is kept when nothing scrolls."""
COLUMN = "document.querySelector('.column[data-layer={0}]')"


def experiment_of(folder: Path) -> Experiment:
    config = folder / "branches.yaml"
    config.write_text(BRANCHES, encoding="utf-8")
    return load(config)


def with_zeros(content: Content) -> tuple[dict[str, Any], bytes]:
    """Add a set of weights that are all zero, as if it were kept before the training."""
    snapshots = [{"label": "before training", "epoch": 0, "set": 0}, {"label": "epoch 1", "epoch": 1, "set": 1}]
    return {**content.data, "snapshots": snapshots}, bytes(len(content.weights)) + content.weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Experiment:
    return experiment_of(folder)


@pytest.fixture(scope="module")
def content(folder: Path, experiment: Experiment) -> Content:
    return content_of_config(experiment, folder / "branches.yaml", 20)


@pytest.fixture(scope="module")
def address(folder: Path, content: Content) -> str:
    file = folder / "branches.html"
    file.write_bytes(page_of(*with_zeros(content)))
    return file.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser, address: str) -> Browser:
    """The page with branches, opened anew, in a window that is wide enough for columns."""
    return opened(chromium, address)


def opened(browser: Browser, address: str, width: int = 1280, height: int = 900, theme: str = "light") -> Browser:
    browser.show_as(width, height, theme)
    browser.open_loaded(address)
    settle(browser)
    return browser


def click(page: Browser, element: str) -> None:
    """Clicks the middle of an element, as a mouse does."""
    script = f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}}); const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
    page.click(*page.compute(script))
    settle(page)


def settle(page: Browser) -> None:
    """Waits until the page shows what was set, scrolls no more, and has painted the columns that came into the window."""
    page.compute("cnnctl.drawn()")
    page.compute(STILL)
    page.settle(2)


def canvas_of(page: Browser, layer: str) -> NDArray[np.uint8]:
    """Returns the pixels (H, W, 4) of a layer's first map, which must be in the window to be painted."""
    column = COLUMN.format(layer)
    page.compute(f"{column}.scrollIntoView({{inline: 'center', behavior: 'instant'}})")
    settle(page)
    canvas = f"{column}.querySelector('canvas')"
    width = page.compute(f"{canvas}.width")
    return np.asarray(page.compute(pixels_of(canvas)), np.uint8).reshape(-1, width, 4)


def activations(page: Browser, layer: str) -> NDArray[np.float64]:
    answer = page.compute(f"cnnctl.activations({layer!r})")
    return np.asarray(answer["values"]).reshape(answer["shape"])


def button(text: str) -> str:
    return f"[...document.querySelectorAll('button')].find((each) => each.textContent === {text!r})"


# What is there


def test_every_layer_has_a_column_with_its_shape_and_costs(page: Browser, experiment: Experiment) -> None:
    script = "Object.fromEntries([...document.querySelectorAll('.column')].map((each) => [each.dataset.layer, each.innerText]))"
    texts = page.compute(script)
    network = experiment.network
    assert list(texts) == ["input", *[node.name for node in network.nodes]]
    for node, facts in zip(network.nodes, network.facts, strict=True):
        text = texts[node.name]
        shape = ", ".join(map(str, facts.output_shape))
        assert f"({shape}{',' * (len(facts.output_shape) == 1)})" in text
        assert node.layer.kind in text or node.name.startswith(node.layer.kind)
        if facts.parameters:
            assert f"{facts.parameters:,} parameter" in text, text
        if facts.macs:
            assert f"{facts.macs:,} MACs" in text or f"{facts.macs / 1e6:.2f} M MACs" in text, text


def test_paging_reaches_every_map_of_every_layer(page: Browser, experiment: Experiment) -> None:
    script = """(() => {
      const found = {};
      for (const column of document.querySelectorAll(".column:not(.kind-input)")) {
        const labels = new Set();
        for (let page = 0; page < 100; page++) {
          for (const map of column.querySelectorAll(".map")) labels.add(map.getAttribute("aria-label"));
          const next = column.querySelector(".pager .arrow:last-child");
          if (next.disabled) break;
          next.click();
        }
        found[column.dataset.layer] = [...labels];
      }
      return found;
    })()"""
    found = page.compute(script)
    for node, facts in zip(experiment.network.nodes, experiment.network.facts, strict=True):
        if len(facts.output_shape) == 3:
            channels = facts.output_shape[2]
            assert found[node.name] == [f"map {index} of {node.name}, 0 to {channels - 1}" for index in range(channels)]
    assert page.compute(f"{COLUMN.format('long')}.querySelector('.pager').textContent") == "‹3–3 of 4›"


def test_a_page_of_maps_says_which_of_how_many_it_shows(page: Browser) -> None:
    stem = COLUMN.format("stem")
    assert page.compute(f"{stem}.querySelector('.pager').textContent") == "‹0–15 of 40›"
    click(page, f"{stem}.querySelector('.pager .arrow:last-child')")
    assert page.compute(f"{stem}.querySelector('.pager').textContent") == "‹16–31 of 40›"


def test_maps_on_the_second_page_show_their_own_values(page: Browser) -> None:
    stem = COLUMN.format("stem")
    click(page, f"{stem}.querySelector('.pager .arrow:last-child')")
    values = activations(page, "stem")
    for place in (0, 5, 15):
        opaque = page.compute(pixels_of(f"{stem}.querySelectorAll('canvas')[{place}]"))
        shown = np.asarray(opaque).reshape(8, 8, 4)[:, :, 2] < 250  # blue is what orange lacks
        expected = values[:, :, 16 + place] > 0.1 * values.max()
        assert (shown | ~expected).all()
        assert not (shown & (values[:, :, 16 + place] == 0)).any()


def pixels_of(canvas: str) -> str:
    return f"(() => {{ const c = {canvas}; return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }})()"


def test_every_connection_of_the_config_has_a_line(page: Browser, experiment: Experiment) -> None:
    lines = page.compute("[...document.querySelectorAll('.line')].map((each) => [each.dataset.from, each.dataset.to])")
    assert sorted(map(tuple, lines)) == sorted((name, node.name) for node in experiment.network.nodes for name in node.inputs)


LINES = """(() => {
  const box = (element) => element.getBoundingClientRect();
  const heads = new Map([...document.querySelectorAll(".column")].map((each) => [each.dataset.layer, each.querySelector(".column-head")]));
  const origin = box(document.querySelector(".lines"));
  return [...document.querySelectorAll(".line")].map((line) => {
    const { from, to } = line.dataset;
    const length = line.getTotalLength();
    const points = Array.from({ length: 200 }, (_, index) => line.getPointAtLength((length * index) / 199)).map(({ x, y }) => [x + origin.x, y + origin.y]);
    const others = [...document.querySelectorAll(".column")];
    const crossed = others.filter((each) => { const b = box(each); return points.some(([x, y]) => x > b.left + 1 && x < b.right - 1 && y > b.top && y < b.bottom); });
    const start = box(heads.get(from)), end = box(heads.get(to));
    return { from, to, crossed: crossed.map((each) => each.dataset.layer), first: points[0], last: points.at(-1), start: [start.left, start.right, start.top, start.bottom], end: [end.left, end.right, end.top, end.bottom] };
  });
})()"""


@pytest.mark.parametrize("width", [1280, 3840, 360])
def test_lines_join_the_heads_of_their_layers_and_cross_no_other_column(chromium: Browser, address: str, width: int) -> None:
    page = opened(chromium, address, width)
    for line in page.compute(LINES):
        assert line["crossed"] == [], line
        out, into = line["start"][0 if width == 360 else 1], line["end"][0]
        assert line["first"][0] == pytest.approx(out, abs=1)
        assert line["last"][0] == pytest.approx(into, abs=1)
        assert line["start"][2] < line["first"][1] < line["start"][3]
        assert line["end"][2] < line["last"][1] < line["end"][3]


def test_branches_lie_close_below_the_columns_above_them(page: Browser) -> None:
    script = "Object.fromEntries([...document.querySelectorAll('.column')].map((each) => [each.dataset.layer, [each.offsetTop, each.offsetTop + each.offsetHeight]]))"
    sides = page.compute(script)
    assert 0 < sides["narrow"][0] - sides["one"][1] <= 24
    assert 0 < sides["pool"][0] - max(sides["narrow"][1], sides["three"][1]) <= 24


def test_repeats_are_bracketed_with_their_rounds(page: Browser) -> None:
    texts = page.compute("[...document.querySelectorAll('.bracket')].map((each) => each.textContent)")
    assert len(texts) == 6  # two rounds, each with two inner ones
    assert all(re.search(r"repeat.*round [12]$", text) for text in texts)
    inner = "[...document.querySelectorAll('.bracket')].map((each) => [each.style.gridColumnStart, each.style.gridColumnEnd, each.style.gridRowStart].map(Number))"
    spans = page.compute(inner)
    outer = [span for span in spans if span[2] == 1]
    assert len(outer) == 2
    assert all(any(first <= start and end <= last for first, last, _ in outer) for start, end, _ in spans)


# Graphs in general

GRAPHS = """
import { arrange } from "./overview/graph.js";
window.arranged = (layers) => {
  const graph = arrange(layers);
  return { ...graph, cells: Object.fromEntries(graph.cells) };
};
"""


@pytest.fixture(scope="module")
def arranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("graphs")
    for name in ("arithmetic", "overview", "dom.js"):
        (folder / name).symlink_to(FOLDER / name)
    (folder / "entry.js").write_text(GRAPHS, encoding="utf-8")
    (folder / "page.html").write_text(f"<script>{joined_script(folder, 'entry.js')}</script>", encoding="utf-8")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open_loaded((folder / "page.html").as_uri())
        yield lambda layers: browser.compute(f"arranged({json.dumps(layers)})")


@pytest.mark.parametrize("seed", range(20))
def test_layers_and_lines_of_any_graph_have_places_of_their_own(arranged: Any, seed: int) -> None:
    choice = random.Random(seed)
    layers: list[dict[str, Any]] = []
    for number in range(choice.randint(1, 25)):
        names = ["input", *[layer["name"] for layer in layers]]
        inputs = choice.sample(names, min(len(names), choice.choice([1, 1, 2, 3])))
        layers.append({"name": f"layer{number}", "inputs": inputs, "group": []})
    graph = arranged(layers)
    cells = {name: (cell["depth"], cell["lane"]) for name, cell in graph["cells"].items()}
    assert len(set(cells.values())) == len(layers) + 1
    assert len(graph["edges"]) == sum(len(layer["inputs"]) for layer in layers)
    used = set(cells.values())
    tracks: list[tuple[int, int, int]] = []
    for edge in graph["edges"]:
        (start, lane), (end, other) = cells[edge["from"]], cells[edge["to"]]
        assert start < end
        if "lane" in edge:
            assert edge["lane"] in (lane, other)
            passed = {(depth, edge["lane"]) for depth in range(start + 1, end)}
            assert not passed & used
            used |= passed
        else:
            span = (edge["track"], start, end)
            assert all(track != span[0] or last <= start or first >= end for track, first, last in tracks)
            tracks.append(span)


def test_blocks_are_bracketed_and_those_side_by_side_below_each_other(arranged: Any) -> None:
    def layer(name: str, inputs: list[str], *blocks: tuple[str, int | None]) -> dict[str, Any]:
        return {"name": name, "inputs": inputs, "group": [[label, round_, label] for label, round_ in blocks]}

    layers = [
        layer("a/c", ["input"], ("a", None)),
        layer("b/c", ["a/c"], ("b", None)),
        layer("d/e/c", ["a/c"], ("d", None), ("d/e", None)),
        layer("d/f/c", ["d/e/c"], ("d", None), ("d/f", None)),
        layer("add", ["b/c", "d/f/c"]),
    ]
    brackets = {bracket["label"]: bracket for bracket in arranged(layers)["brackets"]}
    assert {label: (each["first"], each["last"]) for label, each in brackets.items()} == {
        "a": (1, 1), "b": (2, 2), "d": (2, 3), "d/e": (2, 2), "d/f": (3, 3)
    }  # fmt: skip
    assert {label: each["level"] for label, each in brackets.items()} == {"a": 0, "b": 0, "d": 1, "d/e": 2, "d/f": 2}
    assert [each["round"] for each in brackets.values()] == [None] * 5


BLOCKS = """
data: {source: digits}
model:
  style: functional
  blocks:
    unit:
      layers: [{conv2d: {filters: 4, kernel_size: 3, padding: same}}]
  layers:
    - unit
    - conv2d: {filters: 1, kernel_size: 1}
    - use: {layer: unit, name: again}
    - flatten
    - dense: {units: classes}
"""


def test_layers_in_a_block_have_their_local_names_and_shared_weights_their_owner(tmp_path: Path) -> None:
    (tmp_path / "blocks.yaml").write_text(BLOCKS, encoding="utf-8")
    content = content_of_config(load(tmp_path / "blocks.yaml"), tmp_path / "blocks.yaml", 2)
    file = tmp_path / "page.html"
    file.write_bytes(page_of(content.data, content.weights))
    with Browser(tmp_path / "profile") as browser:
        opened(browser, file.as_uri())
        heads = browser.compute("[...document.querySelectorAll('.column-head')].map((each) => [each.title, each.textContent])")
        assert ["unit/conv2d", "conv2d"] in heads and ["again/conv2d", "conv2d"] in heads
        texts = browser.compute("[...document.querySelectorAll('.bracket')].map((each) => each.textContent)")
        assert texts == ["unit", "again (unit)"]
        costs = browser.compute(
            "[...document.querySelectorAll('[data-layer=\\'again/conv2d\\'] .cost')].map((each) => each.textContent)"
        )
        assert costs == ["weights of unit/conv2d", "2,304 MACs"]


# Switches


def test_training_normalizes_by_the_statistics_of_the_batch_and_inference_by_the_moving_ones(page: Browser) -> None:
    page.compute("cnnctl.setBatch([Array.from({ length: 64 }, (_, index) => (index * 37 % 64) / 64)])")
    inference = activations(page, "batch_normalization")
    click(page, button("Training"))
    before, training = activations(page, "conv2d"), activations(page, "batch_normalization")
    normalized = (before - before.mean((0, 1))) / np.sqrt(before.var((0, 1)) + 0.001)
    np.testing.assert_allclose(training, normalized, atol=1e-4 * np.abs(normalized).max())
    np.testing.assert_allclose(
        inference, before / np.sqrt(1.001), atol=1e-4 * np.abs(before).max()
    )  # initial statistics: 0 and 1
    click(page, button("Inference"))
    np.testing.assert_array_equal(activations(page, "batch_normalization"), inference)


def test_the_batch_has_the_chosen_size_and_names_its_images(page: Browser, content: Content) -> None:
    click(page, button("Training"))
    count = "document.querySelectorAll('.batch-images li').length"
    assert page.compute(count) == 8
    page.compute(
        "(() => { const s = document.querySelector('select[aria-label=batch]'); s.value = '32'; s.dispatchEvent(new Event('change')); })()"
    )
    settle(page)
    assert page.compute(count) == 32
    labels = page.compute("[...document.querySelectorAll('.batch-images button')].map((each) => each.ariaLabel)")
    batch = content.data["batch"]
    assert labels == ["your image", *[f"{each['name']}, class {each['label']}" for each in batch[:31]]]


def test_dropout_drops_in_training_only_and_a_click_draws_other_masks(page: Browser) -> None:
    kept = activations(page, "vector")
    np.testing.assert_array_equal(activations(page, "dropout"), kept)
    click(page, button("Training"))
    masks = []
    for _ in range(2):
        before, after = activations(page, "vector"), activations(page, "dropout")
        survived = after != 0
        np.testing.assert_allclose(after[survived], before[survived] / 0.75, rtol=1e-5)
        masks.append(survived)
        click(page, button("New dropout masks"))
    assert (masks[0] != masks[1]).any()


def test_the_slider_moves_the_whole_page_to_the_weights_of_its_snapshot(page: Browser) -> None:
    assert len(set(page.compute(SHARES))) > 1
    page.compute("document.querySelector('.snapshots input').focus()")
    page.press("ArrowLeft")
    settle(page)
    assert page.compute("document.querySelector('.epoch').textContent") == "before training"
    assert page.compute(SHARES) == ["10.0 %"] * 10  # of weights that are all 0
    assert not activations(page, "stem").any()
    assert (canvas_of(page, "stem") == 255).all()
    page.press("ArrowRight")
    settle(page)
    assert activations(page, "stem").any()


def test_playing_shows_every_snapshot_from_the_first_to_the_last(page: Browser) -> None:
    click(page, "document.querySelector('.play')")
    texts = page.compute(
        """new Promise((done) => {
          const texts = [document.querySelector(".epoch").textContent];
          const watch = new MutationObserver(() => {
            texts.push(document.querySelector(".epoch").textContent);
            if (cnnctl.activations("stem").values.some(Boolean)) done(texts);
          });
          watch.observe(document.querySelector(".epoch"), { childList: true });
        })"""
    )
    assert texts[-2:] == ["before training", "epoch 1"]


def test_gradients_colour_each_map_by_the_gradient_of_the_chosen_class(page: Browser) -> None:
    click(page, button("Gradients"))
    page.compute("cnnctl.setTarget({class: 3})")
    settle(page)
    cells = canvas_of(page, "dense")[:, 0]
    assert [index for index, cell in enumerate(cells) if (cell != 255).any()] == [3]  # ∂ score 3 / ∂ score k
    assert page.compute("document.querySelectorAll('.kind-input figure canvas').length") == 3
    saliency = np.asarray(page.compute(pixels_of("document.querySelectorAll('.kind-input canvas')[1]")))
    assert (saliency != 255).any()
    click(page, button("Gradients"))
    cells = canvas_of(page, "dense")[:, 0]
    assert sum((cell != 255).any() for cell in cells) > 5


def test_a_class_that_is_pressed_becomes_the_target(page: Browser) -> None:
    click(page, button("Gradients"))
    click(page, "document.querySelectorAll('.class-row')[7]")
    target = "document.querySelector('select[aria-label=\"target of the gradients\"]')"
    assert page.compute(f"{target}.value") == "class 7"
    gradient = page.compute("cnnctl.gradients('dense')")["values"]
    assert gradient == [float(index == 7) for index in range(10)]


def test_bars_are_the_softmax_of_the_outputs(page: Browser) -> None:
    outputs = activations(page, "dense")
    shares = np.exp(outputs - outputs.max()) / np.exp(outputs - outputs.max()).sum()
    assert page.compute(SHARES) == [f"{100 * share:.1f} %" for share in shares]
    answer = page.compute("cnnctl.classify()")
    np.testing.assert_allclose([each["probability"] for each in answer], shares, rtol=1e-4)
    assert page.compute("document.querySelector('.prediction').textContent").startswith(answer[int(shares.argmax())]["class"])


# Keyboard, sizes, themes


def test_maps_are_reached_and_opened_by_keys_and_closing_returns_to_the_map(page: Browser) -> None:
    stops = "[...document.querySelectorAll('.column')].map((each) => each.querySelectorAll('.map[tabindex=\"0\"]').length)"
    assert set(page.compute(stops)[1:]) == {1}
    focused = "document.activeElement.getAttribute('aria-label')"
    page.compute(f"{COLUMN.format('stem')}.querySelector('.map').focus()")
    page.press("ArrowRight")
    assert page.compute(focused) == "map 1 of stem, 0 to 39"
    page.press("ArrowDown")
    assert page.compute(focused) == "map 3 of stem, 0 to 39"
    page.press("ArrowRight")
    assert page.compute(focused) == "map 2 of one, 0 to 7"
    page.press("ArrowLeft")
    page.press("Enter")
    settle(page)
    assert page.compute("document.querySelector('.detail-panel').hidden") is False
    assert page.compute("document.querySelector('.detail-head h2').textContent") == "stem"
    page.press("Escape")
    settle(page)
    assert page.compute("document.querySelector('.detail-panel').hidden") is True
    assert page.compute(focused) == "map 3 of stem, 0 to 39"


def test_the_detail_panel_goes_to_the_layers_before_and_after(page: Browser) -> None:
    click(page, f"{COLUMN.format('three')}.querySelector('.column-head')")
    names = []
    for _ in range(2):
        click(page, "document.querySelectorAll('.detail-head .arrow')[1]")
        names.append(page.compute("document.querySelector('.detail-head h2').textContent"))
    assert names == ["pool", "mixed"]


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (1280, "dark"), (3840, "light")])
def test_no_error_no_request_and_no_sideways_scrolling(chromium: Browser, address: str, width: int, theme: str) -> None:
    page = opened(chromium, address, width, theme=theme)
    click(page, button("Training"))
    click(page, button("Gradients"))
    click(page, f"{COLUMN.format('mixed')}.querySelector('.map')")
    click(page, "document.querySelector('.theme')")
    assert page.compute("document.documentElement.dataset.theme") == ("dark" if theme == "light" else "light")
    assert page.compute("document.documentElement.scrollWidth <= innerWidth")
    assert page.events.errors == []
    assert page.events.requests == [address]


def luminance(colour: str) -> float:
    """Returns the relative luminance of #rrggbb; WCAG 2.2, definition of relative luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_of_text_have_the_contrast_of_level_aa(theme: int) -> None:
    block = (FOLDER / "style" / "base.css").read_text(encoding="utf-8").split("}")[theme]
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", block))
    for text, paper in itertools.product(["ink", "faint", "blue", "orange", "green", "purple", "yellow"], ["paper", "panel"]):
        lighter, darker = sorted([luminance(colours[text]), luminance(colours[paper])], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, paper)


# The interface of the console


def test_the_interface_names_every_layer_before_anything_is_clicked(page: Browser, experiment: Experiment) -> None:
    network = experiment.network
    expected = [
        {"name": node.name, "type": node.layer.kind, "shape": list(facts.output_shape)}
        for node, facts in zip(network.nodes, network.facts, strict=True)
    ]
    assert page.compute("cnnctl.layers") == expected


def test_images_are_set_flat_or_nested_and_refused_with_what_was_expected(page: Browser) -> None:
    image = np.random.default_rng(0).random((8, 8, 1)).round(3)
    page.compute(f"cnnctl.setImage({image.tolist()})")
    nested = activations(page, "dense")
    np.testing.assert_allclose(activations(page, "input"), image, atol=1e-6)
    page.compute(f"cnnctl.setImage({image.ravel().tolist()})")
    np.testing.assert_array_equal(activations(page, "dense"), nested)
    refused = "(() => { try { %s } catch (error) { return error.message; } })()"
    assert page.compute(refused % "cnnctl.setImage([1, 2])") == "setImage: expected 64 values for [8,8,1]; received 2"
    assert page.compute(refused % "cnnctl.setImage(Array(64).fill(NaN))") == "setImage: a value is not a finite number"
    assert "there is no layer 'x'; expected one of input, stem" in page.compute(refused % "cnnctl.activations('x')")
    assert page.compute(refused % "cnnctl.setTarget({class: 10})") == "setTarget: expected a class from 0 to 9; received 10"
    assert page.compute(refused % "cnnctl.setSnapshot(2)") == "setSnapshot: expected 0 to 1; received 2"


def test_gradients_are_those_of_small_differences(page: Browser) -> None:
    image = np.random.default_rng(1).random(64)
    page.compute(f"cnnctl.setImage({image.tolist()}); cnnctl.setTarget({{loss: 2}})")
    gradient = np.asarray(page.compute("cnnctl.gradients('input')")["values"])
    for place in np.argsort(-np.abs(gradient))[:4]:
        losses = []
        for sign in (1, -1):
            moved = image.copy()
            moved[place] += sign * 0.002
            page.compute(f"cnnctl.setImage({moved.tolist()})")
            losses.append(-np.log(page.compute("cnnctl.classify()")[2]["probability"]))
        assert (losses[0] - losses[1]) / 0.004 == pytest.approx(gradient[place], rel=0.05)


def test_given_masks_replace_drawn_ones(page: Browser) -> None:
    size = len(activations(page, "vector"))
    mask = [index % 3 == 0 for index in range(size)]
    page.compute(
        f"cnnctl.setBatch([Array(64).fill(0.5)]); cnnctl.setTraining(true); cnnctl.setMasks({{dropout: [{json.dumps([int(each) for each in mask])}]}})"
    )
    before, after = activations(page, "vector"), activations(page, "dropout")
    np.testing.assert_allclose(after, np.where(mask, before / 0.75, 0), rtol=1e-5)


def test_changes_within_a_frame_are_drawn_once(page: Browser) -> None:
    page.settle(5)
    before = page.compute("cnnctl.frames().length")
    page.compute("(() => { for (let step = 0; step < 50; step++) cnnctl.setImage(Array(64).fill(step / 50)); })()")
    page.settle(5)
    frames = page.compute("cnnctl.frames()")
    assert len(frames) == before + 1
    assert frames[-1]["work"] > 0


# Few-shot


def test_distances_to_the_classes_of_an_episode_are_those_of_the_embeddings(chromium: Browser, folder: Path) -> None:
    config = Path("configs/few-shot.yaml").resolve()
    content = content_of_config(load(config, ["few_shot.shot=2"]), config, 20)
    file = folder / "few-shot.html"
    file.write_bytes(page_of(content.data, content.weights))
    page = opened(chromium, file.as_uri())
    episode = content.data["few_shot"]
    shown = page.compute("[...document.querySelectorAll('.measured')].map((each) => each.textContent)")
    last = page.compute("cnnctl.layers.at(-1).name")
    query = activations(page, last)

    def embedded(index: int) -> NDArray[np.float64]:
        pixels = content.images.images[index].pixels / 255
        page.compute(f"cnnctl.setImage({pixels.tolist()})")
        return activations(page, last)

    prototypes = [np.mean([embedded(index) for index in each["support"]], axis=0) for each in episode["classes"]]
    distances = [float(((query - prototype) ** 2).sum()) for prototype in prototypes]
    numbers = [float(re.findall(r"distance ([\d.e−]+)", text)[0].replace("−", "-")) for text in shown]
    assert numbers == pytest.approx(distances, rel=0.05, abs=6e-4)
    page.compute(f"cnnctl.setImage({(content.images.images[episode['queries'][0]].pixels / 255).tolist()})")
    shares = np.exp(-np.asarray(distances)) / np.exp(-np.asarray(distances)).sum()
    np.testing.assert_allclose([each["probability"] for each in page.compute("cnnctl.classify()")], shares, rtol=1e-3)
    assert page.compute("document.querySelectorAll('.support canvas').length") == sum(
        len(each["support"]) for each in episode["classes"]
    )
    assert page.events.errors == []


def test_maml_starts_in_training_with_the_batch_of_its_query_images(chromium: Browser, folder: Path) -> None:
    method = "few_shot.method={maml: {inner_steps: 1, test_steps: 1, inner_learning_rate: 0.01}}"
    config = Path("configs/few-shot.yaml").resolve()
    content = content_of_config(load(config, [method, "few_shot.train_way=null"]), config, 20)
    file = folder / "maml.html"
    file.write_bytes(page_of(content.data, content.weights))
    page = opened(chromium, file.as_uri())
    assert page.compute(f"{button('Training')}.getAttribute('aria-pressed')") == "true"
    names = page.compute("[...document.querySelectorAll('.batch-images button')].map((each) => each.ariaLabel.split(',')[0])")
    queries = [content.data["images"][index]["name"] for index in content.data["few_shot"]["queries"]]
    assert names == ["your image", *queries[1:]]
    assert page.events.errors == []


# Style sheets


def test_no_two_style_sheets_style_the_same_class() -> None:
    files: dict[str, set[str]] = {}
    for sheet in sorted((FOLDER / "style").glob("*.css")):
        for name in set(re.findall(r"^\.([a-z][\w-]*) \{", sheet.read_text(encoding="utf-8"), re.MULTILINE)):
            files.setdefault(name, set()).add(sheet.name)
    assert {name: sheets for name, sheets in files.items() if len(sheets) > 1} == {}
