"""Explain the arithmetic of every layer in words, with the numbers of the config.

Formulas as in Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016),
and Ioffe and Szegedy, "Batch Normalization" (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cnnctl.errors import counted
from cnnctl.report.explain.activations import activated, activation_lines
from cnnctl.report.explain.blocks import Paragraphs, shared_line
from cnnctl.report.explain.convolutions import separated_lines, transposed_lines, variant_lines
from cnnctl.report.explain.custom import of_ones_own
from cnnctl.report.explain.images import cropped, enlarged, flattened, zeros
from cnnctl.report.explain.joins import combined, side_by_side
from cnnctl.report.explain.noise import noise
from cnnctl.report.explain.normalizations import (
    normalized,
    normalized_along_axes,
    normalized_by_images,
    normalized_in_groups,
    normalized_to_one,
)
from cnnctl.report.explain.subject import Subject, wrapped
from cnnctl.report.explain.values import permuted, rescaled, reshaped, weighted
from cnnctl.report.explain.windows import field_lines, filter_lines, pooled, pooled_globally, sliding
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import CosineClassifier, Experiment, FewShotSpec, Maml
from cnnctl.spec.few_shot import distance_of, images_at_once
from cnnctl.spec.groups import local, tree_of
from cnnctl.spec.head import chosen_loss, values_of
from cnnctl.spec.receptive import receptive_fields
from cnnctl.spec.shapes import Facts, show_shape
from cnnctl.spec.stack import Node


def explanation(experiment: Experiment) -> str:
    """Explain the network of a checked experiment, a paragraph per layer; equal blocks are explained once."""
    network = experiment.network
    nodes, facts, total = network.nodes, network.facts, network.parameters
    fields = receptive_fields(nodes, facts, network.image, network.context)
    subjects = {
        node.name: Subject(node, each, receptive, network.context, experiment, total)
        for node, each, receptive in zip(nodes, facts, fields, strict=True)
    }
    parts = Paragraphs(subjects, _paragraph).of(tree_of(nodes))
    return "\n\n".join([_tensors(experiment), *parts, _outputs(experiment, nodes)])


def _paragraph(subject: Subject, owner: Subject | None) -> str:
    """Explain a layer; `owner` is the layer whose weights it uses."""
    headline = _headline(subject.node, subject.facts)
    if owner is None:
        lines = _layer_lines(subject)
    elif owner.facts.input_shapes == subject.facts.input_shapes:
        lines = [shared_line(owner), *field_lines(subject.receptive)]
    else:
        facts = replace(subject.facts, trainable=owner.facts.trainable, non_trainable=owner.facts.non_trainable)
        lines = [*_layer_lines(replace(subject, facts=facts)), shared_line(owner)]
    return "\n".join([headline, *map(wrapped, lines)])


def _tensors(experiment: Experiment) -> str:
    image = experiment.network.image
    batch = images_at_once(experiment)
    return wrapped(
        f"A batch of images is one tensor of rank {len(image) + 1} (it has {len(image) + 1} axes) and of shape "
        f"(B, {str(image)[1:]}, with B = {batch} here; vectors would be (B, dim), video (B, T, H, W, C). "
        "Shapes below omit B, which no layer changes.",
        indent="",
    )


def _headline(node: Node, facts: Facts) -> str:
    shapes = " and ".join(map(show_shape, facts.input_shapes))
    kind = "" if local(node.name).startswith(facts.kind) else f" ({facts.kind})"
    return f"{node.name}{kind}: {shapes} → {show_shape(facts.output_shape)}"


def _layer_lines(subject: Subject) -> list[str]:
    """Return the sentences on a layer; a layer without a rule has none."""
    layer = subject.node.layer
    rule = next((_LINES[kind] for kind in type(layer).__mro__ if kind in _LINES), None)
    return rule(layer, subject) if rule else []


def _convolution_lines(layer: L.Convolution, subject: Subject) -> list[str]:
    facts, context = subject.facts, subject.context
    if isinstance(layer, L.Conv2D):
        filters = [*filter_lines(layer, facts, context), *variant_lines(layer, facts, context)]
    else:
        filters = separated_lines(layer, facts, context)
    sums = [*sliding(layer, facts, context), *filters]
    return [*sums, *activated(layer.activation, facts, context), *field_lines(subject.receptive)]


def _transposed_lines(layer: L.Conv2DTranspose, subject: Subject) -> list[str]:
    facts, context = subject.facts, subject.context
    sums = transposed_lines(layer, facts, context)
    return [*sums, *activated(layer.activation, facts, context), *field_lines(subject.receptive)]


def _pooling_lines(layer: L.Pooling, subject: Subject) -> list[str]:
    return [*sliding(layer, subject.facts, subject.context), *pooled(layer), *field_lines(subject.receptive)]


def _dense_lines(layer: L.Dense, subject: Subject) -> list[str]:
    field = field_lines(subject.receptive) if len(subject.facts.output_shape) == 1 else []
    return [*weighted(subject), *activated(layer.activation, subject.facts, subject.context), *field]


def _activation_lines(layer: L.Layer, subject: Subject) -> list[str]:
    return activation_lines(layer, subject.facts, subject.context)


_LINES: dict[type[L.Layer], Callable[[Any, Subject], list[str]]] = {
    L.Conv2D: _convolution_lines,
    L.DepthwiseConv2D: _convolution_lines,
    L.SeparableConv2D: _convolution_lines,
    L.Conv2DTranspose: _transposed_lines,
    L.Pooling: _pooling_lines,
    L.ZeroPadding2D: lambda layer, subject: [zeros(layer)],
    L.Cropping2D: lambda layer, subject: [*cropped(layer, subject.facts, subject.context), *field_lines(subject.receptive)],
    L.Rescaling: rescaled,
    L.Reshape: reshaped,
    L.Permute: permuted,
    L.UpSampling2D: lambda layer, subject: [*enlarged(layer, subject.facts, subject.context), *field_lines(subject.receptive)],
    L.GlobalPooling: lambda layer, subject: [
        pooled_globally(layer, subject.facts, subject.context),
        *field_lines(subject.receptive),
    ],
    L.Flatten: lambda layer, subject: [flattened(layer, subject.facts, subject.context)],
    L.Dense: _dense_lines,
    L.BatchNormalization: normalized,
    L.LayerNormalization: normalized_along_axes,
    L.GroupNormalization: normalized_in_groups,
    L.UnitNormalization: normalized_to_one,
    L.Normalization: normalized_by_images,
    L.RandomLayer: lambda layer, subject: [noise(layer)],
    L.ActivationLayer: _activation_lines,
    L.ReLU: _activation_lines,
    L.LeakyReLU: _activation_lines,
    L.PReLU: _activation_lines,
    L.ELU: _activation_lines,
    L.Softmax: _activation_lines,
    L.ValueJoin: lambda layer, subject: combined(layer, subject.facts),
    L.Concatenate: lambda layer, subject: [side_by_side(layer, subject.facts, subject.context)],
    L.CustomLayer: of_ones_own,
}
"""The sentences on each family of layers."""


def _few_shot_outputs(few_shot: FewShotSpec, nodes: Sequence[Node]) -> str:
    """Explain the outputs of an embedding."""
    method = few_shot.method
    if isinstance(method, Maml):
        return _adapted(method, few_shot.way, any(isinstance(node.layer, L.BatchNormalization) for node in nodes))
    nearest = "The outputs are an embedding: a query image gets the class with the nearest mean of the labelled images"
    if isinstance(method, CosineClassifier):
        return f"{nearest} (cosine). In training a cosine softmax over all training classes follows, with cross-entropy."
    return f"{nearest}. Loss: cross-entropy of the softmax of minus the distances ({distance_of(method).replace('_', ' ')})."


def _adapted(method: Maml, way: int, normalized: bool) -> str:
    """Explain the outputs with maml; Finn et al., "Model-Agnostic Meta-Learning" (2017), sections 2.2 and 5.2."""
    later = method.test_steps or method.inner_steps
    in_tests = f" ({later} in validation and test)" if later != method.inner_steps else ""
    batch_norm = " Batch norm uses the statistics of the current images, also in tests." if normalized else ""
    steps = "this step" if method.inner_steps == 1 else "these steps"
    through = f"differentiated through {steps}"
    if method.first_order:
        through += " without second derivatives (first_order)"
    return (
        f"The outputs are logits of the {way} classes of an episode, after {counted(method.inner_steps, 'step')} of gradient "
        f"descent on its labelled images{in_tests}.{batch_norm} Loss: cross-entropy of the query images, {through}."
    )


def _outputs(experiment: Experiment, nodes: Sequence[Node]) -> str:
    if experiment.few_shot:
        return wrapped(_few_shot_outputs(experiment.few_shot, nodes), indent="")
    loss = chosen_loss(experiment)
    if loss.from_logits:
        made_from = values_of(nodes)[nodes[-1].name].made_from
        numbers = f"here {made_from}" if made_from else "any real numbers"
        meaning = f"The outputs are logits: {numbers}; softmax makes them probabilities. The loss includes it (from_logits)."
    else:
        meaning = "The outputs are probabilities: the network already ends with softmax, so the loss must not apply it again."
    labels = (
        "Labels are integers, one class index per image, hence the sparse loss."
        if loss.name.startswith("sparse")
        else "Labels are one-hot, a vector with a 1 at the class, hence the loss without 'sparse'."
    )
    smoothed = _smoothed(loss.label_smoothing, experiment.data.classes or 1)
    return "\n".join(wrapped(text, indent="") for text in (meaning, f"{labels}{smoothed}", f"Loss: {loss.name}"))


def _smoothed(smoothing: float, classes: int) -> str:
    """Explain label smoothing of a one-hot label; Szegedy et al., "Rethinking the Inception architecture" (2016)."""
    if not smoothing:
        return ""
    other = smoothing / classes
    return (
        f" With label_smoothing: {smoothing:g} the 1 becomes 1 - {smoothing:g} + {smoothing:g}/{classes} = "
        f"{1 - smoothing + other:.4g}, and each 0 becomes {smoothing:g}/{classes} = {other:.4g}."
    )
