"""Schedule-free AdamW: what is measured, chosen, saved and resumed is its average x; compared with NumPy in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.model.schedule_free import ScheduleFreeAdamW
from cnnctl.run_folder import RunFolder
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.train.observers import EpochRecord, Observer, StepsRecord
from tests.interruptions import interrupt, interrupt_at, prepared, run, run_loop, variables
from tests.train.test_averages import NORMALIZED, ONE_LAYER, Watch, measured

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

Weights = list[NDArray[Any]]
BETA = 0.8
LOOPS = ("fit", "custom")


def experiment(loop: str, layers: list[Any] = ONE_LAYER, fields: dict[str, Any] | None = None, **train: Any) -> Experiment:
    optimizer = {"schedule_free_adamw": {"learning_rate": 0.01, "beta_1": BETA, **(fields or {})}}
    content = {
        "data": {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.8, "validation": 0.1},
        "model": {"layers": layers},
        "train": {"loop": loop, "epochs": 3, "batch_size": 48, "optimizer": optimizer, **train},
        "log": {"tensorboard": False},
    }
    return Experiment.model_validate(content)


class WatchZ(Watch):
    """Keeps z, the sequence of the steps, after each of them as well."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.task.learner.model)
        self._optimizer = session.task.learner.optimizer
        self.z: list[Weights] = []

    def on_steps(self, record: StepsRecord) -> None:
        super().on_steps(record)
        self.z.append([each.numpy() for each in self._optimizer._momentums])


def means(steps: list[Weights]) -> list[Weights]:
    """Returns the mean of all z so far after each step: the x of the paper with equal weights."""
    counts = range(1, len(steps) + 1)
    return [[np.stack(each).astype(np.float64).mean(axis=0) for each in zip(*steps[:n], strict=True)] for n in counts]


