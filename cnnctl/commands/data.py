"""`cnnctl data`: describe the images of a config and draw samples. Starts TensorFlow only for TFDS or augmented samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import DataError, RunError
from cnnctl.files import refuse_output, write_whole
from cnnctl.report import tables
from cnnctl.report.console import Console
from cnnctl.report.data_advice import advice
from cnnctl.report.data_tables import dataset_markdown, dataset_text, not_read_lines
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.listing import listings_kept
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.data.splits import Splits


@listings_kept()
def data(config: Path, overrides: Sequence[str], output: Path | None, form: str, console: Console, verbose: bool) -> None:
    """Prepare the data of a config and print its facts; draw samples where an output file is given.

    Args:
        config: the YAML file.
        overrides: values of `--set`, such as `train.epochs=3`.
        output: the PNG file for samples; None draws none.
        form: `table`, `json` or `markdown`.
        console: prints results and messages.
        verbose: show TensorFlow's log.

    Raises:
        ConfigError: the config is wrong.
        UsageError: `output` is not a PNG file, exists already, or has no parent folder.
        DataError: the data is missing or broken.
        RunError: `output` cannot be written, or the data does not fit into memory.
    """
    if output is not None:
        refuse_output(output, "--output", ".png")
    found: list[str] = []
    experiment = load(config, overrides, notes=found)
    if experiment.data.source == "tfds" or (output and experiment.data.augment):
        with console.working("starting TensorFlow"):
            import_tensorflow(verbose)
    try:
        splits = _show(experiment, found, form, console, verbose)
        if output:
            _draw(experiment, splits, output, console)
        console.say("These figures include the test split. Base no choice on it.")
        if not output:
            console.say("To draw samples of up to 20 classes, add: --output samples.png")
    except MemoryError as error:
        raise RunError(
            "the images do not fit into memory; write a smaller data.image_size, or read part of the split"
        ) from error


def _show(experiment: Experiment, found: Sequence[str], form: str, console: Console, verbose: bool) -> Splits:
    """Print the facts and return the splits they describe."""
    with console.working("reading the data"):
        from cnnctl.data.inspect.facts import data_facts

        splits = _splits(experiment, verbose)
        splits.notes[:0] = found
        facts = asdict(data_facts(experiment.data, splits, experiment.few_shot))
        not_read = _not_read(experiment)
    if form == "json":
        console.result(tables.as_json({**facts, "not_read": not_read, "advice": advice(facts)}))
    else:
        console.result(dataset_markdown(facts) if form == "markdown" else dataset_text(facts))
        if verbose and not_read:
            console.result("\n" + not_read_lines(not_read))
    return splits


def _not_read(experiment: Experiment) -> list[dict[str, str]]:
    """List each file in the data folder that is not read, with the reason."""
    if experiment.data.source != "folder":
        return []
    from cnnctl.spec.folders import FolderSet

    return [{"file": "/".join(each.place), "why": each.why} for each in FolderSet(experiment.data).unread()]


def _splits(experiment: Experiment, verbose: bool) -> Splits:
    """Read the splits as `train` does for the config's task; with `verbose`, an error names every broken image."""
    from cnnctl.data.class_splits import read_disjoint_splits
    from cnnctl.data.image_set import BrokenImages
    from cnnctl.data.splits import read_splits

    try:
        return read_disjoint_splits(experiment.data) if experiment.few_shot else read_splits(experiment.data)
    except BrokenImages as broken:
        raise DataError(broken.every if verbose else str(broken)) from broken


def _draw(experiment: Experiment, splits: Splits, output: Path, console: Console) -> None:
    with console.working("drawing samples"):
        from cnnctl.data.inspect.samples import samples
        from cnnctl.report.figures import samples_png

        chosen = samples(splits, experiment)
        write_whole(output, samples_png(chosen.blocks, chosen.class_names, chosen.title))
    console.say(f"{output} shows {chosen.title}.")
