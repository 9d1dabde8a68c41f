"""A run that has ended: its config and its network; imported after TensorFlow."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.images import Pixels
from cnnctl.data.pipeline import preparation
from cnnctl.data.sources.opening import named_outputs
from cnnctl.errors import RunError
from cnnctl.model.fast_network import fast_network
from cnnctl.model.saved import NotThisNetwork, saved_network
from cnnctl.run_folder import RunFolder, open_run_folder, resume_command
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import output_kind
from cnnctl.surroundings import shell_word
from cnnctl.train.memory_check import refuse_too_large

Values = NDArray[np.float32]
DATA_HAS_CHANGED = "the training images have changed since the run, so its splits may differ too"


@dataclass(frozen=True)
class EndedRun:
    """A run whose network is not loaded yet.

    Attributes:
        run: its folder.
        experiment: its config, checked; its data may be missing.
        class_names: in the order of the outputs.
        from_logits: the outputs are logits, else probabilities.
        data_fingerprint: of its training images, see `data.splits.fingerprint`.
    """

    run: RunFolder
    experiment: Experiment
    class_names: list[str]
    from_logits: bool
    data_fingerprint: str


@dataclass(frozen=True)
class Trained(EndedRun):
    """A run with its trained network.

    Attributes:
        model: takes (B, H, W, C), or (B, C, H, W) under channels_first, float32 in [0, 1].
    """

    model: keras.Model

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in the network's inputs."""
        return 1 if self.experiment.model.data_format == "channels_first" else 3

    @cached_property
    def fast(self) -> keras.Model:
        """The network as it was tested: in 16 bits or with parts computed in a faster way, except by replicas."""
        parts = self.experiment.train.batch_parts
        assert isinstance(parts, int)  # resolved
        return self._in_parts(parts)

    def _in_parts(self, parts: int) -> keras.Model:
        train, nodes = self.experiment.train, self.experiment.network.nodes
        alone = train.strategy == "one_device"
        return fast_network(self.model, nodes, train.precision, parts) if alone else self.model

    @cached_property
    def outputs(self) -> Callable[[Any], Any]:
        """Compute outputs (B, classes) of the network's inputs, in one part, since a batch may be one image; compiled once."""
        compute = partial(self._in_parts(1), training=False)
        compiled: Callable[[Any], Any] = tf.function(compute, autograph=False, reduce_retracing=True)
        return compiled

    def inputs(self, images: Pixels) -> Any:
        """Convert images (B, H, W, C), fitted to the config, to the network's inputs."""
        return preparation(self.experiment.data, self.experiment.model.data_format).network_inputs(
            images, tf.zeros(len(images), tf.int64)
        )[0]

    def probabilities(self, outputs: Values) -> Values:
        """Convert outputs of the network to probabilities, both (B, classes)."""
        return np.asarray(tf.nn.softmax(outputs)) if self.from_logits else outputs


def open_trained(path: Path) -> Trained:
    """Open a run and load its network.

    Raises:
        UsageError: there is no run.
        RunError: the run has not ended, or its files are damaged.
    """
    return with_network(open_ended(path))


def open_ended(path: Path) -> EndedRun:
    """Open a run without loading its network; raises as `open_trained`, except for a damaged network."""
    run = open_run_folder(path)
    if not run.model.exists():
        raise RunError(f"{path} has no trained network yet: its training was interrupted. Resume with: {resume_command(run)}")
    experiment = run.read_config(look_at_data=False)
    refuse_too_large(experiment, images=1, training=False)
    nodes = experiment.network.nodes
    names, seen = _noted(run, experiment)
    return EndedRun(run, experiment, names, output_kind(nodes) == "logits", seen)


def with_network(ended: EndedRun) -> Trained:
    """Load the network of a run.

    Raises:
        RunError: the network is damaged.
    """
    about = {field.name: getattr(ended, field.name) for field in fields(EndedRun)}
    return Trained(**about, model=_model(ended))


def data_changes(run: EndedRun, training: str, test: str | None = None) -> list[str]:
    """Describe the changes of a run's own data since its training.

    Args:
        run: that was trained on it.
        training: the fingerprint of the training images now.
        test: that of the test images; None if they are not used.
    """
    changes = [] if training == run.data_fingerprint else [DATA_HAS_CHANGED]
    try:
        result = run.run.read_result() or {}
    except RunError:  # the commands that need it report it
        return changes
    before, accuracy = result.get("test_fingerprint"), result.get("test_accuracy")
    if test and isinstance(before, str) and before != test:
        was = f", which had an accuracy of {accuracy:.2%}" if isinstance(accuracy, float) else ""
        changes.append(f"the test images have changed since the run's test{was}")
    return changes


def _model(ended: EndedRun) -> keras.Model:
    file, again = ended.run.model, _how_to_restore(ended.run)
    try:
        return saved_network(ended.experiment, file)
    except NotThisNetwork as error:
        raise RunError(f"{file} is not the network that this run trained: {error}; {again}") from error
    except RunError:
        raise
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise RunError(f"there is not enough memory for the network in {file}") from error
    except zipfile.BadZipFile as error:
        raise RunError(f"{file} is damaged: it is not a complete .keras file; {again}") from error
    except Exception as error:  # damaged files raise a dozen kinds of errors in zipfile, HDF5 and Keras
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"{file} is damaged and cannot be opened ({reason}); {again}") from error


def _how_to_restore(run: RunFolder) -> str:
    """Return how to restore the network of a run."""
    if run.origin() is None:
        return "retrain it"
    return f"to restore it from the checkpoint: rm -r {shell_word(run.model)} && {resume_command(run)}"


def _noted(run: RunFolder, experiment: Experiment) -> tuple[list[str], str]:
    """Read the names of the classes and the fingerprint of the training images from environment.json."""
    environment = run.read_environment()
    names, seen = environment.get("class_names"), environment.get("data_fingerprint")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and isinstance(seen, str)):
        raise RunError(f"{run.environment} is damaged: class_names or data_fingerprint is missing; start a new run")
    return named_outputs(names, experiment.data), seen
