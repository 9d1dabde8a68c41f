"""The vocabulary against Keras: names, fields, defaults, and what each field becomes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import keras
import numpy as np
import pytest

from cnnctl.model.keras_layers import KERAS_LAYERS, KERAS_PARTS, keras_layers
from cnnctl.model.keras_optimizers import KERAS_OPTIMIZERS, OneCycle, build_loss, build_optimizer, build_schedule
from cnnctl.model.schedule_free import ScheduleFreeAdamW
from cnnctl.spec import layers as L
from cnnctl.spec import optimizers as O
from cnnctl.spec import training as T
from cnnctl.spec import weights as W
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.head import Loss
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import LayerContext
from cnnctl.spec.stack import nodes_of

schedules = keras.optimizers.schedules
KERAS_SCHEDULES: dict[type[Section], type] = {
    O.Exponential: schedules.ExponentialDecay,
    O.Cosine: schedules.CosineDecay,
    O.Piecewise: schedules.PiecewiseConstantDecay,
}
KERAS_LOSSES: dict[type[Section], type] = {
    T.SparseCategoricalCrossentropy: keras.losses.SparseCategoricalCrossentropy,
    T.CategoricalCrossentropy: keras.losses.CategoricalCrossentropy,
}
_TABLES: tuple[Mapping[Any, type], ...] = (KERAS_LAYERS, KERAS_PARTS, KERAS_OPTIMIZERS, KERAS_SCHEDULES, KERAS_LOSSES)
PAIRS: dict[type[Section], type] = {ours: theirs for table in _TABLES for ours, theirs in table.items()}

# What Keras takes and a config does not say, with the reason.
NOT_OFFERED = {
    "name": "a config names layers; names of optimizers, schedules and losses reach nobody",
    "lora_rank": "fine-tuning of large models",
    "lora_alpha": "fine-tuning of large models",
    "quantization_config": "a model is quantized when it is exported",
    "input_axes": "for kernels that no layer here has",
    "output_axes": "for kernels that no layer here has",
    "exclude_layers": "muon: patterns over paths of variables, which a config does not know",
    "axis": "losses: the classes are always the last axis",
    "ignore_class": "for segmentation",
    "reduction": "losses are averaged over the images of a batch in both loops",
    "dtype": "losses compute in float32, whatever train.precision",
}
AXIS_OFFERED = (
    L.Normalization,
    L.BatchNormalization,
    L.LayerNormalization,
    L.GroupNormalization,
    L.UnitNormalization,
    L.Concatenate,
    L.Softmax,
    W.MaxNorm,
    W.MinMaxNorm,
    W.UnitNorm,
)
# What a class takes by **kwargs, which its signature does not name.
HIDDEN: dict[type[Section], dict[str, Any]] = {L.LayerNormalization: {"rms_scaling": False}}
# Defaults that differ, each with the reason.
OTHER_DEFAULTS: dict[tuple[type[Section], str], Any] = {
    (L.AveragePooling2D, "pool_size"): (2, 2),  # Keras 3 forgot it; max pooling's
    (L.ZeroPadding2D, "padding"): ((1, 1), (1, 1)),  # Keras's (1, 1) written out
    (T.SparseCategoricalCrossentropy, "from_logits"): None,  # what the last layer gives decides
    (T.CategoricalCrossentropy, "from_logits"): None,
    (O.Exponential, "decay_steps"): O.Span(1, "epochs"),  # Keras has none
    (O.Cosine, "decay_steps"): None,  # the rest of the training; Keras has none
    (O.Cosine, "warmup_steps"): O.Span(0, "steps"),  # Keras's 0
    (O.ScheduleFreeAdamW, "warmup_steps"): O.Span(0, "steps"),
}


def keras_arguments(section: type[Section]) -> dict[str, Any]:
    """Returns the names and defaults of what a Keras class takes, without those that a config does not say."""
    parameters = list(inspect.signature(PAIRS[section]).parameters.values())
    return HIDDEN.get(section, {}) | {
        each.name: each.default
        for each in parameters
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and (each.name not in NOT_OFFERED or (each.name == "axis" and section in AXIS_OFFERED))
    }


def own_fields(section: type[Section]) -> list[str]:
    return [name for name in section.model_fields if name not in ("name", "inputs")]


def ids(section: type[Section]) -> str:
    return section.__name__


def test_every_section_has_its_keras_class() -> None:
    ours = {*L.LAYERS, *W.INITIALIZERS, *W.REGULARIZERS, *W.CONSTRAINTS, *O.OPTIMIZERS, *T.LOSS.choices.values()}
    assert ours | {O.Exponential, O.Cosine, O.Piecewise} == set(PAIRS)
    assert set(O.SCHEDULES) - set(PAIRS) == {O.Constant, O.OneCycle}, "a number, and one that Keras does not have"


@pytest.mark.parametrize("section", PAIRS, ids=ids)
def test_fields_are_the_arguments_of_the_keras_class(section: type[Section]) -> None:
    assert sorted(own_fields(section)) == sorted(keras_arguments(section))


@pytest.mark.parametrize("section", PAIRS, ids=ids)
def test_defaults_are_those_of_the_keras_class(section: type[Section]) -> None:
    for name, default in keras_arguments(section).items():
        field = section.model_fields[name]
        if (section, name) in OTHER_DEFAULTS:
            assert field.default == OTHER_DEFAULTS[section, name], name
        elif default is inspect.Parameter.empty:
            assert field.is_required(), name
        elif isinstance(field.default, Section):
            assert field.default == type(field.default)(), "a bare name is the section with its own defaults"
            assert field.default.kind == default.lower(), name
        else:
            assert field.default == default, name


@pytest.mark.parametrize(
    ("sections", "module"),
    [
        (L.LAYERS, keras.layers),
        (W.INITIALIZERS, keras.initializers),
        (W.REGULARIZERS, keras.regularizers),
        (W.CONSTRAINTS, keras.constraints),
        (O.OPTIMIZERS, keras.optimizers),
        (tuple(T.LOSS.choices.values()), keras.losses),
    ],
    ids=["layers", "initializers", "regularizers", "constraints", "optimizers", "losses"],
)
def test_names_are_the_class_names_of_keras_in_snake_case(sections: tuple[type[Section], ...], module: Any) -> None:
    classes = {name.lower(): getattr(module, name) for name in dir(module) if name[0].isupper()}
    for section in sections:
        assert section.kind == section.kind.lower()
        theirs = classes[section.kind.replace("_", "")]
        own = PAIRS[section] is ScheduleFreeAdamW  # which says what Keras's leaves undone
        assert theirs is (PAIRS[section].__base__ if own else PAIRS[section]), section.kind


@pytest.mark.parametrize("name", L.Activation.__args__)  # type: ignore[attr-defined]
def test_activation_is_one_of_keras(name: str) -> None:
    assert callable(getattr(keras.activations, name))
    assert keras.activations.get(name) is getattr(keras.activations, name)


def test_activations_that_are_not_offered_are_those_that_keras_gets_wrong_or_gives_no_arguments() -> None:
    """Once one of the three reasons is gone, it can be offered: see `_NOT_OFFERED` in spec/habits.py."""
    names = {name for name in dir(keras.activations) if not name.startswith("_")} - {
        "deserialize",
        "serialize",
        "get",
        "hard_swish",
    }
    assert names - set(get_args(L.Activation)) == {"glu", "sparsemax", "threshold"}
    assert float(keras.ops.sum(keras.activations.sparsemax(np.array([[0.5, 1.0]], "float32")))) != pytest.approx(1.0)
    halved = keras.layers.Activation("glu")
    assert halved.compute_output_shape((None, 6)) != halved(np.zeros((1, 6), "float32")).shape
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        keras.activations.threshold(np.zeros((1, 2)))


# --- what each field becomes --------------------------------------------------------------------------------------

WEIGHTS = {
    "kernel_initializer": {"variance_scaling": {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform", "seed": 5}},
    "bias_initializer": {"constant": {"value": 0.5}},
    "kernel_regularizer": {"l1_l2": {"l1": 0.1, "l2": 0.2}},
    "bias_regularizer": {"l1": {"l1": 0.3}},
    "activity_regularizer": {"l2": {"l2": 0.4}},
    "kernel_constraint": {"max_norm": {"max_value": 3.0, "axis": [0, 1, 2]}},
    "bias_constraint": {"min_max_norm": {"min_value": 0.1, "max_value": 0.9, "rate": 0.5}},
}
BY_CHANNEL = {name.replace("kernel", "depthwise"): said for name, said in WEIGHTS.items()}
FORMAT = {"data_format": "channels_first"}
POOLING = {"pool_size": [3, 2], "strides": [1, 2], "padding": "same", **FORMAT}
NORMALIZED = {
    "epsilon": 0.25, "center": False, "scale": False,
    "beta_initializer": "ones", "gamma_initializer": {"random_normal": {"mean": 1.0, "stddev": 2.0, "seed": 1}},
    "beta_regularizer": "l1", "gamma_regularizer": "l2", "beta_constraint": "unit_norm", "gamma_constraint": "non_neg",
}  # fmt: skip
# Each field of each layer, said otherwise than its default.
SAID: dict[str, dict[str, Any]] = {
    "conv2d": {
        "filters": 6, "kernel_size": [3, 5], "strides": [2, 1], "padding": "same", **FORMAT, "dilation_rate": [1, 1],
        "groups": 2, "activation": "gelu", "use_bias": True, **WEIGHTS,
    },
    "depthwise_conv2d": {
        "kernel_size": [3, 5], "strides": [2, 2], "padding": "same", "depth_multiplier": 2, **FORMAT, "dilation_rate": [1, 2],
        "activation": "gelu", "use_bias": True, **BY_CHANNEL,
    },
    "separable_conv2d": {
        "filters": 6, "kernel_size": [3, 5], "strides": [2, 1], "padding": "same", **FORMAT, "dilation_rate": [1, 2],
        "depth_multiplier": 2, "activation": "gelu", "use_bias": True, **BY_CHANNEL,
        "pointwise_initializer": {"constant": {"value": 0.25}}, "pointwise_regularizer": "l2",
        "pointwise_constraint": {"unit_norm": {"axis": [2]}},
    },
    "conv2d_transpose": {
        "filters": 6, "kernel_size": [3, 5], "strides": [2, 3], "padding": "same", "output_padding": [1, 2], **FORMAT,
        "dilation_rate": [1, 1], "activation": "gelu", "use_bias": True, **WEIGHTS,
    },
    "zero_padding2d": {"padding": [[1, 2], [3, 4]], **FORMAT},
    "cropping2d": {"cropping": [[1, 2], [3, 4]], **FORMAT},
    "up_sampling2d": {"size": [2, 3], "interpolation": "bicubic", **FORMAT},
    "rescaling": {"scale": 0.5, "offset": [1.0, 2.0, -1.0]},
    "reshape": {"target_shape": [-1, 3, 2]},
    "permute": {"dims": [3, 1, 2]},
    "max_pooling2d": POOLING,
    "average_pooling2d": POOLING,
    "global_average_pooling2d": {"keepdims": True, **FORMAT},
    "global_max_pooling2d": {"keepdims": True, **FORMAT},
    "flatten": FORMAT,
    "dense": {
        "units": 3, "activation": "tanh", "use_bias": True, **WEIGHTS,
        "kernel_constraint": {"max_norm": {"max_value": 3.0, "axis": [0, 1]}},
    },
    "batch_normalization": {
        "axis": 1, "momentum": 0.5, "epsilon": 0.25, "center": False, "scale": False,
        "beta_initializer": "ones", "gamma_initializer": "zeros",
        "moving_mean_initializer": {"random_normal": {"mean": 1.0, "stddev": 2.0, "seed": 1}},
        "moving_variance_initializer": {"random_uniform": {"minval": 1.0, "maxval": 2.0, "seed": 2}},
        "beta_regularizer": "l1", "gamma_regularizer": "l2", "beta_constraint": "unit_norm", "gamma_constraint": "non_neg",
        "renorm": True, "renorm_clipping": {"rmin": 0.5, "rmax": 2.0, "dmax": 3.0}, "renorm_momentum": 0.75, "synchronized": True,
    },
    "layer_normalization": {**NORMALIZED, "axis": [1, 2], "rms_scaling": True},
    "group_normalization": {**NORMALIZED, "axis": 1, "groups": 2},
    "unit_normalization": {"axis": [1, 2]},
    "normalization": {"axis": [1, 3], "mean": [[1.0, 2.0]], "variance": [[3.0, 4.0]], "invert": True},
    "dropout": {"rate": 0.25, "noise_shape": [None, 1, 1, 2], "seed": 9},
    "activation": {"activation": "selu"},
    "spatial_dropout2d": {"rate": 0.25, "seed": 9, **FORMAT},
    "gaussian_noise": {"stddev": 0.25, "seed": 9},
    "gaussian_dropout": {"rate": 0.25, "seed": 9},
    "alpha_dropout": {"rate": 0.25, "noise_shape": [None, 1, 1, 2], "seed": 9},
    "relu": {"max_value": 3.0, "negative_slope": 0.25, "threshold": 0.5},
    "leaky_relu": {"negative_slope": 0.125},
    "prelu": {
        "alpha_initializer": {"constant": {"value": 0.5}}, "alpha_regularizer": "l2", "alpha_constraint": "non_neg",
        "shared_axes": [1, 2],
    },
    "elu": {"alpha": 0.5},
    "softmax": {"axis": [1, 2]},
    "add": {},
    "subtract": {},
    "multiply": {},
    "average": {},
    "maximum": {},
    "minimum": {},
    "concatenate": {"axis": 2},
}  # fmt: skip


def built(kind: str, fields: dict[str, Any], data_format: str = "channels_last") -> keras.Layer:
    """Returns the Keras layer that cnnctl makes of one layer of a config."""
    inputs = {"inputs": ["input", "input"]} if issubclass(L.STACK_ITEM.choices[kind], L.Join) else {}
    plain = {"style": "functional", "data_format": data_format, "layers": [{kind: {**fields, **inputs}}]}
    model = ModelSpec.model_validate(plain)
    nodes, complaints = nodes_of(model)
    assert complaints == []
    (layer,) = keras_layers(nodes, 0, LayerContext(10, model.data_format), "float32").values()
    return layer


def as_config(value: Any) -> Any:
    """Returns what a Keras config says, as a cnnctl config would say it."""
    if isinstance(value, dict) and "class_name" in value:
        (section,) = (ours for ours, theirs in KERAS_PARTS.items() if theirs.__name__ == value["class_name"])
        return {
            section.kind: {
                key: as_config(each) for key, each in value["config"].items() if key not in NOT_OFFERED or key == "axis"
            }
        }
    if isinstance(value, tuple):
        return [as_config(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value  # some are float32 in Keras


def plain_choice(section: Section) -> dict[str, Any]:
    return {section.kind: section.model_dump(mode="json")}


def with_defaults(value: Any) -> Any:
    """Returns a part of a config with all its fields said."""
    if isinstance(value, dict | str):
        for named in (W.INITIALIZER, W.REGULARIZER, W.CONSTRAINT):
            kind = value if isinstance(value, str) else next(iter(value))
            if kind in named.choices:
                return plain_choice(named.read(value))
    return value


@pytest.mark.parametrize("section", L.LAYERS, ids=ids)
def test_every_field_of_a_layer_reaches_keras(section: type[L.Layer]) -> None:
    said = SAID[section.kind]
    assert sorted(said) == sorted(own_fields(section)), "the table says every field"
    config = built(section.kind, said).get_config()
    for name, value in said.items():
        assert as_config(config[name]) == with_defaults(value), name


def test_strides_of_null_are_the_pool_size() -> None:
    assert built("max_pooling2d", {"pool_size": [3, 2]}).get_config()["strides"] == (3, 2)


def test_dilation_reaches_keras() -> None:
    assert built("conv2d", {"filters": 2, "kernel_size": 3, "dilation_rate": [2, 4]}).get_config()["dilation_rate"] == (2, 4)


@pytest.mark.parametrize("kind", [kind for kind, said in SAID.items() if "data_format" in said])
def test_a_layer_takes_the_models_data_format_unless_it_says_its_own(kind: str) -> None:
    required = {name: SAID[kind][name] for name in L.STACK_ITEM.choices[kind].required()}
    assert built(kind, required, "channels_first").data_format == "channels_first"
    assert built(kind, required).data_format == "channels_last"
    assert built(kind, {**required, "data_format": "channels_last"}, "channels_first").data_format == "channels_last"


def test_classes_become_the_number_of_classes() -> None:
    assert built("dense", {"units": "classes"}).units == 10


@pytest.mark.parametrize("section", [each for each in W.INITIALIZERS if each is not W.STFT], ids=ids)
def test_an_initializer_with_a_seed_draws_what_keras_draws(section: type[Section]) -> None:
    seed = {"seed": 11} if issubclass(section, W.Seeded) else {}
    layer = built("dense", {"units": 5, "kernel_initializer": {section.kind: seed}})
    layer.build((None, 4))
    assert np.array_equal(layer.kernel, PAIRS[section](**seed)((4, 5)))


@pytest.mark.parametrize("window", [None, *get_args(W.WindowFunction)])
def test_the_waves_of_stft_are_those_of_keras(window: str | None) -> None:
    fields = {"side": "imag", "window": window, "scaling": "spectrum", "periodic": True}
    layer = built("prelu", {"alpha_initializer": {"stft": fields}, "shared_axes": [2]})
    layer.build((None, 6, 3, 4))
    assert np.array_equal(layer.alpha, keras.initializers.STFT(**fields)((6, 1, 4)))


def test_identity_and_the_orthogonal_regularizer_have_the_fields_said() -> None:
    regularizer = {"orthogonal_regularizer": {"factor": 0.5, "mode": "columns"}}
    layer = built("dense", {"units": 3, "kernel_initializer": {"identity": {"gain": 2.0}}, "kernel_regularizer": regularizer})
    layer.build((None, 4))
    assert np.array_equal(layer.kernel, 2 * np.eye(4, 3))
    kernel = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    layer.kernel.assign(kernel)
    lengths = np.linalg.norm(kernel, axis=0)
    cosines = (kernel.T @ kernel / np.outer(lengths, lengths))[np.triu_indices(3, 1)]
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.5 * np.abs(cosines).mean(), rel=1e-5)


# --- optimizers ---------------------------------------------------------------------------------------------------


def optimizer(kind: str, precision: str = "float32", **fields: Any) -> keras.Optimizer:
    spec = O.OPTIMIZER.read({kind: fields})
    assert isinstance(spec, O.Optimizer)
    return build_optimizer(spec, 10, 2, precision)


def other_than(value: Any) -> Any:
    """Returns a value of the same kind that is not the default."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float() if value > 0:
            return value / 2
        case float() if value < 0:
            return value * 2
        case O.Span():
            return 5
    return 0.125


