"""The facts of a data set as text, and what is advised on them."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnctl.data.facts import data_facts
from cnnctl.data.splits import read_splits
from cnnctl.report.advice import advice
from cnnctl.report.dataset import dataset_markdown, dataset_text
from cnnctl.report.figures import _mosaic, samples_png
from cnnctl.spec.experiment import DataSpec

GOLDEN = Path(__file__).parents[1] / "golden"
FIT = {"image_size": [4, 4], "channels": 1}


def save(root: Path, name: str, pixels: Any) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / name)


def drawn_on_white(seed: int) -> Any:
    """Returns a light image of 4×4 pixels."""
    return np.random.default_rng(seed).integers(150, 256, (4, 4), np.uint8)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The facts of a folder that has everything wrong with it."""
    root = tmp_path_factory.mktemp("set")
    for number in range(30):
        save(root, f"train/cat/{number:02}.png", drawn_on_white(number))
        save(root, f"test/cat/{number:02}.png", drawn_on_white(1000 + number))
    for number in range(5):
        save(root, f"train/dog/{number}.png", drawn_on_white(100 + number))
        save(root, f"test/dog/{number}.png", drawn_on_white(1100 + number))
        save(root, f"train/mouse/{number}.png", drawn_on_white(200 + number))
    save(root, "test/cat/again.png", drawn_on_white(0))
    save(root, "test/dog/a cat.png", drawn_on_white(1))
    save(root, "train/mouse/large.png", drawn_on_white(6).repeat(2, axis=0).repeat(2, axis=1))
    for name in ("train/dog/empty.png", "train/dog/void.png"):
        save(root, name, np.full((4, 4), 255, np.uint8))
    data = DataSpec.model_validate(
        {"source": "folder", "path": str(root), **FIT, "classes": 3, "validation": None, "test": "test"}
    )
    return {**asdict(data_facts(data, read_splits(data))), "folder": "images"}


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    facts = {"image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.2}
    data = DataSpec.model_validate({"source": "digits", **facts})
    return asdict(data_facts(data, read_splits(data)))


@pytest.mark.parametrize(("draw", "ending"), [(dataset_text, "txt"), (dataset_markdown, "md")])
@pytest.mark.parametrize("name", ["digits", "troubled"])
def test_the_facts_look_as_agreed(
    name: str,
    draw: Callable[[dict[str, Any]], str],
    ending: str,
    golden: Callable[[Path, str], None],
    request: pytest.FixtureRequest,
) -> None:
    golden(GOLDEN / f"data-{name}.{ending}", draw(request.getfixturevalue(name)))


def with_classes(facts: dict[str, Any], count: int) -> dict[str, Any]:
    """Returns facts of many classes, of which the first has 7 images and the others 9; test lacks the last."""
    changed = copy.deepcopy(facts)
    names = [f"c{number}" for number in range(count)]
    images = [{"train": 7 if number == 0 else 9, "validation": 1, "test": 1} for number in range(count)]
    changed["classes"] = [{"name": name, "images": each} for name, each in zip(names, images, strict=True)]
    changed["splits"]["train"]["balance"] |= {"fewest": 7, "most": 9}
    changed["splits"]["test"]["missing"] = names[-1:]
    return changed


def test_many_classes_are_summarized_and_the_smallest_named(digits: dict[str, Any]) -> None:
    assert "\nc20 " not in dataset_text(with_classes(digits, 21))
    assert "\nfewest    7 train images: 'c0'\n" in dataset_text(with_classes(digits, 21))
    assert "\nc19 " in dataset_text(with_classes(digits, 20))
    assert "\nfewest " not in dataset_text(with_classes(digits, 20))


def test_classes_missing_everywhere_are_named_once(digits: dict[str, Any]) -> None:
    facts = with_classes(digits, 30)
    for name in ("train", "validation", "test"):
        facts["splits"][name]["missing"] = [f"c{number}" for number in range(20, 29)]
    facts["splits"]["test"]["missing"].append("c5")
    text = dataset_text(facts)
    assert "missing   from all splits: 'c20', 'c21', 'c22', 'c23', 'c24' and 4 more\nmissing   from test: 'c5'\n" in text
    assert text.count("'c20'") == 1


def test_equal_classes_are_told_to_be_equal(digits: dict[str, Any]) -> None:
    facts = with_classes(digits, 5)
    facts["splits"]["train"]["balance"] |= {"fewest": 9, "most": 9}
    assert "balance   every class has 9 train images" in dataset_text(facts)


def test_colour_has_a_number_a_channel(digits: dict[str, Any]) -> None:
    facts = copy.deepcopy(digits)
    facts["splits"]["train"]["pixels"] |= {"mean": [0.1, 0.2, 0.3], "colourless": False}
    assert "0.1000 0.2000 0.3000" in dataset_markdown(facts)


# Advice


def test_nothing_is_advised_where_nothing_is_wrong(digits: dict[str, Any]) -> None:
    assert advice(digits) == []


def test_an_image_with_two_labels_is_the_first_example(troubled: dict[str, Any]) -> None:
    examples = [line for line in dataset_text(troubled).splitlines() if line.startswith("such as")]
    assert examples == [
        "such as   train: train/cat/01.png = test: test/dog/a cat.png",
        "such as   train: train/cat/00.png = test: test/cat/again.png",
        "such as   train: train/dog/empty.png = train: train/dog/void.png",
    ]


def changed(facts: dict[str, Any], split: str, **values: Any) -> dict[str, Any]:
    changed = copy.deepcopy(facts)
    for key, value in values.items():
        part = changed["splits"][split]
        part[key] = {**part[key], **value} if isinstance(value, dict) else value
    return changed


@pytest.mark.parametrize(
    ("split", "values", "message"),
    [
        ("test", {"shared": {"train": 36}}, "36 of 359 test images are train images too, .* 10.03 percentage points too high"),
        ("validation", {"shared": {"train": 9}}, "9 of 180 validation images are train images too"),
        ("test", {"shared": {"validation": 1}}, "1 of 359 test images are validation images too"),
        ("test", {"blank": ["one"]}, "1 image is one single colour and shows nothing"),
        ("train", {"blank": ["one", "two"]}, "2 images are one single colour and show nothing"),
        ("test", {"missing": ["3", "4"]}, "2 classes are trained but never tested"),
        ("train", {"balance": {"ratio": 5.0}}, "the classes are of very different size"),
        ("train", {"pixels": {"mean": [0.61]}}, "the mean pixel is 0.61, .* try --set data.invert=true"),
    ],
)
def test_what_is_wrong_has_its_advice(split: str, values: dict[str, Any], message: str, digits: dict[str, Any]) -> None:
    (text,) = advice(changed(digits, split, **values))
    assert re.match(message, text), text


@pytest.mark.parametrize(
    ("split", "values"),
    [
        ("train", {"balance": {"ratio": 4.9}}),
        ("train", {"pixels": {"mean": [0.59]}}),
        ("train", {"pixels": {"mean": [0.9, 0.9, 0.8], "colourless": False}}),  # photos of snow are not ink on white
    ],
)
def test_what_is_usual_has_none(split: str, values: dict[str, Any], digits: dict[str, Any]) -> None:
    assert advice(changed(digits, split, **values)) == []


def test_a_class_that_is_not_even_trained_is_no_matter_of_the_test(digits: dict[str, Any]) -> None:
    facts = changed(digits, "test", missing=["3", "4", "5"])
    (text,) = advice(changed(facts, "train", missing=["4", "5"]))
    assert text == "1 class is trained but never tested; take images of every class into the test split"


def test_an_inversion_that_made_images_light_is_to_be_left_out(digits: dict[str, Any]) -> None:
    (text,) = advice({**changed(digits, "train", pixels={"mean": [0.7]}), "inverted": True})
    assert text == "the mean pixel is 0.70 after data.invert, so the images were dark before; leave data.invert out"


def test_equal_channels_are_to_become_one(digits: dict[str, Any]) -> None:
    facts = {**digits, "image_shape": [8, 8, 3]}
    assert ["data.channels=1" in text for text in advice(facts)] == [True]
    assert advice(changed(facts, "test", pixels={"colourless": False})) == []


# Pictures


def test_a_mosaic_has_every_image_in_its_row() -> None:
    random = np.random.default_rng(0)
    rows = [random.integers(0, 256, (count, 5, 7, 3), np.uint8) for count in (3, 1)]
    mosaic = _mosaic(rows)
    assert mosaic.shape == (5 + 1 + 5, 7 + 1 + 7 + 1 + 7, 3)
    np.testing.assert_array_equal(mosaic[:5, 8:15], rows[0][1])
    np.testing.assert_array_equal(mosaic[6:, :7], rows[1][0])
    assert len(np.unique(mosaic[6:, 8:].reshape(-1, 3), axis=0)) == 1


def test_images_in_floats_and_large_ones_become_small_bytes() -> None:
    images = np.zeros((1, 300, 200, 1))
    images[0, :150] = 0.5
    mosaic = _mosaic([images])
    assert mosaic.shape == (100, 67, 3)
    assert mosaic.dtype == np.uint8
    assert np.unique(mosaic[:50]).tolist() == [128]


def test_a_picture_is_drawn_whatever_the_classes_are_called() -> None:
    images = np.zeros((2, 4, 4, 1), np.uint8)
    names = ["$\\frac{1$", "猫", "n" * 5000]
    content = samples_png({"$\\one{": [images] * 3, "two": [images] * 3}, names, "title with $ and _")
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.width < 1000) == ("PNG", True)
