"""The network as Keras code in three styles, one layer per line with its output shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cnnctl.script.expressions import WIDTH, Call, hung, literal, pair
from cnnctl.script.layer_names import attribute_names, tensor_names
from cnnctl.spec import layers as L
from cnnctl.spec import weights as W
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import output_kind
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import Shape
from cnnctl.spec.stack import Node

_FIRST = {
    L.Conv2D: ("filters", "kernel_size"),
    L.ZeroPadding2D: ("padding",),
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
_PAIRS = ("kernel_size", "strides", "dilation_rate", "pool_size")
_ALONE = (W.Constant, W.L1, W.L2)
"""Parts with a single positional argument."""


def network(experiment: Experiment) -> str:
    """Generate the code that builds `model`."""
    return _STYLES[experiment.model.style](experiment)


def part_classes(experiment: Experiment, parts: Iterable[type[Section]]) -> list[str]:
    """Return the names of the initializers, regularizers or constraints, among `parts`, that the code calls."""
    used = {part.function for call in _calls(experiment) for _, part in call.parts}
    return sorted(used & {part.__name__ for part in parts})


def _sequential(experiment: Experiment) -> str:
    lines = _with_shapes([("        ", call, ",") for call in _calls(experiment)], experiment)
    image = literal(experiment.network.image)
    return "\n".join(["model = keras.Sequential(", "    [", f"        keras.Input({image}),", *lines, "    ]", ")"])


def _functional(experiment: Experiment) -> str:
    nodes = experiment.network.nodes
    tensors = tensor_names(nodes, "inputs", last="outputs")
    calls = [
        (f"    {tensors[node.name]} = ", call, f"({_taken(node, tensors)})")
        for node, call in zip(nodes, _calls(experiment), strict=True)
    ]
    return "\n".join(
        [
            "def build_model():",
            f'    """Return the network: images {_shape(experiment.network.image)} to {output_kind(nodes)} (B, CLASSES)."""',
            f"    inputs = keras.Input({literal(experiment.network.image)})",
            *_with_shapes(calls, experiment),
            "    return keras.Model(inputs, outputs)",
            "",
            "",
            "model = build_model()",
        ]
    )


def _subclass(experiment: Experiment) -> str:
    nodes = experiment.network.nodes
    names = attribute_names(nodes)
    made = [
        line
        for node, call in zip(nodes, _calls(experiment), strict=True)
        for line in hung(f"        self.{names[node.name]} = ", call, "", WIDTH)
    ]
    return "\n".join(
        [
            "class Network(keras.Model):",
            f'    """Images {_shape(experiment.network.image)} to {output_kind(nodes)} (B, CLASSES)."""',
            "",
            "    def __init__(self):",
            "        super().__init__()",
            *made,
            "",
            "    def call(self, images, training=False):",
            *_with_shapes(_steps(nodes, names), experiment),
            "",
            "",
            "model = Network()",
            f"model(tf.zeros({literal((1, *experiment.network.image))}))  # creates the weights",
        ]
    )


_STYLES: dict[str, Callable[[Experiment], str]] = {
    "sequential": _sequential,
    "functional": _functional,
    "subclass": _subclass,
}


def _steps(nodes: Sequence[Node], names: dict[str, str]) -> list[tuple[str, Call, str]]:
    """Generate the lines of `call`: each layer takes the tensors of its inputs."""
    tensors = tensor_names(nodes, "images", last="")
    steps = []
    for node in nodes:
        target = f"{tensors[node.name]} = " if tensors[node.name] else "return "
        training = ("training=training",) if _acts_in_training(node.layer) else ()
        call = Call(f"self.{names[node.name]}", (_taken(node, tensors), *training))
        steps.append((f"        {target}", call, ""))
    return steps


def _acts_in_training(layer: L.Layer) -> bool:
    own = isinstance(layer, L.CustomLayer) and layer.own.takes_training
    return own or isinstance(layer, L.RandomLayer | L.BatchNormalization)


def _with_shapes(calls: Sequence[tuple[str, Call, str]], experiment: Experiment) -> list[str]:
    """Format the lines of calls, with the output shape of each layer in a comment column."""
    shapes = [_shape(facts.output_shape) for facts in experiment.network.facts]
    most = WIDTH - max(map(len, shapes)) - 4
    written = [hung(head, call, tail, most) for head, call, tail in calls]
    column = min(max(len(lines[0]) for lines in written), most)
    return [
        line
        for shape, (first, *others) in zip(shapes, written, strict=True)
        for line in (f"{first:<{column}}  # {shape}", *others)
    ]


def _shape(shape: Shape) -> str:
    return f"(B, {', '.join(map(str, shape))})"


def _taken(node: Node, tensors: dict[str, str]) -> str:
    names = [tensors[name] for name in node.inputs]
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


# layers


def _calls(experiment: Experiment) -> list[Call]:
    """Generate the Keras call of each layer."""
    nodes = experiment.network.nodes
    return [_layer(node, index, experiment, last=node is nodes[-1]) for index, node in enumerate(nodes)]


def _layer(node: Node, index: int, experiment: Experiment, last: bool) -> Call:
    layer, mixed = node.layer, experiment.train.precision != "float32"
    fields = {name: getattr(layer, name) for name in _arguments(layer, experiment)}
    name = (f"name={literal(node.name)}",) if layer.name else ()
    draws = isinstance(layer, L.RandomLayer | L.CustomLayer) and getattr(layer, "seed", 0) is None
    if draws:
        fields.pop("seed", None)
    if isinstance(layer, L.CustomLayer) and "data_format" in type(layer).model_fields:
        fields["data_format"] = getattr(layer, "data_format", None) or experiment.model.data_format
    seed = (f"seed={W.drawn_seed(experiment.seed, index, 'seed')}",) if draws else ()
    precision = ('dtype="float32"',) if mixed and last else ()
    plain = tuple(_plain(layer, field, value) for field, value in fields.items() if not isinstance(value, Section))
    parts = [
        (field, _part(value, W.drawn_seed(experiment.seed, index, field)))
        for field, value in fields.items()
        if isinstance(value, Section)
    ]
    kind = type(layer).__name__ if isinstance(layer, L.CustomLayer) else f"layers.{type(layer).__name__.removesuffix('Layer')}"
    return Call(kind, (*plain, *seed, *name, *precision), tuple(parts))


def _arguments(layer: L.Layer, experiment: Experiment) -> list[str]:
    """Return the fields to write: those that differ from Keras's defaults, and random initializers."""
    fields = [name for name in type(layer).model_fields if name not in ("name", "inputs") and _differs(layer, name)]
    if getattr(layer, "data_format", None) == experiment.model.data_format and "data_format" in fields:
        fields.remove("data_format")
    if isinstance(layer, L.AveragePooling2D) and "pool_size" not in fields:
        fields.insert(0, "pool_size")  # Keras has no default for it
    return fields


