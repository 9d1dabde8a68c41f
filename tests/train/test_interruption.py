"""What is heard and told of a signal inside of foreign code."""

from __future__ import annotations

import ctypes
import signal
import weakref

import pytest

from cnnctl.train.interruption import Interruption


def print_from_c(message: str) -> None:
    """Does what C++ does that calls Python, gets an error and goes on."""
    ctypes.pythonapi.PyRun_SimpleString(f"raise SystemError({message!r})".encode())


def drop(message: str) -> None:
    """Lets the interpreter drop an error that nobody can catch."""

    class Subject:
        pass

    def fail(_: object) -> None:
        raise RuntimeError(message)

    subject = Subject()
    reference = weakref.ref(subject, fail)
    del subject
    assert reference() is None


def test_foreign_code_tells_nothing_after_a_signal_and_all_without_one(capfd: pytest.CaptureFixture[str]) -> None:
    with Interruption().listening():
        print_from_c("before")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        print_from_c("after")
        drop("dropped")
    print_from_c("behind")
    said = capfd.readouterr().err
    assert "before" in said
    assert "after" not in said
    assert "dropped" not in said
    assert "behind" in said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_dropped_without_a_signal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda each: told.append(str(each.exc_value)))
    with Interruption().listening():
        drop("dropped")
    assert told == ["dropped"]
