"""What `verify` compares with: differences, the batches of the training itself, variables by name."""

from __future__ import annotations

import numpy as np
import pytest

from cnnctl.data.pipeline import preparation, training_batches
from cnnctl.data.splits import read_splits
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check
from cnnctl.verify.agreement import (
    Arrays,
    difference,
    first_batches,
    in_style,
    possible_styles,
    possible_trainings,
    tolerance,
    train,
)

BRANCHES = """
    - conv2d: {name: stem, filters: 2, kernel_size: 3, padding: same, activation: relu}
    - conv2d: {name: change, filters: 2, kernel_size: 3, padding: same}
    - conv2d: {name: shortcut, inputs: [stem], filters: 2, kernel_size: 1}
    - add: {inputs: [shortcut, change]}
    - flatten
    - dense: {units: classes}
"""
PLAIN = """
    - flatten
    - dense: {units: classes}
"""


def experiment(layers: str = PLAIN, style: str = "functional", optimizer: str = "adam: {}") -> Experiment:
    """269 training images in batches of 100: three batches an epoch, the third of 69."""
    text = f"data: {{source: digits, test: 0.8, validation: 0.05, augment: {{shift: 0.1}}}}\nmodel:\n  style: {style}\n  layers:{layers}"
    return check(parse(f"{text}train: {{batch_size: 100, optimizer: {{{optimizer}}}}}", "x.yaml"))


def arrays(*values: float, steps: int = 1) -> Arrays:
    return {"weights": np.array(values, np.float32), "steps": np.array(steps)}


def test_equal_arrays_are_equal_to_the_bit() -> None:
    found = difference(arrays(1.0, 2.0), arrays(1.0, 2.0))
    assert (found.values, found.exact, found.largest, found.relative) == (3, True, 0.0, 0.0)


def test_one_bit_is_a_difference() -> None:
    found = difference(arrays(1.0, np.nextafter(np.float32(2), np.float32(3))), arrays(1.0, 2.0))
    assert not found.exact
    assert found.largest == pytest.approx(2.4e-7, rel=0.01)


def test_a_relative_difference_is_over_all_values_as_one_vector() -> None:
    found = difference(arrays(3.0, 4.5), arrays(3.0, 4.0))
    assert found.largest == 0.5
    assert found.relative == pytest.approx(0.1)


def test_a_difference_of_what_grew_is_relative_to_the_growth() -> None:
    found = difference(arrays(100.0, 101.5), arrays(100.0, 101.0), start=arrays(100.0, 100.0))
    assert found.relative == pytest.approx(0.5)


def test_counts_that_differ_agree_at_no_tolerance() -> None:
    assert difference(arrays(1.0, steps=2), arrays(1.0, steps=1)).relative == np.inf


def test_the_tolerance_grows_with_the_devices_and_the_precisions_freedom() -> None:
    assert tolerance("cpu", "float32") < tolerance("gpu", "float32") < tolerance("cpu", "mixed_bfloat16")


def test_the_batches_are_those_that_the_training_starts_with_over_several_epochs() -> None:
    spec = experiment()
    images = read_splits(spec.data).train
    ours = list(first_batches(spec, images, 5))
    theirs = list(
        training_batches(
            images, preparation(spec.data, spec.model.data_format), batch_size=100, seed=0, first_epoch=0, epochs=2
        )
    )[:5]
    assert [len(labels) for _, labels in ours] == [100, 100, 69, 100, 100]
    for (mine, labels), (other, other_labels) in zip(ours, theirs, strict=True):
        assert np.array_equal(mine, other)
        assert np.array_equal(labels, other_labels)
    assert not np.array_equal(ours[0][1], ours[3][1])


def test_the_configs_own_style_and_loop_come_first() -> None:
    assert possible_styles(experiment(style="subclass")) == ["subclass", "sequential", "functional"]
    assert possible_trainings(experiment(style="functional"))[0] == ("functional", "custom")
    assert len(possible_trainings(experiment())) == 6


def test_a_stack_that_branches_has_no_sequential_build() -> None:
    assert possible_styles(experiment(BRANCHES)) == ["functional", "subclass"]
    assert len(possible_trainings(experiment(BRANCHES))) == 4


@pytest.mark.parametrize("optimizer", ["nadam: {use_ema: true}", "adafactor: {}"])
def test_variables_of_optimizers_meet_their_own_where_styles_order_weights_otherwise(optimizer: str) -> None:
    spec = experiment(BRANCHES, optimizer=optimizer)
    images = read_splits(spec.data).train
    one, other = (train(in_style(spec, style), "custom", images, 2) for style in ("functional", "subclass"))
    assert one.optimizer.keys() == other.optimizer.keys()
    assert difference(one.optimizer, other.optimizer).relative < 1e-4
    assert difference(one.weights, other.weights).relative < 1e-4


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_a_loss_for_each_step_and_a_checksum_for_each_batch_that_was_taken(loop: str) -> None:
    spec = experiment()
    found = train(spec, loop, read_splits(spec.data).train, 4)
    assert [len(found.losses["losses"]), len(found.accuracies["accuracies"])] == [4, 4]
    assert len(set(found.batches["checksums"].tolist())) == 4
