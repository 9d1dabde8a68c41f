"""`cnnctl sweep`: the values of trials, the best trial, the files, and resuming after everything that may end a sweep."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnnctl.commands import sweep as sweep_command
from cnnctl.commands.sweep import SweepOptions, sweep
from cnnctl.commands.train import _name, train
from cnnctl.data.splits import read_splits
from cnnctl.errors import CnnctlError, DataError, Interrupted, RunError, UsageError
from cnnctl.files import hold
from cnnctl.report.comparison import read_runs
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.classification import Classification
from cnnctl.session.resume import one_training
from cnnctl.session.run_files import differences
from cnnctl.session.trained_run import open_trained
from cnnctl.spec.load import load
from cnnctl.spec.trial import without_sweep
from cnnctl.sweep.results import DONE, FAILED, INTERRUPTED, PRUNED, RUNNING, mean_of, show_mean
from cnnctl.sweep.results import shown as shown_as
from cnnctl.sweep.scheduler import Study, Waiting, Work
from cnnctl.sweep.studies import create_study, open_study
from cnnctl.sweep.sweep_folder import SweepFolder
from cnnctl.sweep.trial_runner import TrialObserver, TrialRunner
from cnnctl.train import checkpoint
from cnnctl.train.observers import EpochRecord
from cnnctl.train.signals import Interruption

ROOT = Path(__file__).parents[2]
CONFIG = """
data: {source: digits, validation: 0.2}
model: {layers: [flatten, {dropout: {rate: 0.1}}, {dense: {units: classes}}]}
train: {epochs: 3, batch_size: 64, optimizer: {sgd: {learning_rate: 0.1}}}
log: {tensorboard: false}
"""
RATE = "train.optimizer.sgd.learning_rate"
SWEEP: dict[str, Any] = {
    "method": "random",
    "trials": 4,
    "repeat_best": 0,
    "pruning": {"median": {"startup_trials": 2}},
    "parameters": {RATE: {"low": 1e-3, "high": 1.0, "log": True}, "train.batch_size": [32, 64]},
}


def written(folder: Path, text: str = CONFIG, **changes: Any) -> Path:
    """Write a config whose sweep is `SWEEP` with changes; None leaves a field out."""
    fields = {key: value for key, value in {**SWEEP, **changes}.items() if value is not None}
    file = folder / "digits.yaml"
    file.write_text(f"{text}sweep: {json.dumps(fields)}\n")
    return file


def study_of(config: Path, folder: Path, *overrides: str) -> Study:
    """Open the study of a config; create it if there is none."""
    experiment, place = load(config, overrides), SweepFolder(folder)
    if not place.study.exists():
        folder.mkdir(exist_ok=True)
        create_study(place, experiment)
    study = open_study(place, experiment)
    assert study
    return study


def work(config: Path, folder: Path, *overrides: str, interruption: Interruption | None = None) -> Study:
    """Train everything that a study has to train, in this process."""
    study = study_of(config, folder, *overrides)
    while not TrialRunner(study, "cpu", interruption or Interruption(), lambda _: None).work(math.inf):
        pass  # other settings of threads would need a new process
    return study


def outcomes(study: Study) -> list[tuple[Any, ...]]:
    """List the results of the trials, without folders and times."""
    return [
        (row.number, row.state, dict(row.values), row.value, row.validation_accuracy, row.validation_loss, row.epochs, row.reason)
        for row in study.results().trials
    ]  # fmt: skip


def weights(run: Path) -> list[bytes]:
    with np.load(max((run / "checkpoints").iterdir())) as content:
        return [content[name].tobytes() for name in sorted(content.files) if name.startswith(("model/", "optimizer/"))]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """A sweep with pruning that nothing has interrupted, and its config."""
    folder = tmp_path_factory.mktemp("straight")
    config = written(folder)
    return config, work(config, folder / "sweep")


# the trials


def test_some_trials_are_done_and_some_are_pruned_on_validation(straight: tuple[Path, Study]) -> None:
    _, study = straight
    assert {row.state for row in study.results().trials} == {DONE, PRUNED}
    assert len(study.results().trials) == 4


def test_a_trial_is_compared_by_the_validation_of_the_weights_that_it_leaves(straight: tuple[Path, Study]) -> None:
    _, study = straight
    for row in study.results().trials:
        epochs = RunFolder(Path(row.run)).read_epochs()
        assert row.validation_accuracy == float(epochs[-1]["validation_accuracy"])
        assert row.value == (row.validation_accuracy if row.state == DONE else None)


def test_early_stopping_that_goes_back_is_compared_by_the_epoch_it_goes_back_to(tmp_path: Path) -> None:
    text = CONFIG.replace("epochs: 3,", "epochs: 3, early_stopping: {patience: 1, min_delta: 9.0},")
    study = work(written(tmp_path, text, trials=1, pruning=None), tmp_path / "sweep")
    (row,) = study.results().trials
    first, *_ = RunFolder(Path(row.run)).read_epochs()
    assert (row.epochs, row.validation_accuracy) == (2, float(first["validation_accuracy"]))


def test_training_a_trials_config_gives_the_trial_to_the_bit(straight: tuple[Path, Study], tmp_path: Path) -> None:
    _, study = straight
    best = study.results().best
    assert best
    train(Path(best.run) / "config.yaml", [], tmp_path / "again", None, "cpu", Console(quiet=True), verbose=True)
    assert weights(tmp_path / "again") == weights(Path(best.run))


def test_a_pruned_trial_is_a_run_that_was_stopped_and_can_go_on(straight: tuple[Path, Study], tmp_path: Path) -> None:
    _, study = straight
    pruned = next(row for row in study.results().trials if row.state == PRUNED)
    shutil.copytree(pruned.run, tmp_path / "run")
    assert not (tmp_path / "run/result.json").exists()
    train(None, [], None, tmp_path / "run", "cpu", Console(quiet=True), verbose=True)
    assert RunFolder(tmp_path / "run").read_result()
    assert len(RunFolder(tmp_path / "run").read_epochs()) == 3


def test_no_trial_reads_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "test", lambda *_: pytest.fail("the test split was judged"))
    monkeypatch.setattr("cnnctl.session.finish._test", lambda *_: pytest.fail("the test split was read"))
    study = work(written(tmp_path, trials=2), tmp_path / "sweep")
    result = RunFolder(Path(study.results().trials[0].run)).read_result()
    assert result
    assert (result["test_loss"], result["test_accuracy"], result["epochs"]) == (None, None, 3)


def test_runs_lists_the_trials_side_by_side(straight: tuple[Path, Study]) -> None:
    _, study = straight
    rows, passed_over = read_runs(study.folder.path)
    assert (len(rows), passed_over) == (4, [])
    assert "test_accuracy" not in rows[0].results


def test_values_that_do_not_fit_or_diverge_fail_their_trials_alone(tmp_path: Path) -> None:
    layers = "[{conv2d: {filters: 2, kernel_size: 3}}, flatten, {dense: {units: classes}}]"
    text = re.sub(r"layers: .*", f"layers: {layers}}}", CONFIG)
    parameters = {"model.layers.0.conv2d.kernel_size": [3, 9], RATE: [0.1, 1e30]}
    study = work(written(tmp_path, text, method="grid", trials=None, pruning=None, parameters=parameters), tmp_path / "sweep")
    rows = study.results().trials
    assert [row.state for row in rows] == [DONE, FAILED, FAILED, FAILED]
    assert "the loss became nan at step" in rows[1].reason
    assert "model.layers[0].conv2d: needs 9 pixels of height but receives 8" in rows[2].reason


def test_a_full_disk_ends_the_sweep_and_the_trial_goes_on_later(
    straight: tuple[Path, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, finished = straight

    def refuse(*_: object, **__: object) -> None:
        raise RunError("step_1.npz cannot be written: No space left on device") from OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(checkpoint, "write_whole", refuse)
        with pytest.raises(RunError, match="No space left on device"):
            work(config, tmp_path / "sweep")
    assert [row.state for row in study_of(config, tmp_path / "sweep").results().trials] == [INTERRUPTED]
    assert outcomes(work(config, tmp_path / "sweep")) == outcomes(finished)


def test_data_that_is_missing_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise DataError("the images are gone")

    monkeypatch.setattr("cnnctl.session.classification.read_splits", missing)
    with pytest.raises(DataError, match="the images are gone"):
        work(written(tmp_path), tmp_path / "sweep")


def test_other_images_than_those_of_the_first_trial_are_refused(tmp_path: Path) -> None:
    for index in range(40):
        folder = tmp_path / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 6 * index).save(folder / f"{index}.png")
    text = CONFIG.replace("source: digits", f"source: folder, path: {tmp_path / 'images'}")
    config = written(tmp_path, text, trials=1)
    work(config, tmp_path / "sweep")
    for file in (tmp_path / "images/a").glob("*.png"):
        Image.new("L", (8, 8), 255).save(file)
    with pytest.raises(RunError, match="was started on other images; restore them, or start another sweep with --dir"):
        work(config, tmp_path / "sweep", "sweep.trials=2")


def test_sizes_of_images_can_be_swept(tmp_path: Path) -> None:
    parameters = {"data.image_size": [[8, 8], [12, 12]]}
    config = written(tmp_path, method="grid", trials=None, pruning=None, parameters=parameters)
    rows = work(config, tmp_path / "sweep").results().trials
    assert [row.state for row in rows] == [DONE] * 2
    assert [load(Path(row.run) / "config.yaml").data.image_size for row in rows] == [(8, 8), (12, 12)]


def test_few_shot_tasks_are_swept_too(tmp_path: Path) -> None:
    text = """
