"""Explain differentiation by a small worked case. Every number is computed here, with the method that its line names.

The case and its backward pass are as in Baydin et al., "Automatic Differentiation in Machine Learning: a Survey" (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill, indent
from typing import Any

import tensorflow as tf

from cnnctl.report.tables import text_table

WIDTH = 80
FACTOR, A, B, C = 3.0, 5.0, 3.0, 2.0
X = 3.0
STEP = 1e-5
STEPS = (1e-1, 1e-5, 1e-12)

NESTED = """\
with tf.GradientTape() as outer:
    with tf.GradientTape() as inner:
        y = x**3
    first = inner.gradient(y, x)
second = outer.gradient(first, x)"""
PERSISTENT = """\
with tf.GradientTape(persistent=True) as tape:
    y = x**2
    z = y**2
tape.gradient(y, x), tape.gradient(z, x)"""


def worked_case(weights: int | None = None) -> str:
    """Format the worked case as text.

    Args:
        weights: number of trained weights of a network, for the cost of each method there; None for no network.
    """
    parts = [_forward(), _backward(), _three_ways(weights), _steps(), _second(), _persistent(), _watched()]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    return fill(text, WIDTH)


def _block(text: str) -> str:
    return indent(text, "  ")


def _forward() -> str:
    u = B * C
    v = A + u
    lines = [
        f"u = b·c   = {B:g}·{C:g}   = {u:g}",
        f"v = a + u = {A:g} + {u:g} = {v:g}",
        f"J = {FACTOR:g}·v   = {FACTOR:g}·{v:g}  = {FACTOR * v:g}",
    ]
    head = f"J = {FACTOR:g}·(a + b·c) at a = {A:g}, b = {B:g}, c = {C:g}. Forward, each value from those above it:"
    return f"{_paragraph(head)}\n\n" + _block("\n".join(lines))


def _backward() -> str:
    """Format the adjoints; each is the adjoint after it times the derivative of one step."""
    end = 1.0
    of_v = FACTOR * end
    of_u = 1 * of_v
    lines = [
        f"dJ/dJ = {end:g}",
        f"dJ/dv = {FACTOR:g} · dJ/dJ = {FACTOR:g}·{end:g} = {of_v:g}",
        f"dJ/du = 1 · dJ/dv = 1·{of_v:g} = {of_u:g}",
        f"dJ/da = 1 · dJ/dv = 1·{of_v:g} = {1 * of_v:g}",
        f"dJ/db = c · dJ/du = {C:g}·{of_u:g} = {C * of_u:g}",
        f"dJ/dc = b · dJ/du = {B:g}·{of_u:g} = {B * of_u:g}",
    ]
    head = (
        "Backward, each derivative of J (an adjoint) from those above it, by the chain rule. "
        "This is reverse mode, which a tape uses to compute gradients:"
    )
    return f"{_paragraph(head)}\n\n" + _block("\n".join(lines))


def _case(a: Any, b: Any, c: Any) -> Any:
    return FACTOR * (a + b * c)


def _three_ways(weights: int | None) -> str:
    symbolic = {
        "dJ/da": f"{FACTOR:g}",
        "dJ/db": f"{FACTOR:g}·c = {FACTOR * C:g}",
        "dJ/dc": f"{FACTOR:g}·b = {FACTOR * B:g}",
    }
    numerical, automatic = _numerical(), _automatic()
    rows = [
        [name, formula, f"{numerical[index]:.10f}", f"{automatic[index]:g}"]
        for index, (name, formula) in enumerate(symbolic.items())
    ]
    table = text_table(["", "symbolic", f"numerical, h = {STEP:g}", "automatic"], rows, left=2)
    cost = f"Numerically each derivative needs two evaluations of J, {2 * len(rows)} here; the tape goes back once for all of them."
    if weights:
        cost += f" For the {weights:,} weights of this network: {2 * weights:,} evaluations, or one backward pass."
    head = (
        "The same three derivatives by formula, by a central difference, which is (J(x + h) - J(x - h)) / 2h, "
        "and by tf.GradientTape:"
    )
    return f"{_paragraph(head)}\n\n{_block(table)}\n\n{_paragraph(cost)}"


def _numerical() -> list[float]:
    point = [A, B, C]

    def along(index: int) -> Callable[[float], float]:
        return lambda value: float(_case(*(value if place == index else other for place, other in enumerate(point))))

    return [_central_difference(along(index), point[index], STEP) for index in range(len(point))]


def _central_difference(function: Callable[[float], float], point: float, step: float) -> float:
    return (function(point + step) - function(point - step)) / (2 * step)


def _automatic() -> list[float]:
    variables = [_variable(value) for value in (A, B, C)]
    with tf.GradientTape() as tape:
        value = _case(*variables)
    return [float(gradient) for gradient in tape.gradient(value, variables)]


def _variable(value: float, trainable: bool = True) -> Any:
    return tf.Variable(value, trainable=trainable, dtype=tf.float64)


def _steps() -> str:
    exact = 3 * X**2
    rows = []
    for step in STEPS:
        found = _central_difference(lambda x: x**3, X, step)
        rows.append([f"{step:.0e}", f"{found:.10f}", f"{abs(found - exact):.0e}"])
    table = text_table(["h", "central difference", "error"], rows, left=1)
    head = (
        f"The step size matters. For x³ at x = {X:g}, where 3·x² = {exact:g}: with a large step the curve bends (the "
        "error is h² here), with a tiny one rounding is divided by it. A tape uses the formula of the derivative "
        "of each operation and needs no step."
    )
    return f"{_paragraph(head)}\n\n{_block(table)}"


def _second() -> str:
    x = _variable(X)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = x**3
        first = inner.gradient(y, x)
    second = outer.gradient(first, x)
    head = "A tape inside a tape gives second derivatives: the outer one records how the inner one finds the first."
    found = [f"first  = 3·x² = {float(first):g}", f"second = 6·x  = {float(second):g}   at x = {X:g}"]
    return "\n\n".join([_paragraph(head), _block(NESTED), _block("\n".join(found))])


def _persistent() -> str:
    x = _variable(X)
    with tf.GradientTape(persistent=True) as tape:
        y = x**2
        z = y**2
    of_y, of_z = float(tape.gradient(y, x)), float(tape.gradient(z, x))
    head = (
        "A tape releases what it recorded after its first gradient. A persistent tape can compute gradients again, and "
        "keeps every value of the forward pass in memory until it is deleted."
    )
    found = [f"2·x = {of_y:g} and 4·x³ = {of_z:g}   at x = {X:g}", *_used_twice().split("\n")]
    return "\n\n".join([_paragraph(head), _block(PERSISTENT), _block("\n".join(found))])


def _used_twice() -> str:
    """Quote TensorFlow's message for the second gradient of a tape that is not persistent."""
    x = _variable(X)
    with tf.GradientTape() as tape:
        y = x**2
    tape.gradient(y, x)
    try:
        tape.gradient(y, x)
    except RuntimeError as error:
        return fill(f"not persistent, used twice: {error}", WIDTH - 2, subsequent_indent="  ")
    return "not persistent, used twice: no error"


def _watched() -> str:
    tensor = tf.constant(X, tf.float64)
    cases = {
        "a tf.Variable": _gradient(_variable(X)),
        "a tf.Variable with trainable=False": _gradient(_variable(X, trainable=False)),
        "a tensor": _gradient(tensor),
        "a tensor after tape.watch(x)": _gradient(tensor, watch=True),
    }
    rows = [[name, "None" if gradient is None else f"{float(gradient):g}"] for name, gradient in cases.items()]
    head = (
        "A tape watches trainable variables by itself, and tensors only after tape.watch; the gradient by anything else "
        f"is None. The gradient of x² at x = {X:g}, where x is:"
    )
    tail = (
        "So a training step calls tape.gradient(loss, model.trainable_variables) and watches nothing, and a saliency map, "
        "which needs the gradient by the image, must watch the image."
    )
    table = text_table(["x", "gradient"], rows, left=1)
    return f"{_paragraph(head)}\n\n{_block(table)}\n\n{_paragraph(tail)}"


def _gradient(x: Any, watch: bool = False) -> Any:
    with tf.GradientTape() as tape:
        if watch:
            tape.watch(x)
        y = x**2
    return tape.gradient(y, x)
