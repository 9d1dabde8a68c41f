"""A checked config says everything, wherever it was found, and its copy in the run folder says the same."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnnctl.errors import ConfigError
from cnnctl.run_folder import RunFolder
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import METHOD, Experiment
from cnnctl.spec.layers import LAYERS, BlockUse, Layer, Repeat, Use
from cnnctl.spec.load import check, load
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
from cnnctl.spec.section import Named, Section
from cnnctl.spec.training import LOSS
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER
from tests.custom import use_layers_of

ROOT = Path(__file__).parents[2]
EVERYTHING = Path(__file__).parent / "everything.yaml"
EVERYTHING_FEW_SHOT = Path(__file__).parent / "everything_few_shot.yaml"
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
STACK = "model: {layers: [flatten, dense: {units: classes}]}\n"


@pytest.fixture(autouse=True)
def _no_prepared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "no-such-folder")


def checked(text: str) -> Experiment:
    return check(parse(text, "x.yaml"))


def facts(experiment: Experiment) -> tuple[Any, ...]:
    data = experiment.data
    return data.image_size, data.channels, data.classes


# what a checked config says


def test_a_checked_config_says_what_the_file_leaves_to_the_source() -> None:
    experiment = checked("data: {source: digits}\n" + STACK)
    assert facts(experiment) == ((8, 8), 1, 10)
    assert (experiment.data.validation, experiment.data.test) == (0.1, 0.2)
    assert (experiment.seed, experiment.train.batch_size, experiment.log.tensorboard) == (0, 128, True)


def test_images_reach_the_network_with_channels_where_the_model_wants_them() -> None:
    text = "data: {source: digits, image_size: [10, 12], channels: 3}\n"
    assert checked(text + STACK).network.image == (10, 12, 3)
    assert checked(text + STACK.replace("{layers", "{data_format: channels_first, layers")).network.image == (3, 10, 12)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{source: tfds, name: mnist}", ((28, 28), 1, 10)),
        ("{source: tfds, name: cifar100}", ((32, 32), 3, 100)),
        ("{source: tfds, name: emnist/balanced}", ((28, 28), 1, 47)),
        ("{source: tfds, name: mnist, image_size: 32, channels: 3}", ((32, 32), 3, 10)),  # the config comes first
        ("{source: tfds, name: cats_vs_dogs, image_size: [90, 120]}", ((90, 120), 3, 2)),
        ("{source: tfds, name: my_letters, image_size: 20, channels: 1, classes: 26}", ((20, 20), 1, 26)),
    ],
)
def test_facts_come_from_the_config_then_from_the_table(data: str, expected: tuple[Any, ...]) -> None:
    experiment = checked(f"data: {data}\n{STACK}")
    assert facts(experiment) == expected
    assert experiment.data.test == "test"


def prepare(folder: Path, dimensions: list[int], classes: int) -> None:
    """Writes the metadata of a prepared TFDS set, as tensorflow-datasets 4.9 does."""
    folder.mkdir(parents=True)
    image = {"image": {"dtype": "uint8", "shape": {"dimensions": [str(n) for n in dimensions]}}}
    label = {"classLabel": {"numClasses": str(classes)}}
    features = {"featuresDict": {"features": {"image": image, "label": label}}}
    (folder / "features.json").write_text(json.dumps(features))


def test_facts_of_sets_outside_the_table_come_from_prepared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path / "my_letters" / "1.9.0", [20, 20, 1], 26)
    prepare(tmp_path / "my_letters" / "1.10.0", [24, 20, 3], 27)  # newer than 1.9.0
    prepare(tmp_path / "mnist" / "3.0.1", [14, 14, 3], 5)  # the table comes first
    prepare(tmp_path / "my_signs" / "small" / "1.0.0", [20, 20, 1], 26)  # of a config that the name does not say
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    text = "data: {source: tfds, name: %s}\n" + STACK
    assert facts(checked(text % "my_letters")) == ((24, 20), 3, 27)
    assert facts(checked(text % "my_letters, image_size: 8")) == ((8, 8), 3, 27)
    assert facts(checked(text % "'my_letters:1.9.0'")) == ((20, 20), 1, 26)
    assert facts(checked(text % "mnist")) == ((28, 28), 1, 10)
    assert facts(checked(text % "'mnist:3.0.1'")) == ((28, 28), 1, 10)
    with pytest.raises(ConfigError, match="the dataset 'my_signs' is neither known nor prepared"):
        checked(text % "my_signs")


def test_data_dir_counts_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path / "here" / "my_letters" / "big" / "1.0.0", [20, 20, 1], 26)
    prepare(tmp_path / "there" / "my_letters" / "big" / "1.0.0", [30, 30, 3], 52)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "there"))
    text = "data: {source: tfds, name: my_letters/big%s}\n" + STACK
    assert facts(checked(text % "")) == ((30, 30), 3, 52)
    assert facts(checked(text % f", data_dir: {tmp_path / 'here'}")) == ((20, 20), 1, 26)


def test_prepared_images_of_many_sizes_need_a_size_from_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path / "my_photos" / "1.0.0", [-1, -1, 3], 4)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    text = "data: {source: tfds, name: my_photos%s}\n" + STACK
    with pytest.raises(ConfigError, match=r"differ in size; write image_size: \[28, 28\] under data"):
        checked(text % "")
    assert facts(checked(text % ", image_size: [40, 60]")) == ((40, 60), 3, 4)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("I;16", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)])
def test_facts_of_a_folder_come_from_its_classes_and_its_first_image(mode: str, channels: int, tmp_path: Path) -> None:
    for name in ("b", "a", "c", ".hidden"):
        (tmp_path / name).mkdir()
    Image.new(mode, (7, 9)).save(tmp_path / "a" / "1.PNG")
    Image.new("RGB", (5, 5)).save(tmp_path / "b" / "0.png")
    (tmp_path / "a" / "0.txt").write_text("no image")
    experiment = checked(f"data: {{source: folder, path: {tmp_path}}}\n{STACK}")
    assert facts(experiment) == ((9, 7), channels, 3)
    assert experiment.data.test == 0.2


def test_a_folder_with_train_and_test_uses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            Image.new("L", (6, 6)).save(tmp_path / "images" / split / name / "1.png")
    monkeypatch.chdir(tmp_path)
    data = checked(f"data: {{source: folder, path: images}}\n{STACK}").data
    assert (data.image_size, data.classes, data.test) == ((6, 6), 2, "test")
    assert data.path == str(tmp_path / "images"), "a resolved path means the same from any folder"


# folders of images


def folder_of(root: Path, *classes: str) -> str:
    """Writes a folder with a grey image of 6×6 for each class, such as `train/a`; returns a config that takes it."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6)).save(root / name / "5.png")
    return f"data: {{source: folder, path: {root}%s}}\n{STACK}"


