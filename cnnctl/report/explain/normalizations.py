"""Sentences about normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from cnnctl.errors import counted
from cnnctl.report.explain.subject import Subject, axis_name, listed
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment, Maml
from cnnctl.spec.few_shot import images_at_once
from cnnctl.spec.section import show
from cnnctl.spec.shapes import Facts, LayerContext, Shape, axes_of, axis_of, groups_of, kept_axes, values_per_mean


def normalized(layer: L.BatchNormalization, subject: Subject) -> list[str]:
    """Explain a batch normalization."""
    facts, batch = subject.facts, images_at_once(subject.experiment)
    values = batch * values_per_mean(layer, facts.output_shape)
    states = "moving mean and variance"
    if layer.renorm:
        states = "moving mean, variance and deviation, and mean and deviation of renorm"
    return [
        f"in training, for {_normalized_alone(layer, facts, subject.context)}: mean and variance over the batch, {values:,} values "
        f"with a batch of {batch} (variance = mean of (x - mean)², no square root), then {_formula(layer)}",
        *_corrected(layer),
        *(["synchronized: of several replicas, the whole batch counts, as without this field"] if layer.synchronized else []),
        _in_inference(layer, subject.experiment),
        f"parameters: {' and '.join(layer.trained) or 'none'} trained ({facts.trainable:,}), "
        f"{states} not ({facts.non_trainable:,})",
    ]


def _corrected(layer: L.BatchNormalization) -> list[str]:
    """Explain batch renormalization; Ioffe, "Batch Renormalization" (2017), section 3."""
    if not layer.renorm:
        return []
    clipping = layer.renorm_clipping.bounds if layer.renorm_clipping else {}
    bounds = ", ".join(text.format(clipping[name]) for name, text in _BOUNDS.items() if name in clipping)
    return [
        "renorm: the normalized value n = (x - mean) / deviation becomes n · r + d, with r = deviation / deviation of renorm and "
        f"d = (mean - mean of renorm) / deviation of renorm{f', clipped to {bounds}' if bounds else ''}; gradients take r and d as constants, "
        + ("" if bounds else "and without clipping the outputs are those of the statistics of renorm, not of the batch; ")
        + f"its statistics are updated as {layer.renorm_momentum:g} · old + {1 - layer.renorm_momentum:g} · batch's",
    ]


_BOUNDS = {"rmin": "r ≥ {:g}", "rmax": "r ≤ {:g}", "dmax": "|d| ≤ {:g}"}


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
    rank, count = len(facts.output_shape), facts.output_shape[axis_of(layer.axis, facts.output_shape)]
    axis = layer.axis if layer.axis > 0 else rank + 1 + layer.axis
    name = axis_name(axis, rank, context)
    each = f"the one {name}" if count == 1 else f"each of {count} {name}s"
    right = 1 if context.data_format == "channels_first" else 3
    return each if name in ("channel", "value") else f"{each} (axis {layer.axis}; for channels write axis: {right})"


def _formula(layer: L.BatchNormalization | L.LayerNormalization | L.GroupNormalization) -> str:
    gamma, beta = ("gamma · " if "gamma" in layer.trained else ""), (" + beta" if "beta" in layer.trained else "")
    x = "x" if getattr(layer, "rms_scaling", False) else "(x - mean)"
    return f"{gamma}{x} / sqrt(variance + {layer.epsilon:g}){beta}"


def normalized_along_axes(layer: L.LayerNormalization, subject: Subject) -> list[str]:
    """Explain a layer normalization."""
    shape = subject.facts.output_shape
    along = axes_of(layer.axis, shape)
    return [
        _means_of_an_image(layer, subject, _sizes(along, subject)),
        _same_for_any_batch(subject),
        _trained(layer, along, shape),
    ]


def normalized_in_groups(layer: L.GroupNormalization, subject: Subject) -> list[str]:
    """Explain a group normalization."""
    shape, axis = subject.facts.output_shape, axis_of(layer.axis, subject.facts.output_shape)
    groups, rank = groups_of(layer, shape), len(shape)
    name = axis_name(axis + 1, rank, subject.context)
    each = shape[axis] // groups
    group = f"{shape[axis]} {name}s in {counted(groups, 'group')} of {each}"
    alone = " (one channel each: instance normalization)" if each == 1 and name == "channel" else ""
    others = [f"{size}" for place, size in enumerate(shape) if place != axis]
    means = _means_of_an_image(layer, subject, " · ".join([*others, f"{each}"]))
    return [f"{group}{alone}", means, _same_for_any_batch(subject), _trained(layer, [axis], shape)]


def normalized_to_one(layer: L.UnitNormalization, subject: Subject) -> list[str]:
    """Explain a unit normalization."""
    shape = subject.facts.output_shape
    values, sizes = values_per_mean(layer, shape), _sizes(axes_of(layer.axis, shape), subject)
    norms = prod(shape) // values
    count = f"{sizes} = {values:,} values" if "·" in sizes else sizes
    return [
        f"x / sqrt(sum of x²) over {count}, {counted(norms, 'norm')} per image: each becomes 1, zeros stay zeros",
        "the direction of a vector is kept and its length is lost; no parameters, and the same in training and inference",
    ]


def normalized_by_images(layer: L.Normalization, subject: Subject) -> list[str]:
    """Explain a normalization by numbers that no training changes."""
    shape = subject.facts.output_shape
    kept = kept_axes(layer, shape)
    deviation = "sqrt(variance)"
    formula = f"mean + x · {deviation}" if layer.invert else f"(x - mean) / {deviation}"
    if not layer.adapted:
        return [f"{formula}, with mean {show(layer.mean)} and variance {show(layer.variance)} of the config; no parameters"]
    means = prod(shape[axis] for axis in kept)
    per_image = f"{' · '.join(map(str, shape))} / {means} = {values_per_mean(layer, shape):,} values of each image"
    each = "one mean and variance" if means == 1 else f"{means:,} means and variances, one per {_places(kept, subject)}"
    return [
        f"{each}, over all training images, {per_image}; then {formula}, the same in training and inference",
        "computed once, before the first step, from the training images alone (without augmentation), and stored in the run: "
        "evaluation, prediction and a resumed training use the stored ones",
        f"parameters: none trained, {means:,} mean + {means:,} variance + Keras's counter = {subject.facts.non_trainable:,} stored",
    ]


def _places(axes: Sequence[int], subject: Subject) -> str:
    """Name the elements along axes: `row and column`."""
    names = [axis_name(axis + 1, len(subject.facts.output_shape), subject.context) for axis in axes]
    return listed(names) if len(names) > 1 else names[0]


def _means_of_an_image(layer: L.LayerNormalization | L.GroupNormalization, subject: Subject, sizes: str) -> str:
    shape = subject.facts.output_shape
    values = values_per_mean(layer, shape)
    count = f"{sizes} = {values:,} values" if "·" in sizes else sizes
    means = prod(shape) // values
    return (
        f"each image alone, in training and inference: mean and variance over {count}, {means:,} of each per image "
        f"({' · '.join(map(str, shape))} / {values:,}), then {_formula(layer)}"
    )


def _sizes(along: Sequence[int], subject: Subject) -> str:
    """Name axes with their lengths: `28 rows · 28 columns`."""
    shape = subject.facts.output_shape
    return " · ".join(counted(shape[place], axis_name(place + 1, len(shape), subject.context)) for place in along)


def _same_for_any_batch(subject: Subject) -> str:
    batch = images_at_once(subject.experiment)
    return (
        f"no moving averages: the other {batch - 1:,} images of a batch of {batch:,} change nothing, so the batch size does not matter"
        if batch > 1
        else "no moving averages: nothing depends on other images, so the batch size does not matter"
    )


def _trained(layer: L.LayerNormalization | L.GroupNormalization, along: Sequence[int], shape: Shape) -> str:
    if not layer.trained:
        return "no parameters"
    sizes = [shape[place] for place in along]
    each = " · ".join(map(str, sizes)) + (f" = {prod(sizes):,}" if len(sizes) > 1 else "")
    both = listed(layer.trained) if len(layer.trained) > 1 else layer.trained[0]
    return f"parameters: {both} trained, {each} of {'each' if len(layer.trained) > 1 else 'it'}"
