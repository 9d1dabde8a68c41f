"""With averaged weights, what is measured, chosen and shown is of the network that the run leaves; compared with NumPy in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.errors import Interrupted
from cnnctl.run_folder import RunFolder
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.train.averages import AveragedWeights
from cnnctl.train.observers import EpochRecord, Observer, StepsRecord
from tests.interruptions import interrupt, prepared, run, run_loop, variables

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

Weights = list[NDArray[Any]]
MOMENTUM = 0.9
ONE_LAYER: list[Any] = ["flatten", {"dense": {"units": "classes"}}]
NORMALIZED: list[Any] = ["flatten", {"batch_normalization": {"momentum": 0.9}}, {"dropout": {"rate": 0.2}}, *ONE_LAYER[1:]]


def experiment(loop: str, layers: list[Any] = ONE_LAYER, overwrite: int | None = None, **train: Any) -> Experiment:
    averaging = {"learning_rate": 0.1, "use_ema": True, "ema_momentum": MOMENTUM, "ema_overwrite_frequency": overwrite}
    content = {
        "data": {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.8, "validation": 0.1},
        "model": {"layers": layers},
        "train": {"loop": loop, "epochs": 3, "batch_size": 48, "optimizer": {"sgd": averaging}, **train},
        "log": {"tensorboard": False},
    }
    return Experiment.model_validate(content)


class Watch(Observer):
    """Keeps the weights after each step and as an observer of epochs sees them, and the rows."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self.after_steps: list[Weights] = []
        self.after_epochs: list[Weights] = []
        self.rows: list[EpochRecord] = []

    def on_steps(self, record: StepsRecord) -> None:
        self.after_steps.append(self._model.get_weights())

    def on_epoch(self, record: EpochRecord) -> None:
        self.after_epochs.append(self._model.get_weights())
        self.rows.append(record)


def averages_of(steps: list[Weights]) -> list[Weights]:
    """Returns the average after each step, in float64: the first is the weights themselves."""
    found = [[each.astype(np.float64) for each in steps[0]]]
    for weights in steps[1:]:
        found.append([MOMENTUM * old + (1 - MOMENTUM) * new for old, new in zip(found[-1], weights, strict=True)])
    return found


