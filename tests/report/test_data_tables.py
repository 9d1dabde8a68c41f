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

from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.inspect.facts import data_facts
from cnnctl.data.splits import read_splits
from cnnctl.report.data_advice import advice
from cnnctl.report.data_tables import dataset_markdown, dataset_text
from cnnctl.report.figures import _mosaic, samples_png
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import FewShotSpec

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


@pytest.fixture(scope="module")
def few_shot() -> dict[str, Any]:
    """The facts of a few-shot task whose episodes cannot all be drawn."""
    facts = {"image_size": [8, 8], "channels": 1, "classes": 10, "hold_out": "class"}
    data = DataSpec.model_validate({"source": "digits", **facts, "validation": 0.2, "test": ["8", "9"]})
    task = FewShotSpec.model_validate(
        {"way": 3, "shot": 5, "query": 175, "train_query": 20, "train_way": 20, "rotations": True}
    )
    return asdict(data_facts(data, read_disjoint_splits(data), task))


@pytest.mark.parametrize(("draw", "ending"), [(dataset_text, "txt"), (dataset_markdown, "md")])
@pytest.mark.parametrize("name", ["digits", "troubled", "few_shot"])
def test_the_facts_look_as_agreed(
    name: str,
    draw: Callable[[dict[str, Any]], str],
    ending: str,
    golden: Callable[[Path, str], None],
    request: pytest.FixtureRequest,
) -> None:
    golden(GOLDEN / f"data-{name.replace('_', '-')}.{ending}", draw(request.getfixturevalue(name)))


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
    assert "\nfewest      7 train images: 'c0'\n" in dataset_text(with_classes(digits, 21))
    assert "\nc19 " in dataset_text(with_classes(digits, 20))
    assert "\nfewest " not in dataset_text(with_classes(digits, 20))


def test_classes_missing_everywhere_are_named_once(digits: dict[str, Any]) -> None:
    facts = with_classes(digits, 30)
    for name in ("train", "validation", "test"):
        facts["splits"][name]["missing"] = [f"c{number}" for number in range(20, 29)]
    facts["splits"]["test"]["missing"].append("c5")
    text = dataset_text(facts)
    assert "missing     from all splits: 'c20', 'c21', 'c22', 'c23', 'c24' and 4 more\nmissing     from test: 'c5'\n" in text
    assert text.count("'c20'") == 1


def test_equal_classes_are_told_to_be_equal(digits: dict[str, Any]) -> None:
    facts = with_classes(digits, 5)
    facts["splits"]["train"]["balance"] |= {"fewest": 9, "most": 9}
    assert "balance     every class has 9 train images" in dataset_text(facts)


def test_colour_has_a_number_a_channel(digits: dict[str, Any]) -> None:
    facts = copy.deepcopy(digits)
    facts["splits"]["train"]["pixels"] |= {"mean": [0.1, 0.2, 0.3], "colourless": False}
    assert "0.1000 0.2000 0.3000" in dataset_markdown(facts)


# Few-shot tasks


def test_what_makes_no_sense_where_splits_share_no_class_is_not_said(few_shot: dict[str, Any]) -> None:
    text = dataset_text(few_shot)
    assert not re.search("baseline|missing|never tested|always answering", text)


def test_train_is_the_rest_where_classes_are_held_out_by_name_alone(few_shot: dict[str, Any]) -> None:
    text = dataset_text(changed(few_shot, "validation", part=["2"]))
    assert "train: rest of 'train'; validation: of its classes '2'; test: of" in text
    named = changed(changed(few_shot, "validation", part="small"), "test", part="new")
    assert "splits      train: 'train'; validation: 'small'; test: 'new'\n" in dataset_text(named)


def test_groups_are_all_named(few_shot: dict[str, Any]) -> None:
    facts = changed({**few_shot, "hold_out": "group"}, "test", part=["x", "y"])
    facts["groups"] = {"train": [f"g{number}" for number in range(9)], "test": ["x", "y\n"]}
    text = dataset_markdown(facts)
    assert "- splits: train: rest of 'train'; validation: 20% of its groups; test: of its groups 'x', 'y'\n" in text
    assert "- groups: train: 'g0', 'g1', 'g2', 'g3', 'g4', 'g5', 'g6', 'g7', 'g8'\n- groups: test: 'x', 'y\\n'\n" in text


def test_the_smallest_classes_of_each_split_are_named_since_they_bound_an_episode(few_shot: dict[str, Any]) -> None:
    facts = copy.deepcopy(few_shot)
    sizes = {"train": [9, 7, 9], "validation": [20] * 20, "test": [8, 8, 10]}
    facts["classes"] = [
        {"name": f"{role}{number}", "images": {each: size if each == role else 0 for each in sizes}}
        for role, of_role in sizes.items()
        for number, size in enumerate(of_role)
    ]
    for role, of_role in sizes.items():
        facts["splits"][role]["balance"] |= {"fewest": min(of_role), "most": max(of_role)}
    lines = [line for line in dataset_text(facts).splitlines() if line.startswith("fewest")]
    assert lines == ["fewest      7 train images: 'train1'", "fewest      8 test images: 'test0', 'test1'"]