@pytest.mark.parametrize("loop", LOOPS)
def test_epochs_are_validated_and_the_run_ends_with_the_mean_of_all_steps(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.train.steps.SECONDS_PER_CALL", 0.0)  # every step is reported
    session = prepared(experiment(loop))
    watch = WatchZ(session)
    run_loop(session, watch)
    x = means(watch.z)
    for own, z, average in zip(watch.after_steps, watch.z, x, strict=True):
        for y, each_z, each_x in zip(own, z, average, strict=True):
            np.testing.assert_allclose(y, (1 - BETA) * each_z + BETA * each_x, atol=1e-5)
    steps = session.task.steps_per_epoch
    assert len(watch.rows) == 3
    for row, seen, own, average in zip(
        watch.rows, watch.after_epochs, watch.after_steps[steps - 1 :: steps], x[steps - 1 :: steps], strict=True
    ):
        loss, accuracy = measured(average, session)
        assert row.validation_loss == pytest.approx(loss, rel=1e-5)
        assert row.validation_accuracy == pytest.approx(accuracy, abs=1e-6)
        assert abs(measured(own, session)[0] - loss) > 1e-3, "y would have said something else"
        for mine, theirs in zip(seen, average, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(session.task.learner.model.get_weights(), watch.after_epochs[-1], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_both_loops_end_with_the_same_bits() -> None:
    ends = []
    for loop in LOOPS:
        session = prepared(experiment(loop, NORMALIZED, {"warmup_steps": "1 epoch", "weight_decay": 0.01}))
        run_loop(session, Observer())
        ends.append(variables(session))
    for mine, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_warm_up_scales_the_first_steps() -> None:
    """In the first step Adam's quotient is the sign of the gradient: z moves by the rate, a part of it with a warm-up."""
    moved = []
    for warmup in (0, 4):
        session = prepared(experiment("custom", fields={"warmup_steps": warmup}))
        before = session.task.learner.model.get_weights()
        watch = WatchZ(session)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("cnnctl.train.steps.SECONDS_PER_CALL", 0.0)
            run_loop(session, watch)
        moved.append(np.abs(watch.z[0][1] - before[1]))  # of the bias
    np.testing.assert_allclose(moved[0], 0.01, rtol=1e-3)
    np.testing.assert_allclose(moved[1], 0.0025, rtol=1e-3)


def test_the_averages_meet_the_constraints_of_the_weights() -> None:
    layers = ["flatten", {"dense": {"units": "classes", "kernel_constraint": "non_neg", "bias_constraint": "non_neg"}}]
    session = prepared(experiment("custom", layers, {"learning_rate": 0.1}))
    run_loop(session, Observer())
    assert min(each.numpy().min() for each in session.task.learner.optimizer._momentums) < 0, "z goes below 0"
    assert min(each.min() for each in session.task.learner.model.get_weights()) >= 0


def test_keras_still_computes_x_from_the_wrong_z() -> None:
    """Once it doesn't, its own step can be used: see model/schedule_free.py."""
    for kind, right in ((keras.optimizers.ScheduleFreeAdamW, False), (ScheduleFreeAdamW, True)):
        weight = keras.Variable(np.zeros(1, "float32"))
        optimizer = kind(0.1, beta_1=BETA)
        optimizer.build([weight])
        z = []
        for gradient in (1.0, 1.0, -2.0):
            optimizer.apply([np.array([gradient], "float32")])
            z.append(float(optimizer._momentums[0][0]))
        y = (1 - BETA) * z[-1] + BETA * float(np.mean(z))
        assert (float(weight[0]) == pytest.approx(y, rel=1e-5)) == right


@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_resumes_to_the_bit_and_saves_the_averages(loop: str, tmp_path: Path) -> None:
    """A gain of 5 that nobody reaches: the first epoch stays the best, and the third is the last."""
    spec = experiment(loop, NORMALIZED, early_stopping={"patience": 2, "min_delta": 5.0})
    whole = run(spec, tmp_path / "straight")
    folder = tmp_path / "run"
    interrupt_at(spec, folder, 3)
    interrupt(spec, folder, after_epoch=1, when="before")
    interrupt(spec, folder, after_epoch=2)
    for mine, theirs in zip(variables(run(spec, folder)), variables(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    result = RunFolder(folder).read_result()
    assert result
    assert result["weights_epoch"] == 1
    assert "averaged weights (schedule_free_adamw)" in result["weights"]
    first: EpochRecord | dict[str, str] = RunFolder(folder).read_epochs()[0]
    assert isinstance(first, dict)
    score = whole.task.learner.evaluation()(whole.task.validation())
    assert float(first["validation_loss"]) == pytest.approx(score[0], rel=1e-6)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_checkpoint_holds_the_weights_in_training_and_model_keras_the_averages(loop: str, tmp_path: Path) -> None:
    session = run(experiment(loop), tmp_path / "run")
    saved: Any = keras.models.load_model(tmp_path / "run" / "model.keras")
    x = session.task.learner.model.get_weights()
    for mine, theirs in zip(saved.get_weights(), x, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    z = [each.numpy() for each in session.task.learner.optimizer._momentums]
    checkpoint = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    with np.load(checkpoint) as arrays:
        for index, (average, each) in enumerate(zip(x, z, strict=True)):
            np.testing.assert_allclose(arrays[f"model/{index}"], (1 - BETA) * each + BETA * average, atol=1e-6)
            assert np.abs(arrays[f"model/{index}"] - average).max() > 1e-5


def test_with_use_ema_the_moving_average_is_what_the_run_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.train.steps.SECONDS_PER_CALL", 0.0)
    session = prepared(experiment("custom", fields={"use_ema": True, "ema_momentum": 0.5}))
    watch = Watch(session.task.learner.model)
    run_loop(session, watch)
    average = [each.astype(np.float64) for each in watch.after_steps[0]]
    for weights in watch.after_steps[1:]:
        average = [0.5 * old + 0.5 * new for old, new in zip(average, weights, strict=True)]
    for mine, theirs in zip(session.task.learner.model.get_weights(), average, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
