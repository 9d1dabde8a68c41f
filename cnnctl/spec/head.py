"""The end of the network and the loss: do they suit each other, the classes and the labels?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import Facts, show_shape
from cnnctl.spec.stack import Complaint, Node, nodes_of
from cnnctl.spec.training import CategoricalCrossentropy, SparseCategoricalCrossentropy


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


def gives(nodes: Sequence[Node]) -> str:
    """Returns `probabilities`, `logits`, or the name of an activation that gives neither."""
    activation = _activation(_giver(nodes))
    return {"softmax": "probabilities", "linear": "logits"}.get(activation, activation)


def _activation(node: Node) -> str:
    return getattr(node.layer, "activation", None) or "linear"


def _giver(nodes: Sequence[Node]) -> Node:
    """Returns the layer whose values the network gives; layers after it only arrange, drop or average them."""
    by_name = {node.name: node for node in nodes}
    node = nodes[-1]
    while (before := by_name.get(node.inputs[0])) and _passes_on(node, before):
        node = before
    return node


def _passes_on(node: Node, before: Node) -> bool:
    if isinstance(node.layer, L.ActivationLayer):
        return _activation(node) == "linear"
    if isinstance(node.layer, L.GlobalAveragePooling2D):
        return _activation(before) == "softmax"  # means of probabilities are probabilities; means of relu's maps may be logits
    return isinstance(node.layer, L.Flatten | L.Dropout)


def has_penalties(experiment: Experiment) -> bool:
    """Returns whether the losses of training and evaluation include penalties; those of episodes never do."""
    nodes, _ = nodes_of(experiment.model)
    fields = ((node.layer, name) for node in nodes for name in type(node.layer).model_fields if name.endswith("_regularizer"))
    return experiment.few_shot is None and any(getattr(layer, name) is not None for layer, name in fields)


def chosen_loss(experiment: Experiment, nodes: Sequence[Node]) -> Loss:
    """Returns the loss that the config names, or the one that suits the last layer and the labels."""
    given = experiment.train.loss
    fitting = SparseCategoricalCrossentropy if experiment.data.labels == "integer" else CategoricalCrossentropy
    name = (given or fitting).kind
    output = gives(nodes)
    smoothing = getattr(given, "label_smoothing", 0.0)
    why = f"{name}, since the last layer gives {output} and labels are {experiment.data.labels.replace('_', '-')}"
    return Loss(name, output == "logits", smoothing, why)


def head_complaints(nodes: Sequence[Node], facts: Sequence[Facts], classes: int) -> list[Complaint]:
    """Returns what is wrong with the network's end for `classes` classes."""
    return [*_shape_complaints(nodes[-1], facts[-1], classes), *_softmax_complaints(nodes)]


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


def _softmax_complaints(nodes: Sequence[Node]) -> list[Complaint]:
    last = _giver(nodes)
    output = gives(nodes)
    if output not in ("logits", "probabilities"):
        message = f"the network ends with {output}, which gives neither logits nor probabilities"
        return [(last.where, f"{message}; leave the activation out for logits, or say softmax for probabilities")]
    by_name = {node.name: node for node in nodes}
    before = by_name.get(last.inputs[0])
    if output == "probabilities" and before and getattr(before.layer, "activation", None) == "softmax":
        return [(last.where, f"softmax of a softmax: '{before.name}' gives probabilities already; remove one of the two")]
    return []


def loss_complaints(experiment: Experiment, nodes: Sequence[Node]) -> list[Complaint]:
    """Returns what is wrong between the loss that the config names, the network's end and the labels."""
    loss, labels, output = experiment.train.loss, experiment.data.labels, gives(nodes)
    if loss is None or output not in ("logits", "probabilities"):
        return []
    where = ("train", "loss", loss.kind)
    complaints: list[Complaint] = []
    wanted = "integer" if loss.kind == SparseCategoricalCrossentropy.kind else "one_hot"
    if labels != wanted:
        complaints.append((where, f"takes {wanted} labels, but data.labels is {labels}; change one, or leave train.loss out"))
    if loss.from_logits is not None and loss.from_logits != (output == "logits"):
        expects = "logits" if loss.from_logits else "probabilities"
        end = f"'{_giver(nodes).name}' at the end of the network gives {output}"
        remedy = "remove its softmax" if loss.from_logits else "give it activation: softmax"
        complaints.append(((*where, "from_logits"), f"expects {expects}, but {end}; {remedy}, or leave from_logits out"))
    return complaints
