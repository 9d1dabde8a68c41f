"""`cnnctl draw`: draw a network, or one of its layers in motion. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.commands.custom_layers import check_calls
from cnnctl.draw.layer_picture import layer_named, layer_picture
from cnnctl.draw.network_picture import network_picture
from cnnctl.draw.rendering import refuse_suffix, rendered
from cnnctl.errors import UsageError
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.text import printable
from cnnctl.spec.load import load
from cnnctl.spec.stack import INSIDE
from cnnctl.surroundings import shell_word


def draw(
    config: Path,
    overrides: Sequence[str],
    output: Path | None,
    layer: str | None,
    layout: str | None,
    theme: str,
    console: Console,
) -> None:
    """Draw the network of a config, or one layer of it, to a file.

    Args:
        config: the YAML file.
        overrides: values of `--set`, such as `train.epochs=3`.
        output: the file to create: .svg, .png or .pdf; None for a name like the config, in the current folder.
        layer: a layer's name, to draw it in motion; None for the whole network.
        layout: of a whole network: `row` for a slide, `column` for a page; None for `row`.
        theme: `auto` follows the viewer, `light` and `dark` are fixed.
        console: prints results and messages.

    Raises:
        ConfigError: the config is wrong.
        UsageError: the output exists already or has another suffix, options conflict, or the layer cannot be drawn.
        RunError: the file cannot be written.
    """
    if layer and layout:
        raise UsageError(f"--layout {layout} is for a whole network; remove it, or --layer {layer}")
    target = output or Path(f"{config.stem}.svg")
    refuse_suffix(target)
    experiment = load(config, overrides)
    check_calls(experiment)
    if layer:
        layer_named(experiment, layer)
        target = output or Path(f"{config.stem}-{layer.replace(INSIDE, '-')}.svg")
    refuse_output(target, "--output")
    suffix = target.suffix.lower()
    seen = "light" if theme == "auto" and suffix != ".svg" else theme  # a PNG or PDF file follows no viewer
    svg = (
        layer_picture(experiment, layer, seen)
        if layer
        else network_picture(experiment, printable(config.stem), layout or "row", seen)
    )
    write_whole(target, rendered(svg, suffix))
    console.result(f"{printable(str(target))} is ready. Open it in a browser: {shell_word(target)}")
