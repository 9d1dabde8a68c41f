"""What a process finds around it, made the same for every run: streams, numbers in variables, settings of other programs.

Whoever imports Keras or matplotlib calls `own_settings` first: what a person has set for other programs must not reach the
numbers and pictures of a run, which follow from its config and data alone.
"""

from __future__ import annotations

import contextlib
import os
import reprlib
import shlex
import sys
from pathlib import Path
from typing import Any

from cnnctl.errors import CnnctlError, RunError, UsageError
from cnnctl.reading import read_bounded

KERAS_DEFAULTS = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "backend": "tensorflow",
    "image_data_format": "channels_last",
    "nnx_enabled": False,
}
"""What Keras does without its user file, `keras.json`."""
_MAX_BYTES = 100_000
"""Of a `keras.json` that is looked at."""
_DROPPED = ("MPLBACKEND", "MATPLOTLIBRC")
_OURS = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "MPLBACKEND": "agg"}
"""Below the null device Keras finds no `keras.json`, and can write none."""
_SMALL_LIMITS = {"RLIMIT_AS": 2**40, "RLIMIT_DATA": 2**40, "RLIMIT_NPROC": 1_000, "RLIMIT_NOFILE": 256}
"""From here on a limit of the system is not what keeps TensorFlow from working."""
_LIMIT_NAMES = {
    "RLIMIT_AS": "of {:,} bytes of address space (ulimit -v)",
    "RLIMIT_DATA": "of {:,} bytes of data (ulimit -d)",
    "RLIMIT_NPROC": "of {:,} processes and threads (ulimit -u)",
    "RLIMIT_NOFILE": "of {:,} open files (ulimit -n)",
}

overridden: dict[str, Any] = {}
"""Settings of other programs that `own_settings` keeps from this process, for environment.json."""


def open_closed_streams() -> None:
    """Open the null device where stdin, stdout or stderr is closed, as by `2>&-`.

    Otherwise the next file that is opened would get its number, and messages would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # Python left out those that were closed
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def number_from(variable: str, default: int, least: int, most: int, what: str) -> int:
    """Return the number that an environment variable gives, or the default where it is not set.

    Args:
        variable: its name.
        default: where it is not set.
        least, most: both count as right.
        what: ends the sentence "expected ...".

    Raises:
        UsageError: it is no such number.
    """
    said = os.environ.get(variable, str(default))
    if not (said.isdecimal() and len(said) < 20 and least <= int(said) <= most):  # Python refuses to read thousands of digits
        raise UsageError(f"{variable} is {shortened(said)}, expected {what}")
    return int(said)


def shortened(value: object) -> str:
    """Return a value as Python writes it, its middle left out where it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


def expanded(path: str) -> Path:
    """Return the path that a person gave on the command line, `~` and `~user` resolved, as shells do not in `--run-dir=~/x`.

    A home that nobody knows stays as it was written; `./~` is a folder of that name.
    """
    return Path(os.path.expanduser(path))


def is_utf8(text: str) -> bool:
    """Return whether a text has whole characters only: Python passes bytes of names on that are not UTF-8."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def shell_word(path: object) -> str:
    r"""Return a path as a shell takes it; one that cannot be shown, as with bytes that are not UTF-8, as bash and zsh do: $'a\xe9'."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(plain)}'"


def own_settings() -> None:
    """Keep what is set for other programs from Keras and matplotlib in this process; `overridden` then says what there was.

    Keras would take floatx, epsilon and the order of axes from `keras.json`, and the number of epochs from a variable;
    Jupyter and Colab tell every program by MPLBACKEND to draw into a notebook.
    """
    if os.environ.get("KERAS_HOME") != os.devnull:  # else it is done already
        overridden.update(_of_keras_json())
    for name in [name for name in os.environ if name.startswith("KERAS_") or name in _DROPPED]:
        value = os.environ.pop(name)
        if value.lower() not in (_OURS.get(name), ""):
            overridden[name] = value
    os.environ.update(_OURS)


def _of_keras_json() -> dict[str, Any]:
    """Return what differs from Keras's defaults in the file that Keras would read; empty where there is none."""
    import json  # here, since it costs `cnnctl --help` 3 ms

    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    file = expanded(os.path.join(home, "keras.json"))
    try:
        content = json.loads(read_bounded(file, _MAX_BYTES))
    except OSError:
        return {}
    except (ValueError, RecursionError):
        return {str(file): "not JSON"}
    said = content if isinstance(content, dict) else {}
    other = {key: said[key] for key, value in KERAS_DEFAULTS.items() if key in said and said[key] != value}
    return {str(file): other} if other else {}


def own_matplotlib() -> None:
    """Import matplotlib so that it draws without a window and as it does where nobody has set anything.

    Raises:
        UsageError: matplotlib cannot read its user file.
    """
    import logging

    own_settings()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its font cache and a wrong matplotlibrc are no news here
    try:
        import matplotlib as mpl
    except UnicodeDecodeError as error:
        raise UsageError("matplotlib cannot read a matplotlibrc of this folder or of your home: it is not UTF-8") from error
    mpl.rcdefaults()


def from_system(error: Exception) -> CnnctlError | None:
    """Make one message of what the system refuses, such as a full disk, memory or a thread; None for any other error."""
    if isinstance(error, OSError):
        return RunError(f"{error.filename or 'output'}: {error.strerror or error}")
    limits = small_limits()
    after = f"; {limits}" if limits else ""
    if isinstance(error, MemoryError):
        return RunError(f"there is not enough memory{after}")
    if "start new thread" in str(error):  # how Python says that the system gives none
        return RunError(f"the system starts no more threads{after}")
    return None


def small_limits() -> str:
    """Return what to say of limits of this process that may be too small for TensorFlow; empty where there are none."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    told = []
    for name, enough in _SMALL_LIMITS.items():
        with contextlib.suppress(AttributeError, OSError):  # not every system has all of them
            limit, _ = resource.getrlimit(getattr(resource, name))
            told += [_LIMIT_NAMES[name].format(limit)] if 0 <= limit < enough else []
    return f"this process has a limit {' and one '.join(told)}; raise it" if told else ""
