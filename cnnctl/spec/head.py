"""The outputs of the network and the loss: logits or probabilities, and whether they match the classes and the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import Facts, LayerContext, Shape, format_of, show_shape, softmax_places
from cnnctl.spec.stack import INPUT, Complaint, Node, nodes_of
from cnnctl.spec.training import CategoricalCrossentropy, SparseCategoricalCrossentropy

LOGITS, PROBABILITIES = "logits", "probabilities"
BOUNDED = ("sigmoid", "hard_sigmoid", "sparse_sigmoid", "tanh", "hard_tanh", "softsign", "relu6")
"""Activations whose means and sums stay within a few units: not logits, since softmax would never come near 0 or 1."""
EACH_BY_ITSELF = ("sigmoid", "hard_sigmoid", "sparse_sigmoid")
WITHOUT_SOFTMAX = "remove that softmax for logits, or end the network with it: activation: {activation: softmax}"
UNCHANGED = ("linear", "relu", "relu6", "leaky_relu", "prelu", "elu", "celu")
"""Activations that do not change values between 0 and 1."""


@dataclass(frozen=True)
class Loss:
    """The resolved loss of a training.

    Attributes:
        name: Keras's name, `sparse_categorical_crossentropy` or `categorical_crossentropy`.
        from_logits: True if the network outputs logits, False for probabilities.
        label_smoothing: fraction of each label that is spread over all classes.
        why: the reason, in one line.
    """

    name: str
    from_logits: bool
    label_smoothing: float
    why: str


@dataclass(frozen=True)
class Values:
    """The kind of values that a layer outputs.

    Attributes:
        kind: `logits` (any real numbers), `probabilities` (along the last axis), the name of an activation, or a
            description in words.
        node: the layer that determines the kind; None for the image.
        remedy: the change that makes them logits or probabilities, if they are neither.
        softmax: the layers whose softmax they still derive from: several after an average.
        made_from: the activation whose means, maxima or sums the logits are, if any.
    """

    kind: str
    node: Node | None
    remedy: str = ""
    softmax: tuple[Node, ...] = ()
    made_from: str = ""

    @property
    def usable(self) -> bool:
        """Whether there is a loss for them."""
        return self.kind in (LOGITS, PROBABILITIES)


IMAGE = Values(LOGITS, None)


def values_of(
    nodes: Sequence[Node], facts: Sequence[Facts] | None = None, context: LayerContext | None = None
) -> dict[str, Values]:
    """Determine the kind of values of every layer.

    Args:
        nodes: the stack.
        facts: the facts of its layers; None for a checked network. They show a softmax that is not over the classes.
        context: the context with the model's data format; with `facts`.
    """
    shapes = {each.name: each for each in facts or ()}
    known = {INPUT: IMAGE}
    for node in nodes:
        softmax_of_columns = context is not None and format_of(node.layer, context) == "channels_first"
        taken = [known[name] for name in node.inputs]
        known[node.name] = _made_by(_Step(node, taken, shapes.get(node.name), softmax_of_columns))
    return known


def output_kind(nodes: Sequence[Node]) -> str:
    """Return the output kind of a checked network: `probabilities`, `logits`, or another kind for an embedding."""
    return values_of(nodes)[nodes[-1].name].kind


@dataclass(frozen=True)
class _Step:
    """A layer with the values that it takes.

    Attributes:
        node: the layer.
        taken: the kinds of values of its inputs.
        facts: its facts, where they are known.
        softmax_of_columns: True under channels_first, where a softmax along the last axis is along the columns.
    """

    node: Node
    taken: Sequence[Values]
    facts: Facts | None
    softmax_of_columns: bool

    @property
    def values(self) -> Values:
        """The kind of values of its first input."""
        return self.taken[0]


def _made_by(step: _Step) -> Values:
    """Determine the kind of values that a layer outputs; a layer without a rule passes on those of its input."""
    rule = next((_MADE[kind] for kind in type(step.node.layer).__mro__ if kind in _MADE), None)
    return rule(step) if rule else step.values


def _no_longer(node: Node, kind: str) -> Values:
    """Describe values that were probabilities before this layer and are not any more."""
    return Values(kind, node, WITHOUT_SOFTMAX)


def _activated(node: Node, values: Values, facts: Facts | None) -> Values:
    activation = activation_of(node.layer)
    if activation == "softmax":
        return _softmax(node, values, facts)
    if activation == "log_softmax":
        return _log_softmax(node, values, facts)
    if activation == "linear" or (values.kind == PROBABILITIES and _keeps_fractions(node.layer, activation)):
        return values
    return Values(activation, node, "remove the activation for logits, or set softmax for probabilities")


def activation_of(layer: L.Layer) -> str:
    """Return the activation with which a layer ends, by Keras's name or described; `linear` for none."""
    if isinstance(layer, L.ReLU) and layer.max_value is not None:
        return f"relu of at most {layer.max_value:g}"
    if isinstance(layer, L.ReLU | L.LeakyReLU | L.PReLU | L.ELU):
        return layer.kind
    return getattr(layer, "activation", None) or "linear"


