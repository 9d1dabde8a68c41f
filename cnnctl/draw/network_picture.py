"""Draw a network: boxes to scale with their windows, text and connections, and the shares of the layers below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from textwrap import wrap

from cnnctl.draw.boxes import box_of, drawn_box, scale_of
from cnnctl.draw.brackets import drawn_brackets
from cnnctl.draw.labels import LINE, NAME_SIZE, SIZE, Line, lines_of, short
from cnnctl.draw.lanes import edges_of, lanes_of, ranks_of
from cnnctl.draw.placing import Drawing, Page, Slot, page_width, placed
from cnnctl.draw.routes import drawn_edges
from cnnctl.draw.shares import drawn_shares
from cnnctl.draw.stations import Station, stations_of
from cnnctl.draw.windows import drawn_windows
from cnnctl.errors import counted
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import show_shape
from cnnctl.svg import cut, element, picture, text, width_of

MARGIN, HEADER, SHARES, LEGEND = 24.0, 62.0, 56.0, 44.0
TITLE, NOTE = 19, 11
"""Pixels of the fonts of the title and of the legend."""
SMALLEST = {"row": 760.0, "column": 480.0}
"""Pixels of width that the title and the bars need."""
NOTES = (
    "Height and width of maps are to scale. Depth shows the channels and length the values of a vector, both by their logarithm.",
    "A frame is one position of a layer's window on its input; it leads to the value that is computed from it.",
)
STYLE = """
.front{fill-opacity:.3;stroke-width:1.1;stroke-linejoin:round}.top{fill-opacity:.13;stroke-width:1.1;stroke-linejoin:round}
.side{fill-opacity:.22;stroke-width:1.1;stroke-linejoin:round}.cell{stroke-width:.8;stroke-opacity:.7}
.sheet{stroke-width:2.5;stroke-linecap:round}.edge{stroke-width:1.4}.way{fill-opacity:.1;stroke-opacity:.3;stroke-width:.8}
.window{fill-opacity:.22;stroke-width:1.6}.value{stroke-width:.8}.share{fill-opacity:.4;stroke-width:1.5}
.bracket{stroke-width:1.4;stroke-linejoin:round}
"""


def network_picture(experiment: Experiment, title: str, layout: str = "row", theme: str = "auto") -> str:
    """Draw the network of a config.

    Args:
        experiment: the checked config.
        title: the name of the network.
        layout: `row` computes from left to right and fits a slide; `column` computes downwards and fits a sheet of A4.
        theme: `auto`, `light` or `dark`, see `svg.picture`.
    """
    stations, parameters = stations_of(experiment), experiment.network.parameters
    lines = [lines_of(station, parameters) for station in stations]
    around = HEADER + SHARES + LEGEND + 2 * MARGIN
    drawing = _drawing(stations, lines, layout)
    page = placed(drawing, layout, around)
    width = max(page_width(page, around) + 2 * MARGIN, SMALLEST[layout])
    notes = [line for note in NOTES for line in wrap(note, int((width - 2 * MARGIN) / width_of(" ", NOTE)))]
    height = page.height + around + LINE * (len(notes) - len(NOTES))
    shift = f"translate({(width - page.width) / 2:.1f} {MARGIN / 2 + HEADER:.1f})"
    parts = [
        *_header(cut(title, width - 2 * MARGIN, TITLE), experiment),
        element("g", _body(stations, drawing, page), transform=shift),
        *drawn_shares(stations, MARGIN, page.height + HEADER + MARGIN, width - 2 * MARGIN),
        *_legend(notes, height - MARGIN - LINE * (len(notes) - 1)),
    ]
    return picture(width, height, parts, title, _description(experiment), theme, STYLE)


def _drawing(stations: Sequence[Station], lines: Sequence[Sequence[Line]], layout: str) -> Drawing:
    """Collect what is placed on the page."""
    scale, ranks = scale_of(stations), ranks_of(stations)
    lanes = lanes_of(stations, ranks)
    boxes = [box_of(station, scale, lying=layout == "column") for station in stations]
    return Drawing(boxes, lines, ranks, lanes, edges_of(stations, ranks, lanes), [each.rounds for each in stations])


def _header(title: str, experiment: Experiment) -> Iterator[str]:
    network = experiment.network
    least = "" if all(each.macs_known for each in network.facts) else "at least "
    macs = least + short(sum(each.macs for each in network.facts))
    counts = f"{counted(len(network.nodes), 'layer')}, {counted(network.parameters, 'parameter')}, {macs} MACs per image"
    yield text(MARGIN, MARGIN + 16, title, font_size=TITLE, font_weight="bold")
    yield text(MARGIN, MARGIN + 36, counts, "faint", font_size=12.5)


def _body(stations: Sequence[Station], drawing: Drawing, page: Page) -> Iterator[str]:
    """Yield what is behind first: connections, boxes, windows, brackets, text."""
    yield from drawn_edges(stations, drawing.edges, page)
    for station, slot in zip(stations, page.slots, strict=True):
        about = element("title", escape(_about(station)))
        yield element("g", [about, *drawn_box(station, slot.box)], data_layer=station.name, class_="box")
    yield from drawn_windows(stations, page.slots, scale_of(stations))
    yield from drawn_brackets(stations, page)
    for station, slot, lines in zip(stations, page.slots, drawing.lines, strict=True):
        yield from _labels(lines, slot, page.layout, station.name)


def _labels(lines: Sequence[Line], slot: Slot, layout: str, name: str) -> Iterator[str]:
    x, y = slot.text
    for number, line in enumerate(lines):
        weight, size = ("bold", NAME_SIZE) if line.is_name else (None, SIZE)
        looks = {"font_weight": weight, "font_size": size, "text_anchor": "middle" if layout == "row" else None}
        yield text(x, y + number * LINE, line.content, line.colour, data_of=name, **looks)


def _about(station: Station) -> str:
    """Describe a box in one line, with the full names of its layers."""
    sheets = ", ".join(f"{sheet.name or station.name}: {sheet.label}" for sheet in station.sheets)
    macs = f"{station.macs:,} MACs" if station.macs_known else "MACs unknown"
    owners = [owner for owner in (station.shares, *(sheet.shares for sheet in station.sheets)) if owner]
    weights = "".join(f", weights of {owner}" for owner in owners)
    costs = f"{counted(station.parameters, 'parameter')}{weights}, {macs}"
    return f"{station.name}: {station.kind}, {show_shape(station.shape)}, {costs}" + (f"; {sheets}" if sheets else "")


def _legend(notes: Sequence[str], y: float) -> Iterator[str]:
    for number, note in enumerate(notes):
        yield text(MARGIN, y + number * LINE, note, "faint", font_size=NOTE)


def _description(experiment: Experiment) -> str:
    """Describe the network for screen readers: every layer with its inputs and its shape."""
    layers = "; ".join(
        f"{each.name} ({each.kind}) from {' and '.join(each.inputs)}: {show_shape(each.output_shape)}"
        for each in experiment.network.facts
    )
    return f"Input {show_shape(experiment.network.image)}; {layers}"
