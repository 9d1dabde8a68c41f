"""The command line. Each verb reads its options and calls one function; `main` is the error boundary."""

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
from cnnctl.last_words import dismiss, enable_reporter
from cnnctl.report.console import Console
from cnnctl.surroundings import expanded, from_system, open_closed_streams

Verb = TypeVar("Verb", bound=Callable[..., Any])


class _App(typer.Typer):
    """A Typer app that expands `~` in every path and limits every integer."""

    def command(self, *names: Any, **options: Any) -> Callable[[Verb], Verb]:
        """Register a verb, as `typer.Typer.command` does."""
        register = super().command(*names, **options)

        def verb(function: Verb) -> Verb:
            function.__annotations__ |= get_type_hints(
                function, include_extras=True
            )  # resolved once: each evaluation makes new options
            for annotation in function.__annotations__.values():
                _finish(annotation)
            return register(function)

        return verb


def _finish(annotation: Any) -> None:
    """Set the parser of a path and the maximum of an integer, as every option and argument of these types has them."""
    types = _types_in(annotation)
    if Path in types:
        info = get_args(annotation)[1]
        info.parser, info.metavar = expanded, info.metavar or "PATH"
    elif int in types:
        info = get_args(annotation)[1]
        info.metavar = info.metavar or "N"
        info.max = _MAX_COUNT if info.max is None else info.max


_MAX_COUNT = 2**31 - 1
"""TensorFlow's limit for counts, the same as in a config."""


def _types_in(annotation: Any) -> tuple[Any, ...]:
    """Return the plain types inside a type such as `Annotated[list[Path] | None, ...]`."""
    inner = get_args(annotation)
    return tuple(each for part in inner for each in _types_in(part)) if inner else (annotation,)


_SIGNALLED = range(129, 160)
"""The exit codes of a process that a signal ended, as shells report them."""
_CHOICE = re.compile(r"(.+) is not one of (.+?)\.?", re.DOTALL)
"""Typer's message for a value that is not one of the choices."""


