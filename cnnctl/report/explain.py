"""The arithmetic of every layer in words, with the numbers of the config at hand.

Formulas as in Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016),
and Ioffe and Szegedy, "Batch Normalization" (2015).
"""

from __future__ import annotations

from math import prod
from textwrap import fill

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Classifier, Experiment, FewShotSpec, Maml
from cnnctl.spec.few_shot import distance_of, images_at_once
from cnnctl.spec.head import chosen_loss
from cnnctl.spec.load import facts_of, image_of, surroundings_of
from cnnctl.spec.shapes import (
    Facts,
    Surroundings,
    Window,
    arithmetic,
    format_of,
    show_shape,
    spatial,
    window_of,
)
from cnnctl.spec.stack import Node

WIDTH = 80


def explanation(experiment: Experiment) -> str:
    """Returns the arithmetic of a checked experiment, a paragraph a layer."""
    nodes, facts = facts_of(experiment)
    around = surroundings_of(experiment)
    parts = [_tensors(experiment)]
    total = sum(each.parameters for each in facts)
    for node, each in zip(nodes, facts, strict=True):
        lines = _layer_lines(node, each, around, experiment, total)
        parts.append("\n".join([_headline(node, each), *map(_wrapped, lines)]))
    return "\n\n".join([*parts, _outputs(experiment, nodes)])


def _wrapped(line: str, indent: str = "  ") -> str:
    return fill(line, WIDTH, initial_indent=indent, subsequent_indent=2 * indent)


def _tensors(experiment: Experiment) -> str:
    image = image_of(experiment)
    batch = images_at_once(experiment)
    return _wrapped(
        f"A batch of images is one tensor of rank {len(image) + 1} (it has {len(image) + 1} axes) and of shape "
        f"(B, {str(image)[1:]}, with B = {batch} here; vectors would be (B, dim), video (B, T, H, W, C). "
        "Shapes below leave out B, which no layer changes.",
        indent="",
    )


def _headline(node: Node, facts: Facts) -> str:
    shapes = " and ".join(map(show_shape, facts.input_shapes))
    kind = "" if node.name.startswith(facts.kind) else f" ({facts.kind})"
    return f"{node.name}{kind}: {shapes} → {show_shape(facts.output_shape)}"


def _layer_lines(node: Node, facts: Facts, around: Surroundings, experiment: Experiment, total: int) -> list[str]:
    layer, shape = node.layer, facts.input_shapes[0]
    match layer:
        case L.Conv2D():
            return [
                *_sliding(layer, facts, around),
                *_filters(layer, facts, around),
                *_activated(layer.activation),
                _seen(facts),
            ]
        case L.Pooling():
            return [*_sliding(layer, facts, around), *_pooled(layer), _seen(facts)]
        case L.ZeroPadding2D():
            (top, bottom), (left, right) = layer.padding
            return [f"zeros: {top} rows above, {bottom} below, {left} columns left, {right} right; no parameters"]
        case L.GlobalPooling():
            what = "mean" if isinstance(layer, L.GlobalAveragePooling2D) else "maximum"
            return [f"the {what} of each map over all its rows and columns; no parameters"]
        case L.Flatten():
            product = " · ".join(map(str, shape))
            return [f"the batch axis stays: (B, {', '.join(map(str, shape))}) becomes (B, {product}) = (B, {prod(shape)})"]
        case L.Dense():
            return [*_weighted(layer, facts, total), *_activated(layer.activation)]
        case L.BatchNormalization():
            return _normalized(layer, facts, around, images_at_once(experiment))
        case L.Dropout():
            kept = 1 - layer.rate
            return [
                f"in training each value is 0 with probability {layer.rate:g}, the others are divided by "
                f"1 - {layer.rate:g} = {kept:g}; in validation, test and prediction nothing happens",
            ]
        case L.ActivationLayer():
            return _activated(layer.activation)
        case L.Add():
            return [f"the sum of {' and '.join(facts.inputs)}, value by value; gradients flow into each unchanged"]
        case L.Concatenate():
            return [f"{' and '.join(facts.inputs)} side by side along axis {layer.axis}"]
    return []


def _sliding(layer: L.Conv2D | L.Pooling, facts: Facts, around: Surroundings) -> list[str]:
    window = window_of(layer)
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, around), facts.kind)
    added = "zeros added" if isinstance(layer, L.Conv2D) else "empty places added, which take no part"
    rows, columns = (_positions(window, pixels[axis], axis, added) for axis in (0, 1))
    same = rows == columns
    return [f"rows and columns: {rows}"] if same else [f"rows: {rows}", f"columns: {columns}"]


def _positions(window: Window, pixels: int, axis: int, added: str) -> str:
    text = arithmetic(window, pixels, axis)
    if window.dilation[axis] > 1:
        d, k = window.dilation[axis], window.size[axis]
        text += f", where the window spans {d}·({k} - 1) + 1 = {window.extent(axis)}"
    if window.same:
        before, after = window.padding(pixels, axis)
        odd = "; the odd one goes after" if before != after else ""
        text += f"; {added}: {before} before, {after} after{odd}"
    return text


