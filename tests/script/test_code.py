"""`cnnctl code`: the script reads as in the golden files, stands alone, and trains to the same bits as `cnnctl train`."""

from __future__ import annotations

import ast
import gzip
import io
import itertools
import json
import math
import os
import re
import runpy
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import tensorflow as tf
import yaml
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.commands.code import code
from cnnctl.commands.train import train
from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import preparation, training_batches
from cnnctl.data.splits import hold_out, read_splits
from cnnctl.errors import ConfigError, UsageError
from cnnctl.report.console import Console
from cnnctl.run_folder import open_run_folder
from cnnctl.script.data_code import HOLD_OUT, batching
from cnnctl.script.expressions import WIDTH, Call, hung, literal, pair
from cnnctl.script.layer_names import MODEL_ATTRIBUTES
from cnnctl.script.page import needs_of, script
from cnnctl.script.reading_code import reading_of
from cnnctl.script.template import written
from cnnctl.session import classification
from cnnctl.session.session import reducing_of
from cnnctl.spec import listing
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.dataset import FILE_SOURCES, Augment
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check, load
from cnnctl.spec.optimizers import OPTIMIZERS, ScheduleFreeAdamW, Span
from cnnctl.spec.overrides import override
from cnnctl.train.observers import Observers
from tests.custom import use_layers_of
from tests.formats.originals import idx, png, some, write
from tests.interruptions import prepared, run_loop

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = [file for file in sorted((ROOT / "configs").glob("*.yaml")) if "few_shot" not in file.read_text()]
"""Of few-shot tasks there is no script."""
EVERYTHING = ROOT / "tests" / "spec" / "everything.yaml"

TINY = """
seed: 3
data: {source: digits, test: 0.8, validation: 0.1}
model:
  layers:
    - conv2d: {filters: 3, kernel_size: 3, strides: 2, activation: relu}
    - batch_normalization: {momentum: 0.9}
    - flatten
    - dropout: {rate: 0.2}
    - dense: {units: classes}
train: {epochs: 2, batch_size: 100, optimizer: {adam: {learning_rate: 0.01}}}
"""
BLOCKS = """model={style: STYLE, blocks: {
  convolution: {parameters: {filters: required, size: 3, class: same}, layers: [
    conv2d: {filters: $filters, kernel_size: $size, padding: $class}, dropout: {rate: 0.1}]},
  stage: {parameters: {width: 4, times: 1, norm: true}, layers: [
    repeat: {times: $times, layers: [convolution: {filters: $width}]}, convolution: {filters: 5, size: [1, 2]},
    batch_normalization: {scale: $norm}]}},
  layers: [stage, stage: {width: 3, times: 2}, stage: {width: 6, norm: false, name: keras}, flatten, dense: {units: classes}]}"""
BRANCHES = """model={style: STYLE, blocks: {
  residual: {parameters: {filters: required}, layers: [
    conv2d: {filters: $filters, kernel_size: 3, padding: same, name: long}, use: long,
    conv2d: {filters: $filters, kernel_size: 1, inputs: [input], name: short}, add: {inputs: [use, short]}]},
  join: {inputs: [deep, skip], layers: [concatenate: {inputs: [skip, deep]},
    conv2d: {filters: 4, kernel_size: 1}, residual: {filters: 4}, gaussian_noise: {stddev: 0.1}]}},
  layers: [conv2d: {filters: 4, kernel_size: 1, name: stem}, residual: {filters: 4, name: first}, use: {layer: first, name: again},
    join: {inputs: [again, stem]}, use: {layer: join, inputs: [join, first]}, add: {inputs: [use, join]}, flatten, dense: {units: classes}]}"""