task: few_shot
data: {source: digits, validation: ['6', '7'], test: ['8', '9']}
few_shot: {way: 2, episodes: 4, validation_episodes: 20, test_episodes: 20}
model: {layers: [flatten, {dense: {units: 8}}]}
train: {epochs: 1}
log: {tensorboard: false}
"""
    parameters = {"few_shot.train_shot": [1, 200], "few_shot.method": ["prototypical", "maml"]}
    study = work(
        written(tmp_path, text, method="grid", trials=None, pruning=None, parameters=parameters, repeat_best=1), tmp_path / "s"
    )
    states = [row.state for row in study.results().trials]
    assert states == [DONE, DONE, FAILED, FAILED]
    assert "lower few_shot.train_shot" in study.results().trials[2].reason
    (repeat,) = study.repeats()
    assert set(repeat.results) == {"validation_accuracy", "validation_loss", "test_accuracy", "test_loss"}


# the best, again


def test_the_best_is_repeated_with_seeds_that_no_trial_had_and_those_alone_are_tested(tmp_path: Path) -> None:
    study = work(written(tmp_path, trials=2, repeat_best=2), tmp_path / "sweep", "seed=7")
    best = study.results().best
    assert best
    repeats = study.repeats()
    assert [repeat.seed for repeat in repeats] == [8, 9]
    for repeat in repeats:
        config = load(Path(repeat.run) / "config.yaml")
        assert (config.seed, config.train.optimizer.learning_rate) == (repeat.seed, best.values[RATE])
        result = RunFolder(Path(repeat.run)).read_result()
        assert result and repeat.results["test_accuracy"] == result["test_accuracy"]


def test_of_equal_accuracies_the_lesser_loss_is_better(straight: tuple[Path, Study]) -> None:
    results = straight[1].results()
    first, second = (replace(results.trials[0], number=each, state=DONE, value=0.5, validation_accuracy=0.5) for each in (0, 1))
    rows = [replace(first, validation_loss=2.0), replace(second, validation_loss=1.0)]
    assert [row.number for row in replace(results, trials=rows).ranked] == [1, 0]
    by_loss = replace(results, objective="validation_loss", trials=[replace(row, value=row.validation_loss) for row in rows])
    assert by_loss.best and by_loss.best.number == 1


def test_accuracies_that_are_equal_go_to_the_first_where_losses_do_not_compare(straight: tuple[Path, Study]) -> None:
    results = straight[1].results()
    rows = [
        replace(results.trials[0], number=each, state=DONE, value=0.5, validation_accuracy=0.5, validation_loss=2.0 - each)
        for each in (0, 1)
    ]
    assert [row.number for row in replace(results, trials=rows, losses_compare=False).ranked] == [0, 1]


def test_trials_with_other_regularizers_are_compared_by_the_loss_without_penalties(tmp_path: Path) -> None:
    parameters = {"model.layers.2.dense.kernel_regularizer": [None, {"l2": {"l2": 0.05}}], "train.loop": ["fit", "custom"]}
    study = work(
        written(tmp_path, method="grid", trials=None, pruning=None, objective="validation_loss", parameters=parameters),
        tmp_path / "s",
    )
    rows = study.results().trials
    for row in rows:
        trained = open_trained(Path(row.run))
        images = read_splits(trained.experiment.data).validation
        assert images and row.value is not None
        logits = np.asarray(trained.model(trained.inputs(np.asarray(images.images))), np.float64)
        right = logits[np.arange(len(images)), images.labels]
        assert row.value == pytest.approx(np.mean(np.log(np.exp(logits).sum(axis=1)) - right), rel=1e-5)
        weights, *_ = trained.model.layers[-1].get_weights()
        last = trained.run.read_epochs()[-1]
        penalty = (
            0.05 * np.sum(np.square(weights, dtype=np.float64))
            if row.values["model.layers.2.dense.kernel_regularizer"]
            else 0.0
        )
        assert float(last["validation_loss"]) == pytest.approx(row.value + penalty, rel=1e-5)
        assert row.validation_loss == row.value == study.optuna.trials[row.number].intermediate_values[3]


def test_a_mean_has_the_interval_that_scipy_gives() -> None:
    values = [0.91, 0.94, 0.925, 0.93, 0.92]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    found = mean_of(values)
    assert found.interval is not None
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx((low, high), rel=1e-12)
    assert show_mean(found) == "92.50 ± 1.39 %"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.5], "50.00%"),
        ([0.9, 0.92], "91.00% (mean of 90.00%, 92.00%)"),
        ([0.9, 0.91, 0.95], "92.00% (mean of 90.00%, 91.00%, 95.00%)"),
        ([0.9, 0.9, 0.9], "90.00% with each seed"),
        ([0.9] * 6, "90.00% with each seed"),
    ],
)
def test_a_few_seeds_are_shown_themselves_and_not_by_an_interval(values: list[float], text: str) -> None:
    assert mean_of(values).interval is None
    assert show_mean(mean_of(values)) == text


# what is drawn, without training


def end(study: Study, taken: Work, value: float) -> None:
    """Ends a trial as if it had been trained."""
    study.end(
        taken, DONE, {"value": value, "validation_accuracy": value, "validation_loss": 1 - value, "epochs": 1, "seconds": 1.0}
    )
    taken.release()


def test_a_trial_that_ends_while_another_process_looks_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = written(tmp_path, trials=1, repeat_best=1)
    mine, theirs = (study_of(config, tmp_path / "sweep") for _ in range(2))
    taken = theirs.next_work(math.inf)
    assert isinstance(taken, Work)
    seen = mine._trials()
    end(theirs, taken, 0.5)
    with monkeypatch.context() as patched:
        patched.setattr(mine, "_trials", lambda: seen)
        assert isinstance(mine.next_work(math.inf), Waiting)
    unheld = theirs.next_work(math.inf)
    assert isinstance(unheld, Work), "nobody holds it"
    unheld.release()


@pytest.mark.parametrize("failed", [False, True])
def test_a_repeat_that_ends_while_another_process_looks_is_not_taken_up(
    failed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written(tmp_path, trials=1, repeat_best=1)
    mine, theirs = (study_of(config, tmp_path / "sweep") for _ in range(2))
    trial = theirs.next_work(math.inf)
    assert isinstance(trial, Work)
    end(theirs, trial, 0.5)
    repeat = theirs.next_work(math.inf)
    assert isinstance(repeat, Work)
    assert repeat.seed == 1
    seen = mine.repeats()
    if failed:
        theirs.end(repeat, FAILED, {"reason": "it does not fit"})
    else:
        repeat.run.result.write_text("{}")
    repeat.release()
    monkeypatch.setattr(mine, "repeats", lambda: seen)
    assert isinstance(mine.next_work(math.inf), Waiting)


def value_of(taken: Work) -> float:
    """Compute a value that is best at a rate of 0.03 and small batches."""
    away: float = abs(math.log10(taken.values[RATE]) + 1.5) + taken.values["train.batch_size"] / 1000
    return 1 / (1 + away)


def drawn(study: Study, count: int) -> list[dict[str, Any]]:
    values = []
    for _ in range(count):
        taken = study.next_work(math.inf)
        assert isinstance(taken, Work)
        values.append(dict(taken.values))
        end(study, taken, value_of(taken))
    return values


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_study_that_was_cut_short_draws_as_one_that_was_not(method: str, tmp_path: Path) -> None:
    config = written(tmp_path, method=method, trials=13)
    whole = drawn(study_of(config, tmp_path / "whole"), 13)
    assert len({json.dumps(each) for each in whole}) == 13
    parts = [*drawn(study_of(config, tmp_path / "parts"), 5), *drawn(study_of(config, tmp_path / "parts"), 6)]
    study_in_parts = study_of(config, tmp_path / "parts")
    study_in_parts.optuna.ask()  # killed before its values were drawn
    assert [*parts, *drawn(study_of(config, tmp_path / "parts"), 2)] == whole


def test_another_seed_draws_other_values(tmp_path: Path) -> None:
    config = written(tmp_path)
    first, other = (drawn(study_of(config, tmp_path / str(seed), f"sweep.seed={seed}"), 4) for seed in (0, 1))
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_tpe_comes_nearer_to_what_was_good(tmp_path: Path) -> None:
    values = drawn(study_of(written(tmp_path, method="tpe", trials=40), tmp_path / "sweep"), 40)
    far = [abs(math.log10(each[RATE]) + 1.5) for each in values]
    assert np.median(far[20:]) < np.median(far[:10]) / 2


def test_values_lie_in_their_range(tmp_path: Path) -> None:
    parameters = {RATE: {"low": 0.1, "high": 0.5, "step": 0.2}, "train.epochs": {"low": 2, "high": 3}, "model.layers.1.dropout.rate": {"low": 0, "high": 0.5}}  # fmt: skip
    study = study_of(written(tmp_path, trials=30, parameters=parameters), tmp_path / "sweep")
    seen: dict[str, set[Any]] = {}
    for _ in range(30):
        taken = study.next_work(math.inf)
        assert isinstance(taken, Work)
        for path, value in taken.values.items():
            seen.setdefault(path, set()).add(value)
        end(study, taken, 0.5)
    assert {round(each, 9) for each in seen[RATE]} == {0.1, 0.3, 0.5}
    assert seen["train.epochs"] == {2, 3}
    assert len(seen["model.layers.1.dropout.rate"]) == 30
    assert 0 <= min(seen["model.layers.1.dropout.rate"]) < max(seen["model.layers.1.dropout.rate"]) <= 0.5


def test_a_grid_tries_each_combination_once(tmp_path: Path) -> None:
    parameters = {RATE: [0.1, 0.5], "train.batch_size": {"low": 16, "high": 48, "step": 16}}
    study = study_of(written(tmp_path, method="grid", trials=None, parameters=parameters), tmp_path / "sweep")
    found = [(each[RATE], each["train.batch_size"]) for each in drawn(study, 6)]
    assert found == [(rate, size) for rate in (0.1, 0.5) for size in (16, 32, 48)]
    assert study.next_work(math.inf) is None


def test_choices_come_back_as_the_config_says_them(tmp_path: Path) -> None:
    choices: list[Any] = ["adam", {"sgd": {"learning_rate": 0.5}}, None]
    parameters = {"train.optimizer": choices[:2], "train.early_stopping": [None, {"patience": 2}]}
    study = study_of(written(tmp_path, method="grid", trials=None, parameters=parameters), tmp_path / "sweep")
    values = []
    for _ in range(4):
        taken = study.next_work(math.inf)
        assert isinstance(taken, Work)
        values.append(taken.values["train.optimizer"])
        end(study, taken, 0.5)
    assert values == ["adam", "adam", {"sgd": {"learning_rate": 0.5}}, {"sgd": {"learning_rate": 0.5}}]


def test_no_trial_is_begun_after_the_deadline(tmp_path: Path) -> None:
    study = study_of(written(tmp_path, trials=None, minutes=1.0), tmp_path / "sweep")
    drawn(study, 2)
    assert study.next_work(time.time() - 1) is None
    assert isinstance(study.next_work(time.time() + 60), Work)


@pytest.mark.parametrize("objective", ["validation_accuracy", "validation_loss"])
def test_median_prunes_by_the_best_epoch_so_far_against_the_median_of_done_trials(objective: str, tmp_path: Path) -> None:
    config = written(tmp_path, objective=objective, trials=14, pruning={"median": {"startup_trials": 3, "warmup_epochs": 1}})
    study, draw = study_of(config, tmp_path / "sweep"), np.random.default_rng(6)
    better = max if objective == "validation_accuracy" else min
    done: list[list[float]] = []
    pruned = 0
    for _ in range(14):
        taken = study.next_work(math.inf)
        assert isinstance(taken, Work)
        values: list[float] = []
        for epoch in range(1, draw.integers(3, 5)):
            values.append(float(draw.random()))
            others = [each[epoch - 1] for each in done if len(each) >= epoch]
            worse = bool(others) and better(values) != better(*values, float(np.median(others)))
            expected = len(done) >= 3 and epoch > 1 and worse
            assert bool(study.report(taken.number, epoch, values[-1], may_prune=True)) is expected
            if expected:
                break
        else:
            done.append(values)
            end(study, taken, values[-1])
            continue
        pruned += 1
        study.end(taken, PRUNED, {"epochs": len(values), "seconds": 1.0})
        taken.release()
    assert pruned > 5
    assert len(done) > 5


def test_successive_halving_keeps_the_best_of_those_that_came_as_far(tmp_path: Path) -> None:
    halving = {"successive_halving": {"min_epochs": 2, "reduction_factor": 2}}
    study, draw = study_of(written(tmp_path, trials=12, pruning=halving), tmp_path / "sweep"), np.random.default_rng(4)
    came: dict[int, list[float]] = {2: [], 4: []}
    for _ in range(12):
        taken = study.next_work(math.inf)
        assert isinstance(taken, Work)
        for epoch in range(1, 6):
            value = float(draw.random())
            rung = [*came.get(epoch, []), value]
            kept = epoch not in came or value >= sorted(rung, reverse=True)[max(len(rung) // 2, 1) - 1]
            assert (study.report(taken.number, epoch, value, may_prune=True) is None) is kept
            if epoch in came:
                came[epoch] = rung
            if not kept:
                study.end(taken, PRUNED, {"epochs": epoch, "seconds": 1.0})
                break
        else:
            end(study, taken, value)
        taken.release()
    assert len(came[2]) == 12 > len(came[4]) > 2


def test_more_random_trials_than_there_are_combinations_are_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> None:
        raise RunError("nobody trains here")

    monkeypatch.setattr(sweep_command, "TrialPool", nobody)
    parameters: dict[str, Any] = {"train.batch_size": {"low": 16, "high": 48, "step": 16}, "train.loop": ["fit", "custom"]}
    for index, (trials, warned) in enumerate([(6, False), (7, True)]):
        config = written(tmp_path, trials=trials, parameters=parameters)
        with pytest.raises(RunError, match="nobody"):
            sweep(config, [], SweepOptions(tmp_path / str(index)), Console())
        text = "warning: the parameters have 6 combinations, so 7 trials repeat some, with equal results; method: grid"
        assert (text in capsys.readouterr().err) is warned
    assert study_of(written(tmp_path), tmp_path / "endless").combinations == math.inf


# one trial belongs to one process


def test_a_trial_that_is_trained_elsewhere_is_left_alone(tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    one, other = study_of(config, tmp_path / "sweep"), study_of(config, tmp_path / "sweep")
    taken = one.next_work(math.inf)
    assert isinstance(taken, Work)
    assert isinstance(other.next_work(math.inf), Waiting)
    taken.release()
    again = other.next_work(math.inf)
    assert isinstance(again, Work)
    assert (again.number, again.values) == (taken.number, taken.values)


def test_a_trial_of_another_machine_is_taken_up_once_that_is_silent(tmp_path: Path) -> None:
    """Its file system may have no locks."""
    config = written(tmp_path, trials=1)
    study = study_of(config, tmp_path / "sweep")
    taken = study.next_work(math.inf)
    assert isinstance(taken, Work)
    taken.release()
    trial_id = study._trial_id(0)
    study._storage.set_trial_user_attr(trial_id, "alive", ["another", time.time()])
    assert isinstance(study.next_work(math.inf), Waiting)
    study._storage.set_trial_user_attr(trial_id, "alive", ["another", time.time() - 1000])
    assert isinstance(study.next_work(math.inf), Work)


def test_a_trial_that_its_processes_die_of_fails_unless_somebody_trains_it(tmp_path: Path) -> None:
    study = study_of(written(tmp_path, trials=2), tmp_path / "sweep")
    first, second = study.next_work(math.inf), study.next_work(math.inf)
    assert isinstance(first, Work) and isinstance(second, Work)
    first.release()
    for number in (0, 1):
        study.fail_abandoned(number, "its process was killed by signal 9, 2 times")
    assert [(row.state, row.reason) for row in study.results().trials] == [
        (FAILED, "its process was killed by signal 9, 2 times"),
        (RUNNING, ""),
    ]
    second.release()


# interruptions


@pytest.mark.parametrize("when", ["before its checkpoint", "after the study heard"])
def test_an_interrupted_sweep_ends_as_one_that_was_not(
    when: str, straight: tuple[Path, Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process ends in the fourth epoch that it trains, whatever trial that is of."""
    config, finished = straight
    heard, saved = TrialObserver.on_epoch, checkpoint.Checkpoints.on_epoch
    count = 0

    def press() -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt

    def hear(self: TrialObserver, record: EpochRecord) -> None:
        try:
            heard(self, record)
        finally:
            if when == "after the study heard":
                press()

    def save(self: checkpoint.Checkpoints, record: EpochRecord) -> None:
        if when == "before its checkpoint":
            press()
        saved(self, record)

    monkeypatch.setattr(TrialObserver, "on_epoch", hear)
    monkeypatch.setattr(checkpoint.Checkpoints, "on_epoch", save)
    interruptions = 0
    while True:
        count = 0
        try:
            study = work(config, tmp_path / "sweep")
            break
        except (Interrupted, KeyboardInterrupt):
            interruptions += 1
    assert interruptions >= 2
    assert outcomes(study) == outcomes(finished)


