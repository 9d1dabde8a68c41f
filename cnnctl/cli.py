"""The command line: each verb reads its options and calls one function; `main` is the error boundary."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
import typer.core

from cnnctl import __version__
from cnnctl.errors import CnnctlError, Interrupted
from cnnctl.last_words import dismiss, want_teller
from cnnctl.surroundings import expanded, from_system, open_closed_streams

Verb = TypeVar("Verb", bound=Callable[..., Any])


class _App(typer.Typer):
    """A Typer app that resolves `~` in every path that its verbs take, and has a limit for every number."""

    def command(self, *names: Any, **options: Any) -> Callable[[Verb], Verb]:
        """Registers a verb, as `typer.Typer.command` does."""
        register = super().command(*names, **options)

        def verb(function: Verb) -> Verb:
            function.__annotations__ |= get_type_hints(function, include_extras=True)  # now: each evaluation makes new options
            for annotation in function.__annotations__.values():
                _finish(annotation)
            return register(function)

        return verb


def _finish(annotation: Any) -> None:
    """Sets what every option and argument of a kind has."""
    types = _types_in(annotation)
    if Path in types:
        info = get_args(annotation)[1]
        info.parser, info.metavar = expanded, info.metavar or "PATH"
    elif int in types:
        info = get_args(annotation)[1]
        info.max = _MOST if info.max is None else info.max


_MOST = 2**31 - 1
"""The largest number that TensorFlow takes for counts, as in a config."""


def _types_in(annotation: Any) -> tuple[Any, ...]:
    """Returns the plain types of a type such as `Annotated[list[Path] | None, ...]`."""
    inner = get_args(annotation)
    return tuple(each for part in inner for each in _types_in(part)) if inner else (annotation,)


_CHOICE = re.compile(r"(.+) is not one of (.+?)\.?", re.DOTALL)
"""How Typer tells that a value is none of those there are."""


class Verbs(typer.core.TyperGroup):
    """The verbs, each with its whole help line; a wrong option gets cnnctl's words instead of pydantic's."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that the command line names."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _plain_words(error)
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of verbs."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, verb.get_short_help_str(limit=1000)) for name, verb in verbs if verb and not verb.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(shown)


def _plain_words(error: typer.BadParameter) -> str:
    """Return what was expected of an option and what was received, of a message of Typer or of pydantic."""
    message = error.message.removeprefix("Value error, ")
    if choice := _CHOICE.fullmatch(message):
        received, known = choice.groups()
        several = "one of " if "," in known else ""
        names = known.replace("'", "")
        return f"expected {several}{names}, received {received}"
    if not message.startswith("Input should be "):
        return message
    expected = message.removeprefix("Input should be ").partition(", unable")[0]
    expected = f"a number {expected}" if expected.startswith(("greater", "less")) else expected
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    return f"expected {expected}" + (f", received {found[0]['input']!r}" if found else "")


app = _App(
    name="cnnctl",
    help="Train small convolutional networks from one YAML file. Start with: cnnctl init",
    epilog="cnnctl help COMMAND, or cnnctl COMMAND -h, shows the options of one command.",
    cls=Verbs,
    context_settings={"help_option_names": ["--help", "-h"]},
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help costs half of the start-up time
    pretty_exceptions_enable=False,
)


def _complete_run(incomplete: str) -> list[str]:
    """Return the run folders below runs/, or below what is typed already, that begin with what is typed."""
    typed = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    roots = [root for root in dict.fromkeys((Path("runs"), typed)) if root != Path() and root.is_dir()]
    found = (config.parent for root in roots for deep in ("*", "*/*") for config in root.glob(f"{deep}/config.yaml"))
    return sorted({str(run) for run in found if str(run).startswith(incomplete)})


def _complete_verb(incomplete: str) -> list[str]:
    """Return the verbs that begin with what is typed."""
    names = (verb.name or getattr(verb.callback, "__name__", "") for verb in app.registered_commands if not verb.hidden)
    return [name for name in names if name.startswith(incomplete)]


def _complete_example(incomplete: str) -> list[str]:
    """Return the names of example configs that begin with what is typed."""
    from cnnctl.commands.init import ready_configs

    return [name for name in ready_configs() if name.startswith(incomplete)]


_MAX_COPIES = 10_000
"""Augmented copies of an image; all of them are computed."""


