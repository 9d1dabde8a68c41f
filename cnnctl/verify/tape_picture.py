"""Draw the worked case of `verify --explain`: its graph, the values of the forward pass, and the adjoints of the backward pass.

All numbers come from TensorFlow: the values from its operations, the adjoints and local derivatives from gradient tapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from cnnctl.svg import element, picture, text
from cnnctl.verify.differentiation import FACTOR, A, B, C

WIDTH, HEIGHT = 800.0, 500.0
NODE_WIDTH, NODE_HEIGHT = 112.0, 66.0
PLACES = {
    "a": (90.0, 138.0), "b": (90.0, 243.0), "c": (90.0, 348.0), "u": (320.0, 296.0), "v": (520.0, 212.0), "J": (715.0, 212.0),
}  # fmt: skip
"""The middle of each node, in pixels."""
LABELS = {"a": (0.0, -24.0), "b": (14.0, -22.0), "c": (14.0, 30.0), "u": (26.0, 44.0), "v": (0.0, 28.0)}
"""How far the derivative that belongs to the arrow from a node is from the middle of the arrow, in pixels."""
EDGES = (("b", "u"), ("c", "u"), ("a", "v"), ("u", "v"), ("v", "J"))
FORMULAS = {"u": "b·c", "v": "a + u", "J": f"{FACTOR:g}·v"}
STYLE = ".node{stroke-width:1.4}.edge{stroke-width:1.5}.back{stroke-width:1.5;stroke-dasharray:5 3}"


@dataclass(frozen=True)
class Case:
    """The worked case in numbers.

    Attributes:
        values: of each node, by its name.
        adjoints: the derivative of J by each node.
        local: the derivative of one node by another, for each edge.
    """

    values: dict[str, float]
    adjoints: dict[str, float]
    local: dict[tuple[str, str], float]


def recorded() -> Case:
    """Compute the case with a persistent tape."""
    nodes: dict[str, Any] = {name: tf.Variable(value, dtype=tf.float64) for name, value in zip("abc", (A, B, C), strict=True)}
    with tf.GradientTape(persistent=True) as tape:
        nodes["u"] = nodes["b"] * nodes["c"]
        nodes["v"] = nodes["a"] + nodes["u"]
        nodes["J"] = FACTOR * nodes["v"]
    adjoints = {name: float(tape.gradient(nodes["J"], node)) for name, node in nodes.items()}
    local = {(start, end): float(tape.gradient(nodes[end], nodes[start])) for start, end in EDGES}
    return Case({name: float(node) for name, node in nodes.items()}, adjoints, local)


def tape_picture() -> str:
    """Draw the worked case as SVG."""
    case = recorded()
    title = f"The tape of J = {FACTOR:g}·(a + b·c)"
    about = "; ".join(f"{name} = {case.values[name]:g}, dJ/d{name} = {case.adjoints[name]:g}" for name in PLACES)
    parts = [
        text(24, 38, title, font_size=19, font_weight="bold"),
        text(24, 60, "forward: the value of each operation, recorded from left to right", "blue", font_size=12.5),
        text(24, 78, "backward: dJ/d…, from right to left; each arrow multiplies by its derivative", "orange", font_size=12.5),
        *(part for edge in EDGES for part in _edge(*edge, case)),
        *(part for name in PLACES for part in _node(name, case)),
        *_steps(case),
    ]
    return picture(WIDTH, HEIGHT, parts, title, about, style=STYLE)


def _node(name: str, case: Case) -> Iterator[str]:
    """Yield a node: its formula, its value, and its adjoint."""
    x, y = PLACES[name]
    corner: dict[str, Any] = {
        "x": x - NODE_WIDTH / 2,
        "y": y - NODE_HEIGHT / 2,
        "width": NODE_WIDTH,
        "height": NODE_HEIGHT,
        "rx": 8,
    }
    yield element("rect", class_="node paper grey-edge", **corner)
    formula = f"{name} = {FORMULAS[name]}" if name in FORMULAS else name
    bold = {"text_anchor": "middle", "font_weight": "bold"}
    yield text(x, y - 13, formula, font_size=13.5, **bold)
    yield text(x, y + 6, f"{case.values[name]:g}", "blue", font_size=13, **bold)
    yield text(x, y + 24, f"dJ/d{name} = {case.adjoints[name]:g}", "orange", font_size=12, **bold)


def _edge(start: str, end: str, case: Case) -> Iterator[str]:
    """Yield the arrow forward and the one back, with the derivative of the one node by the other."""
    (x, y), (to_x, to_y) = PLACES[start], PLACES[end]
    x, to_x = x + NODE_WIDTH / 2, to_x - NODE_WIDTH / 2
    to_y += {"b": -10, "c": 10, "a": -10, "u": 10}.get(start, 0)  # arrows from two nodes end apart
    yield _arrow(x + 2, y - 7, to_x - 3, to_y - 7, "blue", "edge")
    yield _arrow(to_x - 2, to_y + 7, x + 3, y + 7, "orange", "back")
    right, down = LABELS[start]
    label = f"d{end}/d{start} = {case.local[start, end]:g}"
    yield text((x + to_x) / 2 + right, (y + to_y) / 2 + down, label, "faint", font_size=11.5, text_anchor="middle")


def _arrow(x: float, y: float, to_x: float, to_y: float, colour: str, style: str) -> str:
    length = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
    along, across = (to_x - x) / length, (to_y - y) / length
    wings = [(to_x - 8 * along + side * across, to_y - 8 * across - side * along) for side in (-4, 4)]
    head = "L".join(f"{a:.1f} {b:.1f}" for a, b in [(to_x, to_y), *wings])
    line = element(
        "path", d=f"M{x:.1f} {y:.1f}L{to_x - 6 * along:.1f} {to_y - 6 * across:.1f}", class_=f"{style} {colour}-line"
    )
    return line + element("path", d=f"M{head}Z", class_=colour)


def _steps(case: Case) -> Iterator[str]:
    """Yield the tape as a list: what is recorded, and what going back computes."""
    value, adjoint, local = case.values, case.adjoints, case.local
    recorded_lines = [
        f"1  u = b·c = {value['b']:g}·{value['c']:g} = {value['u']:g}",
        f"2  v = a + u = {value['a']:g} + {value['u']:g} = {value['v']:g}",
        f"3  J = {FACTOR:g}·v = {FACTOR:g}·{value['v']:g} = {value['J']:g}",
    ]
    back = [
        f"3  dJ/dv = {local['v', 'J']:g}·dJ/dJ = {adjoint['v']:g}",
        f"2  dJ/da = {local['a', 'v']:g}·dJ/dv = {adjoint['a']:g},  dJ/du = {local['u', 'v']:g}·dJ/dv = {adjoint['u']:g}",
        f"1  dJ/db = {local['b', 'u']:g}·dJ/du = {adjoint['b']:g},  dJ/dc = {local['c', 'u']:g}·dJ/du = {adjoint['c']:g}",
    ]
    for x, colour, lines in ((24, "blue", recorded_lines), (400, "orange", back)):
        for number, line in enumerate(lines):
            yield text(x, 434 + 20 * number, line, colour, font_size=13)
