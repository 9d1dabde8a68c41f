"""The SQLite file of a study: opened with care, and told of in one message where it is damaged or the disk refuses."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc
from optuna.storages import RDBStorage

from cnnctl.errors import RunError
from cnnctl.reading import open_regular
from cnnctl.spec.section import show

BUSY_SECONDS = 60
"""How long a process waits for another one to finish writing."""
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)


@contextlib.contextmanager
def told(file: Path) -> Iterator[None]:
    """Tells what SQLite refuses as RunError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        reason = _reason(error)
        if "malformed" in reason or "not a database" in reason:
            raise damaged(file, reason) from error
        raise RunError(
            f"{file} cannot be read or written: {reason}. What is trained is kept; once that is mended, call sweep again"
        ) from error


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return str(getattr(cause, "orig", None) or cause or error).partition("\n")[0]


def damaged(file: Path, reason: str) -> RunError:
    """Returns what to say of a study that is none."""
    return RunError(
        f"{file} is damaged, or is no study of cnnctl: {reason}. Move {file.parent} away, or begin another study with --dir; "
        "the run folders in it are whole without the study"
    )


def storage_of(file: Path, new: bool) -> RDBStorage:
    """Opens Optuna's tables; the connection is ours, since not every path can be a URL."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    return RDBStorage("sqlite:///study.sqlite3", engine_kwargs={"creator": connect}, skip_table_creation=not new)


def refuse_damaged(file: Path) -> None:
    """Raises RunError for a file that is no whole SQLite database of tables and indexes alone, Optuna's among them."""
    try:
        with open_regular(file, inside=file.parent) as opened:
            begins_right = opened.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from error
    if not begins_right:
        raise damaged(file, "it is no SQLite file")
    with told(file), contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
        if strange := [name for kind, name, sql in found if kind not in ("table", "index") or "VIRTUAL" in sql.upper()]:
            raise damaged(file, f"it holds {show(strange[0])}, which Optuna does not make")
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise damaged(file, str(sound).partition("\n")[0])
        if missing := {"studies", "trials", "version_info", "alembic_version"} - {name for _, name, _ in found}:
            raise damaged(file, f"it has no table '{min(missing)}'")
