"""Explain the arithmetic of every layer in words, with the numbers of the config.

Formulas as in Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016),
and Ioffe and Szegedy, "Batch Normalization" (2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from textwrap import fill

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import CosineClassifier, Experiment, FewShotSpec, Maml
from cnnctl.spec.few_shot import distance_of, images_at_once
from cnnctl.spec.head import chosen_loss, values_of
from cnnctl.spec.receptive import Receptive, receptive_fields
from cnnctl.spec.section import show
from cnnctl.spec.shapes import Facts, LayerContext, Window, arithmetic, format_of, show_shape, spatial, window_of
from cnnctl.spec.stack import Node

WIDTH = 80
MAX_PIXELS = 100_000


@dataclass(frozen=True)
class _Subject:
    """A layer with the values for its sentences.

    Attributes:
        node, facts, receptive: the layer, its shapes and costs, and its receptive field.
        context: the number of classes and the model's data format.
        experiment: the config.
        total: parameters of all layers.
    """

    node: Node
    facts: Facts
    receptive: Receptive | None
    context: LayerContext
    experiment: Experiment
    total: int


def explanation(experiment: Experiment) -> str:
    """Explain the network of a checked experiment, a paragraph per layer."""
    network = experiment.network
    nodes, facts = network.nodes, network.facts
    parts = [_tensors(experiment)]
    fields = receptive_fields(nodes, facts, network.image, network.context)
    for node, each, receptive in zip(nodes, facts, fields, strict=True):
        lines = _layer_lines(_Subject(node, each, receptive, network.context, experiment, network.parameters))
        parts.append("\n".join([_headline(node, each), *map(_wrapped, lines)]))
    return "\n\n".join([*parts, _outputs(experiment, nodes)])


def _wrapped(line: str, indent: str = "  ") -> str:
    return fill(line, WIDTH, initial_indent=indent, subsequent_indent=2 * indent)


def _tensors(experiment: Experiment) -> str:
    image = experiment.network.image
    batch = images_at_once(experiment)
    return _wrapped(
        f"A batch of images is one tensor of rank {len(image) + 1} (it has {len(image) + 1} axes) and of shape "
        f"(B, {str(image)[1:]}, with B = {batch} here; vectors would be (B, dim), video (B, T, H, W, C). "
        "Shapes below omit B, which no layer changes.",
        indent="",
    )


def _headline(node: Node, facts: Facts) -> str:
    shapes = " and ".join(map(show_shape, facts.input_shapes))
    kind = "" if node.name.startswith(facts.kind) else f" ({facts.kind})"
    return f"{node.name}{kind}: {shapes} → {show_shape(facts.output_shape)}"


def _layer_lines(subject: _Subject) -> list[str]:
    layer, facts, context = subject.node.layer, subject.facts, subject.context
    match layer:
        case L.Conv2D():
            sums = [*_sliding(layer, facts, context), *_filters(layer, facts, context)]
            return [*sums, *_activated(layer.activation, facts, context), *_seen(subject.receptive)]
        case L.Pooling():
            return [*_sliding(layer, facts, context), *_pooled(layer), *_seen(subject.receptive)]
        case L.ZeroPadding2D():
            return [_zeros(layer)]
        case L.GlobalPooling():
            return [_pooled_globally(layer, facts, context), *_seen(subject.receptive)]
        case L.Flatten():
            return [_flattened(layer, facts, context)]
        case L.Dense():
            seen = _seen(subject.receptive) if len(facts.output_shape) == 1 else []
            return [*_weighted(subject), *_activated(layer.activation, facts, context), *seen]
        case L.BatchNormalization():
            return _normalized(layer, subject)
        case L.Dropout():
            return [_dropped(layer)]
        case L.ActivationLayer():
            return _activated(layer.activation, facts, context) or ["linear: values are unchanged"]
        case L.Add():
            return _added(facts)
        case L.Concatenate():
            return [_side_by_side(layer, facts, context)]
    return []


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _zeros(layer: L.ZeroPadding2D) -> str:
    (top, bottom), (left, right) = layer.padding
    if not top + bottom + left + right:
        return "padding of 0 adds nothing"
    rows = f"{counted(top, 'row')} above, {bottom:,} below"
    return f"zeros: {rows}, {counted(left, 'column')} left, {right:,} right; no parameters"


def _pooled_globally(layer: L.GlobalPooling, facts: Facts, context: LayerContext) -> str:
    what = "mean" if isinstance(layer, L.GlobalAveragePooling2D) else "maximum"
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    alone = " (a single value here, so it is unchanged)" if prod(pixels) == 1 else ""
    return f"the {what} of each map over all its rows and columns{alone}; no parameters"


def _flattened(layer: L.Flatten, facts: Facts, context: LayerContext) -> str:
    shape = facts.input_shapes[0]
    if len(shape) == 1:
        return f"the input is already a vector: (B, {shape[0]}) is unchanged"
    moved = ", after the channels are moved to the end" if format_of(layer, context) == "channels_first" else ""
    product = " · ".join(map(str, shape))
    return f"the batch axis is unchanged: (B, {', '.join(map(str, shape))}) becomes (B, {product}) = (B, {prod(shape)}){moved}"


def _dropped(layer: L.Dropout) -> str:
    if not layer.rate:
        return "with rate 0 values are unchanged, also in training"
    scale = 1 - layer.rate
    shape = show(layer.noise_shape)
    together = f" (values along axes where noise_shape {shape} has a 1 share one draw)" if layer.noise_shape else ""
    return (
        f"in training each value is set to 0 with probability {layer.rate:g}{together} and the others are divided by "
        f"1 - {layer.rate:g} = {scale:g}; in validation, test and prediction values are unchanged"
    )


def _added(facts: Facts) -> list[str]:
    """Explain an add; a smaller input is broadcast, so its gradient is a sum (the chain rule over all its uses)."""
    inputs = list(zip(facts.inputs, facts.input_shapes, strict=True))
    smaller = {name: shape for name, shape in inputs if shape != facts.output_shape}
    lines = [f"the sum of {_listed(facts.inputs)}, value by value"]
    if len(smaller) < len(set(facts.inputs)):
        lines[0] += f"; gradients flow into {'the others' if smaller else 'each'} unchanged"
    for name, shape in smaller.items():
        times = prod(facts.output_shape) // prod(shape)
        lines.append(
            f"'{name}' {show_shape(shape)} is smaller and is broadcast: each of its values is added at {times:,} positions, "
            "and its gradient is the sum of the gradients at these"
        )
    if len(set(facts.inputs)) < len(facts.inputs):
        lines.append("an input that is listed several times is added that often, and so are its gradients")
    return lines


def _side_by_side(layer: L.Concatenate, facts: Facts, context: LayerContext) -> str:
    axis = layer.axis if layer.axis > 0 else len(facts.output_shape) + 1 + layer.axis
    sizes = [shape[axis - 1] for shape in facts.input_shapes]
    sums = " + ".join(map(str, sizes))
    what = f"{_axis_name(axis, len(facts.output_shape), context)}s"
    return (
        f"{_listed(facts.inputs)} side by side along axis {layer.axis}: {sums} = {sum(sizes)} {what}; "
        "each gets its own part of the gradient"
    )


def _axis_name(axis: int, rank: int, context: LayerContext) -> str:
    """Name the elements along an axis; axis 0 is the batch."""
    names = {"channels_last": ["row", "column", "channel"], "channels_first": ["channel", "row", "column"]}
    return names[context.data_format][axis - 1] if rank == 3 else "value"


def _sliding(layer: L.Conv2D | L.Pooling, facts: Facts, context: LayerContext) -> list[str]:
    window = window_of(layer)
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    added = "zeros added" if isinstance(layer, L.Conv2D) else "padding added, which is ignored"
    rows, columns = (_positions(window, pixels[axis], axis, added) for axis in (0, 1))
    same = rows == columns
    return [f"rows and columns: {rows}"] if same else [f"rows: {rows}", f"columns: {columns}"]


def _positions(window: Window, pixels: int, axis: int, added: str) -> str:
    text = arithmetic(window, pixels, axis)
    if window.dilation[axis] > 1 and window.size[axis] > 1:
        d, k = window.dilation[axis], window.size[axis]
        text += f", where the window spans {d}·({k} - 1) + 1 = {window.extent(axis)}"
    if window.same:
        before, after = window.padding(pixels, axis)
        odd = "; the odd one is after" if before != after else ""
        text += (
            f"; {added}: {before} before, {after} after{odd}" if after else f"; no {added.removesuffix(', which is ignored')}"
        )
        return text
    return text + _left_out(window, pixels, axis)


def _left_out(window: Window, pixels: int, axis: int) -> str:
    """Describe the pixels in no window: the last ones if strides do not divide evenly, or those between windows."""
    if pixels > MAX_PIXELS:
        return ""
    taps = range(0, window.extent(axis), window.dilation[axis])
    covered = {position * window.strides[axis] + tap for position in range(window.output(pixels, axis)) for tap in taps}
    count = pixels - len(covered)
    verb = "is" if count == 1 else "are"
    if count and max(covered) == pixels - count - 1:
        return f"; the last {f'{count} ' if count > 1 else ''}of {pixels} {verb} in no window"
    return f"; {count} of {pixels} {verb} in no window" if count else ""


def _filters(layer: L.Conv2D, facts: Facts, context: LayerContext) -> list[str]:
    (high, wide), filters = layer.kernel_size, layer.filters
    _, channels = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    pixels, _ = spatial(facts.output_shape, format_of(layer, context), facts.kind)
    spanned = channels // layer.groups
    weights = high * wide * spanned
    group = f" of its group ({layer.groups} groups)" if layer.groups > 1 else ""
    bias = f" + {filters}" if layer.use_bias else ""
    product = f", not {filters}·{spanned}" if spanned > 1 else ""
    whole = f"all {spanned} input channels" if spanned > 1 else "the one input channel"
    return [
        f"a filter spans {whole}{group}: {high}·{wide}·{spanned} = {counted(weights, 'weight')}; it slides "
        f"without being flipped (cross-correlation) and outputs one map, so {counted(filters, 'filter')} "
        f"{'outputs' if filters == 1 else 'output'} {counted(filters, 'map')}{product}",
        f"parameters: {high}·{wide}·{spanned}·{filters}{bias} = {facts.parameters:,}",
        f"MACs: {pixels[0]}·{pixels[1]} {'position' if prod(pixels) == 1 else 'positions'} · {counted(weights * filters, 'weight')} = {facts.macs:,}",
    ]


def _pooled(layer: L.Pooling) -> list[str]:
    what = "the largest value" if isinstance(layer, L.MaxPooling2D) else "the mean"
    strides = "strides are the pool size" if layer.strides is None else f"strides {layer.strides[0]}×{layer.strides[1]}"
    return [
        f"{what} of each {layer.pool_size[0]}×{layer.pool_size[1]} window, separately for each map; {strides}; no parameters"
    ]


def _seen(receptive: Receptive | None) -> list[str]:
    """Describe the receptive field of one output value, and the distance to that of its neighbour."""
    if receptive is None:
        return []
    (high, wide), (rows, columns) = receptive.field, receptive.seen
    if not high or not wide:
        return ["receptive field: empty; no pixel of the image affects its outputs"]
    some = "" if receptive.same else "up to "
    gaps = f", with gaps: {rows} rows and {columns} columns of these" if (rows, columns) != (high, wide) else ""
    zeros = "; the window is larger and reaches into zero padding" if receptive.padded else ""
    pixels = "pixel" if high == wide == 1 else "pixels"
    return [f"receptive field: {some}{high}×{wide} {pixels} of the image{gaps}{zeros}{_distance(receptive)}"]


def _distance(receptive: Receptive) -> str:
    """Describe the distance between neighbouring receptive fields; empty if there are no neighbours."""
    down, right = receptive.stride
    steps = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in ((down, "row"), (right, "column")) if count]
    if not steps:
        return ""
    step = f"{down} pixel{'s' if down and down > 1 else ''}" if down == right else " or ".join(steps)
    lines = zip(receptive.stride, receptive.field, ("rows", "columns"), strict=True)
    skipped = [word for step, span, word in lines if step and step > span]
    between = f"; the {' and '.join(skipped)} between them are in neither" if skipped else ""
    return f"; distance between neighbouring receptive fields: {step}{between}"


def _weighted(subject: _Subject) -> list[str]:
    facts = subject.facts
    inputs, units = facts.input_shapes[0][-1], facts.output_shape[-1]
    bias = f" + {units}" if isinstance(subject.node.layer, L.Dense) and subject.node.layer.use_bias else ""
    rank = len(facts.output_shape)
    along = f" along the last axis, the {_axis_name(rank, rank, subject.context)}s" if rank > 1 else ""
    places = prod(facts.output_shape[:-1])
    where = f"at each of {places:,} positions, with the same weights, " if places > 1 else ""
    return [
        f"{where}every output is connected to every input{along}: {inputs}·{units}{bias} = {facts.parameters:,} parameters, "
        f"{_share(facts.parameters, subject.total)} of all"
    ]


def _share(part: int, whole: int) -> str:
    """Format a share in percent; 0 and 100 only if exact."""
    if part < whole and part / whole > 0.995:
        return "more than 99%"
    return f"{part / whole:.0%}" if part / whole >= 0.005 else "less than 1%"


def _normalized(layer: L.BatchNormalization, subject: _Subject) -> list[str]:
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
    name = _axis_name(axis, rank, context)
    each = f"the one {name}" if count == 1 else f"each of {count} {name}s"
    right = 1 if context.data_format == "channels_first" else 3
    return each if name in ("channel", "value") else f"{each} (axis {layer.axis}; for channels write axis: {right})"


def _activated(activation: str | None, facts: Facts, context: LayerContext) -> list[str]:
    if activation in (None, "linear"):
        return []
    if activation != "softmax":
        return [f"{activation}, value by value"]
    rank, size = len(facts.output_shape), facts.output_shape[-1]
    if size == 1:
        return ["softmax over one value, the last axis: always 1 for any input"]
    if rank == 1:
        return ["softmax: exp(z) / sum of all exp(z); the outputs are positive and sum to 1"]
    name = _axis_name(rank, rank, context)
    return [
        f"softmax at each of {prod(facts.output_shape[:-1]):,} positions, over the {size} {name}s of the last axis: "
        "exp(z) / sum of their exp(z); they are positive and sum to 1"
    ]


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
        return _wrapped(_few_shot_outputs(experiment.few_shot, nodes), indent="")
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
    return "\n".join(_wrapped(text, indent="") for text in (meaning, f"{labels}{smoothed}", f"Loss: {loss.name}"))


def _smoothed(smoothing: float, classes: int) -> str:
    """Explain label smoothing of a one-hot label; Szegedy et al., "Rethinking the Inception architecture" (2016)."""
    if not smoothing:
        return ""
    other = smoothing / classes
    return (
        f" With label_smoothing: {smoothing:g} the 1 becomes 1 - {smoothing:g} + {smoothing:g}/{classes} = "
        f"{1 - smoothing + other:.4g}, and each 0 becomes {smoothing:g}/{classes} = {other:.4g}."
    )
