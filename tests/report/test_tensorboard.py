"""What TensorBoard is given, read back with its own reader: tags, steps and values, for both loops and all styles."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from numpy.typing import NDArray
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import config_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from cnnctl.data.sources.opening import named_outputs
from cnnctl.errors import Interrupted, RunError
from cnnctl.report.tensorboard import events as events_module
from cnnctl.report.tensorboard import summaries
from cnnctl.report.tensorboard.observer import Predictions, TensorBoardObserver, _endings, _since
from cnnctl.report.tensorboard.reading import scalars as read_scalars
from cnnctl.run_folder import RunFolder
from cnnctl.session.session import board_of
from cnnctl.session.session import train as train_session
from cnnctl.session.state import Session
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.observers import EpochRecord, StepsRecord
from tests.interruptions import prepared

KINDS = [("custom", "functional"), ("fit", "subclass"), ("fit", "sequential")]
LAYERS: list[Any] = [
    {"conv2d": {"filters": 4, "kernel_size": 3, "activation": "relu"}},
    {"batch_normalization": {"momentum": 0.9}},
    "max_pooling2d",
    "flatten",
    {"dropout": {"rate": 0.3}},
    {"dense": {"units": "classes"}},
]
NAMES = ["conv2d", "batch_normalization", "max_pooling2d", "flatten", "dropout", "dense"]
WEIGHTS = {
    *(f"conv2d/{name}" for name in ("kernel", "bias")),
    *(f"batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
    *(f"dense/{name}" for name in ("kernel", "bias")),
}
EPOCHS, STEPS = 4, 8  # 359 training images in batches of 48, the last of 23


def experiment(loop: str = "custom", style: str = "sequential", log: dict[str, Any] | None = None) -> Experiment:
    content = {
        "data": {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.7, "validation": 0.1}
        | {"augment": {"rotation": 10}},
        "model": {"style": style, "layers": LAYERS},
        "train": {"loop": loop, "epochs": EPOCHS, "batch_size": 48},
        "log": log or {},
    }
    return Experiment.model_validate(content)


def train(spec: Experiment, folder: Path) -> Session:
    folder.mkdir(exist_ok=True)
    session = prepared(spec)
    train_session(session, RunFolder(folder))
    return session


@dataclass(frozen=True)
class Run:
    folder: Path
    session: Session

    def values(self, tag: str) -> list[tuple[int, Any]]:
        """Returns (step, value) of a tag."""
        return [(event.step, make_ndarray(event.tensor_proto)) for event in read(self.folder).Tensors(tag)]

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.folder / "metrics.csv").read_text().splitlines()))


def read(folder: Path) -> EventAccumulator:
    """Returns TensorBoard's own reader of the one event file of a run."""
    files = list((folder / "tensorboard").rglob("*tfevents*"))
    assert len(files) == 1
    found = EventAccumulator(str(files[0]), size_guidance={"tensors": 0})
    found.Reload()
    return found


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("board") / "run"
    loop, style = request.param
    return Run(folder, train(experiment(loop, style, {"every_epochs": 2}), folder))


def plugin_of(found: EventAccumulator, tag: str) -> str:
    return str(found.SummaryMetadata(tag).plugin_data.plugin_name)


# Scalars


def test_the_epochs_numbers_are_those_of_metrics_csv(run: Run) -> None:
    for part, column in (("train", "train_"), ("validation", "validation_")):
        for tag in ("loss", "accuracy"):
            expected = [(int(row["step"]), float(row[column + tag])) for row in run.rows()]
            assert run.values(f"{tag}/{part}") == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
    for tag in ("learning_rate", "images_per_second"):
        expected = [(int(row["step"]), float(row[tag])) for row in run.rows()]
        assert run.values(f"training/{tag}") == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_the_points_within_an_epoch_have_the_epochs_mean(run: Run) -> None:
    points = run.values("steps/loss")
    assert [step for step, _ in points] == list(range(1, EPOCHS * STEPS + 1))  # 32 steps are fewer than 50 points
    sizes = np.array([48] * 7 + [run.session.task.splits.train.labels.size - 7 * 48])
    for epoch, row in enumerate(run.rows()):
        losses = [float(value) for _, value in points[epoch * STEPS : (epoch + 1) * STEPS]]
        assert np.average(losses, weights=sizes) == pytest.approx(float(row["train_loss"]), rel=1e-4)


