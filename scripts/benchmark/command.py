"""The command line of scripts/bench."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .comparison import BenchOptions, compare
from .contenders import trainers
from .memory import memory_rows, memory_table
from .report import as_markdown, as_text
from .results import Results
from .settings import NotPrepared
from .sources import IMAGES, source_rows, source_table
from .sweeps import as_table, compare_sweeps
from .workers import worker_rows, worker_table


def as_json(results: Results) -> str:
    """Draw the results as JSON."""
    return json.dumps(results, indent=2)


FORMS: dict[str, Callable[[Results], str]] = {"table": as_text, "markdown": as_markdown, "json": as_json}


def main(about: str) -> int:
    """Run the benchmark; return the exit code: 0, or 1 if a contender failed.

    Args:
        about: the description for --help.
    """
    options = _options(about)
    if options.memory:
        return _print_rows(lambda folder: memory_rows(folder, _print), memory_table, options.format)
    if options.workers:
        return _print_rows(
            lambda folder: worker_rows(options.data, options.rounds, options.epochs, folder, _print),
            worker_table,
            options.format,
        )
    if options.sweep:
        return _sweeps(options)
    if options.sources:
        return _print_rows(
            lambda folder: source_rows(folder, _print, options.rounds, options.images), source_table, options.format
        )
    chosen = BenchOptions(options.data, options.rounds, options.epochs, options.only, options.torch_python, options.growth)
    try:
        with tempfile.TemporaryDirectory(prefix="cnnctl-bench-") as folder:
            results = compare(chosen, Path(folder), _print)
    except (NotPrepared, OSError) as error:
        _print(str(error))
        return 1
    _write(results, options)
    return 1 if results["failures"] else 0


def _print_rows(measure: Callable[[Path], Sequence[Any]], draw: Callable[[Any, str], str], form: str) -> int:
    """Measure in a temporary folder, print the rows (dataclasses), and return the exit code."""
    try:
        with tempfile.TemporaryDirectory(prefix="cnnctl-bench-") as folder:
            rows = measure(Path(folder))
    except OSError as error:
        _print(str(error))
        return 1
    plain = json.dumps([asdict(row) for row in rows], indent=2)
    sys.stdout.write((plain if form == "json" else draw(rows, form)) + "\n")
    return 0


def _sweeps(options: argparse.Namespace) -> int:
    try:
        with tempfile.TemporaryDirectory(prefix="cnnctl-bench-") as folder:
            results = compare_sweeps((1, 2), options.rounds, Path(folder), _print)
    except OSError as error:
        _print(str(error.strerror))
        return 1
    sys.stdout.write((json.dumps(results, indent=2) if options.format == "json" else as_table(results)) + "\n")
    return 0


def _options(about: str) -> argparse.Namespace:
    names = [each.name for each in trainers(sys.executable)]
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("mnist", "digits"), default="mnist", help="digits: 1,797 of 8×8 pixels, bundled")
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="rounds of each contender [3]")
    parser.add_argument("--epochs", type=_count, default=3, metavar="N", help="epochs of each training [3]")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=f"contenders, from {', '.join(names)}"
    )
    torch_help = "the interpreter for torch and lightning"
    parser.add_argument("--torch-python", type=_interpreter, default=sys.executable, metavar="PATH", help=torch_help)
    parser.add_argument("--growth", action="store_true", help="also vary images, width and batch size, one round each")
    memory_help = "instead, how memory grows with the images, kept and streamed; takes some minutes and 3 GB of disk"
    parser.add_argument("--memory", action="store_true", help=memory_help)
    workers_help = "instead, how fast 1 and 2 workers of one core each are, and one process"
    parser.add_argument("--workers", action="store_true", help=workers_help)
    parser.add_argument("--sweep", action="store_true", help="instead, 16 short trials of cnnctl sweep by 1 and 2 processes")
    sources_help = "instead, how long it takes to read a set from each source; takes some minutes and 1 GB of disk"
    parser.add_argument("--sources", action="store_true", help=sources_help)
    parser.add_argument("--images", type=_count, default=IMAGES, metavar="N", help=f"of the set of --sources [{IMAGES}]")
    parser.add_argument("--format", choices=tuple(FORMS), default="table", help="how to print [table]")
    parser.add_argument("--output", type=_file, metavar="OUT.json", help="write the results of every round to a file")
    parser.add_argument("--plot", type=_file, metavar="OUT.png", help="draw the results")
    return parser.parse_args()


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


def _file(text: str) -> Path:
    """Check that a file can be written after the measurements."""
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"folder {Path(text).parent} does not exist")
    return Path(text)


def _write(results: Results, options: argparse.Namespace) -> None:
    sys.stdout.write(FORMS[options.format](results) + "\n")
    if options.output:
        options.output.write_text(as_json(results) + "\n")
    if options.plot:
        from .picture import draw  # not earlier: the memory of this process counts in every measured process

        draw(results, options.plot)


def _print(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
