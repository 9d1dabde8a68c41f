"""Trainings that are killed, for real and at random moments, end as if nothing had happened."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.endings import CASES, assert_same_ending, write_case
from tests.reliability.kills import Count, Victim, kill_until_through
from tests.reliability.nursery import Child, Nursery

QUICK = ("fit-subclass", "every-step", "prototypical")
"""The other cases are in scripts/soak, which kills each many more times."""
KILLS = 4


@pytest.mark.parametrize("case", QUICK)
def test_a_training_killed_at_random_moments_ends_as_the_straight_one(case: str, nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    straight, start = Victim(nursery, case, tmp_path), time.monotonic()
    straight.finish()
    seconds, count = time.monotonic() - start, Count()
    killed = kill_until_through(nursery, case, tmp_path / "killed", seconds, KILLS, random.Random(case), count)
    assert sum(count.kills.values()) >= 2
    assert_same_ending(killed, straight.run)


# Ctrl-C and SIGTERM


def long_training(nursery: Nursery, folder: Path, before: str = "", *words: str) -> Child:
    """Returns a training that will not end by itself, at the end of its first epoch or later."""
    config = write_case("custom-sequential", folder)
    run = folder / "run"
    endless = ["--set", "train.epochs=100000", "--set", "train.early_stopping=null", "--device", "cpu", *words]
    child = nursery.start("train", config, "--run-dir", run, *endless, cwd=folder, output=folder / "output.txt", before=before)
    assert child.has_said(" 2/100000 "), child.said()
    return child


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_then_ends_the_command_with_its_code(
    number: signal.Signals, code: int, nursery: Nursery, tmp_path: Path
) -> None:
    child = long_training(nursery, tmp_path)
    child.send(number)
    assert child.wait() == code
    last = child.said().splitlines()[-1]
    told = re.fullmatch(
        r"interrupted; (\d+) of 100000 epochs( and (\d+) of 23 steps of the next)? are saved. "
        rf"Go on with: cnnctl train --resume {tmp_path / 'run'}",
        last,
    )
    assert told, child.said()
    step = 23 * int(told[1]) + int(told[3] or 0)
    assert max((tmp_path / "run/checkpoints").iterdir()).name == f"step_{step:09}.npz"
    assert not list((tmp_path / "run").rglob(".*"))  # neither a lock nor half a file


SLOW_TO_SAVE = """
import time
from cnnctl.train import checkpoint
archive = checkpoint._archive
def slow(arrays):
    content = archive(arrays)
    if b"interrupted" in open("output.txt", "rb").read() or __import__("pathlib").Path("slow").exists():
        print("saving", flush=True)
        time.sleep(1000)
    return content
checkpoint._archive = slow
"""


def test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_stays(nursery: Nursery, tmp_path: Path) -> None:
    child = long_training(nursery, tmp_path, SLOW_TO_SAVE)
    (tmp_path / "slow").touch()  # from here on a save takes a quarter of an hour
    assert child.has_said("\nsaving\n"), child.said()
    before = sorted((tmp_path / "run/checkpoints").iterdir())
    child.send(signal.SIGINT)
    time.sleep(0.2)
    child.send(signal.SIGINT)
    assert child.wait() == -signal.SIGINT  # which a shell tells as 130
    assert sorted((tmp_path / "run/checkpoints").iterdir()) == before


def test_a_signal_that_the_process_was_told_to_ignore_is_ignored(nursery: Nursery, tmp_path: Path) -> None:
    child = long_training(nursery, tmp_path, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")  # as nohup does
    child.send(signal.SIGHUP)
    assert child.has_said(" 9/100000 "), child.said()
    child.send(signal.SIGTERM)
    assert child.wait() == 143


def test_ctrl_c_before_the_training_begins_writes_nothing(nursery: Nursery, tmp_path: Path) -> None:
    before = "from cnnctl.data import sources; import time; sources.fit_array = lambda *_: (print('reading', flush=True), time.sleep(1000))"
    config = write_case("custom-sequential", tmp_path)
    words = ["train", config, "--run-dir", tmp_path / "run", "--device", "cpu"]
    child = nursery.start(*words, cwd=tmp_path, output=tmp_path / "output.txt", before=before)
    assert child.has_said("reading\n"), child.said()
    child.send(signal.SIGINT)
    assert child.wait() == 130
    assert child.said().splitlines()[-1] == "interrupted before the training began; nothing was written"
    assert not (tmp_path / "run").exists()


def test_every_case_is_a_config_of_its_own() -> None:
    assert len({str(content) for content in CASES.values()}) == len(CASES)