class Device(str, Enum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class Form(str, Enum):
    """How results are printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


class PlainForm(str, Enum):
    """How results are printed that no document needs."""

    table = "table"
    json = "json"


class Split(str, Enum):
    """A part of the data."""

    train = "train"
    validation = "validation"
    test = "test"


class Target(str, Enum):
    """What a network is exported to."""

    keras = "keras"
    saved_model = "saved_model"
    tflite = "tflite"
    onnx = "onnx"


class Quantize(str, Enum):
    """How a TFLite network computes."""

    int8 = "int8"


Turns = Annotated[bool, typer.Option("--turns", help="Compare images in every turn that was a class of its own in training.")]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file of the experiment.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one value of the config; may be repeated."),
]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The folder of a trained run.", show_default=False, autocompletion=_complete_run),
]
Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="The folder of a trained run; several are evaluated as an ensemble (mean of their probabilities), printed only.",
        show_default=False,
        autocompletion=_complete_run,
    ),
]
Format = Annotated[Form, typer.Option("--format", help="How to print.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show TensorFlow's log and tracebacks.")]
Invert = Annotated[bool, typer.Option("--invert", help="Invert images: the other way round than the run inverts its own.")]
Transpose = Annotated[bool, typer.Option("--transpose", help="Swap rows and columns, if the run does not swap its own.")]
PixelMax = Annotated[
    float | None,
    typer.Option(metavar="N", help="The pixel value of white, such as 4095 for 12 bits.", show_default=False),
]
Where = Annotated[Device, typer.Option("--device", help="Where to compute.")]


def _without_cache(wanted: bool) -> bool:
    if wanted:
        os.environ["CNNCTL_CACHE_DIR"] = "off"
    return wanted


NoCache = Annotated[
    bool,
    typer.Option("--no-cache", callback=_without_cache, help="Ignore the image cache."),
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
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The YAML file of the experiment.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of the run. [default: runs/NAME/DATE_TIME]", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Resume an interrupted run.", show_default=False, autocompletion=_complete_run),
    ] = None,
    device: Where = Device.auto,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
    no_cache: NoCache = False,
    verbose: Verbose = False,
) -> None:
    """Train a network; leave weights, metrics and TensorBoard events in a run folder."""
    from cnnctl.commands.train import train as run
    from cnnctl.report.console import Console

    run(config, overrides or [], run_dir, resume, device.value, Console(quiet), verbose)


@app.command()
def sweep(
    config: Config,
    overrides: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the sweep. [default: runs/NAME-sweep]", show_default=False)
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Trials trained at the same time.")] = 1,
    trials: Annotated[int | None, typer.Option(min=1, help="Number of trials in all.", show_default=False)] = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget in minutes.", show_default=False)] = None,
    show: Annotated[bool, typer.Option("--show", help="Show results only.")] = False,
    form: Format = Form.table,
    device: Where = Device.auto,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
    no_cache: NoCache = False,
    verbose: Verbose = False,
) -> None:
    """Search over values of a config, and retrain the best with other seeds; run it again to resume."""
    from cnnctl.commands.sweep import SweepOptions
    from cnnctl.commands.sweep import sweep as run
    from cnnctl.report.console import Console

    wish = SweepOptions(folder, trials, minutes, processes, device.value, form.value, show, verbose)
    run(config, overrides or [], wish, Console(quiet))


@app.command()
def summary(
    config: Config,
    overrides: Overrides = None,
    form: Format = Form.table,
    batch_size: Annotated[int, typer.Option(min=1, help="Batch size for the memory estimate.")] = 1,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of every layer.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Build the Keras model and compare.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show every layer: shape, parameters, multiplications, receptive field, memory. No TensorFlow."""
    from cnnctl.commands.summary import summary as run
    from cnnctl.report.console import Console

    run(config, overrides or [], form.value, batch_size, explain, check, Console(), verbose)


@app.command()
def evaluate(
    folders: Runs,
    split: Annotated[Split | None, typer.Option(help="Which images. [default: test]", show_default=False)] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Other images: one folder per class, in FOLDER/test or in FOLDER itself.", show_default=False
        ),
    ] = None,
    way: Annotated[int | None, typer.Option(min=2, help="Few-shot tasks: classes per episode.", show_default=False)] = None,
    shot: Annotated[
        int | None, typer.Option(min=1, help="Few-shot tasks: labelled images per class.", show_default=False)
    ] = None,
    query: Annotated[
        int | None,
        typer.Option(min=1, help="Few-shot tasks: images per class to be classified.", show_default=False),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Few-shot tasks: how many episodes.", show_default=False)] = None,
    copies: Annotated[
        int | None,
        typer.Option(
            min=0, max=_MAX_COPIES, help="Few-shot tasks: augmented copies of each image to average over.", show_default=False
        ),
    ] = None,
    turns: Turns = False,
    invert: Invert = False,
    transpose: Transpose = False,
    pixel_max: PixelMax = None,
    form: Format = Form.table,
    device: Where = Device.auto,
    no_cache: NoCache = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate a run, or several as an ensemble: loss, accuracy, classes, confusion, calibration; or episodes."""
    from cnnctl.commands.evaluate import evaluate as run
    from cnnctl.evaluate.image_options import ImageOptions
    from cnnctl.few_shot.options import EpisodeOptions
    from cnnctl.report.console import Console

    wish = EpisodeOptions(way, shot, query, episodes, copies, turns)
    options = ImageOptions(invert, transpose, pixel_max)
    run(folders, split.value if split else None, data, form.value, device.value, Console(), verbose, wish, options)


@app.command()
def predict(
    folder: Run,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="Image files, folders of them, or files of many images, such as test.csv. More runs may come "
            "before them: the mean of all probabilities is printed.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to show of each image.")] = 3,
    saliency: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw which pixels the class score depends on.", show_default=False),
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw each image beside what the network saw of it.", show_default=False),
    ] = None,
    invert: Invert = False,
    transpose: Transpose = False,
    pixel_max: PixelMax = None,
    form: Format = Form.table,
    device: Where = Device.auto,
    verbose: Verbose = False,
) -> None:
    """Classify images, with probabilities."""
    from cnnctl.commands.predict import predict as run
    from cnnctl.evaluate.image_options import ImageOptions
    from cnnctl.report.console import Console

    options = ImageOptions(invert, transpose, pixel_max)
    run(folder, images, top, saliency, form.value, device.value, Console(), verbose, show, options)


@app.command("one-shot")
def one_shot(
    folder: Run,
    challenge: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Has run01, run02 ... of the challenge.", show_default=False)
    ],
    copies: Annotated[int, typer.Option(min=0, max=_MAX_COPIES, help="Augmented copies of each image to average over.")] = 0,
    turns: Turns = False,
    mistakes: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw the mistakes there.", show_default=False)
    ] = None,
    form: Format = Form.table,
    device: Where = Device.auto,
    verbose: Verbose = False,
) -> None:
    """Run the Omniglot one-shot test."""
    from cnnctl.commands.one_shot import one_shot as run
    from cnnctl.report.console import Console

    run(folder, challenge, copies, mistakes, form.value, device.value, Console(), verbose, turns)


@app.command()
def verify(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The YAML file of the experiment.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps that the builds and loops are compared over.")] = 20,
    explain: Annotated[bool, typer.Option("--explain", help="Show differentiation by a small worked case.")] = False,
    form: Format = Form.table,
    no_cache: NoCache = False,
    verbose: Verbose = False,
) -> None:
    """Verify on a config that three builds and two loops agree, and that the gradients are right."""
    from cnnctl.commands.verify import verify as run
    from cnnctl.report.console import Console

    run(config, overrides or [], steps, explain, form.value, Console(), verbose)


@app.command()
def code(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.", show_default=False)
    ] = None,
) -> None:
    """Print a stand-alone Keras script that does the same, in the config's style and loop."""
    from cnnctl.commands.code import code as run
    from cnnctl.report.console import Console

    run(config, overrides or [], output, Console())


@app.command()
def runs(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look.")] = Path("runs"),
    form: Format = Form.table,
    sort: Annotated[
        str | None, typer.Option(metavar="KEY", help="Order by a config path or result; -KEY for the largest first.")
    ] = None,
    wanted: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="Show only such runs; may be repeated.")
    ] = None,
    seeds: Annotated[bool, typer.Option("--seeds", help="Seeds of one config as mean and standard deviation (sd).")] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="KEY,KEY", help="Columns of the table; +KEY adds to the usual ones, all shows all.", show_default=False
        ),
    ] = None,
) -> None:
    """Compare runs: results, state, and the config values that differ."""
    from cnnctl.commands.runs import runs as run
    from cnnctl.report.console import Console

    run(root, form.value, sort, wanted or [], seeds, Console(), columns)


