"""`cnnctl data`: what the images of a config are like, and a picture of some; TensorFlow only where they come from TFDS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import RunError, UsageError
from cnnctl.files import write_whole
from cnnctl.report import tables
from cnnctl.report.advice import advice
from cnnctl.report.console import Console
from cnnctl.report.dataset import dataset_markdown, dataset_text
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.data.splits import Splits


def data(config: Path, overrides: Sequence[str], output: Path | None, form: str, console: Console, verbose: bool) -> None:
    """Prepares the data of a config and prints what it is like; draws samples where a file is given for them.

    Args:
        config: the YAML file.
        overrides: `--set` texts.
        output: the PNG file to draw samples into; None draws none.
        form: `table`, `json` or `markdown`.
        console: where to print.
        verbose: let TensorFlow's messages through.

    Raises:
        ConfigError: the config is wrong.
        UsageError: `output` is no PNG file, or its folder is not there.
        DataError: the data is missing or broken.
        RunError: `output` cannot be written, or the data is too large for the memory.
    """
    _refuse_unusable(output)
    experiment = load(config, overrides)
    if experiment.data.source == "tfds" or (output and experiment.data.augment):
        with console.working("starting TensorFlow"):
            import_tensorflow(verbose)
    try:
        splits = _show(experiment, form, console)
        if output:
            _draw(experiment, splits, output, console)
        console.say("The test split is counted here, and nothing is chosen by it.")
        if not output:
            console.say("Draw some images of up to 20 classes with: --output samples.png")
    except MemoryError as error:
        raise RunError(
            "the images do not fit into memory; give a smaller data.image_size, or read a part of the split"
        ) from error


def _refuse_unusable(output: Path | None) -> None:
    if output is None:
        return
    if output.suffix.lower() != ".png":
        raise UsageError(f"--output {output}: expected a file that ends with .png, such as samples.png")
    if output.is_dir():
        raise UsageError(f"--output {output}: that is a folder; give a file in it, such as {output / 'samples.png'}")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.parent}; make it first, or give another")


def _show(experiment: Experiment, form: str, console: Console) -> Splits:
    """Prints the facts; returns the splits that they are about."""
    with console.working("reading the data"):
        from cnnctl.data.facts import data_facts

        splits = _splits(experiment)
        facts = asdict(data_facts(experiment.data, splits, experiment.few_shot))
    if form == "json":
        console.result(tables.as_json({**facts, "advice": advice(facts)}))
    else:
        console.result(dataset_markdown(facts) if form == "markdown" else dataset_text(facts))
    return splits


def _splits(experiment: Experiment) -> Splits:
    """Returns the splits that `train` reads for the config's task."""
    if experiment.few_shot:
        from cnnctl.data.disjoint import read_disjoint_splits

        return read_disjoint_splits(experiment.data)
    from cnnctl.data.splits import read_splits

    return read_splits(experiment.data)


def _draw(experiment: Experiment, splits: Splits, output: Path, console: Console) -> None:
    with console.working("drawing samples"):
        from cnnctl.data.samples import samples
        from cnnctl.report.figures import samples_png

        chosen = samples(splits, experiment)
        write_whole(output, samples_png(chosen.blocks, chosen.class_names, chosen.title))
    console.say(f"{output} shows {chosen.title}.")