def test_a_judgement_that_a_killed_process_did_not_write_is_made_again(straight: tuple[Path, Study], tmp_path: Path) -> None:
    config, finished = straight
    number = next(row.number for row in finished.results().trials if row.state == PRUNED)
    shutil.copytree(finished.folder.path, tmp_path / "sweep")
    with sqlite3.connect(tmp_path / "sweep/study.sqlite3") as study:
        (trial_id,) = study.execute("SELECT trial_id FROM trials WHERE number = ?", (number,)).fetchone()
        study.execute("DELETE FROM trials WHERE number > ?", (number,))
        study.execute("UPDATE trials SET state = 'RUNNING' WHERE trial_id = ?", (trial_id,))
        study.execute("DELETE FROM trial_user_attributes WHERE trial_id = ?", (trial_id,))
        study.execute("DELETE FROM trial_values WHERE trial_id = ?", (trial_id,))
        study.execute("DELETE FROM trial_user_attributes WHERE trial_id NOT IN (SELECT trial_id FROM trials)")
    for later in range(number + 1, 4):
        shutil.rmtree(tmp_path / f"sweep/trial_{later:04}")
    assert outcomes(work(config, tmp_path / "sweep"))[: number + 1] == outcomes(finished)[: number + 1]


# the command, with processes of its own


