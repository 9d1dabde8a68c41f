"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .comparison import BenchOptions, compare
from .contenders import trainers
from .growth import GROWING, MNIST
from .inference import CONTENDERS, inference_rows, inference_table
from .memory import memory_rows, memory_table
from .report import as_markdown, as_text
from .results import Results
from .settings import NETWORKS, NotPrepared, Settings
from .sources import source_rows, source_table
from .sweeps import as_table, compare_sweeps
from .workers import worker_rows, worker_table


@dataclass(frozen=True)
class Mode:
    """What one call measures.

    Attributes:
        measure: computes the results in a temporary folder.
        draw: formats them as `table` or `markdown`.
    """

    measure: Callable[[argparse.Namespace, Path], Any]
    draw: Callable[[Any, str], str]


def main(about: str) -> int:
    """Run the benchmark; return the exit code: 0, or 1 if a contender failed.

    Args:
        about: the description for --help.
    """
    options = _options(about)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # as Ctrl-C: ends the contender, removes the folder
    mode = MODES[options.mode]
    try:
        with tempfile.TemporaryDirectory(prefix="cnnctl-bench-") as folder:
            found = mode.measure(options, Path(folder))
    except (NotPrepared, OSError) as error:
        _print(str(error))
        return 1
    _write(found, mode, options)
    return 1 if options.mode in DRAWN and found["failures"] else 0


def _write(found: Any, mode: Mode, options: argparse.Namespace) -> None:
    plain = json.dumps(found, indent=2, default=asdict)
    sys.stdout.write((plain if options.format == "json" else mode.draw(found, options.format)) + "\n")
    if options.output:
        options.output.write_text(plain + "\n")
    if options.plot:
        from .picture import draw  # not earlier: the memory of this process counts in every measured process

        draw(found, options.plot)


def _compared(options: argparse.Namespace, folder: Path) -> Results:
    growth = options.mode == "growth"
    chosen = BenchOptions(
        options.data,
        () if growth else options.network,
        options.rounds,
        options.epochs,
        options.images,
        options.only,
        options.torch_python,
        growth,
    )
    return compare(chosen, folder, _print)


def _inference(options: argparse.Namespace, folder: Path) -> Any:
    settings = Settings(options.data, 1, folder)
    return inference_rows(options.network, settings, options.images, options.rounds, options.only, options.torch_python, _print)


def _saved(options: argparse.Namespace, folder: Path) -> Results:
    """Read the results of an earlier call.

    Raises:
        OSError: the file cannot be read, or has no such results.
    """
    try:
        found = json.loads(options.saved.read_text())
    except ValueError:  # not JSON, or not text
        found = None
    if not isinstance(found, dict) or "comparisons" not in found:
        raise OSError(f"{options.saved} has no results of a comparison or of --growth")
    return found


def _drawn(found: Results, form: str) -> str:
    return as_markdown(found) if form == "markdown" else as_text(found)


MODES = {
    "compare": Mode(_compared, _drawn),
    "growth": Mode(_compared, _drawn),
    "saved": Mode(_saved, _drawn),
    "inference": Mode(_inference, inference_table),
    "memory": Mode(lambda options, folder: memory_rows(folder, _print), memory_table),
    "workers": Mode(
        lambda options, folder: worker_rows(options.data, options.rounds, options.epochs, folder, _print), worker_table
    ),
    "sweep": Mode(
        lambda options, folder: compare_sweeps((1, 2), options.rounds, folder, _print), lambda found, form: as_table(found)
    ),
    "sources": Mode(lambda options, folder: source_rows(folder, _print, options.rounds, options.images or MNIST), source_table),
}
TRAINERS = tuple(each.name for each in trainers(sys.executable))
PARTICIPANTS = {"compare": TRAINERS, "growth": GROWING, "inference": CONTENDERS}
"""Contenders by mode."""
DEFAULTS: Mapping[str, object] = {
    "network": ["mnist"],
    "data": "mnist",
    "images": None,
    "rounds": 3,
    "epochs": 3,
    "torch_python": sys.executable,
}
"""Of the settings."""
USED: Mapping[str, Sequence[str]] = {
    "compare": list(DEFAULTS),
    "growth": ("data", "images", "rounds", "epochs", "torch_python"),
    "saved": (),
    "inference": ("network", "data", "images", "rounds", "torch_python"),
    "memory": (),
    "workers": ("data", "rounds", "epochs"),
    "sweep": ("rounds",),
    "sources": ("images", "rounds"),
}
"""Settings that have an effect, by mode."""
DRAWN = ("compare", "growth", "saved")
"""Modes whose results --plot draws."""