# What each row of the table adds to TINY; together they use every line of every template.
VARIANTS: dict[str, list[str]] = {
    "sequential by fit, one-cycle": [
        "train.loop=fit",
        "train.optimizer={lion: {learning_rate: {one_cycle: {max_learning_rate: 0.01}}}}",
    ],
    "subclass, every change of images, stops and restores": [
        "model.style=subclass",
        "data.augment={rotation: 10, shift: 0.1, zoom: 0.1, shear: 5, flip: true}",
        "train.epochs=3",
        "train.early_stopping={patience: 1, min_delta: 1.0}",
    ],
    "functional by fit, mirrored and shifted, stops and restores": [
        "model.style=functional",
        "data.augment={flip: true, shift: 0.1}",
        "train.loop=fit",
        "train.epochs=3",
        "train.early_stopping={monitor: validation_accuracy, patience: 1, min_delta: 0.9}",
    ],
    "subclass by fit, moved, bent and thickened": [
        "model.style=subclass",
        "data.augment={rotation: 10, shift: 0.1, elastic: 0.15, thickness: 0.5}",
        "train.loop=fit",
    ],
    "every normalization within images, and batch norm with renorm": [
        "model.layers=[conv2d: {filters: 4, kernel_size: 3}, "
        "batch_normalization: {renorm: true, renorm_clipping: {rmax: 2, dmax: 1}, synchronized: true}, "
        "layer_normalization: {axis: [1, 2, 3], beta_initializer: {random_normal: {stddev: 0.1}}}, "
        "group_normalization: {groups: -1, scale: false}, unit_normalization: {axis: [1, 2]}, flatten, dense: {units: classes}]",
        "model.style=subclass",
    ],
    "single pixels with strides": [
        "model.layers=[conv2d: {filters: 8, kernel_size: 1, strides: 2}, conv2d: {filters: 5, kernel_size: 1, strides: [1, 3]}, "
        "flatten, dense: {units: classes}]",
    ],
    "single pixels with strides, of another format, subclass": [
        "model.layers=[conv2d: {filters: 8, kernel_size: 1, strides: 2}, "
        "conv2d: {filters: 3, kernel_size: 1, strides: [1, 2], data_format: channels_first}, flatten, dense: {units: classes}]",
        "model.style=subclass",
    ],
    "single pixels with strides that are a parameter, channels first, subclass by fit": [
        """model={style: subclass, blocks: {thin: {parameters: {strides: 1}, layers: [
          conv2d: {filters: 3, kernel_size: 1, strides: $strides, use_bias: false}]}},
          layers: [thin, thin: {strides: 2}, flatten, dense: {units: classes}]}""",
        "model.data_format=channels_first",
        "train.loop=fit",
    ],
    "normalized by the training images": [
        "model.layers=[normalization, normalization: {axis: [1, 2], inputs: [input], name: places}, add: {inputs: [normalization, places]}, "
        "conv2d: {filters: 4, kernel_size: 3, use_bias: false}, normalization: {mean: 0.1, variance: 4, invert: true}, "
        "flatten, dense: {units: classes}]",
        "model.style=functional",
        "data.augment={shift: 0.1}",
    ],
    "normalized by the training images, channels first, subclass": [
        "model.layers=[normalization: {axis: [1, 3]}, flatten, dense: {units: classes}]",
        "model.style=subclass",
        "model.data_format=channels_first",
        "data.channels=3",
    ],
    "normalized by the training images, sequential by fit": [
        "model.layers=[normalization: {axis: null}, flatten, dense: {units: classes}]",
        "train.loop=fit",
    ],
    "mixed, erased with noise, lower rate with cooldown": [
        "data.labels=one_hot",
        "data.augment={rotation: 10, erase: {probability: 0.7}, mixup: 0.4, plain_epochs: 2}",
        "train.epochs=4",
        "train.reduce_on_plateau={patience: 1, min_delta: 0.5, factor: 0.3, cooldown: 1, min_lr: 0.001}",
    ],
    "mixed alone, by fit, lower rate by accuracy, stops": [
        "data.labels=one_hot",
        "data.augment={mixup: 1.0}",
        "train.epochs=4",
        "train.loop=fit",
        "train.early_stopping={monitor: train_accuracy, patience: 2, min_delta: 0.9, restore_best: false}",
        "train.reduce_on_plateau={monitor: validation_accuracy, patience: 1, min_delta: 0.3, factor: 0.3}",
    ],
    "bent, thickened, erased in grey, mixed, lower rate by accuracy": [
        "data.labels=one_hot",
        "data.augment={elastic: 0.1, thickness: 0.5, erase: {scale: [0.1, 0.2], ratio: [1, 1], fill_value: 0.5}, mixup: 0.2}",
        "train.epochs=3",
        "train.reduce_on_plateau={monitor: train_accuracy, patience: 1, min_delta: 0.5, min_lr: 0.0025}",
    ],
    "erased alone, channels first, lower rate by fit": [
        "data.augment={erase: {probability: 1, fill_value: 0}, plain_epochs: 1}",
        "train.epochs=3",
        "train.loop=fit",
        "train.precision=mixed_float16",
        "train.reduce_on_plateau={monitor: train_loss, patience: 1, min_delta: 1, factor: 0.25}",
    ],
    "softmax, sheared, resized, inverted, in colour, exponential within an epoch": [
        "model.layers.4.dense.activation=softmax",
        "data.augment={shear: 9}",
        "data.image_size=[10, 9]",
        "data.channels=3",
        "data.invert=true",
        "train.optimizer={muon: {learning_rate: "
        "{exponential: {initial_learning_rate: 0.01, decay_rate: 0.5, decay_steps: 0.4 epochs, staircase: true}}}}",
    ],
    "one-hot, smoothed, regularized, cosine with a warm-up in steps": [
        "data.labels=one_hot",
        "train.loss={categorical_crossentropy: {label_smoothing: 0.1}}",
        "model.layers.0.conv2d.kernel_regularizer={l1_l2: {l1: 1e-3, l2: 1e-2}}",
        "model.layers.4.dense.kernel_initializer={variance_scaling: {mode: fan_out}}",
        "train.optimizer={nadam: {learning_rate: {cosine: "
        "{initial_learning_rate: 0.0, alpha: 0.1, warmup_target: 0.02, warmup_steps: 3}}}}",
    ],
    "inverted, no validation, stops by accuracy and keeps": [
        "data.invert=true",
        "data.validation=null",
        "train.epochs=3",
        "train.early_stopping={monitor: train_accuracy, patience: 1, min_delta: 0.9, restore_best: false}",
    ],
    "mixed_float16": ["train.precision=mixed_float16"],
    "mixed_bfloat16 by fit": ["train.precision=mixed_bfloat16", "train.loop=fit"],
    "averages, stops, restores the best": [
        "train.epochs=3",
        "train.early_stopping={patience: 1, min_delta: 5.0}",
        "train.optimizer={sgd: {use_ema: true}}",
    ],
    "averages by fit, overwrites": ["train.loop=fit", "train.optimizer={sgd: {use_ema: true, ema_overwrite_frequency: 3}}"],
    "averages by fit, stops, no validation": [
        "train.loop=fit",
        "data.validation=null",
        "train.epochs=3",
        "train.early_stopping={monitor: train_loss, patience: 1, min_delta: 5.0}",
        "train.optimizer={sgd: {use_ema: true}}",
    ],
    "averages, accumulates, scales": [
        "train.optimizer={sgd: {momentum: 0.9, use_ema: true, gradient_accumulation_steps: 2, loss_scale_factor: 4.0}}"
    ],
    "blocks in a row, one inside the other": [BLOCKS.replace("STYLE", "sequential")],
    "blocks as functional models": [BLOCKS.replace("STYLE", "functional")],
    "blocks as classes": [BLOCKS.replace("STYLE", "subclass")],
    "blocks that branch, one used twice": [BRANCHES.replace("STYLE", "functional")],
    "classes that branch, one used twice": [BRANCHES.replace("STYLE", "subclass")],
    "rescaled, interpolated and moved in 16 bits, channels first": [
        "model.data_format=channels_first",
        "data.channels=3",
        "model.layers=[{rescaling: {scale: [1, 2, 3], offset: [0.5, 0, -0.5]}}, {up_sampling2d: {size: [1, 2], interpolation: bicubic}}, "
        "{cropping2d: {cropping: [[1, 0], [0, 2]]}}, {permute: {dims: [2, 3, 1]}}, {reshape: {target_shape: [-1, 7, 3]}}, flatten, "
        "{dense: {units: 12}}, {rescaling: {scale: [0.5]}}, {dense: {units: classes}}]",
        "train.precision=mixed_bfloat16",
    ],
    "schedule-free, warms up, stops, restores the best": [
        "train.epochs=3",
        "train.early_stopping={patience: 1, min_delta: 5.0}",
        "train.optimizer={schedule_free_adamw: {beta_1: 0.7, warmup_steps: 0.5 epochs}}",
    ],
    "schedule-free, stops and keeps": [
        "train.epochs=3",
        "train.early_stopping={patience: 1, min_delta: 5.0, restore_best: false}",
        "train.optimizer={schedule_free_adamw: {beta_1: 0.7}}",
        "model.layers.4.dense.bias_constraint=non_neg",
    ],
    "schedule-free by fit, scaled": [
        "model.style=subclass",
        "train.loop=fit",
        "train.precision=mixed_float16",
        "train.optimizer={schedule_free_adamw: {weight_decay: 0.01, warmup_steps: 2}}",
    ],
    "schedule-free, averaged by momentum": ["train.optimizer={schedule_free_adamw: {use_ema: true, ema_momentum: 0.5}}"],
    "identity, orthogonal rows, activations": [
        "model.layers.0.conv2d.activation=squareplus",
        "model.layers.4.dense.kernel_initializer={identity: {gain: 0.5}}",
        "model.layers.4.dense.kernel_regularizer={orthogonal_regularizer: {mode: columns, factor: 0.1}}",
        "model.layers.4.dense.activation=log_softmax",
    ],
    "every layer": [],  # its stack is that of everything.yaml
}


@pytest.fixture(autouse=True)
def _keras_as_it_was() -> Iterator[None]:
    """Undoes what a script sets for its whole process."""
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


def tiny(*overrides: str) -> Experiment:
    document = parse(TINY, "tiny.yaml")
    for text in overrides:
        override(document, text)
    return check(document)


def every_layer() -> Experiment:
    """Returns everything.yaml on the digits."""
    content = yaml.safe_load(EVERYTHING.read_text())
    del content["sweep"]  # its paths are those of another optimizer
    content["data"] = {"source": "digits", "test": 0.8, "image_size": [16, 12], "channels": 3, "labels": "one_hot"}
    content["train"] = {"epochs": 1, "batch_size": 100, "loop": "fit"}
    return check(parse(yaml.dump(content), "everything.yaml"))


def variant(name: str) -> Experiment:
    return every_layer() if name == "every layer" else tiny(*VARIANTS[name])


def text_of(experiment: Experiment) -> str:
    return script(experiment, "cnnctl code x.yaml", "x.keras")


