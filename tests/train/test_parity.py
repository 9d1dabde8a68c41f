"""One spec, three builds, two loops, the same numbers: equal to the bit on a CPU in float32."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.spec.experiment import Experiment
from cnnctl.train.observers import EpochRecord, Observer, StepsRecord
from tests.interruptions import prepared, run_loop

STYLES = ("sequential", "functional", "subclass")
LOOPS = ("fit", "custom")
COMBINATIONS = list(itertools.product(STYLES, LOOPS))
CLOCKS = ("seconds", "images_per_second")

LAYERS: list[Any] = [
    {"conv2d": {"filters": 4, "kernel_size": 3, "kernel_regularizer": {"l2": {"l2": 0.01}}}},
    {"batch_normalization": {"momentum": 0.9}},
    {"activation": {"activation": "relu"}},
    "max_pooling2d",
    "flatten",
    {"dropout": {"rate": 0.3}},
    {"dense": {"units": "classes"}},
]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves: every variable of the model and the optimizer, and a row an epoch."""

    variables: list[NDArray[Any]]
    rows: list[EpochRecord]
    calls: int

    def weights_equal(self, other: Outcome) -> bool:
        pairs = zip(self.variables, other.variables, strict=True)
        return all(mine.dtype == theirs.dtype and np.array_equal(mine, theirs) for mine, theirs in pairs)


class Rows(Observer):
    def __init__(self) -> None:
        self.rows: list[EpochRecord] = []
        self.calls = 0

    def on_steps(self, record: StepsRecord) -> None:
        self.calls += 1

    def on_epoch(self, record: EpochRecord) -> None:
        self.rows.append(record)


def experiment(
    style: str = "sequential", loop: str = "custom", seed: int = 7, layers: list[Any] = LAYERS, **data: Any
) -> Experiment:
    """269 training images in batches of 48: the sixth batch of an epoch has 29."""
    content = {
        "seed": seed,
        "data": {
            "source": "digits",
            "image_size": [8, 8],
            "channels": 1,
            "classes": 10,
            "test": 0.8,
            "validation": 0.05,
            "augment": {"rotation": 10, "shift": 0.1, "zoom": 0.1, "shear": 5, "flip": True},
            **data,
        },
        "model": {"style": style, "layers": layers},
        "train": {
            "loop": loop,
            "epochs": 3,
            "batch_size": 48,
            "optimizer": {"adam": {"learning_rate": {"one_cycle": {"max_learning_rate": 0.02}}}},
        },
        "log": {"tensorboard": False},
    }
    return Experiment.model_validate(content)


def trained(spec: Experiment) -> Outcome:
    session = prepared(spec)
    listener = Rows()
    run_loop(session, listener)
    learner = session.task.learner
    variables = [variable.numpy() for variable in (*learner.model.variables, *learner.optimizer.variables)]
    return Outcome(variables, listener.rows, listener.calls)


@pytest.fixture(scope="module")
def outcomes() -> dict[tuple[str, str], Outcome]:
    return {(style, loop): trained(experiment(style, loop)) for style, loop in COMBINATIONS}


Outcomes = dict[tuple[str, str], Outcome]
REFERENCE = ("sequential", "custom")


def test_the_training_reaches_every_kind_of_variable_and_a_partial_batch(outcomes: Outcomes) -> None:
    spec = experiment()
    session = prepared(spec)
    before = [variable.numpy() for variable in session.task.learner.model.variables]
    after = outcomes[REFERENCE].variables[: len(before)]
    assert len(session.task.splits.train) % spec.train.batch_size != 0
    assert [name.path.split("/")[-1] for name in session.task.learner.model.variables] == [
        "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "seed_generator_state", "kernel", "bias",
    ]  # fmt: skip
    assert not any(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize(("style", "loop"), COMBINATIONS)
def test_every_style_and_loop_ends_with_the_same_bits(style: str, loop: str, outcomes: Outcomes) -> None:
    assert outcomes[style, loop].weights_equal(outcomes[REFERENCE])


@pytest.mark.parametrize(("style", "loop"), COMBINATIONS)
def test_every_style_and_loop_reports_the_same_rows(style: str, loop: str, outcomes: Outcomes) -> None:
    mine, reference = outcomes[style, loop].rows, outcomes[REFERENCE].rows
    assert len(mine) == 3
    for row, expected in zip(mine, reference, strict=True):
        values = {key: value for key, value in asdict(row).items() if key not in CLOCKS}
        wanted = {key: value for key, value in asdict(expected).items() if key not in CLOCKS}
        assert values == wanted


@pytest.mark.parametrize(("seconds_per_call", "calls"), [(0.0, 3 * 6), (1e9, 3 * 3)])  # 1 step a call; 1, 2 and 3
def test_the_steps_that_a_call_runs_change_nothing(
    seconds_per_call: float, calls: int, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnctl.train.steps.SECONDS_PER_CALL", seconds_per_call)
    outcome = trained(experiment())
    assert outcome.calls == calls
    assert outcome.weights_equal(outcomes[REFERENCE])


@pytest.mark.parametrize("loop", LOOPS)
def test_the_same_seed_gives_the_same_bits_twice(loop: str, outcomes: Outcomes) -> None:
    assert trained(experiment(loop=loop)).weights_equal(outcomes["sequential", loop])


def test_another_seed_gives_other_weights(outcomes: Outcomes) -> None:
    assert not trained(experiment(seed=8)).weights_equal(outcomes[REFERENCE])


@pytest.mark.parametrize("loop", LOOPS)
def test_one_hot_labels_give_the_losses_of_integer_labels(loop: str, outcomes: Outcomes) -> None:
    rows = trained(experiment(loop=loop, labels="one_hot")).rows
    assert _numbers(rows) == pytest.approx(_numbers(outcomes[REFERENCE].rows), rel=1e-4)


def test_a_softmax_in_the_last_layer_gives_the_losses_of_logits(outcomes: Outcomes) -> None:
    layers = [*LAYERS[:-1], {"dense": {"units": "classes", "activation": "softmax"}}]
    rows = trained(experiment(layers=layers)).rows
    assert _numbers(rows) == pytest.approx(_numbers(outcomes[REFERENCE].rows), rel=1e-3)


def _numbers(rows: list[EpochRecord]) -> list[float | None]:
    return [number for row in rows for number in (row.train_loss, row.train_accuracy, row.validation_loss)]
