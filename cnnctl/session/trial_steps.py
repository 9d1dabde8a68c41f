"""Measure by trial steps how fast a network trains with other settings; imported after TensorFlow.

TensorFlow's threads cannot change once it has computed. So each candidate has a forked process of its own, before this process
computes anything. Figures are kept beside the image cache, so a network is measured once on a machine.
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
from cnnctl.files import write_whole
from cnnctl.session.classification import build_learner
from cnnctl.session.environment import processor, versions
from cnnctl.spec.auto import with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.section import plain
from cnnctl.train.device import Device
from cnnctl.train.learner import Learner
from cnnctl.train.settings import Candidate, Speeds, set_threads, threads_can_be_set
from cnnctl.train.steps import build_once, compiled_steps

SECONDS = 1.0
"""Trial steps of all candidates together, tracing not counted."""
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


def measured_speeds(experiment: Experiment, device: Device, candidates: Sequence[Candidate]) -> Speeds | None:
    """Measure images/s of each candidate, or read what an earlier command measured.

    Args:
        experiment: a checked config.
        device: where it computes.
        candidates: precisions and numbers of parts.

    Returns:
        None if it is not worth it, or cannot be measured here.
    """
    if not is_worth_measuring(experiment):
        return None
    file = _file(experiment, device, candidates)
    return _remembered(file, candidates) or _measured_now(experiment, device, candidates, file)


def _file(experiment: Experiment, device: Device, candidates: Sequence[Candidate]) -> Path | None:
    """Return the file for the figures of this network, batch, machine and versions; None without a cache."""
    train = experiment.train
    parts = [plain(experiment)["model"], plain(experiment)["train"]["optimizer"], experiment.network.image, train.batch_size]
    facts = [*parts, experiment.network.classes, list(candidates), processor(), device.cores, versions()]
    folder = cache_folder()
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return folder / "auto" / f"{digest[:32]}.json" if folder else None


def _remembered(file: Path | None, candidates: Sequence[Candidate]) -> Speeds | None:
    """Read the figures of an earlier command; None if there are none, or they are damaged."""
    try:
        figures = json.loads(file.read_text()) if file else None
    except (OSError, ValueError):
        return None
    if not isinstance(figures, list) or len(figures) != len(candidates):
        return None
    if not all(isinstance(each, float) and each > 0 for each in figures):
        return None
    return Speeds(dict(zip(candidates, figures, strict=True)), remembered=True)


def _measured_now(experiment: Experiment, device: Device, candidates: Sequence[Candidate], file: Path | None) -> Speeds | None:
    if sys.platform != "linux" or not threads_can_be_set():
        return None
    found = [_in_a_process(partial(_images_per_second, experiment, device, each, len(candidates))) for each in candidates]
    figures: list[float] = [each for each in found if each]
    if len(figures) < len(candidates):
        return None
    if file:
        with contextlib.suppress(OSError):  # such as a full disk: it is measured again next time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(figures).encode())
    return Speeds(dict(zip(candidates, figures, strict=True)))


def _in_a_process(compute: Callable[[], float]) -> float | None:
    """Compute a number in a forked process; None if that ends without one, or takes longer than `LONGEST`."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():  # Python warns of threads, which TensorFlow's import has started; none holds a lock
        warnings.simplefilter("ignore", DeprecationWarning)
        process = multiprocessing.get_context("fork").Process(target=_report, args=(compute, sender), daemon=True)
        process.start()
    sender.close()
    try:
        return float(receiver.recv()) if receiver.poll(LONGEST) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


def _report(compute: Callable[[], float], sender: Connection) -> None:
    """Send the result; called in the forked process, whose parent ends it and receives the signals."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL if each == signal.SIGTERM else signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sender.send(compute())


def _images_per_second(experiment: Experiment, device: Device, candidate: Candidate, candidates: int) -> float:
    """Train on random images for a short time."""
    set_threads(candidate.parts, device)
    chosen = with_settings(experiment, precision=candidate.precision, batch_parts=candidate.parts, strategy="one_device")
    learner = build_learner(chosen, steps_per_epoch=1, moments={})
    build_once(learner.optimizer, learner.model)
    steps, seconds = max(_calls(learner, chosen, SECONDS / candidates / CALLS), key=lambda call: call[0] / call[1])
    return steps * experiment.train.batch_size / seconds


def _calls(learner: Learner, experiment: Experiment, length: float) -> Iterator[tuple[int, float]]:
    """Yield steps and seconds of each call; a first one, which traces, and a second one, which shows the length, do not count."""
    run_steps, batches = compiled_steps(learner.step, learner.metrics), iter(_random_batch(experiment))
    run_steps(batches, tf.constant(1)).numpy()
    _, once = _timed(run_steps, batches, 1)
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
