"""Trainings that are killed, for real and at random moments, end as if nothing had happened."""

from __future__ import annotations

import os
import pty
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fork_server import Child, ForkServer
from tests.reliability.endings import CASES, assert_same_ending, write_case
from tests.reliability.kills import Count, Victim, kill_until_through

QUICK = ("fit-subclass",)
"""The other cases are in scripts/soak, which kills each many more times."""
KILLS = 3


@pytest.mark.parametrize("case", QUICK)
def test_a_training_killed_at_random_moments_ends_as_the_straight_one(
    case: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    (tmp_path / "killed").mkdir()
    straight, start = Victim(fork_server, case, tmp_path), time.monotonic()
    straight.finish()
    seconds, count = time.monotonic() - start, Count()
    killed = kill_until_through(fork_server, case, tmp_path / "killed", seconds, KILLS, random.Random(case), count)
    assert sum(count.kills.values()) >= 2
    assert_same_ending(killed, straight.run)


DIE = "import os, signal; die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
PLACES = {
    "its row is written": """
from cnnctl.run_folder import MetricsFile as Place
heard = Place.on_epoch
Place.on_epoch = lambda self, record: (heard(self, record), record.epoch == 3 and die())[0]
""",
    "early stopping has heard": """
from cnnctl.train.stopping import StopWithoutProgress as Place
heard = Place.on_epoch
Place.on_epoch = lambda self, record: (heard(self, record), record.epoch == 3 and die())[0]
""",
    "the model is written beside": "import cnnctl.session.finish as place\nplace.put_in_place = lambda *_: die()",
    "the test is read": """
from cnnctl.session.classification import Classification as Place
Place.test = lambda *_: die()
""",
    "the result is not written yet": """
from cnnctl.report.tensorboard.observer import TensorBoardObserver as Place
finish = Place.finish
Place.finish = lambda *arguments: (finish(*arguments), die())
""",
}


def test_a_training_killed_at_each_certain_place_ends_as_the_straight_one(fork_server: ForkServer, tmp_path: Path) -> None:
    """Of mixed float16, whose optimizer also keeps the scale of the loss; each resume is killed at the next place."""
    (tmp_path / "killed").mkdir()
    straight, victim = Victim(fork_server, "float16-fit", tmp_path), Victim(fork_server, "float16-fit", tmp_path / "killed")
    straight.finish()
    output = tmp_path / "output.txt"
    for place, die_there in PLACES.items():
        code = fork_server.run(*victim.words(), cwd=tmp_path, output=output, before=DIE + die_there)
        assert code == -signal.SIGKILL, f"{place}: {output.read_text()}"
    victim.finish()
    assert_same_ending(victim.run, straight.run)


# Ctrl-C and SIGTERM


def long_training(fork_server: ForkServer, folder: Path, before: str = "", *words: str) -> Child:
    """Returns a training that will not end by itself, at the end of its first epoch or later."""
    config = write_case("custom-sequential", folder)
    run = folder / "run"
    endless = ["--set", "train.epochs=100000", "--set", "train.early_stopping=null", "--set", "log.tensorboard=false", *words]
    child = fork_server.start(
        "train", config, "--run-dir", run, "--device", "cpu", *endless, cwd=folder, output=folder / "output.txt", before=before
    )
    assert child.has_said(" 2/100000 "), child.said()
    return child


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_then_ends_the_command_with_its_code(
    number: signal.Signals, code: int, fork_server: ForkServer, tmp_path: Path
) -> None:
    child = long_training(fork_server, tmp_path)
    child.send(number)
    assert child.wait() == code
    last = child.said().splitlines()[-1]
    reported = re.fullmatch(
        r"interrupted; (\d+) of 100,000 epochs"
        r"( and (\d+) of 23 steps of the next| and all 23 steps of the next \(not validated yet\))? are saved. "
        rf"Resume with: cnnctl train --resume {tmp_path / 'run'}",
        last,
    )
    assert reported, child.said()
    step = 23 * int(reported[1]) + (23 if " all 23 " in last else int(reported[3] or 0))
    assert max((tmp_path / "run/checkpoints").iterdir()).name == f"step_{step:09}.npz"
    assert not list((tmp_path / "run").rglob(".*"))  # neither a lock nor half a file


SLOW_TO_SAVE = """
import pathlib, time
from cnnctl.train import checkpoint
archive = checkpoint._archive
def slow(arrays):
    if pathlib.Path("slow").exists():
        print("saving", flush=True)
        time.sleep(1000)
    return archive(arrays)
checkpoint._archive = slow
"""


def test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_stays(fork_server: ForkServer, tmp_path: Path) -> None:
    child = long_training(fork_server, tmp_path, SLOW_TO_SAVE)
    (tmp_path / "slow").touch()  # from here on a save takes a quarter of an hour
    assert child.has_said("\nsaving\n"), child.said()
    before = sorted((tmp_path / "run/checkpoints").iterdir())
    child.send(signal.SIGINT)
    time.sleep(0.2)
    child.send(signal.SIGINT)
    assert child.wait() == -signal.SIGINT  # which a shell tells as 130
    assert sorted((tmp_path / "run/checkpoints").iterdir()) == before


def test_a_training_whose_window_is_closed_is_saved_as_by_any_signal(fork_server: ForkServer, tmp_path: Path) -> None:
    """The terminal is gone before the process hears of it, so that nothing can be printed any more."""
    config, run = write_case("custom-sequential", tmp_path), tmp_path / "run"
    changes = ["--set", "train.epochs=400", "--set", "log.tensorboard=false"]
    words = ["train", str(config), "--run-dir", str(run), "--device", "cpu", *changes]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
        os.execv(sys.executable, [sys.executable, "-m", "cnnctl", *words])
    said = b""
    while b"2/400" not in said:
        said += os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert not (run / ".lock").exists()
    saved = max((run / "checkpoints").iterdir()).name
    output = tmp_path / "output.txt"
    stop = f"from cnnctl.train.checkpoint import Checkpoints as C\nold = C.on_epoch\n{STOP_AFTER_EPOCH}"
    for folder in (run, tmp_path / "straight"):
        begin = ["train", config, "--run-dir", folder, *changes]
        begin = ["train", "--resume", folder] if folder == run else begin
        assert fork_server.run(*begin, "--device", "cpu", cwd=tmp_path, output=output, before=stop) == 130, output.read_text()
    assert_same_weights(run, tmp_path / "straight", beyond=saved)


STOP_AFTER_EPOCH = """
def on_epoch(self, record):
    old(self, record)
    if record.epoch == 25:
        raise KeyboardInterrupt
C.on_epoch = on_epoch
"""


def assert_same_weights(first: Path, second: Path, beyond: str) -> None:
    newest = [max((run / "checkpoints").iterdir()) for run in (first, second)]
    assert newest[0].name == newest[1].name > beyond
    with np.load(newest[0]) as mine, np.load(newest[1]) as theirs:
        for name in mine.files:
            if name.startswith(("model/", "optimizer/")):
                np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


def test_a_signal_that_the_process_was_told_to_ignore_is_ignored(fork_server: ForkServer, tmp_path: Path) -> None:
    child = long_training(fork_server, tmp_path, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")  # as nohup does
    child.send(signal.SIGHUP)
    assert child.has_said(" 9/100000 "), child.said()
    child.send(signal.SIGTERM)
    assert child.wait() == 143


def test_ctrl_c_before_the_training_begins_writes_nothing(fork_server: ForkServer, tmp_path: Path) -> None:
    before = "from cnnctl.data.sources import digits_source; import time; digits_source.fit_array = lambda *_: (print('reading', flush=True), time.sleep(1000))"
    config = write_case("custom-sequential", tmp_path)
    words = ["train", config, "--run-dir", tmp_path / "run", "--device", "cpu"]
    child = fork_server.start(*words, cwd=tmp_path, output=tmp_path / "output.txt", before=before)
    assert child.has_said("reading\n"), child.said()
    child.send(signal.SIGINT)
    assert child.wait() == 130
    assert child.said().splitlines()[-1] == "interrupted before the training began; nothing was written"
    assert not (tmp_path / "run").exists()


def test_every_case_is_a_config_of_its_own() -> None:
    assert len({str(content) for content in CASES.values()}) == len(CASES)
