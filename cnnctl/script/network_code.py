"""Single layers as calls of Keras, with their initializers, regularizers and constraints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from cnnctl.script.expressions import Call, literal, pair
from cnnctl.script.template import Needs, written
from cnnctl.spec import layers as L
from cnnctl.spec import weights as W
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.groups import local
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import kept_axes, per_channel
from cnnctl.spec.stack import Node

_FIRST = {
    L.Conv2D: ("filters", "kernel_size"),
    L.DepthwiseConv2D: ("kernel_size",),
    L.SeparableConv2D: ("filters", "kernel_size"),
    L.Conv2DTranspose: ("filters", "kernel_size"),
    L.ZeroPadding2D: ("padding",),
    L.Cropping2D: ("cropping",),
    L.UpSampling2D: ("size",),
    L.Rescaling: ("scale",),
    L.Reshape: ("target_shape",),
    L.Permute: ("dims",),
    L.MaxPooling2D: ("pool_size",),
    L.AveragePooling2D: ("pool_size",),
    L.Dense: ("units",),
    L.Dropout: ("rate",),
    L.SpatialDropout2D: ("rate",),
    L.GaussianNoise: ("stddev",),
    L.GaussianDropout: ("rate",),
    L.AlphaDropout: ("rate",),
    L.ActivationLayer: ("activation",),
}
"""Positional arguments, in the order of Keras."""
_PAIRS = ("kernel_size", "strides", "output_padding", "dilation_rate", "pool_size", "size")
_ALONE = (W.Constant, W.L1, W.L2)
"""Parts with a single positional argument."""


def part_classes(experiment: Experiment, parts: Iterable[type[Section]]) -> list[str]:
    """Return the names of the initializers, regularizers or constraints, among `parts`, that the code calls."""
    used = {part.function for call in _calls(experiment) for _, part in call.parts}
    return sorted(used & {part.__name__ for part in parts})


def _calls(experiment: Experiment) -> list[Call]:
    nodes = experiment.network.nodes
    return [layer_call(node, index, experiment, node is nodes[-1], {}, str) for index, node in enumerate(nodes)]


def acts_in_training(layer: L.Layer) -> bool:
    """Return True for a layer that differs in training and inference."""
    own = isinstance(layer, L.CustomLayer) and layer.own.takes_training
    return own or isinstance(layer, L.RandomLayer | L.BatchNormalization)


def layer_call(
    node: Node, index: int, experiment: Experiment, last: bool, parameters: Mapping[str, str], seed_of: Callable[[int], str]
) -> Call:
    """Generate the Keras call of a layer.

    Args:
        node: the layer.
        index: its place in the network, from which its seeds derive.
        experiment: the config.
        last: whether it is the last of the network.
        parameters: the fields that are parameters of a block, with their names.
        seed_of: returns the expression of a seed that the config leaves open.
    """
    layer, mixed = node.layer, experiment.train.precision != "float32"
    fields = {name: getattr(layer, name) for name in _arguments(layer, experiment, parameters)}
    if isinstance(layer, L.Rescaling):
        fields = {field: per_channel(value, experiment.model.data_format) for field, value in fields.items()}
    named = layer.name or isinstance(layer, L.Normalization)  # it may be found by its name, to adapt it
    name = (f"name={literal(local(node.name))}",) if named else ()
    draws = isinstance(layer, L.RandomLayer | L.CustomLayer) and getattr(layer, "seed", 0) is None
    if draws:
        fields.pop("seed", None)
    if isinstance(layer, L.CustomLayer) and "data_format" in type(layer).model_fields:
        fields["data_format"] = getattr(layer, "data_format", None) or experiment.model.data_format
    seed = (f"seed={seed_of(W.drawn_seed(experiment.seed, index, 'seed'))}",) if draws else ()
    precision = ('dtype="float32"',) if mixed and (last or getattr(layer, "only_in_float32", False)) else ()
    fields = {name: value.bounds if isinstance(value, L.RenormClipping) else value for name, value in fields.items()}
    plain = tuple(
        _plain(layer, field, value, parameters.get(field)) for field, value in fields.items() if not isinstance(value, Section)
    )
    parts = [
        (field, _part(value, W.drawn_seed(experiment.seed, index, field), seed_of))
        for field, value in fields.items()
        if isinstance(value, Section)
    ]
    return Call(_maker(layer, parameters), (*plain, *seed, *name, *precision), tuple(parts))


def _maker(layer: L.Layer, parameters: Collection[str]) -> str:
    """Return what makes a layer: a class of Keras or of the script, or the function for 1×1 convolutions with strides."""
    if isinstance(layer, L.CustomLayer):
        return type(layer).__name__
    if isinstance(layer, L.Conv2D) and layer.kernel_size == (1, 1) and ("strides" in parameters or max(layer.strides) > 1):
        return STRIDED
    return f"layers.{type(layer).__name__.removesuffix('Layer')}"


def _arguments(layer: L.Layer, experiment: Experiment, parameters: Collection[str]) -> list[str]:
    """Return the fields to write: those that differ from Keras's defaults, random initializers, and parameters of a block."""
    known = [name for name in type(layer).model_fields if name not in ("name", "inputs")]
    fields = [name for name in known if name in parameters or _differs(layer, name)]
    if getattr(layer, "data_format", None) == experiment.model.data_format and "data_format" in fields:
        fields.remove("data_format")
    if isinstance(layer, L.AveragePooling2D) and "pool_size" not in fields:
        fields.insert(0, "pool_size")  # Keras has no default for it
    return fields