def ran(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs a script in an empty namespace and folder; returns its names."""
    monkeypatch.chdir(folder)
    file = folder / "x.py"
    file.write_text(text, encoding="utf-8")
    return runpy.run_path(str(file), run_name="__main__")


def trained(experiment: Experiment) -> list[Any]:
    """Returns every variable of the network that cnnctl trains."""
    session = prepared(experiment)
    before = [variable.numpy() for variable in session.task.learner.model.trainable_variables]
    run_loop(session, Observers([*([session.stopping] if session.stopping else []), *reducing_of(session)]))
    after = session.task.learner.model.trainable_variables
    assert not any(np.array_equal(old, new.numpy()) for old, new in zip(before, after, strict=True)), "all are trained"
    return [variable.numpy() for variable in session.task.learner.model.variables]


def assert_same_bits(experiment: Experiment, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Compare the weights that a script and cnnctl train; in 16 bits without the fast path, as the script's docstring says."""
    if experiment.train.precision.startswith("mixed_"):
        monkeypatch.setattr(classification, "fast_network", lambda network, *_: network)
    names = ran(text_of(experiment), folder, monkeypatch)
    theirs = [variable.numpy() for variable in names["model"].variables]
    for mine, other in zip(trained(on_any_machine(experiment)), theirs, strict=True):  # as the script's docstring says
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    return names


# how it reads


@pytest.mark.parametrize("name", ["mnist", "residual", "subclass", "complete-cnn", "fashion-mnist", "quickstart"])
def test_the_script_reads_as_in_the_golden_files(name: str, golden: Callable[[Path, str], None]) -> None:
    experiment = load(ROOT / "configs" / f"{name}.yaml")
    golden(GOLDEN / f"code-{name}.py.txt", script(experiment, f"cnnctl code configs/{name}.yaml", f"{name}.keras"))


# Data that need not be here: of another size, of a set that is not known, read from a folder with the test set beside the classes.
DATA = {
    "omniglot": "{source: tfds, name: omniglot, image_size: [28, 28], channels: 1, invert: true, test: 0.2, validation: small2}",
    "numbered anew": "{source: tfds, name: omniglot, image_size: [28, 28], channels: 1, classes: 136, remap_labels: true, train: small1, test: a, validation: b}",
    "unknown": "{source: tfds, name: 'my_set/one:1.0.0', data_dir: there, image_size: [105, 105], channels: 3, classes: 5}",
    "folder": "{source: folder, path: FOLDER, image_size: [105, 105], channels: 1, test: 0.2, validation: extra}",
    "folder in colour": "{source: folder, path: FOLDER, image_size: [105, 105], channels: 3, invert: true, train: extra}",
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns a script of every config, of every variant and of every kind of data."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("a", "b", "extra/a", "extra/b"):
        (folder / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / name / "one.png")
    channels_first = load(ROOT / "configs" / "mnist.yaml", ["model.data_format=channels_first", "data.augment={flip: true}"])
    return {
        **{config.stem: text_of(load(use_layers_of(config))) for config in (*CONFIGS, EVERYTHING)},
        **{name: text_of(variant(name)) for name in VARIANTS},
        **{
            name: text_of(tiny(f"data={text.replace('FOLDER', str(folder))}")).replace(str(folder), "images")
            for name, text in DATA.items()
        },
        "channels_first": text_of(channels_first),
        **{
            name: text_of(case(name, folder / str(number))).replace(f"{folder}/{number}", "there")
            for number, name in enumerate(CASES)
        },
    }


def test_every_script_is_python_of_at_most_100_columns(scripts: dict[str, str]) -> None:
    for name, text in scripts.items():
        compile(text, name, "exec")
        assert [line for line in text.splitlines() if len(line) > WIDTH] == [], name
        assert "#?" not in text and not re.search(r"\$(?!RECYCLE)", text), name


def test_no_script_imports_cnnctl(scripts: dict[str, str]) -> None:
    for name, text in scripts.items():
        imports = [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert imports
        assert not any("cnnctl" in each for each in imports), name


def test_no_script_has_a_name_that_it_does_not_use_or_does_not_know(scripts: dict[str, str], tmp_path: Path) -> None:
    for index, text in enumerate(scripts.values()):
        (tmp_path / f"script_{index}.py").write_text(text + "\n", encoding="utf-8")
    rules = ["--isolated", "--select", "E,F,W", "--line-length", str(WIDTH), "--output-format", "concise"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", *rules, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "All checks passed!"


def test_a_script_has_only_what_its_config_needs(scripts: dict[str, str]) -> None:
    mnist = scripts["mnist"]
    for word in ("augment", "one_hot", "fit(", "Image", "invert", "OneCycle", "best_weights", "model.losses", "scale_loss"):
        assert word not in mnist, word
    assert mnist.count("dtype") == 0


def test_every_layer_has_its_shape_beside_it(scripts: dict[str, str]) -> None:
    shapes = re.findall(r"  # (\(B, [\d, ]+\))$", scripts["complete-cnn"], re.MULTILINE)
    assert shapes == [
        "(B, 24, 24, 32)", "(B, 12, 12, 32)", "(B, 8, 8, 64)", "(B, 4, 4, 64)", "(B, 1024)", "(B, 10)",
    ]  # fmt: skip


def test_channels_first_sets_the_format_and_turns_the_images(scripts: dict[str, str]) -> None:
    text = scripts["channels_first"]
    assert 'keras.config.set_image_data_format("channels_first")' in text
    assert "inputs = keras.Input((1, 28, 28))" in text
    turned, augmented = text.index("tf.transpose(images, (0, 3, 1, 2))"), text.index("images = augment(images, draws)")
    assert augmented < turned, "images are moved while their channels are last"


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.kind)
def test_optimizers_say_only_what_differs_from_keras(optimizer: Any) -> None:
    text = text_of(tiny(f"train.optimizer={optimizer.kind}"))
    rate = optimizer.model_fields["learning_rate"].default
    own = optimizer is ScheduleFreeAdamW  # its class stands in the script
    line = f"optimizer = {'' if own else 'keras.optimizers.'}{optimizer.__name__}(learning_rate={rate})"
    assert line in text.splitlines()
    made = eval(line.removeprefix("optimizer = "), {"keras": keras, "ScheduleFreeAdamW": keras.optimizers.ScheduleFreeAdamW})
    for name in set(optimizer.model_fields) - {"learning_rate", "loss_scale_factor"}:
        default = optimizer.model_fields[name].default
        assert getattr(made, name) == (default.steps(1) if isinstance(default, Span) else default), name


@pytest.mark.parametrize("style", ["functional", "subclass"])
def test_layers_with_the_names_of_other_things_get_names_of_their_own(style: str) -> None:
    names = ["layers", "class", "a.b", "a_b", "GlorotUniform", "loss", "x", "self", "keras", "inputs", "outputs"]
    stack = ", ".join(f"dense: {{name: {name}, units: 4}}" for name in names)
    text = text_of(tiny(f"model.style={style}", f"model.layers=[flatten, {stack}, dense: {{units: classes}}]"))
    network = text.partition("# ---- Network")[2].partition("# ---- Loss")[0]
    imports = "import keras, tensorflow as tf\nfrom keras import layers\nfrom keras.initializers import GlorotUniform\nCLASSES = 10\n#"
    scope: dict[str, Any] = {}
    exec(imports + network, scope)
    assert [layer.name for layer in scope["model"].layers if isinstance(layer, keras.layers.Dense)][:-1] == names


def test_no_attribute_of_a_keras_model_is_a_layers_name() -> None:
    model = keras.Model()
    own = {name for name in {*dir(model), *vars(model)} if not name.startswith("_")}
    assert own <= MODEL_ATTRIBUTES


# that it does the same


@pytest.mark.parametrize("name", VARIANTS)
def test_a_script_ends_with_the_weights_of_cnnctl_to_the_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = assert_same_bits(variant(name), tmp_path, monkeypatch)
    done = names["epoch"] if "epoch" in names else len(names["model"].history.epoch)
    assert (done < names["EPOCHS"]) == ("stops" in name), "else the row would say nothing of early stopping"


OWN_TEMPLATES = ("residual", "mnist-best", "subclass", "custom-layer")
"""Configs whose scripts differ most; scripts/soak trains those of all others too, which only add up what the variants have."""
TRAINED = [pytest.param(file, marks=() if file.stem in OWN_TEMPLATES else pytest.mark.soak, id=file.stem) for file in CONFIGS]


@pytest.mark.parametrize("config", TRAINED)
def test_the_script_of_every_config_ends_with_the_weights_of_cnnctl_to_the_bit(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a few of the digits, enlarged to what the network takes."""
    content = yaml.safe_load(use_layers_of(config).read_text())
    kept = {key: content["data"][key] for key in ("labels", "augment") if key in content["data"]}
    size = 8 if content["data"]["source"] == "digits" else 28
    digits = load_digits()
    images = (digits.images[:120] * 15).astype(np.uint8)
    few = arrays(tmp_path / "few", images=images, labels=digits.target[:120])
    content["data"] = {"source": "npz", **few, "image_size": size, "test": 0.3, "validation": 0.1, **kept}
    epochs = 1 + kept.get("augment", {}).get("plain_epochs", 0)
    content["train"] = {**content["train"], "epochs": epochs, "batch_size": 64}
    assert_same_bits(check(parse(yaml.dump(content), config.name)), tmp_path, monkeypatch)


MOVES: list[dict[str, Any]] = [
    {},
    {"shift": 0.1},
    {"zoom": 0.2},
    {"rotation": 9.0, "shear": 5.0},
    {"flip": True, "shift": 0.1},
    {"rotation": 9.0, "shift": 0.1},
]


@pytest.mark.parametrize("strokes", [{"elastic": 0.2}, {"thickness": 0.5}, {"elastic": 0.2, "thickness": 0.5}], ids=str)
@pytest.mark.parametrize("moves", MOVES, ids=str)
def test_the_script_makes_the_batches_of_cnnctl_to_the_bit(moves: dict[str, Any], strokes: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 7, 10, 3), np.uint8)
    images = ImageSet(pixels, np.arange(40, dtype=np.int64) % 10)
    experiment = tiny("data.image_size=[7, 10]", "data.channels=3", f"data.augment={json.dumps(moves | strokes)}")
    scope: dict[str, Any] = {"math": math, "np": np, "tf": tf, "SEED": 3, "EPOCHS": 2, "BATCH_SIZE": 16}
    exec("\n".join(batching(experiment, needs_of(experiment, reading_of(experiment.data)))), scope)
    theirs = scope["training_batches"](images.images, images.labels).as_numpy_iterator()
    mine = training_batches(
        images, preparation(experiment.data, experiment.model.data_format), batch_size=16, seed=3, first_epoch=0, epochs=2
    )
    for (expected, labels), (found, other_labels) in zip(mine.as_numpy_iterator(), theirs, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", range(1, 8))
def test_the_script_fits_its_lines_whatever_changes_images(size: int) -> None:
    values: dict[str, Any] = {
        "rotation": 12.25, "shift": 0.125, "zoom": 0.125, "shear": 11.25, "flip": True, "elastic": 0.0625, "thickness": 0.375,
        "erase": {"probability": 0.125, "scale": [0.0125, 0.3125], "ratio": [0.3125, 3.0625], "fill_value": 0.0625}, "mixup": 0.3125,
        "plain_epochs": 2,
    }  # fmt: skip
    assert list(values) == list(Augment.model_fields)
    others = [names for number in range(4) for names in itertools.combinations(("erase", "mixup", "plain_epochs"), number)]
    for number, names in enumerate(itertools.combinations(list(values)[:-3], size)):
        chosen = {name: values[name] for name in (*names, *others[(number + size) % len(others)])}
        text = text_of(load(ROOT / "configs" / "mnist.yaml", [f"data.augment={json.dumps(chosen)}", "data.labels=one_hot"]))
        compile(text, ",".join(names), "exec")
        assert [line for line in text.splitlines() if len(line) > WIDTH] == [], names


def test_the_script_holds_out_what_cnnctl_does_of_classes_of_any_size() -> None:
    scope: dict[str, Any] = {"np": np}
    exec(written(HOLD_OUT, {}), scope)
    draw = np.random.default_rng(1)
    for seed in range(200):
        labels = np.sort(draw.integers(0, 12, int(draw.integers(20, 60))))  # classes of one image and of none among them
        fractions = {"test": float(draw.uniform(0.1, 0.5)), "validation": float(draw.uniform(0.1, 0.4))}
        held = hold_out(labels, fractions, seed)
        scope["SPLIT_SEED"] = seed
        test, validation, train = scope["hold_out"](labels, *fractions.values())
        np.testing.assert_array_equal(test, held["test"])
        np.testing.assert_array_equal(validation, held["validation"])
        np.testing.assert_array_equal(train, np.setdiff1d(np.arange(len(labels)), [*held["test"], *held["validation"]]))


def is_prepared(name: str) -> bool:
    return (Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser() / name).is_dir()


def test_the_script_reads_tfds_as_cnnctl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_prepared("mnist"):
        pytest.skip("MNIST is not prepared here; set TFDS_DATA_DIR")
    data = "{source: tfds, name: mnist, train: 'train[:1%]', test: 'test[:1%]', validation: 'train[1%:2%]', invert: true}"
    assert_same_bits(tiny(f"data={data}", "train.epochs=1"), tmp_path, monkeypatch)


def test_the_script_fits_tfds_images_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_prepared("omniglot"):
        pytest.skip("Omniglot is not prepared here; set TFDS_DATA_DIR")
    data = (
        "{source: tfds, name: omniglot, train: 'small1[:10%]', image_size: [8, 8], channels: 1, test: 0.02, validation: null}"
    )
    assert_same_bits(tiny(f"data={data}", "train.epochs=1"), tmp_path, monkeypatch)


def test_the_script_numbers_classes_anew_as_cnnctl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_prepared("omniglot"):
        pytest.skip("Omniglot is not prepared here; set TFDS_DATA_DIR")
    for rest in ("validation: null, test: 'small1[70%:]'", "validation: 'small1[70%:]', test: 0.2"):
        data = f"{{source: tfds, name: omniglot, train: 'small1[:70%]', classes: 136, remap_labels: true, {rest}}}"
        small = ("data.image_size=8", "data.channels=1", "train.epochs=1", "train.batch_size=256")
        assert_same_bits(tiny(f"data={data}", *small), tmp_path, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder of images of several sizes and modes: train/ and test/ with three classes."""
    draw = np.random.default_rng(5)
    for split, count in (("train", 10), ("test", 4)):
        for name in ("a", "b b", "c"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(count):
                mode, channels = [("L", 1), ("RGB", 3), ("RGBA", 4), ("I;16", 1)][index % 4]
                high, dtype = (65536, np.uint16) if mode == "I;16" else (256, np.uint8)
                pixels = draw.integers(0, high, (9 + index % 3, 11, channels), dtype).squeeze()
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    (tmp_path / "images" / "train" / ".hidden").mkdir()
    (tmp_path / "images" / "train" / "a" / "notes.txt").write_text("no image")
    return tmp_path / "images"


FOLDER = "source: folder, image_size: [8, 8]"


def test_the_script_reads_a_folder_as_cnnctl_does(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny(f"data={{{FOLDER}, path: {folder}, channels: 1, invert: true, validation: 0.2}}")
    names = assert_same_bits(experiment, tmp_path, monkeypatch)
    assert names["CLASS_NAMES"] == ["a", "b b", "c"]


def test_the_script_knows_a_split_beside_the_classes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train").rename(folder / "all")
    (folder / "test").rename(folder / "all" / "test")
    (folder / "all" / "d").mkdir()  # a class that has no images yet
    data = f"{FOLDER}, path: {folder / 'all'}, channels: 3, labels: one_hot, validation: test, test: 0.25"
    names = assert_same_bits(tiny(f"data={{{data}}}", "train.loop=fit"), tmp_path, monkeypatch)
    assert names["CLASS_NAMES"] == ["a", "b b", "c", "d"]


# sources, fields and layouts: what the script reads is what cnnctl reads

RNG = np.random.default_rng(8)
IMAGES, TEST_IMAGES = some(40, 6, 6), some(12, 6, 6, seed=1)
LABELS, TEST_LABELS = np.arange(40) % 4, np.arange(12) % 4
WORDS = np.array(["dog", "ant", "bee, or #2", "öre"])
CHANGED: dict[str, Any] = {"image_size": [9, 5], "channels": 3, "invert": True, "fit": "pad", "transpose": True}


def png_files(root: Path, counts: dict[str, int]) -> Path:
    """Writes so many images of several sizes into each folder."""
    for folder, count in counts.items():
        for index in range(count):
            write(root / folder / f"{index}.png", png(RNG.integers(0, 256, (5 + index % 3, 6), np.uint8)))
    return root


def deep(root: Path) -> dict[str, Any]:
    png_files(root, {"a": 4, "a/own": 3, "b/x/y": 5, "b/x": 2, "": 2, ".git/a": 1, "c": 4, "c/.thumbs": 1})
    for name in listing.SYSTEM_FOLDERS:
        png_files(root, {name: 1, f"{name}/a": 1, f"b/{name}": 1})
    write(root / "a" / "._0.png", b"")
    write(root / "scripts" / "make.py", b"print()")
    write(root / "a" / "notes.txt", b"text")
    os.mkfifo(root / "a" / "pipe.png")
    (root / "a" / "folder.png").mkdir()
    (root / "a" / "9.PNG").write_bytes(png(IMAGES[0]))
    return {}


def leaf(root: Path) -> dict[str, Any]:
    png_files(root, {"Training/Greek/alpha": 4, "Training/Greek/beta": 3, "Training/Latin/a": 4, "Training/Latin": 2})
    png_files(root, {"Testing/Greek/alpha": 2, "Testing/Latin/a": 2})
    return {"class_folders": "leaf"}


def splits_beside_classes(root: Path) -> dict[str, Any]:
    png_files(root, {"a": 6, "b/deep": 6, "c": 4, "val/a": 2, "val/b/deep": 3, "test": 5})
    (root / "d").mkdir()
    (root / "d" / ".DS_Store").touch()
    return {"test": 0.25}


def class_called_as_a_split(root: Path) -> dict[str, Any]:
    png_files(root, {"bus": 5, "car": 5, "train": 5})
    return {"validation": None, "labels": "integer"}


def told_by_content(root: Path) -> dict[str, Any]:
    png_files(root, {"a": 3, "b": 3})
    for name in ("0.dat", "1", "2.txt"):
        write(root / "b" / name, png(IMAGES[0]))
    write(root / "b" / "notes.txt", b"BMW is a car")
    write(root / "b" / "empty", b"")
    os.mkfifo(root / "b" / "pipe")
    return {}


def linked(root: Path) -> dict[str, Any]:
    store = png_files(root.parent / "store", {"a": 6, "b/deep": 6, "test/a": 2, "test/b": 2})
    (root / "train").mkdir(parents=True)
    for name in ("a", "b"):
        (root / "train" / name).symlink_to(store / name)
    (root / "test").symlink_to(store / "test")
    return {"follow_links": True}


def labelled_flat(root: Path) -> dict[str, Any]:
    png_files(root, {"": 9})
    write(root / "labels.csv", b"file,label\n" + b"".join(b"%d.png,%s\n" % (i, b"xy"[i % 2 :][:1]) for i in range(8)))
    return {"labels_file": "labels.csv"}


def labelled_without_header(root: Path) -> dict[str, Any]:
    png_files(root, {"": 6})
    write(root / "labels.csv", "\n".join(f"{i}.png\t{'xyz'[i % 3]}" for i in range(6)).encode())
    return {"labels_file": "labels.csv", "validation": None, "test": 0.5}


def labelled_by_any_name(root: Path) -> dict[str, Any]:
    png_files(root, {"in/deep": 8})
    table = "\ufeffa; picture ;kind\n;./in/deep/0.png; x\n;in\\deep\\1.png;y\n;in/deep/2;x\n;deep/3.png;y\n;4.png;x\n\n;5;y\n;/in/deep/6.png;x\n"
    write(root / "labels.csv", table.encode())
    return {"labels_file": "labels.csv", "keys": ["picture", "kind"], "validation": None, "test": 0.5}


def labelled_over_folders(root: Path) -> dict[str, Any]:
    png_files(root, {"train/a": 6, "train/b/deep": 6, "test/a": 2, "test/b": 2})
    write(root.parent / "fixed.csv", b"id,label\ntrain/a/0,b\ntrain/b/deep/0,a\ntest/a/1,b\n")
    return {"labels_file": str(root.parent / "fixed.csv")}


def labelled_beside_splits(root: Path) -> dict[str, Any]:
    png_files(root, {"one": 6, "two": 6, "val": 4})
    rows = [f"{folder}/{i}.png,{'xy'[i % 2]}" for folder, count in (("one", 5), ("two", 4), ("val", 3)) for i in range(count)]
    write(root / "labels.csv", "\n".join(["file,label", *rows]).encode())
    return {"labels_file": "labels.csv", "validation": "val", "test": 0.3}


def remapped_folder(root: Path) -> dict[str, Any]:
    png_files(root, {"train/a": 6, "train/c": 6, "test/a": 2, "test/c": 2})
    (root / "train" / "b").mkdir()
    return {"remap_labels": True}


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def deep_colour() -> bytes:
    """Returns a PNG file of colours of 16 bits, which Pillow reads and does not write."""
    rows = RNG.integers(0, 4096, (6, 8, 3)).astype(">u2")

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def every_kind(root: Path) -> dict[str, Any]:
    colour, grey = RNG.integers(0, 256, (6, 8, 3), np.uint8), RNG.integers(0, 256, (6, 8), np.uint8)
    image, plain = Image.fromarray(colour), Image.fromarray(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = Image.fromarray(np.dstack([colour, grey]), "RGBA")
    contents = [
        encoded(image, "JPEG", exif=exif),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image.quantize(8), "PNG", transparency=3),
        encoded(image.quantize(8), "GIF", save_all=True, append_images=[plain]),
        encoded(plain, "TIFF", save_all=True, append_images=[Image.fromarray(255 - grey)]),
        encoded(Image.fromarray(grey.astype(np.uint16) * 200), "PNG"),
        encoded(Image.fromarray(grey.astype(np.uint16) * 200), "TIFF"),
        b"P5 8 6 65535\n" + (grey.astype(">u2") * 99).tobytes(),
        encoded(Image.fromarray(grey.astype(np.float32) * 3), "TIFF"),
        encoded(alpha, "WEBP", lossless=True),
        encoded(alpha.convert("LA"), "PNG"),
        encoded(Image.fromarray(grey > 127), "PNG"),
        encoded(image.convert("YCbCr"), "JPEG"),
        encoded(image, "BMP"),
        deep_colour(),
    ]
    suffixes = ["jpg", "jpeg", "png", "gif", "tif", "png", "tiff", "pgm", "TIF", "webp", "png", "png", "jfif", "bmp", "png"]
    for index, (content, suffix) in enumerate(zip(contents, suffixes, strict=True)):
        for label in "ab":
            write(root / label / f"{index:02}.{suffix}", content)
    return {"image_size": [8, 7], "validation": None, "test": 0.2}


def arrays(root: Path, **values: Any) -> dict[str, Any]:
    root.mkdir(parents=True)
    np.savez(root / "set.npz", **values)
    return {"path": str(root / "set.npz")}


def pairs(
    images: Any = IMAGES, labels: Any = LABELS, other: Any = TEST_IMAGES, other_labels: Any = TEST_LABELS
) -> dict[str, Any]:
    return {"x_train": images, "y_train": labels, "x_test": other, "y_test": other_labels}


def table(images: NDArray[Any], labels: Any, head: str = "label,{}", row: str = "{label},{pixels}") -> bytes:
    flat = images.reshape(len(images), -1).tolist()
    names = ",".join(f"pixel{place}" for place in range(len(flat[0])))
    lines = [row.format(label=label, pixels=",".join(map(str, each))) for label, each in zip(labels, flat, strict=True)]
    return "\n".join([*([head.format(names)] if head else []), *lines, ""]).encode()


def tables(root: Path, ending: str = ".csv", **data: Any) -> dict[str, Any]:
    images, labels = data.pop("images", lambda each: each), data.pop("labels", lambda each: each)
    change, more = data.pop("change", lambda content: content), data.pop("fields", {})
    write(root / f"train{ending}", change(table(images(IMAGES), labels(LABELS), **data)))
    write(root / f"test{ending}", change(table(images(TEST_IMAGES), labels(TEST_LABELS), **data)))
    return dict(more)


def matlab(root: Path, **variables: Any) -> dict[str, Any]:
    root.mkdir(parents=True)
    scipy.io.savemat(root / "set.mat", variables)
    return {"path": str(root / "set.mat")}


def parquet(file: Path, images: Any, labels: Any, names: tuple[str, str] = ("image", "label")) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(zip(names, (images, labels), strict=True))), file)


def structs(images: Any) -> list[dict[str, Any]]:
    return [{"bytes": png(image), "path": None} for image in images]


def usual(kind: str, step: int = 1, **more: Any) -> Callable[[Path], dict[str, Any]]:
    """Returns what makes a set of a kind with train and test, as it is usually laid out, its labels that far apart."""
    first = step // 2
    parts = {"train": (IMAGES, LABELS * step + first), "test": (TEST_IMAGES, TEST_LABELS * step + first)}

    def make(root: Path) -> dict[str, Any]:
        for name, (images, labels) in parts.items():
            if kind == "idx":
                idx_files(root, images, labels, {"train": "train", "test": "t10k"}[name], ".gz")
            elif kind == "csv":
                write(root / f"mnist_{name}.csv", table(images, labels))
            elif kind == "parquet":
                parquet(root / f"{name}-00000-of-00001.parquet", structs(images), labels)
        emnist = {name: {"images": x.reshape(len(x), -1), "labels": y[:, np.newaxis]} for name, (x, y) in parts.items()}
        whole = {
            "npz": lambda: arrays(root, **pairs(*parts["train"], *parts["test"])),
            "mat": lambda: matlab(root, dataset=emnist),
        }
        return {**(whole[kind]() if kind in whole else {}), **more}

    return make


def idx_files(root: Path, images: Any = IMAGES, labels: Any = None, name: str = "train", ending: str = "") -> Path:
    write(root / f"{name}-images-idx3-ubyte{ending}", idx(images))
    write(root / f"{name}-labels-idx1-ubyte{ending}", idx((LABELS if labels is None else labels).astype(np.uint8)))
    return root


def qmnist(root: Path) -> dict[str, Any]:
    write(root / "qmnist-train-images-idx3-ubyte.gz", idx(IMAGES))
    write(root / "qmnist-train-labels-idx2-int", idx(np.c_[LABELS, some(40, 7)].astype(np.int32)))
    return {}


def halves(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True)
    for name, images, labels in (("train", IMAGES, LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        np.savez_compressed(root / f"kmnist-{name}-imgs.npz", images)
        np.savez_compressed(root / f"kmnist-{name}-labels.npz", labels)
    return {}


def halves_unpacked(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True)
    for name, values in pairs(labels=LABELS[:, np.newaxis]).items():
        np.save(root / f"{name}.npy", values)
    return {}


def file_per_split(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True)
    np.savez(root / "train.npz", x=IMAGES, y=LABELS)
    np.savez(root / "test.npz", x=TEST_IMAGES, y=TEST_LABELS)
    return {}


def matlab_per_split(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True)
    for name, images, labels in (("train", IMAGES, LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
        colours = np.stack([images, 255 - images, images // 2], axis=-1)
        scipy.io.savemat(root / f"{name}_32x32.mat", {"X": np.moveaxis(colours, 0, -1), "y": labels[:, np.newaxis]})
    return {}


def shards(root: Path) -> dict[str, Any]:
    for number in range(4):
        parquet(
            root / "data" / f"train-0000{number}-of-00004-{'abcd'[number]}.parquet",
            structs(IMAGES[number::4]),
            LABELS[number::4],
        )
    parquet(root / "data" / "test-00000-of-00001.parquet", structs(TEST_IMAGES), TEST_LABELS)
    return {}


def one_file(root: Path) -> dict[str, Any]:
    parquet(root / "[set].parquet", structs(IMAGES), LABELS > 1)
    return {"path": str(root / "[set].parquet")}


def converted_shards(root: Path) -> dict[str, Any]:
    names = ("picture", "kind")
    for number in range(2):
        parquet(
            root / "default" / "train" / f"000{number}.parquet",
            [png(each) for each in IMAGES[number::2]],
            WORDS[LABELS[number::2]],
            names,
        )
    parquet(root / "default" / "test" / "0000.parquet", [png(each) for each in TEST_IMAGES], WORDS[TEST_LABELS], names)
    return {"keys": ["picture", "kind"], "channels": 3}


FRACTIONS = IMAGES / 255
CASES: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "folder, any depth": ("folder", deep),
    "folder, leaf": ("folder", leaf),
    "folder, splits beside classes": ("folder", splits_beside_classes),
    "folder, a class called train": ("folder", class_called_as_a_split),
    "folder, train is the folder": ("folder", lambda root: {**class_called_as_a_split(root), "train": "."}),
    "folder, reported by content": ("folder", told_by_content),
    "folder, linked": ("folder", linked),
    "folder, remapped": ("folder", remapped_folder),
    "folder, every kind": ("folder", every_kind),
    "folder, every kind in colour, cropped": ("folder", lambda root: {**every_kind(root), "channels": 3, "fit": "crop", "invert": True}),
    "folder, every kind, 12 bits": ("folder", lambda root: {**every_kind(root), "pixel_max": 4095, "fit": "pad"}),
    "folder, every kind in colour, 100": ("folder", lambda root: {**every_kind(root), "pixel_max": 100.5, "channels": 3, "transpose": True}),
    "folder, every kind in colour, padded": ("folder", lambda root: {**every_kind(root), "channels": 3, "fit": "pad", "pixel_max": 65535}),
    "labels, flat": ("folder", labelled_flat),
    "labels, without a header": ("folder", labelled_without_header),
    "labels, by any name": ("folder", labelled_by_any_name),
    "labels, over folders": ("folder", labelled_over_folders),
    "labels, over leaves": ("folder", lambda root: {**labelled_over_folders(root), "class_folders": "leaf", "test": 0.2}),
    "labels, beside splits": ("folder", labelled_beside_splits),
    **{f"{kind}, as usual": (kind, usual(kind)) for kind in FILE_SOURCES},
    **{f"{kind}, changed": (kind, usual(kind, 1, **CHANGED)) for kind in FILE_SOURCES},
    **{f"{kind}, turned": (kind, usual(kind, transpose=True, invert=True, pixel_max=200)) for kind in FILE_SOURCES},
    **{f"{kind}, remapped": (kind, usual(kind, step=3, remap_labels=True)) for kind in FILE_SOURCES},
    "idx, unpacked": ("idx", lambda root: {"path": str(idx_files(root) / "train-images-idx3-ubyte")}),
    "idx, in colour": ("idx", lambda root: {"path": str(idx_files(root, some(40, 6, 7, 3)))}),
    "idx, 16 bits": ("idx", lambda root: {"path": str(idx_files(root, some(40, 6, 7, high=4096, dtype=np.int16))), "pixel_max": 4095}),
    "idx, QMNIST": ("idx", qmnist),
    "npz, fractions": ("npz", lambda root: {**arrays(root, images=FRACTIONS, labels=LABELS), "pixel_max": 1}),
    "npz, whole floats": ("npz", lambda root: arrays(root, images=IMAGES.astype(">f4"), labels=LABELS.astype(float))),
    "npz, bits": ("npz", lambda root: {**arrays(root, images=IMAGES > 99, labels=LABELS), "pixel_max": 1, "invert": True}),
    "npz, rows": ("npz", lambda root: {**arrays(root, **pairs(some(40, 35), LABELS[:, np.newaxis], some(12, 35))), "image_size": [5, 7]}),
    "npz, channels first": ("npz", lambda root: arrays(root, **pairs(some(40, 3, 5, 6), LABELS, some(12, 3, 5, 6)))),
    "npz, one channel first": ("npz", lambda root: arrays(root, **pairs(some(40, 1, 5, 6), LABELS, some(12, 1, 5, 6)))),
    "npz, one-hot": ("npz", lambda root: arrays(root, **pairs(labels=np.eye(4)[LABELS], other_labels=np.eye(4)[TEST_LABELS]))),
    "npz, names": ("npz", lambda root: arrays(root, **pairs(labels=WORDS[LABELS], other_labels=WORDS[TEST_LABELS, np.newaxis]))),
    "npz, names in bytes": ("npz", lambda root: arrays(root, images=IMAGES, labels=np.char.encode(WORDS, "utf-8")[LABELS])),
    "npz, by name": ("npz", lambda root: {**arrays(root, a=IMAGES, b=LABELS, c=IMAGES // 2), "keys": ["a", "b"]}),
    "npz, by name and split": ("npz", lambda root: {**arrays(root, a=IMAGES, b=LABELS, c=TEST_IMAGES, d=TEST_LABELS), "keys": {"train": ["a", "b"], "test": ["c", "d"]}}),
    "npz, halves": ("npz", halves),
    "npz, unpacked halves": ("npz", halves_unpacked),
    "npz, a file per split": ("npz", file_per_split),
    "csv, packed": ("csv", lambda root: tables(root, ".csv.gz")),
    "csv, names": ("csv", lambda root: tables(root, labels=lambda labels: WORDS[labels], row='"{label}",{pixels}')),
    "csv, names without quotes": ("csv", lambda root: tables(root, labels=lambda labels: [f" n#{label} " for label in labels])),
    "csv, label last": ("csv", lambda root: tables(root, head="{},class", row="{pixels},{label}")),
    "csv, label in the middle": ("csv", lambda root: tables(root, head="id,pixel36,label,{}", row="x,7,{label},{pixels}", images=lambda images: images[:, :5].reshape(-1, 30)[:, :24])),
    "csv, without names": ("csv", lambda root: tables(root, head="", change=lambda content: b"\xef\xbb\xbf" + content)),
    "csv, semicolons and carriage returns": ("csv", lambda root: tables(root, change=lambda content: content.replace(b",", b";").replace(b"\n", b"\r\n"))),
    "csv, in quotes": ("csv", lambda root: tables(root, change=lambda content: b'"' + content.strip().replace(b",", b'","').replace(b"\n", b'"\n"') + b'"\n')),
    "csv, high labels": ("csv", lambda root: {**tables(root, labels=lambda labels: labels * 100), "remap_labels": True}),
    "csv, labels with a point": ("csv", lambda root: tables(root, labels=lambda labels: [f"{label}.0" for label in labels])),
    "csv, fractions": ("csv", lambda root: {**tables(root, images=lambda images: images / 255), "pixel_max": 1}),
    "csv, 12 bits": ("csv", lambda root: {**tables(root, images=lambda images: images.astype(int) * 16), "pixel_max": 4095}),
    "mat, last axis": ("mat", matlab_per_split),
    "mat, a row of labels": ("mat", lambda root: {**matlab(root, images=IMAGES.astype(float), labels=LABELS[np.newaxis]), "test": 0.2}),
    "mat, one-hot": ("mat", lambda root: matlab(root, images=np.moveaxis(IMAGES, 0, -1), labels=np.eye(4)[LABELS])),
    "mat, channels first": ("mat", lambda root: matlab(root, images=some(40, 3, 6, 5), labels=LABELS[:, np.newaxis])),
    "parquet, shards": ("parquet", shards),
    "parquet, names in folders of splits": ("parquet", converted_shards),
    "parquet, one file": ("parquet", one_file),
    "digits, changed": ("digits", lambda root: {**CHANGED, "test": 0.2, "pixel_max": 150.5}),
    "digits, turned": ("digits", lambda root: {"transpose": True, "invert": True, "pixel_max": 150, "test": 0.2, "remap_labels": True}),
    "digits, cropped": ("digits", lambda root: {"image_size": [5, 12], "fit": "crop", "test": 0.2}),
}  # fmt: skip


def case(name: str, root: Path) -> Experiment:
    """Returns the experiment of a case, its data made below a folder."""
    return made(*CASES[name], root)


def made(source: str, make: Callable[[Path], dict[str, Any]], root: Path) -> Experiment:
    fields = make(root / "set")
    path = {} if source == "digits" else {"path": str(root / "set")}
    size = {"image_size": [6, 6]} if source == "folder" else {}
    return tiny(f"data={json.dumps({'source': source, **path, **size, **fields})}")


def whole(batches: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def assert_reads_the_same(experiment: Experiment) -> None:
    """Asserts that a script has the images and labels of cnnctl in each split."""
    data, _, rest = text_of(experiment).partition("# ---- Network")
    test = rest.partition("# ---- Test")[2].partition("\n")[2].partition("test_loss")[0]
    names: dict[str, Any] = {}
    exec(data + test, names)
    splits = read_splits(experiment.data)
    np.testing.assert_array_equal(names["train_images"], splits.train.images[:])
    np.testing.assert_array_equal(names["train_labels"], splits.train.labels)
    assert (names["train_images"].dtype, names["train_labels"].dtype) == (np.uint8, np.int64)
    for role, expected in {"test": splits.read_test(), "validation": splits.validation}.items():
        if expected is None:
            assert role == "validation" and "validation_batches" not in names
            continue
        images, labels = whole(names[f"{role}_batches"])
        np.testing.assert_array_equal(images, expected.images[:].astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(labels, expected.labels)
        assert labels.dtype == np.int64


@pytest.mark.parametrize("name", CASES)
def test_the_script_reads_what_cnnctl_reads(name: str, tmp_path: Path) -> None:
    assert_reads_the_same(case(name, tmp_path))


def test_the_script_turns_images_of_tfds_as_cnnctl_does() -> None:
    if not is_prepared("mnist"):
        pytest.skip("MNIST is not prepared here; set TFDS_DATA_DIR")
    data = "{source: tfds, name: mnist, train: 'train[:1%]', test: 'test[:1%]', transpose: true, invert: true, pixel_max: 200}"
    for more in ((), ("data.image_size=[14, 20]", "data.fit=crop")):
        assert_reads_the_same(tiny(f"data={data}", *more))


@pytest.mark.parametrize("name", ["csv, names", "labels, beside splits"])
def test_a_script_with_named_classes_trains_to_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same_bits(case(name, tmp_path), tmp_path, monkeypatch)


# what a short script cannot say


def circle(root: Path) -> dict[str, Any]:
    linked(root)
    (root / "train" / "a" / "up").symlink_to(root / "train")
    return {"follow_links": True}


def kept_in_one_split(root: Path) -> dict[str, Any]:
    png_files(root, {"train/a": 4, "train/b": 4, "test/x": 4})
    write(root / "labels.csv", b"file,label\ntrain/a/0.png,b\ntest/x/0.png,a\n")
    return {"labels_file": "labels.csv"}


def named_in_two_ways(root: Path) -> dict[str, Any]:
    png_files(root, {"": 4, "deep": 2})
    write(root / "labels.csv", b"file,label\n0.png,x\n1.png,y\n2,x\n3,y\n")  # 0.png is not deep/0.png
    return {"labels_file": "labels.csv", "validation": None, "test": 0.5}


def tables_of_two_kinds(root: Path) -> dict[str, Any]:
    write(root / "train.csv", table(IMAGES, LABELS))
    write(root / "test.csv", table(TEST_IMAGES, TEST_LABELS, head=""))
    return {}


def packed_by_another_name(root: Path) -> dict[str, Any]:
    content = gzip.compress(table(IMAGES, LABELS))
    write(root / "train.csv", content)
    return {"path": str(root / "train.csv")}


def two_kinds_of_halves(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True)
    np.savez(root / "train-images.npz", IMAGES)
    np.save(root / "train-labels.npy", LABELS)
    return {}


def shards_between_others(root: Path) -> dict[str, Any]:
    for name in ("train-0", "train-1", "train-x-0"):
        parquet(root / f"{name}.parquet", structs(IMAGES), LABELS)
    return {"train": "train"}


REFUSED: dict[str, tuple[str, Callable[[Path], dict[str, Any]], str]] = {
    "a circle of links": ("folder", circle, r"train/a/up is a link to a parent folder, .* without end; remove it"),
    "folders name classes in one split alone": (
        "folder",
        kept_in_one_split,
        r"images not in labels\.csv have the class of their folder in some splits and no class in 'test', .*; add all images",
    ),
    "names that mean one image of several": (
        "folder",
        named_in_two_ways,
        r"labels\.csv names its images in several ways, .*; write the path of each image below data\.path",
    ),
    "splits stored in two ways": (
        "npz",
        lambda root: arrays(root, **pairs(other=some(12, 3, 6, 6))),
        r"'train' has 6×6×1 .* and 'test' has 6×6×3 \(channels before rows.*; store them alike, or hold fractions of 'train' out",
    ),
    "tables laid out in two ways": (
        "csv",
        tables_of_two_kinds,
        r"'train' has 37 columns with a header, labels in column 1, .* and 'test' has 37 columns without a header",
    ),
    "a table packed by another name": (
        "csv",
        packed_by_another_name,
        r"train\.csv: the script reads it by NumPy, which decompresses only files that end with \.gz",
    ),
    "halves of two kinds": ("npz", two_kinds_of_halves, r"train-images\.npz and .*train-labels\.npy have different formats"),
    "files between others": (
        "parquet",
        shards_between_others,
        r"no file pattern matches only train-0\.parquet to train-1\.parquet",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_short_script_cannot_read_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    source, make, message = REFUSED[name]
    experiment = made(source, make, tmp_path)
    assert len(read_splits(experiment.data).train), "cnnctl reads it"
    with pytest.raises(UsageError, match=message):
        text_of(experiment)


def test_the_script_tests_and_saves_what_cnnctl_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    train(tmp_path / "tiny.yaml", ["log.tensorboard=false"], tmp_path / "run", None, "cpu", Console(quiet=True), verbose=True)
    result = open_run_folder(tmp_path / "run").read_result()
    names = ran(text_of(tiny()), tmp_path, monkeypatch)
    assert result is not None
    assert names["test_accuracy"] == result["test_accuracy"]
    assert names["test_loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    saved = keras.models.load_model(tmp_path / "x.keras")
    for mine, other in zip(
        saved.get_weights(), keras.models.load_model(tmp_path / "run" / "model.keras").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


# the command


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    config = ROOT / "configs" / "quickstart.yaml"
    code(config, ["train.epochs=3", "data.validation=0.2"], None, Console())
    text, messages = capsys.readouterr()
    assert messages == ""
    assert "EPOCHS = 3\n" in text
    assert 'model.save("quickstart.keras")' in text
    assert re.sub(r"\s+", " ", text).count(f"cnnctl code {config} --set train.epochs=3 --set data.validation=0.2") == 1


def test_in_16_bits_the_docstring_promises_equal_initial_weights_and_batches_alone() -> None:
    assert "rounding and dropout masks differ" in " ".join(text_of(tiny("train.precision=mixed_bfloat16")).split())
    assert "bit-identical weights" in " ".join(text_of(tiny()).split())


def test_a_command_cannot_end_the_docstring() -> None:
    text = script(tiny(), 'cnnctl code $a"""\nimport this\\', "x.keras")
    docstring, first, *_ = ast.parse(text).body
    assert isinstance(docstring, ast.Expr) and "code $a" in ast.unparse(docstring) and "import this" in ast.unparse(docstring)
    assert ast.unparse(first) == "import itertools"


def test_the_command_writes_a_new_file_and_writes_nothing_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    output = tmp_path / "my script.py"
    code(tmp_path / "tiny.yaml", [], output, Console())
    assert capsys.readouterr().out == f"{output} is ready. Run it: python '{output}'\n"
    assert output.read_text().startswith('"""Trains a CNN on the digits of scikit-learn')
    output.write_text("mine")
    with pytest.raises(
        UsageError, match=r"my script\.py already exists; not overwriting\. Choose another name: --output '.*my script-2\.py'"
    ):
        code(tmp_path / "tiny.yaml", [], output, Console())
    assert output.read_text() == "mine"


def test_a_folder_and_a_file_in_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    with pytest.raises(UsageError, match=r"is a folder; choose a file in it"):
        code(tmp_path / "tiny.yaml", [], tmp_path, Console())
    with pytest.raises(UsageError, match=r"there is no folder .*none; create it: mkdir -p .*none"):
        code(tmp_path / "tiny.yaml", [], tmp_path / "none" / "x.py", Console())


def test_a_wrong_config_gets_its_message(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    with pytest.raises(ConfigError, match=r"train: unknown field 'epoch'; did you mean 'epochs'"):
        code(tmp_path / "tiny.yaml", ["train.epoch=3"], None, Console())


def test_printing_needs_no_tensorflow() -> None:
    heavy = ("tensorflow", "keras", "numpy", "sklearn", "PIL", "tensorflow_datasets", "matplotlib")
    lines = [
        "import sys",
        "from pathlib import Path",
        "from cnnctl.commands.code import code",
        "from cnnctl.report.console import Console",
        f"code(Path({str(ROOT / 'configs' / 'mnist.yaml')!r}), [], None, Console())",
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "[]"


# the pieces


def test_values_are_written_as_python_reads_them() -> None:
    for value in ('a"b\\c\n', "é😀", 1e-30, None, True, (1, None), (3,), 0.1):
        assert eval(literal(value)) == value
    assert pair((3, 3)) == "3"
    assert pair((3, 5)) == "(3, 5)"
    assert pair(((2, 2), (2, 2))) == "2"
    assert pair(((1, 1), (2, 2))) == "(1, 2)"
    assert pair(((1, 0), (2, 1))) == "((1, 0), (2, 1))"


@pytest.mark.parametrize("head", ["x = ", f"{'long_' * 12}name = ", f"        self.{'long_' * 11}name = "])
def test_a_long_call_is_laid_out_without_a_change(head: str) -> None:
    part = Call("VarianceScaling", ("scale=2.0", 'mode="fan_out"', 'distribution="untruncated_normal"', "seed=1234567890"))
    call = Call(
        "layers.Conv2D", ("64", "(3, 5)", 'padding="same"', "use_bias=False", 'name="a_long_name"'), (("first", part),) * 2
    )
    lines = hung(head, call, "(x)", 60)
    assert max(map(len, lines)) <= WIDTH
    assert ast.dump(ast.parse("\n".join(lines).strip().replace("first", "a", 1))) == ast.dump(
        ast.parse(f"{head.strip()} {call}(x)".replace("first", "a", 1))
    )


def test_a_template_keeps_the_lines_that_are_needed() -> None:
    template = "\none\ntwo  #? a\nthree  #? !a\nfour $value  #? a !b\n"
    assert written(template, {"a": True, "b": False}, value=4) == "one\ntwo\nfour 4"
    assert written(template, {"a": False, "b": False}, value=4) == "one\nthree"
    with pytest.raises(KeyError, match="unknown"):
        written("x  #? unknown", {})