def started(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Starts cnnctl in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "cnnctl", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def wait_for(found: Callable[[], Any]) -> Any:
    """Wait for a result and return it."""
    for _ in range(4000):
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not come")


def is_over(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


SLOW = re.sub("epochs: 3", "epochs: 60", CONFIG)
"""A trial takes some seconds."""


def test_ctrl_c_ends_the_sweep_with_what_is_saved_and_the_command_to_go_on(tmp_path: Path) -> None:
    config = written(tmp_path, SLOW, trials=1, pruning=None)
    process = started(tmp_path, "sweep", config, "--dir", "sweep")
    wait_for(lambda: list(tmp_path.glob("sweep/trial_0000/checkpoints/step_*.npz")))
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        f"interrupted; 0 trials done, 1 more started. Resume with: cnnctl sweep {config} --dir sweep"
    )
    assert workers
    assert all(map(is_over, workers))
    assert 0 < len(RunFolder(tmp_path / "sweep/trial_0000").read_epochs()) < 60


def test_whoever_is_killed_its_trial_is_taken_up_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    config = written(tmp_path, SLOW, trials=1, pruning=None)
    process = started(tmp_path, "sweep", config, "--dir", "sweep")
    run = tmp_path / "sweep/trial_0000"
    wait_for(lambda: len(RunFolder(run).read_epochs()) > 2)
    (worker,) = children(process.pid)
    os.kill(worker, signal.SIGKILL)  # the command starts another one
    (second,) = wait_for(lambda: [each for each in children(process.pid) if each != worker])
    before = len(RunFolder(run).read_epochs())
    wait_for(lambda: len(RunFolder(run).read_epochs()) > before + 2)
    process.kill()  # and this one ends by itself
    process.communicate()
    wait_for(lambda: is_over(second))
    assert len(RunFolder(run).read_epochs()) < 60
    study = work(config, tmp_path / "sweep")
    assert [row.state for row in study.results().trials] == [DONE]
    train(run / "config.yaml", [], tmp_path / "straight", None, "cpu", Console(quiet=True), verbose=True)
    assert weights(run) == weights(tmp_path / "straight")


@dataclass(frozen=True)
class Shown:
    """A sweep that two processes have finished, with TensorBoard's files, plots and repeats, and what it printed."""

    folder: Path
    config: Path
    printed: str
    said: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("shown")
    config = written(folder, CONFIG.replace("log: {tensorboard: false}\n", ""), trials=4, repeat_best=2, pruning=None)
    process = started(folder, "sweep", config, "--dir", "sweep", "--processes", "2", "--format", "json")
    printed, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return Shown(folder / "sweep", config, printed, said)


def test_two_processes_share_the_trials_and_none_is_trained_twice(shown: Shown) -> None:
    results = json.loads(shown.printed)
    assert sorted(trial["number"] for trial in results["trials"]) == [0, 1, 2, 3]
    assert len(results["repeats"]) == 2
    assert json.loads((shown.folder / "results.json").read_text()) == results
    assert len(re.findall(r"^trial \d", shown.said, re.MULTILINE)) == 6
    assert "Traceback" not in shown.said
    for run in shown.folder.glob("trial_*"):
        environment = RunFolder(run).read_environment()
        assert "resumed" not in environment
        assert environment["command"][-4:] == ["--processes", "2", "--format", "json"]


def test_the_plots_are_pictures_of_a_readable_size(shown: Shown) -> None:
    names = {file.stem for file in (shown.folder / "plots").glob("*.png")}
    assert names == {"history", "slice", "parallel_coordinate", "epochs", "importances"}
    for file in (shown.folder / "plots").glob("*.png"):
        with Image.open(file) as picture:
            assert 500 <= picture.width <= 1500
            assert 380 <= picture.height <= 700
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # something is drawn


def test_tensorboard_compares_the_trials_by_what_was_swept(shown: Shown) -> None:
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(shown.folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(shown.folder))
    context = backend_context.Context(TBContext(data_provider=provider, multiplexer=multiplexer))
    request = api_pb2.GetExperimentRequest(experiment_name="")
    found = get_experiment.Handler(RequestContext(), context, "", request).run()
    differ = {info.name for info in found.hparam_infos if info.differs}
    assert {RATE, "train.batch_size"} <= {info.name for info in found.hparam_infos}
    assert RATE in differ
    assert ("", "accuracy/validation") in {(info.name.group, info.name.tag) for info in found.metric_infos}


def test_the_same_command_again_trains_nothing_and_says_the_same(
    shown: Shown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_command, "TrialPool", lambda *_: pytest.fail("something was trained"))
    config, before = shown.config, (shown.folder / "results.json").read_bytes()
    for form, begins in (("table", "trial "), ("markdown", "| trial |"), ("json", "{")):
        sweep(config, [], SweepOptions(shown.folder, form=form), Console(quiet=True))
        assert capsys.readouterr().out.startswith(begins)
    sweep(config, [], SweepOptions(shown.folder, show=True), Console(quiet=True))
    text = capsys.readouterr().out
    assert re.search(r"^repeated  with seeds 1, 2: validation accuracy \d[^±]*, test accuracy [^±]*$", text, re.MULTILINE)
    assert "val acc" in text and "test acc" not in text.partition("\n\n")[0]  # the table of trials has no test
    assert (shown.folder / "results.json").read_bytes() == before


# what is refused


def test_a_study_of_another_config_is_refused_with_what_differs(tmp_path: Path) -> None:
    config = written(tmp_path)
    study_of(config, tmp_path / "sweep")
    with pytest.raises(UsageError) as caught:
        sweep(
            config, ["train.epochs=9", "sweep.seed=3", "sweep.trials=7"], SweepOptions(tmp_path / "sweep"), Console(quiet=True)
        )
    lines = str(caught.value).splitlines()
    assert "has the study of another config; start another sweep with --dir" in lines[0]
    assert lines[1:] == ["  train.epochs: 3 in the study, 9 in the config", "  sweep.seed: 0 in the study, 3 in the config"]


def test_more_trials_go_on_with_the_same_study(tmp_path: Path) -> None:
    config = written(tmp_path, trials=2)
    first = outcomes(work(config, tmp_path / "sweep"))
    more = outcomes(work(config, tmp_path / "sweep", "sweep.trials=3"))
    assert (more[:2], len(more)) == (first, 3)


def damage(kind: str, file: Path) -> None:
    content = file.read_bytes()
    if kind == "cut off":
        file.write_bytes(content[: len(content) // 3])
    elif kind == "noise":
        file.write_bytes(os.urandom(3000))
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "a page of zeros":
        file.write_bytes(content[:8192] + bytes(4096) + content[12288:])
    else:
        file.unlink() if kind == "another database" else None
        with sqlite3.connect(file) as connection:
            connection.executescript(SQL[kind])
        connection.close()


SQL = {
    "another database": "CREATE TABLE birds (name TEXT)",
    "no study": "DELETE FROM studies",
    "no config": "DELETE FROM study_user_attributes",
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END",
    "a view": "CREATE VIEW v AS SELECT * FROM trials",
    "another version": "UPDATE alembic_version SET version_num = 'v99.0.0.a'",
    "an unknown distribution": 'UPDATE trial_params SET distribution_json = \'{"name": "os.system", "attributes": {}}\'',
    "a text for a number": "UPDATE trial_user_attributes SET value_json = '\"x\"' WHERE key = 'epochs'",
    "no JSON": "UPDATE trial_params SET distribution_json = '{'",
}


@pytest.mark.parametrize("kind", ["cut off", "noise", "empty", "a page of zeros", *SQL])
def test_a_damaged_study_is_one_message_that_says_what_to_do(kind: str, tmp_path: Path) -> None:
    config = written(tmp_path, trials=3)
    drawn(study_of(config, tmp_path / "sweep"), 3)
    damage(kind, tmp_path / "sweep/study.sqlite3")
    remedy = (
        "which Optuna .* cannot read" if kind == "another version" else "Move .*sweep away, or start another sweep with --dir"
    )
    with pytest.raises(RunError, match=f"study.sqlite3 .*{remedy}"):
        sweep(config, [], SweepOptions(tmp_path / "sweep"), Console(quiet=True))
    assert (tmp_path / "sweep/trial_0000").is_dir()


NONSENSE = ["'x'", "'[1]'", "1e999", "NULL", "-1", "0.5", "x'ff00'", "'{'", "'null'"][: 9 if "CNNCTL_FUZZ" in os.environ else 2]


def columns_of(file: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(file) as study:
        tables = [name for (name,) in study.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, row[1]) for table in tables for row in study.execute(f"PRAGMA table_info({table})") if not row[5]]


def test_nonsense_in_any_column_of_a_study_is_one_message_or_does_no_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, trials=4, pruning="successive_halving")
    study = study_of(config, tmp_path / "sweep")
    taken = [study.next_work(math.inf) for _ in range(3)]
    for index, each in enumerate(taken):
        assert isinstance(each, Work)
        study.report(each.number, 1, 0.5, may_prune=index == 0)
        end(study, each, 0.5) if index < 2 else each.release()
    study.refuse_other_images({"train": "x", "validation": None})
    study.optuna.set_user_attr("failed/trial_0000_seed_1", "it does not fit")
    file = tmp_path / "sweep/study.sqlite3"
    whole, tried, refused = file.read_bytes(), 0, set()
    for table, column in columns_of(file):
        for value in NONSENSE:
            file.write_bytes(whole)
            with contextlib.closing(sqlite3.connect(file)) as damaged, contextlib.suppress(sqlite3.IntegrityError), damaged:
                damaged.execute(f'UPDATE OR IGNORE {table} SET "{column}" = {value}')
                tried += 1
            for look in (shown_only, looked_at):
                try:
                    look(config, tmp_path / "sweep")
                except CnnctlError:
                    refused.add((table, column))
    assert tried >= 30 * len(NONSENSE)
    assert {("trial_values", "value"), ("trial_params", "param_value"), ("trials", "state"), ("trial_user_attributes", "value_json"),
            ("trial_intermediate_values", "intermediate_value"), ("study_directions", "direction")} <= refused  # fmt: skip


def shown_only(config: Path, folder: Path) -> None:
    sweep(config, [], SweepOptions(folder, show=True), Console(quiet=True))


def looked_at(config: Path, folder: Path) -> None:
    """Do what a trial process does before it trains."""
    study = study_of(config, folder)
    study.refuse_other_images({"train": "x", "validation": None})
    taken = study.next_work(math.inf)
    if isinstance(taken, Work):
        try:
            study.config_of(taken)
            study.report(taken.number, 2, 0.5, may_prune=True)
        finally:
            taken.release()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE trial_values SET value = 'abc'", "trial 0: its value is 'abc', expected a number"),
        ("UPDATE trial_params SET param_value = 'abc'", "a trial in it cannot be read"),
        ("UPDATE study_directions SET direction = 'MINIMIZE'", "its direction is minimize"),
        (
            "UPDATE trial_user_attributes SET value_json = '[1]' WHERE key = 'epochs'",
            r"trial 0: epochs is \[1\], expected a number",
        ),
    ],
)
def test_a_text_where_a_study_has_a_number_is_told_with_its_trial(change: str, reason: str, tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    drawn(study_of(config, tmp_path / "sweep"), 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "sweep/study.sqlite3")) as study, study:
        study.execute(change)
    for show in (True, False):
        with pytest.raises(RunError, match=rf"study.sqlite3 is damaged or not a cnnctl study: .*({reason}).*Move .*sweep away"):
            sweep(config, [], SweepOptions(tmp_path / "sweep", show=show), Console(quiet=True))


