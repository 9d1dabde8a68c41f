"""Stations: what a picture has a box for. A layer that keeps the shape, such as an activation, is a sheet of its input's box."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod

from cnnctl.draw.repeats import Item, Round, items_of
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import LayerContext, Shape, format_of, spatial
from cnnctl.spec.stack import INPUT

ACTIVATIONS = (L.ActivationLayer, L.ReLU, L.LeakyReLU, L.PReLU, L.ELU, L.Softmax)
NORMALIZATIONS: dict[type[L.Layer], str] = {
    L.BatchNormalization: "batch norm",
    L.LayerNormalization: "layer norm",
    L.GroupNormalization: "group norm",
    L.UnitNormalization: "unit norm",
    L.Normalization: "normalization",
}
"""The normalizations, as a picture names them."""
SHEETS: tuple[type[L.Layer], ...] = (*NORMALIZATIONS, L.Rescaling, L.RandomLayer, *ACTIVATIONS)
"""Layers that are drawn as sheets on the box of their input, where nothing else takes that output."""


@dataclass(frozen=True)
class Sheet:
    """A layer, or a layer's own activation, that keeps the shape of a box.

    Attributes:
        label: such as `batch norm`.
        kind: `normalization`, `activation` or `dropout`.
        name: the layer's name; empty for the activation of another layer.
        shares: the layer whose weights it uses; empty for its own.
    """

    label: str
    kind: str
    name: str = ""
    shares: str = ""


@dataclass
class Station:
    """A box of the picture.

    Attributes:
        name: of the layer, or `input`.
        layer: None for the input.
        shape: of the output, as `summary` prints it.
        size: (height, width, channels) of maps, or (values,) of a vector; of other tensors the first axis, those between, the last.
        inputs: indices of the stations before it.
        rounds: the repeats and blocks around it, outermost first.
        times: layers of the network that it is drawn for.
        shares: the full name of the layer whose weights it uses; empty for its own.
        parameters, macs: of all those layers, with the sheets.
        macs_known: False for a layer of one's own that does not count its MACs.
        sheets: from the layer on.
    """

    name: str
    layer: L.Layer | None
    shape: Shape
    size: tuple[int, ...]
    inputs: tuple[int, ...] = ()
    rounds: tuple[Round, ...] = ()
    times: int = 1
    shares: str = ""
    parameters: int = 0
    macs: int = 0
    macs_known: bool = True
    sheets: list[Sheet] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The layer's kind, or `input`."""
        return self.layer.kind if self.layer else INPUT


def stations_of(experiment: Experiment) -> list[Station]:
    """List the boxes of a network in order of computation, the input first."""
    network = experiment.network
    items = items_of(network, experiment.model)
    uses = Counter(name for item in items for name in item.inputs)
    stations = [Station(INPUT, None, network.image, _size(network.image, network.data_format))]
    place = {INPUT: 0}
    for item in items:
        before = place[item.inputs[0]]
        if _is_sheet(item, stations[before], uses):
            stations[before].sheets.append(_sheet(item))
            stations[before].parameters += item.facts.parameters * item.times
            place[item.name] = before
        else:
            place[item.name] = len(stations)
            stations.append(_station(item, tuple(place[name] for name in item.inputs), network.context))
    return stations


def _is_sheet(item: Item, before: Station, uses: Counter[str]) -> bool:
    """Decide whether a layer only changes the values of a box that nothing else takes."""
    if not isinstance(item.node.layer, SHEETS) or before.layer is None:
        return False
    return uses[item.inputs[0]] == 1 and item.rounds == before.rounds


def _station(item: Item, inputs: tuple[int, ...], context: LayerContext) -> Station:
    layer, shape = item.node.layer, item.facts.output_shape
    size = _size(shape, format_of(layer, context))
    station = Station(item.name, layer, shape, size, inputs, item.rounds, item.times, item.shares)
    station.parameters, station.macs = item.facts.parameters * item.times, item.facts.macs * item.times
    station.macs_known = item.facts.macs_known
    activation = getattr(layer, "activation", None)
    if activation not in (None, "linear") and not isinstance(layer, ACTIVATIONS):
        station.sheets.append(Sheet(activation, "activation"))
    return station


def _size(shape: Shape, data_format: L.DataFormat) -> tuple[int, ...]:
    if len(shape) == 1:
        return shape
    if len(shape) != 3:  # no image: drawn with the last axis as depth
        return shape[0], prod(shape[1:-1]), shape[-1]
    (height, width), channels = spatial(shape, data_format, "")
    return height, width, channels


def _sheet(item: Item) -> Sheet:
    layer = item.node.layer
    if type(layer) in NORMALIZATIONS:
        return Sheet(NORMALIZATIONS[type(layer)], "normalization", item.name, item.shares)
    if isinstance(layer, L.Rescaling):
        return Sheet("rescaling", "normalization", item.name, item.shares)
    if isinstance(layer, L.RandomLayer):
        words = layer.kind.removesuffix("2d").replace("_", " ")
        return Sheet(f"{words} {random_part(layer).split()[-1]}", "dropout", item.name)
    label = layer.activation if isinstance(layer, L.ActivationLayer) else layer.kind.replace("_", " ")
    return Sheet(label, "activation", item.name, item.shares)


def random_part(layer: L.RandomLayer) -> str:
    """Describe how much a layer changes at random in training, such as `rate 0.5`."""
    return next(f"{name} {getattr(layer, name):g}" for name in ("rate", "stddev") if hasattr(layer, name))
