"""Sentences about activations, alone and at the end of other layers."""

from __future__ import annotations

from math import prod

from cnnctl.errors import counted
from cnnctl.report.explain.subject import axis_name
from cnnctl.spec import layers as L
from cnnctl.spec.section import show
from cnnctl.spec.shapes import Facts, LayerContext, alpha_shape, axes_of


def activated(activation: str | None, facts: Facts, context: LayerContext) -> list[str]:
    """Explain the activation of a layer; no sentence for none."""
    if activation in (None, "linear"):
        return []
    if activation == "softmax":
        return _softmax(-1, facts, context)
    if activation == "log_softmax":
        return [_log_softmax(facts, context)]
    formula = f": {_FORMULAS[activation]}" if activation in _FORMULAS else ""
    return [f"{activation}, value by value{formula}"]


def activation_lines(layer: L.Layer, facts: Facts, context: LayerContext) -> list[str]:
    """Explain an activation that is a layer."""
    match layer:
        case L.ReLU():
            return [_relu(layer)]
        case L.LeakyReLU():
            return [f"value by value: x where it is positive, else {layer.negative_slope:g} · x; no parameters"]
        case L.ELU():
            return [f"value by value: x where it is positive, else {layer.alpha:g} · (exp(x) - 1); no parameters"]
        case L.PReLU():
            return _prelu(layer, facts)
        case L.Softmax():
            return _softmax(layer.axis, facts, context)
    return activated(getattr(layer, "activation", None), facts, context) or ["linear: values are unchanged"]


def _relu(layer: L.ReLU) -> str:
    above = f"at most {layer.max_value:g}" if layer.max_value is not None else ""
    where = f"is above {layer.threshold:g}" if layer.threshold else "is positive"
    shifted = f"(x - {layer.threshold:g})" if layer.threshold else "x"
    below = f"{layer.negative_slope:g} · {shifted}" if layer.negative_slope else "0"
    return f"value by value: x where it {where}{', but ' + above if above else ''}, else {below}; no parameters"


def _prelu(layer: L.PReLU, facts: Facts) -> list[str]:
    shape, alpha = facts.output_shape, alpha_shape(layer, facts.output_shape)
    shared = prod(shape) // prod(alpha)
    each = f"; {counted(shared, 'position')} share each (shared_axes)" if shared > 1 else "; each position has its own"
    return [
        "value by value: x where it is positive, else alpha · x, where alpha is trained",
        f"parameters: {'·'.join(map(str, alpha))} = {facts.trainable:,}{each}",
    ]


def _log_softmax(facts: Facts, context: LayerContext) -> str:
    last = len(facts.output_shape)
    if facts.output_shape[-1] == 1:
        return "log_softmax over one value, the last axis: always 0 for any input"
    return (
        f"log_softmax over the {facts.output_shape[-1]} {axis_name(last, last, context)}s of the last axis: z - log(sum of their exp(z)), "
        "the logarithms of the probabilities that softmax has; a softmax of them is these probabilities again"
    )


_FORMULAS = {
    "hard_shrink": "x where |x| is above 0.5, else 0",
    "soft_shrink": "x - 0.5 where x is above 0.5, x + 0.5 where it is below -0.5, else 0",
    "tanh_shrink": "x - tanh(x)",
    "sparse_plus": "0 up to -1, (x + 1)² / 4 up to 1, above it x",
    "sparse_sigmoid": "(x + 1) / 2, but at least 0 and at most 1",
    "squareplus": "(x + sqrt(x² + 4)) / 2, a smooth relu without exp",
}
"""What activations compute whose name does not say it."""


def _softmax(axis: int | tuple[int, ...], facts: Facts, context: LayerContext) -> list[str]:
    rank, places = len(facts.output_shape), axes_of(axis, facts.output_shape)
    last = places == (rank - 1,)
    size = prod(facts.output_shape[place] for place in places)
    over = "the last axis" if last else f"{'axis' if len(places) == 1 else 'axes'} {show(axis)}"
    if size == 1:
        return [f"softmax over one value, {over}: always 1 for any input"]
    if len(places) == rank:
        return ["softmax: exp(z) / sum of all exp(z); the outputs are positive and sum to 1"]
    name = " and ".join(f"{axis_name(place + 1, rank, context)}s" for place in places)
    values = f"{size} {name}" if len(places) == 1 else f"{size} values over the {name}"
    return [
        f"softmax at each of {counted(prod(facts.output_shape) // size, 'position')}, over the {values} of {over}: "
        "exp(z) / sum of their exp(z); they are positive and sum to 1"
    ]