def _keeps_fractions(layer: L.Layer, activation: str) -> bool:
    """Return True if an activation does not change values between 0 and 1."""
    if isinstance(layer, L.ReLU):
        return layer.threshold == 0 and (layer.max_value is None or layer.max_value >= 1)
    return activation in UNCHANGED


def _softmax(node: Node, values: Values, facts: Facts | None) -> Values:
    if facts and not _over_last(node.layer, facts.output_shape):
        return Values("outputs of a softmax along other axes than the last", node, WITHOUT_SOFTMAX)
    if values.softmax:
        return Values("softmax of a softmax", node, softmax=values.softmax)
    if facts and facts.output_shape[-1] == 1:
        return _of_one_value(node, "1 everywhere (softmax", facts)
    return Values(PROBABILITIES, node, softmax=(node,))


def _log_softmax(node: Node, values: Values, facts: Facts | None) -> Values:
    """Describe logarithms of probabilities: logits, since their softmax is these probabilities."""
    if values.softmax:
        return Values("log_softmax of a softmax", node, softmax=values.softmax)
    if facts and facts.output_shape[-1] == 1:
        return _of_one_value(node, "0 everywhere (log_softmax", facts)
    return Values(LOGITS, node)


def _of_one_value(node: Node, always: str, facts: Facts) -> Values:
    kind = f"{always} over one value, the last axis of {show_shape(facts.output_shape)})"
    return Values(kind, node, WITHOUT_SOFTMAX)


def _over_last(layer: L.Layer, shape: Shape) -> bool:
    """Return True if a softmax makes values along the last axis sum to 1: its other axes have length 1."""
    *others, last = softmax_places(layer, shape)
    return last == len(shape) - 1 and all(shape[place] == 1 for place in others)


def _padded(node: Node, values: Values) -> Values:
    return values if values.kind != PROBABILITIES else _no_longer(node, "zeros around probabilities")


def _cropped(node: Node, values: Values, softmax_of_columns: bool) -> Values:
    """Crop values; probabilities remain, unless they are along the cropped columns."""
    assert isinstance(node.layer, L.Cropping2D)
    if values.kind != PROBABILITIES or not softmax_of_columns or not sum(node.layer.cropping[1]):
        return values
    return _no_longer(node, "cropped outputs of a softmax along the columns")


def _enlarged(node: Node, values: Values, softmax_of_columns: bool) -> Values:
    """Interpolate values; means of probabilities with positive weights are probabilities, unless they are along the columns."""
    layer = node.layer
    assert isinstance(layer, L.UpSampling2D)
    if values.kind != PROBABILITIES or layer.size == (1, 1):
        return values
    if softmax_of_columns and layer.size[1] > 1:
        return _no_longer(node, "interpolated outputs of a softmax along the columns")
    if layer.interpolation in ("nearest", "bilinear"):
        return values
    return _no_longer(node, f"probabilities after {layer.interpolation} interpolation, whose weights may be negative")


def _rescaled(node: Node, values: Values) -> Values:
    layer = node.layer
    assert isinstance(layer, L.Rescaling)
    unchanged = _all(layer.scale, 1) and _all(layer.offset, 0)
    return values if values.kind != PROBABILITIES or unchanged else _no_longer(node, "rescaled probabilities")


