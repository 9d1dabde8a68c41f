"""`cnnctl explore`: write one HTML file in which a network is explored. TensorFlow starts after the arguments are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import UsageError, counted
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.text import printable
from cnnctl.run_folder import NAME_A_RUN, RunFolder
from cnnctl.session.run_files import config_of_run
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import CustomLayer
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.explore.page_data import Content

MEGABYTE = 1_000_000
IMAGES = 60
"""Images of a page where `--images` is not given."""


@dataclass(frozen=True)
class PageOptions:
    """What a page contains at most.

    Attributes:
        max_size: of the file, in MB of 1,000,000 bytes.
        images: number of images to choose; 0 for none, None for the default.
        snapshots: number of weight sets that a run kept during training; None for all.
    """

    max_size: int
    images: int | None
    snapshots: int | None


def explore(
    source: Path, overrides: Sequence[str], output: Path, options: PageOptions, device: str, console: Console, verbose: bool
) -> None:
    """Write the page of a run, or of a config before training.

    Args:
        source: the folder of a run, or a YAML file.
        overrides: values of `--set` for a config.
        output: the HTML file to create.
        options: what the page contains.
        device: `auto`, `cpu` or `gpu`.
        console: prints results and messages.
        verbose: show TensorFlow's log.

    Raises:
        UsageError: there is no such run or config, the file exists, or the page would be too large.
        ConfigError: the config is wrong.
        DataError: the images cannot be read.
        RunError: the run is incomplete or damaged, or the file cannot be written.
    """
    refuse_output(output, "--output", ".html")
    experiment = _experiment(source, overrides, console)
    _refuse_own_layers(experiment)
    _refuse_unknown(experiment)
    _refuse_useless(experiment, source, options)
    _refuse_large_weights(experiment, source, output, options)
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.explore.page_data import content_of_config, content_of_run
        from cnnctl.train.device import choose_device
    computes_on = choose_device(device)
    images = IMAGES if options.images is None else options.images
    with console.working("reading network and images"):
        if source.is_dir():
            content = content_of_run(source, images, options.snapshots)
        else:
            content = content_of_config(experiment, source, images)
    page = _page(content, output, options)
    write_whole(output, page)
    console.say(f"device  {computes_on}")
    for note in content.notes:
        console.say(f"note    {printable(note)}")
    console.say(f"page    {_parts(content)}")
    console.result(f"{printable(str(output))} is ready, {_megabytes(len(page))}. Open it in a browser; it needs no network.")


def _experiment(source: Path, overrides: Sequence[str], console: Console) -> Experiment:
    if not source.exists():
        raise UsageError(f"{printable(str(source))}: no such run or config; {NAME_A_RUN}, 'cnnctl init' the example configs")
    if not source.is_dir():
        return load(source, overrides)
    if overrides:
        raise UsageError(f"--set changes a config before training, and {printable(str(source))} is a run; remove --set")
    return config_of_run(source, console)


def _refuse_own_layers(experiment: Experiment) -> None:
    """Refuse layers that run in Python only, before TensorFlow starts."""
    for node in experiment.network.nodes:
        if isinstance(node.layer, CustomLayer):
            raise UsageError(
                f"explore cannot show '{node.name}': the page computes every layer in the browser, and {node.layer.kind} is a layer of "
                f"one's own in Python, {node.layer.own.place}; train it, and look at it in TensorBoard"
            )


def _refuse_unknown(experiment: Experiment) -> None:
    """Refuse a network that the page cannot compute, before TensorFlow starts."""
    from cnnctl.explore.network_data import refuse_unknown

    refuse_unknown(experiment.network)


def _refuse_useless(experiment: Experiment, source: Path, options: PageOptions) -> None:
    """Refuse options that would be ignored."""
    if options.images and experiment.few_shot is not None:
        raise UsageError("--images chooses among images of classes, and a few-shot page shows one episode; remove --images")
    if options.snapshots is None or _kept(source):
        return
    if not source.is_dir():
        raise UsageError(f"--snapshots chooses among the weights that a run kept, and {printable(str(source))} is a config")
    raise UsageError(f"--snapshots: {printable(str(source))} kept none; train with --set log.snapshots=6 to keep some")


def _kept(source: Path) -> int:
    """Count the weight sets that a run kept during training; a config has none."""
    return len(RunFolder(source).snapshot_files()) if source.is_dir() else 0


def _refuse_large_weights(experiment: Experiment, source: Path, output: Path, options: PageOptions) -> None:
    """Refuse a network whose weights alone are too large, before TensorFlow starts."""
    kept = _kept(source) if options.snapshots is None else min(_kept(source), options.snapshots)
    sets = max(kept, 1)  # the last of the kept ones may be the trained network
    size = _encoded(4 * experiment.network.parameters * sets)
    if size > options.max_size * MEGABYTE:
        times = f"{sets:,} times " if sets > 1 else ""
        parameters = f"{times}{experiment.network.parameters:,} parameters alone take {_megabytes(size)}"
        fewer = ["--snapshots"] * (sets > 1)
        raise _too_large(f"{printable(str(output))} would be too large: {parameters}", size, options, fewer)


def _page(content: Content, output: Path, options: PageOptions) -> bytes:
    """Create the page.

    Raises:
        UsageError: it is larger than allowed.
    """
    from cnnctl.explore.page import page_of

    weights, images = _encoded(len(content.weights)), _encoded(content.images.size)
    size = weights + images  # the page's own script and style are small
    if size <= options.max_size * MEGABYTE:  # else the page might not fit into memory
        page = page_of(content.data, content.weights)
        size = len(page)
        if size <= options.max_size * MEGABYTE:
            return page
    sets = f" ({content.sets} sets)" if content.sets > 1 else ""
    fewer = ["--images"] * _has_chosen(content) + ["--snapshots"] * (content.kept > 0)
    parts = f"weights {_megabytes(weights)}{sets}, images {_megabytes(images)}"
    raise _too_large(f"{printable(str(output))} would have {_megabytes(size)}: {parts}", size, options, fewer)


def _has_chosen(content: Content) -> bool:
    """Find out whether a page has images that --images chose; those of an episode are all needed."""
    return bool(content.images.images) and content.data["few_shot"] is None


def _too_large(what: str, size: int, options: PageOptions, fewer: Sequence[str] = ()) -> UsageError:
    lower = f", or lower {' or '.join(fewer)}" if fewer else ""
    return UsageError(f"{what}; the limit is {options.max_size} MB. Add --max-size {-(-size // MEGABYTE) + 1}{lower}")


def _encoded(size: int) -> int:
    """Compute the bytes of base64."""
    return -(-size // 3) * 4


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB"


def _parts(content: Content) -> str:
    images = counted(len(content.images.images), "image")
    partners = f" and {len(content.images.batch)} more for batches" if content.images.batch else ""
    sets = f"{content.sets} sets of weights" if content.sets > 1 else "weights"
    return (
        f"{sets} {_megabytes(_encoded(len(content.weights)))}, {images}{partners} {_megabytes(_encoded(content.images.size))}"
    )
