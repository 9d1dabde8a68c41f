"""How the page reacts: the focus stays, predictions stay, wrong input is shown, and pointing finds the value that is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.explore.page import page_of
from cnnctl.explore.page_data import content_of_config
from cnnctl.spec.load import load
from tests.browser import CHROMIUM, Browser
from tests.explore.arithmetic_page import ArithmeticPage, request_for
from tests.explore.networks import Case, network_from
from tests.explore.views_page import Shown, page_with_random_weights

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

LAYERS = """
data: {{source: folder, path: {path}, image_size: [8, 8], channels: 3, validation: 0.5}}
model:
  style: functional
  layers:
    - zero_padding2d: {{name: padded, padding: [[1, 0], [0, 2]]}}
    - conv2d: {{name: wide, filters: 2, kernel_size: [2, 3]}}
    - conv2d: {{name: narrow, filters: 3, kernel_size: 1, inputs: [input]}}
    - concatenate: {{name: rows, axis: 1, inputs: [narrow, input, narrow]}}
    - concatenate: {{name: maps, inputs: [wide, narrow]}}
    - batch_normalization: {{name: norm}}
    - dropout: {{name: drop, rate: 0.5}}
    - global_average_pooling2d: {{name: means}}
    - multiply: {{name: scaled, inputs: [means, drop]}}
    - flatten: {{name: flat}}
    - flatten: {{name: again}}
    - global_max_pooling2d: {{name: tops, inputs: [rows]}}
    - concatenate: {{name: vector, inputs: [again, tops]}}
    - dense: {{name: hidden, units: 30, activation: relu}}
    - dense: {{name: logits, units: classes}}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
    keras.backend.clear_session()


