"""Locks where the system is Windows, in a stand-in for its `msvcrt`, and of folders that are not ours to remove."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from cnnctl.files import hold, is_held, passing_folder


class OneByteLocks(SimpleNamespace):
    """`msvcrt` as documented: locks bytes from the current position on, and fails with EACCES if another has them."""

    LK_NBLCK = 2
    places: ClassVar[set[int]] = set()

    def locking(self, opened: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        self.places.add(os.lseek(opened, 0, os.SEEK_CUR))
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "Permission denied") from error


def test_windows_locks_a_byte_behind_the_text_of_the_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msvcrt", OneByteLocks())
    monkeypatch.setitem(sys.modules, "fcntl", None)
    lock = tmp_path / ".lock"
    with hold(lock) as first:
        assert first is None
        assert is_held(lock)
        with hold(lock) as second:
            assert second is not None
            assert second.startswith(f", {os.getpid()} on ")
        assert lock.stat().st_size < min(OneByteLocks.places)
    assert not is_held(lock)


def test_a_folder_whose_lock_is_a_link_or_missing_is_not_removed(tmp_path: Path) -> None:
    for name in (".x-link", ".x-none", ".x-dead"):
        (tmp_path / name).mkdir()
    (tmp_path / "free").touch()
    (tmp_path / ".x-link/.lock").symlink_to(tmp_path / "free")
    (tmp_path / ".x-dead/.lock").touch()
    for name in (".x-link", ".x-none", ".x-dead"):
        os.utime(tmp_path / name, (time.time() - 60,) * 2)
    with passing_folder(tmp_path, ".x-"):
        assert {each.name for each in tmp_path.iterdir() if each.name in (".x-link", ".x-none", ".x-dead")} == {
            ".x-link",
            ".x-none",
        }
