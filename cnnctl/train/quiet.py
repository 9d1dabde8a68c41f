"""Import TensorFlow and Keras without their start-up messages."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType

from cnnctl.errors import CnnctlError, RunError
from cnnctl.last_words import hidden_stderr, report_if_killed
from cnnctl.surroundings import own_settings, small_limits

_ENDED = "this process was ended before it was done, by TensorFlow or by the system, as for lack of memory"
"""The message for an end of which nothing else is known."""
_THREADS, _THREADS_PER_CORE, _MAX_THREADS = 8, 4, 64
"""About as many as a training has: 17 on two cores, 13 on one."""
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""TensorFlow computes by oneDNN where this is 1. On x86 processors without VNNI instructions that is not its default, but up to 2.7
times as fast (docs/results/speed.md)."""
_READS = ("TF_", "XLA_", "CUDA_", "NVIDIA_", "ONEDNN_", "OMP_", "LD_")
"""Prefixes of variables that TensorFlow and its libraries read, and that may stop them; the ones below cannot."""
_HARMLESS = (ONEDNN, "TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "TF_CONFIG", "TF_CLI_CONFIG_FILE")


def import_tensorflow(verbose: bool = False) -> None:
    """Import TensorFlow and Keras and start the runtime; `verbose` shows their messages.

    From here on a second process reports if this one is ended without a message, as by a library that rejects a variable.

    Raises:
        RunError: memory, threads or files are too few, or TensorFlow's installation is damaged.
    """
    own_settings()
    os.environ[ONEDNN] = os.environ.get(ONEDNN) or "1"
    _check_threads()
    if verbose:
        _start_or_raise()
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", "You passed `rms_scaling=True`")  # cnnctl warns of it once, in its own words
        with without_native_stderr():
            _start_or_raise()
    set_last_message()


def set_last_message(what_next: str = "") -> None:
    """Set the message for an unexpected end of this process, with what to do then."""
    report_if_killed(f"{_ENDED}{_possible_causes()}{'. ' * bool(what_next)}{what_next}")


def _check_threads() -> None:
    """Set the message for an end by TensorFlow, and check that the system allows its threads.

    Raises:
        RunError: it does not; TensorFlow would abort, and NumPy would raise KeyboardInterrupt.
    """
    released = threading.Event()
    try:
        report_if_killed(f"TensorFlow ended this process as it started{_possible_causes()}")
        for _ in range(min(_THREADS + _THREADS_PER_CORE * (os.cpu_count() or 1), _MAX_THREADS)):
            threading.Thread(target=released.wait).start()
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"the system starts no more threads and processes, and TensorFlow needs some{_possible_causes()}"
        ) from error
    finally:
        released.set()


def _start_or_raise() -> None:
    try:
        _start()
    except (ImportError, OSError, MemoryError, RuntimeError, SystemError) as error:
        raise RunError(f"TensorFlow cannot be started: {_reason(error)}{_possible_causes()}") from error


def _reason(error: Exception) -> str:
    """Extract the reason in one line, since TensorFlow's message contains a traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = [line.partition(": ")[2] for line in lines if re.match(r"\w+Error: ", line)]
    return (named[-1:] or lines[:1] or [type(error).__name__])[0]


def _possible_causes() -> str:
    """Describe what may keep TensorFlow from working here, and the remedy; empty if nothing is known."""
    variables = [name for name in sorted(os.environ) if name.startswith(_READS) and name not in _HARMLESS]
    unset = f"it reads {', '.join(variables)}: check them, or unset them" if variables else ""
    return "".join(f"; {part}" for part in (small_limits(), unset) if part)


def _start() -> None:
    with _without("sklearn", "matplotlib"), _empty("requests"), _uncollected():
        import keras
        import tensorflow as tf

    keras.config.disable_traceback_filtering()  # full tracebacks for --verbose
    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # loads the driver now, whose messages are hidden here


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python search for garbage neither during the block, nor later among the objects that are there at its end.

    TensorFlow's import makes half a million objects for good, and searching them again and again takes a fifth of its time.
    """
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextlib.contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Let imports of packages fail for the block.

    Keras imports them if they are installed, for wrappers and plots that are not used here. Without them each start is a
    second faster.
    """
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None marks a module that must not be imported
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def _empty(package: str) -> Iterator[None]:
    """Let imports of a package give an empty module for the block.

    TensorFlow imports `requests` for preemptible machines and for a callback, which are not used here. It imports urllib3,
    which opens a socket to test for IPv6. Later imports, as by TFDS for a download, get the real package.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = ModuleType(package)
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def without_native_stderr() -> Iterator[None]:
    """Redirect what C++ writes to stderr into a file for the block, and print it if the block fails.

    TensorFlow writes some lines before it reads its log level, so no variable can silence them. What Python writes is
    still printed.
    """
    python_stderr, written = sys.stderr, hidden_stderr()
    with contextlib.suppress(OSError):  # stderr is closed
        python_stderr.flush()
    with open(os.dup(2), "w", buffering=1, errors="replace") as screen:
        os.dup2(written.fileno(), 2)
        sys.stderr = screen
        try:
            yield
        except CnnctlError:
            raise  # its message is complete
        except Exception:
            written.seek(0)
            with contextlib.suppress(OSError):
                screen.write(written.read().decode(errors="replace"))
            raise
        finally:
            written.truncate(0)
            with contextlib.suppress(OSError):
                screen.flush()
            os.dup2(screen.fileno(), 2)
            sys.stderr = python_stderr
