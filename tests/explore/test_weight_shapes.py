"""The shapes of weights that the page's data has, compared with the layers that Keras builds."""

from __future__ import annotations

from typing import Any

import pytest

from cnnctl.explore.network_data import weight_shapes
from cnnctl.model.keras_layers import keras_layers
from cnnctl.spec.experiment import Experiment

NORMALIZATIONS: list[Any] = [
    {"batch_normalization": {"renorm": True, "scale": False}},
    {"batch_normalization": {"axis": 1}},
    {"layer_normalization": {"axis": [3, 1, -2]}},
    {"layer_normalization": {"axis": [-1, 1], "scale": False, "rms_scaling": True}},
    {"group_normalization": {"groups": 2, "axis": 2, "center": False}},
    {"unit_normalization": {}},
    {"normalization": {"axis": [1, 3]}},
    {"normalization": {"axis": None}},
    {"normalization": {"mean": 1, "variance": 1}},
]


def experiment(layer: Any) -> Experiment:
    data = {"source": "digits", "image_size": [4, 6], "channels": 3, "classes": 10}
    return Experiment.model_validate({"data": data, "model": {"layers": [layer, "flatten", {"dense": {"units": "classes"}}]}})


@pytest.mark.parametrize("layer", NORMALIZATIONS, ids=str)
def test_weights_of_normalizations_have_the_names_and_shapes_of_keras(layer: Any) -> None:
    network = experiment(layer).network
    (built, *_) = keras_layers(network.nodes, 0, network.context, "float32").values()
    built.build((None, *network.image))
    found = weight_shapes(network.nodes[0].layer, network.image, network.context)
    assert {name: tuple(getattr(built, name).shape) for name in found} == found
    assert len(found) == len([weight for weight in built.weights if weight.name != "count"])
