"""Sentences about normalizations."""

from __future__ import annotations

from math import prod

from cnnctl.report.explain.subject import Subject, axis_name
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment, Maml
from cnnctl.spec.few_shot import images_at_once
from cnnctl.spec.shapes import Facts, LayerContext


def normalized(layer: L.BatchNormalization, subject: Subject) -> list[str]:
    """Explain a batch normalization."""
    facts, batch = subject.facts, images_at_once(subject.experiment)
    values = batch * prod(facts.output_shape) // (facts.non_trainable // 2)
    trained = [word for word, used in (("gamma", layer.scale), ("beta", layer.center)) if used]
    formula = (
        f"{'gamma · ' if layer.scale else ''}(x - mean) / sqrt(variance + {layer.epsilon:g}){' + beta' if layer.center else ''}"
    )
    return [
        f"in training, for {_normalized_alone(layer, facts, subject.context)}: mean and variance over the batch, {values:,} values "
        f"with a batch of {batch} (variance = mean of (x - mean)², no square root), then {formula}",
        _in_inference(layer, subject.experiment),
        f"parameters: {' and '.join(trained) or 'none'} trained ({facts.trainable:,}), "
        f"moving mean and variance not ({facts.non_trainable:,})",
    ]


def _in_inference(layer: L.BatchNormalization, experiment: Experiment) -> str:
    if experiment.few_shot and isinstance(experiment.few_shot.method, Maml):
        return (
            "the same in validation and test; the labelled images of an episode and its query images are one batch each, "
            "and the moving averages are not used"
        )
    averages = "in inference: moving averages instead, updated in training as"
    if layer.momentum == 1:
        return f"{averages} 1 · old + 0 · batch's: they keep their initial values, by default 0 and 1"
    return f"{averages} {layer.momentum:g} · old + {1 - layer.momentum:g} · batch's"


def _normalized_alone(layer: L.BatchNormalization, facts: Facts, context: LayerContext) -> str:
    """Name the elements with separate statistics: the channels, or those of another axis."""
    rank, count = len(facts.output_shape), facts.non_trainable // 2
    axis = layer.axis if layer.axis > 0 else rank + 1 + layer.axis
    name = axis_name(axis, rank, context)
    each = f"the one {name}" if count == 1 else f"each of {count} {name}s"
    right = 1 if context.data_format == "channels_first" else 3
    return each if name in ("channel", "value") else f"{each} (axis {layer.axis}; for channels write axis: {right})"
