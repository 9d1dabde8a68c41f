"""The end of a training: its network, its test and its result are written and printed."""

from __future__ import annotations

import math
from typing import Any

import keras

from cnnctl.data.splits import fingerprint
from cnnctl.errors import DataError, RunError, counted
from cnnctl.files import UNFINISHED, put_in_place
from cnnctl.model import build_model
from cnnctl.report.curves import CurvesFile
from cnnctl.report.progress import show_seconds
from cnnctl.report.tensorboard.observer import TensorBoardObserver
from cnnctl.report.text import accuracy_text, loss_text
from cnnctl.run_folder import RunFolder, best_epoch, resume_command
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import has_penalties
from cnnctl.spec.optimizers import averaging
from cnnctl.surroundings import shell_word
from cnnctl.train.observers import EpochRecord, Score


def finish(
    session: Session, run: RunFolder, rows: list[EpochRecord], board: TensorBoardObserver | None, curves: CurvesFile
) -> None:
    """Save the network, evaluate it on the test split for the only time, and write result.json.

    Args:
        session: trained.
        run: its folder.
        rows: the records of all epochs.
        board: writes to TensorBoard; None without it.
        curves: draws the picture of the training.
    """
    _save_model(session.experiment, session.task.network, run)
    session.interruption.leave_if_asked()
    tested = session.part_of is None or session.part_of.tested
    score, test_fingerprint = _test(session, run) if tested else (None, None)
    result = {key: _or_null(value) for key, value in _result(session, rows, score, test_fingerprint).items()}
    if board:
        step = result["weights_epoch"] * session.task.steps_per_epoch
        board.finish(step, _for_board(score), session.task.predictions(), result["weights"])
    curves.finish(_test_text(result, score) if score else "")
    run.write_json(run.result, result)  # last, since with it the run has finished
    if score and not session.part_of:
        _conclude(session, run, result, score)


def _save_model(experiment: Experiment, trained: keras.Model, run: RunFolder) -> None:
    """Save the network without its optimizer, so that Keras loads it without cnnctl."""
    plain = build_model(experiment)
    plain.set_weights(trained.get_weights())
    beside = run.model.with_name(f".model{UNFINISHED}.keras")
    try:
        plain.save(beside)
        put_in_place(beside, run.model)
    except OSError as error:
        raise RunError(f"{run.model} cannot be written: {error.strerror}. Once this is fixed: {resume_command(run)}") from error
    finally:
        beside.unlink(missing_ok=True)


def _test(session: Session, run: RunFolder) -> tuple[Score, str]:
    """Evaluate on the test split; also return the fingerprint of its images."""
    with session.console.working("evaluating on the test split"):
        try:
            images = session.task.splits.read_test()
            return session.task.test(images), fingerprint(images)
        except DataError as error:
            raise DataError(f"{error}. The training is saved; once the data is fixed: {resume_command(run)}") from error


def _result(session: Session, rows: list[EpochRecord], score: Score | None, test_fingerprint: str | None) -> dict[str, Any]:
    """Compute the content of result.json."""
    seconds = sum(row.seconds for row in rows)
    saved_epoch, why = _saved_epoch(session, rows)
    of_test = session.task.result(score or Score(math.nan, math.nan))
    return {
        **(of_test if score else dict.fromkeys(of_test)),
        "loss_includes_regularization": has_penalties(session.experiment),
        "weights_epoch": saved_epoch,
        "weights": why,
        "best_epoch": session.stopping.best_epoch if session.stopping else best_epoch(rows),
        "epochs": len(rows),
        "steps": rows[-1].step,
        "train_seconds": round(seconds, 3),
        "images_per_second": round(len(rows) * session.task.examples / seconds, 1),
        "parameters": session.task.network.count_params(),
        "test_fingerprint": test_fingerprint,
    }


def _saved_epoch(session: Session, rows: list[EpochRecord]) -> tuple[int, str]:
    """Return the epoch whose weights the run saves, and a text that says why."""
    train, last = session.experiment.train, len(rows)
    by = averaging(train.optimizer)
    averaged = f"; averaged weights ({by})" if by else ""
    if session.stopping and train.early_stopping and session.stopping.restores and session.stopping.best_epoch != last:
        epoch, monitor = session.stopping.best_epoch, train.early_stopping.monitor
        return epoch, f"epoch {epoch} of {last}: early stopping restored the best epoch by {monitor}{averaged}"
    return last, f"epoch {last} of {last}: the last epoch{_why_last(session, last)}{averaged}"


def _why_last(session: Session, last: int) -> str:
    """Explain, for a training with early stopping, why the last epoch's weights are saved."""
    stopping, spec = session.stopping, session.experiment.train.early_stopping
    if stopping is None or spec is None:
        return ""
    if stopping.best_epoch == last:
        return f", the best by {spec.monitor}"
    return f"; the best by {spec.monitor} was epoch {stopping.best_epoch} (restore_best: false)"


def _conclude(session: Session, run: RunFolder, result: dict[str, Any], score: Score) -> None:
    say = session.console.result
    loss = loss_text(score.loss, result["loss_includes_regularization"])
    say(f"test    accuracy {accuracy_text(score)}, {loss}, on {session.task.tested_on()}")
    say(f"weights {result['weights']}")
    speed = f"{result['images_per_second']:,.0f} images/s"
    say(f"time    {show_seconds(result['train_seconds'])} of training, {counted(result['epochs'], 'epoch')}, {speed}")
    say(f"run     {shell_word(run.path)}")
    say(f"curves  {shell_word(run.curves)}")
    if session.experiment.log.tensorboard:
        say(f"see     tensorboard --logdir {shell_word(run.path)}")


def _test_text(result: dict[str, Any], score: Score) -> str:
    loss = loss_text(score.loss, result["loss_includes_regularization"])
    return f"test accuracy {accuracy_text(score)}, {loss}, weights of epoch {result['weights_epoch']}"


def _for_board(score: Score | None) -> dict[str, float | None]:
    return {"loss": score.loss, "accuracy": score.accuracy, "accuracy_interval": score.interval} if score else {}


def _or_null(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
