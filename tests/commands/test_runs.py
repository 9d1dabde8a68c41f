"""`cnnctl runs` on run folders that were made here: no training and no TensorFlow."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnctl.commands.runs import runs
from cnnctl.commands.sweep_folder import measures_of
from cnnctl.errors import UsageError
from cnnctl.report.console import Console
from cnnctl.runs import RunFolder

LAYERS = ["flatten", {"dense": {"units": "classes"}}]
METRICS = "epoch,step,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second"


def make_run(folder: Path, test_accuracy: float | None, layers: list[Any] | None = None, seed: int = 0, **train: Any) -> None:
    """Makes a run of two epochs; without a test accuracy, one that was cut short."""
    folder.mkdir(parents=True)
    config = {
        "seed": seed,
        "data": {"source": "digits"},
        "model": {"style": "sequential", "layers": layers or LAYERS},
        "train": {"loop": "fit", "optimizer": {"adam": {"learning_rate": 0.001}}, **train},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"device": "CPU, 2 cores (no GPU: none here)"}))
    rows = ["1,10,0.5,0.8,0.4,0.85,0.001,2.0,100", "2,20,0.3,0.9,0.2,0.95,0.001,1.5,100"]
    (folder / "metrics.csv").write_text("\n".join([METRICS, *rows]) + "\n")
    if test_accuracy is not None:
        result = {"test_accuracy": test_accuracy, "test_loss": 0.25, "epochs": 2, "train_seconds": 3.5}
        (folder / "result.json").write_text(json.dumps(result))


def shown(root: Path, capsys: pytest.CaptureFixture[str], *wanted: str, sort: str | None = None, seeds: bool = False) -> Any:
    runs(root, "json", sort, wanted, seeds, Console())
    return json.loads(capsys.readouterr().out)


def test_only_what_differs_between_configs_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a/1", 0.9)
    make_run(tmp_path / "a/2", 0.8, loop="custom", optimizer={"adam": {"learning_rate": 0.01}})
    first, second = shown(tmp_path, capsys)
    assert first["config"] == {"train.loop": "fit", "train.optimizer.adam.learning_rate": 0.001}
    assert second["config"] == {"train.loop": "custom", "train.optimizer.adam.learning_rate": 0.01}
    assert (first["run"], first["test_accuracy"], first["device"]) == ("a/1", 0.9, "CPU, 2 cores")


def test_other_layers_or_another_optimizer_are_one_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", 0.9)
    make_run(tmp_path / "2", 0.8, layers=["flatten", {"dropout": {"rate": 0.5}}, *LAYERS[1:]], optimizer={"sgd": {}})
    assert list(shown(tmp_path, capsys)[0]["config"]) == ["model.layers", "train.optimizer"]
    runs(tmp_path, "table", None, [], False, Console())
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["run", "layers", "optimizer"]
    assert table[3].split()[:4] == ["2", "3", "layers", "sgd"]


def test_a_field_of_the_same_layer_is_its_own_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (0.1, 0.5):
        make_run(tmp_path / f"{rate}", 0.9, layers=["flatten", {"dropout": {"rate": rate}}, *LAYERS[1:]][1:])
    assert shown(tmp_path, capsys)[0]["config"] == {"model.layers[0].dropout.rate": 0.1}


def test_a_run_cut_short_shows_what_it_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", None)
    (row,) = shown(tmp_path, capsys)
    assert (row["epochs"], row["validation_accuracy"], row["train_seconds"]) == (2, 0.95, 3.5)
    assert "test_accuracy" not in row


def test_the_validation_that_is_shown_is_of_the_weights_that_the_run_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Early stopping went back to the first of two epochs: 85 %, where the last one had 95 %."""
    make_run(tmp_path / "1", 0.84)
    result = json.loads((tmp_path / "1/result.json").read_text())
    (tmp_path / "1/result.json").write_text(json.dumps({**result, "weights_epoch": 1}))
    assert shown(tmp_path, capsys)[0]["validation_accuracy"] == 0.85
    assert measures_of(RunFolder(tmp_path / "1"))["validation_accuracy"] == 0.85