@pytest.fixture(scope="module")
def colours(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Show colour images of 3 classes: 24 of them, 12 in the validation split."""
    folder = tmp_path_factory.mktemp("colours")
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), np.uint8)):
        file = folder / "set" / "train" / f"class {number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    (folder / "config.yaml").write_text(LAYERS.format(path=folder / "set"), encoding="utf-8")
    page, network, weights = page_with_random_weights(folder / "config.yaml", 1)
    (folder / "page.html").write_bytes(page)
    return Shown(browser, folder / "page.html", network, weights)


@pytest.fixture
def page(colours: Shown) -> Iterator[Shown]:
    colours.show()
    yield colours
    assert colours.browser.events.errors == []


def press_button(page: Shown, text: str) -> None:
    page.run(f"[...document.querySelectorAll('button')].find((each) => each.textContent === {text!r}).click()")


def chosen(page: Shown) -> list[int | None]:
    """Return row, column and map of the value that is looked at."""
    label = page.read("[...document.querySelectorAll('.output-picture')].at(-1).getAttribute('aria-label')")
    return [int(number) for number in re.findall(r"\d+", label.split(": ")[1])]


# --- predictions ----------------------------------------------------------------------------------------------------


def test_the_temperature_of_the_view_changes_no_prediction(page: Shown) -> None:
    script = "[cnnctl.classify().map((each) => each.probability), ...[...document.querySelectorAll('.class-value')].map((each) => each.textContent)]"
    page.open("logits")
    before = page.read(script)
    page.run("""(() => { const slider = document.querySelector('input[aria-label=temperature]');
      slider.value = 1.5; slider.dispatchEvent(new Event('input')); })()""")
    assert page.read("document.querySelector('.output-controls output').textContent") == "T = 31.62"
    assert page.read(script) == before


def test_the_true_class_stays_while_one_draws_and_ends_with_the_next_image(page: Shown) -> None:
    page.open("logits")
    truth = "document.querySelector('[aria-label=\"true class\"]').value"
    page.run("""(() => { const field = document.querySelector('[aria-label="true class"]');
      field.value = 2; field.dispatchEvent(new Event('change')); })()""")
    assert page.read(truth) == "2"
    page.run("document.querySelector('[role=tab]:nth-child(2)').click()")
    page.run("document.querySelector('.pad').focus()")
    page.browser.press(" ")
    page.run("""(() => { const field = document.querySelector('[aria-label="true class"]');
      field.value = 1; field.dispatchEvent(new Event('change')); })()""")
    for key in ("ArrowLeft", "ArrowDown", " "):
        page.browser.press(key)
        page.wait()
        assert page.read(truth) == "1"
    page.run("cnnctl.setBatch([{values: Array(192).fill(0.5), label: 0}])")
    assert page.read(truth) == "0"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.42134, "0.4213"),
        (0.0421345, "0.04213"),
        (-0.00421345, "−0.004213"),
        (0.0001234567, "1.235e−4"),
        (0.99999, "1.000"),
        (1.23456, "1.235"),
        (-12.3456, "−12.35"),
        (123.456, "123.5"),
        (12345.67, "12345.7"),
        (123456.7, "1.235e5"),
        (64, "64"),
        (0, "0"),
    ],
)
def test_numbers_have_four_significant_digits(page: Shown, tmp_path: Path, value: float, text: str) -> None:
    """The equation of `padded` copies a pixel, so it shows any value that the image has."""
    page.open("padded")
    page.run(f"cnnctl.setImage(Array(192).fill({value}))")
    page.hover(".output-picture", 3, 3)
    assert page.step_texts()["output"] == text


# --- pointing -------------------------------------------------------------------------------------------------------


def point_at(page: Shown, position: int, row: int, column: int) -> None:
    page.hover(f".view-stage > figure:nth-of-type({position + 1}) .map-picture", row, column)


@pytest.mark.parametrize(("position", "row", "column"), [(0, 2, 3), (1, 5, 1), (2, 7, 7)])
def test_pointing_at_an_input_of_a_concatenation_looks_at_its_copy(page: Shown, position: int, row: int, column: int) -> None:
    page.open("rows")
    point_at(page, position, row, column)
    source = ["narrow", "input", "narrow"][position]
    assert chosen(page)[:2] == [8 * position + row, column]
    assert page.steps()["output"] == page.activations(source)[row, column, 0]
    page.open("maps")
    point_at(page, 1, row, column)
    assert chosen(page) == [row, column, 2]
    assert page.steps()["output"] == page.activations("narrow")[row, column, 0]
    marked = (
        "[...document.querySelectorAll('.view-stage > figure')].slice(0, 2).map((each) => each.classList.contains('not-read'))"
    )
    assert page.read(marked) == [True, False]


def test_pointing_at_a_broadcast_input_looks_at_a_value_that_reads_it(page: Shown) -> None:
    page.open("scaled")
    point_at(page, 1, 4, 6)
    point_at(page, 0, 0, 3)  # a vector: unit 3 scales map 3
    assert chosen(page) == [4, 6, 3]
    assert page.steps()["input 0"] == page.activations("means")[3]


def test_pointing_at_the_input_of_a_padding_looks_at_its_copy(page: Shown) -> None:
    page.open("padded")
    point_at(page, 0, 4, 5)
    assert chosen(page)[:2] == [5, 5]
    assert page.steps()["output"] == page.activations("input")[4, 5, 0]


def test_flatten_of_a_vector_marks_the_unit_in_both_pictures(page: Shown) -> None:
    page.open("again")
    page.hover("figure:nth-of-type(1) .output-picture", 3, 5)
    marks = page.read("""[...document.querySelectorAll('.output-picture .looked-at')]
      .map((mark) => [Number(mark.dataset.row), Number(mark.dataset.column)])""")
    assert marks == [[3, 5], [3, 5]]
    width = page.read("document.querySelector('.output-picture canvas').width")
    assert f"at unit {3 * width + 5} goes to unit {3 * width + 5}" in page.sentence()


# --- the focus ------------------------------------------------------------------------------------------------------

FOCUS = "(({tagName, textContent, ariaLabel, className}) => [tagName, className.baseVal ?? className, ariaLabel ?? textContent])(document.activeElement)"


def assert_escape_closes(page: Shown) -> None:
    page.browser.press("Escape")
    page.wait()
    assert page.read("document.querySelector('.detail-panel').hidden") is True


def test_a_chosen_contribution_keeps_the_focus(page: Shown) -> None:
    page.open("hidden")
    page.run("document.querySelectorAll('.bar-row button')[3].focus()")
    label = page.read("document.activeElement.textContent")
    page.browser.press("Enter")
    page.wait()
    assert page.read(FOCUS) == ["BUTTON", "", label]
    assert_escape_closes(page)


def test_the_graph_keeps_the_focus_when_all_terms_are_open(page: Shown) -> None:
    page.open("wide")
    page.open_sections()
    page.run("document.querySelector('.graph .more').focus()")
    page.browser.press("Enter")
    page.wait()
    assert page.read("document.querySelector('.graph .more')") is None
    assert page.read("document.activeElement.className") == "graph-scroll"
    assert_escape_closes(page)


def test_the_last_page_leaves_the_focus_on_the_way_back(page: Shown) -> None:
    page.open("hidden")
    next_page = "document.querySelector('h4 .view-pager [aria-label^=next]')"
    page.run(f"{next_page}.focus()")
    for _ in range(40):
        page.browser.press("Enter")
        page.wait()
        if page.read(f"{next_page}.disabled"):
            break
    assert page.read("document.activeElement.ariaLabel") == "previous contributions"
    assert_escape_closes(page)


def test_an_image_of_the_batch_keeps_the_focus(page: Shown) -> None:
    press_button(page, "Training")
    page.run("document.querySelectorAll('.batch-images button')[4].focus()")
    page.browser.press("Enter")
    page.wait()
    focused = "[...document.querySelectorAll('.batch-images button')].indexOf(document.activeElement)"
    assert page.read(focused) == 4


def test_what_takes_arrow_keys_has_a_role_that_screen_readers_pass_them_to(page: Shown) -> None:
    page.open("wide")
    roles = page.read(
        "[...document.querySelectorAll('.map-picture[tabindex], .pad')].map((each) => [each.role, each.ariaLabel !== null])"
    )
    assert len(roles) > 1 and all(role == ["application", True] for role in roles)


# --- batches and targets --------------------------------------------------------------------------------------------

SIZES = "[...document.querySelector('[aria-label=batch]').options].map((option) => Number(option.value))"
SIZE_SHOWN = "document.querySelector('select[aria-label=batch]').value"
SWITCH = "[...document.querySelectorAll('.mode-switch [aria-label=batch] button')].map((each) => [Number(each.textContent), each.ariaPressed])"


def test_the_batch_has_sizes_that_the_images_suffice_for(page: Shown) -> None:
    most = page.read("JSON.parse(document.getElementById('page-data').textContent).batch.length")
    assert most == 12
    press_button(page, "Training")
    page.open("norm")
    count = len(page.read("[...document.querySelectorAll('.batch-images li')]"))
    assert page.read(SIZE_SHOWN) == str(count) == "8"
    sizes = page.read(SIZES)
    assert sizes == [size for size, _ in page.read(SWITCH)] == [8, 12]
    page.run("""(() => { const menu = document.querySelector('select[aria-label=batch]');
      menu.value = '12'; menu.dispatchEvent(new Event('change')); })()""")
    assert page.read("document.querySelectorAll('.batch-images li').length") == 12
    assert page.read(SWITCH) == [[8, "false"], [12, "true"]]
    page.run("cnnctl.setBatch([0.1, 0.5, 0.9].map((value) => Array(192).fill(value)))")
    assert page.read(SIZE_SHOWN) == "3"
    assert page.read(SWITCH) == [[3, "true"]]


def test_images_without_a_label_do_not_count_in_the_loss(page: Shown, arithmetic: ArithmeticPage) -> None:
    images = np.random.default_rng(2).uniform(0, 1, (4, 8, 8, 3)).astype(np.float32)
    labels = [None, 2, None, 0]
    batch = [{"values": image.ravel().tolist(), "label": label} for image, label in zip(images, labels, strict=True)]
    mask = np.ones((4, 8, 8, 5), np.float32)
    page.run(
        f"cnnctl.setTraining(true); cnnctl.setBatch({batch}); cnnctl.setMasks({{drop: {mask.tolist()}}})".replace(
            "None", "null"
        )
    )
    page.run("cnnctl.setTarget({loss: 1})")
    logits = np.stack([page.activations("logits")])
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    expected = (shares[0] - np.array([0, 1, 0])) / 3  # the mean over the page's image and two of its partners
    assert page.gradients("logits") == pytest.approx(expected, abs=1e-6)


def test_a_wrong_label_is_refused(page: Shown) -> None:
    script = "(() => { try { cnnctl.setBatch([{values: Array(192).fill(0), label: 3}]); } catch (error) { return error.message; } })()"
    assert page.read(script) == "setBatch: expected a class from 0 to 2; received 3"


def test_an_embedding_has_no_loss(browser: Browser, tmp_path: Path) -> None:
    config = Path("configs/few-shot.yaml").resolve()
    content = content_of_config(load(config, []), config, 20)
    (tmp_path / "page.html").write_bytes(page_of(content.data, content.weights))
    browser.open_loaded((tmp_path / "page.html").as_uri())
    script = "(() => { try { cnnctl.setTarget({loss: 0}); } catch (error) { return error.message; } })()"
    assert browser.compute(script) == "setTarget: this network is trained without a loss of classes; expected {class: …}"


# --- errors and masks -----------------------------------------------------------------------------------------------


def test_an_error_is_shown_and_the_page_goes_on(colours: Shown) -> None:
    page = colours
    page.show()
    problem = "document.querySelector('[role=alert]').textContent"
    assert page.read(problem) == ""
    page.run("cnnctl.setTraining(true); cnnctl.setMasks({drop: [[0, 1]]})")
    assert page.read(problem).startswith(
        "Something went wrong: the mask of 'drop' must have shape (8, 8, 8, 5), received (1, 2)"
    )
    press_button(page, "New dropout masks")  # removes the given masks
    assert page.read(problem) == ""
    assert page.read("cnnctl.activations('drop').values.some((value) => value === 0)") is True


def test_a_map_of_many_values_is_pooled_in_numbers(arithmetic: ArithmeticPage) -> None:
    case = Case(network_from([{"global_max_pooling2d": {}}], (500, 500, 1)))
    images = case.images(1)
    case_terms = arithmetic.call("termsOf", request_for(case.description, case.weights, images))
    assert case_terms["terms"] == case_terms["before"]


@pytest.fixture(scope="module")
def arithmetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArithmeticPage]:
    with Browser(tmp_path_factory.mktemp("other-profile")) as opened:
        yield ArithmeticPage(opened, tmp_path_factory.mktemp("arithmetic"))


# --- pictures -------------------------------------------------------------------------------------------------------

COLOURED = """(canvas) => { const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return Array.from({length: data.length / 4}, (_, pixel) => [data[4 * pixel], data[4 * pixel + 1], data[4 * pixel + 2]]); }"""


def test_images_of_a_batch_have_their_colours(page: Shown) -> None:
    image = np.random.default_rng(3).integers(0, 256, (8, 8, 3))
    page.run(f"cnnctl.setTraining(true); cnnctl.setBatch([Array(192).fill(0), {(image / 255).ravel().tolist()}])")
    pixels = page.read(f"({COLOURED})(document.querySelectorAll('.batch-images canvas')[1])")
    assert np.array_equal(pixels, image.reshape(-1, 3))


def test_support_images_have_their_colours(browser: Browser, tmp_path: Path) -> None:
    experiment: dict[str, Any] = yaml.safe_load(Path("configs/few-shot.yaml").read_text())
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (240, 8, 8, 3), np.uint8)):
        file = tmp_path / "set" / f"class {number % 12}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    names = [f"class {number}" for number in range(12)]
    experiment["data"] = {"source": "folder", "path": str(tmp_path / "set"), "image_size": [8, 8], "channels": 3}
    experiment["data"] |= {"test": names[:4], "validation": names[4:8]}
    experiment["few_shot"] = {"way": 3, "shot": 1, "query": 2}
    experiment["model"] = {"layers": ["flatten", {"dense": {"units": 4}}]}
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(experiment))
    content = content_of_config(load(tmp_path / "few.yaml", []), tmp_path / "few.yaml", 20)
    (tmp_path / "page.html").write_bytes(page_of(content.data, content.weights))
    browser.open_loaded((tmp_path / "page.html").as_uri())
    pixels = browser.compute(f"({COLOURED})(document.querySelector('.support canvas'))")
    assert np.array_equal(pixels, content.images.images[0].pixels.reshape(-1, 3))


def test_a_grad_cam_names_what_it_raises(page: Shown) -> None:
    page.run("cnnctl.setTarget({loss: 2})")
    press_button(page, "Gradients")
    caption = "[...document.querySelectorAll('.kind-input figcaption')].at(-1).textContent"
    assert page.read(caption) == "Grad-CAM of narrow: what raises the loss for class class 2"
    page.run("cnnctl.setTarget({class: 1})")
    assert page.read(caption) == "Grad-CAM of narrow: what raises the logit of class class 1"
    page.open("logits")
    page.open_sections()
    assert (
        page.read("document.querySelector('.heat').ariaLabel") == "Grad-CAM of narrow: what raises the logit of class class 1"
    )
