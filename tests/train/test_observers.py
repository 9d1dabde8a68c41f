"""Both loops tell the same story to whoever listens; what the listeners that end a training do with it."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.cli import main
from cnnctl.errors import RunError
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.training import EarlyStopping
from cnnctl.train.loops import LOOPS
from cnnctl.train.observers import EndRecord, EpochRecord, Observer, Observers, Plan, StepsRecord
from cnnctl.train.stopping import StopWhenNotFinite, StopWithoutProgress
from tests.interruptions import prepared, run_loop

PIECES = {"piecewise": {"boundaries": [4, 9], "values": [0.3, 0.2, 0.1]}}  # steps 1 to 5, 6 to 10, the rest


class Story(Observer):
    """Keeps everything that is reported, in its order; stops after an epoch if asked to."""

    def __init__(self, stop_after: int = 0) -> None:
        self.reported: list[Any] = []
        self._stop_after = stop_after

    def on_start(self, plan: Plan) -> None:
        self.reported.append(plan)

    def on_steps(self, record: StepsRecord) -> None:
        self.reported.append(record)

    def on_epoch(self, record: EpochRecord) -> str | None:
        self.reported.append(record)
        return "that will do" if record.epoch == self._stop_after else None

    def on_end(self, record: EndRecord) -> None:
        self.reported.append(record)

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.reported if isinstance(record, kind)]


def session(loop: str, epochs: int = 3, validation: float | None = 0.1) -> Session:
    """179 training digits in batches of 48, the last of 35: 4 steps an epoch (0.8 of the digits are for the test)."""
    rest = 0.9 if validation is None else 0.8
    content = {
        "data": {
            "source": "digits",
            "image_size": [8, 8],
            "channels": 1,
            "classes": 10,
            "test": rest,
            "validation": validation,
        },
        "model": {"layers": ["flatten", {"dense": {"units": "classes"}}]},
        "train": {"loop": loop, "epochs": epochs, "batch_size": 48, "optimizer": {"sgd": {"learning_rate": PIECES}}},
        "log": {"tensorboard": False},
    }
    return prepared(Experiment.model_validate(content))


def told_by(loop: str, story: Story | None = None, **arguments: Any) -> Story:
    story = story or Story()
    run_loop(session(loop, **arguments), story)
    return story


# The story


@pytest.mark.parametrize("loop", LOOPS)
def test_a_training_is_told_from_its_start_to_its_end(loop: str) -> None:
    story = told_by(loop)
    kinds = [type(record) for record in story.reported if not isinstance(record, StepsRecord)]
    examples = story.reported[0].examples
    assert kinds == [Plan, EpochRecord, EpochRecord, EpochRecord, EndRecord]
    assert story.reported[0] == Plan(epochs=3, first_epoch=0, steps_per_epoch=4, examples=examples, batch_size=48)
    assert 3 * 48 < examples < 4 * 48
    assert story.reported[-1] == EndRecord(epochs=3, step=12, reason="")


@pytest.mark.parametrize("loop", LOOPS)
def test_an_epoch_is_told_with_its_true_step_and_the_rate_of_its_last_step(loop: str) -> None:
    rows = told_by(loop).of(EpochRecord)
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert [row.step for row in rows] == [4, 8, 12]
    assert [row.learning_rate for row in rows] == pytest.approx([0.3, 0.2, 0.1])  # steps 4, 8 and 12
    assert all(row.seconds > 0 for row in rows)
    assert [row.images_per_second for row in rows] == pytest.approx([180 / row.seconds for row in rows], rel=0.02)


def test_both_loops_tell_the_same_numbers() -> None:
    fit, custom = (
        [replace(row, seconds=0.0, images_per_second=0.0) for row in told_by(loop).of(EpochRecord)] for loop in LOOPS
    )
    numbers = [
        [{name: value for name, value in vars(row).items() if value is not None} for row in rows] for rows in (fit, custom)
    ]
    assert numbers[0] == [pytest.approx(row, rel=1e-6) for row in numbers[1]]
    assert all(row.validation_loss is not None and row.validation_accuracy is not None for row in fit)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_validation_there_are_no_validation_numbers(loop: str) -> None:
    rows = told_by(loop, validation=None).of(EpochRecord)
    assert [(row.validation_loss, row.validation_accuracy) for row in rows] == [(None, None)] * 3


@pytest.mark.parametrize("seconds_per_call", [0.0, 0.2])
@pytest.mark.parametrize("loop", LOOPS)
def test_progress_within_an_epoch_goes_forward_to_its_end(
    loop: str, seconds_per_call: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnctl.train.steps.SECONDS_PER_CALL", seconds_per_call)
    story = told_by(loop)
    examples = story.reported[0].examples
    for epoch in (1, 2, 3):
        steps = [record for record in story.of(StepsRecord) if record.epoch == epoch]
        assert [record.steps_in_epoch for record in steps] == sorted({record.steps_in_epoch for record in steps})
        assert [record.seconds for record in steps] == sorted(record.seconds for record in steps)
        assert [record.step for record in steps] == [4 * (epoch - 1) + record.steps_in_epoch for record in steps]
        assert [record.images for record in steps] == [min(48 * record.steps_in_epoch, examples) for record in steps]
        assert steps[-1].steps_in_epoch == 4
        row = story.of(EpochRecord)[epoch - 1]
        assert (steps[-1].loss, steps[-1].accuracy) == pytest.approx((row.train_loss, row.train_accuracy), rel=1e-6)
        assert len(steps) == 4 or seconds_per_call > 0


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reason_from_a_listener_ends_the_training(loop: str) -> None:
    story = told_by(loop, Story(stop_after=2), epochs=5)
    assert [row.epoch for row in story.of(EpochRecord)] == [1, 2]
    assert story.reported[-1] == EndRecord(epochs=2, step=8, reason="that will do")


@pytest.mark.parametrize("loop", LOOPS)
def test_an_error_of_a_listener_ends_the_training_at_once(loop: str) -> None:
    class Failing(Story):
        def on_steps(self, record: StepsRecord) -> None:
            super().on_steps(record)
            raise RunError("no more")

    story = Failing()
    with pytest.raises(RunError, match="no more"):
        told_by(loop, story)
    assert [type(record) for record in story.reported] == [Plan, StepsRecord]


# Several listeners as one


def row(epoch: int, **values: float) -> EpochRecord:
    numbers = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": 0.5, **values}
    return EpochRecord(epoch=epoch, step=4 * epoch, learning_rate=0.1, seconds=1.0, images_per_second=9.0, **numbers)


def test_all_listeners_hear_everything_even_after_one_gave_a_reason() -> None:
    first, second, third = Story(stop_after=1), Story(), Story(stop_after=1)
    together = Observers([first, second, third])
    records: list[Any] = [Plan(1, 0, 4, 180, 48), StepsRecord(1, 1, 1, 48, 0.1, 2.0, 0.1), row(1), EndRecord(1, 4, "")]
    together.on_start(records[0])
    together.on_steps(records[1])
    assert together.on_epoch(records[2]) == "that will do"
    together.on_end(records[3])
    assert first.reported == second.reported == third.reported == records


# Early stopping


class Network:
    """Stands in for a model: its weights are the number of the epoch."""

    def __init__(self) -> None:
        self.weights = [np.array(0.0)]

    def get_weights(self) -> list[NDArray[np.float64]]:
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: list[NDArray[np.float64]]) -> None:
        self.weights = weights


def stopped(values: list[float], network: Network | None = None, **fields: Any) -> tuple[int, str]:
    """Feeds an early stopping one value an epoch; returns the epoch after which it stops, 0 for none, and why."""
    network = network or Network()
    spec = EarlyStopping.model_validate(fields)
    stopping = StopWithoutProgress(spec, network)
    for epoch, value in enumerate(values, start=1):
        network.weights = [np.array(float(epoch))]
        reason = stopping.on_epoch(row(epoch, **{spec.monitor: value}))
        if reason:
            stopping.on_end(EndRecord(epoch, 4 * epoch, reason))
            return epoch, reason
    stopping.on_end(EndRecord(len(values), 4 * len(values)))
    return 0, ""


def test_a_training_stops_after_so_many_epochs_without_progress() -> None:
    losses = [1.0, 0.8, 0.9, 0.85, 0.81, 0.1]
    reason = "validation_loss has not improved for 3 epochs, since epoch 2"
    assert stopped(losses, patience=3) == (5, reason)
    assert stopped(losses, patience=4) == (0, "")


def test_an_equal_value_is_no_progress() -> None:
    assert stopped([0.5, 0.5, 0.5], patience=2)[0] == 3


def test_a_change_below_min_delta_is_no_progress() -> None:
    losses = [1.0, 0.95, 0.91, 0.87]
    assert stopped(losses, patience=2, min_delta=0.1)[0] == 3
    assert stopped(losses, patience=2, min_delta=0.01)[0] == 0


def test_small_steps_add_up_to_progress_over_the_best() -> None:
    assert stopped([1.0, 0.95, 0.89, 0.85, 0.78], patience=2, min_delta=0.1)[0] == 0


@pytest.mark.parametrize("monitor", ["train_accuracy", "validation_accuracy"])
def test_an_accuracy_should_rise(monitor: str) -> None:
    assert stopped([0.1, 0.5, 0.6, 0.7], monitor=monitor, patience=1)[0] == 0
    assert stopped([0.7, 0.6, 0.5], monitor=monitor, patience=2)[0] == 3


@pytest.mark.parametrize("monitor", ["train_loss", "validation_loss"])
def test_a_loss_should_fall(monitor: str) -> None:
    assert stopped([0.7, 0.6, 0.5], monitor=monitor, patience=1)[0] == 0
    assert stopped([0.1, 0.5, 0.6], monitor=monitor, patience=2)[0] == 3


@pytest.mark.parametrize(("restore", "weights"), [(True, 2.0), (False, 4.0)])
def test_the_best_weights_come_back_where_the_config_says_so(restore: bool, weights: float) -> None:
    network = Network()
    assert stopped([1.0, 0.5, 0.6, 0.7], network, patience=2, restore_best=restore)[0] == 4
    assert network.weights == [weights]


def test_the_best_weights_come_back_at_the_planned_end_too() -> None:
    network = Network()
    assert stopped([1.0, 0.5, 0.6], network, patience=9) == (0, "")
    assert network.weights == [2.0]


def test_a_restored_early_stopping_goes_on_as_the_one_before() -> None:
    network = Network()
    spec = EarlyStopping(patience=2)
    first, second = StopWithoutProgress(spec, network), StopWithoutProgress(spec, network)
    for epoch, value in enumerate([1.0, 0.5, 0.6], start=1):
        network.weights = [np.array(float(epoch))]
        assert first.on_epoch(row(epoch, validation_loss=value)) is None
    second.restore(first.state())
    assert second.reason() is None
    assert second.best_epoch == 2
    reason = "validation_loss has not improved for 2 epochs, since epoch 2"
    assert first.on_epoch(row(4, validation_loss=0.55)) == reason
    assert second.on_epoch(row(4, validation_loss=0.55)) == reason
    second.on_end(EndRecord(4, 16, ""))
    assert network.weights == [2.0]


def test_a_fresh_early_stopping_can_be_saved_and_restored() -> None:
    stopping = StopWithoutProgress(EarlyStopping(patience=1), Network())
    stopping.restore(StopWithoutProgress(EarlyStopping(patience=1), Network()).state())
    assert stopping.on_epoch(row(1, validation_loss=3.0)) is None
    assert stopping.best_epoch == 1


def test_an_interruption_while_the_best_weights_are_copied_changes_nothing() -> None:
    network = Network()
    stopping = StopWithoutProgress(EarlyStopping(), network)
    stopping.on_epoch(row(1, validation_loss=2.0))
    before = stopping.state()

    def interrupted() -> list[NDArray[np.float64]]:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(network, "get_weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stopping.on_epoch(row(2, validation_loss=1.0))
    assert str(stopping.state()) == str(before)
    stopping.on_epoch(row(2, validation_loss=1.0))
    stopping.on_epoch(row(2, validation_loss=1.0))  # reported again after a resume
    assert (stopping.best_epoch, stopping.reason()) == (2, None)


# Losses that are no numbers


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_the_run(loss: float) -> None:
    message = rf"the mean loss became {loss} by step 7 of epoch 2; the usual remedies are a smaller learning_rate"
    with pytest.raises(RunError, match=message):
        StopWhenNotFinite().on_steps(StepsRecord(2, 7, 3, 144, 0.1, loss, 0.1))


def test_a_loss_of_validation_that_is_no_number_ends_the_run() -> None:
    StopWhenNotFinite().on_epoch(row(2))
    with pytest.raises(RunError, match=r"^the validation loss became nan after epoch 2; the usual remedies are"):
        StopWhenNotFinite().on_epoch(row(2, validation_loss=math.nan))


CONFIG = """
data: {source: digits, test: 0.8}
model: {layers: [flatten, dense: {units: 16, activation: relu}, dense: {units: classes}]}
train: {epochs: 50, batch_size: 16, optimizer: {sgd: {learning_rate: 1e+20}}}
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_training_that_diverges_ends_the_command_with_code_1(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = tmp_path / "diverges.yaml", tmp_path / "run"
    config.write_text(CONFIG)
    arguments = ["train", str(config), "--run-dir", str(run), "--set", f"train.loop={loop}", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["cnnctl", *arguments])
    with pytest.raises(SystemExit, match="1"):
        main()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("the loss became ")
    assert len(err.splitlines()) == 1
    assert not (run / "result.json").exists()
    assert not (run / "model.keras").exists()
