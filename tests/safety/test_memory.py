"""Configs that ask for more memory than there is end with one message, before anything of it is made."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

from cnnctl.data.store import memory
from cnnctl.data.store.memory import machine_memory
from cnnctl.errors import RunError
from cnnctl.spec.document import parse
from cnnctl.spec.load import check
from cnnctl.train.memory_check import least_bytes, refuse_too_large
from tests.safety.conftest import Command, config_of
from tests.safety.hostile import digits_in_folders

DIGITS = config_of({"source": "digits"})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "x.yaml").write_text(DIGITS)
    return tmp_path / "x.yaml"


def has_only(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Lets the machine have so many bytes."""
    monkeypatch.setattr(memory, "machine_memory", lambda: count)


def test_the_machine_has_memory() -> None:
    has = machine_memory()
    assert has is not None
    assert 10**8 < has < 10**15


def test_the_limit_of_a_process_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (123_456_789, resource.RLIM_INFINITY))
    assert machine_memory() == 123_456_789


def test_where_the_system_says_nothing_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: None)
    refuse_too_large(check(parse(DIGITS.replace("filters: 2", "filters: 2000000000"), "x.yaml")), 1, training=True)


def test_weights_gradients_and_the_largest_output_are_counted() -> None:
    """A convolution gives 6×6 maps, 2 of them; the dense layer behind it takes 72 values."""
    experiment = check(parse(DIGITS, "x.yaml"))
    weights, largest = 3 * 3 * 2 + 2 + 72 * 10 + 10, prod((6, 6, 2))
    assert least_bytes(experiment, 5, training=False) == 4 * (weights + 5 * largest)
    assert least_bytes(experiment, 5, training=True) == 4 * (2 * weights + 5 * largest)


HUGE = {
    "dense": ("- flatten\n", "- flatten\n  - dense: {units: 2000000000}\n"),
    "filters": ("filters: 2\n", "filters: 1000000000\n"),
    "classes": ("source: digits\n", "source: digits\n  classes: 2000000000\n"),
}


@pytest.mark.parametrize("what", HUGE)
def test_a_network_beyond_the_memory_is_refused(what: str) -> None:
    text = DIGITS.replace(*HUGE[what])
    assert text != DIGITS
    experiment = check(parse(text, "x.yaml"))
    with pytest.raises(
        RunError, match=r"the weights of this network and its outputs for one image take [\d,]{4,}\.\d GB, but this"
    ):
        refuse_too_large(experiment, 1, training=True)


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_every_verb_that_computes_asks_first(
    verb: str, config: Path, run: Path, digit: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_only(monkeypatch, 300_000)  # the images fit, and no batch of outputs does
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("batch_size: 64", "batch_size: 2000000000"))
    words = {
        "train": (config, "--set", "train.batch_size=2000000000", "--run-dir", config.parent / "new"),
        "evaluate": (run, "--split", "train"),
        "predict": (run, *[digit] * 300),
    }
    if verb == "predict":
        has_only(monkeypatch, 60_000)
    reported = command(verb, *words[verb]).refusal()
    assert "the weights of this network and its outputs for a batch of" in reported
    assert "of memory; lower train.batch_size, filters, units or image_size" in reported
    assert not (config.parent / "new").exists()


def test_images_beyond_the_memory_are_not_decoded(config: Path, command: Command) -> None:
    reported = command("data", config, "--set", "data.image_size=[16384,16384]", "--set", "data.memory=keep")
    assert reported.code == 1
    assert "the 1,797 images of 'train' take, as 16384×16384×1, 627.1 GB, but this machine has" in reported.refusal()
    assert "of memory; write data.memory: stream or a smaller data.image_size, or read part of the split" in reported.err


def test_images_beyond_memory_and_disk_are_not_decoded(config: Path, command: Command) -> None:
    reported = command("data", config, "--set", "data.image_size=[16384,16384]")
    assert reported.code == 1
    assert "the 1,797 images of 'train' take, as 16384×16384×1, 482.4 GB on disk for streaming" in reported.refusal()


@pytest.mark.parametrize(("test", "needed"), [("0.2", 120 * 64), ("test", 100 * 64)])
def test_the_copies_that_fractions_make_are_counted(
    test: str, needed: int, config: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "test"):
        digits_in_folders(tmp_path / "images" / split, ["a", "b"], 50)
    config.write_text(config_of({"source": "folder", "path": str(tmp_path / "images"), "validation": None, "test": test}))
    config.write_text(config.read_text().replace("'0.2'", "0.2").replace("source: folder", "source: folder\n  memory: keep"))
    has_only(monkeypatch, needed)
    assert command("data", config, "--no-cache").code == 0
    has_only(monkeypatch, needed - 1)
    assert "the 100 images of 'train' take, as 8×8×1, 0.0 GB" in command("data", config, "--no-cache").refusal()


@pytest.mark.parametrize(
    "setting",
    ["data.image_size=[100000,100000]", "data.image_size=[2147483647,2147483647]", "data.image_size=[1,2147483647]"],
)
@pytest.mark.parametrize("verb", ["summary", "data", "train"])
def test_an_image_beyond_all_measure_is_refused_with_the_config(
    verb: str, setting: str, config: Path, command: Command
) -> None:
    reported = command(verb, config, "--set", setting)
    assert reported.code == 2
    assert "or another smaller size" in reported.refusal()


@pytest.mark.parametrize(
    "setting",
    [
        "train.batch_size=2000000000",
        "train.epochs=2000000000",
        "model.layers.0.conv2d.filters=1000000000",
        "data.image_size=[16384,16384]",
        "data.classes=2000000000",
    ],
)
def test_arithmetic_needs_no_memory(setting: str, config: Path, command: Command) -> None:
    """`summary` tells of networks that no machine can hold."""
    assert command("summary", config, "--set", setting).code == 0
