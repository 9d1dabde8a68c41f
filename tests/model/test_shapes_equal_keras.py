"""The arithmetic of `spec.shapes` against Keras itself: random stacks that fit, and random ones that may not.

Stacks are drawn as they stand in a config. The first property builds those that fit with
`cnnctl.model`; the second gives the same arguments to Keras without cnnctl, layer by layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from cnnctl.model import shape_check
from cnnctl.model.adapted import use_stored_moments
from cnnctl.model.keras_layers import keras_layers
from cnnctl.model.styles import build_functional
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import ModelSpec
from cnnctl.spec.head import values_of
from cnnctl.spec.load import load
from cnnctl.spec.receptive import receptive_fields
from cnnctl.spec.shapes import LayerContext, Misfit, Shape, Window, trace, values_per_mean
from cnnctl.spec.stack import INPUT, nodes_of
from tests.custom import use_layers_of
from tests.spec.fuzz import times

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
CLASSES = 7
FORMATS = ["channels_last", "channels_first"]
KERAS_CLASSES = {name.lower(): getattr(keras.layers, name) for name in dir(keras.layers) if name[0].isupper()}
# What Keras raises on a layer that does not fit.
KERAS_REFUSES = (ValueError, IndexError, tf.errors.InvalidArgumentError, tf.errors.AbortedError)

# Keras warns that it is always 1, as cnnctl does in its own words.
pytestmark = pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")

Draw = st.DrawFn
Plain = dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _memory() -> Iterator[None]:
    yield
    keras.backend.clear_session()


# --- drawing layers that fit --------------------------------------------------------------------------------------


def one_of(draw: Draw, *choices: Any) -> Any:
    return draw(st.sampled_from(choices))


def number(draw: Draw, low: int, high: int) -> int:
    return draw(st.integers(low, high))


def maybe(draw: Draw, fields: Plain, **more: Any) -> Plain:
    """Returns `fields` with each of `more` or without it, so that defaults are tried too."""
    return {**fields, **{name: value for name, value in more.items() if draw(st.booleans())}}


def pair(draw: Draw, rows: int, columns: int) -> int | list[int]:
    """Returns both numbers as a config may say them."""
    return rows if rows == columns and draw(st.booleans()) else [rows, columns]


def format_and_pixels(draw: Draw, shape: Shape, model_format: str) -> tuple[Plain, str, tuple[int, int], int]:
    """Returns a data format said or left out, the one that holds, pixels and channels."""
    own = one_of(draw, None, None, *FORMATS)
    data_format = own or model_format
    pixels = (shape[1], shape[2]) if data_format == "channels_first" else (shape[0], shape[1])
    channels = shape[0] if data_format == "channels_first" else shape[2]
    return ({"data_format": own} if own else {}), data_format, pixels, channels


def conv2d(draw: Draw, shape: Shape, model_format: str, *, preserve: bool = False) -> Plain:
    fields, _, pixels, channels = format_and_pixels(draw, shape, model_format)
    same = preserve or draw(st.booleans())
    strides = [1, 1] if preserve else [number(draw, 1, 3), number(draw, 1, 3)]
    dilation = [number(draw, 1, 3), number(draw, 1, 3)] if max(strides) == 1 else [1, 1]
    largest = [5 if same else min((n - 1) // d + 1, 5) for n, d in zip(pixels, dilation, strict=True)]
    groups = one_of(draw, *(g for g in range(1, channels + 1) if channels % g == 0))
    return maybe(
        draw,
        {
            **fields,
            "filters": groups * number(draw, 1, 3),
            "kernel_size": pair(draw, number(draw, 1, largest[0]), number(draw, 1, largest[1])),
            **({"padding": "same"} if same else {}),
            **({"strides": pair(draw, strides[0], strides[1])} if max(strides) > 1 else {}),
            **({"dilation_rate": pair(draw, dilation[0], dilation[1])} if max(dilation) > 1 else {}),
            **({"groups": groups} if groups > 1 else {}),
        },
        use_bias=False,
        activation=one_of(draw, "relu", "selu", "gelu"),
        kernel_initializer="he_normal",
        kernel_regularizer="l2",
        bias_constraint="non_neg",
    )


def by_channel(draw: Draw, shape: Shape, model_format: str) -> Plain:
    """Returns the arguments that depthwise and separable convolutions share."""
    fields, _, pixels, _ = format_and_pixels(draw, shape, model_format)
    same = draw(st.booleans())
    dilation = [number(draw, 1, 3), number(draw, 1, 3)] if draw(st.booleans()) else [1, 1]
    strides = [number(draw, 1, 3), number(draw, 1, 3)] if max(dilation) > 1 else [number(draw, 1, 3)] * 2
    largest = [5 if same else min((n - 1) // d + 1, 5) for n, d in zip(pixels, dilation, strict=True)]
    size = [number(draw, 1, largest[0]), number(draw, 1, largest[1])]
    return maybe(
        draw,
        {
            **fields,
            "kernel_size": pair(draw, *size),
            **({"padding": "same"} if same else {}),
            **({"strides": pair(draw, strides[0], strides[1])} if max(strides) > 1 and max(size) > 1 else {}),
            **({"dilation_rate": pair(draw, dilation[0], dilation[1])} if max(dilation) > 1 else {}),
        },
        depth_multiplier=number(draw, 1, 3),
        use_bias=False,
        activation=one_of(draw, "relu", "selu", "gelu"),
        depthwise_initializer="he_normal",
        depthwise_regularizer="l2",
        bias_constraint="non_neg",
    )


def separable_conv2d(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields = {"filters": number(draw, 1, 6), **by_channel(draw, shape, model_format)}
    return maybe(draw, fields, pointwise_initializer="orthogonal", pointwise_constraint={"max_norm": {"axis": [2]}})


def conv2d_transpose(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, *_ = format_and_pixels(draw, shape, model_format)
    strides = [number(draw, 1, 3), number(draw, 1, 3)]
    size = [number(draw, 1, 4), number(draw, 1, 4)]
    size = [3, 1] if max(size) == 1 else size  # strides with a single pixel are refused
    same = draw(st.booleans())
    even = same and any(each % 2 == 0 for each in size)  # nothing may be added then only where the stride is 1
    added = [number(draw, int(even), stride - 1) if stride > even else None for stride in strides]
    return maybe(
        draw,
        {
            **fields,
            "filters": number(draw, 1, 3),
            "kernel_size": pair(draw, *size),
            **({"padding": "same"} if same else {}),
            **({"strides": pair(draw, *strides)} if max(strides) > 1 else {}),
            **({"output_padding": added} if None not in added and draw(st.booleans()) else {}),
        },
        use_bias=False,
        activation=one_of(draw, "relu", "selu", "gelu"),
        kernel_initializer="he_normal",
        kernel_regularizer="l2",
        bias_constraint="non_neg",
    )


def dilated_transpose(draw: Draw, shape: Shape, model_format: str) -> Plain:
    plain = conv2d_transpose(draw, shape, model_format)
    fields = {name: value for name, value in plain.items() if name not in ("strides", "output_padding")}
    return {**fields, "dilation_rate": [number(draw, 1, 3), number(draw, 1, 3)]}


def transposed(draw: Draw, shape: Shape, model_format: str) -> Plain:
    drawer = dilated_transpose if number(draw, 0, 2) == 0 else conv2d_transpose
    return drawer(draw, shape, model_format)


def pooling(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, _, pixels, _ = format_and_pixels(draw, shape, model_format)
    same = draw(st.booleans())
    largest = [4 if same else min(n, 4) for n in pixels]
    size = [number(draw, 1, largest[0]), number(draw, 1, largest[1])]
    if same:
        fields["padding"] = "same"
    if size != [2, 2] or draw(st.booleans()):
        fields["pool_size"] = pair(draw, size[0], size[1])
    return maybe(draw, fields, strides=pair(draw, number(draw, 1, 4), number(draw, 1, 4)))


def zero_padding2d(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, *_ = format_and_pixels(draw, shape, model_format)
    a, b, c, d = (number(draw, 0, 2) for _ in range(4))
    return maybe(draw, fields, padding=one_of(draw, a, [a, b], [[a, b], [c, d]]))


def cropping2d(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, _, pixels, _ = format_and_pixels(draw, shape, model_format)
    (a, b), (c, d) = (sides_within(draw, n - 1) for n in pixels)
    both = min((n - 1) // 2 for n in pixels)
    return maybe(draw, fields, cropping=one_of(draw, min(both, 2), [[a, b], [c, d]]))


def up_sampling2d(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, _, pixels, _ = format_and_pixels(draw, shape, model_format)
    size = [number(draw, 1, 3 if n < 12 else 1) for n in pixels]
    ways = ("bilinear", "bicubic", "lanczos3", "lanczos5", "nearest")
    return maybe(draw, {**fields, "size": pair(draw, size[0], size[1])}, interpolation=one_of(draw, *ways))


def sides_within(draw: Draw, most: int) -> tuple[int, int]:
    first = number(draw, 0, min(most, 2))
    return first, number(draw, 0, min(most - first, 2))


def global_pooling(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, *_ = format_and_pixels(draw, shape, model_format)
    return maybe(draw, fields, keepdims=True)


def flatten(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {}, data_format=one_of(draw, *FORMATS))


def dense(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields = {"units": one_of(draw, "classes", number(draw, 1, 5))}
    return maybe(draw, fields, use_bias=False, activation="tanh", bias_initializer="ones", bias_regularizer="l1")


def axis_of(draw: Draw, shape: Shape, place: int) -> int:
    """Returns an axis as Keras counts: the batch is 0, or from the end."""
    axis: int = one_of(draw, place + 1, place - len(shape))
    return axis


def batch_normalization(draw: Draw, shape: Shape, model_format: str) -> Plain:
    axis = axis_of(draw, shape, number(draw, 0, len(shape) - 1))
    return maybe(
        draw,
        {},
        axis=axis,
        center=False,
        scale=False,
        momentum=0.9,
        epsilon=0.01,
        gamma_initializer="zeros",
        renorm=True,
        synchronized=True,
    )


NORMALIZED: Plain = {"center": False, "scale": False, "epsilon": 0.01, "gamma_initializer": "zeros"}


def axes_of(draw: Draw, shape: Shape) -> int | list[int]:
    """Returns an axis, or a list of some axes in any order."""
    places = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    axes = [axis_of(draw, shape, place) for place in places]
    return axes if len(axes) > 1 else one_of(draw, axes, axes[0])


def layer_normalization(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {}, axis=axes_of(draw, shape), gamma_constraint={"max_norm": {"axis": [0]}}, **NORMALIZED)


def group_normalization(draw: Draw, shape: Shape, model_format: str) -> Plain:
    place = number(draw, 0, len(shape) - 1)
    groups = one_of(draw, -1, *(count for count in range(1, shape[place] + 1) if shape[place] % count == 0))
    return maybe(draw, {"groups": groups, "axis": axis_of(draw, shape, place)}, **NORMALIZED)


def unit_normalization(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {}, axis=axes_of(draw, shape))


def normalization(draw: Draw, shape: Shape, model_format: str) -> Plain:
    axes = axes_of(draw, shape)
    places = sorted({(axis - 1 if axis > 0 else axis + len(shape)) for axis in (axes if isinstance(axes, list) else [axes])})
    number_or_list = one_of(draw, 0.5, np.full([one_of(draw, 1, shape[place]) for place in places], 0.5).tolist())
    fixed = {"mean": number_or_list, "variance": number_or_list} if draw(st.booleans()) else {}
    return maybe(draw, {"axis": axes, **fixed} if draw(st.booleans()) or fixed else {"axis": None}, invert=True)


def dropout(draw: Draw, shape: Shape, model_format: str) -> Plain:
    noise = [one_of(draw, None, 1), *(one_of(draw, None, 1, size) for size in shape)]
    return maybe(draw, {"rate": one_of(draw, 0.0, 0.25, 0.5)}, noise_shape=noise, seed=3)


def alpha_dropout(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return dropout(draw, shape, model_format)


def gaussian_dropout(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {"rate": one_of(draw, 0.0, 0.5)}, seed=3)


def gaussian_noise(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {"stddev": one_of(draw, 0.0, 0.5)}, seed=3)


def spatial_dropout2d(draw: Draw, shape: Shape, model_format: str) -> Plain:
    fields, *_ = format_and_pixels(draw, shape, model_format)
    return maybe(draw, {**fields, "rate": one_of(draw, 0.0, 0.5)}, seed=3)


def activation(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return {"activation": one_of(draw, "relu", "mish", "log_sigmoid", "linear", "log_softmax", "sparse_plus")}


def relu(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {}, max_value=2.0, negative_slope=0.1, threshold=0.5)


def leaky_relu(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {}, negative_slope=0.1)


def prelu(draw: Draw, shape: Shape, model_format: str) -> Plain:
    shared = one_of(draw, 1, list(range(1, len(shape) + 1)))
    return maybe(draw, {}, shared_axes=shared, alpha_initializer="ones", alpha_constraint={"max_norm": {"axis": [0]}})


def elu(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return maybe(draw, {}, alpha=0.5)


def softmax(draw: Draw, shape: Shape, model_format: str) -> Plain:
    axes = axis_of(draw, shape, number(draw, 0, len(shape) - 1))
    several = list(range(1, number(draw, 1, len(shape)) + 1))
    return maybe(draw, {}, axis=one_of(draw, axes, several))


def rescaling(draw: Draw, shape: Shape, model_format: str) -> Plain:
    first = model_format == "channels_first"
    channels = shape[0 if first and len(shape) == 3 else -1]
    lists = [] if first and len(shape) != 3 else [[(-1.0) ** each * (each + 1) / 4 for each in range(channels)]]
    fields = {"scale": one_of(draw, 0.6, -2.0, [1.7], *lists)}
    return maybe(draw, fields, offset=one_of(draw, 1.0, [0.25], *lists))


def reshape(draw: Draw, shape: Shape, model_format: str) -> Plain:
    """Returns a target of one to four axes; three are most likely, so that an image may follow."""
    rest, sizes = prod(shape), []
    for _ in range(one_of(draw, 0, 1, 2, 2, 2, 3)):
        sizes.append(one_of(draw, *(n for n in range(1, min(rest, 12) + 1) if rest % n == 0)))
        rest //= sizes[-1]
    sizes.insert(number(draw, 0, len(sizes)), rest)
    inferred = number(draw, -1, len(sizes) - 1)
    return {"target_shape": [-1 if place == inferred else n for place, n in enumerate(sizes)]}


def permute(draw: Draw, shape: Shape, model_format: str) -> Plain:
    return {"dims": draw(st.permutations(range(1, len(shape) + 1)))}


ANYWHERE = {
    "reshape": reshape,
    "permute": permute,
    "rescaling": rescaling,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "prelu": prelu,
    "elu": elu,
    "softmax": softmax,
    "flatten": flatten,
    "dense": dense,
    "batch_normalization": batch_normalization,
    "layer_normalization": layer_normalization,
    "group_normalization": group_normalization,
    "unit_normalization": unit_normalization,
    "normalization": normalization,
    "dropout": dropout,
    "alpha_dropout": alpha_dropout,
    "gaussian_dropout": gaussian_dropout,
    "gaussian_noise": gaussian_noise,
    "activation": activation,
}
ON_IMAGES = {
    "conv2d": conv2d,
    "depthwise_conv2d": by_channel,
    "separable_conv2d": separable_conv2d,
    "conv2d_transpose": transposed,
    "max_pooling2d": pooling,
    "average_pooling2d": pooling,
    "zero_padding2d": zero_padding2d,
    "cropping2d": cropping2d,
    "up_sampling2d": up_sampling2d,
    "spatial_dropout2d": spatial_dropout2d,
    "global_average_pooling2d": global_pooling,
    "global_max_pooling2d": global_pooling,
}
VALUE_JOINS = ("add", "subtract", "multiply", "average", "maximum", "minimum")
JOINS = (*VALUE_JOINS, "concatenate")
ENDS_THE_IMAGE = ("flatten", "global_average_pooling2d", "global_max_pooling2d")


def fitting_layer(draw: Draw, shape: Shape, model_format: str, kinds: Collection[str]) -> tuple[str, Plain]:
    drawers = {**ANYWHERE, **(ON_IMAGES if len(shape) == 3 else {})}
    kind = one_of(draw, *(each for each in drawers if each in kinds))
    if kind in ENDS_THE_IMAGE and len(shape) == 3:  # a second chance to go on with an image
        kind = one_of(draw, kind, *(each for each in ON_IMAGES if each in kinds))
    return kind, drawers[kind](draw, shape, model_format)


def branch_layer(draw: Draw, shape: Shape, model_format: str, kinds: Collection[str]) -> tuple[str, Plain]:
    """Returns a layer whose output is likely to go with the others of a join."""
    choice = number(draw, 0, 5)
    if len(shape) == 3 and choice == 0:
        return "conv2d", conv2d(draw, shape, model_format, preserve=True)
    if len(shape) == 3 and choice == 1:
        return "global_max_pooling2d", global_pooling(draw, shape, model_format)
    if choice == 2:
        return fitting_layer(draw, shape, model_format, kinds)
    kind = one_of(draw, "dense", "batch_normalization", "dropout", "activation")
    return kind, ANYWHERE[kind](draw, shape, model_format)


def fitting_joins(draw: Draw, shapes: list[Shape]) -> list[tuple[str, Plain]]:
    """Returns the joins that can take inputs of these shapes."""
    joins: list[tuple[str, Plain]] = []
    try:
        np.broadcast_shapes(*shapes)
        joins += [(kind, {}) for kind in VALUE_JOINS if kind != "subtract" or len(shapes) == 2]
    except ValueError:
        pass
    if len({len(shape) for shape in shapes}) == 1:
        for place in range(len(shapes[0])):
            if len({(*shape[:place], *shape[place + 1 :]) for shape in shapes}) == 1:
                joins.append(("concatenate", {"axis": axis_of(draw, shapes[0], place)}))
                if place == len(shapes[0]) - 1:
                    joins.append(("concatenate", {}))
    return joins


class Drawn:
    """A stack as it is drawn; shapes come from the arithmetic under test, which Keras then judges."""

    def __init__(self, image: Shape, model_format: str) -> None:
        self.image, self.model_format = image, model_format
        self.layers: list[Plain] = []
        self.name, self.shape = INPUT, image

    def __repr__(self) -> str:
        return f"{self.image} {self.model_format} {self.layers}"

    def append(self, kind: str, fields: Plain, inputs: list[str]) -> tuple[str, Shape]:
        name = f"layer{len(self.layers)}"
        self.layers.append({kind: {**fields, "name": name, "inputs": inputs}})
        nodes, _ = nodes_of(self.model())
        self.name = name
        self.shape = trace(nodes, self.image, self.around())[-1].output_shape
        return self.name, self.shape

    def model(self) -> ModelSpec:
        plain = {"style": "functional", "data_format": self.model_format, "layers": self.layers}
        return ModelSpec.model_validate(plain)

    def around(self) -> LayerContext:
        return LayerContext(CLASSES, "channels_first" if self.model_format == "channels_first" else "channels_last")


def images(draw: Draw, model_format: str) -> Shape:
    height, width, channels = number(draw, 1, 14), number(draw, 1, 14), one_of(draw, 1, 2, 3, 4, 6)
    return (channels, height, width) if model_format == "channels_first" else (height, width, channels)


def append_join(draw: Draw, drawn: Drawn, kinds: Collection[str]) -> None:
    base = (drawn.name, drawn.shape)
    operands = []
    for _ in range(number(draw, 2, 3)):
        if draw(st.booleans()):
            operands.append(base)
        else:
            operands.append(drawn.append(*branch_layer(draw, base[1], drawn.model_format, kinds), [base[0]]))
    joins = [join for join in fitting_joins(draw, [shape for _, shape in operands]) if join[0] in kinds]
    if not joins:  # in one row any outputs go together
        operands = [drawn.append("flatten", {}, [name]) for name, _ in operands]
        joins = [("concatenate", {})]
    kind, fields = one_of(draw, *joins)
    drawn.append(kind, fields, [name for name, _ in operands])


EVERY_KIND = (*ANYWHERE, *ON_IMAGES, *JOINS)


@st.composite
def fitting_stacks(draw: Draw, kinds: Collection[str] = EVERY_KIND) -> Drawn:
    """Draws a stack in which every layer fits and takes the one before, with joins here and there.

    Args:
        draw: by hypothesis.
        kinds: of the layers; conv2d, dense, batch_normalization, dropout, activation, flatten and concatenate among them.
    """
    model_format = one_of(draw, *FORMATS)
    drawn = Drawn(images(draw, model_format), model_format)
    for _ in range(number(draw, 1, 6)):
        if number(draw, 0, 2) == 0:
            append_join(draw, drawn, kinds)
        else:
            drawn.append(*fitting_layer(draw, drawn.shape, model_format, kinds), [drawn.name])
    return drawn


# --- stacks that fit ----------------------------------------------------------------------------------------------


def outputs_in_training(model: keras.Model, images: NDArray[Any]) -> Any:
    """Returns the outputs of a model; by XLA where TensorFlow has no kernel, as for some convolutions under channels_first."""
    try:
        return model(images, training=True)
    except tf.errors.UnimplementedError:
        return tf.function(model, autograph=False, jit_compile=True)(images, training=True)


@settings(max_examples=times(100), derandomize=True, deadline=None)
@given(fitting_stacks())
def test_every_shape_and_parameter_count_of_a_stack_that_fits_equals_keras(drawn: Drawn) -> None:
    nodes, complaints = nodes_of(drawn.model())
    assert complaints == []
    facts = trace(nodes, drawn.image, drawn.around())

    layers = keras_layers(nodes, 0, drawn.around(), "float32")
    model = build_functional(layers, nodes, drawn.image)
    model = keras.Model(model.inputs[0], [layer.output for layer in layers.values()])  # all outputs
    real = outputs_in_training(model, np.zeros((2, *drawn.image), "float32"))

    for each, layer, output in zip(facts, layers.values(), real if len(layers) > 1 else [real], strict=True):
        event(each.kind)
        assert each.output_shape == tuple(layer.output.shape[1:]), f"{each.name} as built"
        assert each.output_shape == tuple(output.shape[1:]), f"{each.name} as computed"
        assert each.trainable == sum(prod(weight.shape) for weight in layer.trainable_weights), each.name
        weights = [weight for weight in layer.non_trainable_weights if "seed_generator" not in weight.path]
        assert each.non_trainable == sum(prod(weight.shape) for weight in weights), each.name
    assert sum(each.parameters for each in facts) == model.count_params()


def test_the_stacks_drawn_hold_every_kind_of_layer() -> None:
    counts: dict[str, int] = {}

    @settings(max_examples=250, derandomize=True, deadline=None, database=None)
    @given(fitting_stacks())
    def count(drawn: Drawn) -> None:
        for layer in drawn.layers:
            counts.update({kind: counts.get(kind, 0) + 1 for kind in layer})

    count()
    assert set(counts) == {*ANYWHERE, *ON_IMAGES, *JOINS}


# --- receptive fields ---------------------------------------------------------------------------------------------

SMOOTH = {"relu": "selu", "gelu": "tanh", "mish": "softplus", "linear": "softmax", "sparse_plus": "squareplus"}
"""What activations are tried instead: a relu of a number below 0 would hide what it sees."""


def smooth(drawn: Drawn) -> list[Plain]:
    """Returns layers through which each change of what they see can be seen: means for maxima, no relu.

    Nor a softmax or a normalization where a mean may be taken along its axes, which is always the same, nor x / |x|.
    """
    shapes = {each.name: each.output_shape for each in trace(nodes_of(drawn.model())[0], drawn.image, drawn.around())}
    text = repr(drawn)
    first = "pooling" in text and any(word in text for word in ("channels_first", "permute", "reshape"))
    replaced = {**SMOOTH, "linear": "softsign"} if first else SMOOTH
    changed: list[Plain] = []
    for layer in drawn.layers:
        ((kind, fields),) = layer.items()
        kind = smooth_join(kind, fields["inputs"], drawn)
        same = _is_the_same(kind, fields, shapes[fields["name"]], "pooling" in repr(drawn))
        if kind == "relu" or same or (kind == "softmax" and first):
            kind, fields = "elu", {name: fields[name] for name in ("name", "inputs")}
        activation = {"activation": replaced.get(fields["activation"], fields["activation"])} if "activation" in fields else {}
        changed.append({kind.replace("max_", "average_"): {**fields, **activation}})
    return changed


def _is_the_same(kind: str, fields: Plain, shape: Shape, pooled: bool) -> bool:
    if kind == "unit_normalization":
        return values_per_mean(L.UnitNormalization.model_validate(fields), shape) == 1
    return pooled and kind in ("layer_normalization", "group_normalization")


def smooth_join(kind: str, inputs: list[str], drawn: Drawn) -> str:
    """Returns a join that hides nothing: no larger value, no product with zeros of a padding or between windows, no x - x of any name."""
    if kind in ("maximum", "minimum"):
        return "average"
    if kind == "multiply" and any(word in repr(drawn) for word in ("zero_padding2d", "dilation_rate", "conv2d_transpose")):
        return "add"
    return "add" if kind == "subtract" and len(set(inputs)) == 2 else kind


def set_random_weights(model: keras.Model) -> None:
    """Gives every weight a number that is not near 0, small enough for softmax and tanh not to saturate."""
    draw = np.random.default_rng(0)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            positive = len(weight.shape) < 2 or weight.path.endswith("variance")
            signs = 1 if positive else draw.choice([-1, 1], weight.shape)
            weight.assign(signs * draw.uniform(0.5, 1.5, weight.shape) / np.sqrt(prod(weight.shape[:-1])))
    use_stored_moments(model)


Changed = list[NDArray[np.bool_]]


def changed_by_rows_and_columns(
    model: keras.Model, image: Shape, axes: tuple[int, int]
) -> tuple[list[Changed], list[NDArray[np.float64]]]:
    """Returns for each layer which rows, and which columns, change which values, each (rows, values), and its output.

    Found by trying, in float64.
    """
    draw = np.random.default_rng(0)
    batch = []
    for _ in range(2):
        whole = draw.normal(size=image)
        batch.append(whole)
        for axis in axes:
            places = np.moveaxis(np.eye(image[axis])[(..., *[None] * 2)], 1, axis + 1)
            batch += list(whole + places * draw.normal(size=(image[axis], *image)))
    jit = any(map(needs_xla, model.layers))
    outputs = tf.function(model, jit_compile=jit)(np.stack(batch))
    found = []
    arrays = [np.asarray(output) for output in (outputs if isinstance(outputs, list) else [outputs])]
    for output in arrays:
        twice = output.reshape(2, len(batch) // 2, -1)
        changed = (np.abs(twice[:, 1:] - twice[:, :1]) > 1e-12).any(0)
        found.append([changed[: image[axes[0]]], changed[image[axes[0]] :]])
    return found, arrays


def needs_xla(layer: keras.Layer) -> bool:
    """Returns True if TensorFlow has no kernel in float64 for a layer."""
    dilated = isinstance(layer, keras.layers.Conv2DTranspose) and max(layer.dilation_rate) > 1
    return dilated or getattr(layer, "data_format", None) == "channels_first"


def sums_to_one(output: NDArray[np.float64]) -> bool:
    return bool((output >= 0).all() and np.allclose(output.sum(-1), 1) and output.shape[-1] > 1)


@settings(max_examples=times(15), derandomize=True, deadline=None)
@given(fitting_stacks())
def test_receptive_fields_and_probabilities_are_those_of_the_computed_outputs(drawn: Drawn) -> None:
    drawn.layers = smooth(drawn)
    nodes, _ = nodes_of(drawn.model())
    layers = keras_layers(nodes, 0, drawn.around(), "float64")
    model = build_functional(layers, nodes, drawn.image)
    model = keras.Model(model.inputs[0], [layer.output for layer in layers.values()])
    set_random_weights(model)
    axes = (0, 1) if drawn.model_format == "channels_last" else (1, 2)

    facts = trace(nodes, drawn.image, drawn.around())
    fields = receptive_fields(nodes, facts, drawn.image, drawn.around())
    changes, outputs = changed_by_rows_and_columns(model, drawn.image, axes)
    for node, field, both in zip(nodes, fields, changes, strict=True):
        assert field
        for side, changed in enumerate(both):
            seen = [np.flatnonzero(value) for value in np.unique(changed, axis=1).T]
            spans = [(int(rows[-1] - rows[0]) + 1, len(rows)) for rows in seen if len(rows)]
            assert (field.field[side], field.seen[side]) == max(spans, default=(0, 0)), node.name
            assert field.unseen[side] == tuple(np.flatnonzero(~changed.any(1))), node.name

    values = values_of(nodes, facts, drawn.around())
    for node, output in zip(nodes, outputs, strict=True):
        kind = values[node.name].kind
        assert kind != "probabilities" or sums_to_one(output), node.name
        # After a dropout, and what is not followed further: what was moved may be moved back.
        lost = any(word in kind for word in ("training", "interpolation", "reshape", "permute"))
        known = lost or kind in ("probabilities", "softmax of a softmax")
        assert known or not sums_to_one(output), node.name


# --- stacks that may not fit --------------------------------------------------------------------------------------


def wild_pair(draw: Draw, high: int) -> list[int]:
    return [number(draw, 1, high), number(draw, 1, high)]


def wild_layer(draw: Draw, kind: str) -> Plain:
    """Returns fields of a layer drawn without a look at what it will take."""
    own: Plain = maybe(draw, {}, data_format=one_of(draw, *FORMATS))
    padding = {"padding": one_of(draw, "valid", "valid", "same")}
    match kind:
        case "conv2d":
            fields = {**own, **padding, "filters": one_of(draw, 6, 6, 4), "kernel_size": wild_pair(draw, 5)}
            strides, dilation, groups = wild_pair(draw, 2), wild_pair(draw, 2), number(draw, 1, 3)
            return maybe(draw, fields, strides=strides, dilation_rate=dilation, groups=groups)
        case "conv2d_transpose":
            fields = {**own, **padding, "filters": 2, "kernel_size": wild_pair(draw, 4)}
            added = [number(draw, 0, 2), number(draw, 0, 2)]
            return maybe(draw, fields, strides=wild_pair(draw, 3), dilation_rate=one_of(draw, 1, 1, 2), output_padding=added)
        case "depthwise_conv2d" | "separable_conv2d":
            fields = {**own, **padding, "kernel_size": wild_pair(draw, 5)}
            fields |= {"filters": 2} if kind == "separable_conv2d" else {}
            return maybe(draw, fields, strides=wild_pair(draw, 2), dilation_rate=wild_pair(draw, 2), depth_multiplier=2)
        case "max_pooling2d" | "average_pooling2d":
            return maybe(draw, {**own, **padding, "pool_size": wild_pair(draw, 4)}, strides=wild_pair(draw, 3))
        case "zero_padding2d" | "flatten":
            return own
        case "up_sampling2d":
            return {**own, "size": wild_pair(draw, 2), "interpolation": one_of(draw, "nearest", "bilinear", "bicubic")}
        case "cropping2d":
            return {**own, "cropping": [[number(draw, 0, 3), number(draw, 0, 3)], number(draw, 0, 3)]}
        case "global_average_pooling2d" | "global_max_pooling2d":
            return maybe(draw, own, keepdims=True)
    return wild_values(draw, kind, own)


WILD_TARGETS = [[-1], [2, -1], [-1, 3, 2], [1, 2, 3], [2, 2, -1, 1]]


def wild_moves(draw: Draw) -> dict[str, Plain]:
    return {
        "reshape": {"target_shape": one_of(draw, *WILD_TARGETS)},
        "permute": {"dims": draw(st.permutations(range(1, one_of(draw, 1, 2, 3, 3, 3) + 1)))},
        "rescaling": {"scale": 2.0},
    }


def wild_normalization(draw: Draw, kind: str) -> Plain:
    match kind:
        case "batch_normalization":
            return {"axis": number(draw, -5, 5)}
        case "layer_normalization" | "unit_normalization":
            return {"axis": one_of(draw, number(draw, -4, 4), [number(draw, -3, 3), number(draw, -1, 3)])}
        case "normalization":
            return maybe(draw, {"axis": one_of(draw, number(draw, -4, 4), [2, 1], None)})
        case "group_normalization":
            return {"axis": number(draw, -4, 4), "groups": one_of(draw, -1, 1, 2, 3)}
    raise NotImplementedError(kind)


def wild_values(draw: Draw, kind: str, own: Plain) -> Plain:
    if kind in ("reshape", "permute", "rescaling"):
        return wild_moves(draw)[kind]
    match kind:
        case _ if kind.endswith("normalization"):
            return wild_normalization(draw, kind)
        case "gaussian_noise":
            return {"stddev": 0.5}
        case "spatial_dropout2d":
            return {**own, "rate": 0.5}
        case "gaussian_dropout":
            return {"rate": 0.5}
        case "dropout" | "alpha_dropout":
            noise = [one_of(draw, None, 1), *(one_of(draw, None, 1, 2, 3) for _ in range(one_of(draw, 1, 3, 3)))]
            return maybe(draw, {"rate": 0.5}, noise_shape=noise)
        case "concatenate":
            return {"axis": number(draw, -4, 4)}
        case "dense":
            return {"units": number(draw, 1, 3)}
        case "activation":
            return {"activation": "relu"}
        case "softmax":
            return {"axis": one_of(draw, number(draw, -4, 4), [number(draw, 1, 3), -1])}
        case "prelu":
            return maybe(draw, {}, shared_axes=[number(draw, 1, 3)])
    return {}


@st.composite
def wild_stacks(draw: Draw) -> tuple[Shape, str, list[Plain]]:
    """Draws an image, a data format and layers of which each takes any layers above it."""
    model_format = one_of(draw, *FORMATS)
    kinds = [*ANYWHERE, *ON_IMAGES, "conv2d", *JOINS]
    layers: list[Plain] = []
    for index in range(number(draw, 1, 5)):
        kind = one_of(draw, *kinds)
        above = [INPUT, *(f"layer{other}" for other in range(index))]
        count = number(draw, 2, 3) if kind in JOINS else 1
        near = [above[-1], *(one_of(draw, *above) for _ in range(count - 1))]
        layers.append({kind: {**wild_layer(draw, kind), "name": f"layer{index}", "inputs": near}})
    size = number(draw, 1, 7), number(draw, 1, 7), one_of(draw, 1, 2, 3, 4)
    return (size if model_format == "channels_last" else (size[2], size[0], size[1])), model_format, layers


def spec_refuses_at(image: Shape, model_format: str, layers: list[Plain]) -> tuple[int | None, list[Shape]]:
    """Returns the first layer that cnnctl refuses, if any, and the shapes before it."""
    whole = list(takewhile(fields_are_right, layers))
    if not whole:
        return 0, []
    around = LayerContext(CLASSES, "channels_first" if model_format == "channels_first" else "channels_last")
    nodes, _ = nodes_of(ModelSpec.model_validate({"style": "functional", "data_format": model_format, "layers": whole}))
    try:
        facts = trace(nodes, image, around)
    except Misfit as found:
        return nodes.index(found.node), [each.output_shape for each in found.facts]
    return (len(whole) if len(whole) < len(layers) else None), [each.output_shape for each in facts]


def fields_are_right(layer: Plain) -> bool:
    try:
        ModelSpec.model_validate({"layers": [layer]})
    except ValidationError:
        return False
    return True


def called(layer: keras.Layer, taken: Any, **mode: bool) -> Any:
    """Returns the outputs of a layer, as `outputs_in_training`."""
    try:
        return layer(taken, **mode)
    except tf.errors.UnimplementedError:
        return tf.function(layer, autograph=False, jit_compile=True)(taken, **mode)


def keras_refuses_at(image: Shape, model_format: str, layers: list[Plain]) -> tuple[int | None, list[Shape]]:
    """Returns the same from Keras alone: each layer called on a symbol, then on zeros."""
    symbols = {INPUT: keras.Input(image)}
    arrays = {INPUT: keras.ops.zeros((2, *image))}
    shapes: list[Shape] = []
    for index, layer in enumerate(layers):
        ((kind, fields),) = layer.items()
        names = fields["inputs"]
        arguments = {key: value for key, value in fields.items() if key != "inputs"}
        if kind in ON_IMAGES or kind == "flatten":
            arguments.setdefault("data_format", model_format)
        if kind == "average_pooling2d":
            arguments.setdefault("pool_size", 2)
        mode = {"training": True} if "dropout" in kind else {}
        if on_some_processors_only(kind, fields):
            return index, shapes
        try:
            made = KERAS_CLASSES[kind.replace("_", "")](**arguments)
            results = []
            for tensors in (symbols, arrays):
                taken = [tensors[name] for name in names]
                results.append(called(made, taken if len(taken) > 1 else taken[0], **mode))
        except KERAS_REFUSES:
            return index, shapes
        along = fields.get("axis") if kind in ("softmax", "unit_normalization") else None
        if not _means_something(results, fields.get("noise_shape"), along):
            return index, shapes
        symbols[arguments["name"]], arrays[arguments["name"]] = results
        shapes.append(tuple(results[1].shape[1:]))
    return None, shapes


def on_some_processors_only(kind: str, fields: Plain) -> bool:
    """Returns True if TensorFlow computes the layer, and right, on some processors alone: with oneDNN, or without it."""
    size, strides, dilation = (fields.get(name, [1, 1]) for name in ("kernel_size", "strides", "dilation_rate"))
    if kind not in ("depthwise_conv2d", "separable_conv2d"):
        return False
    return bool((strides[:1] != strides[1:] and max(dilation) == 1) or (size == [1, 1] and max(strides) > 1))


def _means_something(results: list[Any], noise_shape: list[int | None] | None, along: int | list[int] | None) -> bool:
    """Returns whether what Keras computed can be meant; the things it lets pass and cnnctl does not.

    A concatenation, a softmax or a norm along the batch mixes images. An axis of a softmax twice is once. A noise_shape larger than the input makes dropout's
    output larger than its input, which Keras's own symbolic shape denies. A noise_shape of fewer
    axes spreads over the last ones, the batch being none of them.
    """
    symbol, array = results
    axes = [axis % len(array.shape) for axis in (along if isinstance(along, list) else [along]) if axis is not None]
    mixed = array.shape[0] != 2 or 0 in axes or len(set(axes)) < len(axes)
    enlarged = tuple(symbol.shape[1:]) != tuple(array.shape[1:])
    short = noise_shape is not None and len(noise_shape) != len(array.shape)
    return not (mixed or enlarged or short)


@settings(max_examples=times(200), derandomize=True, deadline=None)
@given(wild_stacks())
def test_what_spec_refuses_keras_refuses_at_the_same_layer_and_the_other_way(stack: tuple[Shape, str, list[Plain]]) -> None:
    ours, theirs = spec_refuses_at(*stack), keras_refuses_at(*stack)
    event("refused" if ours[0] is not None else "accepted")
    assert ours == theirs


def conv(**fields: Any) -> Plain:
    return {"conv2d": {"filters": 6, "kernel_size": 3, **fields}}


SPOILERS: dict[str, list[Plain]] = {
    "a window higher than the image": [conv(kernel_size=[9, 1])],
    "a window wider than the image": [conv(kernel_size=[1, 10])],
    "a dilated window larger than the image": [conv(dilation_rate=4)],
    "a pool larger than the image": [{"max_pooling2d": {"pool_size": 9}}],
    "an average pool larger than the image": [{"average_pooling2d": {"pool_size": [1, 10]}}],
    "pixels used up": [{"max_pooling2d": {}}] * 4,
    "groups that do not divide the channels": [conv(groups=2)],
    "groups that do not divide the filters": [conv(groups=3, filters=4)],
    "strides with dilation": [conv(strides=2, dilation_rate=2)],
    "a depthwise window higher than the image": [{"depthwise_conv2d": {"kernel_size": [9, 1]}}],
    "unequal strides of a depthwise convolution": [{"depthwise_conv2d": {"kernel_size": 3, "strides": [2, 1]}}],
    "unequal strides of a separable convolution": [{"separable_conv2d": {"filters": 2, "kernel_size": 3, "strides": [1, 2]}}],
    "a separable convolution after flatten": [{"flatten": {}}, {"separable_conv2d": {"filters": 2, "kernel_size": 1}}],
    "more output padding than strides": [
        {"conv2d_transpose": {"filters": 2, "kernel_size": 3, "strides": 2, "output_padding": 2}}
    ],
    "an output that no strides give back": [
        {"conv2d_transpose": {"filters": 2, "kernel_size": 2, "strides": 2, "padding": "same", "output_padding": [1, 0]}}
    ],
    "a transposed convolution with strides and dilation": [
        {"conv2d_transpose": {"filters": 2, "kernel_size": 2, "strides": 2, "dilation_rate": 2}}
    ],
    "a transposed convolution after flatten": [{"flatten": {}}, {"conv2d_transpose": {"filters": 2, "kernel_size": 2}}],
    "a convolution after flatten": [{"flatten": {}}, conv()],
    "a pooling after flatten": [{"flatten": {}}, {"average_pooling2d": {}}],
    "zero padding after flatten": [{"flatten": {}}, {"zero_padding2d": {}}],
    "a global pooling after a global pooling": [{"global_max_pooling2d": {}}, {"global_average_pooling2d": {}}],
    "rows all cropped": [{"cropping2d": {"cropping": [[5, 3], 0]}}],
    "columns all cropped": [{"cropping2d": {"cropping": [0, [4, 6]]}}],
    "up-sampling after flatten": [{"flatten": {}}, {"up_sampling2d": {}}],
    "other values": [{"reshape": {"target_shape": [9, 8, 2]}}],
    "a rest that is no integer": [{"reshape": {"target_shape": [-1, 7]}}],
    "too few axes": [{"permute": {"dims": [2, 1]}}],
    "too many axes": [{"flatten": {}}, {"permute": {"dims": [2, 1, 3]}}],
    "a convolution after a reshape": [{"reshape": {"target_shape": [8, 27]}}, conv()],
    "cropping after flatten": [{"flatten": {}}, {"cropping2d": {}}],
    "channels that are rows": [conv(data_format="channels_first", groups=3)],
    "an axis past the last": [{"batch_normalization": {"axis": 4}}],
    "the batch as axis": [{"batch_normalization": {"axis": 0}}],
    "normalized axes past the last": [{"layer_normalization": {"axis": [1, 4]}}],
    "the batch as a normalized axis": [{"layer_normalization": {"axis": [0, 1]}}],
    "an axis twice": [{"layer_normalization": {"axis": [1, -3]}}],
    "norms along an axis past the last": [{"unit_normalization": {"axis": 5}}],
    "groups that do not divide": [{"group_normalization": {"groups": 2}}],
    "more groups than channels": [{"group_normalization": {}}],
    "groups of the batch": [{"group_normalization": {"axis": 0, "groups": 1}}],
    "a noise shape that does not spread": [{"dropout": {"rate": 0.5, "noise_shape": [None, 3, 1, 1]}}],
    "a softmax along an axis past the last": [{"softmax": {"axis": 4}}],
    "slopes shared along an axis past the last": [{"prelu": {"shared_axes": [1, 4]}}],
    "a noise shape of alpha dropout": [{"alpha_dropout": {"rate": 0.5, "noise_shape": [None, 3, 1, 1]}}],
    "channels of a vector": [{"flatten": {}}, {"spatial_dropout2d": {"rate": 0.5}}],
    "a sum of unlike images": [conv(filters=2), {"add": {"inputs": ["layer0", INPUT]}}],
    "a product of unlike images": [conv(filters=2), {"multiply": {"inputs": ["layer0", INPUT]}}],
    "a difference of three": [{"subtract": {"inputs": [INPUT, INPUT, INPUT]}}],
    "a concatenation of unlike images": [conv(), {"concatenate": {"inputs": ["layer0", INPUT]}}],
    "a concatenation of unlike ranks": [{"flatten": {}}, {"concatenate": {"inputs": ["layer0", INPUT]}}],
}


@pytest.mark.parametrize("case", SPOILERS)
def test_both_refuse(case: str) -> None:
    layers = []
    for index, layer in enumerate(SPOILERS[case]):
        ((kind, fields),) = layer.items()
        above = [INPUT] if index == 0 else [f"layer{index - 1}"]
        layers.append({kind: {"name": f"layer{index}", "inputs": above, **fields}})
    ours, theirs = spec_refuses_at((8, 9, 3), FORMATS[0], layers), keras_refuses_at((8, 9, 3), FORMATS[0], layers)
    assert ours == theirs
    assert ours[0] == len(layers) - 1


# --- where zeros go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "kernel", "stride", "dilation"),
    [(5, 3, 1, 1), (5, 2, 1, 1), (5, 4, 1, 1), (6, 3, 2, 1), (7, 3, 2, 1), (5, 2, 1, 3), (8, 1, 2, 1), (7, 5, 3, 1)],
)
def test_same_padding_puts_its_zeros_where_keras_does(pixels: int, kernel: int, stride: int, dilation: int) -> None:
    """A kernel of ones over a row of 1, 2, 4 ... tells which pixels each window held."""
    row = 2.0 ** np.arange(pixels, dtype="float32")
    layer = keras.layers.Conv2D(
        1, (kernel, 1), (stride, 1), "same", dilation_rate=(dilation, 1), kernel_initializer="ones", use_bias=False
    )
    found = np.asarray(layer(row.reshape(1, pixels, 1, 1))).ravel()

    window = Window((kernel, 1), (stride, 1), (dilation, 1), same=True)
    before, after = window.padding(pixels, 0)
    padded = np.pad(row, (before, after))
    starts = range(0, len(padded) - window.extent(0) + 1, stride)
    assert found.tolist() == [padded[start : start + window.extent(0) : dilation].sum() for start in starts]


# --- the comparison that `summary --check` makes ------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("style", ["as written", "subclass"])
def test_keras_agrees_with_every_shipped_config(config: Path, style: str) -> None:
    use_layers_of(config)
    assert shape_check.differences(load(config, [] if style == "as written" else [f"model.style={style}"])) == []


def test_a_difference_is_told_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load(next(file for file in CONFIGS if file.stem == "mnist"))
    monkeypatch.setattr(shape_check, "build_model", lambda _: _other_model())
    (line,) = shape_check.differences(experiment)
    assert line.startswith("dense: ")
    assert "are ((10,), 16010, 0) here and ((10,), 16000, 0) in Keras" in line


def _other_model() -> keras.Model:
    """Returns the network of configs/mnist.yaml, a bias forgotten."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, 3, name="conv2d"),
            keras.layers.MaxPooling2D(name="max_pooling2d"),
            keras.layers.Conv2D(64, 3, name="conv2d_1"),
            keras.layers.MaxPooling2D(name="max_pooling2d_1"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            keras.layers.Dense(10, use_bias=False, name="dense"),
        ]
    )
