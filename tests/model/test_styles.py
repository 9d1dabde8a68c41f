"""One stack, three builds: each real Keras of its kind, all with the same weights and outputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.models.functional import Functional

from cnnctl.model import StackModel, build_model
from cnnctl.spec.document import Document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check

ROOT = Path(__file__).parents[2]
STYLES = ["sequential", "functional", "subclass"]
BRANCHING_STYLES = ["functional", "subclass"]
CHAIN: list[Any] = [
    {"zero_padding2d": {"padding": [[0, 1], [2, 0]]}},
    {"conv2d": {"filters": 4, "kernel_size": 3, "kernel_initializer": "he_normal", "kernel_regularizer": "l2"}},
    "batch_normalization",
    {"activation": {"activation": "relu"}},
    {"repeat": {"times": 2, "layers": [{"conv2d": {"filters": 4, "kernel_size": 3, "padding": "same", "activation": "tanh"}}]}},
    "average_pooling2d",
    "flatten",
    {"dropout": {"rate": 0.5}},
    {"dense": {"units": "classes", "activation": "softmax"}},
]
BRANCHES: list[Any] = [
    {"conv2d": {"name": "stem", "filters": 4, "kernel_size": 3, "padding": "same"}},
    {"conv2d": {"filters": 4, "kernel_size": 3, "padding": "same"}},
    {"batch_normalization": {"name": "change"}},
    {"add": {"name": "sum", "inputs": ["stem", "change"]}},
    {"conv2d": {"name": "wide", "inputs": ["input"], "filters": 2, "kernel_size": 5, "padding": "same"}},
    {"concatenate": {"inputs": ["sum", "wide", "sum"]}},
    {"dropout": {"rate": 0.25}},
    "global_max_pooling2d",
    {"dense": {"units": "classes"}},
]


def experiment(style: str, layers: Sequence[Any] = CHAIN, seed: int = 0, **train: Any) -> Experiment:
    plain = {
        "seed": seed,
        "data": {"source": "digits"},
        "model": {"style": style, "layers": list(layers)},
        "train": train,
    }
    return check(Document("x.yaml", plain))


def model(style: str, layers: Sequence[Any] = CHAIN, seed: int = 0, **train: Any) -> keras.Model:
    return build_model(experiment(style, layers, seed, **train))


def images(count: int = 5) -> Any:
    return np.random.default_rng(0).random((count, 8, 8, 1), "float32")


def same_to_the_bit(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# --- real Keras of its kind ---------------------------------------------------------------------------------------


def test_sequential_is_a_keras_sequential_of_the_stack() -> None:
    built = model("sequential")
    assert type(built) is keras.Sequential
    assert built.input_shape == (None, 8, 8, 1)
    assert built.built


def test_functional_is_a_functional_keras_model() -> None:
    built = model("functional")
    assert type(built) is Functional
    assert built.input_shape == (None, 8, 8, 1)
    assert built.output_shape == (None, 10)


def test_subclass_is_a_keras_model_with_a_call_of_its_own() -> None:
    built = model("subclass")
    assert type(built) is StackModel
    assert isinstance(built, keras.Model)
    assert not isinstance(built, Functional)
    assert "call" in vars(StackModel)
    assert built.built


@pytest.mark.parametrize("style", STYLES)
def test_layers_are_keras_layers_named_as_in_the_stack(style: str) -> None:
    layers = [layer for layer in model(style).layers if not isinstance(layer, keras.layers.InputLayer)]
    assert [(layer.name, type(layer)) for layer in layers] == [
        ("zero_padding2d", keras.layers.ZeroPadding2D),
        ("conv2d", keras.layers.Conv2D),
        ("batch_normalization", keras.layers.BatchNormalization),
        ("activation", keras.layers.Activation),
        ("conv2d_1", keras.layers.Conv2D),
        ("conv2d_2", keras.layers.Conv2D),
        ("average_pooling2d", keras.layers.AveragePooling2D),
        ("flatten", keras.layers.Flatten),
        ("dropout", keras.layers.Dropout),
        ("dense", keras.layers.Dense),
    ]


@pytest.mark.parametrize("style", STYLES)
def test_regularization_losses_are_there(style: str) -> None:
    built = model(style)
    kernel = np.asarray(built.get_layer("conv2d").kernel)
    assert float(sum(built.losses)) == pytest.approx(0.01 * float((kernel**2).sum()), rel=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_keras_can_train_it(style: str) -> None:
    built = model(style)
    before = [weight.numpy() for weight in built.trainable_weights]
    built.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    built.fit(images(8), np.arange(8), batch_size=4, epochs=1, verbose=0)
    assert all(not np.array_equal(a, b.numpy()) for a, b in zip(before, built.trainable_weights, strict=True))


# --- the same weights and outputs ---------------------------------------------------------------------------------


def test_one_seed_gives_the_three_styles_the_same_weights_to_the_bit() -> None:
    sequential, functional, subclass = (model(style, seed=7).get_weights() for style in STYLES)
    assert same_to_the_bit(sequential, functional)
    assert same_to_the_bit(sequential, subclass)


@pytest.mark.parametrize("training", [False, True])
def test_one_seed_gives_the_three_styles_the_same_outputs(training: bool) -> None:
    sequential, functional, subclass = (np.asarray(model(style, seed=7)(images(), training=training)) for style in STYLES)
    assert np.array_equal(sequential, functional)
    assert np.array_equal(sequential, subclass)


@pytest.mark.parametrize("style", STYLES)
def test_a_seed_gives_the_same_weights_again_and_another_seed_others(style: str) -> None:
    first, again, other = (model(style, seed=seed) for seed in (3, 3, 4))
    assert same_to_the_bit(first.get_weights(), again.get_weights())
    for name in ("conv2d", "conv2d_1", "conv2d_2", "dense"):
        assert not np.array_equal(first.get_layer(name).kernel, other.get_layer(name).kernel), name


def test_two_layers_of_one_shape_start_differently() -> None:
    built = model("functional")
    assert not np.array_equal(built.get_layer("conv2d_1").kernel, built.get_layer("conv2d_2").kernel)


def test_what_keras_did_before_does_not_change_the_weights() -> None:
    first = model("functional").get_weights()
    keras.utils.set_random_seed(99)
    keras.random.normal((3,))
    assert same_to_the_bit(first, model("functional").get_weights())


def test_an_initializers_own_seed_wins_over_the_experiments() -> None:
    layers = ["flatten", {"dense": {"units": "classes", "kernel_initializer": {"glorot_uniform": {"seed": 1}}}}]
    kernels = [model("sequential", layers, seed).get_layer("dense").kernel for seed in (0, 5)]
    assert np.array_equal(*kernels)


def test_one_seed_gives_a_branching_stack_the_same_weights_and_outputs() -> None:
    functional, subclass = (model(style, BRANCHES, seed=2) for style in BRANCHING_STYLES)
    assert same_to_the_bit(functional.get_weights(), subclass.get_weights())
    for training in (False, True):
        assert np.array_equal(functional(images(), training=training), subclass(images(), training=training))


@pytest.mark.parametrize("style", BRANCHING_STYLES)
def test_a_branching_stack_computes_its_joins(style: str) -> None:
    built = model(style, BRANCHES)
    layer = {each.name: each for each in built.layers}
    stem = layer["stem"](images())
    joined = stem + layer["change"](layer["conv2d"](stem), training=False)
    wide = layer["wide"](images())
    pooled = np.asarray(keras.ops.concatenate([joined, wide, joined], axis=-1)).max(axis=(1, 2))
    assert np.allclose(built(images()), np.asarray(layer["dense"](pooled)), atol=1e-6)


@pytest.mark.parametrize("style", STYLES)
def test_mixed_precision_computes_in_it_and_ends_in_float32(style: str) -> None:
    built = model(style, precision="mixed_bfloat16")
    assert built.get_layer("conv2d").compute_dtype == "bfloat16"
    assert built.get_layer("dense").compute_dtype == "float32"
    assert {weight.dtype for weight in built.trainable_weights} == {"float32"}
    assert built(images()).dtype == "float32"


# --- training and inference ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_dropout_acts_in_training_only(style: str) -> None:
    built = model(style, ["flatten", {"dropout": {"rate": 0.5}}, {"dense": {"units": "classes"}}])
    assert np.array_equal(built(images()), built(images(), training=False))
    first, second = (np.asarray(built(images(), training=True)) for _ in range(2))
    assert not np.array_equal(first, np.asarray(built(images())))
    assert not np.array_equal(first, second), "each call draws anew"


NOISE: list[Any] = [
    {"spatial_dropout2d": {"rate": 0.5}},
    {"gaussian_noise": {"stddev": 0.5}},
    "flatten",
    {"gaussian_dropout": {"rate": 0.5}},
    {"alpha_dropout": {"rate": 0.5}},
    {"dense": {"units": "classes"}},
]


def test_one_seed_gives_the_three_styles_the_same_noise_to_the_bit() -> None:
    built = [model(style, NOISE, seed=3) for style in STYLES]
    for training in (True, False, True):
        first, *others = (np.asarray(each(images(), training=training)) for each in built)
        assert all(np.array_equal(first, other) for other in others)
    assert not np.array_equal(built[0](images(), training=True), built[0](images(), training=True)), "each call draws anew"
    assert np.array_equal(built[0](images()), built[0](images(), training=False))


@pytest.mark.parametrize("style", STYLES)
def test_batch_norm_moves_its_averages_in_training_only(style: str) -> None:
    built = model(style)
    norm = built.get_layer("batch_normalization")
    built(images(), training=False)
    assert not np.asarray(norm.moving_mean).any()
    training = np.asarray(built(images(), training=True))
    assert np.asarray(norm.moving_mean).all()
    assert not np.array_equal(training, np.asarray(built(images(), training=False)))


@pytest.mark.parametrize("style", STYLES)
def test_fit_trains_and_predict_infers(style: str) -> None:
    built = model(style)
    built.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    built.fit(images(4), np.arange(4), verbose=0)
    assert np.asarray(built.get_layer("batch_normalization").moving_mean).all()
    assert np.allclose(built.predict(images(4), verbose=0), built(images(4), training=False), atol=1e-6)


# --- saved and opened ---------------------------------------------------------------------------------------------


def test_the_config_of_a_subclass_model_builds_it_again() -> None:
    first = model("subclass", BRANCHES, seed=6)
    again = StackModel.from_config(first.get_config())
    assert type(again) is StackModel
    assert again.get_config() == first.get_config()
    outputs = again(images())
    assert same_to_the_bit(first.get_weights(), again.get_weights()), "the seeds are part of it"
    assert np.array_equal(outputs, first(images()))


OPENS = """
import sys
import numpy as np

