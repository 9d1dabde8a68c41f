"""`log.snapshots`: which epochs are kept, that their weights are those that were evaluated, and exact resuming."""

from __future__ import annotations

import random
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.errors import RunError
from cnnctl.run_folder import RunFolder, open_run_folder
from cnnctl.session.session import train as train_session
from cnnctl.session.snapshots import epochs_to_keep, read_snapshot, weights_of
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from tests.interruptions import interrupt, interrupt_at, prepared, run

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

LAYERS: list[Any] = [
    {"conv2d": {"filters": 3, "kernel_size": 3}},
    {"batch_normalization": {"momentum": 0.9}},
    "flatten",
    {"dropout": {"rate": 0.2}},
    {"dense": {"units": "classes"}},
]
NAMES = [
    *("conv2d/kernel", "conv2d/bias"),
    *(f"batch_normalization/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
    *("dense/kernel", "dense/bias"),
]
LOOPS = ("custom", "fit")


def experiment(loop: str = "custom", snapshots: int | None = 3, style: str = "sequential", **train: Any) -> Experiment:
    content = {
        "data": {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.8, "validation": 0.1},
        "model": {"style": style, "layers": LAYERS},
        "train": {"loop": loop, "epochs": 4, "batch_size": 48, **train},
        "log": {"tensorboard": False, "snapshots": snapshots},
    }
    return Experiment.model_validate(content)


def layers_of(session: Session) -> dict[str, Any]:
    return {node.name: session.task.network.get_layer(node.name) for node in session.experiment.network.nodes}


def trained_weights(session: Session) -> dict[str, NDArray[Any]]:
    return {name: array.copy() for name, array in weights_of(layers_of(session)).items()}


def kept(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "snapshots").iterdir())}


def arrays(folder: Path, epoch: int) -> dict[str, Any]:
    with np.load(folder / f"snapshots/epoch-{epoch:04d}.weights.npz", allow_pickle=False) as content:
        return dict(content)


def assert_equal(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.fixture(scope="module", params=LOOPS)
def straight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Path]:
    folder = tmp_path_factory.mktemp("straight") / "run"
    return run(experiment(request.param), folder), folder


# Which epochs


def test_the_epochs_go_from_before_the_training_to_its_end_as_evenly_as_can_be() -> None:
    draws = random.Random(5)
    for _ in range(300):
        epochs = draws.randint(1, 300)
        count = draws.randint(2, epochs + 1)
        found = sorted(epochs_to_keep(count, epochs))
        assert len(found) == count
        assert (found[0], found[-1]) == (0, epochs)
        assert max(b - a for a, b in pairwise(found)) - min(b - a for a, b in pairwise(found)) <= 1
    assert sorted(epochs_to_keep(4, 5)) == [0, 2, 3, 5]
    assert sorted(epochs_to_keep(3, 5)) == [0, 3, 5]  # a half is rounded up


