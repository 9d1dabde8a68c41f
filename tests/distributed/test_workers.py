"""Several processes train as one: the same numbers, one run folder, and an end that all of them tell."""

from __future__ import annotations

import re
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from scripts.benchmark.workers import free_ports
from tests.distributed.workers import SEVERAL_DEVICES, cluster_config, environment, signal_at, start_workers
from tests.fork_server import Child, ForkServer

CONFIG = """
data: {source: digits, validation: 0.2}
model:
  layers:
    - conv2d: {filters: 8, kernel_size: 3, use_bias: false}
    - batch_normalization
    - activation: {activation: relu}
    - max_pooling2d
    - flatten
    - dropout: {rate: 0.2}
    - dense: {units: classes, kernel_regularizer: {l2: {l2: 0.001}}}
train: {batch_size: 98, epochs: 3, optimizer: {adam: {learning_rate: 0.01, global_clipnorm: 1.0}}, checkpoint: {every_steps: 5}}
log: {tensorboard: false}
"""
"""1,079 images are 11 batches and one of a single image, which one of two replicas gets none of."""
CUT_SHORT = r"interrupted; 1 of 3 epochs and \d of 12 steps of the next are saved. Resume with, in all workers"
COLUMNS = slice(0, 6)
"""Of metrics.csv: what does not depend on time."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("workers")
    (made / "config.yaml").write_text(CONFIG)
    return made


@pytest.fixture(scope="module")
def straight(fork_servers: list[ForkServer], folder: Path) -> Path:
    """The run of two workers that nothing interrupts, though strangers call the port of the chief."""
    ports, late = free_ports(2), {1: "import time; time.sleep(2)"}
    words = ("train", "config.yaml", "--set", "log.tensorboard=true", "--run-dir", "straight")
    children = start_workers(fork_servers, *words, folder=folder, hindered=late, ports=ports)
    assert children[0].has_said("waiting for the others")
    for message in (b"GET / HTTP/1.1\r\n\r\n", b'{"worker": 7}\n', b'{"worker": true}\n', b"[" * 100_000 + b"\n", b""):
        with socket.create_connection(("127.0.0.1", ports[0])) as stranger:
            stranger.sendall(message)
    end_well(children)
    for index, child in enumerate(children):
        (folder / f"straight_{index}.txt").write_text(child.said())
    return folder / "straight"


def end_well(children: list[Child]) -> None:
    codes = [child.wait() for child in children]
    assert codes == [0] * len(children), "\n".join(child.said() for child in children)


def numbers(run: Path) -> list[list[str]]:
    return [line.split(",")[COLUMNS] for line in (run / "metrics.csv").read_text().splitlines()]


def weights(run: Path) -> list[Any]:
    return list(keras.models.load_model(run / "model.keras").get_weights())


def same(first: Path, second: Path) -> None:
    assert numbers(first) == numbers(second)
    for mine, its in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_two_workers_compute_what_two_devices_of_one_process_do_to_the_bit(
    straight: Path, fork_servers: list[ForkServer], folder: Path
) -> None:
    words = ("train", "config.yaml", "--set", "train.strategy=mirrored", "--run-dir", "mirrored")
    output = folder / "output.txt"
    code = fork_servers[0].run(*words, cwd=folder, output=output, before=environment(**{SEVERAL_DEVICES: "2"}))
    assert code == 0, output.read_text()
    same(straight, folder / "mirrored")


def mirrored(fork_server: ForkServer, *words: object, folder: Path, before: str = "") -> tuple[int, str]:
    """Runs `cnnctl train WORDS` with two logical devices; returns exit code and output."""
    output = folder / "output.txt"
    devices = environment(**{SEVERAL_DEVICES: "2"})
    return fork_server.run("train", *words, cwd=folder, output=output, before=f"{devices}\n{before}"), output.read_text()


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_both_loops_go_on_exactly_on_several_devices(
    straight: Path, fork_servers: list[ForkServer], tmp_path: Path, loop: str
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    changes = ("--set", "train.strategy=mirrored", "--set", f"train.loop={loop}")
    cut = signal_at(15, signal.SIGTERM)
    code, said = mirrored(fork_servers[0], "config.yaml", *changes, "--run-dir", "run", folder=tmp_path, before=cut)
    assert code == 143, said
    if loop == "custom":
        shutil.copytree(tmp_path / "run", tmp_path / "other")
        with_one_device(fork_servers[0], tmp_path)
    code, said = mirrored(fork_servers[0], "--resume", "run", folder=tmp_path)
    assert code == 0, said
    same(straight, tmp_path / "run")


def with_one_device(fork_server: ForkServer, folder: Path) -> None:
    """Asserts that a run of several devices is resumed on one device only where that is asked for."""
    output = folder / "output.txt"
    assert fork_server.run("train", "--resume", "other", cwd=folder, output=output) == 2
    assert "add --set train.strategy=auto" in output.read_text()
    words = ("train", "--resume", "other", "--set", "train.strategy=auto")
    assert fork_server.run(*words, cwd=folder, output=output) == 0, output.read_text()
    assert "replicas changed since the run began" in output.read_text()


def test_a_worker_that_cannot_read_its_data_is_named_by_the_others(fork_servers: list[ForkServer], folder: Path) -> None:
    broken = "import sklearn.datasets as s\nfrom cnnctl.errors import DataError\ndef f(): raise DataError('no digits here')\ns.load_digits = f"
    children = start_workers(fork_servers, "train", "config.yaml", "--run-dir", "unread", folder=folder, hindered={1: broken})
    assert [child.wait() for child in children] == [1, 1]
    chief, other = (child.said() for child in children)
    assert re.search(r"worker 1, 127\.0\.0\.1:\d+, could not read its data; see its output", chief), chief
    assert "no digits here" in other
    assert "Traceback" not in chief + other


def test_the_chief_alone_writes_and_each_worker_says_what_it_does(straight: Path, folder: Path) -> None:
    assert straight.is_dir()
    assert not (folder / "runs").exists()
    chief, other = ((folder / f"straight_{index}.txt").read_text() for index in range(2))
    assert "0 of 2 is the chief" in chief
    assert "test    accuracy" in chief
    assert "1 of 2; the chief, " in other
    assert "3/3" in other
    assert "test    accuracy" not in other


@pytest.mark.parametrize(
    ("who", "number", "codes", "reported"),
    [
        (
            1,
            signal.SIGKILL,
            [1, -9],
            r"worker 1, 127\.0\.0\.1:\d+, has ended or .* Resume with, in all workers: cnnctl train --resume",
        ),
        (
            0,
            signal.SIGKILL,
            [-9, 1],
            r"the chief, worker 0, 127\.0\.0\.1:\d+, has ended or .* Start all workers again: the chief with cnnctl train --resume",
        ),
        pytest.param(
            1,
            signal.SIGTERM,
            [130, 143],
            CUT_SHORT,
            marks=pytest.mark.soak,  # the next test sends it to the chief
        ),
    ],
)
def test_one_worker_that_ends_stops_the_others_and_all_can_resume(
    straight: Path,
    fork_servers: list[ForkServer],
    folder: Path,
    tmp_path: Path,
    who: int,
    number: signal.Signals,
    codes: list[int],
    reported: str,
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = ("train", "config.yaml", "--run-dir", "run")
    children = start_workers(fork_servers, *words, folder=tmp_path, hindered={who: signal_at(15, number)})
    assert [child.wait() for child in children] == codes, "\n".join(child.said() for child in children)
    teller = children[1 if who == 0 else 0].said()
    assert re.search(reported, teller), teller
    assert "Traceback" not in teller
    if (who, number) != (1, signal.SIGKILL):
        return  # the checkpoint is the chief's in each case; the test below resumes that of a chief that got SIGTERM
    again = start_workers(fork_servers, "train", "--resume", "run", folder=tmp_path)
    end_well(again)
    same(straight, tmp_path / "run")
    assert "changed since the run began" not in again[0].said()  # other ports change no number


def test_workers_that_do_not_see_the_run_folder_go_on_from_the_checkpoint_of_the_chief(
    straight: Path, fork_servers: list[ForkServer], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = ("train", "config.yaml", "--run-dir", "run")
    children = start_workers(fork_servers, *words, folder=tmp_path, hindered={0: signal_at(15, signal.SIGTERM)})
    assert [child.wait() for child in children] == [143, 130]
    assert re.search(CUT_SHORT, children[0].said()), children[0].said()
    others = ("train", "config.yaml")
    end_well(start_workers(fork_servers, "train", "--resume", "run", folder=tmp_path, others=others))
    same(straight, tmp_path / "run")


def test_a_loss_that_is_no_number_ends_all_workers_at_the_same_step(fork_servers: list[ForkServer], folder: Path) -> None:
    words = ("train", "config.yaml", "--set", "train.optimizer={sgd: {learning_rate: 1e30}}", "--run-dir", "diverged")
    children = start_workers(fork_servers, *words, folder=folder)
    assert [child.wait() for child in children] == [1, 1]
    chief, other = (child.said() for child in children)
    assert re.search(r"the loss became \S+ at step 2 \(step 2 of epoch 1\); .*smaller learning_rate", chief), chief
    assert re.search(r"the loss became \S+ at step 2; .*the chief reports the layer where it began", other), other


def test_workers_that_are_about_to_train_different_things_are_refused(fork_servers: list[ForkServer], folder: Path) -> None:
    others = ("train", "config.yaml", "--set", "train.batch_size=64")
    children = start_workers(fork_servers, "train", "config.yaml", "--run-dir", "other", folder=folder, others=others)
    assert [child.wait() for child in children] == [2, 2]
    what = r"worker 1, 127\.0\.0\.1:\d+, differs from the chief: train\.batch_size is 64, expected 98"
    assert re.search(f"^{what}", children[0].said(), re.MULTILINE), children[0].said()
    assert re.search(f"^the chief reports: {what}", children[1].said(), re.MULTILINE), children[1].said()
    assert not (folder / "other").exists()


def test_workers_with_other_images_are_refused(fork_servers: list[ForkServer], folder: Path) -> None:
    changed = (
        "import sklearn.datasets as s; o = s.load_digits\ndef f():\n  d = o(); d.images[7] += 1; return d\ns.load_digits = f"
    )
    children = start_workers(fork_servers, "train", "config.yaml", "--run-dir", "images", folder=folder, hindered={1: changed})
    assert [child.wait() for child in children] == [1, 1]
    for child in children:
        assert "worker 1 has read different" in child.said(), child.said()


def test_workers_that_never_come_are_named_when_the_time_is_over(fork_servers: list[ForkServer], folder: Path) -> None:
    ports = free_ports(3)
    before = [environment(TF_CONFIG=cluster_config(ports, index), CNNCTL_WORKERS_TIMEOUT="3") for index in range(2)]
    children = [
        fork_server.start("train", "config.yaml", cwd=folder, output=folder / f"late_{index}.txt", before=before[index])
        for index, fork_server in enumerate(fork_servers)
    ]
    assert [child.wait() for child in children] == [1, 1]
    absent = rf"worker 2, 127\.0\.0\.1:{ports[2]} has not connected within 3 s; check that it is started.* set CNNCTL_WORKERS_TIMEOUT"
    for child in children:
        assert re.search(absent, child.said()), child.said()


def test_a_chief_that_never_comes_is_named_when_the_time_is_over(fork_servers: list[ForkServer], folder: Path) -> None:
    before = environment(TF_CONFIG=cluster_config(free_ports(2), 1), CNNCTL_WORKERS_TIMEOUT="1")
    output = folder / "alone.txt"
    assert fork_servers[0].run("train", "config.yaml", cwd=folder, output=output, before=before) == 1
    assert "the chief, worker 0, 127.0.0.1" in output.read_text()
    assert "has not connected within 1 s" in output.read_text()


def test_a_port_in_use_is_told_at_once(fork_servers: list[ForkServer], folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        before = environment(TF_CONFIG=cluster_config([port, *free_ports(1)], 0))
        output = folder / "in_use.txt"
        assert fork_servers[0].run("train", "config.yaml", cwd=folder, output=output, before=before) == 2
    assert f"port {port} of this machine is in use by another process" in output.read_text()
