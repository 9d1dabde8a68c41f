"""Run folders whose files are no files, lead elsewhere, are huge, or say what no run says."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnctl import run_folder as run_folders
from cnnctl.data.sources.opening import named_outputs
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
from tests.safety.conftest import Command
from tests.safety.hostile import ODD, digits_in_folders, make_fifo

FILES = ("config.yaml", "environment.json", "result.json", "metrics.csv", "model.keras")
VERBS: dict[str, tuple[str, ...]] = {
    "evaluate": ("evaluate", "{run}"),
    "predict": ("predict", "{run}", "{digit}"),
    "export": ("export", "{run}", "--to", "keras"),
    "one-shot": ("one-shot", "{run}", "{challenge}"),
    "resume": ("train", "--resume", "{run}"),
}


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    digits_in_folders(tmp_path / "challenge" / "run01", ["training", "test"], 2)
    lines = [f"run01/test/{index}.png run01/training/{index}.png\n" for index in range(2)]
    (tmp_path / "challenge" / "run01" / "class_labels.txt").write_text("".join(lines))
    return tmp_path / "challenge"


@pytest.fixture
def words(run: Path, digit: Path, challenge: Path) -> Callable[[str], list[str]]:
    """Returns what gives the words of a verb."""
    return lambda verb: [each.format(run=run, digit=digit, challenge=challenge) for each in VERBS[verb]]


def nowhere(file: Path) -> None:
    """A link to something that is not there, outside."""
    file.symlink_to(file.parents[1] / "nowhere")


def outside(file: Path) -> None:
    """A link to a file that would do, outside."""
    file.symlink_to(shutil.copytree(file.parents[1] / "trained", file.parents[1] / "outside", dirs_exist_ok=True) / file.name)


def a_device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def itself(file: Path) -> None:
    file.symlink_to(file.name)


STRANGE: dict[str, Callable[[Path], None]] = {
    **ODD,
    "link outside": outside,
    "link to nowhere": nowhere,
    "link to a device": a_device,
    "link to itself": itself,
}


@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_the_run_is_refused(
    name: str, what: str, run: Path, trained: Path, words: Callable[[str], list[str]], command: Command
) -> None:
    """A pipe would keep a reader waiting for ever, a device fill the memory, a link lead to what nobody named."""
    shutil.copytree(trained, run.parent / "trained")
    (run / name).unlink()
    STRANGE[what](run / name)
    for verb in VERBS:
        if name == "result.json" and what == "folder":
            continue  # looked at by none of them but `train --resume`, below
        if name == "metrics.csv" and what == "folder":
            continue  # written, and never read by these
        reported = command(*words(verb))
        reported.refusal()
        assert name in reported.err or str(run) in reported.err
    assert not (run / "evaluation").exists()
    assert not (run / "export").exists()


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "evaluation", "export"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_leads_away_is_refused(
    name: str, verb: str, run: Path, words: Callable[[str], list[str]], command: Command
) -> None:
    """To go on with a run, or to keep an evaluation in it, would remove and write files there."""
    other = run.parent / "other"
    (other / "test").mkdir(parents=True)
    for file in ("test/keep.txt", "epoch_00001.npz", "x.tfevents.1", "test.json"):
        (other / file).write_text("mine")
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(other)
    (run / "result.json").unlink()
    reported = command(*words(verb)).refusal()
    assert f"{run / name} cannot be in a run folder: it leads to {other}, out of {run}" in reported
    kept = {str(file.relative_to(other)): file.read_text() for file in other.rglob("*") if file.is_file()}
    assert kept == dict.fromkeys(["test/keep.txt", "epoch_00001.npz", "x.tfevents.1", "test.json"], "mine")


def test_a_link_deep_inside_is_refused_too(run: Path, words: Callable[[str], list[str]], command: Command) -> None:
    (run / "tensorboard" / "train").mkdir(parents=True)
    (run / "tensorboard" / "train" / "x.tfevents.1").symlink_to("/etc/passwd")
    assert "it leads to /etc/passwd, out of" in command(*words("resume")).refusal()


def test_links_that_stay_inside_are_followed(run: Path, words: Callable[[str], list[str]], command: Command) -> None:
    (run / "model.keras").rename(run / "other.keras")
    (run / "model.keras").symlink_to("other.keras")
    link = run.parent / "link"
    link.symlink_to(run)
    assert command("evaluate", link).code == 0
    assert command(*words("predict")).code == 0


# edited files


@pytest.mark.parametrize("verb", VERBS)
def test_whoever_reads_an_edited_run_is_told(verb: str, run: Path, words: Callable[[str], list[str]], command: Command) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("batch_size: 64", "batch_size: 32").replace("invert: false", "invert: true"))
    noted = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**noted, "device": "GPU"}))
    reported = command(*words(verb))
    said = " ".join(reported.err.split())
    if verb == "resume":
        assert "data.invert: false in the checkpoint, true in config.yaml" in " ".join(reported.refusal().split())
        return
    assert reported.code == 0
    assert (
        f"{run}/config.yaml was edited after training started: data.invert is true, trained with false; train.batch_size"
        in said
    )
    assert f"{run}/environment.json was edited after training started: device; cnnctl train --resume {run}" in said


def test_a_run_without_its_environment_says_what_brings_it_back(run: Path, digit: Path, command: Command) -> None:
    (run / "environment.json").unlink()
    assert f"; cnnctl train --resume {run} restores it" in " ".join(command("predict", run, digit).refusal().split())
    assert command("train", "--resume", run).code == 0
    assert command("predict", run, digit).code == 0


def test_a_run_without_its_config_says_what_brings_it_back(run: Path, digit: Path, command: Command) -> None:
    before = (run / "config.yaml").read_bytes()
    (run / "config.yaml").unlink()
    assert f"no config.yaml; cnnctl train --resume {run} restores it" in " ".join(
        command("predict", run, digit).refusal().split()
    )
    assert command("train", "--resume", run).code == 0
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK", bytes(100)])
def test_checkpoints_that_say_nothing_keep_nobody_from_predicting(
    content: bytes, run: Path, digit: Path, command: Command
) -> None:
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(content)
    assert command("predict", run, digit).code == 0


# what files say

JSON: dict[str, str] = {
    "nothing": "",
    "no JSON": "{",
    "half of it": '{"device": "CPU"',
    "a list": "[]",
    "a text": '"x"',
    "a number": "1e999",
    "null": "null",
    "a mapping of nothing": "{}",
    "two of them": "{}{}",
    "nested deeply": "[" * 100_000 + "]" * 100_000,
    "mappings nested deeply": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number of a million digits": '{"device": ' + "9" * 1_000_000 + "}",
    "UTF-16": "\ufeff{}",
    "a byte order mark": "\ufeff{}",
}


@pytest.mark.parametrize("what", JSON)
@pytest.mark.parametrize("name", ["environment.json", "result.json"])
def test_json_that_no_run_has_is_named(name: str, what: str, run: Path, command: Command) -> None:
    encoding = "utf-16" if what == "UTF-16" else "utf-8"
    (run / name).write_text(JSON[what], encoding=encoding)
    reported = command("evaluate", run) if name == "environment.json" else command("runs", run.parent)
    assert f"{run / name}" in reported.refusal()
    assert max(map(len, reported.err.splitlines())) < 1000


def test_a_file_beyond_all_measure_is_not_read(run: Path, command: Command) -> None:
    for name in ("environment.json", "result.json", "metrics.csv"):
        with (run / name).open("ab") as file:
            file.truncate(10**12)  # takes no room on the disk
    reported = command("evaluate", run)
    assert f"{run / 'environment.json'} cannot be read: it has more than 20,000,000 bytes" in reported.refusal()
    assert f"{run} is skipped: {run / 'result.json'} cannot be read" in command("runs", run.parent).refusal()


def test_a_model_beyond_all_measure_is_not_read(run: Path, command: Command) -> None:
    with (run / "model.keras").open("ab") as file:
        file.truncate(10**12)
    assert f"{run / 'model.keras'} is" in command("evaluate", run).refusal()


CLASS_NAMES: dict[str, object] = {
    "numbers": list(range(10)),
    "a text": "0123456789",
    "a mapping": {str(each): each for each in range(10)},
    "lists": [[]] * 10,
    "null": None,
    "nulls": [None] * 10,
    "one number among them": [*"012345678", 9],
    "booleans": [True] * 10,
}


@pytest.mark.parametrize("what", CLASS_NAMES)
def test_class_names_that_are_none_are_refused(what: str, run: Path, command: Command) -> None:
    change(run, class_names=CLASS_NAMES[what])
    wanted = f"{run / 'environment.json'} is damaged: class_names or data_fingerprint is missing; start a new run"
    assert wanted in command("evaluate", run).refusal()


@pytest.mark.parametrize("seen", [None, 1, [], {}, 1e300])
def test_a_fingerprint_that_is_none_is_refused(seen: object, run: Path, command: Command) -> None:
    change(run, data_fingerprint=seen)
    assert "is damaged" in command("evaluate", run).refusal()


@pytest.mark.parametrize("names", [[], ["a"], ["a"] * 10, [str(each) for each in range(1000)], ["x" * 100_000] * 10])
def test_as_many_class_names_as_it_pleases_do_no_harm(names: list[str], run: Path, digit: Path, command: Command) -> None:
    change(run, class_names=names)
    for form in ("table", "json", "markdown"):
        reported = command("predict", run, digit, "--top", 10, "--format", form)
        assert reported.code == 0, reported.err[:300]
    assert command("evaluate", run).code in (0, 1)  # its own data has other classes


def test_control_characters_in_class_names_do_not_reach_the_terminal(run: Path, digit: Path, command: Command) -> None:
    """`command` looks for them."""
    change(run, class_names=[f"\x1b[{each}m\n\u202e\x9b" for each in range(10)], command=["\x1b[2J"], device="\x1b[2J")
    for form in ("table", "json", "markdown"):
        assert command("predict", run, digit, "--top", 10, "--format", form).code == 0
        assert command("runs", run.parent, "--format", form).code == 0
    assert "the data has other classes" in command("evaluate", run).refusal()
    images = digits_in_folders(run.parent / "images", [f"\x1b[{each}m\n\u202e\x9b" for each in range(10)], 2)
    for form in ("table", "json", "markdown"):
        assert command("evaluate", run, "--data", images, "--format", form).code == 0
    assert command("export", run, "--to", "keras").code == 0


def change(run: Path, **fields: Any) -> None:
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**environment, **fields}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "[]",
        "data: !!python/object/apply:os.system ['touch sentinel']",
        "data: !!python/name:os.system ''",
        "a: &a [*a]",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n" + "d: [*c, *c]\n" * 30,
        "[" * 5000,
        "- " * 5000,
        "model: {layers: []}",
        "\x1b[2J: 1",
        "x" * 2_000_000,
    ],
    ids=range(12),
)
def test_a_hostile_config_of_a_run_is_refused(
    text: str, run: Path, words: Callable[[str], list[str]], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    (run / "config.yaml").write_text(text)
    for verb in VERBS:
        reported = command(*words(verb))
        assert reported.code == 2
        assert f"{run / 'config.yaml'}" in reported.refusal()
    assert not (run.parent / "sentinel").exists()


# memory


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filters: 2", "filters: 1000000000"),
        ("image_size: [8, 8]", "image_size: [16384, 16384]"),
        ("classes: 10", "classes: 2000000000"),
        ("units: classes", "units: 2000000000"),
    ],
)
def test_a_config_that_asks_for_more_than_the_machine_has_is_refused(
    old: str, new: str, run: Path, digit: Path, command: Command
) -> None:
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))
    for arguments in (("evaluate", run), ("predict", run, digit), ("export", run, "--to", "keras")):
        assert command(*arguments).refusal().count("\n") < 4


def test_a_larger_network_than_the_file_has_is_not_built(run: Path, command: Command) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("filters: 2", "filters: 2000"))
    assert "its weights have" in command("evaluate", run).refusal()


def test_names_for_more_classes_than_the_memory_holds_are_not_made() -> None:
    data = DataSpec.model_validate({"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 2**31 - 1})
    with pytest.raises(DataError, match=r"data.classes is 2,147,483,647: their names take 2,147\.5 GB, but this machine has"):
        named_outputs([], data)


# many runs


def test_hostile_runs_do_not_hide_the_good_ones(run: Path, trained: Path, command: Command) -> None:
    """`cnnctl runs` lists what is in order, and names what is not, one line each."""
    root = run.parent
    shutil.copytree(trained, root / "trained")
    without = shutil.copytree(trained, root.parent / f"{root.name}-no-checkpoints")
    shutil.rmtree(without / "checkpoints")  # which know what the config was
    hostile = 0
    for number, (file, text) in enumerate(BAD.values()):
        folder = shutil.copytree(without, root / f"bad{number}")
        (folder / file).write_text(text)
        hostile += 1
    for number, what in enumerate(name for name in STRANGE if name != "folder"):
        for file in ("config.yaml", "environment.json", "result.json", "metrics.csv"):
            if file == "result.json" and what in ("link to nowhere", "link to itself"):
                continue  # as good as a run that has not ended
            if file == "metrics.csv" and what in ("link to nowhere", "link to itself"):
                continue
            folder = shutil.copytree(without, root / f"strange{number}-{file}")
            (folder / file).unlink()
            STRANGE[what](folder / file)
            hostile += 1
    for form in ("table", "json", "markdown"):
        reported = command("runs", root, "--format", form)
        assert reported.code == 0, reported.err
        passed = [line for line in reported.err.splitlines() if "is skipped: " in line]
        others = [line for line in reported.err.splitlines() if line not in passed]
        assert len(passed) == hostile and all("hidden columns" in line for line in others)
        assert max(map(len, passed)) < 600
        if form == "json":
            assert {Path(each["run"]).name for each in json.loads(reported.out)} == {"run", "trained", "outside"}
    assert hostile > 30


def metrics(**changes: str) -> str:
    """Returns a metrics.csv of one epoch, far from whole."""
    row = {"epoch": "1", "step": "1", "validation_accuracy": "1", "seconds": "1", "images_per_second": "1", **changes}
    return ",".join(row) + "\n" + ",".join(row.values()) + "\n"


def result(**changes: object) -> str:
    return json.dumps({"test_accuracy": 0.5, "test_loss": 1.0, "epochs": 1, "train_seconds": 1.0, **changes})


BAD: dict[str, tuple[str, str]] = {
    **{f"environment: {name}": ("environment.json", text) for name, text in JSON.items() if name != "UTF-16"},
    **{f"result: {name}": ("result.json", text) for name, text in JSON.items() if name != "UTF-16"},
    "device of a number": ("environment.json", '{"device": 1}'),
    "device of a list": ("environment.json", '{"device": []}'),
    "accuracy of a text": ("result.json", result(test_accuracy="high")),
    "accuracy of a list": ("result.json", result(test_accuracy=[1])),
    "accuracy of a boolean": ("result.json", result(test_accuracy=True)),
    "accuracy of null": ("result.json", result(test_accuracy=None)),
    "accuracy that is no number": ("result.json", result(test_accuracy=float("nan"))),
    "infinite loss": ("result.json", result(test_loss=float("inf"))),
    "epochs of 400 digits": ("result.json", result(epochs=10**400)),
    "seconds of a mapping": ("result.json", result(train_seconds={})),
    "seconds of a long text": ("result.json", result(train_seconds="\x1b[2J" * 10_000)),
    "metrics without seconds": ("metrics.csv", "epoch,step\n1,1\n"),
    "metrics of texts": ("metrics.csv", metrics(seconds="long")),
    "metrics of nan": ("metrics.csv", metrics(seconds="nan")),
    "metrics of infinity": ("metrics.csv", metrics(validation_accuracy="1e999")),
    "metrics with control characters": ("metrics.csv", metrics(validation_accuracy="\x1b[2J")),
    "metrics with NUL": ("metrics.csv", metrics(seconds="\0")),
    "metrics in one quote": ("metrics.csv", 'epoch\n"' + "x" * (csv.field_size_limit() + 1)),
    "metrics of a short row": ("metrics.csv", metrics().rpartition(",1,1")[0] + "\n"),
    "config of a list": ("config.yaml", "[]"),
    "config of a tag": ("config.yaml", "data: !!python/object/apply:os.system ['touch sentinel']"),
    "config nested deeply": ("config.yaml", "[" * 5000),
    "config without end": ("config.yaml", "a: &a [*a]"),
    "config with control characters": ("config.yaml", "a: \x1b"),
    "config of nothing": ("config.yaml", ""),
}
"""What `cnnctl runs` passes over: a file of a run, and what it says."""


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_odd_values_of_a_config_are_shown_safely(form: str, run: Path, trained: Path, command: Command) -> None:
    """`runs` shows configs that are not checked, whatever stands in them."""
    shutil.copytree(trained, run.parent / "trained")
    shutil.rmtree(run / "checkpoints")  # which know what the config was
    odd = (
        '{"\\e[2J": "\\e[31m\\n\\u202e", a: .nan, b: [.inf, {c: -.inf}], d: ' + "9" * 4000 + ", e: " + "[" * 10 + "]" * 10 + "}"
    )
    with (run / "config.yaml").open("a") as file:
        file.write(f"odd: {odd}\n")
    reported = command("runs", run.parent, "--format", form)
    assert reported.code == 0, reported.err
    if form == "json":
        json.loads(reported.out, parse_constant=pytest.fail)
    assert command("runs", run.parent, "--sort", "odd.a", "--format", form).code == 0
    assert command("runs", run.parent, "--seeds", "--format", form).code == 0


def test_a_folder_of_runs_that_leads_in_circles_ends(run: Path, command: Command) -> None:
    (run / "circle").symlink_to("..")
    (run.parent / "circle").symlink_to(".")
    reported = command("runs", run.parent, "--format", "json")
    assert [each["run"] for each in json.loads(reported.out)] == [str(run)]


def test_nothing_waits_for_a_pipe_among_the_files_of_a_challenge(run: Path, challenge: Path, command: Command) -> None:
    assert command("one-shot", run, challenge).code == 0
    (challenge / "run01" / "class_labels.txt").unlink()
    make_fifo(challenge / "run01" / "class_labels.txt")
    assert "cannot be read (it is not a regular file)" in command("one-shot", run, challenge).refusal()


@pytest.mark.parametrize("part", ["run01", "run01/training", "run01/test/0.png", "run01/class_labels.txt"])
def test_a_challenge_that_leads_away_is_refused(part: str, run: Path, challenge: Path, command: Command) -> None:
    (challenge / part).rename(challenge.parent / "moved")
    (challenge / part).symlink_to(challenge.parent / "moved")
    assert f"it leads to {challenge.parent / 'moved'}" in command("one-shot", run, challenge).refusal()


def test_a_long_name_of_other_images_is_no_reason_to_fail(run: Path, command: Command) -> None:
    images = digits_in_folders(run.parent / ("x" * 250), map(str, range(10)), 1)
    reported = command("evaluate", run, "--data", images)
    assert reported.code == 0
    assert os.listdir(run / "evaluation")


@pytest.mark.parametrize("what", JSON)
def test_an_earlier_evaluation_that_is_none_is_kept(what: str, run: Path, command: Command) -> None:
    (run / "evaluation").mkdir()
    (run / "evaluation" / "test.json").write_text(JSON[what])
    assert command("evaluate", run).code == 0
    assert (run / "evaluation" / "test.json").read_text() == JSON[what]
    assert json.loads((run / "evaluation" / "test_2.json").read_text())["split"] == "test"


def test_the_limit_is_beyond_what_runs_need() -> None:
    assert run_folders.MAX_BYTES > 100_000 * 150  # epochs × bytes a row
