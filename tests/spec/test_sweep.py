"""The section `sweep`: what is tried, and what a trial's config becomes."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from cnnctl.errors import ConfigError
from cnnctl.run_folder import RunFolder
from cnnctl.spec.choices import labels
from cnnctl.spec.document import Document, read_document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check, load
from cnnctl.spec.sweep import Range, SweepSpec
from cnnctl.spec.trial import losses_compare, takes_fractions, with_values, without_sweep


def content(**sweep: Any) -> dict[str, Any]:
    layers = [
        {"conv2d": {"filters": 4, "kernel_size": 3}},
        "flatten",
        {"dropout": {"rate": 0.1}},
        {"dense": {"units": "classes"}},
    ]
    return {"data": {"source": "digits"}, "model": {"layers": layers}, "sweep": {"trials": 4, **sweep}}


def checked(**sweep: Any) -> Experiment:
    return check(Document("x.yaml", content(**sweep)))


def complaints(**sweep: Any) -> list[str]:
    with pytest.raises(ConfigError, match=r"x\.yaml") as caught:
        checked(**sweep)
    return [f"{each.path}: {each.message}" for each in caught.value.problems]


def sweep_of(**fields: Any) -> SweepSpec:
    return SweepSpec.model_validate({"trials": 100, "parameters": {"seed": [1]}, **fields})


def test_a_path_that_is_left_to_its_default_can_be_swept() -> None:
    experiment = checked(parameters={"train.batch_size": [16, 32], "train.early_stopping.patience": [1, 2]})
    trial = with_values(experiment, {"train.batch_size": 16, "train.early_stopping.patience": 2})
    assert (trial.train.batch_size, trial.train.early_stopping and trial.train.early_stopping.patience) == (16, 2)


def test_training_options_can_be_swept_down_to_their_fields() -> None:
    values: dict[str, Any] = {
        "train.reduce_on_plateau.factor": [0.1, 0.5],
        "data.augment.erase.probability": [0.25, 0.5],
        "data.augment.erase.scale": [[0.02, 0.1], [0.02, 0.33]],
        "data.augment.mixup": [0.0, 0.2],
    }
    base = content(parameters=values)
    base["data"]["labels"] = "one_hot"
    trial = with_values(check(Document("x.yaml", base)), {path: choices[1] for path, choices in values.items()})
    assert trial.train.reduce_on_plateau and trial.data.augment and trial.data.augment.erase
    assert trial.train.reduce_on_plateau.factor == 0.5
    assert trial.data.augment.erase.model_dump() == {
        "probability": 0.5,
        "scale": [0.02, 0.33],
        "ratio": [0.3, 3.3],
        "fill_value": None,
    }
    assert trial.data.augment.mixup == 0.2


def test_the_config_of_a_trial_has_no_sweep_and_is_that_of_an_ordinary_run(tmp_path: Path) -> None:
    trial = with_values(checked(parameters={"train.epochs": [1, 2]}), {"train.epochs": 2})
    run = RunFolder(tmp_path)
    run.write_config(trial)
    assert "sweep" not in read_document(run.config).content
    assert load(run.config) == trial
    assert trial.sweep is None


def test_the_sweep_of_a_config_stands_in_its_copy(tmp_path: Path) -> None:
    experiment = checked(parameters={"train.epochs": {"low": 1, "high": 3}, "train.optimizer": ["adam", {"sgd": {}}]})
    run = RunFolder(tmp_path)
    run.write_config(experiment)
    assert load(run.config) == experiment


def test_other_values_leave_the_config_itself_as_it_is() -> None:
    experiment = checked(parameters={"model.layers.0.conv2d.filters": [2, 4]})
    with_values(experiment, {"model.layers.0.conv2d.filters": 2})
    assert with_values(experiment, {}) == without_sweep(experiment)


def test_values_that_do_not_go_together_are_told_with_their_layer() -> None:
    experiment = checked(parameters={"model.layers.0.conv2d.kernel_size": [3, 9], "train.epochs": [1, 2]})
    with pytest.raises(ConfigError, match=r"model\.layers\[0\]\.conv2d: needs 9 pixels of height but receives 8"):
        with_values(experiment, {"model.layers.0.conv2d.kernel_size": 9, "train.epochs": 1})


@pytest.mark.parametrize("written", ["model.layers[0].conv2d.filters", "model.layers.0.conv2d.filters"])
def test_items_of_lists_may_be_written_both_ways(written: str) -> None:
    trial = with_values(checked(parameters={written: [2, 8]}), {written: 8})
    assert trial.model.layers[0].filters == 8  # type: ignore[attr-defined]  # it is the convolution


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"train.epohs": [1]}, "sweep.parameters.train.epohs: train: unknown field 'epohs'; did you mean 'epochs'?"),
        ({"train.epochs": [1, 0]}, "sweep.parameters.train.epochs[1]: expected a number greater than 0, received 0"),
        ({"train.epochs": {"low": 0, "high": 4}}, "sweep.parameters.train.epochs.low: expected a number greater than 0, received 0"),
        (
            {"model.layers.2.dropout.rate": {"low": 0.0, "high": 1.5}},
            "sweep.parameters.model.layers.2.dropout.rate.high: expected a number less than 1, received 1.5",
        ),
        ({"model.layers[0]": [1], "model.layers.0": [2]}, "sweep.parameters.model.layers.0: overlaps with 'model.layers[0]'; remove one of the two"),
    ],
)  # fmt: skip
def test_a_path_or_value_that_the_config_has_no_place_for_is_refused(parameters: Any, message: str) -> None:
    assert message in complaints(parameters=parameters)


@pytest.mark.parametrize(
    "path",
    [
        "data.validation",
        "data.split_seed",
        "data.test",
        "data",
        "data.source",
        "data.train",
        "task",
        "few_shot.way",
        "few_shot",
    ],
)
def test_what_trials_are_judged_on_cannot_be_swept(path: str) -> None:
    (reported,) = complaints(parameters={path: [1, 2]})
    assert reported.startswith(f"sweep.parameters.{path}: defines the evaluation of a trial")


@pytest.mark.parametrize("path", ["seed", "model.layers.2.dropout.seed"])
def test_nothing_is_chosen_among_seeds(path: str) -> None:
    (reported,) = complaints(parameters={path: [1, 2]}, repeat_best=0)
    assert reported.startswith(
        f"sweep.parameters.{path}: the best of several seeds is only the luckiest; remove it; repeat_best "
    )


@pytest.mark.parametrize(
    ("parameters", "compare"),
    [
        ({"train.epochs": [1, 2], "model.layers.0.conv2d.kernel_regularizer": [None, "l2"]}, True),
        ({"model.layers.0.conv2d.activity_regularizer": [None, "l2"]}, False),
        ({"model.layers.0": ["flatten", {"conv2d": {"filters": 2, "kernel_size": 1, "activity_regularizer": "l1"}}]}, False),
        ({"train.loss": [None, "sparse_categorical_crossentropy"]}, False),
        ({"train": [{"epochs": 1}, {"epochs": 2}]}, True),
        ({"train": [{"epochs": 1}, {"loss": "sparse_categorical_crossentropy"}]}, False),
    ],
)
def test_equal_accuracies_are_ranked_by_losses_that_compare_alone(parameters: Any, compare: bool) -> None:
    assert losses_compare(checked(parameters=parameters)) is compare


def test_the_test_split_cannot_be_chosen_by() -> None:
    assert complaints(parameters={"train.epochs": [1]}, objective="test_accuracy") == [
        "sweep.objective: expected 'validation_accuracy' or 'validation_loss', received 'test_accuracy'"
    ]


def test_a_sweep_without_validation_data_is_refused() -> None:
    document = content(parameters={"train.epochs": [1, 2]})
    document["data"]["validation"] = None
    with pytest.raises(ConfigError, match=r"requires validation data, .* the test split is not for selection"):
        check(Document("x.yaml", document))


# ranges and grids


@pytest.mark.parametrize(
    ("parameter", "points"),
    [
        (Range(low=1, high=4), [1, 2, 3, 4]),
        (Range(low=16, high=64, step=16), [16, 32, 48, 64]),
        (Range(low=0.1, high=0.4, step=0.1), [0.1, 0.2, 0.3, 0.4]),
        (Range(low=0, high=1, step=0.5), [0.0, 0.5, 1.0]),
    ],
)
def test_the_points_of_a_range_are_exactly_these(parameter: Range, points: list[float]) -> None:
    assert parameter.points() == points
    assert {type(each) for each in parameter.points()} == {type(points[0])}


def test_a_grid_has_as_many_points_as_there_are_combinations() -> None:
    sweep = sweep_of(method="grid", parameters={"a": [1, 2, 3], "b": {"low": 1, "high": 4}, "c": [None]})
    assert sweep.grid_size == 12


def test_a_range_of_integers_is_one_of_numbers_where_the_field_takes_numbers() -> None:
    paths = {"model.layers.2.dropout.rate": Range(low=0, high=1), "train.epochs": Range(low=1, high=3)}
    experiment = checked(parameters={"train.batch_size": [1]})
    assert [takes_fractions(experiment, path, each) for path, each in paths.items()] == [True, False]


def test_choices_are_known_by_what_tells_them_apart() -> None:
    assert labels([16, 32]) == [16, 32]
    assert labels(["relu", "elu"]) == ["relu", "elu"]
    assert labels([None, True, "adam", {"sgd": {"learning_rate": 0.1}}]) == [
        "null",
        "true",
        "adam",
        "{sgd: {learning_rate: 0.1}}",
    ]
    long = [[index, *[0] * 30] for index in (1, 1)]
    assert len(set(labels([*long, "x"]))) == 3


CONV = {"conv2d": {"filters": 8, "kernel_size": 3, "activation": "relu", "padding": "same"}}


def conv(**fields: Any) -> dict[str, Any]:
    return {"conv2d": {**CONV["conv2d"], **fields}}


@pytest.mark.parametrize(
    ("choices", "names"),
    [
        ([conv(), conv(filters=16)], ["filters 8", "filters 16"]),
        ([[conv(), "flatten"], [conv(filters=16), "flatten"]], ["conv2d filters 8", "conv2d filters 16"]),
        (
            [[conv(), conv(), "flatten"], [conv(filters=16), conv(kernel_size=5), "flatten"]],
            ["0.conv2d filters 8, 1.conv2d kernel_size 3", "0.conv2d filters 16, 1.conv2d kernel_size 5"],
        ),
        (
            [[conv(), "flatten", "dense"], [conv(), conv(), "flatten", "dense"], [conv(), "max_pooling2d", "flatten", "dense"]],
            ["3 layers", "4 layers: conv2d", "4 layers: max_pooling2d"],
        ),
        (
            [[conv(), conv(filters=2), "flatten"], [conv(), conv(filters=4), "flatten"], [conv(), "flatten"]],
            [
                "3 layers: conv2d filters 2",
                "3 layers: conv2d filters 4",
                "2 layers",
            ],
        ),
        (
            ["adam", {"sgd": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}}, {"sgd": {"learning_rate": 0.5, "momentum": 0.9, "nesterov": True}}],
            ["adam", "sgd learning_rate 0.1", "sgd learning_rate 0.5"],
        ),
        (
            [{"epochs": 1, "early_stopping": {"patience": 3, "min_delta": 0.5}}, {"epochs": 1, "early_stopping": {"patience": 4, "min_delta": 0.5}}],
            ["early_stopping patience 3", "early_stopping patience 4"],
        ),
        ([None, conv(), conv(bias_regularizer="l2")], ["null", "bias_regularizer default", "bias_regularizer l2"]),
    ],
)  # fmt: skip
def test_the_names_of_long_choices_show_what_differs(choices: list[Any], names: list[str]) -> None:
    assert labels(choices) == names


def test_no_two_choices_have_one_name_whatever_they_are() -> None:
    draw = random.Random(5)
    for _ in range(300):
        choices = [_any_value(draw, 3) for _ in range(draw.randint(2, 5))]
        names = labels(choices)
        same = [names[one] == names[two] for one, two in combinations(range(len(names)), 2) if choices[one] != choices[two]]
        assert not any(same), choices
        assert all(0 < len(str(name)) <= 64 for name in names)


def _any_value(draw: random.Random, depth: int) -> Any:
    kind = draw.randrange(6 if depth else 4)
    if kind < 4:
        return [draw.randrange(3), draw.choice("ab"), None, draw.random()][kind]
    inside = [_any_value(draw, depth - 1) for _ in range(draw.randrange(1, 5))]
    return inside if kind == 4 else {draw.choice("cdef") * 9: each for each in inside}


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), ("1", 1), (None, "null")])
def test_choices_of_other_kinds_are_not_the_same(one: Any, other: Any) -> None:
    assert sweep_of(parameters={"x": [one, other]}).parameters["x"] == (one, other)