class Verbs(typer.core.TyperGroup):
    """The verbs in groups, each with its whole help line; a wrong option gets cnnctl's message instead of pydantic's."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that the command line names."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _plain_message(error)
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs, one section per panel, in the order in which the panels were first used."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            verb: Any = self.get_command(ctx, name)
            if not verb.hidden:
                line = (name, verb.get_short_help_str(limit=1000))
                sections.setdefault(verb.rich_help_panel or "Commands", []).append(line)
        width = max(len(name) for lines in sections.values() for name, _ in lines)
        for title, lines in sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", line) for name, line in lines])


def _plain_message(error: typer.BadParameter) -> str:
    """Rewrite a message of Typer or pydantic as "expected ..., received ..."."""
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
    """Complete the path of a run folder, below runs/ or below the folder that is typed already."""
    typed = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    roots = [root for root in dict.fromkeys((Path("runs"), typed)) if root != Path() and root.is_dir()]
    found = (config.parent for root in roots for depth in ("*", "*/*") for config in root.glob(f"{depth}/config.yaml"))
    return sorted({str(run) for run in found if str(run).startswith(incomplete)})


def _complete_verb(incomplete: str) -> list[str]:
    """Complete the name of a verb."""
    names = (verb.name or getattr(verb.callback, "__name__", "") for verb in app.registered_commands if not verb.hidden)
    return [name for name in names if name.startswith(incomplete)]


def _complete_override(incomplete: str) -> list[str]:
    """Complete `--set` with the paths of config fields; a single section is opened."""
    from cnnctl.spec.reference import fields_below

    try:
        found = [each.path for each in fields_below(incomplete.rpartition(".")[0]) if each.path.startswith(incomplete)]
        return [each.path for each in fields_below(found[0])] if len(found) == 1 else found
    except CnnctlError:  # such as a path that does not exist
        return []


def _complete_example(incomplete: str) -> list[str]:
    """Complete the name of an example config."""
    from cnnctl.commands.init import example_configs

    return [name for name in example_configs() if name.startswith(incomplete)]


_MAX_TTA = 10_000
"""Augmented views per image; all of them are computed."""


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
    """How results are printed that have no Markdown form."""

    table = "table"
    json = "json"


class Split(str, Enum):
    """A part of the data."""

    train = "train"
    validation = "validation"
    test = "test"


class Layout(str, Enum):
    """The direction in which a picture of a network computes."""

    row = "row"
    column = "column"


class Theme(str, Enum):
    """The colours of a picture."""

    auto = "auto"
    light = "light"
    dark = "dark"


class Target(str, Enum):
    """What a network is exported to."""

    keras = "keras"
    saved_model = "saved_model"
    tflite = "tflite"
    onnx = "onnx"


class Quantize(str, Enum):
    """How a TFLite network computes."""

    int8 = "int8"


class SaliencyMethod(str, Enum):
    """How `predict --saliency` finds what a class score depends on."""

    gradient = "gradient"
    grad_cam = "grad_cam"


class PlotOf(str, Enum):
    """What a picture of runs shows."""

    curves = "curves"
    gradients = "gradients"


TtaPoses = Annotated[
    bool, typer.Option("--tta-poses", help="Average over the rotations and reflections that were classes in training.")
]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file of the experiment.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one value of the config; repeatable.",
        autocompletion=_complete_override,
    ),
]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="The folder of a trained run.", show_default=False, autocompletion=_complete_run),
]
Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN",
        help="The folder of a trained run; several are evaluated as an ensemble (mean of their probabilities, not saved).",
        show_default=False,
        autocompletion=_complete_run,
    ),
]
Format = Annotated[Form, typer.Option("--format", help="Output format.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show TensorFlow's log and tracebacks.")]
Invert = Annotated[bool, typer.Option("--invert", help="Invert the images relative to the run's own setting.")]
Transpose = Annotated[bool, typer.Option("--transpose", help="Swap rows and columns, unless the run already does.")]
PixelMax = Annotated[
    float | None,
    typer.Option(metavar="N", help="Pixel value of white, such as 4095 for 12 bits.", show_default=False),
]
Where = Annotated[Device, typer.Option("--device", help="Where to compute.")]


def _disable_cache(disable: bool) -> bool:
    if disable:
        os.environ["CNNCTL_CACHE_DIR"] = "off"
    return disable


def _use_custom_layers(context: typer.Context, file: Path | None) -> Path | None:
    from cnnctl.commands.custom_layers import use_custom_layers

    if not context.resilient_parsing:  # help and completion run no code
        use_custom_layers(file, Console(), "--verbose" in sys.argv)
    return file


CustomLayers = Annotated[
    Path | None,
    typer.Option(
        "--custom-layers",
        metavar="FILE.py",
        callback=_use_custom_layers,
        help="Run this file, and add the Keras layers that it registers.",
        show_default=False,
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", callback=_disable_cache, help="Ignore the image cache.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]
OptionalConfig = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="The YAML file of the experiment.", show_default=False)
]


def _version(show: bool) -> None:
    if show:
        sys.stdout.write(f"cnnctl {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command(rich_help_panel="Train")
def train(
    config: OptionalConfig = None,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of the run. [default: runs/NAME/DATE_TIME]", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Resume an interrupted run.", show_default=False, autocompletion=_complete_run),
    ] = None,
    device: Where = Device.auto,
    quiet: Quiet = False,
    no_cache: NoCache = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Train a network; write weights, metrics and TensorBoard events to a run folder."""
    from cnnctl.commands.train import train as run

    run(config, overrides or [], run_dir, resume, device.value, Console(quiet), verbose)


