"""The configs of published networks have the numbers of weights and MACs that are published."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnctl.report.rows import summarize
from cnnctl.spec.load import load

FOLDER = Path(__file__).parents[2] / "configs" / "published"
# Trained parameters, to the unit; millions of MACs, as rounded in the source.
PUBLISHED = {
    "mobilenet": (4_231_976, 569),  # Howard et al. 2017, table 4; Keras's MobileNet without its moving averages
    "mobilenet-v2": (3_504_872, 301),  # torchvision's mobilenet_v2; the paper says 300
    "resnet18": (11_689_512, 1_814),  # torchvision's resnet18
    "resnet50": (25_557_032, 4_089),  # torchvision's resnet50
    "squeezenet": (1_235_496, 349),  # torchvision's squeezenet1_1
}


def test_every_published_config_has_its_numbers_here() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.yaml")) == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_has_the_published_numbers(name: str) -> None:
    summary = summarize(load(FOLDER / f"{name}.yaml"))
    assert (summary.trainable, round(summary.macs / 1e6)) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_header_has_them_too(name: str) -> None:
    parameters, _ = PUBLISHED[name]
    assert f"{parameters:,}" in (FOLDER / f"{name}.yaml").read_text().split("\ndata:")[0]
