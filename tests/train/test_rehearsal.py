"""What is due after the steps is computed once beside them, and never at the same time as anything but steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cnnctl.train.observers import Plan, StepsRecord
from cnnctl.train.rehearsal import Rehearsal

PLAN = Plan(epochs=2, first_epoch=0, steps_per_epoch=3, examples=3, batch_size=1)


def started(*functions: Callable[[], object]) -> Rehearsal:
    rehearsal = Rehearsal(functions)
    rehearsal.on_start(PLAN)
    return rehearsal


def steps(done: int) -> StepsRecord:
    return StepsRecord(1, done, done, done, 0.0, 0.0, 0.0)


def test_functions_are_called_once_in_another_thread_and_end_before_the_epoch_does() -> None:
    called, released = [], threading.Event()
    rehearsal = started(lambda: released.wait(60), lambda: called.append(threading.current_thread()))
    rehearsal.on_steps(steps(1))
    rehearsal.on_steps(steps(2))
    assert not called
    threading.Timer(0.05, released.set).start()
    rehearsal.on_steps(steps(3))
    assert len(called) == 1
    assert called[0] is not threading.current_thread()
    rehearsal.on_steps(steps(1))
    rehearsal.wait()
    assert len(called) == 1


def test_an_epoch_of_one_call_is_not_rehearsed() -> None:
    called: list[int] = []
    rehearsal = started(lambda: called.append(1))
    rehearsal.on_steps(steps(3))
    rehearsal.wait()
    assert not called


def test_an_error_is_left_to_the_place_where_the_result_is_needed() -> None:
    def fail() -> None:
        raise MemoryError

    rehearsal = started(fail)
    rehearsal.on_steps(steps(1))
    rehearsal.on_steps(steps(3))  # a thread that ends by an error would warn, which fails the test
    rehearsal.wait()


def test_its_block_waits_for_the_thread_but_not_after_ctrl_c() -> None:
    ended, released = threading.Event(), threading.Event()

    def rehearse() -> None:
        released.wait(60)
        ended.set()

    def interrupted() -> None:
        with rehearsal:
            rehearsal.on_steps(steps(1))
            raise KeyboardInterrupt

    rehearsal = started(rehearse)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not ended.is_set()
    with rehearsal:  # which ends without it
        threading.Timer(0.05, released.set).start()
    assert ended.is_set()