@app.command(rich_help_panel="Train")
def sweep(
    config: Config,
    overrides: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the sweep. [default: runs/NAME-sweep]", show_default=False)
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Number of trials trained at the same time.")] = 1,
    trials: Annotated[int | None, typer.Option(min=1, help="Total number of trials.", show_default=False)] = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget in minutes.", show_default=False)] = None,
    show: Annotated[bool, typer.Option("--show", help="Show results only.")] = False,
    form: Format = Form.table,
    device: Where = Device.auto,
    quiet: Quiet = False,
    no_cache: NoCache = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Search over values of a config and retrain the best with other seeds; run it again to resume."""
    from cnnctl.commands.sweep import SweepOptions
    from cnnctl.commands.sweep import sweep as run

    options = SweepOptions(folder, trials, minutes, processes, device.value, form.value, show, verbose)
    run(config, overrides or [], options, Console(quiet))


@app.command(rich_help_panel="Look")
def summary(
    config: Config,
    overrides: Overrides = None,
    form: Format = Form.table,
    batch_size: Annotated[int, typer.Option(min=1, help="Batch size for the memory estimate.")] = 1,
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="Levels of blocks to show; 1 shows each block as one row. [default: 1]", show_default=False),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of every layer.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Build the Keras model and compare.")] = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Show every layer: shape, parameters, MACs, receptive field, memory. No TensorFlow."""
    from cnnctl.commands.summary import summary as run

    run(config, overrides or [], form.value, batch_size, depth, explain, check, Console(), verbose)


@app.command(rich_help_panel="Look")
def draw(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.svg", help="The .svg, .png or .pdf file. [default: NAME.svg]", show_default=False
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Draw one layer in motion, with numbers, instead of the network.", show_default=False
        ),
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(help="A row for a slide, or a column for a page. [default: row]", show_default=False),
    ] = None,
    theme: Annotated[Theme, typer.Option(help="Colours; auto follows the page that shows the picture.")] = Theme.auto,
    custom_layers: CustomLayers = None,
) -> None:
    """Draw the network to scale, or one layer in motion, as SVG, PNG or PDF. No TensorFlow."""
    from cnnctl.commands.draw import draw as run

    run(config, overrides or [], output, layer, layout.value if layout else None, theme.value, Console())


@app.command(rich_help_panel="Use")
def evaluate(
    folders: Runs,
    split: Annotated[Split | None, typer.Option(help="Split to evaluate on. [default: test]", show_default=False)] = None,
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
        typer.Option(min=1, help="Few-shot tasks: images to classify per class.", show_default=False),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=2, help="Few-shot tasks: number of episodes.", show_default=False)] = None,
    tta: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=_MAX_TTA,
            help="Few-shot tasks: test-time augmentation, augmented views to average per image.",
            show_default=False,
        ),
    ] = None,
    tta_poses: TtaPoses = False,
    invert: Invert = False,
    transpose: Transpose = False,
    pixel_max: PixelMax = None,
    form: Format = Form.table,
    device: Where = Device.auto,
    no_cache: NoCache = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Evaluate a run, or several as an ensemble: loss, accuracy, classes, confusion, calibration; or episodes."""
    from cnnctl.commands.evaluate import evaluate as run
    from cnnctl.evaluate.image_options import ImageOptions
    from cnnctl.few_shot.options import EpisodeOptions

    episode_options = EpisodeOptions(way, shot, query, episodes, tta, tta_poses)
    image_options = ImageOptions(invert, transpose, pixel_max)
    where = split.value if split else None
    run(folders, where, data, form.value, device.value, Console(), verbose, episode_options, image_options)


@app.command(rich_help_panel="Use")
def predict(
    folder: Run,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="Image files, folders of them, or files of many images, such as test.csv. More runs may come "
            "before them: their probabilities are averaged.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option(min=1, help="Number of classes to show per image.")] = 3,
    saliency: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png", help="Draw a saliency map: the pixels that the class score depends on.", show_default=False
        ),
    ] = None,
    saliency_method: Annotated[
        SaliencyMethod | None,
        typer.Option(
            help="Its method: the gradient by the pixels, or Grad-CAM, the places of the last convolution. [default: gradient]",
            show_default=False,
        ),
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw each image beside the network's input.", show_default=False),
    ] = None,
    invert: Invert = False,
    transpose: Transpose = False,
    pixel_max: PixelMax = None,
    form: Format = Form.table,
    device: Where = Device.auto,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Classify images, with probabilities."""
    from cnnctl.commands.predict import predict as run
    from cnnctl.evaluate.image_options import ImageOptions

    options = ImageOptions(invert, transpose, pixel_max)
    method = saliency_method.value if saliency_method else None
    run(folder, images, top, saliency, form.value, device.value, Console(), verbose, show, options, method)