def _all(numbers: float | tuple[float, ...], number: float) -> bool:
    return set(numbers if isinstance(numbers, tuple) else (numbers,)) == {number}


def _reshaped(node: Node, values: Values, facts: Facts | None) -> Values:
    """Reshape values; probabilities remain if the last axis keeps its length."""
    if values.kind != PROBABILITIES or facts is None or facts.input_shapes[0][-1] == facts.output_shape[-1]:
        return values
    return _no_longer(node, f"softmax outputs that a reshape cut into rows of {facts.output_shape[-1]}")


def _permuted(node: Node, values: Values) -> Values:
    assert isinstance(node.layer, L.Permute)
    if values.kind != PROBABILITIES or node.layer.dims[-1] == len(node.layer.dims):
        return values
    return _no_longer(node, "softmax outputs that a permute moved to another axis than the last")


def _changed_at_random(node: Node, values: Values) -> Values:
    layer = node.layer
    assert isinstance(layer, L.RandomLayer)
    if values.kind != PROBABILITIES or not layer.acts:
        return values
    assert values.node
    kind = f"probabilities after {layer.kind}, which changes them at random in training"
    if isinstance(layer, L.Dropout):
        kind = f"probabilities after dropout, which sets some to 0 and divides the others by {1 - layer.rate:g} in training"
    return Values(kind, node, f"move the {layer.kind} before the softmax of '{values.node.name}'", values.softmax)


def _flattened(node: Node, values: Values, facts: Facts | None) -> Values:
    count = prod(facts.input_shapes[0][:-1]) if facts else 1
    if values.kind != PROBABILITIES or count == 1:
        return values
    return _no_longer(node, f"{count:,} softmax outputs side by side, which sum to {count:,}")


def _pooled(node: Node, values: Values, facts: Facts | None, softmax_of_columns: bool) -> Values:
    """Describe means or maxima; means of probabilities are probabilities if the softmax is over the channels."""
    if values.kind != PROBABILITIES:
        return _summed(node, [values], "means or maxima")
    if softmax_of_columns:
        return _no_longer(node, "pooled outputs of a softmax along the columns")
    maxima = isinstance(node.layer, L.MaxPooling2D | L.GlobalMaxPooling2D)
    places = prod(facts.input_shapes[0][:-1]) if facts else 1
    return _no_longer(node, "maxima of probabilities, which do not sum to 1") if maxima and places > 1 else values


_OF_SOFTMAX = {
    "add": "the sum of {n} softmax outputs, which sums to {n}",
    "multiply": "the product of {n} softmax outputs, which does not sum to 1",
    "maximum": "the maximum of {n} softmax outputs, which does not sum to 1",
    "minimum": "the minimum of {n} softmax outputs, which does not sum to 1",
    "subtract": "the difference of {n} softmax outputs, which sums to 0",
}
_OF_VALUES = {
    "add": "sums",
    "multiply": "products",
    "average": "means",
    "maximum": "maxima",
    "minimum": "minima",
    "subtract": "differences",
}


def _combined(node: Node, taken: Sequence[Values]) -> Values:
    """Describe a join value by value; the average of probabilities is probabilities."""
    layer = node.layer
    if len(set(node.inputs)) == 1 and isinstance(layer, L.Average | L.Maximum | L.Minimum):
        return taken[0]  # of a layer with itself
    if all(values.kind == PROBABILITIES for values in taken):
        if isinstance(layer, L.Average):
            return Values(PROBABILITIES, node, softmax=tuple(each for values in taken for each in values.softmax))
        return _no_longer(node, _OF_SOFTMAX[layer.kind].format(n=len(taken)))
    return _summed(node, taken, _OF_VALUES[layer.kind])


