"""The option `--custom-layers FILE.py`: the layers of one's own that a command line adds to the vocabulary."""

from __future__ import annotations

from pathlib import Path

from cnnctl.report.console import Console
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers.custom import loaded, use


def use_custom_layers(file: Path | None, console: Console, verbose: bool) -> None:
    """Run the file that the command line names, and add its layers; without one there are only built-in layers.

    Raises:
        UsageError: the file cannot be run, or its layers cannot be layers of a config.
    """
    use(None)
    if file is None:
        return
    with console.working("starting TensorFlow"):
        from cnnctl.train.quiet import import_tensorflow

        import_tensorflow(verbose)
        from cnnctl.model.custom_layers import read_custom_layers
    use(read_custom_layers(file))


def check_calls(experiment: Experiment) -> None:
    """Compare the layers of one's own with what they compute; only for verbs that do not choose a device later."""
    if loaded():
        from cnnctl.model.custom_calls import check_custom_layers

        check_custom_layers(experiment.network)
