"""A normalization by the training images: which images, in every task and build, and what a run keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cnnctl.commands.train import train
from cnnctl.data.moments import pixel_moments
from cnnctl.data.splits import read_splits
from cnnctl.errors import ConfigError
from cnnctl.few_shot.task import FewShot, make_task
from cnnctl.model import build_model
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.observers import EpochRecord

LAYERS: list[Any] = ["normalization", "flatten", {"dense": {"units": "classes"}}]


def experiment(style: str = "sequential", layers: list[Any] = LAYERS, **more: Any) -> Experiment:
    data = {
        "source": "digits",
        "image_size": [8, 8],
        "channels": 1,
        "classes": 10,
        "test": 0.4,
        "validation": 0.2,
        "augment": {"rotation": 20, "shift": 0.2},
    }
    train = {"epochs": 2, "batch_size": 64}
    content = {"data": data, "model": {"style": style, "layers": layers}, "train": train, "log": {"tensorboard": False}, **more}
    return on_any_machine(Experiment.model_validate(content))


def stored(model: keras.Model) -> tuple[Any, Any]:
    layer = next(each for each in model.layers if isinstance(each, keras.layers.Normalization))
    return np.asarray(layer.adapt_mean), np.asarray(layer.adapt_variance)


def assert_normalizes(model: keras.Model, mean: Any, variance: Any) -> None:
    """The weights are these, and the layer computes with them."""
    np.testing.assert_array_equal(stored(model)[0], np.float32(mean))
    np.testing.assert_array_equal(stored(model)[1], np.float32(variance))
    layer = next(each for each in model.layers if isinstance(each, keras.layers.Normalization))
    images = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    np.testing.assert_allclose(layer(images), (images - mean) / np.sqrt(variance), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_the_training_images_alone_count_as_they_are_without_augmentation(style: str) -> None:
    spec = experiment(style)
    task = make_task(spec)
    task.build()
    splits = read_splits(spec.data)
    mean, variance = pixel_moments(splits.train.images, [3])
    assert_normalizes(task.network, mean, variance)
    assert splits.validation
    for others in (splits.validation, splits.read_test()):
        assert not np.allclose(mean, pixel_moments(others.images, [3])[0], rtol=1e-4)
    (line,) = (text for key, text in task.introduction() if key == "pixels")
    assert line == f"'normalization': mean {mean[0]:.4g}, standard deviation {np.sqrt(variance[0]):.4g} of 719 training images"


@pytest.mark.parametrize("method", ["prototypical", "maml", "cosine_classifier"])
def test_of_a_few_shot_task_the_images_of_the_training_classes_count(method: str) -> None:
    few_shot = {"method": method, "way": 2, "shot": 1, "query": 2, "validation_episodes": 2, "test_episodes": 2}
    data = {
        "source": "digits",
        "image_size": [8, 8],
        "channels": 1,
        "classes": 10,
        "test": 0.3,
        "validation": 0.2,
        "hold_out": "class",
    }
    task = make_task(experiment(layers=LAYERS[:2], task="few_shot", few_shot=few_shot, data=data))
    assert isinstance(task, FewShot)
    task.build()
    assert_normalizes(task.network, *pixel_moments(task.splits.train.images, [3]))


@pytest.mark.parametrize(("style", "loop"), [("sequential", "fit"), ("functional", "custom"), ("subclass", "custom")])
def test_a_run_keeps_them_in_its_network_and_no_step_changes_them(style: str, loop: str, tmp_path: Path) -> None:
    spec = experiment(style)
    config = tmp_path / "x.yaml"
    config.write_text(
        "data: {source: digits, test: 0.4, validation: 0.2}\nmodel: {layers: [normalization, flatten, dense: {units: classes}]}\n"
        "train: {epochs: 1}\nlog: {tensorboard: false}\n"
    )
    train(
        config,
        [f"model.style={style}", f"train.loop={loop}"],
        tmp_path / "run",
        None,
        "cpu",
        Console(quiet=True),
        verbose=False,
    )
    mean, variance = pixel_moments(read_splits(spec.data).train.images, [3])
    assert_normalizes(open_trained(tmp_path / "run").model, mean, variance)
    assert_normalizes(keras.models.load_model(tmp_path / "run" / "model.keras"), mean, variance)


@pytest.mark.parametrize("style", ["sequential", "subclass"])
def test_a_checkpoint_brings_back_its_own_statistics_whatever_was_computed_again(style: str, tmp_path: Path) -> None:
    def checkpoints(mean: float) -> tuple[keras.Model, Checkpoints]:
        moments = {"normalization": (np.full(1, mean), np.full(1, 4.0))}
        model, optimizer = build_model(experiment(style), moments=moments), keras.optimizers.SGD()
        optimizer.build(model.trainable_variables)
        return model, Checkpoints(tmp_path, model, optimizer, {})

    checkpoints(0.25)[1].on_epoch(EpochRecord(1, 10, 0.5, 0.5, 0.5, 0.5, 0.1, 1.0, 1.0))
    model, again = checkpoints(0.75)
    again.restore()
    assert_normalizes(model, 0.25, 4.0)


def test_inside_the_network_it_is_refused_and_with_numbers_it_is_not(tmp_path: Path) -> None:
    layers = "conv2d: {filters: 4, kernel_size: 3}, normalization: {FIELDS}, flatten, dense: {units: classes}"
    config = tmp_path / "x.yaml"
    config.write_text(f"data: {{source: digits}}\nmodel: {{layers: [{layers.replace('FIELDS', 'axis: -1')}]}}\n")
    with pytest.raises(ConfigError, match="its input must be the image itself, but it takes 'conv2d'"):
        load(config)
    config.write_text(f"data: {{source: digits}}\nmodel: {{layers: [{layers.replace('FIELDS', 'mean: 1, variance: 4')}]}}\n")
    assert load(config).network.facts[1].non_trainable == 0
