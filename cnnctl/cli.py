"""The command line: each verb reads its options and calls one function; `main` is the error boundary."""

from __future__ import annotations

import io
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cnnctl import __version__
from cnnctl.errors import CnnctlError

app = typer.Typer(
    name="cnnctl",
    help="Trains small convolutional networks from one YAML file. Start with: cnnctl init",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's help costs half of the start-up time
    pretty_exceptions_enable=False,
)


class Device(str, Enum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Form(str, Enum):
    """How results are printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


Config = Annotated[Path, typer.Argument(help="The YAML file of the experiment.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the config; may be repeated."),
]


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"cnnctl {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="The YAML file of the experiment.", show_default=False)] = None,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of the run. [default: runs/NAME/DATE_TIME]", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.", show_default=False)
    ] = None,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let TensorFlow's messages and tracebacks through.")] = False,
) -> None:
    """Train a network; leave weights, metrics and TensorBoard events in a run folder."""
    from cnnctl.commands.train import train as run
    from cnnctl.report.console import Console

    run(config, overrides or [], run_dir, resume, device.value, Console(quiet), verbose)


@app.command()
def summary(
    config: Config,
    overrides: Overrides = None,
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.table,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that memory is counted for.")] = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of every layer.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Build the Keras model and compare.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Let TensorFlow's messages and tracebacks through.")] = False,
) -> None:
    """Show every layer: shape, parameters, multiplications, receptive field, memory. No TensorFlow."""
    from cnnctl.commands.summary import summary as run
    from cnnctl.report.console import Console

    run(config, overrides or [], form.value, batch_size, explain, check, Console(), verbose)


@app.command()
def runs(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look.")] = Path("runs"),
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.table,
    sort: Annotated[
        str | None, typer.Option(metavar="KEY", help="Order by a config path or result; -KEY for the largest first.")
    ] = None,
    wanted: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="Show only such runs; may be repeated.")
    ] = None,
    seeds: Annotated[bool, typer.Option("--seeds", help="Seeds of one config as mean ± standard deviation.")] = False,
) -> None:
    """Compare runs: one row a run, only the config values that differ."""
    from cnnctl.commands.runs import runs as run
    from cnnctl.report.console import Console

    run(root, form.value, sort, wanted or [], seeds, Console())


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(help="Which ready config; without it they are listed.", show_default=False)
    ] = None,
) -> None:
    """Copy a ready config to start from, or list them."""
    from cnnctl.commands.init import init as run
    from cnnctl.report.console import Console

    run(name, Console())


@app.command()
def schema() -> None:
    """Print the JSON Schema of a config, for editors."""
    from cnnctl.report.console import Console
    from cnnctl.report.tables import as_json
    from cnnctl.spec.schema import json_schema

    Console().result(as_json(json_schema()))


def main() -> None:
    """Runs the command line; a known error gives its message and its exit code, an unknown one is raised.

    What the system refuses (a full disk, a folder without permission) is known, wherever it happens.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × shows ?, and the command goes on
    try:
        app()
    except CnnctlError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}", CnnctlError.exit_code)


def _fail(message: str, exit_code: int) -> None:
    from cnnctl.report.console import Console

    Console().error(message, verbose="--verbose" in sys.argv)
    sys.exit(exit_code)