def each_field() -> Iterator[tuple[str, str, Any]]:
    for section in O.OPTIMIZERS:
        for name, field in section.model_fields.items():
            value = 3 if name in ("ema_overwrite_frequency", "gradient_accumulation_steps") else other_than(field.default)
            yield section.kind, name, value


@pytest.mark.parametrize(("kind", "name", "value"), list(each_field()))
def test_every_field_of_an_optimizer_reaches_keras(kind: str, name: str, value: Any) -> None:
    made = optimizer(kind, **{name: value})
    assert type(made) is KERAS_OPTIMIZERS[type(O.OPTIMIZER.read(kind))]  # type: ignore[index]
    found = made.get_config()[name] if name != "exclude_embeddings" else made.exclude_embeddings
    assert found == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("kind", O.OPTIMIZER.choices)
def test_every_optimizer_takes_a_step_downhill(kind: str, precision: str) -> None:
    made = optimizer(kind, precision)
    assert isinstance(made, keras.optimizers.LossScaleOptimizer) == (precision == "mixed_float16")
    weights = keras.Variable(np.array([[1.0, -2.0], [0.5, 3.0]], "float32"))
    made.build([weights])
    scale = 1.0 if precision == "float32" else float(made.dynamic_scale)
    before = weights.numpy()
    made.apply([scale * 2 * weights.value])  # of the loss sum(w²)
    assert np.sum(np.square(weights.numpy())) < np.sum(np.square(before))