def _summed(node: Node, taken: Sequence[Values], how: str) -> Values:
    """Describe sums, means or maxima: logits, unless all their inputs are bounded."""
    kinds = [values.kind for values in taken]
    if all(kind == LOGITS for kind in kinds):
        return taken[0] if len(taken) == 1 else Values(LOGITS, node)
    free = [kind for kind in kinds if kind not in BOUNDED and " " not in kind and kind != PROBABILITIES]
    if free:
        return Values(LOGITS, node, made_from="" if LOGITS in free else f"{how} of {' and '.join(dict.fromkeys(kinds))}")
    only = taken[0] if len(set(kinds)) == 1 else None
    if only and not only.usable:
        return replace(only, softmax=())
    return Values(f"{how} of {' and '.join(dict.fromkeys(kinds))}", node, "remove the activations before it for logits")


def _side_by_side(node: Node, taken: Sequence[Values]) -> Values:
    kinds = list(dict.fromkeys(values.kind for values in taken))
    if kinds == [PROBABILITIES]:
        return _no_longer(node, f"{len(taken)} softmax outputs side by side, which sum to {len(taken)}")
    if len(kinds) == 1:
        return Values(LOGITS, node) if kinds == [LOGITS] else taken[0]
    return Values(f"{' and '.join(kinds)} side by side", node, f"end with dense: {{units: {L.CLASSES}}}")


def _of_ones_own(node: Node) -> Values:
    """Return what the class of a layer of one's own says that it outputs: logits unless it says probabilities."""
    assert isinstance(node.layer, L.CustomLayer)
    softmax = (node,) if node.layer.own.outputs == PROBABILITIES else ()
    return Values(PROBABILITIES if softmax else LOGITS, node, softmax=softmax)


_MADE: dict[type[L.Layer], Callable[[_Step], Values]] = {
    L.Conv2D: lambda step: _activated(step.node, Values(LOGITS, step.node), step.facts),
    L.DepthwiseConv2D: lambda step: _activated(step.node, Values(LOGITS, step.node), step.facts),
    L.SeparableConv2D: lambda step: _activated(step.node, Values(LOGITS, step.node), step.facts),
    L.Conv2DTranspose: lambda step: _activated(step.node, Values(LOGITS, step.node), step.facts),
    L.Dense: lambda step: _activated(step.node, Values(LOGITS, step.node), step.facts),
    L.ActivationLayer: lambda step: _activated(step.node, step.values, step.facts),
    L.ReLU: lambda step: _activated(step.node, step.values, step.facts),
    L.LeakyReLU: lambda step: _activated(step.node, step.values, step.facts),
    L.PReLU: lambda step: _activated(step.node, step.values, step.facts),
    L.ELU: lambda step: _activated(step.node, step.values, step.facts),
    L.Softmax: lambda step: _softmax(step.node, step.values, step.facts),
    L.BatchNormalization: lambda step: Values(LOGITS, step.node),
    L.LayerNormalization: lambda step: Values(LOGITS, step.node),
    L.GroupNormalization: lambda step: Values(LOGITS, step.node),
    L.Normalization: lambda step: Values(LOGITS, step.node),
    L.UnitNormalization: lambda step: Values("values of norm 1", step.node, "remove the unit_normalization for logits"),
    L.RandomLayer: lambda step: _changed_at_random(step.node, step.values),
    L.Flatten: lambda step: _flattened(step.node, step.values, step.facts),
    L.ZeroPadding2D: lambda step: _padded(step.node, step.values),
    L.Cropping2D: lambda step: _cropped(step.node, step.values, step.softmax_of_columns),
    L.UpSampling2D: lambda step: _enlarged(step.node, step.values, step.softmax_of_columns),
    L.Rescaling: lambda step: _rescaled(step.node, step.values),
    L.Reshape: lambda step: _reshaped(step.node, step.values, step.facts),
    L.Permute: lambda step: _permuted(step.node, step.values),
    L.Pooling: lambda step: _pooled(step.node, step.values, step.facts, step.softmax_of_columns),
    L.GlobalPooling: lambda step: _pooled(step.node, step.values, step.facts, step.softmax_of_columns),
    L.ValueJoin: lambda step: _combined(step.node, step.taken),
    L.Concatenate: lambda step: _side_by_side(step.node, step.taken),
    L.CustomLayer: lambda step: _of_ones_own(step.node),
}
"""The kind of values that each family of layers outputs."""