def header_of_a_bomb(side: int) -> bytes:
    """Returns a PNG whose header says that it has side×side pixels, and no more."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (header, b"IDAT")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is an empty file"),
        (b"broken", "not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM"),
        (header_of_a_bomb(60_000), "it has more than 100,000,000 pixels"),
    ],
    ids=["empty", "broken", "bomb"],
)
def test_a_first_image_that_is_broken_is_named_where_its_size_is_needed(content: bytes, reason: str, tmp_path: Path) -> None:
    text = folder_of(tmp_path, "a", "b")
    (tmp_path / "a" / "1.png").write_bytes(content)
    message = rf"x\.yaml:1:24  data\.path: .*/a/1\.png: cannot be read as an image \({reason}.*\); replace or remove it"
    with pytest.raises(ConfigError, match=message):
        checked(text % "")
    assert facts(checked(text % ", image_size: 5, channels: 1")) == ((5, 5), 1, 2)


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    text = folder_of(tmp_path, "a", "b")
    (tmp_path / "a" / "._5.png").write_bytes(b"what macOS knows of 5.png")
    assert facts(checked(text % "")) == ((6, 6), 1, 2)


@pytest.mark.parametrize(("orientation", "size"), [(1, (7, 9)), (3, (7, 9)), (5, (9, 7)), (6, (9, 7)), (8, (9, 7))])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_an_image_that_lies_on_its_side_has_the_size_that_is_seen(
    orientation: int, size: tuple[int, int], suffix: str, tmp_path: Path
) -> None:
    text = folder_of(tmp_path, "a", "b")
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (9, 7)).save(tmp_path / "a" / f"1.{suffix}", exif=exif)
    assert facts(checked(text % "")) == (size, 3, 2)


@pytest.mark.parametrize("field", ["train", "validation", "test"])
def test_a_split_that_has_no_folder_is_refused(field: str, tmp_path: Path) -> None:
    text = folder_of(tmp_path, "train/a", "train/b")
    (tmp_path / "empty").mkdir()
    for split in ("exam", "empty"):
        message = rf"data\.{field}: there is no split '{split}', a folder {tmp_path}/{split} with a folder for each class"
        with pytest.raises(ConfigError, match=message):
            checked(text % f", {field}: {split}")


@pytest.mark.parametrize(("more", "test"), [("", "test"), (", validation: val", "test"), (", test: 0.3", 0.3)])
def test_splits_beside_flat_classes_are_no_classes(more: str, test: object, tmp_path: Path) -> None:
    text = folder_of(tmp_path, "cat", "dog", "test/cat", "test/dog", "val/cat")
    (tmp_path / "empty").mkdir()
    experiment = checked(text % more)
    assert (experiment.data.classes, experiment.data.test) == (3, test), "cat, dog and empty"


def test_a_folder_of_folders_beside_flat_classes_is_a_class_unless_it_is_named(tmp_path: Path) -> None:
    text = folder_of(tmp_path, "cat", "dog", "held_out/cat", "held_out/dog")
    assert checked(text % "").data.classes == 3, "as Keras and torchvision read it"
    assert checked(text % ", test: held_out").data.classes == 2


def test_a_class_called_test_is_no_split(tmp_path: Path) -> None:
    experiment = checked(folder_of(tmp_path, "control", "test") % "")
    assert (experiment.data.classes, experiment.data.test) == (2, 0.2)


def test_a_folder_of_one_class_is_refused(tmp_path: Path) -> None:
    message = f"the folder '{tmp_path}' has one class folder, 'cat'; put the images of each class into a separate folder"
    with pytest.raises(ConfigError, match=message):
        checked(folder_of(tmp_path, "cat") % ", image_size: 6, channels: 1, classes: 4")


@pytest.mark.parametrize("secret", ["", "a"])
def test_a_folder_that_may_not_be_read_is_named(secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = folder_of(tmp_path, "a", "b")
    listed = os.scandir

    def scandir(folder: Path) -> Any:  # root may read every folder, so no mode of a folder would do
        if folder == tmp_path / secret:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    message = rf"x\.yaml:1:24  data\.path: '{tmp_path / secret}' cannot be read: Permission denied"
    with pytest.raises(ConfigError, match=message):
        checked(text % "")


def test_many_names_of_one_split_are_told_apart() -> None:
    text = "data: {source: tfds, name: mnist, train: 'train[10%%:]', validation: 'train[:10%%]', test: %s}\n" + STACK
    assert checked(text % "test").data.validation == "train[:10%]"
    with pytest.raises(
        ConfigError, match=r"data\.test: 'train' shares images with data\.train \('train\[10%:\]'\), so the network"
    ):
        checked(text % "train")


# problems of several parts


@pytest.mark.parametrize("train", ["{epoch: 3}", "[3]", "{optimizer: {adam: {learning_rate: fast}}}"])
def test_an_error_under_train_does_not_hide_a_stack_that_does_not_fit(train: str) -> None:
    text = f"data: {{source: digits}}\nmodel: {{layers: [conv2d: {{filters: 1, kernel_size: 9}}]}}\ntrain: {train}\n"
    with pytest.raises(ConfigError, match=r"needs 9 pixels of height but receives 8") as caught:
        checked(text)
    assert [problem.location.split(":")[1] for problem in caught.value.problems] == ["2", "3"]


def test_an_error_in_the_data_does_not_hide_one_in_the_wiring_of_typed_layers() -> None:
    with pytest.raises(ConfigError, match=r"(?s)source: unknown source.*unknown layer 'flaten'"):
        checked("data: {source: disk}\nmodel: {layers: [flaten]}\n")


def test_overrides_are_checked_like_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("data: {source: digits}\n" + STACK)
    assert load(file, ["train.epochs=2", "data.labels=one_hot"]).train.epochs == 2
    with pytest.raises(ConfigError, match=r"--set train\.epochs=0  train\.epochs: expected a number greater than 0"):
        load(file, ["train.epochs=0"])


# the copy in the run folder


def written_and_read(experiment: Experiment, folder: Path) -> Experiment:
    run = RunFolder(folder)
    run.write_config(experiment)
    return load(run.config)


@pytest.mark.parametrize("file", [*SHIPPED, EVERYTHING, EVERYTHING_FEW_SHOT], ids=lambda file: file.stem)
def test_config_yaml_of_a_run_loads_to_the_same_experiment(file: Path, tmp_path: Path) -> None:
    experiment = load(use_layers_of(file))
    again = written_and_read(experiment, tmp_path)
    assert again == experiment
    assert again.network == experiment.network


VALUES = {"learning_rate": 0.3, "boundaries": ["1 epochs", 30], "values": [0.1, 0.02, 1e-5]}
"""For required fields that a plain 0.5 does not suit."""


def each_with_fields(named: Named) -> Iterator[dict[str, Any]]:
    """Yields every choice, its required fields said."""
    for kind, choice in named.choices.items():
        yield {kind: {field: VALUES.get(field, 0.5) for field in choice.required()}}


CHOICES = [
    *(("optimizer", each) for each in each_with_fields(OPTIMIZER)),
    *(("optimizer", {"sgd": {"learning_rate": each}}) for each in each_with_fields(SCHEDULE)),
    *(("optimizer", {"sgd": {"learning_rate": {"cosine": fields}}}) for fields in (
        {"initial_learning_rate": 0, "decay_steps": "1.5 epochs", "alpha": 0.1, "warmup_target": 1e-7, "warmup_steps": 20},
        {"initial_learning_rate": 1e-30, "decay_steps": 100},
    )),
    *(("alpha_initializer" if "stft" in each else "kernel_initializer", each) for each in each_with_fields(INITIALIZER)),
    *(("kernel_regularizer", each) for each in each_with_fields(REGULARIZER)),
    *(("kernel_constraint", each) for each in each_with_fields(CONSTRAINT)),
    *(("loss", each) for each in each_with_fields(LOSS)),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), CHOICES, ids=lambda value: next(iter(value)) if isinstance(value, dict) else value)
def test_every_optimizer_schedule_loss_and_weight_option_survives_config_yaml(field: str, value: Any, tmp_path: Path) -> None:
    labels = "one_hot" if value == {"categorical_crossentropy": {}} else "integer"
    content: dict[str, Any] = {
        "data": {"source": "digits", "labels": labels, "channels": 3},
        "model": {"layers": [{"prelu": {}}, "flatten", {"dense": {"units": "classes"}}]},
        "train": {},
    }
    prelu, _, dense = content["model"]["layers"]
    where = content["train"] if field in ("optimizer", "loss") else prelu["prelu"] if "alpha" in field else dense["dense"]
    where[field] = value
    experiment = checked(json.dumps(content))
    assert written_and_read(experiment, tmp_path) == experiment


@pytest.mark.parametrize("text", ["1e3", "08", "yes", "null", "2024-01-01", "a: b", "ünï", "-", "<<", "1:30", " x "])
def test_a_text_that_looks_like_something_else_survives_config_yaml(text: str, tmp_path: Path) -> None:
    content = {"source": "tfds", "name": "mnist", "train": text}
    experiment = checked(f"data: {json.dumps(content)}\n{STACK}")
    assert written_and_read(experiment, tmp_path).data.train == text


METHODS: list[Any] = [
    *METHOD.choices,
    {"prototypical": {"distance": "cosine"}},
    {"maml": {"inner_steps": 3, "inner_learning_rate": 1e-2, "first_order": True, "test_steps": 10}},
    {"cosine_classifier": {"scale": 8.0}},
]


@pytest.mark.parametrize(
    "method", METHODS, ids=lambda method: method if isinstance(method, str) else f"{next(iter(method))} in full"
)
def test_every_method_survives_config_yaml(method: Any, tmp_path: Path) -> None:
    content = {
        "task": "few_shot",
        "data": {"source": "digits"},
        "few_shot": {"method": method},
        "model": {"layers": ["flatten"]},
    }
    experiment = checked(json.dumps(content))
    assert written_and_read(experiment, tmp_path) == experiment


def test_the_learners_in_full_say_every_field() -> None:
    said = [(kind, set(fields)) for each in METHODS if isinstance(each, dict) for kind, fields in each.items()]
    assert said == [(kind, set(method.model_fields)) for kind, method in METHOD.choices.items()]


def layers_of(items: list[Section]) -> Iterator[Layer]:
    for item in items:
        if isinstance(item, Repeat | BlockUse):
            yield from layers_of(item.layers)
        else:
            assert isinstance(item, Layer)
            yield item


def test_everything_yaml_says_every_field_of_every_layer() -> None:
    experiment = load(EVERYTHING)
    said: dict[type[Layer], set[str]] = {}
    for layer in layers_of(experiment.model.layers):
        said.setdefault(type(layer), set()).update(layer.model_fields_set)
    every: tuple[type[Layer], ...] = (*LAYERS, Use)
    assert said == {kind: set(kind.model_fields) for kind in every}


SECTIONS = {
    "data": {"path", "keys", "labels_file", "class_folders", "follow_links"},
    "model": set(),
    "few_shot": set(),
    "train": set(),
    "log": set(),
    "sweep": set(),
}
"""With the fields that another source alone has."""


def test_the_two_files_of_everything_say_every_field_of_every_section() -> None:
    experiments = [load(EVERYTHING), load(EVERYTHING_FEW_SHOT)]
    for name, unsaid in SECTIONS.items():
        sections = [section for each in experiments if (section := getattr(each, name)) is not None]
        said = set.union(*(section.model_fields_set for section in sections))
        assert said | unsaid == set(type(sections[0]).model_fields), name
    assert set.union(*(each.model_fields_set for each in experiments)) == set(Experiment.model_fields)


def test_no_field_of_a_few_shot_task_is_said_at_its_default() -> None:
    experiment = load(EVERYTHING_FEW_SHOT)
    assert experiment.few_shot
    at_default = [
        name
        for name, field in type(experiment.few_shot).model_fields.items()
        if getattr(experiment.few_shot, name) == field.default
    ]
    assert at_default == []


def test_config_yaml_says_every_field(tmp_path: Path) -> None:
    """So that a default that changes later does not change an old run."""
    run = RunFolder(tmp_path)
    run.write_config(checked("data: {source: digits}\n" + STACK))
    text = run.config.read_text()
    for field in (
        "learning_rate: 0.001",
        "beta_1: 0.9",
        "split_seed: 0",
        "glorot_uniform",
        "use_bias: true",
        "image_size: [8, 8]",
        "task: classification",
        "hold_out: image",
        "shared_classes: refuse",
    ):
        assert field in text


def test_config_yaml_of_a_few_shot_task_says_every_field(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_config(checked("task: few_shot\ndata: {source: digits}\nmodel: {layers: [flatten]}\nfew_shot: {method: maml}\n"))
    text = run.config.read_text()
    for field in (
        "task: few_shot",
        "hold_out: class",
        "inner_steps: 1",
        "inner_learning_rate: 0.4",
        "way: 5",
        "rotations: false",
    ):
        assert field in text


def test_a_network_is_computed_once_and_again_for_a_copy_that_changes_it() -> None:
    experiment = load(Path(__file__).parents[2] / "configs/mnist.yaml")
    assert experiment.network is experiment.network
    data = experiment.data.model_copy(update={"image_size": (14, 14), "channels": 3})
    changed = experiment.model_copy(update={"data": data})
    assert (experiment.network.image, changed.network.image) == ((28, 28, 1), (14, 14, 3))