@app.command("one-shot", rich_help_panel="Use")
def one_shot(
    folder: Run,
    challenge: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The challenge's folder, with run01, run02 ...", show_default=False)
    ],
    tta: Annotated[
        int, typer.Option(min=0, max=_MAX_TTA, help="Test-time augmentation: augmented views to average per image.")
    ] = 0,
    tta_poses: TtaPoses = False,
    mistakes: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw the mistakes.", show_default=False)] = None,
    form: Format = Form.table,
    device: Where = Device.auto,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Run the Omniglot one-shot test."""
    from cnnctl.commands.one_shot import one_shot as run

    run(folder, challenge, tta, mistakes, form.value, device.value, Console(), verbose, tta_poses)


@app.command(rich_help_panel="Look")
def explore(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="The folder of a trained run, or the YAML file of an experiment: its network before training.",
            show_default=False,
            autocompletion=_complete_run,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.html", help="The page to write.", show_default=False)],
    overrides: Overrides = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=0, max=10_000, help="Number of images in the page; 0 reads no data. [default: 60]", show_default=False
        ),
    ] = None,
    snapshots: Annotated[
        int | None,
        typer.Option(min=0, help="Most weight sets kept during training. [default: all]", show_default=False),
    ] = None,
    max_size: Annotated[int, typer.Option(metavar="MB", min=1, help="Largest size of the page, in MB.")] = 20,
    device: Where = Device.auto,
    no_cache: NoCache = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Write one HTML page to explore a network in a browser: every layer, value and gradient."""
    from cnnctl.commands.explore import PageOptions
    from cnnctl.commands.explore import explore as run

    run(source, overrides or [], output, PageOptions(max_size, images, snapshots), device.value, Console(), verbose)


@app.command(rich_help_panel="Look")
def verify(
    config: OptionalConfig = None,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps to compare the builds and loops over.")] = 20,
    explain: Annotated[bool, typer.Option("--explain", help="Explain differentiation with a small worked example.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.svg", help="With --explain: draw the example's graph and tape.", show_default=False
        ),
    ] = None,
    form: Format = Form.table,
    no_cache: NoCache = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Check that three builds and two loops of a config agree, and that its gradients are right."""
    from cnnctl.commands.verify import verify as run

    run(config, overrides or [], steps, explain, form.value, Console(), verbose, output)


@app.command(rich_help_panel="Use")
def code(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write.", show_default=False)
    ] = None,
    custom_layers: CustomLayers = None,
) -> None:
    """Print a stand-alone Keras script that trains the same network, in the config's style and loop."""
    from cnnctl.commands.code import code as run

    run(config, overrides or [], output, Console())


@app.command(rich_help_panel="Look")
def runs(
    roots: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Runs, and folders to search for runs. [default: runs]", show_default=False),
    ] = None,
    form: Format = Form.table,
    sort: Annotated[
        str | None, typer.Option(metavar="KEY", help="Sort by a config path or result; -KEY for descending order.")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="Show matching runs only; repeatable.")
    ] = None,
    seeds: Annotated[
        bool, typer.Option("--seeds", help="Show the seeds of one config as mean and standard deviation (sd).")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="KEY,KEY", help="Columns of the table; +KEY adds to the default ones, all shows all.", show_default=False
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.svg", help="Draw up to 20 runs: loss and accuracy by epoch.", show_default=False),
    ] = None,
    of: Annotated[
        PlotOf | None,
        typer.Option(help="What --plot draws: curves, or the norms of one run's gradients by layer.", show_default=False),
    ] = None,
) -> None:
    """Compare runs: results, state, and the config values that differ."""
    from cnnctl.commands.runs import runs as run

    what = of.value if of else None
    run(roots or [Path("runs")], form.value, sort, filters or [], seeds, Console(), columns, plot, what)