def _filters(layer: L.Conv2D, facts: Facts, around: Surroundings) -> list[str]:
    (high, wide), filters = layer.kernel_size, layer.filters
    _, channels = spatial(facts.input_shapes[0], format_of(layer, around), facts.kind)
    pixels, _ = spatial(facts.output_shape, format_of(layer, around), facts.kind)
    spanned = channels // layer.groups
    weights = high * wide * spanned
    group = f" of its group ({layer.groups} groups)" if layer.groups > 1 else ""
    bias = f" + {filters}" if layer.use_bias else ""
    product = f", not {filters}·{spanned}" if spanned > 1 else ""
    whole = f"all {spanned} input channels" if spanned > 1 else "the one input channel"
    return [
        f"a filter spans {whole}{group}: {high}·{wide}·{spanned} = {weights} weights; it slides "
        f"without being flipped (cross-correlation) and gives one map, so {filters} filters give {filters} maps{product}",
        f"parameters: {high}·{wide}·{spanned}·{filters}{bias} = {facts.parameters:,}",
        f"multiply-accumulates: {pixels[0]}·{pixels[1]} positions · {weights * filters:,} weights = {facts.macs:,}",
    ]


def _pooled(layer: L.Pooling) -> list[str]:
    what = "the largest value" if isinstance(layer, L.MaxPooling2D) else "the mean"
    strides = "strides are the pool size" if layer.strides is None else f"strides {layer.strides[0]}×{layer.strides[1]}"
    return [f"{what} of each {layer.pool_size[0]}×{layer.pool_size[1]} window, each map on its own; {strides}; no parameters"]


def _seen(facts: Facts) -> str:
    (high, wide), (down, right) = facts.receptive_field, facts.stride
    step = f"{down} pixel{'s' if max(down, right) > 1 else ''}" if down == right else f"{down} rows or {right} columns"
    return f"one output value sees {high}×{wide} input pixels; its neighbour sees {step} further on"


def _weighted(layer: L.Dense, facts: Facts, total: int) -> list[str]:
    inputs, units = facts.input_shapes[0][-1], facts.output_shape[-1]
    bias = f" + {units}" if layer.use_bias else ""
    share = f", {facts.parameters / total:.0%} of all" if total else ""
    places = prod(facts.output_shape[:-1])
    where = f"at each of {places} places, with the same weights, " if places > 1 else ""
    return [f"{where}every output is joined to every input: {inputs}·{units}{bias} = {facts.parameters:,} parameters{share}"]


def _normalized(layer: L.BatchNormalization, facts: Facts, around: Surroundings, batch: int) -> list[str]:
    shape = facts.output_shape
    channels = facts.non_trainable // 2
    values = batch * prod(shape) // channels
    trained = [word for word, used in (("gamma", layer.scale), ("beta", layer.center)) if used]
    return [
        f"in training, for {_normalized_alone(layer, facts, around)}: mean and variance over the batch, {values:,} values with a batch of "
        f"{batch} (variance = mean of (x - mean)², no square root), then gamma · (x - mean) / sqrt(variance + "
        f"{layer.epsilon:g}) + beta",
        f"in inference: moving averages instead, updated in training as {layer.momentum:g} · old + {1 - layer.momentum:g} · batch's",
        f"parameters: {' and '.join(trained) or 'none'} trained ({facts.trainable:,}), "
        f"moving mean and variance not ({facts.non_trainable:,})",
    ]


def _normalized_alone(layer: L.BatchNormalization, facts: Facts, around: Surroundings) -> str:
    """Returns what has statistics of its own: the channels, or what else the axis is."""
    rank, count = len(facts.output_shape), facts.non_trainable // 2
    axis = layer.axis if layer.axis > 0 else rank + 1 + layer.axis
    names = {"channels_last": ["row", "column", "channel"], "channels_first": ["channel", "row", "column"]}
    name = names[around.data_format][axis - 1] if rank == 3 else "value"
    each = f"the one {name}" if count == 1 else f"each of {count} {name}s"
    right = 1 + names[around.data_format].index("channel")
    return each if name in ("channel", "value") else f"{each} (axis {layer.axis}; for channels give axis: {right})"


def _activated(activation: str | None) -> list[str]:
    if activation in (None, "linear"):
        return []
    if activation == "softmax":
        return ["softmax: exp(z) / sum of all exp(z); the outputs are positive and sum to 1"]
    return [f"{activation}, value by value"]


def _few_shot_outputs(few_shot: FewShotSpec) -> str:
    """Returns what the outputs of an embedding are for."""
    learner = few_shot.learner
    if isinstance(learner, Maml):
        return (
            f"The outputs are logits of the {few_shot.way} classes of an episode, after {counted(learner.inner_steps, 'step')} of gradient "
            "descent on its labelled images. Batch norm takes the statistics of the images at hand, in tests too. "
            "Loss: cross-entropy of the query images, differentiated through these steps."
        )
    nearest = "The outputs are an embedding: a query image is named by the nearest mean of a class's labelled images"
    if isinstance(learner, Classifier):
        return f"{nearest} (cosine). In training a cosine softmax over all training classes follows, with cross-entropy."
    return f"{nearest}. Loss: cross-entropy of the softmax of minus the distances ({distance_of(learner).replace('_', ' ')})."


def _outputs(experiment: Experiment, nodes: list[Node]) -> str:
    if experiment.few_shot:
        return _wrapped(_few_shot_outputs(experiment.few_shot), indent="")
    loss = chosen_loss(experiment, nodes)
    if loss.from_logits:
        meaning = (
            "The outputs are logits: any real numbers; softmax makes them probabilities. The loss does so itself (from_logits)."
        )
    else:
        meaning = "The outputs are probabilities: softmax is in the network already, so the loss must not apply it again."
    labels = (
        "Labels are integers, one class number an image, hence the sparse loss."
        if loss.name.startswith("sparse")
        else "Labels are one-hot, a vector with a 1 at the class, hence the loss that is not sparse."
    )
    return "\n".join(_wrapped(text, indent="") for text in (meaning, labels, f"Loss: {loss.name}"))