def _differs(section: Section, name: str) -> bool:
    value = getattr(section, name)
    return isinstance(value, W.Seeded) or value != type(section).model_fields[name].default


def _plain(layer: L.Layer, field: str, value: object, parameter: str | None) -> str:
    if parameter is not None:
        text = parameter
    elif field == "units" and value == L.CLASSES:
        text = "CLASSES"
    elif isinstance(value, tuple) and (
        (field in _PAIRS and not isinstance(layer, L.CustomLayer)) or isinstance(layer, L.ZeroPadding2D | L.Cropping2D)
    ):
        text = pair(value)
    else:
        text = literal(value)
    return text if field in _FIRST.get(type(layer), ()) else f"{field}={text}"


def _part(section: Section, seed: int, seed_of: Callable[[int], str]) -> Call:
    """Generate the call of an initializer, regularizer or constraint."""
    names = [name for name in type(section).model_fields if _differs(section, name)]
    fields = {name: literal(getattr(section, name)) for name in names}
    if isinstance(section, W.Seeded):
        fields["seed"] = seed_of(seed) if section.seed is None else literal(section.seed)
    alone = isinstance(section, _ALONE)
    return Call(type(section).__name__, tuple(text if alone else f"{name}={text}" for name, text in fields.items()))


STRIDED = "strided_conv2d"
"""The function of a script for 1×1 convolutions with strides."""
STRIDED_CONV2D = '''
def strided_conv2d(*arguments, **options):
    """Return a 1×1 convolution that takes the pixels at its strides before it convolves."""
    layer = layers.Conv2D(*arguments, **options)
    down, right = layer.strides  # with them, oneDNN's gradient by the kernel is wrong

    def convolution_op(images, kernel):
        first = layer.data_format == "channels_first"
        read = images[:, :, ::down, ::right] if first else images[:, ::down, ::right]
        return keras.ops.conv(read, kernel, data_format=layer.data_format)

    layer.convolution_op = convolution_op
    return layer
'''


ADAPT = """
pixels = train_images  # of 0 to 255: their sums are exact, in any order  #? !channels_first
pixels = train_images.transpose(0, 3, 1, 2)  # of 0 to 255: their sums are exact, in any order  #? channels_first
mean = pixels.mean(axis=$axes, dtype="float64")
variance = np.square(pixels, dtype="uint16").mean(axis=$axes, dtype="float64") - mean**2
normalization = model.get_layer($name)
normalization.set_weights([mean / 255, variance / 255**2, np.int32(0)])  # as adapt() would
normalization.finalize_state()
"""


def strided(network: str, needs: Needs) -> list[str]:
    """Generate the function for 1×1 convolutions with strides, if the code of a network calls it."""
    return [written(STRIDED_CONV2D, needs)] if f"{STRIDED}(" in network else []


def adapting(experiment: Experiment, needs: Needs) -> list[str]:
    """Generate the code that computes mean and variance of the training images for each normalization that needs them."""
    network = experiment.network
    parts = []
    for node in network.nodes:
        if isinstance(node.layer, L.Normalization) and node.layer.adapted:
            kept = [axis + 1 for axis in kept_axes(node.layer, network.image)]
            axes = tuple(axis for axis in range(4) if axis not in kept)
            parts.append(written(ADAPT, needs, axes=literal(axes), name=literal(node.name)))
    return ["\n\n".join(parts)] if parts else []


def is_regularized(experiment: Experiment) -> bool:
    """Return True if a layer adds a regularization penalty to the loss."""
    return bool(part_classes(experiment, W.REGULARIZERS))
