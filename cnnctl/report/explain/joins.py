"""Sentences about layers with several inputs."""

from __future__ import annotations

from math import prod

from cnnctl.errors import counted
from cnnctl.report.explain.subject import axis_name, listed
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Facts, LayerContext, Shape, show_shape


def combined(layer: L.ValueJoin, facts: Facts) -> list[str]:
    """Explain a join value by value, and where its gradients flow."""
    inputs = list(zip(facts.inputs, facts.input_shapes, strict=True))
    smaller = {name: shape for name, shape in inputs if shape != facts.output_shape}
    lines = [f"{_what(layer, facts)}, value by value"]
    if isinstance(layer, L.Add):
        if len(smaller) < len(set(facts.inputs)):
            lines[0] += f"; gradients flow into {'the others' if smaller else 'each'} unchanged"
    else:
        lines[0] += f"; {_gradients(layer, facts)}; no parameters"
    lines += [_broadcast(layer, name, shape, facts) for name, shape in smaller.items()]
    if isinstance(layer, L.Add) and len(set(facts.inputs)) < len(facts.inputs):
        lines.append("an input that is listed several times is added that often, and so are its gradients")
    return lines


def _what(layer: L.ValueJoin, facts: Facts) -> str:
    match layer:
        case L.Subtract():
            return f"{facts.inputs[0]} minus {facts.inputs[1]}"
        case L.Maximum() | L.Minimum():
            word = "larg" if isinstance(layer, L.Maximum) else "small"
            return f"the {word}{'er' if len(facts.inputs) == 2 else 'est'} value of {listed(facts.inputs)}"
    return f"the {_NOUNS[layer.kind]} of {listed(facts.inputs)}"


_NOUNS = {"add": "sum", "multiply": "product", "average": "mean"}


def _gradients(layer: L.ValueJoin, facts: Facts) -> str:
    """Explain the gradient of each input, by the chain rule."""
    match layer:
        case L.Multiply():
            return f"the gradient of each is that of the output times {'the other' if len(facts.inputs) == 2 else 'the others'}"
        case L.Average():
            return f"each gets 1/{len(facts.inputs)} of the gradient"
        case L.Subtract():
            return f"gradients flow into {facts.inputs[0]} unchanged and into {facts.inputs[1]} with the opposite sign"
    which = "largest" if isinstance(layer, L.Maximum) else "smallest"
    return f"each gradient flows into the input whose value is the {which} there; the others get 0"


def _broadcast(layer: L.ValueJoin, name: str, shape: Shape, facts: Facts) -> str:
    times = counted(prod(facts.output_shape) // prod(shape), "position")
    verb = "added" if isinstance(layer, L.Add) else "used"
    return (
        f"'{name}' {show_shape(shape)} is smaller and is broadcast: each of its values is {verb} at {times}, "
        "and its gradient is the sum of the gradients at these"
    )


def side_by_side(layer: L.Concatenate, facts: Facts, context: LayerContext) -> str:
    """Explain a concatenation."""
    axis = layer.axis if layer.axis > 0 else len(facts.output_shape) + 1 + layer.axis
    sizes = [shape[axis - 1] for shape in facts.input_shapes]
    sums = " + ".join(map(str, sizes))
    what = f"{axis_name(axis, len(facts.output_shape), context)}s"
    return (
        f"{listed(facts.inputs)} side by side along axis {layer.axis}: {sums} = {sum(sizes)} {what}; "
        "each gets its own part of the gradient"
    )
