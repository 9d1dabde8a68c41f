"""What tests of pictures share: networks to draw, and the elements of a picture."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load

SVG = "{http://www.w3.org/2000/svg}"
BRANCHES = """
- conv2d: {name: stem, filters: 6, kernel_size: 3, padding: same, activation: relu}
- conv2d: {name: left, inputs: [stem], filters: 6, kernel_size: 1}
- conv2d: {name: middle, inputs: [stem], filters: 3, kernel_size: 3, padding: same}
- batch_normalization: {name: norm}
- activation: {name: active, activation: relu}
- conv2d: {name: deeper, filters: 6, kernel_size: 3, padding: same}
- add: {name: sum, inputs: [stem, left, deeper]}
- max_pooling2d
- concatenate: {name: twice, inputs: [max_pooling2d, max_pooling2d]}
- global_average_pooling2d
- dense: {units: classes}
"""
FOLDED = """
- conv2d: {filters: 8, kernel_size: 3, padding: same}
- repeat:
    times: 4
    layers:
      - activation: {name: start, activation: relu}
      - conv2d: {name: change, filters: 8, kernel_size: 3, padding: same}
      - batch_normalization: {name: norm}
      - add: {name: sum, inputs: [start, norm]}
- repeat:
    times: 2
    layers:
      - conv2d: {name: wide, filters: 8, kernel_size: 3, padding: same}
      - max_pooling2d: {name: half}
- flatten
- dense: {units: classes}
"""


BLOCKS = """
unit:
  parameters: {filters: 8, size: 3}
  layers:
    - conv2d: {filters: $filters, kernel_size: $size, padding: same, use_bias: false}
    - batch_normalization
    - relu
residual:
  parameters: {filters: 8, strides: 1}
  layers:
    - unit: {filters: $filters}
    - unit: {filters: $filters, name: second}
    - conv2d: {filters: $filters, kernel_size: 1, inputs: [input], name: short}
    - add: {inputs: [second, short]}
    - max_pooling2d: {pool_size: $strides}
gate:
  inputs: [maps, weights]
  layers:
    - conv2d: {filters: 8, kernel_size: 1, inputs: [weights], activation: sigmoid, name: squeeze}
    - multiply: {inputs: [maps, squeeze]}
twice:
  layers:
    - repeat: {times: 3, layers: [{conv2d: {filters: 8, kernel_size: 3, padding: same}}]}
"""
IN_BLOCKS = """
- unit: {name: stem}
- unit: {name: left, inputs: [stem], size: 1}
- unit: {name: right, inputs: [stem], size: 5}
- gate: {inputs: [left, right]}
- repeat:
    times: 3
    layers:
      - residual
