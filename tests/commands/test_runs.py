"""`cnnctl runs` on run folders that were made here: no training and no TensorFlow."""

from __future__ import annotations

import fcntl
import json
import os
import re
import statistics
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cnnctl import files
from cnnctl.commands.runs import runs
from cnnctl.errors import UsageError
from cnnctl.report import comparison
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.spec.load import load
from cnnctl.spec.section import plain
from cnnctl.sweep.sweep_folder import measures_of

CONFIGS = Path(__file__).parents[2] / "configs"
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


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs lie in the folder where the command is given."""
    monkeypatch.chdir(tmp_path)


def shown(root: Path, capsys: pytest.CaptureFixture[str], *wanted: str, sort: str | None = None, seeds: bool = False) -> Any:
    runs([root], "json", sort, wanted, seeds, Console())
    return json.loads(capsys.readouterr().out)


def test_only_what_differs_between_configs_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "a/1", 0.9)
    make_run(tmp_path / "a/2", 0.8, loop="custom", optimizer={"adam": {"learning_rate": 0.01}})
    first, second = shown(Path("a"), capsys)
    assert first["config"] == {"train.loop": "fit", "train.optimizer.adam.learning_rate": 0.001}
    assert second["config"] == {"train.loop": "custom", "train.optimizer.adam.learning_rate": 0.01}
    assert (first["run"], first["test_accuracy"], first["device"]) == ("a/1", 0.9, "CPU, 2 cores")


def test_another_optimizer_is_its_name_and_what_differs_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, optimizer in (
        ("1", {"adam": {"learning_rate": 0.001}}),  # Keras's own
        ("2", {"adam": {"learning_rate": 0.01}}),
        ("3", {"sgd": {"learning_rate": 0.1, "momentum": 0.0}}),
        ("4", {"sgd": {"learning_rate": {"cosine": {"initial_learning_rate": 0.2}}, "momentum": 0.0}}),
    ):
        make_run(tmp_path / name, 0.9, optimizer=optimizer)
    rows = shown(Path(), capsys)
    adam, sgd = "train.optimizer.adam.learning_rate", "train.optimizer.sgd.learning_rate"
    assert [row["config"]["train.optimizer"] for row in rows] == ["adam", "adam", "sgd", "sgd"]
    assert [row["config"][adam] for row in rows] == [0.001, 0.01, None, None]
    assert [row["config"][sgd] for row in rows] == [None, None, 0.1, "cosine"]
    assert [row["config"][f"{sgd}.cosine.initial_learning_rate"] for row in rows] == [None, None, None, 0.2]
    assert "train.optimizer.sgd.momentum" not in rows[0]["config"]  # what both have, and is its default
    for key, value in rows[3]["config"].items():
        if value is not None:
            assert [row["run"] for row in shown(Path(), capsys, f"{key}={value}")], key


def test_what_only_some_runs_have_is_shown_unless_it_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", 0.9, early_stopping=None)
    make_run(tmp_path / "2", 0.9, early_stopping={"monitor": "validation_loss", "patience": 2})
    assert shown(Path(), capsys)[1]["config"] == {"train.early_stopping": True, "train.early_stopping.patience": 2}
    assert [row["run"] for row in shown(Path(), capsys, "early_stopping=null")] == ["1"]


def test_stacks_are_told_apart_by_their_layers_and_the_fields_of_these(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, layers in (
        ("1", [{"dense": {"units": 64}}, {"dense": {"units": "classes"}}]),
        ("2", [{"dense": {"units": 32}}, {"dropout": {"rate": 0.5}}, {"dense": {"units": "classes"}}]),
        ("3", [{"dense": {"units": 32}}, {"activation": {"activation": "relu"}}, {"dense": {"units": "classes"}}]),
    ):
        make_run(tmp_path / name, 0.9, layers=["flatten", *layers])
    rows = shown(Path(), capsys)
    assert [row["config"]["model.layers.dense.units"] for row in rows] == [64, 32, 32]
    assert [row["config"]["model.layers.dropout.rate"] for row in rows] == [None, 0.5, None]
    assert [row["config"]["model.layers.activation.activation"] for row in rows] == [None, None, "relu"]
    assert rows[1]["config"]["model.layers"] == ["flatten", "dense", "dropout", "dense_1"]
    assert not any("dense_1" in key for key in rows[0]["config"])
    runs([Path()], "table", None, [], False, Console(), "layers")
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[2:]] == [
        "…, …",
        "…, dropout, …",
        "…, activation, …",
    ]


def test_a_field_of_the_same_layer_is_its_own_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rate in (0.1, 0.5):
        make_run(tmp_path / f"{rate}", 0.9, layers=["flatten", {"dropout": {"rate": rate}}, *LAYERS[1:]])
    assert shown(Path(), capsys)[0]["config"] == {"model.layers.dropout.rate": 0.1}
    for key in (
        "model.layers.dropout.rate",
        "dropout.rate",
        "rate",
        "model.layers[1].dropout.rate",
        "model.layers.1.dropout.rate",
    ):
        assert [row["run"] for row in shown(Path(), capsys, f"{key}=5e-1")] == ["0.5"], key


def test_whatever_differs_is_shown_and_can_be_filtered_by(tmp_path: Path) -> None:
    """Real configs of three kinds, as run folders have them."""
    for name in ("quickstart", "mnist-best", "residual"):
        make_run(tmp_path / name, 0.9)
        config = plain(load(CONFIGS / f"{name}.yaml", [], look_at_data=False))
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
    rows, _ = comparison.read_runs(Path())
    plain_rows = json.loads(json.dumps(comparison.as_plain(rows)))
    assert {row["config"]["train.optimizer"] for row in plain_rows} == {"adam", "adamw"}
    for index, row in enumerate(plain_rows):
        for key, value in row["config"].items():
            text = ", ".join(value) if key == "model.layers" else value if isinstance(value, str) else json.dumps(value)
            assert comparison.keys_meant(key, rows) == [key]
            assert value is None or rows[index] in comparison.chosen(rows, [(key, text)]), key


# What became of a run


def state(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str | None]:
    found = {row["run"]: (row["state"], row.get("reason")) for row in shown(Path(), capsys)}
    return found[name]


def test_the_state_is_what_became_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("done", "killed", "failed", "paused", "running"):
        make_run(tmp_path / name, 0.9 if name == "done" else None)
    RunFolder(tmp_path / "failed").note_stopped("failed", "the loss became nan at step 3")
    RunFolder(tmp_path / "paused").note_stopped("interrupted", "interrupted; 2 of 5 epochs are saved")
    (tmp_path / "killed/.lock").write_text(", 1 on here")  # left by a process that was killed: nobody holds it
    assert (state("done", capsys), state("killed", capsys)) == (("finished", None), ("interrupted", None))
    assert state("failed", capsys) == ("failed", "the loss became nan at step 3")
    assert state("paused", capsys)[0] == "interrupted"
    with RunFolder(tmp_path / "running").held():
        assert state("running", capsys) == ("running", None)
    assert state("running", capsys)[0] == "interrupted"
    runs([Path()], "table", None, ["state=failed"], False, Console())
    table = capsys.readouterr().out.splitlines()
    assert table[3].startswith("failed  failed: the loss")


def test_who_looks_at_a_lock_keeps_nobody_from_it(tmp_path: Path) -> None:
    """Other processes look all the time; flock is by open file, so another descriptor stands for another process."""
    lock = tmp_path / ".lock"
    lock.touch()
    assert not files.is_held(lock)
    assert not files.is_held(tmp_path / "none")
    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.005, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with files.hold(lock) as other:
            assert other is None
            assert files.is_held(lock)


def test_a_pipe_in_place_of_the_lock_keeps_nobody_waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", None)
    os.mkfifo(tmp_path / "1/.lock")
    assert state("1", capsys)[0] == "interrupted"


# The table


def test_results_come_first_and_the_path_is_what_the_next_command_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs/first", 0.9)
    make_run(tmp_path / "runs/with space", 0.8, optimizer={"adam": {"learning_rate": 0.4655131827503319}})
    runs([Path("runs")], "table", None, [], False, Console())
    heading, below, _, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["run", "state", "test", "validation", "test", "epochs", "seconds", "learning_rate"]
    assert below.split() == ["accuracy", "accuracy", "loss"]
    assert first.split()[:3] == ["runs/first", "finished", "90.00%"]
    assert second.startswith("'runs/with space'")
    assert second.endswith(" 0.4655")
    assert shown(Path("runs"), capsys)[1]["config"]["train.optimizer.adam.learning_rate"] == 0.4655131827503319


def test_every_key_of_the_json_chooses_orders_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs/1", 0.9)
    make_run(tmp_path / "runs/2", 0.8, seed=1, epochs=3)
    first, _ = shown(Path("runs"), capsys)
    for key, value in (first | first.pop("config")).items():
        assert first["run"] in [each["run"] for each in shown(Path("runs"), capsys, f"{key}={json.dumps(value)}")]
        runs([Path("runs")], "table", key, (), False, Console(), key)
        heading = comparison.HEADINGS.get(key, key).rpartition(".")[2].partition("_")[0]
        assert heading in capsys.readouterr().out.partition("─")[0]
    assert [each["run"] for each in shown(Path("runs"), capsys, "run=runs/2")] == ["runs/2"]


def test_a_name_that_is_not_utf8_is_shown_as_the_next_command_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / os.fsdecode(b"a\xe9 b"), 0.9)
    runs([Path()], "table", None, [], False, Console())
    assert r"$'a\xe9 b'" in capsys.readouterr().out


def test_what_fails_after_the_result_is_there_is_not_noted_as_the_end_of_the_run(tmp_path: Path) -> None:
    make_run(tmp_path / "1", 0.9)
    RunFolder(tmp_path / "1").note_stopped("failed", "no room to print")
    assert not RunFolder(tmp_path / "1").stopped.exists()


def test_numbers_that_differ_are_never_rounded_to_one_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rate in (("1", 0.46551), ("2", 0.465512)):
        make_run(tmp_path / name, 0.9, optimizer={"adam": {"learning_rate": rate}})
    runs([Path()], "table", None, [], False, Console())
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[3:]] == ["0.46551", "0.465512"]


def many_differences(tmp_path: Path) -> None:
    for index in range(3):
        layers = [{"dense": {"units": 10 + index + each}} for each in range(12)]
        make_run(tmp_path / f"{index}", 0.9, layers=["flatten", *layers], epochs=index + 3)


def test_a_table_fits_100_columns_and_says_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many_differences(tmp_path)
    runs([Path()], "table", None, [], False, Console())
    printed = capsys.readouterr()
    assert max(map(len, printed.out.splitlines())) <= 100
    heading = printed.out.splitlines()[0].split()
    assert heading[:4] == ["run", "state", "test", "validation"]
    assert printed.err.count("\n") == 1
    named = re.search(r"hidden columns: (.*)\. Show all with --columns all, one with --columns \+(\S+)", printed.err)
    assert named
    left_out = named[1].partition(" and ")[0].split(", ")
    runs([Path()], "table", None, [], False, Console(), f"+{named[2]}")
    assert named[2].rpartition(".")[2].split("_")[-1] in capsys.readouterr().out
    runs([Path()], "table", None, [], False, Console(), ",".join(left_out))
    assert len(capsys.readouterr().out.splitlines()[3].split()) == len(left_out) + 1
    runs([Path()], "table", None, [], False, Console(), "all")
    printed = capsys.readouterr()
    assert printed.out.count("units") == 12
    assert printed.err == ""


def test_columns_are_those_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", 0.9)
    runs([Path()], "table", None, [], False, Console(), "seed,learning_rate,device")
    assert capsys.readouterr().out.splitlines()[0].split() == ["run", "seed", "learning_rate", "device"]
    with pytest.raises(UsageError, match="no run has 'colour'"):
        runs([Path()], "table", None, [], False, Console(), "colour")


def test_a_key_of_two_meanings_is_refused_with_both(tmp_path: Path) -> None:
    make_run(tmp_path / "1", 0.9)
    make_run(tmp_path / "2", 0.9, optimizer={"sgd": {"learning_rate": 0.1}})
    either = "train.optimizer.adam.learning_rate, train.optimizer.sgd.learning_rate"
    with pytest.raises(UsageError, match=f"'learning_rate' is ambiguous; write one of {either}"):
        runs([Path()], "table", None, ["learning_rate=0.1"], False, Console())


def test_a_run_cut_short_shows_what_it_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "1", None)
    (row,) = shown(Path(), capsys)
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
    (row,) = shown(Path(), capsys)
    assert row["test_accuracy"] == 0.1
    assert "test_loss" not in row


def test_rows_are_ordered_and_chosen_by_results_and_config_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, accuracy, loop in (("1", 0.7, "fit"), ("2", 0.9, "custom"), ("3", 0.8, "fit"), ("4", None, "fit")):
        make_run(tmp_path / name, accuracy, loop=loop)
    names = [row["run"] for row in shown(Path(), capsys, sort="-test_accuracy")]
    assert names == ["2", "3", "1", "4"]
    assert [row["run"] for row in shown(Path(), capsys, sort="test_accuracy")] == ["1", "3", "2", "4"]
    assert [row["run"] for row in shown(Path(), capsys, "train.loop=fit", sort="-test_accuracy")] == ["3", "1", "4"]
    assert [row["run"] for row in shown(Path(), capsys, "loop=custom")] == ["2"]


def test_seeds_of_one_config_become_mean_and_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracies = [0.97, 0.98, 0.96]
    for seed, accuracy in enumerate(accuracies):
        make_run(tmp_path / f"{seed}", accuracy, seed=seed)
    make_run(tmp_path / "other", 0.5, loop="custom")
    three, one = shown(Path(), capsys, seeds=True)
    assert (three["seeds"], one["seeds"]) == (3, 1)
    assert three["test_accuracy"] == [statistics.mean(accuracies), statistics.stdev(accuracies)]
    assert one["test_accuracy"] == [0.5]
    assert three["config"] == {"train.loop": "fit"}
    runs([tmp_path], "markdown", None, [], True, Console())
    assert "| 97.00% (sd 1.00%) |" in capsys.readouterr().out


def test_a_mean_over_some_of_the_seeds_says_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best trial of a sweep is not tested, its repeats with other seeds are."""
    for seed, accuracy in enumerate((None, 0.98, 0.96)):
        make_run(tmp_path / f"{seed}", accuracy, seed=seed)
    (row,) = shown(tmp_path, capsys, seeds=True)
    assert (row["seeds"], row["tested_seeds"]) == (3, 2)
    assert row["test_accuracy"] == [statistics.mean([0.98, 0.96]), statistics.stdev([0.98, 0.96])]


