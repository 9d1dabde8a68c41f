"""Layers that move and interpolate values, exported to every runtime in both data formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnctl.export import writers
from cnnctl.export.writers import OPEN, plain_network
from cnnctl.model import build_model
from cnnctl.spec.document import Document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check

END: list[Any] = ["flatten", {"dense": {"units": "classes"}}]
CONV = {"conv2d": {"filters": 9, "kernel_size": 3}}
STACKS: dict[str, list[Any]] = {
    "moved": [
        CONV, {"cropping2d": {"cropping": [[1, 0], [0, 2]]}}, {"up_sampling2d": {"size": [2, 1]}},
        {"rescaling": {"scale": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "offset": 0.5}},
        {"permute": {"dims": [2, 3, 1]}}, {"reshape": {"target_shape": [-1, 9]}}, {"permute": {"dims": [2, 1]}}, *END,
    ],
    **{
        way: [CONV, {"up_sampling2d": {"size": [2, 3], "interpolation": way}}, *END]
        for way in ("bilinear", "bicubic", "lanczos5")
    },
}  # fmt: skip
TARGETS = [*(("moved", to) for to in ("keras", "saved_model", "onnx")), *((name, "tflite") for name in STACKS)]


def experiment(name: str, data_format: str) -> Experiment:
    model = {"data_format": data_format, "layers": STACKS[name]}
    return check(Document("x.yaml", {"data": {"source": "digits", "image_size": [8, 7]}, "model": model}))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("name", "to"), TARGETS)
def test_values_that_were_moved_are_those_of_keras_in_every_runtime(
    name: str, to: str, data_format: str, tmp_path: Path
) -> None:
    spec = experiment(name, data_format)
    network = plain_network(spec, build_model(spec))
    images = np.random.default_rng(0).random((3, *spec.network.image), np.float32)
    file = tmp_path / {"saved_model": "x"}.get(to, f"x.{to}")
    match to:
        case "keras":
            writers.write_keras(network, file)
        case "saved_model":
            writers.write_saved_model(network, file)
        case "tflite":
            writers.write_tflite(network, file)
        case "onnx":
            writers.write_onnx(spec, network, file)
    np.testing.assert_allclose(OPEN[to](file).outputs(images), network(images), rtol=1e-4, atol=1e-5)
