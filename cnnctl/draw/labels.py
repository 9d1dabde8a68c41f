"""The text beside a box: name, shape, what the layer does, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnnctl.draw.boxes import COLOURS
from cnnctl.draw.stations import Station, random_part
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import HeightWidth, show_shape

LINE = 15.0
"""Pixels from one line to the next."""
SIZE, NAME_SIZE = 11.5, 12.5
LONGEST_NAME, LONGEST_TERM = 24, 14
"""Longest name of a layer beside its box, and in a formula, in characters."""
_WIDE = 0.6
"""Width of a character, at most on average, per pixel of the font's size."""


@dataclass(frozen=True)
class Line:
    """A line of text: its content, its colour, and whether it is the name."""

    content: str
    colour: str = "ink"
    is_name: bool = False

    @property
    def width(self) -> float:
        """Estimated pixels, rather too many than too few."""
        return len(self.content) * _WIDE * (NAME_SIZE * 1.05 if self.is_name else SIZE)


def lines_of(station: Station, parameters: int) -> list[Line]:
    """Write the lines of a box; `parameters` are those of the whole network."""
    lines = [Line(shortened(station.name), is_name=True), Line(show_shape(station.shape))]
    lines += [Line(text, "faint") for text in details_of(station.layer)]
    lines += [Line(f"+ {sheet.label}", COLOURS[sheet.kind]) for sheet in station.sheets]
    many = f"{station.times} × " if station.times > 1 else ""
    if station.parameters:
        each, share = station.parameters // station.times, percent(station.parameters, parameters)
        lines += [Line(f"{many}{each:,} {'parameter' if each == 1 else 'parameters'}"), Line(f"{share} of all", "faint")]
    if station.macs:
        lines.append(Line(f"{many}{short(station.macs // station.times)} MACs", "faint"))
    return lines


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Shorten a long name in its middle, to an even number of characters."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[1 - half :]}"


def percent(part: int, whole: int) -> str:
    """Format a share, such as `59.5 %`; what is not zero never becomes 0.0 %."""
    share = 100 * part / whole if whole else 0.0
    return "< 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def short(count: int) -> str:
    """Format a count with three digits, such as 3.28 M."""
    for power, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * power:
            return f"{count / power:.3g}{unit}"
    return str(count)


JOINED = {
    "add": "sum of its inputs", "multiply": "product of its inputs",
    "average": "mean of its inputs", "maximum": "largest of its inputs", "minimum": "smallest of its inputs",
}  # fmt: skip


def details_of(layer: L.Layer | None) -> Iterator[str]:
    """Yield what a layer does, in words of a few characters each."""
    match layer:
        case L.Conv2D():
            yield f"{layer.filters} filter{'s' * (layer.filters > 1)} {by(layer.kernel_size)}"
            yield from _options(layer, (1, 1))
        case L.Pooling():
            yield f"{'max' if isinstance(layer, L.MaxPooling2D) else 'mean'} of {by(layer.pool_size)}"
            yield from _options(layer, layer.pool_size)
        case L.GlobalPooling():
            yield f"{'max' if isinstance(layer, L.GlobalMaxPooling2D) else 'mean'} of each map"
        case L.ZeroPadding2D(padding=((top, bottom), (left, right))):
            equal = top == bottom == left == right
            yield f"zeros: {top} per side" if equal else f"zeros: {top}, {bottom}; {left}, {right}"
        case L.Flatten():
            yield "all values in a row"
        case L.ActivationLayer():
            yield layer.activation
        case L.ReLU() | L.LeakyReLU() | L.PReLU() | L.ELU() | L.Softmax():
            yield layer.kind.replace("_", " ")
        case L.RandomLayer():
            yield random_part(layer)
        case L.Subtract(inputs=(first, second)):
            yield f"{shortened(first, LONGEST_TERM)} − {shortened(second, LONGEST_TERM)}"
        case L.ValueJoin():
            yield JOINED[layer.kind]
        case L.Concatenate():
            yield "inputs side by side"


def _options(layer: L.Conv2D | L.Pooling, usual: HeightWidth) -> Iterator[str]:
    """Yield padding and strides, and what else is not as usual."""
    strides = layer.strides or usual
    words = ["padding same"] if layer.padding == "same" else []
    words += [f"strides {by(strides)}"] if strides != usual else []
    if isinstance(layer, L.Conv2D):
        words += [f"dilation {by(layer.dilation_rate)}"] if max(layer.dilation_rate) > 1 else []
        words += [f"{layer.groups} groups"] if layer.groups > 1 else []
    yield from words


def by(size: HeightWidth) -> str:
    """Format a height and width, such as 3×3."""
    return f"{size[0]}×{size[1]}"
