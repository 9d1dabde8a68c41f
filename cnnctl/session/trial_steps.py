"""Measure by trial steps how fast a network trains with other settings; imported after TensorFlow.

TensorFlow's threads cannot change once it has computed. So each candidate has a forked process of its own, before this process
computes anything. Figures are kept in the cache, so a network is measured once on a machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import tensorflow as tf

from cnnctl.data.store.cache import cache_folder
from cnnctl.data.store.cgroup import cpu_limit
from cnnctl.data.store.memory import too_much
from cnnctl.files import write_whole
from cnnctl.session.classification import build_learner
from cnnctl.session.environment import rounding_of
from cnnctl.spec.auto import with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers.custom import note_of
from cnnctl.spec.section import plain
from cnnctl.train.device import Device
from cnnctl.train.learner import Learner
from cnnctl.train.memory_check import least_bytes
from cnnctl.train.settings import Candidate, Speeds, set_threads, threads_can_be_set
from cnnctl.train.steps import build_once, compiled_steps

SECONDS = 1.0
"""Trial steps of all candidates together, without tracing; a network whose single step takes longer makes that one."""
CALLS = 4
"""Calls that are timed per candidate; the fastest counts, since other programs can only slow a call down."""
LONGEST = 30.0
"""Seconds after which a candidate that has not reported is given up."""
WORTH = 1e12
"""Floating-point operations of a training of `NOMINAL_IMAGES` from which measuring pays: it takes about 2 s per candidate."""
NOMINAL_IMAGES = 10_000
PASSES = 3
"""Forward, gradient by the inputs, gradient by the weights: each takes the MACs of a forward pass."""


def is_worth_measuring(experiment: Experiment) -> bool:
    """Find out whether a training is long enough, without its images, which are not read yet."""
    macs = sum(facts.macs for facts in experiment.network.facts)
    return 2 * PASSES * macs * NOMINAL_IMAGES * experiment.train.epochs > WORTH


def measured_speeds(
    experiment: Experiment, device: Device, candidates: Sequence[Candidate], say: Callable[[str], None] = lambda _: None
) -> Speeds | None:
    """Measure images/s of each candidate, or read what an earlier command measured.

    Args:
        experiment: a checked config.
        device: where it computes.
        candidates: precisions and numbers of parts.
        say: prints a line before it measures.

    Returns:
        None if it is not worth it, or cannot be measured here.
    """
    if not is_worth_measuring(experiment):
        return None
    file = _file(experiment, device, candidates)
    figures = _cached(file, len(candidates))
    if figures is not None:
        return _speeds(candidates, figures, cached=True)
    if sys.platform != "linux" or not threads_can_be_set() or _needs_too_much(experiment):
        return None
    say("auto    measuring which precision and batch_parts train fastest; the figures are kept for the next time")
    figures = _measured_now(experiment, device, candidates)
    _keep(file, figures)
    return _speeds(candidates, figures)


def known_speeds(experiment: Experiment, device: Device, candidates: Sequence[Candidate]) -> Speeds | None:
    """Read what an earlier command measured; arguments as for `measured_speeds`."""
    figures = _cached(_file(experiment, device, candidates), len(candidates))
    return _speeds(candidates, figures or [], cached=True) if is_worth_measuring(experiment) else None


def _speeds(candidates: Sequence[Candidate], figures: Sequence[float], cached: bool = False) -> Speeds | None:
    return Speeds(dict(zip(candidates, figures, strict=True)), cached) if figures else None


def _needs_too_much(experiment: Experiment) -> bool:
    """Find out whether this machine has too little memory for the network, which is refused once its data is read."""
    size = least_bytes(experiment, experiment.train.batch_size, training=True)
    return bool(too_much(size, ""))


def _file(experiment: Experiment, device: Device, candidates: Sequence[Candidate]) -> Path | None:
    """Return the file for the figures of this network, training, machine and versions; None without a cache."""
    config = plain(experiment)
    used = [config["model"], {**config["train"], "epochs": None}, experiment.network.image, experiment.network.classes]
    own = note_of([node.layer for node in experiment.network.nodes])
    facts = [*used, experiment.data.labels, own, list(candidates), rounding_of(device), cpu_limit()]
    folder = cache_folder()
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return folder / "auto" / f"{digest[:32]}.json" if folder else None


def _cached(file: Path | None, count: int) -> list[float] | None:
    """Read the figures of an earlier command, none if it could not measure; None without such a file, or if it is damaged."""
    try:
        figures = json.loads(file.read_text()) if file else None
    except (OSError, ValueError):
        return None
    if not isinstance(figures, list) or len(figures) not in (0, count):
        return None
    return figures if all(isinstance(each, float) and each > 0 for each in figures) else None


def _keep(file: Path | None, figures: Sequence[float]) -> None:
    if file:
        with contextlib.suppress(OSError):  # such as a full disk: it is measured again next time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(figures).encode())


def _measured_now(experiment: Experiment, device: Device, candidates: Sequence[Candidate]) -> list[float]:
    """Measure each candidate; return no figures if one cannot be measured."""
    figures = []
    for each in candidates:
        figure = _in_a_process(partial(_images_per_second, experiment, device, each, len(candidates)))
        if figure is None:
            return []
        figures.append(figure)
    return figures


def _in_a_process(compute: Callable[[], float]) -> float | None:
    """Compute a number in a forked process; None if that ends without one, or takes longer than `LONGEST`."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_report, args=(compute, sender), daemon=True)
    try:
        with warnings.catch_warnings():  # Python warns of the threads that TensorFlow's import has started
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        sender.close()
        return float(receiver.recv()) if receiver.poll(LONGEST) else None
    except (OSError, EOFError):  # the system starts no more processes, or this one died
        return None
    finally:
        receiver.close()
        if process.pid:
            process.kill()
            process.join()