def measured(weights: Weights, session: Session) -> tuple[float, float]:
    """Returns loss and accuracy of one dense layer on the validation images, in float64."""
    kernel, bias = (each.astype(np.float64) for each in weights)
    batches: Any = session.task.validation()
    images, labels = (np.concatenate(each) for each in zip(*batches.as_numpy_iterator(), strict=True))
    logits = images.reshape(len(images), -1).astype(np.float64) @ kernel + bias
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_each_epoch_is_validated_with_the_averages_that_the_run_would_leave(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.train.steps.SECONDS_PER_CALL", 0.0)  # every step is reported
    session = prepared(experiment(loop))
    watch = Watch(session.task.learner.model)
    run_loop(session, watch)
    steps = session.task.steps_per_epoch
    expected = averages_of(watch.after_steps)[steps - 1 :: steps]
    assert len(watch.rows) == 3
    for row, average, seen, own in zip(
        watch.rows, expected, watch.after_epochs, watch.after_steps[steps - 1 :: steps], strict=True
    ):
        loss, accuracy = measured(average, session)
        assert row.validation_loss == pytest.approx(loss, rel=1e-5)
        assert row.validation_accuracy == pytest.approx(accuracy, abs=1e-6)
        assert abs(measured(own, session)[0] - loss) > 0.01, "the weights in training would have said something else"
        for mine, theirs in zip(seen, average, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    left = session.task.learner.model.get_weights()
    assert measured(left, session)[0] == pytest.approx(watch.rows[-1].validation_loss, rel=1e-5)


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_weights_that_averages_overwrite_now_and_then_are_validated_as_averages_too(loop: str) -> None:
    session = prepared(experiment(loop, overwrite=5))
    watch = Watch(session.task.learner.model)
    run_loop(session, watch)
    left = session.task.learner.model.get_weights()
    for row, seen in zip(watch.rows, watch.after_epochs, strict=True):
        assert (row.validation_loss, row.validation_accuracy) == pytest.approx(measured(seen, session), rel=1e-5)
    for mine, theirs in zip(watch.after_epochs[-1], left, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_validation_with_averages_changes_nothing_that_is_trained() -> None:
    alone, watched = (prepared(experiment("custom", NORMALIZED)) for _ in range(2))
    run_loop(watched, Observer())
    alone.task.validation = lambda: None  # type: ignore[method-assign]
    alone.task.learner.averages.put_in = lambda: None
    run_loop(alone, Observer())
    for mine, theirs in zip(variables(watched), variables(alone), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_the_best_epoch_is_restored_with_its_averages_and_survives_interruptions(loop: str, tmp_path: Path) -> None:
    """A gain of 5 that nobody reaches: the first epoch stays the best, and the third is the last."""
    spec = experiment(loop, NORMALIZED, early_stopping={"patience": 2, "min_delta": 5.0})
    whole = run(spec, tmp_path / "straight")
    folder = tmp_path / "run"
    interrupt(spec, folder, after_epoch=1, when="before")
    interrupt(spec, folder, after_epoch=2)
    for mine, theirs in zip(variables(run(spec, folder)), variables(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    result = RunFolder(folder).read_result()
    assert result
    assert result["weights_epoch"] == 1
    assert "restored the best epoch by validation_loss; averaged weights (use_ema)" in result["weights"]
    score = whole.task.learner.evaluation()(whole.task.validation())
    first = RunFolder(folder).read_epochs()[0]
    assert (float(first["validation_loss"]), float(first["validation_accuracy"])) == pytest.approx(score[:2], rel=1e-6)


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_ctrl_c_while_averages_are_put_in_or_taken_out_loses_no_weight(loop: str, tmp_path: Path) -> None:
    """It may come between two weights: what is saved then must be the weights in training, all of them."""
    spec = experiment(loop, epochs=2)
    whole = run(spec, tmp_path / "straight")
    put_in = AveragedWeights.put_in

    def pressed(self: AveragedWeights) -> None:
        put_in(self)
        self._model.trainable_variables[0].assign(self._trained[0])  # type: ignore[index]  # half is taken out
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AveragedWeights, "put_in", pressed)
        with pytest.raises(Interrupted, match="are saved"):
            run(spec, tmp_path / "run")
    for mine, theirs in zip(variables(run(spec, tmp_path / "run")), variables(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "learner", [{"prototypical": {}}, {"maml": {}}, {"cosine_classifier": {}}], ids=lambda each: next(iter(each))
)
def test_few_shot_methods_are_validated_with_the_averages_that_they_leave(learner: Any) -> None:
    episodes = {} if "cosine_classifier" in learner else {"episodes": 8}
    averaging = {"sgd": {"learning_rate": 0.2, "use_ema": True, "ema_momentum": MOMENTUM}}
    content = {
        "task": "few_shot",
        "few_shot": {"method": learner, "way": 2, "query": 3, "validation_episodes": 20, "test_episodes": 20, **episodes},
        "data": {
            "source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "hold_out": "class",
            "validation": ["6", "7"], "test": ["8", "9"],
        },
        "model": {"layers": ["flatten", {"dense": {"units": 8}}]},
        "train": {"epochs": 2, "batch_size": 500, "optimizer": averaging},
        "log": {"tensorboard": False},
    }  # fmt: skip
    session = prepared(Experiment.model_validate(content))
    watch = Watch(session.task.learner.model)
    run_loop(session, watch)
    left = session.task.learner.evaluation()(session.task.validation())
    assert (watch.rows[-1].validation_loss, watch.rows[-1].validation_accuracy) == pytest.approx(left[:2], rel=1e-6)
    last = session.task.learner.model.get_weights()
    assert any(np.abs(mine - other).max() > 1e-4 for mine, other in zip(last, watch.after_steps[-1], strict=True))