# --- schedules ----------------------------------------------------------------------------------------------------


def schedule(kind: str, steps_per_epoch: int = 50, epochs: int = 4, **fields: Any) -> Any:
    return build_schedule(O.SCHEDULE.read({kind: fields}), steps_per_epoch, epochs)


def rates(of: Any, steps: list[int]) -> list[float]:
    return [float(of(step)) for step in steps]


@pytest.mark.parametrize(
    ("said", "steps"),
    [(200, 200), ("2 epochs", 100), ("1 epoch", 50), ("0.5 epochs", 25), ("0.25 epochs", 12), (0, 0)],
)
def test_a_span_becomes_steps(said: Any, steps: int) -> None:
    spec = O.OneCycle.model_validate({"max_learning_rate": 0.1, "total_steps": said})
    assert spec.total_steps is not None
    assert spec.total_steps.steps(50) == steps


def test_a_constant_is_its_number() -> None:
    assert schedule("constant", learning_rate=0.25) == 0.25
    assert build_schedule(0.125, 50, 4) == 0.125


def test_exponential_decays_once_an_epoch_unless_told() -> None:
    found = schedule("exponential", initial_learning_rate=0.8, decay_rate=0.5)
    assert rates(found, [0, 25, 50, 100]) == pytest.approx([0.8, 0.8 * 0.5**0.5, 0.4, 0.2])
    found = schedule("exponential", initial_learning_rate=0.8, decay_rate=0.5, decay_steps="2 epochs", staircase=True)
    assert rates(found, [0, 99, 100, 199, 200]) == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2])