def _options(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_modes(parser)
    _add_setting(parser)
    _add_outputs(parser)
    options = parser.parse_args()
    if options.saved:
        options.mode = "saved"
    if options.plot and options.mode not in DRAWN:
        parser.error("--plot draws comparisons and --growth; save the results of others by --output")
    _refuse_unused(options, parser)
    _choose_contenders(options, parser)
    _fill_in_defaults(options)
    if options.images and options.data == "digits":
        parser.error("--images: the digits are too few to take fewer; remove it, or use --data mnist")
    return options


def _refuse_unused(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse settings that would have no effect in the mode."""
    given = [name for name in DEFAULTS if getattr(options, name) is not None]
    unused = [f"--{name.replace('_', '-')}" for name in given if name not in USED[options.mode]]
    if unused:
        mode = "from" if options.mode == "saved" else options.mode
        parser.error(f"--{mode} does not use {', '.join(unused)}; remove {'it' if len(unused) == 1 else 'them'}")


def _fill_in_defaults(options: argparse.Namespace) -> None:
    if options.mode == "growth":
        options.rounds = options.rounds or 1
    for name, default in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def _choose_contenders(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Take all contenders of the mode without --only, and refuse those of other modes."""
    known = PARTICIPANTS.get(options.mode, ())
    others = [name for name in options.only or () if name not in known]
    if others:
        parser.error(f"--only: {', '.join(others)} cannot take part here; expected some of: {', '.join(known) or 'none'}")
    options.only = options.only or known


def _add_modes(parser: argparse.ArgumentParser) -> None:
    modes = parser.add_argument_group("what to measure, instead of trainings").add_mutually_exclusive_group()
    parser.set_defaults(mode="compare")
    for mode, text in {
        "growth": "trainings that vary images, width, depth and batch size",
        "inference": "cnnctl evaluate and predict, and plain Keras and PyTorch",
        "memory": "how memory grows with the images, kept and streamed; takes some minutes and 3 GB of disk",
        "workers": "how fast 1 and 2 workers of one core each are, and one process",
        "sweep": "16 short trials of cnnctl sweep by 1 and 2 processes",
        "sources": "how long it takes to read a set from each source; takes some minutes and 1 GB of disk",
    }.items():
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=text)
    saved_help = "nothing: draw the results that --output wrote"
    modes.add_argument("--from", type=_existing, dest="saved", metavar="FILE.json", help=saved_help)


def _add_setting(parser: argparse.ArgumentParser) -> None:
    names = list(dict.fromkeys(name for known in PARTICIPANTS.values() for name in known))
    add = parser.add_argument_group("settings").add_argument
    network_help = (
        "configs whose networks are compared: mnist has no batch normalization, mnist-best has it, mobilenet has it and "
        "depthwise convolutions [mnist]"
    )
    add("--network", nargs="+", choices=NETWORKS, metavar="NAME", help=network_help)
    add("--data", choices=("mnist", "digits"), help="digits: 1,797 of 8×8 pixels, bundled [mnist]")
    images_help = f"of the split train, validation included; of the set of --sources [{MNIST}]"
    add("--images", type=_count, metavar="N", help=images_help)
    add("--rounds", type=_count, metavar="N", help="rounds of each contender [3; --growth: 1]")
    add("--epochs", type=_count, metavar="N", help="epochs of each training [3]")
    only_help = f"contenders: {', '.join(TRAINERS)}; --growth: {', '.join(GROWING)}; --inference: {', '.join(CONTENDERS)} [all]"
    add("--only", nargs="+", choices=names, metavar="NAME", help=only_help)
    torch_help = "the interpreter for torch and lightning"
    add("--torch-python", type=_interpreter, metavar="PATH", help=torch_help)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--format", choices=("table", "markdown", "json"), default="table", help="how to print [table]")
    add("--output", type=_file, metavar="OUT.json", help="write the results of every round to a file")
    add("--plot", type=_picture, metavar="OUT.svg", help="draw the results of trainings, as SVG or PNG")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, received {text!r}")
    return int(text)


def _interpreter(text: str) -> str:
    """Return the absolute path, since contenders run in other folders. Links stay: Python finds its environment by them."""
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"interpreter {text} not found")
    return os.path.abspath(found)


def _existing(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"file {text} does not exist")
    return Path(text)


def _file(text: str) -> Path:
    """Check that a file can be written after the measurements."""
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"folder {Path(text).parent} does not exist")
    return Path(text)


def _picture(text: str) -> Path:
    if not text.endswith((".png", ".svg")):
        raise argparse.ArgumentTypeError(f"expected a name that ends in .svg or .png, received {text!r}")
    return _file(text)


def _print(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