@app.command(rich_help_panel="Use")
def export(
    folder: Run,
    to: Annotated[Target, typer.Option("--to", help="Target format.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file or folder to write. [default: RUN/export/...]", show_default=False
        ),
    ] = None,
    quantize: Annotated[Quantize | None, typer.Option(help="int8 instead of float32; tflite only.", show_default=False)] = None,
    form: Annotated[PlainForm, typer.Option("--format", help="Output format.")] = PlainForm.table,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Export a trained network for another runtime, and check its outputs there."""
    from cnnctl.commands.export import export as run

    run(folder, to.value, output, quantize.value if quantize else None, form.value, Console(), verbose)


@app.command(rich_help_panel="Look")
def data(
    config: Config,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.png", help="Draw samples of up to 20 classes.", show_default=False),
    ] = None,
    form: Format = Form.table,
    no_cache: NoCache = False,
    custom_layers: CustomLayers = None,
    verbose: Verbose = False,
) -> None:
    """Inspect the data: splits, classes, balance, pixels, duplicates, samples."""
    from cnnctl.commands.data import data as run

    run(config, overrides or [], output, form.value, Console(), verbose)


@app.command(rich_help_panel="Set up")
def init(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="An example config; without it, list all.",
            show_default=False,
            autocompletion=_complete_example,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Write a config for a folder or file of your own images.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write. [default: NAME.yaml]", show_default=False),
    ] = None,
) -> None:
    """List the example configs, copy one, or write one for your own images."""
    from cnnctl.commands.init import init as run

    run(name, images, output, Console())


@app.command(rich_help_panel="Set up")
def schema(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH", help="Show the fields below this path, such as train.optimizer.adam.", show_default=False
        ),
    ] = None,
    form: Annotated[PlainForm, typer.Option("--format", help="Output format of the fields below a path.")] = PlainForm.table,
    custom_layers: CustomLayers = None,
) -> None:
    """Explain the fields below a config path; without a path, print the JSON Schema for editors."""
    from cnnctl.commands.schema import schema as run

    run(path, form.value, Console())


@app.command("help", hidden=True)
def help_of(
    context: typer.Context,
    verb: Annotated[
        str | None,
        typer.Argument(metavar="COMMAND", help="A command.", show_default=False, autocompletion=_complete_verb),
    ] = None,
) -> None:
    """Show the help of a command."""
    above = context.find_root()
    if verb is None:
        Console().result(above.get_help())
        return
    command = above.command.resolve_command(above, [verb])[1]  # type: ignore[attr-defined]  # refuses as it does cnnctl VERB
    with command.make_context(verb, [], parent=above, resilient_parsing=True) as asked:
        Console().result(asked.get_help())


def main() -> None:
    """Run the command line and exit with its code. A known error prints its message; an unknown one is raised.

    Failures of the system, such as a full disk or a folder without permission, are known errors wherever they occur.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × shows ?, and the command continues
    try:
        _run()
    except CnnctlError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:  # before the signal handlers are set, where Python handles Ctrl-C
        _fail("interrupted during start-up", 130)
    except Exception as error:  # TensorFlow's have no base class that is known without it
        known = from_system(error)
        if known is None:
            raise
        _fail(str(known), known.exit_code)


def _run() -> None:
    """Run the verb of the command line.

    A verb that completed although a signal arrived, since C++ dropped its KeyboardInterrupt, has succeeded.

    Raises:
        Interrupted: a signal ended the verb, and the verb itself did not handle it.
    """
    from cnnctl.commands.unknown_options import refuse_fields_of
    from cnnctl.train.signals import Interruption

    interruption = Interruption(lambda _: Console().show_cursor())
    try:
        with interruption.listening(), interruption.passing_on():
            command = typer.main.get_command(app)
            refuse_fields_of(command)
            command(prog_name="cnnctl")  # app() would print errors itself, where none can be caught
    except (KeyboardInterrupt, SystemExit) as ended:  # Typer makes an exit code of a KeyboardInterrupt
        if interruption.asked and (isinstance(ended, KeyboardInterrupt) or ended.code):
            raise Interrupted("interrupted; no file is left half written", interruption.signal) from ended
        raise


def run_and_exit() -> None:
    """Run `main` as the whole process and end the process at once.

    All files are closed by then. An ordinary exit would spend most of a second on destroying TensorFlow's objects. And where
    a signal came while Python ran a text, as `exec` does for each dataclass of an import, an ordinary exit of `python -m`
    ends the process by SIGINT, whatever its exit code is and although the KeyboardInterrupt was caught (`Py_RunMain`).
    """
    code: object = 0
    be_own_process()
    try:
        main()
    except SystemExit as left:
        code = left.code
    finally:
        dismiss()
    if isinstance(code, int | None) and (code in _SIGNALLED or "tensorflow" in sys.modules) and (_is_flushed() or code):
        os._exit(code or 0)
    sys.exit(code)  # type: ignore[arg-type]  # what SystemExit was raised with


def be_own_process() -> None:
    """Prepare the process for the command: open closed streams, and never raise warnings as errors.

    PYTHONWARNINGS=error is meant for the user's own code; the libraries used here do warn now and then.
    """
    open_closed_streams()
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    enable_reporter()


def _is_flushed() -> bool:
    """Flush stdout and stderr. Return False where the reader of a pipe has gone, which an ordinary exit reports."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return False
    return True


def _fail(message: str, exit_code: int) -> None:
    with contextlib.suppress(OSError):  # the terminal is closed, or the pipe broken
        Console().error(message, verbose="--verbose" in sys.argv)
    sys.exit(exit_code)
