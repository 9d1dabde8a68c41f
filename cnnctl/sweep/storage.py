"""The SQLite file of a study: opened with care, and told of in one message where it is damaged or the disk refuses."""

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
"""How long a process waits for another one to finish writing."""
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)


UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError)
"""What Optuna raises of values that it never writes."""
NUMBERS = ("validation_accuracy", "validation_loss", "epochs", "seconds")
"""What is kept of a trial as numbers; None where it is not known."""
_TEXTS = ("reason", "pruned")


def strange(trial: FrozenTrial, number: int, distributions: Mapping[str, BaseDistribution]) -> str:
    """Returns what of a trial cnnctl never writes: SQLite takes any value in any column. An empty text where all is well.

    Args:
        trial: as Optuna reads it.
        number: its place among all trials, counted from 0.
        distributions: of what is swept, by config path.
    """
    if trial.number != number:
        return f"its number is {show(trial.number)}"
    if trial.state == TrialState.COMPLETE and not _is_finite(trial.value):
        return f"its value is {show(trial.value)}, expected a number"
    drawn = {path: trial.params.get(path, _NOTHING) for path in distributions}
    for path, value in drawn.items():
        begun = value is _NOTHING and not trial.state.is_finished()
        failed_early = value is _NOTHING and trial.state == TrialState.FAIL
        if not (begun or failed_early or _is_drawn(value, trial.distributions.get(path), distributions[path])):
            return f"{path} is {'not there' if value is _NOTHING else show(value)}, which the sweep does not try"
    return _strange_fact(trial)


_NOTHING = object()


def _strange_fact(trial: FrozenTrial) -> str:
    facts = trial.user_attrs
    for key in NUMBERS:
        if facts.get(key) is not None and not _is_number(facts[key]):
            return f"{key} is {show(facts[key])}, expected a number"
    if texts := [key for key in _TEXTS if not isinstance(facts.get(key, ""), str)]:
        return f"{texts[0]} is {show(facts[texts[0]])}, expected a text"
    told = [
        *trial.intermediate_values.items(),
        *((0, value) for key, value in trial.system_attrs.items() if str(key).startswith("completed_rung")),
    ]
    wrong = [(step, value) for step, value in told if not (type(step) is int and _is_number(value))]
    return f"after epoch {show(wrong[0][0])} it reached {show(wrong[0][1])}, expected numbers" if wrong else ""


def _is_drawn(value: Any, drawn_from: BaseDistribution | None, distribution: BaseDistribution) -> bool:
    """Returns whether a value is one that a distribution has, and was drawn from it."""
    try:
        return drawn_from == distribution and distribution._contains(distribution.to_internal_repr(value))
    except UNREADABLE:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


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