def test_cosine_without_warm_up_reaches_its_end_with_the_training() -> None:
    found = schedule("cosine", initial_learning_rate=0.1, alpha=0.1)
    assert rates(found, [0, 100, 200, 300]) == pytest.approx([0.1, 0.055, 0.01, 0.01])


def test_cosine_warm_up_reaches_its_target_and_then_decays_to_the_end() -> None:
    found = schedule("cosine", initial_learning_rate=0.0, warmup_target=0.01, warmup_steps="1 epochs")
    assert rates(found, [0, 25, 50, 125, 200]) == pytest.approx([0, 0.005, 0.01, 0.005, 0], abs=1e-8)


def test_piecewise_changes_after_its_boundaries() -> None:
    found = schedule("piecewise", boundaries=["1 epochs", 120], values=[0.3, 0.2, 0.1])
    assert rates(found, [0, 50, 51, 120, 121, 500]) == pytest.approx([0.3, 0.3, 0.2, 0.2, 0.1, 0.1])


def pytorch_one_cycle(step: int, peak: float, total: int, pct_start: float, div: float, final_div: float) -> float:
    """Returns the rate of `torch.optim.lr_scheduler.OneCycleLR` with two phases and cosine annealing."""
    initial = peak / div
    phases = [(pct_start * total - 1, initial, peak), (total - 1.0, peak, initial / final_div)]
    start_step = 0.0
    for number, (end_step, start, end) in enumerate(phases):
        if step <= end_step or number == 1:
            share = (step - start_step) / (end_step - start_step)
            return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
        start_step = end_step
    raise AssertionError


