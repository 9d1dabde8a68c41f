"""The settings of a training: a config for cnnctl, and arguments and one .npz file for the plain scripts."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnctl.spec.document import dump, read_document

from .measure import measure, variables_for

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = CONFIGS / "mnist.yaml"
"""Images and training of every setting, whatever its network."""
NETWORKS = ("mnist", "mnist-best", "mobilenet")
"""Configs whose networks are compared: without batch normalization, with it, with depthwise convolutions too."""
PROCESSES = Path(__file__).parent / "processes"
DIGITS = {"source": "digits", "validation": 0.1}


class NotPrepared(Exception):
    """The images could not be read, or are too few."""


@dataclass(frozen=True)
class Size:
    """What --growth varies.

    Attributes:
        images: the first N images of the split train, from which the validation part is taken; None for all.
        width: the factor for the filters of configs/mnist.yaml.
        depth: the number of convolutions; those after the second keep its filters and the size of its maps after pooling.
        batch_size: images per step.
    """

    images: int | None = None
    width: float = 1
    depth: int = 2
    batch_size: int = 128

    def __str__(self) -> str:
        """Describe the size for messages."""
        return f"{self.images or 'all'} images, width ×{self.width:g}, {self.depth} convolutions, batches of {self.batch_size}"


@dataclass(frozen=True)
class Setting:
    """The settings of one training.

    Attributes:
        config: for cnnctl.
        data: the .npz file with the images that the config names.
        images: the number of training images.
        epochs: as in the config.
        network: a name of `NETWORKS`.
        size: of network and batches.
        padding: of the convolutions that have `valid` in the configs.
    """

    config: Path
    data: Path
    images: int
    epochs: int
    network: str
    size: Size
    padding: str

    def network_arguments(self) -> list[str]:
        """Build the arguments of a plain script that describe the network and its batches; see processes/plain.py."""
        size = self.size
        numbers = ["--width", str(size.width), "--depth", str(size.depth), "--batch-size", str(size.batch_size)]
        return ["--network", self.network, *numbers, "--padding", self.padding]

    def arguments(self) -> list[str]:
        """Build the arguments of a plain training."""
        return [str(self.data), "--epochs", str(self.epochs), *self.network_arguments()]


@dataclass(frozen=True)
class Settings:
    """Make settings: the images and the training of configs/mnist.yaml with one of several networks.

    Attributes:
        source: `mnist` or `digits`.
        epochs: of each training.
        folder: for configs and images.
    """

    source: str
    epochs: int
    folder: Path

    def make(self, network: str = "mnist", size: Size = Size()) -> Setting:
        """Write config and images of one setting.

        Raises:
            NotPrepared: the images cannot be read.
        """
        config = self.folder / f"{network}-{size.images or 'all'}-{size.width:g}-{size.depth}-{size.batch_size}.yaml"
        config.write_text(dump(content_of(self.source, self.epochs, network, size)))
        data = self.folder / f"{size.images or 'all'}.npz"
        padding = "same" if self.source == "digits" else "valid"
        return Setting(config, data, self._prepare(config, data), self.epochs, network, size, padding)

    def _prepare(self, config: Path, data: Path) -> int:
        """Write the images of a config unless they exist; return the number of training images."""
        counted = data.with_suffix(".json")
        if not counted.exists():
            command = [sys.executable, str(PROCESSES / "prepare.py"), str(config), str(data)]
            done = measure(command, self.folder, variables_for(sys.executable, self.folder / "cache"))
            if done.exit_code:
                raise NotPrepared("\n".join(["the images cannot be read:", *done.last_lines()]))
            counted.write_text(done.stdout.splitlines()[-1])
        return int(json.loads(counted.read_text())["train"])


def content_of(source: str, epochs: int, network: str, size: Size) -> dict[str, Any]:
    """Build the content of a config as `Settings.make` needs it."""
    new = copy.deepcopy(dict(read_document(CONFIG).content))
    new["model"] = copy.deepcopy(dict(read_document(CONFIGS / f"{network}.yaml").content["model"]))
    new["train"] |= {"epochs": epochs, "batch_size": size.batch_size}
    if network == "mnist":
        _resize(new["model"]["layers"], size)
    if source == "digits":
        new["data"] = dict(DIGITS)
        for convolution in _convolutions(new["model"]["layers"]):
            convolution["padding"] = "same"  # 8×8 pixels are too few to lose any
    elif size.images is not None:
        new["data"]["train"] = f"{new['data'].get('train', 'train')}[:{size.images}]"
    return new


def _resize(layers: list[Any], size: Size) -> None:
    """Make the network of configs/mnist.yaml wider and deeper."""
    for convolution in _convolutions(layers):
        convolution["filters"] = round(size.width * convolution["filters"])
    *_, last = _convolutions(layers)
    deeper = [{"conv2d": {**last, "padding": "same"}} for _ in range(2, size.depth)]
    place = layers.index("flatten")
    layers[place:place] = deeper


def _convolutions(layers: list[Any]) -> list[dict[str, Any]]:
    return [layer["conv2d"] for layer in layers if isinstance(layer, Mapping) and "conv2d" in layer]
