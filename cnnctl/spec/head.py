"""What the outputs of the network are, and the loss: do they suit each other, the classes and the labels?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import Facts, LayerContext, format_of, show_shape
from cnnctl.spec.stack import INPUT, Complaint, Node, nodes_of
from cnnctl.spec.training import CategoricalCrossentropy, SparseCategoricalCrossentropy

LOGITS, PROBABILITIES = "logits", "probabilities"
BOUNDED = ("sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign", "relu6")
"""Activations whose means and sums stay within a few units: no logits, since softmax would never come near 0 or 1."""
EACH_BY_ITSELF = ("sigmoid", "hard_sigmoid")
WITHOUT_SOFTMAX = "remove that softmax for logits, or end the network with it: activation: {activation: softmax}"
UNCHANGED = ("linear", "relu", "relu6", "leaky_relu", "elu", "celu")
"""Activations that leave numbers from 0 to 1 as they are."""


@dataclass(frozen=True)
class Loss:
    """The loss of a training, decided.

    Attributes:
        name: Keras's name, `sparse_categorical_crossentropy` or `categorical_crossentropy`.
        from_logits: whether the network gives logits; otherwise it gives probabilities.
        label_smoothing: how much of each label is spread over all classes.
        why: one line for people.
    """

    name: str
    from_logits: bool
    label_smoothing: float
    why: str


@dataclass(frozen=True)
class Values:
    """What the values of a layer are, by all layers that made them.

    Attributes:
        kind: `logits` (any real numbers), `probabilities` (along the last axis), the name of an activation, or in words
            what is none of these.
        node: the layer that made them so; None for the image.
        remedy: what makes them logits or probabilities, where they are none.
        softmax: the layer whose softmax they still come from, if any.
        made_from: the activation whose means, maxima or sums logits are, if any.
    """

    kind: str
    node: Node | None
    remedy: str = ""
    softmax: Node | None = None
    made_from: str = ""

    @property
    def usable(self) -> bool:
        """Return True if there is a loss for them."""
        return self.kind in (LOGITS, PROBABILITIES)


IMAGE = Values(LOGITS, None)


def values_of(
    nodes: Sequence[Node], facts: Sequence[Facts] | None = None, around: LayerContext | None = None
) -> dict[str, Values]:
    """Determine what the values of every layer are.

    Args:
        nodes: the stack.
        facts: those of its layers; None for a checked network. They tell where a softmax is not one over the classes.
        around: the model's data format; with `facts`.
    """
    shapes = {each.name: each for each in facts or ()}
    known = {INPUT: IMAGE}
    for node in nodes:
        softmax_of_columns = around is not None and format_of(node.layer, around) == "channels_first"
        taken = [known[name] for name in node.inputs]
        known[node.name] = _made_by(node, taken, shapes.get(node.name), softmax_of_columns)
    return known


def gives(nodes: Sequence[Node]) -> str:
    """Return what a checked network gives: `probabilities`, `logits`, or in an embedding something else."""
    return values_of(nodes)[nodes[-1].name].kind


def _made_by(node: Node, taken: Sequence[Values], facts: Facts | None, softmax_of_columns: bool) -> Values:
    layer, values = node.layer, taken[0]
    match layer:
        case L.Conv2D() | L.Dense():
            return _activated(node, Values(LOGITS, node), facts)
        case L.ActivationLayer():
            return _activated(node, values, facts)
        case L.BatchNormalization():
            return Values(LOGITS, node)
        case L.Dropout():
            return _dropped(node, layer, values)
        case L.Flatten():
            return _flattened(node, values, facts)
        case L.ZeroPadding2D():
            return values if values.kind != PROBABILITIES else _no_longer(node, "zeros around probabilities")
        case L.Pooling() | L.GlobalPooling():
            return _pooled(node, values, facts, softmax_of_columns)
        case L.Add():
            return _added(node, taken)
        case L.Concatenate():
            return _side_by_side(node, taken)
    return values


def _no_longer(node: Node, kind: str) -> Values:
    """Return values that a layer made of probabilities and that are none."""
    return Values(kind, node, WITHOUT_SOFTMAX)


def _activated(node: Node, values: Values, facts: Facts | None) -> Values:
    activation = getattr(node.layer, "activation", None) or "linear"
    if activation == "softmax":
        return _softmax(node, values, facts)
    if activation == "linear" or (values.kind == PROBABILITIES and activation in UNCHANGED):
        return values
    return Values(activation, node, "leave the activation out for logits, or write softmax for probabilities")


def _softmax(node: Node, values: Values, facts: Facts | None) -> Values:
    if values.softmax:
        return Values("softmax of a softmax", node, softmax=values.softmax)
    if facts and facts.output_shape[-1] == 1:
        kind = f"1 everywhere (softmax over one value, the last axis of {show_shape(facts.output_shape)})"
        return Values(kind, node, WITHOUT_SOFTMAX)
    return Values(PROBABILITIES, node, softmax=node)


def _dropped(node: Node, layer: L.Dropout, values: Values) -> Values:
    if values.kind != PROBABILITIES or not layer.rate:
        return values
    assert values.node
    kind = f"probabilities of which training sets some to 0 and divides the others by {1 - layer.rate:g}"
    return Values(kind, node, f"move the dropout before the softmax of '{values.node.name}'", values.softmax)


def _flattened(node: Node, values: Values, facts: Facts | None) -> Values:
    count = prod(facts.input_shapes[0][:-1]) if facts else 1
    if values.kind != PROBABILITIES or count == 1:
        return values
    return _no_longer(node, f"{count:,} softmax outputs side by side, which sum to {count:,}")


def _pooled(node: Node, values: Values, facts: Facts | None, softmax_of_columns: bool) -> Values:
    """Return means or maxima; means of probabilities are probabilities, where the softmax is over the channels."""
    if values.kind != PROBABILITIES:
        return _summed(node, [values], "means or maxima")
    if softmax_of_columns:
        return _no_longer(node, "what pooling leaves of a softmax along the columns")
    maxima = isinstance(node.layer, L.MaxPooling2D | L.GlobalMaxPooling2D)
    places = prod(facts.input_shapes[0][:-1]) if facts else 1
    return _no_longer(node, "maxima of probabilities, which do not sum to 1") if maxima and places > 1 else values


def _added(node: Node, taken: Sequence[Values]) -> Values:
    if all(values.kind == PROBABILITIES for values in taken):
        return _no_longer(node, f"the sum of {len(taken)} softmax outputs, which sums to {len(taken)}")
    return _summed(node, taken, "sums")


def _summed(node: Node, taken: Sequence[Values], how: str) -> Values:
    """Return sums, means or maxima: logits, unless all that they are made of is bounded."""
    kinds = [values.kind for values in taken]
    if all(kind == LOGITS for kind in kinds):
        return taken[0] if len(taken) == 1 else Values(LOGITS, node)
    free = [kind for kind in kinds if kind not in BOUNDED and " " not in kind and kind != PROBABILITIES]
    if free:
        return Values(LOGITS, node, made_from="" if LOGITS in free else f"{how} of {' and '.join(dict.fromkeys(kinds))}")
    only = taken[0] if len(set(kinds)) == 1 else None
    if only and not only.usable:
        return replace(only, softmax=None)
    return Values(f"{how} of {' and '.join(dict.fromkeys(kinds))}", node, "leave the activations before it out for logits")


def _side_by_side(node: Node, taken: Sequence[Values]) -> Values:
    kinds = list(dict.fromkeys(values.kind for values in taken))
    if kinds == [PROBABILITIES]:
        return _no_longer(node, f"{len(taken)} softmax outputs side by side, which sum to {len(taken)}")
    if len(kinds) == 1:
        return Values(LOGITS, node) if kinds == [LOGITS] else taken[0]
    return Values(f"{' and '.join(kinds)} side by side", node, f"end with dense: {{units: {L.CLASSES}}}")


def has_penalties(experiment: Experiment) -> bool:
    """Return True if the losses of training and evaluation include penalties; those of episodes never do."""
    nodes, _ = nodes_of(experiment.model)
    fields = ((node.layer, name) for node in nodes for name in type(node.layer).model_fields if name.endswith("_regularizer"))
    return experiment.few_shot is None and any(getattr(layer, name) is not None for layer, name in fields)


def chosen_loss(experiment: Experiment, nodes: Sequence[Node]) -> Loss:
    """Return the loss that the config names, or the one that suits the network's outputs and the labels."""
    given = experiment.train.loss
    fitting = SparseCategoricalCrossentropy if experiment.data.labels == "integer" else CategoricalCrossentropy
    name = (given or fitting).kind
    output = gives(nodes)
    smoothing = getattr(given, "label_smoothing", 0.0)
    why = f"{name}, since the network gives {output} and labels are {experiment.data.labels.replace('_', '-')}"
    return Loss(name, output == LOGITS, smoothing, why)


