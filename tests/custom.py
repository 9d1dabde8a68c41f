"""The example config with a layer of one's own, and small files of layers."""

from __future__ import annotations

from pathlib import Path

from cnnctl.spec.layers.custom import FLAG, use

ROOT = Path(__file__).parents[1]
EXAMPLE, LAYERS = ROOT / "configs/custom-layer.yaml", ROOT / "configs/custom_layer.py"


def option_of(config: Path) -> list[str]:
    """Returns the option without which a config of configs/ cannot be read; none for all but one."""
    return [FLAG, str(LAYERS)] if config == EXAMPLE else []


def use_layers_of(config: Path) -> Path:
    """Adds the layers that a config of configs/ needs to the vocabulary; `no_layers_of_ones_own` removes them."""
    if config == EXAMPLE:
        use_layers(LAYERS)
    return config


def use_layers(file: Path) -> None:
    """Adds the layers of a file to the vocabulary, as `--custom-layers` does."""
    from cnnctl.model.custom_layers import read_custom_layers

    use(None)
    use(read_custom_layers(file))
