"""Signals inside code of libraries: handled and reported."""

from __future__ import annotations

import ctypes
import signal
import weakref

import pytest

from cnnctl.train.signals import Interruption


def print_from_c(message: str) -> None:
    """Does what C++ does that calls Python, gets an error and goes on."""
    ctypes.pythonapi.PyRun_SimpleString(f"raise SystemError({message!r})".encode())


def drop(error: BaseException) -> None:
    """Lets the interpreter drop an error that nobody can catch."""

    class Subject:
        pass

    def fail(_: object) -> None:
        raise error

    subject = Subject()
    reference = weakref.ref(subject, fail)
    del subject
    assert reference() is None


def test_what_foreign_code_prints_is_told_until_a_signal_comes(capfd: pytest.CaptureFixture[str]) -> None:
    with Interruption().listening():
        print_from_c("before")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        print_from_c("after")
    print_from_c("behind")
    said = capfd.readouterr().err
    assert "before" in said
    assert "after" not in said
    assert "behind" in said


def test_what_the_interpreter_drops_is_told_until_a_signal_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda each: reported.append(str(each.exc_value)))
    with Interruption().listening():
        drop(RuntimeError("before"))
        drop(KeyboardInterrupt("by another worker"))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        drop(KeyboardInterrupt("after"))
        drop(SystemError("after"))
    drop(RuntimeError("behind"))
    assert reported == ["before", "behind"]