def _differs(section: Section, name: str) -> bool:
    value = getattr(section, name)
    return isinstance(value, W.Seeded) or value != type(section).model_fields[name].default


def _plain(layer: L.Layer, field: str, value: object) -> str:
    if field == "units" and value == L.CLASSES:
        text = "CLASSES"
    elif isinstance(value, tuple) and (
        (field in _PAIRS and not isinstance(layer, L.CustomLayer)) or isinstance(layer, L.ZeroPadding2D)
    ):
        text = pair(value)
    else:
        text = literal(value)
    return text if field in _FIRST.get(type(layer), ()) else f"{field}={text}"


def _part(section: Section, seed: int) -> Call:
    """Generate the call of an initializer, regularizer or constraint."""
    fields = {name: getattr(section, name) for name in type(section).model_fields if _differs(section, name)}
    if isinstance(section, W.Seeded):
        fields = {**fields, "seed": seed if section.seed is None else section.seed}
    alone = isinstance(section, _ALONE)
    return Call(
        type(section).__name__, tuple(literal(value) if alone else f"{name}={literal(value)}" for name, value in fields.items())
    )


def is_regularized(experiment: Experiment) -> bool:
    """Return True if a layer adds a regularization penalty to the loss."""
    return bool(part_classes(experiment, W.REGULARIZERS))