def head_complaints(nodes: Sequence[Node], facts: Sequence[Facts], around: LayerContext) -> list[Complaint]:
    """Return what is wrong with the network's end for the classes of the data."""
    return [*_shape_complaints(nodes[-1], facts[-1], around.classes), *_value_complaints(nodes, facts, around)]


def _shape_complaints(last: Node, facts: Facts, classes: int) -> list[Complaint]:
    shape = facts.output_shape
    if len(shape) != 1:
        message = f"the network gives {show_shape(shape)} for an image, but one number a class is needed, ({classes})"
        return [(last.where, f"{message}: flatten or pool globally, then end with dense: {{units: {L.CLASSES}}}")]
    if shape[0] != classes:
        dense = isinstance(last.layer, L.Dense)
        where = (*last.where, "units") if dense else last.where
        remedy = f"write units: {L.CLASSES}" if dense else f"end with dense: {{units: {L.CLASSES}}}"
        return [(where, f"the network gives {shape[0]} numbers, but the data has {classes} classes; {remedy}")]
    return []


def _value_complaints(nodes: Sequence[Node], facts: Sequence[Facts], around: LayerContext) -> list[Complaint]:
    """Return why there is no loss for the network's outputs, where there is none."""
    values = values_of(nodes, facts, around)[nodes[-1].name]
    if values.usable:
        return []
    assert values.node
    if values.kind == "softmax of a softmax":
        assert values.softmax
        message = f"softmax of a softmax: '{values.softmax.name}' gives probabilities already; remove one of the two"
        return [(values.node.where, message)]
    return [(values.node.where, f"{_told(values)}; {values.remedy}")]