def test_what_the_system_refuses_a_trial_is_one_message_with_the_trial(tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    taken = study_of(config, tmp_path / "sweep").next_work(math.inf)
    assert isinstance(taken, Work)
    (taken.run.path / "checkpoints").write_text("a file")
    taken.release()
    process = started(tmp_path, "sweep", config, "--dir", "sweep")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert re.search(
        r"^(error: )?trial 0: .*sweep/trial_0000/checkpoints.*: (File exists|Not a directory)", said.splitlines()[-1]
    )


def test_a_trial_that_memory_is_too_small_for_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("cnnctl.sweep.trial_runner.prepare", none_left)
    (row,) = work(written(tmp_path, trials=1), tmp_path / "sweep").results().trials
    assert (row.state, row.reason) == (FAILED, "there is not enough memory")


def test_a_study_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    config = written(tmp_path)
    study_of(config, tmp_path / "sweep")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/study.sqlite3").symlink_to(tmp_path / "sweep/study.sqlite3")
    with pytest.raises(RunError, match=r"other/study.sqlite3 cannot be read: it leads to .*, out of "):
        sweep(config, [], SweepOptions(tmp_path / "other"), Console(quiet=True))


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"mine contains notes.txt but no study; not overwriting"):
        sweep(written(tmp_path), [], SweepOptions(tmp_path / "mine"), Console(quiet=True))
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_without_a_study_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none contains no sweep; remove --show to start one"):
        sweep(written(tmp_path), [], SweepOptions(tmp_path / "none", show=True), Console(quiet=True))
    assert not (tmp_path / "none").exists()