def test_the_test_is_at_the_last_step(run: Run) -> None:
    result = json.loads((run.folder / "result.json").read_text())
    assert run.values("test/loss") == [(EPOCHS * STEPS, pytest.approx(result["test_loss"], rel=1e-6))]
    assert run.values("test/accuracy") == [(EPOCHS * STEPS, pytest.approx(result["test_accuracy"], rel=1e-6))]


def test_means_between_two_records_are_those_of_the_images_between() -> None:
    first = StepsRecord(1, 3, 3, 30, 0.1, loss=2.0, accuracy=0.5)
    then = StepsRecord(1, 4, 4, 40, 0.2, loss=1.75, accuracy=0.6)
    assert _since(first, then) == {"steps/loss": pytest.approx(1.0), "steps/accuracy": pytest.approx(0.9)}


# What goes on inside


def test_histograms_hold_every_weight_gradient_and_activation(run: Run) -> None:
    found = read(run.folder)
    tags = {tag for tag in found.Tags()["tensors"] if plugin_of(found, tag) == "histograms"}
    trained = {name for name in WEIGHTS if "moving" not in name}
    expected = {f"weights/{name}" for name in WEIGHTS} | {f"weight_gradients/{name}" for name in trained}
    assert tags == expected | {f"outputs/{name}" for name in NAMES}
    for tag in tags:
        assert [event.step for event in found.Tensors(tag)] == [STEPS, 2 * STEPS, 4 * STEPS]  # epochs 1, 2 and 4


@pytest.mark.parametrize(
    "values", [[1e30] * 3, [1e30, np.nextafter(1e30, 2e30)], [5.0] * 4, [0.0], [np.nan, np.inf], [1, 2, 3]]
)
def test_values_however_close_have_a_histogram(values: list[float]) -> None:
    found = summaries.histograms("weights", {"a": np.array(values)}).value[0].tensor
    rows = make_ndarray(found)
    assert rows[:, 2].sum() == np.isfinite(values).sum()
    assert np.isfinite(rows).all()


def test_a_histogram_of_the_weights_is_that_of_the_saved_network(run: Run) -> None:
    kernel = run.session.task.learner.model.get_layer("dense").kernel.numpy()
    step, buckets = run.values("weights/dense/kernel")[-1]
    assert step == EPOCHS * STEPS
    assert buckets[0, 0] == pytest.approx(kernel.min())
    assert buckets[-1, 1] == pytest.approx(kernel.max())
    assert buckets[:, 2].sum() == kernel.size
    counts, _ = np.histogram(kernel.astype(np.float64), bins=np.append(buckets[:, 0], buckets[-1, 1]))
    assert np.abs(counts - buckets[:, 2]).sum() <= 2  # a value on an edge may fall to either side


def test_the_gradient_norm_is_that_of_the_gradients(run: Run) -> None:
    seen = board_of(run.session, RunFolder(run.folder))._diagnostics.snapshot()
    norm = np.sqrt(sum(np.square(gradient).sum() for gradient in seen.gradients.values()))
    step, value = run.values("training/gradient_norm")[-1]
    assert step == EPOCHS * STEPS
    assert float(value) == pytest.approx(float(norm), rel=1e-5)
    for layer in ("conv2d", "batch_normalization", "dense"):
        of_layer = np.concatenate([array.ravel() for name, array in seen.gradients.items() if name.startswith(f"{layer}/")])
        step, value = run.values(f"training/gradient_norm/{layer}")[-1]
        assert step == EPOCHS * STEPS
        assert float(value) == pytest.approx(float(np.linalg.norm(of_layer)), rel=1e-5)


def test_the_norms_of_the_gradients_are_read_back_without_tensorflow(run: Run) -> None:
    found = read_scalars(run.folder / "tensorboard", "training/gradient_norm/", run.folder)
    assert list(found) == ["conv2d", "batch_normalization", "dense"]
    for layer, values in found.items():
        assert values == [(step, float(value)) for step, value in run.values(f"training/gradient_norm/{layer}")]


def test_watching_changes_nothing(run: Run, tmp_path: Path) -> None:
    spec = run.session.experiment
    blind = train(experiment(spec.train.loop, spec.model.style, log={"tensorboard": False}), tmp_path / "run")
    for watched, plain in zip(run.session.task.learner.model.variables, blind.task.learner.model.variables, strict=True):
        np.testing.assert_array_equal(watched.numpy(), plain.numpy())


