"""`cnnctl code`: write a stand-alone Keras script for a config. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.commands.custom_layers import check_calls
from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.report.text import printable
from cnnctl.script.page import script
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.layers.custom import flag_words
from cnnctl.spec.listing import listings_kept
from cnnctl.spec.load import load
from cnnctl.surroundings import shell_word


@listings_kept()
def code(config: Path, overrides: Sequence[str], output: Path | None, console: Console) -> None:
    """Print the script of a config, or write it to a file.

    Args:
        config: the YAML file.
        overrides: values of `--set`, such as `train.epochs=3`.
        output: the file to create; None to print.
        console: prints results and messages.

    Raises:
        ConfigError: the config is wrong.
        UsageError: the output exists already, or a short script cannot read the data as cnnctl does.
        DataError: the data changed after the config was checked.
        RunError: the file cannot be written.
    """
    if output is not None:
        refuse_output(output, "--output")
    experiment = load(config, overrides)
    check_calls(experiment)
    refuse_few_shot(experiment, "code", "its training steps are in cnnctl/few_shot/learners.py")
    text = script(experiment, _command(config, overrides), f"{config.stem}.keras")
    if output is None:
        console.result(text)
        return
    write_whole(output, f"{text}\n".encode())
    console.result(f"{printable(str(output))} is ready. Run it: python {shell_word(output)}")


def _command(config: Path, overrides: Sequence[str]) -> str:
    changes = [word for text in overrides for word in ("--set", text)]
    return " ".join(["cnnctl code", *map(shell_word, [config, *changes, *flag_words()])])