def test_a_config_without_a_sweep_is_refused_with_an_example(tmp_path: Path) -> None:
    config = tmp_path / "plain.yaml"
    config.write_text(CONFIG)
    for wish in (SweepOptions(), SweepOptions(trials=3)):
        with pytest.raises(CnnctlError, match=r"plain.yaml  expected a section sweep, .*sweep: \{trials: 10") as caught:
            sweep(config, [], wish, Console(quiet=True))
        assert caught.value.exit_code == 2


def test_without_optuna_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"cnnctl sweep needs Optuna; install with: pip install 'optuna>=5,<6'"):
        sweep(written(tmp_path), [], SweepOptions(tmp_path / "sweep"), Console(quiet=True))


def test_where_every_trial_fails_the_message_has_the_first_reason(tmp_path: Path) -> None:
    text = CONFIG.replace("[flatten,", "[flatten, {dense: {units: 8}},")
    config = written(tmp_path, text, method="grid", trials=None, pruning=None, parameters={RATE: [1e30, 1e31]})
    work(config, tmp_path / "sweep")
    with pytest.raises(RunError, match="none of 2 trials completed, so there is no best trial; trial 0: the loss became nan"):
        sweep(config, [], SweepOptions(tmp_path / "sweep"), Console(quiet=True))


def test_a_study_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cnnctl.sweep.studies.put_in_place", full)
    with pytest.raises(RunError, match=r"study.sqlite3 cannot be written: No space left on device"):
        sweep(written(tmp_path), [], SweepOptions(tmp_path / "sweep"), Console(quiet=True))
    assert list((tmp_path / "sweep").iterdir()) == []