@app.command()
def export(
    folder: Run,
    to: Annotated[Target, typer.Option("--to", help="For which runtime.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="Where to. [default: RUN/export/...]", show_default=False),
    ] = None,
    quantize: Annotated[Quantize | None, typer.Option(help="int8 instead of floats; with tflite.", show_default=False)] = None,
    form: Annotated[PlainForm, typer.Option("--format", help="How to print.")] = PlainForm.table,
    verbose: Verbose = False,
) -> None:
    """Export a trained network for another runtime, and check that its outputs are the same there."""
    from cnnctl.commands.export import export as run
    from cnnctl.report.console import Console

    run(folder, to.value, output, quantize.value if quantize else None, form.value, Console(), verbose)


@app.command()
def data(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.png", help="Draw samples of up to 20 classes there.", show_default=False),
    ] = None,
    form: Format = Form.table,
    no_cache: NoCache = False,
    verbose: Verbose = False,
) -> None:
    """Prepare the data and show it: splits, classes, balance, pixels, duplicates, samples."""
    from cnnctl.commands.data import data as run
    from cnnctl.report.console import Console

    run(config, overrides or [], output, form.value, Console(), verbose)


@app.command()
def init(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Which example config; without it they are listed.",
            show_default=False,
            autocompletion=_complete_example,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Write a config for this folder or file of images.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write. [default: NAME.yaml]", show_default=False),
    ] = None,
) -> None:
    """Copy an example config to start from, list them, or write one for your own images."""
    from cnnctl.commands.init import init as run
    from cnnctl.report.console import Console

    run(name, images, output, Console())


