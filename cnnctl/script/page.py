"""The whole script: its head, then its parts in the order of a training."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from cnnctl.script import data_code, network_code, training_code
from cnnctl.script.augmentation import augment_needs
from cnnctl.script.expressions import WIDTH, literal
from cnnctl.script.model_code import ModelCode
from cnnctl.script.own_layers import own_code, own_file, refuse_same_names, with_imports
from cnnctl.script.reading_code import Reading, reading_of
from cnnctl.script.template import Needs, written
from cnnctl.spec import weights as W
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.optimizers import OneCycle, ScheduleFreeAdamW, averaging

HEAD = '''
"""$headline

$provenance
"""

import csv  #? labels_file
import gzip  #? gzip
import io  #? parquet
import itertools  #? !fit
import math
import os
from pathlib import Path  #? path

os.environ["KERAS_BACKEND"] = "tensorflow"  # before Keras is imported
os.environ["KERAS_HOME"] = os.devnull  # so that no keras.json of this machine changes the results
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # faster on some processors

import keras
import numpy as np
import pyarrow.parquet as pq  #? parquet
import scipy.io  #? mat
import tensorflow as tf
import tensorflow_datasets as tfds  #? tfds
from keras import layers
$imports
from PIL import Image, ImageOps  #? image_files
from PIL import Image  #? fitted
from sklearn.datasets import load_digits  #? digits

keras.config.set_image_data_format("channels_first")  #? channels_first
keras.config.set_dtype_policy($precision)  # weights stay float32  #? mixed

SEED = $seed  # for the order and the augmentation of images; layers have their own seeds  #? augment
SEED = $seed  # for the order of images; layers have their own seeds  #? !augment
SPLIT_SEED = $split_seed  # for the held-out images  #? fractions
EPOCHS = $epochs
BATCH_SIZE = $batch_size
CLASSES = $classes
'''


_SOURCES = {
    "digits": "the digits of scikit-learn",
    "folder": "a folder of images",
    "idx": "the images of IDX files",
    "npz": "NumPy arrays of images",
    "csv": "a table of images, one per row",
    "mat": "the images of a Matlab file",
    "parquet": "images in Parquet files",
}


def script(experiment: Experiment, command: str, model_file: str) -> str:
    """Generate a Keras script that trains as `cnnctl train` does.

    Args:
        experiment: a checked config.
        command: the command that wrote the script.
        model_file: the file that the script saves the network to.

    Raises:
        UsageError: a short script cannot read the data as cnnctl does, or a layer's file has a name of the script.
        DataError: the data has changed since the config was checked.
    """
    reading = reading_of(experiment.data)
    needs = needs_of(experiment, reading)
    experiment = on_any_machine(experiment)
    network = ModelCode(experiment).text()
    own, head = own_file(experiment), _head(experiment, command, needs)
    head = with_imports(head, own) if own else head
    parts = [
        head,
        *([_title(f"Layers of {Path(own.path).name}"), own_code(own)] if own else []),
        _title("Data"),
        *reading.code(needs),
        *([written(data_code.HOLD_OUT, needs)] if needs["fractions"] else []),
        *data_code.batching(experiment, needs),
        data_code.splitting(experiment, needs, reading),
        _title("Network, with the output shape of each layer for B images"),
        *network_code.strided(network, needs),
        network,
        *network_code.adapting(experiment, needs),
        _title("Loss and optimizer"),
        *training_code.goal(experiment, needs),
        _title("Training"),
        training_code.loop(experiment, needs),
        _title("Test"),
        training_code.test(needs, reading.call(experiment.data.test), model_file),
    ]
    if own:
        refuse_same_names(own, "\n".join([head, *parts[3:]]))
    return "\n\n\n".join(parts).replace("-\n\n\n", "-\n\n")


def needs_of(experiment: Experiment, reading: Reading) -> Needs:
    """Return all template flags of the script."""
    return {
        **reading.needs,
        **_data_needs(experiment),
        **augment_needs(experiment.data.augment),
        **_training_needs(experiment),
    }


def _data_needs(experiment: Experiment) -> Needs:
    spec, fractions = experiment.data, data_code.held_out(experiment.data)
    return {
        "path": spec.has_path,
        "streamed": spec.memory == "stream",
        "fractions": bool(fractions),
        "validation": spec.validation is not None,
        "validation_fraction": "validation" in fractions,
        "test_fraction": "test" in fractions,
        "one_hot": spec.labels == "one_hot",
        "channels_first": experiment.model.data_format == "channels_first",
    }


def _training_needs(experiment: Experiment) -> Needs:
    train = experiment.train
    plateau = train.reduce_on_plateau
    restores = bool(train.early_stopping and train.early_stopping.restore_best)
    measured = restores or experiment.data.validation is not None
    return {
        "fit": train.loop == "fit",
        "subclass": experiment.model.style == "subclass",
        "stopping": train.early_stopping is not None,
        "restore": restores,
        "plateau": plateau is not None,
        "rising": bool(plateau and plateau.monitor.endswith("accuracy")),
        "cooldown": bool(plateau and plateau.cooldown),
        "min_lr": bool(plateau and plateau.min_lr),
        "regularized": network_code.is_regularized(experiment),
        "scaled": train.precision == "mixed_float16" or train.optimizer.loss_scale_factor is not None,
        "averaged": bool(averaging(train.optimizer)),
        "schedule_free": averaging(train.optimizer) == ScheduleFreeAdamW.kind,
        "swapped": bool(averaging(train.optimizer)) and measured,
        "mixed": train.precision not in ("float32", "auto"),
        "any_precision": train.precision == "auto",
        "parts": train.batch_parts != 1,
        "shared": train.strategy in ("mirrored", "multi_worker"),
        "one_cycle": isinstance(train.optimizer.learning_rate, OneCycle),
    }


def _head(experiment: Experiment, command: str, needs: Needs) -> str:
    head = written(
        HEAD,
        needs,
        headline=_headline(experiment),
        provenance=_provenance(command, needs),
        imports="\n".join(_imports(experiment)),
        precision=literal(experiment.train.precision),
        seed=experiment.seed,
        split_seed=experiment.data.split_seed,
        epochs=experiment.train.epochs,
        batch_size=experiment.train.batch_size,
        classes=experiment.data.classes,
    )
    return head.replace("\n\n\n", "\n\n")


def _headline(experiment: Experiment) -> str:
    source = experiment.data.source
    what = experiment.data.name if source == "tfds" else _SOURCES[source]
    style = {"sequential": "Sequential", "functional": "functional", "subclass": "subclassed"}[experiment.model.style]
    loop = "model.fit" if experiment.train.loop == "fit" else "GradientTape loop"
    return f"Trains a CNN on {_plain(what or '')}: {style} Keras model, {loop}."


def _provenance(command: str, needs: Needs) -> str:
    packages = ["keras", "tensorflow", *_packages(needs)]
    written_by = _wrapped(f"Written by: {_plain(command)}")
    return "\n".join(
        [
            *written_by,
            f"Needs: pip install {' '.join(packages)}",
            "",
            *_equality(needs),
            "Left out: TensorBoard, checkpoints, and the stop at a non-finite loss.",
            *(
                ["All images are in memory here; data.memory: stream reads them from a file, with the same results."]
                if needs["streamed"]
                else []
            ),
        ]
    )


def _equality(needs: Needs) -> list[str]:
    if needs["mixed"]:
        text = (
            "It computes in 16 bits as Keras does. cnnctl train computes batch normalization, ReLU before pooling and dropout in a "
            "faster way, so rounding and dropout masks differ; the initial weights and the batches are equal."
        )
        return textwrap.wrap(text, WIDTH, break_on_hyphens=False)
    changes = [
        *(["--set train.precision=float32"] if needs["any_precision"] else []),
        *(["--set train.batch_parts=1"] if needs["parts"] else []),
        *(["--set train.strategy=one_device"] if needs["shared"] else []),
    ]
    if not changes:
        return ["On a CPU it ends with bit-identical weights to cnnctl train, with the same TensorFlow and Keras."]
    precision = "float32 and whole batches" if needs["any_precision"] else "whole batches"
    where = " on one device" if needs["shared"] else ""
    run = f"cnnctl train {' '.join(changes)}"
    text = (
        f"It computes in {precision}{where}. On a CPU it ends with bit-identical weights to {run}, "
        "with the same TensorFlow and Keras."
    )
    return textwrap.wrap(text, WIDTH, break_on_hyphens=False)


def _packages(needs: Needs) -> list[str]:
    pillow = ["pillow"] if needs["image_files"] or needs["fitted"] else []
    tfds = ["tensorflow-datasets", "importlib_resources"] if needs["tfds"] else []
    others = {"digits": "scikit-learn", "mat": "scipy", "parquet": "pyarrow"}
    return [*pillow, *tfds, *(package for source, package in others.items() if needs[source])]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * len("Written by: "), break_on_hyphens=False)


def _plain(text: str) -> str:
    """Replace characters that could end the surrounding docstring."""
    return text.replace("\\", "/").replace('"', "'")


def _imports(experiment: Experiment) -> Iterable[str]:
    """Generate the imports of the initializers, regularizers and constraints in use."""
    modules = {"constraints": W.CONSTRAINTS, "initializers": W.INITIALIZERS, "regularizers": W.REGULARIZERS}
    for module, parts in modules.items():
        if names := network_code.part_classes(experiment, parts):
            line = f"from keras.{module} import {', '.join(names)}"
            lines = [f"from keras.{module} import (", *(f"    {name}," for name in names), ")"]
            yield from [line] if len(line) <= WIDTH else lines


def _title(text: str) -> str:
    return f"# ---- {text} {'-' * (WIDTH - 8 - len(text))}"
