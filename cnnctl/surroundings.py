"""The environment of the process, made the same for every run: streams, variables, limits, settings of other programs.

Call `own_settings` before Keras or matplotlib is imported. The numbers and figures of a run depend on its config and data
alone, not on what the user has set for other programs.
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
"""The defaults of Keras, without its user file `keras.json`."""
_MAX_BYTES = 100_000
"""The largest `keras.json` that is read."""
_DROPPED = ("MPLBACKEND", "MATPLOTLIBRC")
_OURS = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull, "MPLBACKEND": "agg"}
"""In the null device as its home, Keras finds no `keras.json` and cannot write one."""
_SMALL_LIMITS = {"RLIMIT_AS": 2**40, "RLIMIT_DATA": 2**40, "RLIMIT_NPROC": 1_000, "RLIMIT_NOFILE": 256}
"""TensorFlow works with limits of this size or more."""
_LIMIT_NAMES = {
    "RLIMIT_AS": "of {:,} bytes of address space (ulimit -v)",
    "RLIMIT_DATA": "of {:,} bytes of data (ulimit -d)",
    "RLIMIT_NPROC": "of {:,} processes and threads (ulimit -u)",
    "RLIMIT_NOFILE": "of {:,} open files (ulimit -n)",
}

overridden: dict[str, Any] = {}
"""Settings of other programs that `own_settings` removed, for environment.json."""


def open_closed_streams() -> None:
    """Open the null device where stdin, stdout or stderr is closed, as by `2>&-`.

    Else the next file that is opened would get its number, and messages would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # None where Python found it closed
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def number_from(variable: str, default: int, least: int, most: int, what: str) -> int:
    """Read a whole number from an environment variable.

    Args:
        variable: its name.
        default: the number where it is not set.
        least, most: the bounds, both allowed.
        what: the number expected, for the message.

    Raises:
        UsageError: it is not a number, or outside the bounds.
    """
    text = os.environ.get(variable, str(default))
    if not (text.isdecimal() and len(text) < 20 and least <= int(text) <= most):  # int() refuses thousands of digits
        raise UsageError(f"{variable} is {shortened(text)}, expected {what}")
    return int(text)


def shortened(value: object) -> str:
    """Return the repr of a value, the middle of a long one replaced by dots."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


def expanded(path: str) -> Path:
    """Expand `~` and `~user` in a path of the command line, which shells do not in `--run-dir=~/x`.

    An unknown home stays as it was written, and `./~` is a folder of that name.
    """
    return Path(os.path.expanduser(path))


def is_utf8(text: str) -> bool:
    """Return True if a text can be encoded; Python keeps the bytes of file names that are not UTF-8 as lone surrogates."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def shell_word(path: object) -> str:
    r"""Quote a path for a shell; unprintable characters, such as bytes that are not UTF-8, as in bash and zsh: $'a\xe9'."""
    text = str(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(plain)}'"


def own_settings() -> None:
    """Remove the user's settings for Keras and matplotlib from this process, and note them in `overridden`.

    Keras would take floatx, epsilon and the order of axes from `keras.json`, and the number of epochs from a variable.
    Jupyter and Colab set MPLBACKEND, so that every program draws into a notebook.
    """
    if os.environ.get("KERAS_HOME") != os.devnull:  # else this was called before
        overridden.update(_changed_in_keras_json())
    for name in [name for name in os.environ if name.startswith("KERAS_") or name in _DROPPED]:
        value = os.environ.pop(name)
        if value.lower() not in (_OURS.get(name), ""):
            overridden[name] = value
    os.environ.update(_OURS)


def _changed_in_keras_json() -> dict[str, Any]:
    """Return the settings in the user's `keras.json` that differ from Keras's defaults, by file."""
    import json  # here, since it costs `cnnctl --help` 3 ms

    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    file = expanded(os.path.join(home, "keras.json"))
    try:
        content = json.loads(read_bounded(file, _MAX_BYTES))
    except OSError:
        return {}
    except (ValueError, RecursionError):
        return {str(file): "not JSON"}
    settings = content if isinstance(content, dict) else {}
    changed = {key: settings[key] for key, value in KERAS_DEFAULTS.items() if key in settings and settings[key] != value}
    return {str(file): changed} if changed else {}


def own_matplotlib() -> None:
    """Import matplotlib with its default settings and without a window.

    Raises:
        UsageError: matplotlib cannot read its user file.
    """
    import logging

    own_settings()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would warn of its font cache and of a wrong matplotlibrc
    try:
        import matplotlib as mpl
    except UnicodeDecodeError as error:
        raise UsageError("matplotlib cannot read a matplotlibrc of this folder or of your home: it is not UTF-8") from error
    mpl.rcdefaults()


_ONEDNN = "TensorFlow computes it on GPUs and with oneDNN alone, so unset TF_ENABLE_ONEDNN_OPTS if it is 0, or write"
_NOT_COMPUTED_HERE = {
    "NHWC": f"a layer under channels_first is not computed on this processor: {_ONEDNN} model.data_format: channels_last",
    "do not yet support dilation rates": f"a conv2d_transpose with a dilation is not computed on this processor: {_ONEDNN} "
    "dilation_rate: 1",
}
"""Parts of TensorFlow's messages about layers that some processors cannot compute, with the message to print."""


def from_system(error: Exception) -> CnnctlError | None:
    """Return the error of a resource that the system refuses, such as disk, memory, a thread or a layer; None for any other."""
    if isinstance(error, OSError):
        return RunError(f"{error.filename or 'output'}: {error.strerror or error}")
    limits = small_limits()
    after = f"; {limits}" if limits else ""
    if isinstance(error, MemoryError):
        return RunError(f"there is not enough memory{after}")
    if "start new thread" in str(error):  # the message of Python
        return RunError(f"the system starts no more threads{after}")
    return next((RunError(message) for part, message in _NOT_COMPUTED_HERE.items() if part in str(error)), None)


def small_limits() -> str:
    """Describe the limits of this process that may be too small for TensorFlow; empty if there are none."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    found = []
    for name, enough in _SMALL_LIMITS.items():
        with contextlib.suppress(AttributeError, OSError):  # not every system has all of them
            limit, _ = resource.getrlimit(getattr(resource, name))
            found += [_LIMIT_NAMES[name].format(limit)] if 0 <= limit < enough else []
    return f"this process has a limit {' and one '.join(found)}; raise it" if found else ""
