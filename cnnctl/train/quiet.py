"""Imports TensorFlow and Keras without their start-up chatter."""

from __future__ import annotations

import contextlib
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
"""What is told of an end where nothing else is known of it."""
_THREADS, _THREADS_PER_CORE, _MAX_THREADS = 8, 4, 64
"""About as many as a training has: 17 on two cores, 13 on one."""
_READS = ("TF_", "XLA_", "CUDA_", "NVIDIA_", "ONEDNN_", "OMP_", "LD_")
"""How the names of variables begin that TensorFlow and its libraries may stumble over; not so the harmless ones below."""
_HARMLESS = ("TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "TF_CONFIG", "TF_CLI_CONFIG_FILE")


def import_tensorflow(verbose: bool = False) -> None:
    """Imports TensorFlow and Keras and starts the runtime; `verbose` lets their messages through.

    Should this process be ended without a word, as by a library that finds a variable wrong, it is told from here on.

    Raises:
        RunError: this process has not the memory, threads or files for it, or TensorFlow is not whole.
    """
    own_settings()
    _prepare_for_the_worst()
    if verbose:
        _start_or_tell()
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        with without_native_stderr():
            _start_or_tell()
    tell_of_end()


def tell_of_end(what_next: str = "") -> None:
    """Sets what is told should this process be ended from here on, with what to do then."""
    report_if_killed(f"{_ENDED}{_perhaps()}{'. ' * bool(what_next)}{what_next}")


def _prepare_for_the_worst() -> None:
    """Sets what is told should TensorFlow end this process, and sees whether there is room for its threads.

    Raises:
        RunError: there is not; TensorFlow would abort, and NumPy send itself a Ctrl-C.
    """
    released = threading.Event()
    try:
        report_if_killed(f"TensorFlow ended this process as it started{_perhaps()}")
        for _ in range(min(_THREADS + _THREADS_PER_CORE * (os.cpu_count() or 1), _MAX_THREADS)):
            threading.Thread(target=released.wait).start()
    except (OSError, RuntimeError) as error:
        told = "the system starts no more threads and processes, and TensorFlow needs some"
        raise RunError(f"{told}{_perhaps()}") from error
    finally:
        released.set()


def _start_or_tell() -> None:
    try:
        _start()
    except (ImportError, OSError, MemoryError, RuntimeError, SystemError) as error:
        raise RunError(f"TensorFlow cannot be started: {_reason(error)}{_perhaps()}") from error


def _reason(error: Exception) -> str:
    """Returns why, in one line: TensorFlow has the traceback of what went wrong within its message."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = [line.partition(": ")[2] for line in lines if re.match(r"\w+Error: ", line)]
    return (named[-1:] or lines[:1] or [type(error).__name__])[0]


def _perhaps() -> str:
    """Returns what may keep TensorFlow from working here, and what to do about it; empty where nothing is known."""
    variables = [name for name in sorted(os.environ) if name.startswith(_READS) and name not in _HARMLESS]
    unset = f"it reads {', '.join(variables)}: see whether they are right, or unset them" if variables else ""
    return "".join(f"; {part}" for part in (small_limits(), unset) if part)


def _start() -> None:
    with _without("sklearn", "matplotlib"), _hollow("requests"):
        import keras
        import tensorflow as tf

    keras.config.disable_traceback_filtering()  # a bug's traceback shows where it is
    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # asks the driver, which speaks up where there is none


@contextlib.contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Lets imports of packages fail for the while.

    Keras imports them where they are, for wrappers and plots that nothing here uses, and does without where they are
    not: a second saved at each start.
    """
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is how Python marks what must not be imported
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def _hollow(package: str) -> Iterator[None]:
    """Lets imports of a package give an empty module for the while.

    TensorFlow imports `requests` for machines that Google may take away and for a callback, neither of which is used
    here, and with it comes urllib3, which opens a socket as it is imported: to see whether there is IPv6. Whoever
    imports it later, as TFDS for a download, gets the real one.
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
    """Sends what C++ writes to stderr into a file for the while; shows it if the block fails.

    TensorFlow writes some lines before its log level is set up, so no variable can silence them.
    What Python writes still reaches the screen.
    """
    python_stderr, heard = sys.stderr, hidden_stderr()
    with contextlib.suppress(OSError):  # nobody can read it
        python_stderr.flush()
    with open(os.dup(2), "w", buffering=1, errors="replace") as screen:
        os.dup2(heard.fileno(), 2)
        sys.stderr = screen
        try:
            yield
        except CnnctlError:
            raise  # its message says all that is to be said
        except Exception:
            heard.seek(0)
            with contextlib.suppress(OSError):
                screen.write(heard.read().decode(errors="replace"))
            raise
        finally:
            heard.truncate(0)
            with contextlib.suppress(OSError):
                screen.flush()
            os.dup2(screen.fileno(), 2)
            sys.stderr = python_stderr
