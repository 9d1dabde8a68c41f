"""Opening many files: each is the one that its path names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cnnctl import reading
from cnnctl.reading import FolderOpener


def content_of(opened: int) -> bytes:
    with os.fdopen(opened, "rb") as content:
        return content.read()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the file a; its folder below has a, too."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a").write_bytes(b"here")
    (tmp_path / "below" / "a").write_bytes(b"below")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_without_a_folder_is_in_the_current_one(here: Path) -> None:
    with FolderOpener() as opener:
        assert [content_of(opener.open(file)) for file in ("a", "below/a", "a", str(here / "a"))] == [
            b"here",
            b"below",
            b"here",
            b"here",
        ]


def test_a_file_of_the_root_is_not_one_of_the_current_folder(here: Path) -> None:
    with FolderOpener() as opener:
        os.close(opener.open(str(here / "below" / "a")))
        with pytest.raises(FileNotFoundError):
            opener.open(f"{os.sep}a")


def test_where_folders_have_no_descriptors_files_are_opened_by_their_paths(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = os.open

    def of_windows(file: str | Path, flags: int, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        return open_(file, flags)

    monkeypatch.setattr(reading, "_HAS_DESCRIPTORS_OF_FOLDERS", False)
    monkeypatch.setattr(os, "open", of_windows)
    with FolderOpener() as opener:
        assert [content_of(opener.open(file)) for file in ("a", "below/a", str(here / "a"))] == [b"here", b"below", b"here"]
