"""A process that trains trials for `cnnctl sweep`, which starts it: `python -m cnnctl.sweep.trial_process`.

On stdin comes one line of JSON that says what to train; when stdin ends, the process that started this one wants no more of
it, or has died. On stdout go lines of JSON that say what happens.
"""

from __future__ import annotations

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
"""The exit code of a process that wants another one to go on in its place; sysexits.h has it for 'try again'."""


def main() -> int:
    """Returns the exit code: 0 where nothing is left to train, `REPLACE`, or that of an error, which was told."""
    job = json.loads(sys.stdin.readline())
    sys.argv = job["command"]  # for environment.json
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whoever prints, prints to stderr

    def tell(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    with Interruption().listening() as interruption:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
        try:
            with interruption.passing_on():
                return _work(job, interruption, tell)
        except KeyboardInterrupt:
            return 128 + interruption.signal
        except Interrupted as error:
            return error.exit_code
        except Exception as error:
            known = error if isinstance(error, CnnctlError) else from_system(error) or _unexpected(error, job["verbose"])
            tell({"error": str(known), "exit_code": known.exit_code})
            return known.exit_code


def _unexpected(error: Exception, verbose: bool) -> CnnctlError:
    """Make one message of a fault of cnnctl or of a library, which is shown whole when asked."""
    if verbose:
        traceback.print_exc()
    return CnnctlError(f"{type(error).__name__}: {error}; --verbose shows where")


def _work(job: dict[str, Any], interruption: Interruption, tell: Any) -> int:
    from cnnctl.spec.load import load
    from cnnctl.sweep.studies import open_study
    from cnnctl.sweep.sweep_folder import SweepFolder
    from cnnctl.train.quiet import import_tensorflow

    study = open_study(SweepFolder(Path(job["folder"])), load(Path(job["config"]), job["overrides"]))
    assert study, "it was there when this process was started"
    import_tensorflow(job["verbose"])
    keep_silent()  # how it ends says the process that started it
    from cnnctl.sweep.trial_runner import Worker

    done = Worker(study, job["device"], interruption, tell).work(job["deadline"])
    return 0 if done else REPLACE


def _end_with_stdin() -> None:
    """Asks this process to end, as a signal does, when nobody holds the other end of its stdin any more."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def run_and_exit() -> None:
    """Runs `main` and ends the process at once, as `cli.run_and_exit` does."""
    enable_reporter()
    code = main()
    dismiss()
    os._exit(code)  # what it tells goes out line by line


if __name__ == "__main__":
    run_and_exit()
