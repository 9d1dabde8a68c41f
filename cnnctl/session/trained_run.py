"""A run that has ended, opened: its config and its network; imported after TensorFlow is."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
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
from cnnctl.model.saved import NotThisNetwork, saved_network
from cnnctl.run_folder import RunFolder, open_run_folder, resume_command
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import output_kind
from cnnctl.surroundings import shell_word
from cnnctl.train.memory_check import refuse_too_large

Values = NDArray[np.float32]
DATA_HAS_CHANGED = "the training images are not those that the run saw, so its own splits may be others too"


@dataclass(frozen=True)
class EndedRun:
    """What a run says of its network, which is there but not loaded.

    Attributes:
        run: its folder.
        experiment: its config, checked; the data it names may be gone.
        class_names: in the order of the outputs.
        from_logits: whether the outputs are logits; otherwise they are probabilities.
        data_fingerprint: of the images that it was trained on, see `data.splits.fingerprint`.
    """

    run: RunFolder
    experiment: Experiment
    class_names: list[str]
    from_logits: bool
    data_fingerprint: str


@dataclass(frozen=True)
class Trained(EndedRun):
    """A trained network and what it was trained on.

    Attributes:
        model: takes (B, H, W, C), or (B, C, H, W) under channels_first, float32 in [0, 1].
    """

    model: keras.Model

    @property
    def channel_axis(self) -> int:
        """Returns the axis of the channels in what the network takes."""
        return 1 if self.experiment.model.data_format == "channels_first" else 3

    def inputs(self, images: Pixels) -> Any:
        """Returns what the network takes for images (B, H, W, C) that are fitted to the config."""
        return preparation(self.experiment).network_inputs(images, tf.zeros(len(images), tf.int64))[0]

    def probabilities(self, outputs: Values) -> Values:
        """Returns the probabilities of the classes for outputs of the network, both (B, classes)."""
        return np.asarray(tf.nn.softmax(outputs)) if self.from_logits else outputs


def open_trained(path: Path) -> Trained:
    """Returns the trained network of a run.

    Raises:
        UsageError: there is no run.
        RunError: the run was cut short, or its files are damaged.
    """
    return with_network(open_ended(path))


def open_ended(path: Path) -> EndedRun:
    """Returns a run as `open_trained` does, without its network; raises the same, but for a network that is damaged."""
    run = open_run_folder(path)
    if not run.model.exists():
        raise RunError(f"{path} has no trained network yet: it was cut short. Resume with: {resume_command(run)}")
    experiment = run.read_config(look_at_data=False)
    refuse_too_large(experiment, images=1, training=False)
    nodes = experiment.network.nodes
    names, seen = _noted(run, experiment)
    return EndedRun(run, experiment, names, output_kind(nodes) == "logits", seen)


def with_network(ended: EndedRun) -> Trained:
    """Returns a run with its network loaded.

    Raises:
        RunError: the network is damaged.
    """
    about = {field.name: getattr(ended, field.name) for field in fields(EndedRun)}
    return Trained(**about, model=_model(ended))


def data_changes(run: EndedRun, training: str, test: str | None = None) -> list[str]:
    """Return what to say of a run's own data where it is not what the run saw.

    Args:
        run: that was trained on it.
        training: the fingerprint of the training images as they are now.
        test: that of the test images; None where they are not used.
    """
    changes = [] if training == run.data_fingerprint else [DATA_HAS_CHANGED]
    try:
        result = run.run.read_result() or {}
    except RunError:  # who needs it says so
        return changes
    before, accuracy = result.get("test_fingerprint"), result.get("test_accuracy")
    if test and isinstance(before, str) and before != test:
        was = f", which had an accuracy of {accuracy:.2%}" if isinstance(accuracy, float) else ""
        changes.append(f"the test images are not those that the run was tested on{was}")
    return changes


def _model(ended: EndedRun) -> keras.Model:
    file, again = ended.run.model, _makes_again(ended.run)
    try:
        return saved_network(ended.experiment, file)
    except NotThisNetwork as error:
        raise RunError(f"{file} is not the network that this run trained: {error}; {again}") from error
    except RunError:
        raise
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise RunError(f"there is not enough memory for the network in {file}") from error
    except zipfile.BadZipFile as error:
        raise RunError(f"{file} is damaged: it is no whole .keras file; {again}") from error
    except Exception as error:  # wrong bits make zipfile, HDF5 and Keras stumble in a dozen ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"{file} is damaged and cannot be opened ({reason}); {again}") from error


def _makes_again(run: RunFolder) -> str:
    """Return what brings back the network of a run."""
    if run.origin() is None:
        return "train it again"
    return f"to make it again from the checkpoint: rm -r {shell_word(run.model)} && {resume_command(run)}"


def _noted(run: RunFolder, experiment: Experiment) -> tuple[list[str], str]:
    """Returns the names of the classes and the fingerprint of the data; it is those who read the data who know them."""
    environment = run.read_environment()
    names, seen = environment.get("class_names"), environment.get("data_fingerprint")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names) and isinstance(seen, str)):
        raise RunError(f"{run.environment} is damaged: it does not say the names of the classes; train anew")
    return named_outputs(names, experiment.data), seen
