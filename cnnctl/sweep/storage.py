"""The SQLite file of a study: opened and checked, with one message where it is damaged or the disk fails."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from cnnctl.errors import RunError
from cnnctl.reading import open_regular
from cnnctl.spec.section import show

BUSY_SECONDS = 60
"""How long a process waits while another one writes."""
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError)
"""Exceptions of Optuna for values that it never writes."""
NUMBERS = ("validation_accuracy", "validation_loss", "epochs", "seconds")
"""Attributes of a trial that are numbers; None where unknown."""
_TEXTS = ("reason", "pruned")


def unexpected_content(trial: FrozenTrial, number: int, distributions: Mapping[str, BaseDistribution]) -> str:
    """Find content of a trial that cnnctl never writes (SQLite accepts any value in any column); empty text for none.

    Args:
        trial: as Optuna reads it.
        number: its index among all trials, from 0.
        distributions: of the parameters, by config path.
    """
    if trial.number != number:
        return f"its number is {show(trial.number)}"
    if trial.state == TrialState.COMPLETE and not _is_finite(trial.value):
        return f"its value is {show(trial.value)}, expected a number"
    drawn = {path: trial.params.get(path, _NOTHING) for path in distributions}
    may_be_missing = trial.state == TrialState.FAIL or not trial.state.is_finished()
    for path, value in drawn.items():
        if value is _NOTHING and may_be_missing:
            continue
        if not _is_drawn(value, trial.distributions.get(path), distributions[path]):
            return f"{path} is {'missing' if value is _NOTHING else show(value)}, which is not a value of the sweep"
    return _unexpected_fact(trial)


_NOTHING = object()


def _unexpected_fact(trial: FrozenTrial) -> str:
    facts = trial.user_attrs
    for key in NUMBERS:
        if facts.get(key) is not None and not _is_number(facts[key]):
            return f"{key} is {show(facts[key])}, expected a number"
    if texts := [key for key in _TEXTS if not isinstance(facts.get(key, ""), str)]:
        return f"{texts[0]} is {show(facts[texts[0]])}, expected a text"
    reported = [
        *trial.intermediate_values.items(),
        *((0, value) for key, value in trial.system_attrs.items() if str(key).startswith("completed_rung")),
    ]
    wrong = [(step, value) for step, value in reported if not (type(step) is int and _is_number(value))]
    return f"its value after epoch {show(wrong[0][0])} is {show(wrong[0][1])}, expected numbers" if wrong else ""


def _is_drawn(value: Any, drawn_from: BaseDistribution | None, distribution: BaseDistribution) -> bool:
    """Return True if a value is of a distribution and was drawn from it."""
    try:
        return drawn_from == distribution and distribution._contains(distribution.to_internal_repr(value))
    except UNREADABLE:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


@contextlib.contextmanager
def as_storage_error(file: Path) -> Iterator[None]:
    """Convert errors of SQLite to RunError."""
    try:
        yield
    except STORAGE_ERRORS as error:
        reason = _reason(error)
        if "malformed" in reason or "not a database" in reason:
            raise damaged(file, reason) from error
        raise RunError(
            f"{file} cannot be read or written: {reason}. The trained trials are saved; fix this and run sweep again"
        ) from error


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return str(getattr(cause, "orig", None) or cause or error).partition("\n")[0]


def damaged(file: Path, reason: str) -> RunError:
    """Create the error for a study that cannot be used."""
    return RunError(
        f"{file} is damaged or not a cnnctl study: {reason}. Move {file.parent} away, or start another sweep with --dir; "
        "the run folders in it can be used without the study"
    )


def storage_of(file: Path, new: bool) -> RDBStorage:
    """Open Optuna's tables, with a connection of our own since not every path can be a URL."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    return RDBStorage("sqlite:///study.sqlite3", engine_kwargs={"creator": connect}, skip_table_creation=not new)


def refuse_damaged(file: Path) -> None:
    """Raise RunError unless a file is an intact SQLite database with Optuna's tables, of tables and indexes only."""
    try:
        with open_regular(file, inside=file.parent) as opened:
            begins_right = opened.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from error
    if not begins_right:
        raise damaged(file, "it is not an SQLite file")
    with as_storage_error(file), contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
        if foreign := [name for kind, name, sql in found if kind not in ("table", "index") or "VIRTUAL" in sql.upper()]:
            raise damaged(file, f"it has {show(foreign[0])}, which Optuna does not create")
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise damaged(file, str(sound).partition("\n")[0])
        if missing := {"studies", "trials", "version_info", "alembic_version"} - {name for _, name, _ in found}:
            raise damaged(file, f"it has no table '{min(missing)}'")
