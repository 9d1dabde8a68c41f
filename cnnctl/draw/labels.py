"""The text beside a box: name, shape, what the layer does, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnnctl.draw.boxes import COLOURS
from cnnctl.draw.stations import NORMALIZATIONS, Station, random_part
from cnnctl.spec import layers as L
from cnnctl.spec.groups import local, relative
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
    lines = [Line(shortened(local(station.name)), is_name=True), Line(show_shape(station.shape))]
    lines += [Line(text, "faint") for text in details_of(station.layer)]
    lines += [Line(f"+ {sheet.label}", COLOURS[sheet.kind]) for sheet in station.sheets]
    lines += [Line(f"weights of {shortened(name)}", "purple") for name in shared_by(station)]
    many = f"{station.times} × " if station.times > 1 else ""
    if station.parameters:
        each, share = station.parameters // station.times, percent(station.parameters, parameters)
        lines += [Line(f"{many}{each:,} {'parameter' if each == 1 else 'parameters'}"), Line(f"{share} of all", "faint")]
    if not station.macs_known:
        lines.append(Line("MACs unknown", "faint"))
    if station.macs:
        lines.append(Line(f"{many}{short(station.macs // station.times)} MACs", "faint"))
    return lines


def shared_by(station: Station) -> Iterator[str]:
    """Yield the names, as seen from a box, of the layers whose weights it and its sheets use."""
    if station.shares:
        yield relative(station.shares, station.name)
    yield from (relative(sheet.shares, sheet.name) for sheet in station.sheets if sheet.shares)


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
        case L.Conv2D() | L.DepthwiseConv2D() | L.SeparableConv2D() | L.Conv2DTranspose():
            yield from _filters(layer)
            yield from _options(layer, (1, 1))
        case L.Pooling():
            yield f"{'max' if isinstance(layer, L.MaxPooling2D) else 'mean'} of {by(layer.pool_size)}"
            yield from _options(layer, layer.pool_size)
        case L.GlobalPooling():
            yield f"{'max' if isinstance(layer, L.GlobalMaxPooling2D) else 'mean'} of each map"
        case L.ZeroPadding2D() | L.Cropping2D() | L.UpSampling2D() | L.Rescaling() | L.Reshape() | L.Permute() | L.Flatten():
            yield _moved(layer)
        case L.ActivationLayer():
            yield layer.activation
        case L.ReLU() | L.LeakyReLU() | L.PReLU() | L.ELU() | L.Softmax():
            yield layer.kind.replace("_", " ")
        case L.RandomLayer():
            yield random_part(layer)
        case L.Normalization():
            yield "by training images" if layer.adapted else "by numbers"
        case L.Layer() if type(layer) in NORMALIZATIONS:
            yield NORMALIZATIONS[type(layer)]
        case L.ValueJoin() | L.Concatenate():
            yield _joined(layer)
        case L.CustomLayer():
            yield "a layer of one's own"


def _joined(layer: L.Layer) -> str:
    match layer:
        case L.Subtract(inputs=(first, second)):
            return f"{shortened(first, LONGEST_TERM)} − {shortened(second, LONGEST_TERM)}"
        case L.Concatenate():
            return "inputs side by side"
    return JOINED[layer.kind]


def _filters(layer: L.Convolution | L.Conv2DTranspose) -> Iterator[str]:
    """Yield the filters of a convolution: of all channels, of each, or of each and then 1×1."""
    if isinstance(layer, L.Conv2D | L.Conv2DTranspose):
        yield f"{layer.filters} filter{'s' * (layer.filters > 1)} {by(layer.kernel_size)}"
        return
    many = layer.depth_multiplier
    yield f"{many} filter{'s' * (many > 1)} {by(layer.kernel_size)} per channel"
    if isinstance(layer, L.SeparableConv2D):
        yield f"then {layer.filters} filter{'s' * (layer.filters > 1)} 1×1"


def _moved(layer: L.Layer) -> str:
    """Describe where a layer moves values, or how it rescales them."""
    match layer:
        case L.ZeroPadding2D():
            return f"zeros: {_sides(layer.padding)}"
        case L.Cropping2D():
            return f"crops {_sides(layer.cropping)}"
        case L.UpSampling2D():
            return f"{layer.interpolation}, {by(layer.size)} times"
        case L.Rescaling():
            plain = isinstance(layer.scale, float) and isinstance(layer.offset, float)
            return f"{layer.scale:g} · x {layer.offset:+g}" if plain else "scale, offset per map"
        case L.Reshape():
            return "the same values, reshaped"
        case L.Permute():
            return f"axes {', '.join(map(str, layer.dims))}"
    return "all values in a row"


def _sides(sides: tuple[HeightWidth, HeightWidth]) -> str:
    """Format rows and columns at the sides of an image."""
    (top, bottom), (left, right) = sides
    return f"{top} per side" if top == bottom == left == right else f"{top}, {bottom}; {left}, {right}"


def _options(layer: L.Convolution | L.Conv2DTranspose | L.Pooling, usual: HeightWidth) -> Iterator[str]:
    """Yield padding and strides, and what else is not as usual."""
    strides = layer.strides or usual
    words = ["padding same"] if layer.padding == "same" else []
    words += [f"strides {by(strides)}"] if strides != usual else []
    if not isinstance(layer, L.Pooling) and max(layer.dilation_rate) > 1:
        words.append(f"dilation {by(layer.dilation_rate)}")
    if isinstance(layer, L.Conv2DTranspose) and layer.output_padding:
        words.append(f"output padding {by(layer.output_padding)}")
    if isinstance(layer, L.Conv2D):
        words += [f"{layer.groups} groups"] if layer.groups > 1 else []
    yield from words


def by(size: HeightWidth) -> str:
    """Format a height and width, such as 3×3."""
    return f"{size[0]}×{size[1]}"