def test_a_folder_that_no_url_can_name_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "50% of {x}?#&"
    assert len(drawn(study_of(written(tmp_path), folder), 2)) == 2
    assert (folder / "study.sqlite3").stat().st_size > 0


# whose run a folder is


def snapshot(folder: Path) -> dict[str, bytes]:
    """Read everything in a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The config and the folder of a sweep with a repeat, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    config = written(folder, trials=1, repeat_best=1, pruning=None)
    work(config, folder / "sweep")
    return config, folder / "sweep"


@pytest.mark.parametrize("name", ["trial_0000", "trial_0000_seed_1"])
def test_nothing_is_written_through_a_link_and_no_strangers_run_is_taken(
    name: str, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    config, sweep_folder = finished
    outside = tmp_path / "outside"
    shutil.copytree(sweep_folder / name, outside)
    before = snapshot(outside)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / name).symlink_to(outside)
    study_of(config, tmp_path / "sweep")
    with pytest.raises(RunError, match=rf"{name} is (a link, and sweep does not write|not the run of trial 0 with seed 1)"):
        work(config, tmp_path / "sweep")
    assert snapshot(outside) == before


@pytest.mark.parametrize("name", ["trial_0000", "trial_0000_seed_1"])
@pytest.mark.parametrize("whose", ["a sweep's", "nobody's", "another trial's"])
def test_a_finished_run_of_another_is_one_message_and_stays_as_it_is(
    whose: str, name: str, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    config, sweep_folder = finished
    study_of(config, tmp_path / "sweep")
    run = tmp_path / "sweep" / name
    shutil.copytree(sweep_folder / name, run)
    mark = run / "sweep.json"
    if whose == "nobody's":
        mark.unlink()
    elif whose == "another trial's":
        owner = json.loads(mark.read_text())
        mark.write_text(json.dumps({**owner, "study": study_of(config, tmp_path / "sweep").identity, "trial": 7}))
    before = snapshot(run)
    reasons = {"a sweep's": "but of another sweep", "nobody's": r"it has no sweep\.json", "another trial's": "but of trial 7"}
    with pytest.raises(
        RunError, match=rf"{name} is not the run of trial 0.*{reasons[whose]}.*; move it away and run sweep again"
    ):
        work(config, tmp_path / "sweep")
    assert snapshot(run) == before


@pytest.mark.parametrize("what", ["checkpoints", ".lock", "config.yaml"])
def test_a_link_within_the_run_of_a_trial_is_refused(what: str, tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    taken = study_of(config, tmp_path / "sweep").next_work(math.inf)
    assert isinstance(taken, Work)
    taken.release()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/mine").write_text("mine")
    (taken.run.path / what).symlink_to(tmp_path / "outside" / ("" if what == "checkpoints" else "mine"))
    with pytest.raises(CnnctlError, match=what.replace(".", r"\.")):
        work(config, tmp_path / "sweep")
    assert snapshot(tmp_path / "outside") == {"mine": b"mine"}


def test_plots_that_are_a_link_are_refused(finished: tuple[Path, Path], tmp_path: Path) -> None:
    config, folder = finished
    shutil.copytree(folder, tmp_path / "sweep")
    (tmp_path / "outside").mkdir()
    (tmp_path / "sweep/plots").symlink_to(tmp_path / "outside")
    with pytest.raises(RunError, match="plots is a link, and sweep does not write through links; move it away"):
        sweep(config, [], SweepOptions(tmp_path / "sweep"), Console(quiet=True))
    assert not list((tmp_path / "outside").iterdir())


def test_a_file_where_a_trials_folder_belongs_is_one_message(tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    study_of(config, tmp_path / "sweep")
    (tmp_path / "sweep/trial_0000").write_text("mine")
    with pytest.raises(RunError, match="trial_0000 is not a folder; move it away and run sweep again"):
        work(config, tmp_path / "sweep")
    assert (tmp_path / "sweep/trial_0000").read_text() == "mine"


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    study = study_of(config, tmp_path / "sweep")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "sweep/.sweep.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match=r"\.sweep\.lock cannot be written"):
        study.next_work(math.inf)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_trial_is_not_resumed_by_itself_in_the_folder_of_its_sweep(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, folder = finished
    with pytest.raises(
        UsageError, match=r"is a trial of the sweep in .* cp -r \S*trial_0000 COPY, then cnnctl train --resume COPY"
    ):
        train(None, ["train.epochs=4"], None, folder / "trial_0000", "cpu", Console(quiet=True), verbose=True)
    assert len(RunFolder(folder / "trial_0000").read_epochs()) == 3
    shutil.copytree(folder / "trial_0000", tmp_path / "COPY")
    train(None, ["train.epochs=4"], None, tmp_path / "COPY", "cpu", Console(quiet=True), verbose=True)
    assert len(RunFolder(tmp_path / "COPY").read_epochs()) == 4


def test_a_trial_whose_config_was_changed_is_refused_with_what_differs(tmp_path: Path) -> None:
    config = written(tmp_path, trials=1)
    study = study_of(config, tmp_path / "sweep")
    taken = study.next_work(math.inf)
    assert isinstance(taken, Work)
    taken.run.write_config(study.config_of(taken))
    taken.run.config.write_text(taken.run.config.read_text().replace("epochs: 3", "epochs: 4"))
    taken.release()
    with pytest.raises(
        RunError,
        match=r"trial_0000 has another config than trial 0 in the study; .*:\n  train.epochs: 4 in the run, 3 in the study",
    ):
        work(config, tmp_path / "sweep")


def test_the_command_that_trains_the_best_again_works_without_its_folder(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = finished
    shutil.copytree(folder, tmp_path / "sweep")
    sweep(config, [], SweepOptions(tmp_path / "sweep"), Console())
    printed = capsys.readouterr().err
    assert f"retrain it:     cnnctl train {tmp_path}/sweep/trial_0000/config.yaml" in printed
    viewer = "tensorboard --logdir" if any((tmp_path / "sweep").glob("*/tensorboard")) else "cnnctl runs"
    assert f"see them all:   {viewer} {tmp_path}/sweep\n" in printed
    own = load(tmp_path / "sweep/trial_0000/config.yaml")
    shutil.rmtree(tmp_path / "sweep/trial_0000")
    sweep(config, ["train.precision=float32"], SweepOptions(tmp_path / "sweep"), Console())
    line = next(each for each in capsys.readouterr().err.splitlines() if each.startswith("retrain it: "))
    _, _, file, *options = shlex.split(line.partition(": ")[2])
    again = load(Path(file), options[1::2])
    assert not list(differences(own, without_sweep(again), strict=True))


def test_a_trial_that_nobody_trains_is_interrupted_and_not_running(tmp_path: Path) -> None:
    config = written(tmp_path, trials=2)
    study = study_of(config, tmp_path / "sweep")
    first, second = study.next_work(math.inf), study.next_work(math.inf)
    assert isinstance(first, Work) and isinstance(second, Work)
    first.release()
    seen = study_of(config, tmp_path / "sweep")
    assert [row.state for row in seen.results().trials] == [INTERRUPTED, RUNNING]
    study._storage.set_trial_user_attr(study._trial_id(0), "alive", ["another", time.time()])
    assert [row.state for row in seen.results().trials] == [RUNNING, RUNNING]
    second.release()


# choices that are stacks and sections


def test_tables_json_and_plots_show_in_what_stacks_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnctl.sweep import plots

    dense = {"dense": {"units": "classes", "use_bias": True, "kernel_initializer": "he_normal"}}
    stacks = [["flatten", {"dense": {"units": units, "activation": "relu"}}, dense] for units in (8, 16)]
    names = ["dense units 8", "dense units 16"]
    parameters = {"model.layers": stacks, "train.epochs": [1, 2]}
    study = study_of(written(tmp_path, method="grid", trials=None, pruning=None, parameters=parameters), tmp_path / "sweep")
    for value in (0.5, 0.25, 0.75, 0.125):
        taken = study.next_work(math.inf)
        assert isinstance(taken, Work)
        assert taken.labels["model.layers"] in names  # for TensorBoard's HParams
        study.report(taken.number, 1, value, may_prune=False)
        end(study, taken, value)
    table = shown_as(study.results(), "table").splitlines()
    assert table[0].split()[:3] == ["trial", "layers", "train.epochs"]
    assert re.fullmatch(r"best +trial 2, layers dense units 16, epochs 1: validation accuracy 75.00%", table[-1])
    trials = json.loads(shown_as(study.results(), "json"))["trials"]
    assert [(each["labels"]["model.layers"], each["values"]["model.layers"]) for each in trials[:2]] == list(
        zip(names, stacks, strict=True)
    )[::-1]
    seen: list[str] = []

    def texts(axes: Any, _: float) -> bytes:
        ticks = [each for one in axes.figure.axes for each in (*one.get_xticklabels(), *one.get_yticklabels())]
        seen.append(" ".join(each.get_text().replace("\n", " ") for each in ticks))
        return b""

    monkeypatch.setattr(plots, "_png", texts)
    drawn_plots = [name for name, _ in plots.plots(study.optuna, "validation_accuracy")]
    for plot in ("slice", "parallel_coordinate"):
        ticks = seen[drawn_plots.index(plot)]
        assert all(name in ticks and f"'{name}" not in ticks for name in names)


# `train` beside it


def test_train_says_that_it_leaves_the_sweep_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = load(written(tmp_path))
    assert one_training(experiment, Console()).sweep is None
    assert capsys.readouterr().err == ("sweep   the section is for 'cnnctl sweep'; this is one training without it\n")
    one_training(one_training(experiment, Console(quiet=True)), Console())
    assert capsys.readouterr().err == ""


def test_a_run_of_a_trials_config_is_no_part_of_the_sweep(straight: tuple[Path, Study]) -> None:
    _, study = straight
    assert _name(study.folder.trial(0).config) == "sweep-trial_0000"


def test_a_process_makes_room_for_one_with_other_threads(tmp_path: Path) -> None:
    config = written(tmp_path, method="grid", trials=None, pruning=None, parameters={"train.batch_parts": [1, 2]})
    worker = TrialRunner(study_of(config, tmp_path / "sweep"), "cpu", Interruption(), lambda _: None)
    assert not worker.work(math.inf)
    states = [row.state for row in worker.study.results().trials]
    assert states == [DONE, INTERRUPTED]
    with hold(tmp_path / "sweep/trial_0001/.lock") as other:
        assert other is None  # another process can lock it


def test_sessions_of_a_sweep_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work(written(tmp_path, trials=1, repeat_best=1), tmp_path / "sweep")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_sweep_on_several_workers_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    config = written(tmp_path)
    with pytest.raises(
        UsageError, match=r"train\.strategy is multi_worker, but a trial trains in a single process\. .*--processes"
    ):
        sweep(config, ["train.strategy=multi_worker"], SweepOptions(folder=tmp_path / "sweep"), Console(quiet=True))