def test_a_run_whose_test_loss_is_no_number_is_shown_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", 0.1)
    result = json.loads((tmp_path / "1/result.json").read_text())
    (tmp_path / "1/result.json").write_text(json.dumps({**result, "test_loss": None}))  # JSON has no NaN
    (row,) = shown(tmp_path, capsys)
    assert row["test_accuracy"] == 0.1
    assert "test_loss" not in row


def test_rows_are_ordered_and_chosen_by_results_and_config_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, accuracy, loop in (("1", 0.7, "fit"), ("2", 0.9, "custom"), ("3", 0.8, "fit"), ("4", None, "fit")):
        make_run(tmp_path / name, accuracy, loop=loop)
    names = [row["run"] for row in shown(tmp_path, capsys, sort="-test_accuracy")]
    assert names == ["2", "3", "1", "4"]
    assert [row["run"] for row in shown(tmp_path, capsys, sort="test_accuracy")] == ["1", "3", "2", "4"]
    assert [row["run"] for row in shown(tmp_path, capsys, "train.loop=fit", sort="-test_accuracy")] == ["3", "1", "4"]
    assert [row["run"] for row in shown(tmp_path, capsys, "loop=custom")] == ["2"]


def test_seeds_of_one_config_become_mean_and_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracies = [0.97, 0.98, 0.96]
    for seed, accuracy in enumerate(accuracies):
        make_run(tmp_path / f"{seed}", accuracy, seed=seed)
    make_run(tmp_path / "other", 0.5, loop="custom")
    three, one = shown(tmp_path, capsys, seeds=True)
    assert (three["seeds"], one["seeds"]) == (3, 1)
    assert three["test_accuracy"] == [statistics.mean(accuracies), statistics.stdev(accuracies)]
    assert one["test_accuracy"] == [0.5]
    assert three["config"] == {"train.loop": "fit"}
    runs(tmp_path, "markdown", None, [], True, Console())
    assert "| 97.00% (sd 1.00%) |" in capsys.readouterr().out


def test_broken_and_foreign_folders_are_named_and_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "good", 0.9)
    for name, broken in (("no-config", "config.yaml"), ("no-environment", "environment.json")):
        make_run(tmp_path / name, 0.9)
        (tmp_path / name / broken).unlink()
    make_run(tmp_path / "half", 0.9)
    (tmp_path / "half/result.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.yaml").write_text("- 1")
    runs(tmp_path, "json", None, [], False, Console())
    printed = capsys.readouterr()
    assert [row["run"] for row in json.loads(printed.out)] == ["good"]
    for name in ("no-config", "no-environment", "half", "foreign"):
        assert f"{tmp_path / name} is passed over: " in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sort": "test_acuracy"}, r"no run has 'test_acuracy'; did you mean 'test_accuracy'\?"),
        ({"sort": "-colour"}, "no run has 'colour'; results are validation_accuracy, test_accuracy"),
        ({"wanted": ["loop"]}, "--filter loop: expected key=value, such as train.loop=fit"),
        ({"wanted": ["train.loop=neither"]}, "no run has train.loop=neither"),
    ],
)
def test_a_key_that_is_not_there_is_one_message(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    make_run(tmp_path / "1", 0.9)
    asked: dict[str, Any] = {"sort": None, "wanted": [], **arguments}
    with pytest.raises(UsageError, match=message):
        runs(tmp_path, "table", asked["sort"], asked["wanted"], False, Console())


def test_no_folder_and_no_run_are_one_message_each(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere; runs lie in runs/, or where --run-dir put them"):
        runs(tmp_path / "nowhere", "table", None, [], False, Console())
    with pytest.raises(UsageError, match="there is no run in "):
        runs(tmp_path, "table", None, [], False, Console())