def _told(values: Values) -> str:
    if values.kind in EACH_BY_ITSELF:
        return (
            f"the network ends with {values.kind}, which scores each class by itself, from 0 to 1: the scores do not sum to 1, "
            "and the losses here are for one class per image"
        )
    if " " in values.kind:
        return f"the outputs are {values.kind}: neither logits nor probabilities"
    return f"the network ends with {values.kind}, which gives neither logits nor probabilities"


def loss_complaints(experiment: Experiment, nodes: Sequence[Node]) -> list[Complaint]:
    """Return what is wrong between the loss that the config names, the network's end and the labels."""
    loss, labels, values = experiment.train.loss, experiment.data.labels, values_of(nodes)[nodes[-1].name]
    if loss is None or not values.usable:
        return []
    where = ("train", "loss", loss.kind)
    complaints: list[Complaint] = []
    wanted = "integer" if loss.kind == SparseCategoricalCrossentropy.kind else "one_hot"
    if labels != wanted:
        complaints.append((where, f"takes {wanted} labels, but data.labels is {labels}; change one, or leave train.loss out"))
    if loss.from_logits is not None and loss.from_logits != (values.kind == LOGITS):
        expects = LOGITS if loss.from_logits else PROBABILITIES
        end = f"'{values.node.name if values.node else INPUT}' at the end of the network gives {values.kind}"
        remedy = "remove its softmax" if loss.from_logits else "give it activation: softmax"
        complaints.append(((*where, "from_logits"), f"expects {expects}, but {end}; {remedy}, or leave from_logits out"))
    return complaints
