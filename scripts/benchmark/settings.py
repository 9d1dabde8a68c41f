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

CONFIG = Path(__file__).parents[2] / "configs" / "mnist.yaml"
PROCESSES = Path(__file__).parent / "processes"
DIGITS = {"source": "digits", "validation": 0.1}


class NotPrepared(Exception):
    """The images could not be read."""


@dataclass(frozen=True)
class Setting:
    """The settings of one training.

    Attributes:
        config: for cnnctl.
        data: the .npz file with the images that the config names.
        images: the number of training images.
        epochs, batch_size: as in the config.
        filters: of the two convolutions.
        padding: of both.
    """

    config: Path
    data: Path
    images: int
    epochs: int
    batch_size: int
    filters: tuple[int, ...]
    padding: str

    def arguments(self) -> list[str]:
        """Build the arguments of a plain script; see processes/plain.py."""
        numbers = ["--epochs", str(self.epochs), "--batch-size", str(self.batch_size)]
        filters = ["--filters", *map(str, self.filters)]
        return [str(self.data), *numbers, *filters, "--padding", self.padding]


@dataclass(frozen=True)
class Settings:
    """Make settings that differ from configs/mnist.yaml in the options chosen.

    Attributes:
        source: `mnist` or `digits`.
        epochs: of each training.
        folder: for configs and images.
    """

    source: str
    epochs: int
    folder: Path

    def make(self, images: int | None = None, width: float = 1, batch_size: int | None = None) -> Setting:
        """Write config and images of one setting.

        Args:
            images: the first N images of the split train, from which the validation part is taken; None for all.
            width: the factor for the filters of the config.
            batch_size: images per step; None for that of the config.

        Raises:
            NotPrepared: the images cannot be read.
        """
        content = changed(read_document(CONFIG).content, self.source, self.epochs, images, width, batch_size)
        config = self.folder / f"{images or 'all'}-{width:g}-{batch_size or 'same'}.yaml"
        config.write_text(dump(content))
        data = self.folder / f"{images or 'all'}.npz"
        count = self._prepare(config, data)
        first = _convolutions(content)[0]
        filters = tuple(each["filters"] for each in _convolutions(content))
        return Setting(config, data, count, self.epochs, content["train"]["batch_size"], filters, first.get("padding", "valid"))

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


def changed(
    content: Mapping[str, Any], source: str, epochs: int, images: int | None, width: float, batch_size: int | None
) -> dict[str, Any]:
    """Change the content of a config as `Settings.make` needs it."""
    new = copy.deepcopy(dict(content))
    new["train"]["epochs"] = epochs
    new["train"]["batch_size"] = batch_size or new["train"]["batch_size"]
    for convolution in _convolutions(new):
        convolution["filters"] = round(width * convolution["filters"])
        if source == "digits":
            convolution["padding"] = "same"  # 8×8 pixels are too few to lose any
    if source == "digits":
        new["data"] = dict(DIGITS)
    elif images is not None:
        new["data"]["train"] = f"{new['data'].get('train', 'train')}[:{images}]"
    return new


def _convolutions(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [layer["conv2d"] for layer in content["model"]["layers"] if isinstance(layer, dict) and "conv2d" in layer]