def has_penalties(experiment: Experiment) -> bool:
    """Return True if the losses of training and evaluation include regularization penalties; those of episodes never do."""
    nodes, _ = nodes_of(experiment.model)
    fields = ((node.layer, name) for node in nodes for name in type(node.layer).model_fields if name.endswith("_regularizer"))
    return experiment.few_shot is None and any(getattr(layer, name) is not None for layer, name in fields)


def chosen_loss(experiment: Experiment) -> Loss:
    """Return the loss of the config, or the one that matches the outputs of the network and the labels."""
    given = experiment.train.loss
    fitting = SparseCategoricalCrossentropy if experiment.data.labels == "integer" else CategoricalCrossentropy
    name = (given or fitting).kind
    output = output_kind(experiment.network.nodes)
    smoothing = getattr(given, "label_smoothing", 0.0)
    why = f"{name}, since the network outputs {output} and labels are {experiment.data.labels.replace('_', '-')}"
    return Loss(name, output == LOGITS, smoothing, why)


def head_complaints(nodes: Sequence[Node], facts: Sequence[Facts], context: LayerContext) -> list[Complaint]:
    """Check the output of the network against the classes of the data."""
    return [*_shape_complaints(nodes[-1], facts[-1], context.classes), *_value_complaints(nodes, facts, context)]


def _shape_complaints(last: Node, facts: Facts, classes: int) -> list[Complaint]:
    shape = facts.output_shape
    if len(shape) != 1:
        message = f"the network outputs {show_shape(shape)} per image, but one value per class is required, ({classes})"
        return [(last.where, f"{message}: flatten or pool globally, then end with dense: {{units: {L.CLASSES}}}")]
    if shape[0] != classes:
        dense = isinstance(last.layer, L.Dense)
        where = (*last.where, "units") if dense else last.where
        remedy = f"write units: {L.CLASSES}" if dense else f"end with dense: {{units: {L.CLASSES}}}"
        return [(where, f"the network has {counted(shape[0], 'output')}, but the data has {classes} classes; {remedy}")]
    return []


def _value_complaints(nodes: Sequence[Node], facts: Sequence[Facts], context: LayerContext) -> list[Complaint]:
    """Check that there is a loss for the outputs of the network."""
    values = values_of(nodes, facts, context)[nodes[-1].name]
    if values.usable:
        return []
    assert values.node
    if values.kind.endswith("softmax of a softmax"):
        assert values.softmax
        message = f"{values.kind}: '{values.softmax[0].name}' already outputs probabilities; remove one of the two"
        return [(values.node.where, message)]
    return [(values.node.where, f"{_described(values)}; {values.remedy}")]


def _described(values: Values) -> str:
    if values.kind in EACH_BY_ITSELF:
        return (
            f"the network ends with {values.kind}, which scores each class separately, from 0 to 1: the scores do not sum to 1, "
            "and the losses of cnnctl are for one class per image"
        )
    if " " in values.kind:
        return f"the outputs are {values.kind}: neither logits nor probabilities"
    return f"the network ends with {values.kind}, which outputs neither logits nor probabilities"


def loss_complaints(experiment: Experiment, nodes: Sequence[Node]) -> list[Complaint]:
    """Check the loss of the config against the output of the network and the labels."""
    loss, labels, values = experiment.train.loss, experiment.data.labels, values_of(nodes)[nodes[-1].name]
    if loss is None or not values.usable:
        return []
    where = ("train", "loss", loss.kind)
    complaints: list[Complaint] = []
    wanted = "integer" if loss.kind == SparseCategoricalCrossentropy.kind else "one_hot"
    if labels != wanted:
        complaints.append((where, f"takes {wanted} labels, but data.labels is {labels}; change one, or remove train.loss"))
    if loss.from_logits is not None and loss.from_logits != (values.kind == LOGITS):
        expects = LOGITS if loss.from_logits else PROBABILITIES
        end = f"'{values.node.name if values.node else INPUT}' at the end of the network outputs {values.kind}"
        remedy = "remove its softmax" if loss.from_logits else "set activation: softmax for it"
        complaints.append(((*where, "from_logits"), f"expects {expects}, but {end}; {remedy}, or remove from_logits"))
    return complaints
