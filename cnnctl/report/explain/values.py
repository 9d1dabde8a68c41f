"""Sentences about dense layers, and layers that rescale or move values."""

from __future__ import annotations

from math import prod

from cnnctl.report.explain.subject import Subject, axis_name
from cnnctl.spec import layers as L
from cnnctl.spec.section import show
from cnnctl.spec.stack import INPUT


def weighted(subject: Subject) -> list[str]:
    """Explain a dense layer."""
    facts = subject.facts
    inputs, units = facts.input_shapes[0][-1], facts.output_shape[-1]
    bias = f" + {units}" if isinstance(subject.node.layer, L.Dense) and subject.node.layer.use_bias else ""
    rank = len(facts.output_shape)
    along = f" along the last axis, the {axis_name(rank, rank, subject.context)}s" if rank > 1 else ""
    places = prod(facts.output_shape[:-1])
    where = f"at each of {places:,} positions, with the same weights, " if places > 1 else ""
    return [
        f"{where}every output is connected to every input{along}: {inputs}·{units}{bias} = {facts.parameters:,} parameters, "
        f"{_share(facts.parameters, subject.total)} of all"
    ]


def rescaled(layer: L.Rescaling, subject: Subject) -> list[str]:
    """Explain a rescaling; of the image with what becomes of its pixels."""
    scale, offset = layer.scale, layer.offset
    which = "value by value" if isinstance(scale, float) and isinstance(offset, float) else "with the numbers of each channel"
    formula = f"{_number(scale)} · x + {_number(offset)}"
    lines = [f"{which}: {formula}, in training and in inference; nothing is learned, no parameters"]
    if subject.facts.inputs == (INPUT,) and isinstance(scale, float) and isinstance(offset, float):
        ends = sorted((offset, scale + offset))
        lines.append(f"pixels are divided by 255 before, so 0 to 1 becomes {ends[0]:g} to {ends[1]:g}")
    return lines


def reshaped(layer: L.Reshape, subject: Subject) -> list[str]:
    """Explain a reshape: the rank may change, the values and their order do not."""
    before, after = subject.facts.input_shapes[0], subject.facts.output_shape
    known = [str(n) for n in layer.target_shape if n != -1]
    product = "·".join(known) if len(known) < 2 else f"({'·'.join(known)})"
    inferred = [f"-1 is what remains: {prod(before)} / {product} = {prod(before) // prod(map(int, known))}"]
    ranks = (
        f"rank {len(before) + 1} becomes {len(after) + 1}" if len(before) != len(after) else f"the rank stays {len(after) + 1}"
    )
    return [
        *(inferred if -1 in layer.target_shape and known else []),
        f"{ranks} (with the batch axis): (B, {', '.join(map(str, before))}) becomes (B, {', '.join(map(str, after))}), the same "
        f"{prod(after):,} values in the same order, the last axis fastest; no parameters",
    ]


def permuted(layer: L.Permute, subject: Subject) -> list[str]:
    """Explain a permute: values move, unlike in a reshape to the same shape."""
    before, rank = subject.facts.input_shapes[0], len(layer.dims)
    if list(layer.dims) == list(range(1, rank + 1)):
        return ["the axes keep their order: nothing changes"]
    moved = [f"axis {place} is axis {axis} of the input" for place, axis in enumerate(layer.dims, start=1) if place != axis]
    index, origin = "ijklmno"[:rank], [""] * rank
    for place, axis in enumerate(layer.dims):
        origin[axis - 1] = index[place]
    return [
        f"{', '.join(moved[:-1])}{' and ' if len(moved) > 1 else ''}{moved[-1]}; axis 0 is the batch",
        f"the rank stays {len(before) + 1}; output[{', '.join(index)}] = input[{', '.join(origin)}], other than after a reshape to this "
        "shape, which keeps the order of the values; no parameters",
    ]


def _number(value: float | tuple[float, ...]) -> str:
    """Format a number, in parentheses if it is negative, or a list."""
    if isinstance(value, tuple):
        return show(value, limit=40)
    return f"({value:g})" if value < 0 else f"{value:g}"


def _share(part: int, whole: int) -> str:
    """Format a share in percent; 0 and 100 only if exact."""
    if part < whole and part / whole > 0.995:
        return "more than 99%"
    return f"{part / whole:.0%}" if part / whole >= 0.005 else "less than 1%"