- twice
- residual: {strides: 2}
- residual
- residual
- residual: {name: last}
- use: last
- use: last
- dropout: {rate: 0.5}
- flatten
- dense: {units: classes}
"""


def experiment_of(layers: str, folder: Path, size: str = "[24, 32]", data_format: str = "channels_last") -> Experiment:
    """Load the config of a stack, in YAML, on images of a size; it may use those of `BLOCKS` that it names."""
    blocks = {name: block for name, block in yaml.safe_load(BLOCKS).items() if f"- {name}" in layers}
    if "residual" in blocks:
        blocks["unit"] = yaml.safe_load(BLOCKS)["unit"]
    head = f"data: {{source: digits, image_size: {size}}}\nmodel:\n  style: functional\n  data_format: {data_format}\n"
    head += f"  blocks: {json.dumps(blocks)}\n"
    indented = "\n".join(f"    {line}" for line in layers.strip("\n").splitlines())
    (folder / "x.yaml").write_text(f"{head}  layers:\n{indented}\n")
    return load(folder / "x.yaml")


def random_stack(seed: int) -> str:
    """Write a random stack with branches, joins and repeats."""
    draw = random.Random(seed)
    layers: list[dict[str, Any]] = [{"conv2d": {"name": "c0", "filters": 8, "kernel_size": 3, "padding": "same"}}]
    names = ["c0"]
    for number in range(1, draw.randint(3, 22)):
        name = f"c{number}"
        kind = draw.choice(["conv", "conv", "add", "concatenate", "branch", "norm"])
        if kind in ("add", "concatenate") and len(names) > 1:
            layers.append({kind: {"name": name, "inputs": draw.sample(names, min(len(names), draw.randint(2, 4)))}})
            layers.append({"conv2d": {"name": f"{name}x", "filters": 8, "kernel_size": 1}})
            name = f"{name}x"
        elif kind == "norm":
            layers.append({"batch_normalization": {"name": name}})
        else:
            inputs = {"inputs": [draw.choice(names)]} if kind == "branch" else {}
            options: dict[str, Any] = draw.choice([{}, {"activation": "relu"}, {"dilation_rate": 2}])
            layers.append({"conv2d": {"name": name, "filters": 8, "kernel_size": draw.choice([1, 3, 5]), "padding": "same", **inputs, **options}})  # fmt: skip
        names.append(name)
    layers.append({"add": {"name": "all", "inputs": names}} if len(names) > 1 else {"max_pooling2d": {}})
    layers += [{"global_average_pooling2d": {"name": "pooled"}}, {"dense": {"units": "classes"}}]
    return yaml.safe_dump(layers)


@dataclass(frozen=True)
class Text:
    """A text of a picture with the rectangle that it takes, estimated."""

    content: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Text | Box) -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True)
class Box:
    """The front face of a layer."""

    layer: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


class Picture:
    """A parsed picture."""

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        _, _, self.width, self.height = map(float, self.root.attrib["viewBox"].split())

    def all(self, tag: str, style: str = "") -> Iterator[ElementTree.Element]:
        """Yield the elements with a tag and a CSS class."""
        return (each for each in self.root.iter(f"{SVG}{tag}") if not style or style in each.get("class", "").split())

    @property
    def boxes(self) -> dict[str, Box]:
        """The front faces by layer, in the coordinates of the drawing."""
        faces = {}
        for group in self.all("g", "box"):
            rectangles = (each for each in group.iter(f"{SVG}rect") if "front" in each.attrib["class"])
            faces[group.attrib["data-layer"]] = next(rectangles)
        return {name: _box(name, face) for name, face in faces.items()}

    @property
    def labels(self) -> dict[str, list[str]]:
        """The lines beside each box."""
        found: dict[str, list[str]] = {}
        for each in self.all("text"):
            if "data-of" in each.attrib:
                found.setdefault(each.attrib["data-of"], []).append(each.text or "")
        return found

    @property
    def edges(self) -> list[tuple[str, str]]:
        """The connections, by the names of their ends."""
        return [(each.attrib["data-from"], each.attrib["data-to"]) for each in self.all("path", "edge")]

    @property
    def shift(self) -> tuple[float, float]:
        """Where the coordinates of the drawing begin on the page."""
        body = next(each for each in self.all("g") if "translate" in each.get("transform", ""))
        x, y = re.findall(r"[-\d.]+", body.attrib["transform"])
        return float(x), float(y)

    def texts(self) -> list[Text]:
        """The texts of the drawing, with the rectangles that they take; rotated ones are left out."""
        body = next(each for each in self.all("g") if "translate" in each.get("transform", ""))
        return [_text(each) for each in body.iter(f"{SVG}text") if "transform" not in each.attrib]


def _box(name: str, face: ElementTree.Element) -> Box:
    x, y, width, height = (float(face.attrib[key]) for key in ("x", "y", "width", "height"))
    return Box(name, x, y, x + width, y + height)


def _text(each: ElementTree.Element) -> Text:
    size, content = float(each.get("font-size", 13)), each.text or ""
    width = len(content) * size * 0.55
    x, y = float(each.attrib["x"]), float(each.attrib["y"])
    left = x - width / 2 if each.get("text-anchor") == "middle" else x
    return Text(content, left, y - 0.75 * size, left + width, y + 0.2 * size)
