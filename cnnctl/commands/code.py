"""`cnnctl code`: a stand-alone Keras script that trains as the config says, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.files import refuse_output, write_whole
from cnnctl.report.console import Console
from cnnctl.script.page import script
from cnnctl.spec.few_shot import refuse_few_shot
from cnnctl.spec.load import load
from cnnctl.surroundings import shell_word


def code(config: Path, overrides: Sequence[str], output: Path | None, console: Console) -> None:
    """Prints the script of a config, or writes it into a file.

    Args:
        config: the YAML file.
        overrides: `--set` texts.
        output: a new file; None to print.
        console: where to print.

    Raises:
        ConfigError: the config is wrong.
        UsageError: there is such a file or folder already, or a short script cannot read the data as cnnctl does.
        DataError: the data is not what it was when the config was checked.
        RunError: the file cannot be written.
    """
    if output is not None:
        refuse_output(output, "--output")
    experiment = load(config, overrides)
    refuse_few_shot(experiment, "code", "its training steps are in cnnctl/few_shot/learners.py")
    text = script(experiment, _command(config, overrides), f"{config.stem}.keras")
    if output is None:
        console.result(text)
        return
    write_whole(output, f"{text}\n".encode())
    console.result(f"{output} is ready. Run it: python {shell_word(output)}")


def _command(config: Path, overrides: Sequence[str]) -> str:
    changes = [word for text in overrides for word in ("--set", text)]
    return " ".join(["cnnctl code", *map(shell_word, [config, *changes])])
