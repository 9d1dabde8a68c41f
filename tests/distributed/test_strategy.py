"""What `train.strategy` becomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow as tf

from cnnctl.errors import UsageError
from cnnctl.spec.auto import Choice
from cnnctl.spec.cluster import Cluster
from cnnctl.spec.load import load
from cnnctl.train.device import Device
from cnnctl.train.distributed.strategy import chosen_strategy, lost_worker
from cnnctl.train.settings import resolve_auto

CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = CONFIGS / "quickstart.yaml"
CPU = Device("cpu", "2 cores", cores=2)
CARDS = Device("gpu", "a card", cores=8, capability=(8, 0), replicas=4)
TWO = Cluster(("a:1", "b:1"), 0)


def chosen(device: Device, overrides: Sequence[str] = (), cluster: Cluster | None = None, config: Path = QUICKSTART) -> Choice:
    return chosen_strategy(load(config, overrides), device, cluster)


def test_auto_is_one_device_where_there_is_one() -> None:
    assert chosen(CPU) == Choice("one_device")
    assert chosen(CPU, cluster=Cluster(("a:1",), 0)) == Choice("one_device")


def test_auto_takes_all_gpus_where_each_gets_enough_images() -> None:
    assert chosen(CARDS, ["train.batch_size=128"]) == Choice("mirrored", "4 GPUs, ≥ 32 images each")
    few = chosen(CARDS, ["train.batch_size=127"])
    assert few == Choice("one_device", "each of 4 GPUs would get 31 images per batch, fewer than 32")


def test_auto_takes_the_workers_that_there_are() -> None:
    assert chosen(CPU, cluster=TWO) == Choice("multi_worker", "TF_CONFIG names 2 workers")


def test_what_shares_batches_already_stays_on_one_device() -> None:
    parts = chosen(CARDS, ["train.batch_parts=2", "train.batch_size=128"])
    assert parts == Choice("one_device", "train.batch_parts already splits each batch among the cores of one device")
    assert chosen(CARDS, config=CONFIGS / "few-shot.yaml").value == "one_device"


@pytest.mark.parametrize(
    ("device", "overrides", "cluster", "reported"),
    [
        (CPU, ["train.strategy=multi_worker"], None, "TF_CONFIG lists no workers"),
        (
            CPU,
            ["train.strategy=mirrored"],
            None,
            "needs two GPUs or more, and this is CPU, 2 cores; add --set train.strategy=auto",
        ),
        (
            CPU,
            ["train.loop=fit"],
            TWO,
            "names 2 workers, but Keras 3 cannot train by model.fit on several workers; write loop: custom",
        ),
        (CPU, ["train.batch_parts=2"], TWO, "names 2 workers, but train.batch_parts already splits each batch"),
    ],
)
def test_what_cannot_be_had_is_told(device: Device, overrides: list[str], cluster: Cluster | None, reported: str) -> None:
    with pytest.raises(UsageError, match=reported):
        chosen(device, overrides, cluster)


def test_the_settled_config_says_the_strategy_and_replicas_take_no_further_parts() -> None:
    wish = load(QUICKSTART, ["train.batch_parts=auto", "train.batch_size=256"])
    settled = resolve_auto(wish, CPU, Choice("mirrored", "2 GPUs"))
    assert settled.experiment.train.strategy == "mirrored"
    assert settled.parts == 1
    assert "batch_parts: auto → 1 (replicas already split each batch)" in settled.reasons
    assert "strategy: auto → mirrored (2 GPUs)" in settled.reasons


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        ("unhealthy tasks:\n/job:worker/replica:0/task:1\n", "worker 1, b:1"),
        ("from /job:worker/replica:0/task:0: and /job:worker/replica:0/task:1", "worker 1, b:1"),
        ("/job:chief/replica:0/task:0 and /job:worker/replica:0/task:0", "worker 1, b:1"),
        ("something else", "another worker (something else)"),
    ],
)
def test_who_is_lost_is_named_as_far_as_tensorflow_says_it(message: str, reported: str) -> None:
    assert lost_worker(tf.errors.UnavailableError(None, None, message), TWO) == reported
