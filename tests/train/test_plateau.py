"""`train.reduce_on_plateau`: the rates of Keras's callback, in every style and loop, and after an interruption at any moment."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnctl.errors import Interrupted
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.session import reducing_of, train
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.training import ReduceOnPlateau
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.observers import EpochRecord, Observer, Observers, Plan
from cnnctl.train.plateau import ReduceLearningRate
from tests.interruptions import interrupt, interrupt_at, prepared, run, run_loop, variables

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

RATE = 0.01
EPOCHS = 6
CLOCKS = ("seconds", "images_per_second")
LAYERS: list[Any] = [
    {"conv2d": {"filters": 4, "kernel_size": 3}},
    {"batch_normalization": {"momentum": 0.9}},
    {"activation": {"activation": "relu"}},
    "flatten",
    {"dropout": {"rate": 0.3}},
    {"dense": {"units": "classes"}},
]
HARD = {"patience": 1, "factor": 0.5, "min_delta": 0.3, "cooldown": 2, "min_lr": 0.0015}
"""What no epoch improves by so much: the rate is reduced at every chance, twice at least."""


def record(epoch: int, value: float, monitor: str = "validation_loss") -> EpochRecord:
    values = {"train_loss": 9.0, "train_accuracy": 0.0, "validation_loss": 9.0, "validation_accuracy": 0.0, monitor: value}
    return EpochRecord(epoch=epoch, step=4 * epoch, learning_rate=0.0, seconds=1.0, images_per_second=1.0, **values)


def plan(epochs: int) -> Plan:
    return Plan(epochs, 0, 4, 180, 48)


def rates(spec: ReduceOnPlateau, values: list[float], done: int = 0) -> list[float]:
    """Returns the rate of each epoch, the first from the config; of a training that resumes after `done` epochs."""
    optimizer = keras.optimizers.SGD(RATE)
    records = [record(epoch, value, spec.monitor) for epoch, value in enumerate(values, start=1)]
    reducing = ReduceLearningRate(spec, optimizer, RATE, records[:done])
    reducing.on_start(plan(len(values)))
    found = []
    for each in records[done:]:
        found.append(float(optimizer.learning_rate.numpy()))
        reducing.on_epoch(each)
    return [*found, float(optimizer.learning_rate.numpy())]


# The rules


def keras_rates(spec: ReduceOnPlateau, values: list[float]) -> list[float]:
    mode = "max" if spec.monitor.endswith("accuracy") else "min"
    callback = keras.callbacks.ReduceLROnPlateau(
        "x", spec.factor, spec.patience, mode=mode, min_delta=spec.min_delta, cooldown=spec.cooldown, min_lr=spec.min_lr
    )
    optimizer = keras.optimizers.SGD(RATE)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    found = []
    for epoch, value in enumerate(values):
        found.append(float(optimizer.learning_rate.numpy()))
        callback.on_epoch_end(epoch, {"x": value})
    return [*found, float(optimizer.learning_rate.numpy())]


@pytest.mark.parametrize("monitor", ["validation_loss", "train_accuracy"])
def test_the_same_values_lead_to_the_rates_of_keras(monitor: str) -> None:
    generator = np.random.default_rng(len(monitor))
    distinct = set()
    for _ in range(60):
        spec = ReduceOnPlateau(
            monitor=monitor,  # type: ignore[arg-type]  # one of its words
            factor=float(generator.choice([0.1, 0.3, 0.5, 0.9])),
            patience=int(generator.integers(1, 4)),
            min_delta=float(generator.choice([0.0, 1e-4, 0.05])),
            cooldown=int(generator.integers(0, 4)),
            min_lr=float(generator.choice([0.0, 0.002, 0.02])),
        )
        # near the end of a training: steps of about min_delta, of float32, up and down, many of them equal
        values = (1 + np.cumsum(generator.choice([-0.1, -0.05, -1e-4, 0.0, 1e-4, 0.1], 20))).astype(np.float32).tolist()
        expected = keras_rates(spec, values)
        assert rates(spec, values) == expected, spec
        distinct.add(len(set(expected)))
    assert len(distinct) >= 4, "rates that are reduced never, once and several times"


def test_a_resumed_training_has_the_rates_of_one_that_was_not_after_any_epoch() -> None:
    spec = ReduceOnPlateau(patience=2, cooldown=2, factor=0.5, min_delta=0.0)
    values = [1.0, 0.9, 0.95, 0.91, 0.93, 0.94, 0.8, 0.85, 0.85, 0.85, 0.85, 0.85]
    whole = rates(spec, values)
    assert len(set(whole)) == 4
    for done in range(len(values) + 1):
        assert rates(spec, values, done) == whole[done:]


def test_each_reduction_is_printed_with_its_reason_but_not_after_the_last_epoch() -> None:
    said: list[str] = []
    reducing = ReduceLearningRate(ReduceOnPlateau(patience=2, factor=0.5), keras.optimizers.SGD(RATE), RATE, (), said.append)
    reducing.on_start(plan(6))
    for epoch, value in enumerate([1.0, 0.5, 0.6, 0.6, 0.6, 0.6], start=1):
        reducing.on_epoch(record(epoch, value))
    assert said == ["        lr 1.00e-02 → 5.00e-03 from epoch 5: validation_loss has not improved for 2 epochs, since epoch 2"]
    assert reducing.state.learning_rate == pytest.approx(RATE / 4)


# Whole trainings


def experiment(loop: str = "custom", style: str = "sequential", **train: Any) -> Experiment:
    """179 training digits, mixed and erased, in batches of 48: 4 steps an epoch."""
    content = {
        "seed": 5,
        "data": {
            "source": "digits",
            "image_size": [8, 8],
            "channels": 1,
            "classes": 10,
            "test": 0.8,
            "validation": 0.1,
            "labels": "one_hot",
            "augment": {"rotation": 10, "erase": {"probability": 0.7}, "mixup": 0.4},
        },
        "model": {"style": style, "layers": LAYERS},
        "train": {
            "loop": loop,
            "epochs": EPOCHS,
            "batch_size": 48,
            "optimizer": {"adam": {"learning_rate": RATE}},
            "reduce_on_plateau": HARD,
            **train,
        },
        "log": {"tensorboard": False},
    }
    return Experiment.model_validate(content)


class Rows(Observer):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_epoch(self, record: EpochRecord) -> None:
        self.rows.append({name: value for name, value in asdict(record).items() if name not in CLOCKS})


def trained(spec: Experiment) -> tuple[list[Any], list[dict[str, Any]]]:
    """Returns every variable of model and optimizer, and the rows."""
    session, rows = prepared(spec), Rows()
    run_loop(session, Observers([rows, *reducing_of(session)]))
    return variables(session), rows.rows


STYLES = [("fit", "sequential"), ("fit", "subclass"), ("custom", "functional"), ("custom", "subclass")]


@pytest.fixture(scope="module")
def reference() -> tuple[list[Any], list[dict[str, Any]]]:
    return trained(experiment())


@pytest.mark.parametrize(("loop", "style"), STYLES)
def test_every_style_and_loop_ends_with_the_same_bits_and_rates(loop: str, style: str, reference: Any) -> None:
    found, rows = trained(experiment(loop, style))
    assert rows == reference[1]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025])
    for mine, expected in zip(found, reference[0], strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_the_training_accuracy_counts_predictions_of_the_class_with_the_larger_share() -> None:
    spec = experiment(epochs=1, optimizer={"sgd": {"learning_rate": 1e-30}}, reduce_on_plateau=None)
    without_dropout = [layer for layer in LAYERS if not (isinstance(layer, dict) and "dropout" in layer)]
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"layers": _layers(without_dropout)})})
    session = prepared(spec)
    batches = list(session.task.training(0).as_numpy_iterator())
    right = [session.task.network(images, training=True).numpy().argmax(1) == labels.argmax(1) for images, labels in batches]
    mixed = np.concatenate([labels.max(axis=1) for _, labels in batches])
    _, (row,) = trained(spec)
    assert row["train_accuracy"] == pytest.approx(np.concatenate(right).mean(), abs=1e-6)
    assert (mixed < 0.99).mean() > 0.2, "else there would be nothing to define"


def _layers(layers: list[Any]) -> Any:
    content = {"data": {"source": "digits"}, "model": {"layers": layers}}
    return Experiment.model_validate(content).model.layers


def rows_of(path: Path) -> list[dict[str, float]]:
    with (path / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]


def assert_ends_as(reference: Any, folder: Path, session: Session) -> None:
    """Every variable and every row is that of a training that was not interrupted."""
    expected = [{name: value for name, value in row.items() if value is not None} for row in reference[1]]
    assert rows_of(folder) == expected
    for mine, other in zip(variables(session), reference[0], strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(("loop", "style"), [("fit", "sequential"), ("custom", "subclass")])
def test_a_run_interrupted_around_reductions_ends_as_one_that_was_not(
    loop: str, style: str, reference: Any, tmp_path: Path
) -> None:
    """Before the epoch after which the rate is reduced is saved, within the next, and right after it is reduced once more."""
    spec, folder = experiment(loop, style), tmp_path / "run"
    interrupt(spec, folder, after_epoch=1, when="before")
    interrupt_at(spec, folder, 10)
    interrupt(spec, folder, after_epoch=4, when="after")
    assert_ends_as(reference, folder, run(spec, folder))


def test_ctrl_c_while_a_rate_is_reduced_changes_nothing(
    reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch is saved by then, with the rate of its own steps."""
    spec, folder, original = experiment(), tmp_path / "run", ReduceLearningRate.on_epoch

    def before(self: ReduceLearningRate, record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt
        original(self, record)

    def after(self: ReduceLearningRate, record: EpochRecord) -> None:
        original(self, record)
        if record.epoch == 4:
            raise KeyboardInterrupt

    for pressed, saved in ((before, 2), (after, 4)):
        with monkeypatch.context() as patched:
            patched.setattr(ReduceLearningRate, "on_epoch", pressed)
            with pytest.raises(Interrupted, match=rf"^interrupted; {saved} of 6 epochs are saved"):
                run(spec, folder)
    assert_ends_as(reference, folder, run(spec, folder))


def test_a_run_that_is_given_more_epochs_goes_on_with_its_rate(tmp_path: Path) -> None:
    few, more = experiment(epochs=2), experiment(epochs=4)
    folder = tmp_path / "run"
    run(few, folder)
    (folder / "result.json").unlink()
    session = prepared(more)
    checkpoints = Checkpoints(folder / "checkpoints", session.task.learner.model, session.task.learner.optimizer, {})
    checkpoints.restore()
    (reducing,) = reducing_of(session, checkpoints.rows)
    reducing.on_start(plan(4))
    assert float(session.task.learner.optimizer.learning_rate.numpy()) == pytest.approx(RATE / 2)


def test_the_rate_is_in_metrics_csv_in_the_messages_and_in_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = experiment(epochs=4, early_stopping={"patience": 9})
    spec = spec.model_copy(update={"log": spec.log.model_copy(update={"tensorboard": True, "every_epochs": 0})})
    (tmp_path / "run").mkdir()
    train(prepared(spec, Console()), RunFolder(tmp_path / "run"))
    in_file = [row["learning_rate"] for row in rows_of(tmp_path / "run")]
    assert in_file == pytest.approx([0.01, 0.01, 0.005, 0.005])
    messages = capsys.readouterr().err
    assert (
        "        lr 1.00e-02 → 5.00e-03 from epoch 3: validation_loss has not improved for 1 epoch, since epoch 1\n" in messages
    )
    assert messages.count("→") == 1 + messages.count("auto →")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    written = [float(event.tensor_proto.float_val[0]) for event in events.Tensors("training/learning_rate")]
    assert written == pytest.approx(in_file)


def test_a_constant_schedule_and_scaled_losses_are_reduced_too() -> None:
    constant = {"adam": {"learning_rate": {"constant": {"learning_rate": RATE}}}}
    _, rows = trained(experiment(optimizer=constant, precision="mixed_float16", epochs=4))
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, 0.01, 0.005, 0.005])


def test_a_few_shot_task_reduces_its_rate_by_episodes_and_erases_its_images() -> None:
    content = {
        "task": "few_shot",
        "data": {
            "source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "hold_out": "class",
            "validation": ["6", "7"], "test": ["8", "9"], "augment": {"erase": {}},
        },
        "few_shot": {"way": 2, "episodes": 4, "validation_episodes": 8, "test_episodes": 8},
        "model": {"layers": ["flatten", {"dense": {"units": 8}}]},
        "train": {"epochs": 4, "reduce_on_plateau": {**HARD, "min_delta": 9.0, "min_lr": 0.0}},
        "log": {"tensorboard": False},
    }  # fmt: skip
    _, rows = trained(Experiment.model_validate(content))
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.001, 0.001, 0.0005, 0.0005])
