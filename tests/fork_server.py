"""Real processes that run the command and may be killed, without ten seconds of imports each.

One process imports everything once and then forks a child for each command: a process of its own, with its own
threads, files and signals, that ends as the command ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]


@dataclass
class Child:
    """A command that runs.

    Attributes:
        pid: of its process.
        output: the file that stdout and stderr go to.
    """

    fork_server: ForkServer
    pid: int
    output: Path

    def send(self, number: int) -> None:
        """Sends a signal; a process that has ended already is no matter."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def wait(self) -> int:
        """Returns the exit code, or minus the signal that killed the process."""
        return self.fork_server.wait()

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def has_said(self, text: str, seconds: float = 60.0) -> bool:
        """Waits until the output has a text; False if the process ends, or the time is over, before that."""
        end = time.monotonic() + seconds
        while text not in self.said():
            if time.monotonic() > end or not is_running(self.pid):
                return text in self.said()
            time.sleep(0.005)
        return True


class ForkServer:
    """Starts commands, one at a time."""

    def __init__(self) -> None:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.fork_server import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self._child: Child | None = None
        self._answer()  # it has imported everything

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:  # of a test that failed
            self._child.send(signal.SIGKILL)
        self._process.communicate(timeout=30)  # closes its stdin, at the end of which it ends

    def start(self, *words: object, cwd: Path, output: Path, before: str = "") -> Child:
        """Starts `cnnctl WORDS`.

        Args:
            words: of the command.
            cwd: the folder it runs in.
            output: the file that its stdout and stderr go to.
            before: Python that the process runs first, to hinder it.
        """
        assert self._process.stdin is not None
        request = {"words": list(map(str, words)), "cwd": str(cwd), "output": str(output), "before": before}
        output.write_text("")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self._child = Child(self, int(self._answer()["pid"]), output)
        return self._child

    def run(self, *words: object, cwd: Path, output: Path, before: str = "") -> int:
        """Runs `cnnctl WORDS` to its end; returns the exit code."""
        return self.start(*words, cwd=cwd, output=output, before=before).wait()

    def wait(self) -> int:
        """Waits for the command that runs; returns what `Child.wait` does."""
        code = int(self._answer()["code"])
        self._child = None
        return code

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that starts the others has died")
        answer: dict[str, Any] = json.loads(line)
        return answer


def is_running(pid: int) -> bool:
    """Returns whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# In the process that forks


def serve() -> None:
    """Imports everything, then does what `ForkServer` asks for until its end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _import_all()
    answers = os.fdopen(os.dup(1), "w")
    _tell(answers, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answers.close()
            _be(request)
        _tell(answers, {"pid": pid})
        _, status = os.waitpid(pid, 0)
        _tell(answers, {"code": os.waitstatus_to_exitcode(status)})


def _import_all() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from cnnctl.train.quiet import import_tensorflow

    import_tensorflow(verbose=False)

    import cnnctl.commands.train
    import cnnctl.report.figures
    import cnnctl.session.session  # noqa: F401


def _tell(answers: Any, content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def _die_with_parent() -> None:
    """Has Linux end this process when the one that started it dies, so that a test that is cut short leaves nobody behind."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _be(request: dict[str, Any]) -> None:
    """Becomes the command; does not return."""
    os.setsid()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    output = os.open(request["output"], os.O_WRONLY | os.O_APPEND)
    for target in (1, 2):
        os.dup2(output, target)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["cwd"])
    sys.argv = ["cnnctl", *request["words"]]
    exec(request["before"], {})
    from cnnctl.__main__ import main

    main()
    os._exit(0)
