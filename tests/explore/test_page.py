"""The HTML of a page: its policy, its data, and what a run or a config puts into it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.commands.train import train
from cnnctl.errors import DataError, RunError
from cnnctl.explore.images import Look, chosen_tags, look_of, partners, tall_first
from cnnctl.explore.page import as_json_text, filled, page_of, policy_of
from cnnctl.explore.page_data import BEFORE_TRAINING, TRAINED, content_of_config, content_of_run, evenly_spread
from cnnctl.model import build_model
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained
from cnnctl.spec.load import load
from tests.browser import CHROMIUM, Browser

Json = dict[str, Any]
LAYERS = [
    {"conv2d": {"filters": 4, "kernel_size": 3}},
    "batch_normalization",
    {"activation": {"activation": "relu"}},
    "flatten",
    {"dense": {"units": "classes"}},
]


def config(folder: Path, **changes: Any) -> Path:
    content = {
        "data": {"source": "digits"},
        "model": {"layers": LAYERS},
        "train": {"epochs": 2, "precision": "float32"},
        "log": {"tensorboard": False},
    }
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(content | changes))
    return folder / "small.yaml"


def trained(folder: Path, **changes: Any) -> Path:
    train(config(folder, **changes), [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def element(page: str, pattern: str) -> str:
    found = re.findall(f"<{pattern}>(.*?)</", page, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


# the page


def test_the_policy_has_the_hashes_of_the_only_script_and_style_and_allows_no_address(run: Path) -> None:
    content = content_of_run(run, 3, None)
    page = page_of(content.data, content.weights).decode()
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    hashes = {
        kind: base64.b64encode(hashlib.sha256(element(page, kind).encode()).digest()).decode() for kind in ("script", "style")
    }
    assert allowed == {
        "default-src": "'none'",
        "script-src": f"'sha256-{hashes['script']}'",
        "style-src": f"'sha256-{hashes['style']}'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.index("Content-Security-Policy") < page.index("<style") < page.index("<script")


def test_a_page_names_no_address_of_a_network(run: Path) -> None:
    content = content_of_run(run, 0, None)
    page = page_of(content.data, content.weights).decode()
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of SVG's elements, which nothing fetches


def test_a_page_opens_from_the_disk_without_an_error_or_a_request(run: Path, browser: Browser, tmp_path: Path) -> None:
    content = content_of_run(run, 20, None)
    file = tmp_path / "page.html"
    file.write_bytes(page_of(content.data, content.weights))
    browser.open_loaded(file.as_uri())
    browser.settle()
    assert browser.compute("cnnctl.layers.length") >= len(LAYERS)
    assert browser.events.errors == []
    assert browser.events.requests == [file.as_uri()]


def test_a_script_that_is_not_the_pages_own_does_not_run(run: Path, browser: Browser, tmp_path: Path) -> None:
    """Else the test of hostile texts could pass without a policy."""
    content = content_of_run(run, 0, None)
    page = page_of(content.data, content.weights).decode()
    file = tmp_path / "page.html"
    file.write_text(
        page.replace('<div id="app">', '<script>window.injected = 1</script><div id="app" onclick="window.injected = 2">')
    )
    browser.open_loaded(file.as_uri())
    browser.compute("document.getElementById('app').click()")
    assert browser.compute("window.injected") is None
    assert any("Content Security Policy" in error for error in browser.events.errors)


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<!--", "&lt;", "\u2028\u2029", '"\\', "{{weights}}", "\ud800", "日本"]
)
def test_texts_in_data_are_no_markup_and_come_back_as_they_were(text: str) -> None:
    written = as_json_text({"name": text})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"name": text}


def test_braces_in_a_part_stay_as_they_are() -> None:
    assert filled("a {{one}} b {{two}} c", {"one": "{{two}}", "two": "{{one}}"}) == "a {{two}} b {{one}} c"


def test_data_has_no_numbers_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json_text({"value": float("nan")})


def test_policies_of_other_scripts_differ() -> None:
    assert policy_of("a", "b") != policy_of("a ", "b")
    assert policy_of("a", "b") != policy_of("a", "b ")


# what a run puts into it


def pixels_in(entry: Json, shape: tuple[int, ...] = (8, 8, 1)) -> Any:
    return np.frombuffer(base64.b64decode(entry["pixels"]), np.uint8).reshape(shape)


def test_a_run_shows_its_worst_mistakes_some_right_and_one_of_each_class(run: Path) -> None:
    from cnnctl.evaluate.evaluated_images import read_evaluated

    content = content_of_run(run, 30, None)
    network = open_trained(run)
    test = read_evaluated(network, "test", None).images
    probabilities = network.probabilities(np.asarray(network.model(network.inputs(np.asarray(test.images[:])), training=False)))
    of_label = probabilities[np.arange(len(test)), test.labels]
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != test.labels)
    assert len(wrong) >= 5
    shown = {int(each["name"].removeprefix("test ")): each for each in content.data["images"]}
    assert len(shown) == 30
    for position, entry in shown.items():
        assert np.array_equal(pixels_in(entry), test.images[position])
        assert entry["label"] == test.labels[position]
        assert ("right" in entry["tags"]) == (position not in wrong)
    worst = [position for position, entry in shown.items() if "worst" in entry["tags"]]
    assert len(worst) == min(10, len(wrong))
    assert set(worst) == set(wrong[np.argsort(of_label[wrong], kind="stable")][:10])
    assert {entry["label"] for entry in shown.values() if "class" in entry["tags"]} == set(range(10))


def test_the_partners_of_batches_are_other_images_with_their_classes(run: Path) -> None:
    content = content_of_run(run, 30, None)
    names = [each["name"] for each in content.data["batch"]]
    assert len(names) == len(set(names)) == 127
    assert not {each["name"] for each in content.data["images"]} & set(names)
    assert len({each["label"] for each in content.data["batch"][:31]}) >= 8  # the classes are mixed


def test_a_page_written_twice_is_the_same(run: Path) -> None:
    first, second = (content_of_run(run, 12, None) for _ in range(2))
    assert page_of(first.data, first.weights) == page_of(second.data, second.weights)


def test_the_weights_are_those_of_the_run(run: Path) -> None:
    content = content_of_run(run, 0, None)
    model = open_trained(run).model
    layer = next(each for each in content.data["network"]["layers"] if each["kind"] == "batch_normalization")
    place = layer["weights"]["moving_variance"]
    values = np.frombuffer(content.weights, "<f4")[place["offset"] :][: place["shape"][0]]
    assert np.array_equal(values, np.asarray(model.get_layer(layer["name"]).moving_variance))
    assert content.data["snapshots"] == [{"epoch": None, "label": TRAINED, "set": 0}]


def test_a_page_without_images_reads_no_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in "ab":
        (data / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (8, 8), 20 * number).save(data / name / f"{number}.png")
    run = trained(
        tmp_path / "own",
        data={"source": "folder", "path": str(data), "validation": 0.2, "test": 0.2, "channels": 1, "image_size": [8, 8]},
    )
    data.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="For a page without images: --images 0"):
        content_of_run(run, 5, None)
    content = content_of_run(run, 0, None)
    assert content.data["images"] == content.data["batch"] == []
    assert content.data["network"]["classes"] == ["a", "b"]


def test_a_run_in_16_bits_says_that_the_page_computes_in_32(tmp_path: Path) -> None:
    run = trained(tmp_path / "bf", train={"epochs": 1, "precision": "mixed_bfloat16"})
    assert content_of_run(run, 0, None).notes == [
        "the run computes in mixed_bfloat16, the page in float32: the last digits differ"
    ]
    assert content_of_run(run, 0, None).data["notes"] == content_of_run(run, 0, None).notes


# what a config puts into it


def test_a_config_shows_initial_weights_and_no_test_image(tmp_path: Path) -> None:
    file = config(tmp_path / "c")
    experiment = load(file, [])
    content = content_of_config(experiment, file, 12)
    kernel = content.data["network"]["layers"][0]["weights"]["kernel"]
    values = np.frombuffer(content.weights, "<f4")[kernel["offset"] :][: np.prod(kernel["shape"])].reshape(kernel["shape"])
    assert np.array_equal(values, np.asarray(build_model(experiment).layers[0].kernel))
    assert content.data["snapshots"] == [{"epoch": 0, "label": BEFORE_TRAINING, "set": 0}]
    assert {each["name"].split()[0] for each in content.data["images"]} == {"validation"}
    assert {each["name"].split()[0] for each in content.data["batch"]} == {"validation"}
    assert not any({"right", "worst"} & set(each["tags"]) for each in content.data["images"])


def test_a_config_without_validation_shows_training_images(tmp_path: Path) -> None:
    file = config(tmp_path / "c", data={"source": "digits", "validation": None})
    content = content_of_config(load(file, []), file, 5)
    assert {each["name"].split()[0] for each in content.data["images"]} == {"train"}


FEW_SHOT = {
    "task": "few_shot",
    "data": {"source": "digits", "test": ["7", "8", "9"], "validation": ["4", "5", "6"]},
    "model": {
        "layers": [{"conv2d": {"filters": 4, "kernel_size": 3, "activation": "relu"}}, "flatten", {"dense": {"units": 8}}]
    },
    "train": {"epochs": 1, "precision": "float32"},
}


@pytest.mark.parametrize(
    ("method", "distance", "scale"),
    [
        ({"prototypical": {"distance": "squared_euclid"}}, "squared_euclid", 10.0),
        ({"prototypical": {"distance": "cosine"}}, "cosine", 10.0),
        ({"cosine_classifier": {"scale": 16}}, "cosine", 16.0),
    ],
)
def test_a_few_shot_page_has_an_episode(tmp_path: Path, method: Json, distance: str, scale: float) -> None:
    few_shot = {"method": method, "way": 3, "shot": 2, "query": 4}
    file = config(tmp_path / "c", **FEW_SHOT, few_shot=few_shot)
    content = content_of_config(load(file, []), file, 60)
    episode, images = content.data["few_shot"], content.data["images"]
    assert (episode["way"], episode["shot"], episode["distance"], episode["scale"]) == (3, 2, distance, scale)
    assert sorted(each["name"] for each in episode["classes"]) == ["4", "5", "6"]
    for label, each in enumerate(episode["classes"]):
        assert [images[place]["label"] for place in each["support"]] == [label] * 2
        assert all(images[place]["tags"] == ["support"] for place in each["support"])
    assert [images[place]["label"] for place in episode["queries"]] == np.repeat(range(3), 4).tolist()
    assert len(images) == 18
    assert len({each["name"] for each in images}) == 18


def test_a_few_shot_run_shows_the_first_episode_of_its_test(tmp_path: Path) -> None:
    run = trained(
        tmp_path / "r",
        **FEW_SHOT,
        few_shot={"way": 3, "shot": 1, "query": 2, "episodes": 2, "validation_episodes": 2, "test_episodes": 2},
    )
    content = content_of_run(run, 60, None)
    assert sorted(each["name"] for each in content.data["few_shot"]["classes"]) == ["7", "8", "9"]
    assert {each["name"].split()[0] for each in content.data["images"]} == {"test"}
    assert content.data["network"]["classes"] == []


def test_maml_has_all_query_images_as_its_batch(tmp_path: Path) -> None:
    few_shot = {"method": {"maml": {"inner_steps": 1, "inner_learning_rate": 0.1}}, "way": 3, "shot": 1, "query": 50}
    file = config(tmp_path / "c", **FEW_SHOT, few_shot=few_shot)
    data = content_of_config(load(file, []), file, 60).data
    queries = [data["images"][place]["name"] for place in data["few_shot"]["queries"]]
    assert len(queries) == 150
    assert [each["name"] for each in data["batch"]] == queries
    assert "so the page starts in training mode" in data["few_shot"]["note"]


def test_maml_has_a_second_set_that_is_adapted_to_the_episode(tmp_path: Path) -> None:
    from cnnctl.few_shot.methods import maml_logits

    few_shot = {
        "method": {"maml": {"inner_steps": 2, "inner_learning_rate": 0.1, "test_steps": 3}},
        "way": 3,
        "shot": 2,
        "query": 3,
    }
    file = config(tmp_path / "c", **FEW_SHOT, few_shot=few_shot)
    experiment = load(file, [])
    content = content_of_config(experiment, file, 60)
    data = content.data
    assert [each["label"] for each in data["snapshots"]] == [BEFORE_TRAINING, "adapted to the support images"]
    assert "3 steps of gradient descent" in data["few_shot"]["note"]
    assert data["network"]["classes"] == [each["name"] for each in data["few_shot"]["classes"]]
    support, queries = (
        np.stack([pixels_in(data["images"][place]) for place in places]).reshape(3, -1, 8, 8, 1).astype(np.float32) / 255
        for places in (
            [place for each in data["few_shot"]["classes"] for place in each["support"]],
            data["few_shot"]["queries"],
        )
    )
    model = build_model(experiment)
    weights = [variable.value for variable in model.trainable_variables]
    expected = maml_logits(model, weights, support, queries, steps=3, rate=0.1, first_order=True)
    adapted = np.frombuffer(content.weights, "<f4")[data["network"]["weights_count"] :]
    place = 0
    for variable in model.trainable_variables:
        size = int(np.prod(variable.shape))
        variable.assign(adapted[place : place + size].reshape(variable.shape))
        place += size
    logits = np.asarray(model(queries.reshape(-1, 8, 8, 1)))
    assert np.allclose(logits, np.asarray(expected), atol=1e-5)


# snapshots


def kept(run: Path, epoch: int, scale: float) -> Json:
    """Write the weights of the run, times a factor, as its training would have kept them."""
    model = open_trained(run).model
    arrays: Json = {}
    for layer in model.layers:
        for variable in layer.variables:
            if variable.name in ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"):
                arrays[f"{layer.name}/{variable.name}"] = np.asarray(variable.value) * np.float32(scale)
    (run / "snapshots").mkdir(exist_ok=True)
    np.savez(run / "snapshots" / f"epoch-{epoch:04}.weights.npz", **arrays)
    return arrays


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(run, tmp_path / "run"))


def test_kept_weights_become_snapshots_and_the_last_is_the_network(copied: Path) -> None:
    scales = {0: 0.25, 1: 0.5, 2: 1.0}
    arrays = {epoch: kept(copied, epoch, scale) for epoch, scale in scales.items()}
    content = content_of_run(copied, 0, None)
    assert content.data["snapshots"] == [
        {"epoch": 0, "label": BEFORE_TRAINING, "set": 0},
        {"epoch": 1, "label": "epoch 1", "set": 1},
        {"epoch": 2, "label": f"{TRAINED}, epoch 2", "set": 2},
    ]
    sets = np.frombuffer(content.weights, "<f4").reshape(3, -1)
    for epoch, values in arrays.items():
        for layer in content.data["network"]["layers"]:
            for name, place in layer["weights"].items():
                found = sets[epoch][place["offset"] :][: np.prod(place["shape"])]
                assert np.array_equal(found, values[f"{layer['name']}/{name}"].ravel())


def test_a_restored_best_epoch_stays_in_its_place(copied: Path) -> None:
    for epoch, scale in {0: 0.25, 1: 1.0, 2: 0.5}.items():
        kept(copied, epoch, scale)
    content = content_of_run(copied, 0, None)
    found = [(each["epoch"], each["label"]) for each in content.data["snapshots"]]
    assert found == [(0, BEFORE_TRAINING), (1, "epoch 1"), (2, "epoch 2"), (1, f"{TRAINED}, epoch 1")]


def test_at_most_so_many_snapshots_as_asked_for_are_read(copied: Path) -> None:
    for epoch in range(6):
        kept(copied, epoch, 0.1 * (epoch + 1))
    labels = [each["epoch"] for each in content_of_run(copied, 0, 3).data["snapshots"]]
    assert labels == [0, 2, 5, None]
    assert len(content_of_run(copied, 0, 0).data["snapshots"]) == 1


@pytest.mark.parametrize(("most", "expected"), [(None, [1, 2, 3, 9]), (4, [1, 2, 3, 9]), (2, [1, 9]), (1, [9]), (0, [])])
def test_snapshots_are_evenly_spread_with_the_first_and_the_last(most: int | None, expected: list[int]) -> None:
    assert evenly_spread([1, 2, 3, 9], most) == expected


def spoiled(arrays: Json, kind: str) -> Json:
    first = next(iter(arrays))
    changes: dict[str, Any] = {
        "another shape": np.zeros((2, 2), np.float32),
        "float64": arrays[first].astype(np.float64),
        "NaN": np.full_like(arrays[first], np.nan),
        "objects": np.array([{"a": 1}], object),
    }
    if kind == "one more":
        return arrays | {"other/kernel": np.zeros(1, np.float32)}
    if kind == "one less":
        return {name: array for name, array in arrays.items() if name != first}
    return arrays | {first: changes[kind]}


@pytest.mark.parametrize("kind", ["another shape", "float64", "NaN", "objects", "one more", "one less"])
def test_arrays_that_are_not_the_networks_are_refused(copied: Path, kind: str) -> None:
    arrays = kept(copied, 1, 1.5)
    file = copied / "snapshots" / "epoch-0001.weights.npz"
    np.savez(file, **spoiled(arrays, kind))
    with pytest.raises(RunError, match=re.escape(str(file))):
        content_of_run(copied, 0, None)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", bytes(10_000_000)])
def test_a_damaged_snapshot_is_named(copied: Path, content: bytes) -> None:
    kept(copied, 1, 1.5)
    file = copied / "snapshots" / "epoch-0001.weights.npz"
    file.write_bytes(content)
    with pytest.raises(RunError, match=re.escape(str(file))):
        content_of_run(copied, 0, None)


def test_a_snapshot_that_inflates_beyond_its_arrays_is_refused(copied: Path) -> None:
    arrays = kept(copied, 1, 1.5)
    first = next(iter(arrays))
    file = copied / "snapshots" / "epoch-0001.weights.npz"
    np.savez_compressed(file, **(arrays | {first: np.zeros(20_000_000, np.float32)}))
    assert file.stat().st_size < 200_000
    with pytest.raises(RunError, match="it has more than"):
        content_of_run(copied, 0, None)


SHARED = {
    "style": "functional",
    "blocks": {"unit": {"layers": [{"conv2d": {"filters": 3, "kernel_size": 3, "padding": "same"}}, "batch_normalization"]}},
    "layers": [
        "unit",
        {"conv2d": {"filters": 1, "kernel_size": 1}},
        {"use": "unit"},
        "flatten",
        {"dense": {"units": "classes"}},
    ],
}


def test_snapshots_of_shared_weights_have_them_once(tmp_path: Path) -> None:
    run = trained(tmp_path / "shared", model=SHARED, log={"tensorboard": False, "snapshots": 2})
    content = content_of_run(run, 0, None)
    network = content.data["network"]
    assert [each["epoch"] for each in content.data["snapshots"]] == [0, 2]
    layers = {layer["name"]: layer for layer in network["layers"]}
    assert layers["use/conv2d"]["weights"] == layers["unit/conv2d"]["weights"]
    model = open_trained(run).model
    assert network["weights_count"] == model.count_params()
    sets = np.frombuffer(content.weights, "<f4").reshape(2, network["weights_count"])
    unit = model.get_layer("unit").get_layer("conv2d")
    found = sets[1][layers["use/conv2d"]["weights"]["kernel"]["offset"] :][: unit.kernel.shape.num_elements()]
    assert np.array_equal(found, np.asarray(unit.kernel).ravel())


def test_a_link_out_of_the_run_is_not_followed(copied: Path, tmp_path: Path) -> None:
    kept(copied, 1, 1.5)
    file = copied / "snapshots" / "epoch-0001.weights.npz"
    file.rename(tmp_path / "outside.npz")
    file.symlink_to(tmp_path / "outside.npz")
    with pytest.raises(Exception, match="epoch-0001"):
        content_of_run(copied, 0, None)


# choosing images


def test_images_of_each_class_come_first_then_the_worst_then_right_ones() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    guessed = np.array([1, 0, 1, 0, 2, 2, 0, 2])
    probabilities = np.full((8, 3), 0.2)
    probabilities[np.arange(8), guessed] = 0.6
    probabilities[3] = [0.8, 0.1, 0.1]  # the worst: its class has 0.1
    tags = chosen_tags(labels, probabilities, 6)
    assert list(tags)[:2] == [1, 4]  # a right one of the first and of the last class: a third of six
    assert tags[1] == tags[4] == ("class", "right")
    assert list(tags)[2:4] == [3, 0]
    assert tags[3] == tags[0] == ("worst",)
    assert all(reasons == ("right",) for reasons in list(tags.values())[4:])
    assert len(tags) == 6


@pytest.mark.parametrize("count", [1, 2, 7, 30, 100])
def test_as_many_images_are_chosen_as_asked_for_or_all(count: int) -> None:
    generator = np.random.default_rng(count)
    labels = generator.integers(0, 5, 60)
    probabilities = generator.dirichlet(np.ones(5), 60)
    for given in (probabilities, None):
        tags = chosen_tags(labels, given, count)
        # of mistakes, no more than a third are shown
        assert len(tags) <= count
        assert len(tags) >= min(count, 40) * 0.6
        assert set(tags) <= set(range(60))


def test_many_classes_are_evenly_chosen() -> None:
    labels = np.arange(1000)
    tags = chosen_tags(labels, None, 30)
    classes = sorted(labels[position] for position, reasons in tags.items() if "class" in reasons)
    assert len(classes) == 10
    assert classes[0] == 0
    assert classes[-1] == 999


def test_partners_end_with_the_shown_images_where_there_are_no_others() -> None:
    chosen = partners(10, [0, 1, 2], 9)
    assert set(chosen[:7]) == set(range(3, 10))
    assert set(chosen[7:]) <= {0, 1, 2}


# the look of the data


@pytest.mark.parametrize(("paper", "ink"), [(0, 255), (255, 0), (30, 200)])
@pytest.mark.parametrize("width", [1.5, 2.5, 4])
def test_the_look_of_lines_is_measured(paper: int, ink: int, width: int) -> None:
    rows, columns = np.mgrid[:64, :64] - 31.5
    lines = []
    for angle in np.linspace(0, np.pi, 24):
        along, across = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
        share = np.clip(width / 2 + 0.5 - np.abs(across), 0, 1) * (np.abs(along) < 24)
        lines.append(paper + (ink - paper) * share)
    look = look_of(np.array(lines).round().astype(np.uint8)[..., np.newaxis])
    assert abs(look.paper - paper) <= 1
    assert abs(look.ink - ink) <= 1
    assert look.stroke == pytest.approx(width, rel=0.3)


def test_no_images_have_the_look_of_white_ink_on_black() -> None:
    assert look_of(np.zeros((0, 1, 1, 1), np.uint8)) == Look(0, 255, 2.0)
    assert look_of(np.full((3, 8, 8, 1), 9, np.uint8)).stroke > 0


def test_the_order_in_which_pillow_resizes_tall_images_is_found() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 30), np.uint8))
    columns_first = image.resize((30, 20), Image.Resampling.BILINEAR).resize((10, 20), Image.Resampling.BILINEAR)
    direct = image.resize((10, 20), Image.Resampling.BILINEAR)
    assert tall_first() == (direct.tobytes() == columns_first.tobytes())