def test_gradients_are_those_of_a_training_step() -> None:
    """Against a tape around an ordinary call, whose changes of state come after."""
    session = prepared(experiment())
    diagnostics = board_of(session, RunFolder(Path("nowhere")))._diagnostics
    seen = diagnostics.snapshot()
    model = session.task.learner.model
    before = [variable.numpy() for variable in model.variables]
    with tf.GradientTape() as tape:
        loss = session.task.learner.loss(diagnostics._batch[1], model(diagnostics.images, training=True))
    expected = tape.gradient(loss, model.trainable_variables)
    for found, gradient in zip(seen.gradients.values(), expected, strict=True):
        np.testing.assert_allclose(found, gradient.numpy(), rtol=1e-5, atol=1e-7)
    assert not all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.variables, strict=True))


def test_looking_leaves_every_state_as_it_was() -> None:
    session = prepared(experiment())
    diagnostics = board_of(session, RunFolder(Path("nowhere")))._diagnostics
    before = [variable.numpy() for variable in session.task.learner.model.variables]
    diagnostics.snapshot()
    for old, variable in zip(before, session.task.learner.model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


# Pictures


def pictures(run: Run) -> dict[str, list[tuple[int, NDArray[np.uint8]]]]:
    found = read(run.folder)
    tags = [tag for tag in found.Tags()["tensors"] if plugin_of(found, tag) == "images"]
    return {
        tag: [(step, np.asarray(Image.open(io.BytesIO(value[2])).convert("RGB"))) for step, value in run.values(tag)]
        for tag in tags
    }


def test_pictures_show_images_filters_and_feature_maps(run: Run) -> None:
    found = pictures(run)
    maps = {f"maps/{name}" for name in ("conv2d", "batch_normalization", "max_pooling2d")}
    assert set(found) == {
        "pictures/training_images",
        "pictures/filters/conv2d",
        "pictures/confusion_matrix",
        "pictures/worst_mistakes",
        *maps,
    }
    assert [step for step, _ in found["pictures/training_images"]] == [0]
    assert [step for step, _ in found["pictures/filters/conv2d"]] == [STEPS, 2 * STEPS, 4 * STEPS]


def test_training_images_are_shown_as_the_network_sees_them(run: Run) -> None:
    """The first tile, shrunk again, is the first image that the board has, augmented."""
    sheet = pictures(run)["pictures/training_images"][0][1]
    seen = np.asarray(board_of(run.session, RunFolder(run.folder))._diagnostics.images[0])
    times = sheet.shape[0] // (5 * 9 - 1)
    tile = sheet[: 8 * times : times, : 8 * times : times, 0]
    np.testing.assert_array_equal(tile, np.rint(seen[..., 0] * 255))
    plain = run.session.task.splits.train.images[0]
    assert not np.array_equal(tile, plain[..., 0])


def test_the_end_shows_the_confusion_matrix_and_the_worst_mistakes(run: Run) -> None:
    found = pictures(run)
    assert all(
        [step for step, _ in found[name]] == [EPOCHS * STEPS]
        for name in ("pictures/confusion_matrix", "pictures/worst_mistakes")
    )


# Graphs, texts, hyperparameters


def test_the_network_is_a_graph_in_every_style(run: Run) -> None:
    graph = read(run.folder).Graph()
    assert [node.name for node in graph.node] == ["input", *NAMES]
    assert [list(node.input) for node in graph.node] == [[], ["input"], *([name] for name in NAMES[:-1])]
    dense = graph.node[-1]
    assert [dim.size for dim in dense.attr["_output_shapes"].list.shape[0].dim] == [-1, 10]
    assert dense.attr["parameters"].i == 36 * 10 + 10


BLOCKS = {
    "unit": {
        "layers": [{"conv2d": {"filters": 4, "kernel_size": 3, "padding": "same", "use_bias": False}}, "batch_normalization"]
    },
    "stage": {"layers": ["unit", "unit", {"add": {"inputs": ["unit_1", "input"]}}]},
}


@pytest.fixture(scope="module", params=[("custom", "functional"), ("fit", "subclass")], ids="-".join)
def run_of_blocks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks") / "run"
    loop, style = request.param
    plain = experiment(loop, style, {"every_epochs": 2}).model_dump(mode="json", exclude_unset=True)
    plain["model"] = {
        "style": style,
        "blocks": BLOCKS,
        "layers": [
            LAYERS[0],
            "stage",
            {"use": {"layer": "stage", "name": "again"}},
            "flatten",
            {"dense": {"units": "classes"}},
        ],
    }
    plain["train"]["epochs"] = 2
    train(Experiment.model_validate(plain), folder)
    return folder


def test_the_graph_has_a_scope_for_every_block(run_of_blocks: Path) -> None:
    graph = {node.name: node for node in read(run_of_blocks).Graph().node}
    scopes = {name.rpartition("/")[0] for name in graph}
    assert scopes == {"", "stage", "stage/unit", "stage/unit_1", "again", "again/unit", "again/unit_1"}
    assert scopes & set(graph) == set()  # TensorBoard would draw a node with the name of a scope inside it
    assert list(graph["stage/unit/conv2d"].input) == ["conv2d"]
    assert list(graph["again/add"].input) == ["again/unit_1/batch_normalization", "stage/add"]
    assert graph["again/unit/conv2d"].attr["shares_weights_of"].s == b"stage/unit/conv2d"
    assert graph["again/unit/conv2d"].attr["parameters"].i == 0
    assert "shares_weights_of" not in graph["stage/unit/conv2d"].attr


def test_tags_of_layers_in_blocks_have_their_full_names_and_shared_weights_are_there_once(run_of_blocks: Path) -> None:
    tags = read(run_of_blocks).Tags()["tensors"]
    of = {group: {tag for tag in tags if tag.startswith(group + "/")} for group in ("weights", "weight_gradients", "outputs")}
    kernels = {f"stage/{unit}/conv2d/kernel" for unit in ("unit", "unit_1")}
    for group in ("weights", "weight_gradients"):
        assert {tag.removeprefix(f"{group}/") for tag in of[group] if tag.endswith("kernel")} == {
            "conv2d/kernel", "dense/kernel", *kernels
        }  # fmt: skip
    assert {"outputs/stage/unit/conv2d", "outputs/again/unit/conv2d"} <= of["outputs"]
    norms = {tag.removeprefix("training/gradient_norm/") for tag in tags if tag.startswith("training/gradient_norm/")}
    inside = {f"stage/{unit}/{layer}" for unit in ("unit", "unit_1") for layer in ("conv2d", "batch_normalization")}
    assert norms == {"conv2d", "dense", *inside}


def test_the_compiled_step_is_a_graph_with_gradients(run: Run) -> None:
    content = run.values("training_step")[0][1].item()
    graph = config_pb2.RunMetadata.FromString(content).function_graphs[0].pre_optimization_graph
    operations = {node.op for node in graph.node}
    assert {"Conv2D", "Conv2DBackpropFilter", "AssignSubVariableOp"} <= operations
    assert any(node.name.startswith("loss/") for node in graph.node)


def test_config_and_summary_are_texts(run: Run) -> None:
    found = read(run.folder)
    config, summary = (str(run.values(tag)[0][1].item().decode()) for tag in ("config", "summary"))
    assert plugin_of(found, "config") == "text"
    assert "null" not in config
    content = yaml.safe_load(config.strip().strip("~").removeprefix("yaml"))
    assert content["model"]["layers"][1:] == LAYERS[1:]
    assert {"loop": run.session.experiment.train.loop, "epochs": EPOCHS, "batch_size": 48}.items() <= content["train"].items()
    assert not {"optimizer", "early_stopping", "checkpoint"} & content["train"].keys()
    assert "| conv2d | (6, 6, 4) | 40 |" in summary


def test_a_config_is_shown_as_it_was_written() -> None:
    text = "# mine\ndata: {source: digits}  # small"
    value = summaries.texts(experiment(), text).value[0]
    assert make_ndarray(value.tensor).item().decode() == f"~~~~yaml\n{text}\n~~~~"


def test_loss_and_accuracy_come_before_every_other_tag(run: Run) -> None:
    """The tab that opens sorts tags by their first part, whatever their kind, and unfolds the first two."""
    tags = [
        tag
        for tag in read(run.folder).Tags()["tensors"]
        if plugin_of(read(run.folder), tag) in ("scalars", "images", "histograms")
    ]
    assert sorted({tag.partition("/")[0] for tag in tags})[:2] == ["accuracy", "loss"]
    assert {tag for tag in tags if tag.startswith(("accuracy", "loss"))} == {
        f"{name}/{part}" for name in ("accuracy", "loss") for part in ("train", "validation")
    }


def test_the_splits_are_drawn_in_one_chart(run: Run) -> None:
    layout = layout_pb2.Layout.FromString(run.values("custom_scalars__config__")[0][1].item())
    found = read(run.folder).Tags()["tensors"]
    charts = {
        chart.title: [tag for tag in found if re.match(chart.multiline.tag[0], tag)] for chart in layout.category[0].chart
    }
    assert {title: sorted(tags) for title, tags in charts.items()} == {
        "loss": ["loss/train", "loss/validation", "test/loss"],
        "accuracy": ["accuracy/train", "accuracy/validation", "test/accuracy"],
        "loss within epochs": ["steps/loss"],
        "accuracy within epochs": ["steps/accuracy"],
    }


def hyperparameters(run: Run) -> dict[str, Any]:
    content = read(run.folder).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    return {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in started.hparams.items()}


def test_hyperparameters_are_every_value_of_the_config_and_never_the_text_none(run: Run) -> None:
    found = hyperparameters(run)
    spec = run.session.experiment
    assert found["model.style"] == spec.model.style
    assert found["train.loop"] == spec.train.loop
    assert found["train.optimizer"] == "adam"
    assert found["train.optimizer.adam.learning_rate"] == 0.001
    assert found["model.layers"] == ", ".join(NAMES)
    assert (found["model.layers.conv2d.filters"], found["model.layers.conv2d.padding"]) == (4, "valid")
    assert (found["data.augment"], found["data.augment.rotation"]) == (True, 10.0)
    assert (found["data.name"], found["train.early_stopping"]) == ("null", "null")
    assert "None" not in map(str, found.values())
    assert "_hparams_/session_end_info" in read(run.folder).Tags()["tensors"]


# What the config asks for


def test_a_profile_of_the_steps_asked_for(tmp_path: Path) -> None:
    train(experiment(log={"profile": [10, 12], "every_epochs": 0}), tmp_path / "run")
    files = list((tmp_path / "run/tensorboard/plugins/profile").rglob("*.xplane.pb"))
    assert len(files) == 1
    assert b"run_steps" in files[0].read_bytes()


def test_zero_means_no_histograms(tmp_path: Path) -> None:
    session = train(experiment(log={"every_epochs": 0}), tmp_path / "run")
    tags = set(read(tmp_path / "run").Tags()["tensors"])
    assert not any(tag.startswith(("weights/", "weight_gradients", "outputs", "maps", "pictures/f")) for tag in tags)
    assert {"loss/train", "accuracy/validation", "pictures/training_images", "steps/loss"} <= tags
    assert session.experiment.log.every_epochs == 0


def test_points_come_as_often_as_asked(tmp_path: Path) -> None:
    spec = experiment(log={"every_steps": 3, "every_epochs": 0})
    run = Run(tmp_path / "run", train(spec, tmp_path / "run"))
    expected = [epoch * STEPS + step for epoch in range(EPOCHS) for step in (3, 6, 8)]
    assert [step for step, _ in run.values("steps/accuracy")] == expected


def test_without_tensorboard_nothing_is_written(tmp_path: Path) -> None:
    train(experiment(log={"tensorboard": False}), tmp_path / "run")
    assert not (tmp_path / "run/tensorboard").exists()


@pytest.mark.filterwarnings("ignore:.*channels_first:UserWarning")
def test_images_of_channels_first_are_turned_for_people(tmp_path: Path) -> None:
    spec = experiment()
    turned = spec.model_copy(update={"model": spec.model.model_copy(update={"data_format": "channels_first"})})
    board = TensorBoardObserver(tmp_path, turned, [], None, "run")
    assert board._channels_last(np.zeros((2, 3, 8, 9))).shape == (2, 8, 9, 3)


# Interrupted and resumed


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run that was cut off after the third epoch's events and before its checkpoint."""
    original = Checkpoints.on_epoch

    def on_epoch(self: Checkpoints, record: EpochRecord) -> None:
        if record.epoch == 3:
            raise KeyboardInterrupt
        original(self, record)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "on_epoch", on_epoch)
        with pytest.raises(Interrupted, match="2 of 4 epochs and all 8 steps of the next \\(not validated yet\\) are saved"):
            train(experiment(log={"every_epochs": 1}), tmp_path / "run")
    return tmp_path / "run"


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns every scalar that is not a clock's."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((folder / "tensorboard").glob("*tfevents*")):
        events = EventAccumulator(str(file), size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            if plugin_of(events, tag) == "scalars" and tag != "training/images_per_second":
                found.setdefault(tag, []).extend((e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag))
    return found


def test_a_resumed_run_draws_what_a_straight_one_does(interrupted: Path, tmp_path: Path) -> None:
    straight = tmp_path / "straight"
    train(experiment(log={"every_epochs": 1}), straight)
    train(experiment(log={"every_epochs": 1}), interrupted)
    assert scalars(interrupted) == scalars(straight)
    assert {"loss/train", "loss/validation", "test/loss", "training/gradient_norm", "steps/loss"} <= set(scalars(straight))


def test_a_record_that_was_cut_off_is_forgotten(interrupted: Path, tmp_path: Path) -> None:
    file = next((interrupted / "tensorboard").glob("*tfevents*"))
    os.truncate(file, file.stat().st_size - 5)
    train(experiment(log={"every_epochs": 1}), interrupted)
    assert [step for step, _ in scalars(interrupted)["loss/train"]] == [8, 16, 24, 32]


def test_half_a_rewritten_file_is_not_read_again(interrupted: Path) -> None:
    file = next((interrupted / "tensorboard").glob("events*"))
    half = file.with_name(f".{file.name}.part")
    half.write_bytes(file.read_bytes())
    train(experiment(log={"every_epochs": 1}), interrupted)
    assert not half.exists()
    assert [step for step, _ in scalars(interrupted)["loss/train"]] == [8, 16, 24, 32]


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(events_module, "_new_file", refuse)
    with pytest.raises(RunError, match=r"TensorBoard's files in .* cannot be written: No space left on device"):
        train(experiment(), tmp_path / "run")


def test_a_stop_in_the_middle_of_a_profile_leaves_the_profiler_free(tmp_path: Path) -> None:
    """A profile that goes beyond the end is written at the end, and the next run can profile."""
    for name in ("first", "second"):
        train(experiment(log={"profile": [30, 1000], "every_epochs": 0}), tmp_path / name)
        assert list((tmp_path / name).rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log.profile=[0, 3]", r"log.profile: expected the first and the last step, such as \[10, 20\], received \[0, 3\]"),
        ("log.profile=[5, 3]", r"log.profile: expected the first and the last step"),
        ("log.profile=7", r"log.profile: expected the first and the last step"),
        ("log={tensorboard: false, every_steps: 5}", r"log.every_steps: is for TensorBoard, but log.tensorboard is false"),
        ("log.every_steps=0", r"log.every_steps: expected a number greater than 0, received 0"),
    ],
)
def test_wrong_wishes_are_refused_with_the_place(text: str, message: str) -> None:
    quickstart = Path(__file__).parents[2] / "configs/quickstart.yaml"
    with pytest.raises(Exception, match=message):
        load(quickstart, [text])


def test_nothing_of_an_earlier_run_is_drawn_over(run: Run, tmp_path: Path) -> None:
    """Another run in another folder leaves every byte of the first."""
    before = {file: file.read_bytes() for file in run.folder.rglob("*tfevents*")}
    train(experiment(), tmp_path / "run")
    assert {file: file.read_bytes() for file in run.folder.rglob("*tfevents*")} == before
    shutil.rmtree(tmp_path / "run")


def test_an_output_beyond_the_datas_classes_has_its_row_in_the_confusion_matrix() -> None:
    """`data.classes` may be more than the data has, and the network may answer so."""
    probabilities = np.eye(4, dtype=np.float32)[[0, 3, 1]]
    names = named_outputs(["a", "b"], DataSpec(source="digits", classes=4))
    answers = Predictions("train", np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 1]), probabilities, names)
    assert [tag for tag, _ in _endings(answers)] == ["pictures/confusion_matrix", "pictures/worst_mistakes"]


def test_a_run_with_more_outputs_than_classes_ends_well(tmp_path: Path) -> None:
    spec = experiment()
    wide = spec.model_copy(update={"data": spec.data.model_copy(update={"classes": 30})})
    train(wide, tmp_path / "run")
    assert (tmp_path / "run/result.json").exists()