@pytest.mark.parametrize(
    ("total", "pct_start", "div", "final_div"),
    [(200, 0.3, 25.0, 1e4), (37, 0.3, 25.0, 1e4), (500, 0.1, 10.0, 100.0), (64, 0.75, 2.0, 1.0), (9, 0.5, 25.0, 1e4)],
)
def test_one_cycle_is_pytorchs(total: int, pct_start: float, div: float, final_div: float) -> None:
    found = schedule(
        "one_cycle", max_learning_rate=0.4, total_steps=total, pct_start=pct_start, div_factor=div, final_div_factor=final_div
    )
    expected = [pytorch_one_cycle(step, 0.4, total, pct_start, div, final_div) for step in range(total)]
    assert rates(found, list(range(total))) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert rates(found, [total, total + 100]) == pytest.approx([expected[-1]] * 2, rel=1e-4, abs=1e-8), "and stays there"


def test_one_cycle_lasts_as_long_as_the_training_unless_told() -> None:
    assert schedule("one_cycle", max_learning_rate=0.4).total_steps == 200
    assert schedule("one_cycle", max_learning_rate=0.4, total_steps="3 epochs").total_steps == 150


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_one_cycle_of_a_few_steps_stays_between_its_bounds(total: int) -> None:
    found = rates(schedule("one_cycle", max_learning_rate=0.4, total_steps=total), list(range(total + 2)))
    assert all(0 < rate <= 0.4 * (1 + 1e-6) for rate in found)


