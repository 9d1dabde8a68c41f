"""The trial process of `cnnctl sweep`, which starts it by `python -m cnnctl.sweep.trial_process`.

It reads one line of JSON from stdin, the job, and writes events to stdout, one line of JSON each. It ends when stdin is closed:
the process that started it stops it, or has died.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from cnnctl.errors import CnnctlError, Interrupted
from cnnctl.last_words import dismiss, enable_reporter, keep_silent
from cnnctl.surroundings import from_system
from cnnctl.train.signals import Interruption

REPLACE = 75
"""Exit code that asks for a new process in this one's place; EX_TEMPFAIL ('try again') of sysexits.h."""


def main() -> int:
    """Train and return the exit code: 0 where nothing is left to train, `REPLACE`, or that of an error, which was reported."""
    job = json.loads(sys.stdin.readline())
    sys.argv = job["command"]  # for environment.json
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # prints of libraries go to stderr

    def notify(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    interruption = Interruption()
    try:
        with interruption.listening(), interruption.passing_on():
            threading.Thread(target=_end_with_stdin, daemon=True).start()
            return _work(job, interruption, notify)
    except KeyboardInterrupt:
        return 128 + interruption.signal
    except Interrupted as error:
        return error.exit_code
    except Exception as error:
        known = error if isinstance(error, CnnctlError) else from_system(error) or _unexpected(error, job["verbose"])
        notify({"error": str(known), "exit_code": known.exit_code})
        return known.exit_code


def _unexpected(error: Exception, verbose: bool) -> CnnctlError:
    """Convert an unexpected exception to one message; --verbose prints its traceback."""
    if verbose:
        traceback.print_exc()
    return CnnctlError(f"{type(error).__name__}: {error}; --verbose shows where")


def _work(job: dict[str, Any], interruption: Interruption, notify: Any) -> int:
    from cnnctl.spec.load import load
    from cnnctl.sweep.studies import open_study
    from cnnctl.sweep.sweep_folder import SweepFolder
    from cnnctl.train.quiet import import_tensorflow

    if job["custom_layers"]:
        _use_custom_layers(job["custom_layers"], job["verbose"])
    study = open_study(SweepFolder(Path(job["folder"])), load(Path(job["config"]), job["overrides"]))
    assert study, "the sweep creates it before it starts this process"
    import_tensorflow(job["verbose"])
    keep_silent()  # the process that started this one reports how it ends
    from cnnctl.sweep.trial_runner import TrialRunner

    done = TrialRunner(study, job["device"], interruption, notify).work(job["deadline"])
    return 0 if done else REPLACE


def _use_custom_layers(file: dict[str, str], verbose: bool) -> None:
    """Add the layers of the sweep's `--custom-layers`, from the bytes that the sweep has read."""
    from cnnctl.spec.layers.custom import use
    from cnnctl.train.quiet import import_tensorflow

    import_tensorflow(verbose)
    from cnnctl.model.custom_layers import custom_file

    use(custom_file(base64.b64decode(file["source"]), file["path"]))


def _end_with_stdin() -> None:
    """Send this process SIGTERM when its stdin is closed, so that it saves and ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def run_and_exit() -> None:
    """Run `main` and end the process at once, as `cli.run_and_exit` does."""
    enable_reporter()
    code = main()
    dismiss()
    os._exit(code)  # nothing is buffered: events are written line by line


if __name__ == "__main__":
    run_and_exit()