def wanting(facts: dict[str, Any], split: str, **values: int) -> dict[str, Any]:
    """Returns facts of a few-shot task in which nothing but the episodes of one split is wrong."""
    wanted = copy.deepcopy(facts)
    for episode in wanted["episodes"].values():
        episode |= {"way": 2, "shot": 1, "query": 5, "short": 0}
    wanted["episodes"][split] |= values
    return wanted


@pytest.mark.parametrize(
    ("split", "values", "message"),
    [
        (
            "train",
            {"way": 25},
            "an episode of 25 classes cannot be drawn from train, which has 24; "
            "hold out fewer classes, or lower few_shot.train_way to 24",
        ),
        (
            "validation",
            {"way": 3},
            "an episode of 3 classes cannot be drawn from validation, which has 2; "
            "add classes to data.validation, or lower few_shot.way to 2",
        ),
        (
            "test",
            {"way": 2, "classes": 1},
            "an episode of 2 classes cannot be drawn from test, which has 1; add classes to data.test",
        ),
        (
            "train",
            {"shot": 100, "query": 79, "short": 1},
            "an episode takes 100 + 79 images per class, but 1 of the 6 classes of train has fewer, the smallest 178; "
            "lower few_shot.train_shot or few_shot.train_query to take at most 178",
        ),
        (
            "test",
            {"shot": 5, "query": 175, "short": 2},
            "an episode takes 5 + 175 images per class, but 2 of the 2 classes of test have fewer, the smallest 174; "
            "lower few_shot.shot or few_shot.query to take at most 174",
        ),
        (
            "validation",
            {"shot": 1, "query": 1, "short": 1, "images": 1},
            "an episode takes 1 + 1 images per class, but 1 of the 2 classes of validation has fewer, the smallest 1; "
            "add images, so that every class has at least two, one to learn from and one to classify",
        ),
    ],
)
def test_an_episode_that_cannot_be_drawn_has_its_advice(
    split: str, values: dict[str, int], message: str, few_shot: dict[str, Any]
) -> None:
    assert advice(wanting(few_shot, split, **values)) == [message]


def test_maml_is_to_lower_its_one_way(few_shot: dict[str, Any]) -> None:
    (text,) = advice({**wanting(few_shot, "train", way=25), "learner": "maml"})
    assert text.endswith("or lower few_shot.way to 24")


def test_the_largest_episode_that_can_be_drawn_has_no_advice(few_shot: dict[str, Any]) -> None:
    assert advice(wanting(few_shot, "train", way=24)) == advice(wanting(few_shot, "test", way=2)) == []


def test_copies_across_splits_of_a_few_shot_task_are_of_another_class_there(few_shot: dict[str, Any]) -> None:
    facts = changed(wanting(few_shot, "test"), "test", shared={"train": 3, "validation": 0})
    assert advice(facts) == [
        "3 of 354 test images are train images too, in another class there, so these splits are not disjoint although "
        "their classes are; find the right class and remove the other images"
    ]


def test_sizes_of_classes_are_no_matter_where_episodes_draw_each_class_alike(few_shot: dict[str, Any]) -> None:
    assert advice(changed(wanting(few_shot, "test"), "train", balance={"ratio": 50.0})) == []


def test_blank_and_light_images_have_their_advice_in_few_shot_tasks_too(few_shot: dict[str, Any]) -> None:
    facts = changed(wanting(few_shot, "test"), "train", blank=["one"], pixels={"mean": [0.7]})
    assert [text.partition(";")[0] for text in advice({**facts, "conflicts": 1})] == [
        "1 image occurs with different labels, so no network can be right about all of them",
        "1 image is a single color",
        "the mean pixel is 0.70, as for ink on white",
    ]


# Advice


def test_nothing_is_advised_where_nothing_is_wrong(digits: dict[str, Any]) -> None:
    assert advice(digits) == []


def test_an_image_with_two_labels_is_the_first_example(troubled: dict[str, Any]) -> None:
    examples = [line for line in dataset_text(troubled).splitlines() if line.startswith("such as")]
    assert examples == [
        "such as     train: train/cat/01.png = test: test/dog/a cat.png",
        "such as     train: train/cat/00.png = test: test/cat/again.png",
        "such as     train: train/dog/empty.png = train: train/dog/void.png",
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
        (
            "test",
            {"shared": {"train": 36}},
            r"duplicates across train and test \(leakage\): 36 of 359 test images are train images too, .* 10.03 percentage points too high",
        ),
        ("validation", {"shared": {"train": 9}}, "9 of 180 validation images are train images too"),
        ("test", {"shared": {"validation": 1}}, "1 of 359 test images are validation images too"),
        ("test", {"blank": ["one"]}, "1 image is a single color"),
        ("train", {"blank": ["one", "two"]}, "2 images are a single color"),
        ("test", {"missing": ["3", "4"]}, "2 classes are trained but never tested"),
        ("train", {"balance": {"ratio": 5.0}}, "the classes are imbalanced"),
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
    assert text == "1 class is trained but never tested; add images of every class to the test split"


def test_an_inversion_that_made_images_light_is_to_be_left_out(digits: dict[str, Any]) -> None:
    (text,) = advice({**changed(digits, "train", pixels={"mean": [0.7]}), "inverted": True})
    assert text == "the mean pixel is 0.70 after data.invert, so the images were dark before; remove data.invert"


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