@pytest.mark.parametrize(
    ("edit", "reported"),
    [
        (("seed: 1", "seed: 7"), "seed is 7, trained with 1"),
        (("epochs: 2", "epochs: 9"), "train.epochs is 9, trained with 2"),
        (("units: classes", "units: 11"), "it is invalid now: runs/1/config.yaml:"),
        (("seed: 1", "sed: 1"), "it is invalid now: runs/1/config.yaml:"),
        (("seed: 1", "seed: 1: 2"), "it is invalid now: runs/1/config.yaml:"),
    ],
)
def test_a_run_is_shown_with_the_config_it_was_trained_with(
    edit: tuple[str, str], reported: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1", "2"):
        make_run(tmp_path / "runs" / name, 0.9, seed=int(name), epochs=2)
        run = RunFolder(tmp_path / "runs" / name)
        experiment = load(run.config, look_at_data=False)
        run.write_config(experiment)
        origin = json.dumps({"config": plain(experiment), "environment": run.read_environment()}).encode()
        run.checkpoints.mkdir()
        np.savez(run.checkpoints / "step_000000020.npz", origin=np.frombuffer(origin, np.uint8))
    shown(Path("runs"), capsys)
    before, after = edit
    file = tmp_path / "runs/1/config.yaml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after, 1))
    runs([Path("runs")], "json", None, (), False, Console())
    printed = capsys.readouterr()
    assert [run["config"] for run in json.loads(printed.out)] == [{"seed": 1}, {"seed": 2}]
    assert printed.err.count("\n") == 1
    assert f"runs/1/config.yaml was edited after training started: {reported}" in printed.err


def test_broken_and_foreign_folders_are_named_and_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "good", 0.9)
    for name, broken in (("no-config", "config.yaml"), ("no-environment", "environment.json")):
        make_run(tmp_path / name, 0.9)
        (tmp_path / name / broken).unlink()
    make_run(tmp_path / "half", 0.9)
    (tmp_path / "half/result.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.yaml").write_text("- 1")
    runs([Path()], "json", None, [], False, Console())
    printed = capsys.readouterr()
    assert [row["run"] for row in json.loads(printed.out)] == ["good"]
    for name in ("no-config", "no-environment", "half", "foreign"):
        assert f"{name} is skipped: " in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sort": "test_acuracy"}, r"no run has 'test_acuracy'; did you mean 'test_accuracy'\?"),
        ({"sort": "-colour"}, "no run has 'colour'; results are test_accuracy, validation_accuracy"),
        ({"wanted": ["loop"]}, "--filter loop: expected key=value, such as train.loop=fit"),
        ({"wanted": ["train.loop=neither"]}, "no run has train.loop=neither; found train.loop=fit"),
    ],
)
def test_a_key_that_is_not_there_is_one_message(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    make_run(tmp_path / "1", 0.9)
    asked: dict[str, Any] = {"sort": None, "wanted": [], **arguments}
    with pytest.raises(UsageError, match=message):
        runs([tmp_path], "table", asked["sort"], asked["wanted"], False, Console())


def test_no_folder_and_no_run_are_one_message_each(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"there is no folder .*nowhere; runs are in runs/ unless --run-dir named another folder"
    ):
        runs([tmp_path / "nowhere"], "table", None, [], False, Console())
    with pytest.raises(UsageError, match="contains no run"):
        runs([tmp_path], "table", None, [], False, Console())