def _report(compute: Callable[[], float], sender: Connection) -> None:
    """Send the result; called in the forked process, whose parent ends it and receives the signals."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    for each in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(each, signal.SIG_DFL)
    signal.alarm(2 * round(LONGEST) + 1)  # if the parent was killed
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for written in (1, 2):
        os.dup2(nowhere, written)
    sender.send(compute())


def _images_per_second(experiment: Experiment, device: Device, candidate: Candidate, candidates: int) -> float:
    """Train on random images for a short time."""
    set_threads(candidate.parts, device)
    chosen = with_settings(experiment, precision=candidate.precision, batch_parts=candidate.parts, strategy="one_device")
    learner = build_learner(chosen, steps_per_epoch=max(NOMINAL_IMAGES // experiment.train.batch_size, 1), moments={})
    build_once(learner.optimizer, learner.model)
    steps, seconds = max(_calls(learner, chosen, SECONDS / candidates / CALLS), key=lambda call: call[0] / call[1])
    return steps * experiment.train.batch_size / seconds


def _calls(learner: Learner, experiment: Experiment, length: float) -> Iterator[tuple[int, float]]:
    """Yield steps and seconds of each call after a first one, which traces; calls are about `length` seconds long."""
    run_steps, batches = compiled_steps(learner.step, learner.metrics), iter(_random_batch(experiment))
    run_steps(batches, tf.constant(1)).numpy()
    first = _timed(run_steps, batches, 1)
    yield first
    once = first[1]
    if once < length * CALLS:
        for _ in range(CALLS):
            yield _timed(run_steps, batches, max(1, round(length / once)))


def _timed(run_steps: Callable[..., tf.Tensor], batches: Iterator[object], steps: int) -> tuple[int, float]:
    start = time.perf_counter()
    run_steps(batches, tf.constant(steps)).numpy()
    return steps, time.perf_counter() - start


def _random_batch(experiment: Experiment) -> tf.data.Dataset:
    """Repeat one batch of random images with labels, as of the data."""
    size, classes = experiment.train.batch_size, experiment.network.classes
    images = tf.random.stateless_uniform((size, *experiment.network.image), (0, 0))
    labels = tf.range(size, dtype=tf.int64) % classes
    return tf.data.Dataset.from_tensors(
        (images, tf.one_hot(labels, classes) if experiment.data.labels == "one_hot" else labels)
    ).repeat()