def test_a_run_without_the_field_keeps_none(tmp_path: Path) -> None:
    run(experiment(snapshots=None, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run/snapshots").exists()
    assert RunFolder(tmp_path / "run").snapshot_files() == {}


# Which weights


def test_the_files_have_the_weights_of_the_layers_by_name(straight: tuple[Session, Path]) -> None:
    _, folder = straight
    assert list(kept(folder)) == [f"epoch-{epoch:04d}.weights.npz" for epoch in (0, 2, 4)]
    assert list(RunFolder(folder).snapshot_files()) == [0, 2, 4]
    for epoch in (0, 2, 4):
        assert list(arrays(folder, epoch)) == NAMES


def test_the_first_has_the_initial_weights_and_the_last_those_that_the_run_saves(straight: tuple[Session, Path]) -> None:
    session, folder = straight
    fresh = prepared(session.experiment)
    assert_equal(arrays(folder, 0), trained_weights(fresh))
    assert_equal(arrays(folder, 4), trained_weights(session))


def test_one_between_has_the_weights_of_a_training_that_ends_there(straight: tuple[Session, Path], tmp_path: Path) -> None:
    session, folder = straight
    shorter = run(experiment(session.experiment.train.loop, epochs=2), tmp_path / "run")
    assert_equal(arrays(folder, 2), trained_weights(shorter))


def test_every_style_keeps_the_same(straight: tuple[Session, Path], tmp_path: Path) -> None:
    session, folder = straight
    loop = session.experiment.train.loop
    run(experiment(loop, style={"custom": "functional", "fit": "subclass"}[loop]), tmp_path / "run")
    assert kept(tmp_path / "run") == kept(folder)


@pytest.mark.parametrize("loop", LOOPS)
def test_with_use_ema_they_are_the_averages_that_were_evaluated(loop: str, tmp_path: Path) -> None:
    averaged = {"sgd": {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.9}}
    session = run(experiment(loop, optimizer=averaged), tmp_path / "run")
    assert_equal(arrays(tmp_path / "run", 4), trained_weights(session))
    shorter = run(experiment(loop, optimizer=averaged, epochs=2), tmp_path / "shorter")
    assert_equal(arrays(tmp_path / "run", 2), trained_weights(shorter))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_training_that_stops_early_keeps_its_last_epoch_before_the_best_is_restored(loop: str, tmp_path: Path) -> None:
    stopping = {"patience": 1, "min_delta": 10.0}  # the first epoch is the best, and nothing is better by so much
    session = run(experiment(loop, epochs=9, snapshots=2, early_stopping=stopping), tmp_path / "run")
    assert list(RunFolder(tmp_path / "run").snapshot_files()) == [0, 2]
    two = run(experiment(loop, epochs=2, snapshots=2), tmp_path / "two")
    assert_equal(arrays(tmp_path / "run", 2), trained_weights(two))
    assert not np.array_equal(arrays(tmp_path / "run", 2)["dense/kernel"], trained_weights(session)["dense/kernel"])


# Resuming


def test_a_run_resumed_around_a_snapshot_ends_with_the_same_files(straight: tuple[Session, Path], tmp_path: Path) -> None:
    session, folder = straight
    spec = session.experiment
    after, when = {"custom": (1, "before"), "fit": (2, "after")}[spec.train.loop]
    interrupt(spec, tmp_path / "run", after, when)
    run(spec, tmp_path / "run")
    assert kept(tmp_path / "run") == kept(folder)


def test_a_run_resumed_within_its_first_epoch_keeps_its_initial_weights(straight: tuple[Session, Path], tmp_path: Path) -> None:
    session, folder = straight
    interrupt_at(session.experiment, tmp_path / "run", 3)
    run(session.experiment, tmp_path / "run")
    assert kept(tmp_path / "run") == kept(folder)


def test_what_comes_after_the_newest_checkpoint_is_removed(tmp_path: Path) -> None:
    spec = experiment(epochs=2, snapshots=2)
    folder = RunFolder(tmp_path / "run")
    interrupt(spec, folder.path, 1)
    folder.snapshot_file(2).write_bytes(b"of a run that was killed")
    folder.snapshot_file(7).write_bytes(b"of nothing")
    (folder.snapshots / ".epoch-0002.weights.npz.77.part").write_bytes(b"half")
    run(spec, folder.path)
    assert list(kept(folder.path)) == ["epoch-0000.weights.npz", "epoch-0002.weights.npz"]
    assert list(arrays(folder.path, 2)) == NAMES


def test_a_run_that_is_given_more_epochs_keeps_what_it_has_and_goes_on_with_the_epochs_of_the_longer_one(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    run(experiment(epochs=2), folder)
    before = kept(folder)
    session = prepared(experiment(epochs=8))
    train_session(session, RunFolder(folder), more_epochs=True)
    assert list(RunFolder(folder).snapshot_files()) == [0, 1, 2, 4, 8]
    assert {name: kept(folder)[name] for name in before} == before
    assert_equal(arrays(folder, 8), trained_weights(session))


# Reading


@pytest.fixture
def copied(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    run(experiment(epochs=1, snapshots=2), folder.path)
    return folder


def shapes(folder: RunFolder) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays(folder.path, 0).items()}


def write_with_claims(file: Path, good: dict[str, NDArray[Any]], claims: dict[str, tuple[int, ...]]) -> None:
    """Write arrays whose headers claim other shapes; for 4 TB NumPy's own reader would ask for the memory."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in good.items():
            with archive.open(f"{name}.npy", "w") as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": claims.get(name, array.shape)}
                np.lib.format.write_array_header_1_0(member, header)
                member.write(array.tobytes())


def test_a_snapshot_is_read_back_or_refused(copied: RunFolder) -> None:
    expected = shapes(copied)
    good = arrays(copied.path, 1)
    assert_equal(read_snapshot(copied, 1, expected), good)
    file = copied.snapshot_file(1)

    def refused(reason: str) -> None:
        with pytest.raises(RunError, match=reason):
            read_snapshot(copied, 1, expected)

    np.savez_compressed(file, **good)
    refused("it is compressed, unlike the snapshots of cnnctl")
    np.savez(file, **{**good, "dense/bias": np.zeros(3, np.float32)})
    refused(r"belongs to another network: 'dense/bias' is \(3,\) there, expected \(10,\)")
    np.savez(file, **{name: array for name, array in good.items() if name != "dense/bias"})
    refused("'dense/bias' is missing there")
    np.savez(file, **good, more=np.zeros(1, np.float32))
    refused("'more' is .*expected no such weight")
    np.savez(file, **{**good, "dense/bias": np.full(10, np.nan, np.float32)})
    refused("'dense/bias' is incomplete, or has NaN or infinite values")
    np.savez(file, **{**good, "dense/bias": np.zeros(10)})
    refused("'dense/bias' is of float64, expected float32")
    np.savez(file, **{**good, "dense/bias": np.array([1] * 10, object)})
    refused("cannot be read: 'dense/bias' is of object, expected float32")
    write_with_claims(file, good, {"dense/bias": (10**12,)})
    refused(r"'dense/bias' is \(1000000000000,\) there")
    file.write_bytes(b"no archive")
    refused("cannot be read: File is not a zip file; remove it, and the other snapshots can be used")
    file.write_bytes(bytes(10_000_000))
    refused("it has more than")
    file.unlink()
    refused("No such file or directory")


def test_a_link_out_of_the_folder_is_not_followed(copied: RunFolder, tmp_path: Path) -> None:
    expected = shapes(copied)
    elsewhere = copied.snapshot_file(1).rename(tmp_path / "elsewhere.npz")
    copied.snapshot_file(1).symlink_to(elsewhere)
    with pytest.raises(RunError, match="cannot be read: it leads to"):
        read_snapshot(copied, 1, expected)
    with pytest.raises(Exception, match="it leads to"):
        open_run_folder(copied.path)
