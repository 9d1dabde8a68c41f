"""A loss that is no number: it stops the step before a weight changes, and the run says where it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.errors import RunError
from cnnctl.model.guard import guard_loss, refused_loss
from cnnctl.run_folder import RunFolder
from cnnctl.spec.experiment import Experiment
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.learner import Learner
from cnnctl.train.loops import LOOPS
from cnnctl.train.observers import EpochRecord, Observer, Plan, StepsRecord
from cnnctl.train.steps import Metrics
from cnnctl.train.stopping import Diverged
from tests.interruptions import run

DENSE: list[Any] = ["flatten", {"dense": {"units": "classes", "name": "scores"}}]
STEPS = 4
"""Steps an epoch."""


def experiment(
    layers: list[Any], loop: str = "custom", rate: float = 1e-3, style: str = "sequential", **train: Any
) -> Experiment:
    data = {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.8, "validation": 0.1}
    optimizer = {"sgd": {"learning_rate": rate}}
    content = {
        "data": data,
        "model": {"layers": layers, "style": style},
        "train": {"loop": loop, "epochs": 3, "batch_size": 48, "optimizer": optimizer, **train},
        "log": {"tensorboard": False},
    }
    return Experiment.model_validate(content)


# The step


def learner() -> Learner:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")])
    optimizer = keras.optimizers.Adam(0.1)
    guard_loss(optimizer)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Learner(
        model, optimizer, loss, Metrics(keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy(name="accuracy"))
    )


def batches_with(bad: float, at: int) -> tf.data.Dataset:
    """Returns six batches of four, one of which has a bad value."""
    images = np.random.default_rng(0).random((24, 3), np.float32)
    images[4 * at] = bad
    return tf.data.Dataset.from_tensor_slices((images, np.zeros(24, np.int64))).batch(4)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("bad", "reported"), [(np.nan, "nan"), (np.inf, "nan"), (1e30, "")])
def test_the_step_is_named_and_changes_no_weight(loop: str, bad: float, reported: str) -> None:
    made, straight = learner(), learner()
    plan = Plan(1, 0, 6, 24, 4)
    if not reported:  # large, and a number
        LOOPS[loop](made, lambda _: batches_with(bad, at=2), None, plan, Observer())
        return
    with pytest.raises(Diverged, match=f"^the loss became {reported} at step 3; the usual remedies") as raised:
        LOOPS[loop](made, lambda _: batches_with(bad, at=2), None, plan, Observer())
    assert (raised.value.step, raised.value.loss) == (3, reported)
    LOOPS[loop](straight, lambda _: batches_with(bad, at=2).take(2), None, Plan(1, 0, 2, 8, 4), Observer())
    for array, expected in zip(made.model.get_weights(), straight.model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_step_is_counted_from_the_start_of_the_training(loop: str) -> None:
    partial = StepsRecord(2, 7, 1, 4, 0.1, 0.5, 0.5, (2.0, 4.0, 2.0, 4.0))
    plan = Plan(3, 1, 6, 24, 4, partial_epoch=partial)
    with pytest.raises(Diverged, match="at step 10;"):
        LOOPS[loop](learner(), lambda first: batches_with(np.nan, at=2) if first == 7 else 1 / 0, None, plan, Observer())


@pytest.mark.parametrize("loss", [np.nan, -np.nan, np.inf, -np.inf])
def test_the_loss_is_read_out_of_what_tensorflow_says(loss: float) -> None:
    optimizer = keras.optimizers.SGD()
    guard_loss(optimizer)
    weight = tf.Variable(1.0)
    with pytest.raises(tf.errors.InvalidArgumentError) as raised, tf.GradientTape() as tape:
        tape.gradient(optimizer.scale_loss(weight * loss), weight)
    assert refused_loss(raised.value) == str(abs(loss) if np.isnan(loss) else loss)
    assert refused_loss(ValueError("another reason")) is None


@pytest.mark.parametrize("loop", LOOPS)
def test_another_failure_of_a_step_is_not_taken_for_divergence(loop: str) -> None:
    def broken(images: Any, labels: Any) -> Any:
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(tf.shape(images)[0], 5), ["five are wanted"])]):
            return tf.identity(images), labels

    with pytest.raises(tf.errors.InvalidArgumentError, match="five are wanted"):
        LOOPS[loop](learner(), lambda _: batches_with(0.0, 0).map(broken), None, Plan(1, 0, 6, 24, 4), Observer())


# What the run says


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_the_first_layer_with_values_that_are_no_numbers_is_named(loop: str, style: str, tmp_path: Path) -> None:
    layers = [{"conv2d": {"filters": 4, "kernel_size": 3, "name": "edges"}}, "batch_normalization", *DENSE]
    message = (
        r"^the loss became nan at step 2 \(step 2 of epoch 1\); the first NaN or Inf is in the output of layer 'scores', whose inputs "
        r"had values up to \d\.\de\+2\d\. That step changed no trained weight; the usual remedies are a smaller"
    )
    with pytest.raises(RunError, match=message):
        run(experiment(layers, loop, 1e25, style), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "environment.json", "stopped.json"]


@pytest.mark.parametrize("loop", LOOPS)
def test_what_was_saved_before_stays_and_is_named(loop: str, tmp_path: Path) -> None:
    """A rate that grows by its schedule in the third epoch."""
    rate: Any = {"piecewise": {"boundaries": [2 * STEPS], "values": [1e-3, 1e30]}}
    folder = tmp_path / "run"
    with pytest.raises(RunError, match=rf"2 of 3 epochs are saved in {folder / 'checkpoints'}; the usual remedies"):
        run(experiment([*DENSE, {"dense": {"units": "classes"}}], loop, rate), folder)
    assert [file.name for file in sorted((folder / "checkpoints").iterdir())] == ["step_000000004.npz", "step_000000008.npz"]
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3
    state, reason = RunFolder(folder).state()
    assert state == "failed"
    assert re.match(r"the loss became \S+ at step \d+ ", reason), reason


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="scores")])
    optimizer = keras.optimizers.SGD()
    optimizer.build(network.trainable_variables)
    checkpoints = Checkpoints(tmp_path, network, optimizer, {})
    record = EpochRecord(1, 4, 0.5, 0.5, None, None, 0.1, 1.0, 100.0)
    checkpoints.on_epoch(record)
    network.trainable_variables[0].assign([[np.nan], [0.0]])
    with pytest.raises(RunError, match=r"^weights became NaN or infinite by step 8; they are not saved; the usual remedies"):
        checkpoints.on_epoch(EpochRecord(2, 8, 0.5, 0.5, None, None, 0.1, 1.0, 100.0))
    assert [file.name for file in tmp_path.iterdir()] == ["step_000000004.npz"]
    assert checkpoints.rows == [record]