def test_one_cycle_is_saved_and_read_back_by_keras() -> None:
    first = OneCycle(0.4, 200, 0.3, 25.0, 1e4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(first))
    assert type(again) is OneCycle
    assert again.get_config() == first.get_config()


@pytest.mark.parametrize("kind", ["exponential", "cosine", "piecewise", "one_cycle"])
def test_an_optimizer_follows_its_schedule(kind: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "exponential": {"initial_learning_rate": 0.1, "decay_rate": 0.5},
        "cosine": {"initial_learning_rate": 0.1},
        "piecewise": {"boundaries": [1], "values": [0.1, 0.05]},
        "one_cycle": {"max_learning_rate": 0.1},
    }
    made = optimizer("sgd", learning_rate={kind: fields[kind]})
    weights = keras.Variable(np.zeros(1, "float32"))
    made.build([weights])
    followed = []
    for _ in range(4):
        before = float(weights[0])
        made.apply([np.ones(1, "float32")])
        followed.append(before - float(weights[0]))
    assert followed == pytest.approx(rates(schedule(kind, 10, 2, **fields[kind]), [0, 1, 2, 3]), rel=1e-5)


# --- losses -------------------------------------------------------------------------------------------------------

LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], "float32")
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize(("one_hot", "smoothing"), [(False, 0.0), (True, 0.0), (True, 0.3)])
def test_loss_is_the_mean_cross_entropy_of_the_batch(from_logits: bool, one_hot: bool, smoothing: float) -> None:
    classes = np.array([0, 1])
    spread = np.eye(3)[classes] * (1 - smoothing) + smoothing / 3
    name = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    loss = build_loss(Loss(name, from_logits, smoothing, ""))
    found = loss(np.eye(3)[classes] if one_hot else classes, LOGITS if from_logits else SOFTMAX)
    assert float(found) == pytest.approx(float(-(spread * np.log(SOFTMAX)).sum(axis=1).mean()), rel=1e-5)