@app.command()
def schema(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH", help="Show the fields below this path, such as train.optimizer.adam.", show_default=False
        ),
    ] = None,
    form: Annotated[PlainForm, typer.Option("--format", help="How to print the fields below a path.")] = PlainForm.table,
) -> None:
    """Explain the fields below a config path; without one, print the JSON Schema of a config for editors."""
    from cnnctl.commands.schema import schema as run
    from cnnctl.report.console import Console

    run(path, form.value, Console())


@app.command("help", hidden=True)
def help_of(
    context: typer.Context,
    verb: Annotated[
        str | None,
        typer.Argument(metavar="COMMAND", help="Which command.", show_default=False, autocompletion=_complete_verb),
    ] = None,
) -> None:
    """Show the help of a command."""
    from cnnctl.report.console import Console

    above = context.find_root()
    if verb is None:
        Console().result(above.get_help())
        return
    command = above.command.resolve_command(above, [verb])[1]  # type: ignore[attr-defined]  # refuses as it does cnnctl VERB
    with command.make_context(verb, [], parent=above, resilient_parsing=True) as asked:
        Console().result(asked.get_help())


def main() -> None:
    """Runs the command line; a known error gives its message and its exit code, an unknown one is raised.

    What the system refuses (a full disk, a folder without permission) is known, wherever it happens.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × shows ?, and the command goes on
    try:
        _run()
    except CnnctlError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:  # before signals are heard
        _fail("interrupted during start-up", 130)
    except (OSError, MemoryError, RuntimeError) as error:
        refused = from_system(error)
        if refused is None:
            raise
        _fail(str(refused), refused.exit_code)


def _run() -> None:
    """Runs the verb; raises Interrupted for a signal that the verb does not hear itself, whatever became of it on the way.

    A verb that a signal did not reach, since C++ dropped it, has done all it should, and has ended well.
    """
    from cnnctl.commands.unknown_options import refuse_fields_of
    from cnnctl.report.console import Console
    from cnnctl.train.signals import Interruption

    with Interruption(lambda _: Console().show_cursor()).listening() as interruption:
        try:
            with interruption.passing_on():
                command = typer.main.get_command(app)
                refuse_fields_of(command)
                command(prog_name="cnnctl")  # by itself, app would tell errors that nobody can catch in its own way
        except (KeyboardInterrupt, SystemExit) as ended:  # Typer makes an exit code of a KeyboardInterrupt
            if interruption.asked and (isinstance(ended, KeyboardInterrupt) or ended.code):
                raise Interrupted("interrupted; no result is left half written", interruption.signal) from ended
            raise


def run_and_exit() -> None:
    """Runs `main` as a process of its own and ends the process at once.

    All files are closed by then. Python would go on to take TensorFlow apart, object by object, for most of a second.
    """
    code: object = 0
    be_own_process()
    try:
        main()
    except SystemExit as left:
        code = left.code
    finally:
        dismiss()
    if "tensorflow" in sys.modules and isinstance(code, int | None) and (_is_flushed() or code):
        os._exit(code or 0)
    sys.exit(code)  # type: ignore[arg-type]  # what SystemExit was raised with


def be_own_process() -> None:
    """Makes this process ready to be one by itself: with streams, and with warnings that end nothing.

    PYTHONWARNINGS=error is meant for a person's own code; the libraries here warn now and then.
    """
    open_closed_streams()
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    want_teller()


def _is_flushed() -> bool:
    """Returns whether all that was printed is out; not so for a pipe that nobody reads, which Python tells in its own way."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return False
    return True


def _fail(message: str, exit_code: int) -> None:
    from cnnctl.report.console import Console

    with contextlib.suppress(OSError):  # nobody reads: the window is closed, the pipe broken
        Console().error(message, verbose="--verbose" in sys.argv)
    sys.exit(exit_code)