if "alone" in sys.argv:
    class Blocked:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "cnnctl":
                raise ImportError("cnnctl is not installed here")
    sys.meta_path.insert(0, Blocked())
else:
    import cnnctl.model
import keras

folder = sys.argv[1]
for name in sys.argv[2].split(","):
    try:
        model = keras.models.load_model(f"{folder}/{name}.keras")
    except TypeError as error:
        print(name, "Could not locate class 'StackModel'" in str(error))
        continue
    np.save(f"{folder}/{name}.again.npy", model(np.load(f"{folder}/images.npy")))
print("cnnctl" in sys.modules)
"""


def opened(folder: Path, names: Sequence[str], *, alone: bool) -> list[str]:
    """Opens saved models in a fresh process and returns what it prints; outputs go to `folder`."""
    command = [sys.executable, *(["-I"] if alone else []), "-c", OPENS, str(folder), ",".join(names)]
    done = subprocess.run(
        [*command, *(["alone"] if alone else [])], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with trained models of every style and their outputs for some images."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "images.npy", images())
    built = {
        **{style: model(style) for style in STYLES},
        **{f"branching_{style}": model(style, BRANCHES) for style in BRANCHING_STYLES},
    }
    for name, each in built.items():
        each.compile(optimizer="adam", loss="sparse_categorical_crossentropy", run_eagerly=True)  # without tracing
        each.fit(images(8), np.arange(8), epochs=2, verbose=0)
        each.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", each(images()))
    return folder


def test_sequential_and_functional_models_open_with_keras_alone_and_a_subclass_one_does_not(saved: Path) -> None:
    names = ["sequential", "functional", "branching_functional"]
    assert opened(saved, [*names, "subclass"], alone=True) == ["subclass True", "False"]
    for name in names:
        assert np.array_equal(np.load(saved / f"{name}.npy"), np.load(saved / f"{name}.again.npy")), name


def test_subclass_models_open_after_import_cnnctl_build(saved: Path) -> None:
    names = ["subclass", "branching_subclass"]
    assert opened(saved, names, alone=False) == ["True"]
    for name in names:
        assert np.array_equal(np.load(saved / f"{name}.npy"), np.load(saved / f"{name}.again.npy")), name


PARTS: list[Any] = [
    {"conv2d": {"filters": 2, "kernel_size": 1}},
    {"prelu": {"alpha_initializer": {"stft": {"side": "imag", "scaling": None}}, "shared_axes": [2]}},
    "flatten",
    {
        "dense": {
            "units": "classes",
            "kernel_initializer": {"identity": {"gain": 0.5}},
            "kernel_regularizer": {"orthogonal_regularizer": {"factor": 0.3}},
        }
    },
]


@pytest.mark.parametrize("style", STYLES)
def test_identity_keeps_its_gain_and_the_orthogonal_regularizer_takes_float64(style: str) -> None:
    """Keras 3.15 saves identity without its gain, and the regularizer's factor is a float32 tensor."""
    built = build_model(experiment(style, PARTS), precision="float64")
    images = np.ones((1, 8, 8, 1))
    np.testing.assert_array_equal(built.layers[-1].kernel, 0.5 * np.eye(128, 10))
    built.layers[-1].kernel.assign(np.ones((128, 10)))
    (penalty,) = built.losses
    assert float(penalty) == pytest.approx(0.3, rel=1e-6), "all cosines are 1"
    assert np.asarray(built(images)).shape == (1, 10)
