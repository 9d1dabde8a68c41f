"""One training from data to result: `prepare`, then `train`, which ends with `finish`; imported after TensorFlow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from cnnctl.data.pipeline import as_read_error
from cnnctl.errors import CnnctlError, ConfigError, Interrupted, RunError, UsageError
from cnnctl.model.styles import layers_of
from cnnctl.report.console import Console
from cnnctl.report.curves import CurvesFile, Training, name_of
from cnnctl.report.progress import progress_for
from cnnctl.report.tensorboard.observer import TensorBoardObserver, report_at, report_every
from cnnctl.run_folder import MetricsFile, RunFolder, resume_command
from cnnctl.session.environment import NotedData, note_environment
from cnnctl.session.finish import finish
from cnnctl.session.messages import diverged, done_of, interrupted, introduction
from cnnctl.session.run_files import PLACES, refuse_other_origin
from cnnctl.session.snapshots import SnapshotFiles
from cnnctl.session.state import MakeTask, Part, Session
from cnnctl.session.trial_steps import measured_speeds
from cnnctl.session.workers import AGAIN, RESUMED_BY_ALL, start_workers
from cnnctl.spec.cluster import Cluster
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.optimizers import constant_rate
from cnnctl.spec.section import plain
from cnnctl.surroundings import shell_word
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.device import choose_device
from cnnctl.train.distributed.strategy import chosen_strategy
from cnnctl.train.loops import LOOPS
from cnnctl.train.memory_check import as_memory_error, refuse_too_large, smaller_training
from cnnctl.train.observers import EpochRecord, Observer, Observers, Plan
from cnnctl.train.origin import Origin
from cnnctl.train.plateau import ReduceLearningRate
from cnnctl.train.quiet import set_last_message
from cnnctl.train.rehearsal import Rehearsal
from cnnctl.train.settings import resolve_auto, set_threads
from cnnctl.train.signals import Interruption
from cnnctl.train.stopping import Diverged, StopWhenNotFinite, StopWithoutProgress


def prepare(
    experiment: Experiment,
    make_task: MakeTask,
    device: str,
    console: Console,
    interruption: Interruption | None = None,
    part_of: Part | None = None,
    cluster: Cluster | None = None,
    resumed: bool = False,
) -> Session:
    """Read the data and build the network; what can fail soonest comes first.

    Args:
        experiment: a checked config.
        make_task: reads the data and makes the task.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        interruption: receives signals.
        part_of: what the training is a part of; None for one by itself.
        cluster: the workers of `TF_CONFIG`.
        resumed: the run was started before.

    Raises:
        CnnctlError: the device, the workers, the data or the memory do not suit the config.
    """
    chosen = choose_device(device)
    # A trial of a sweep goes by rules: others compute beside it, and it must equal the same training by itself.
    measure = None if part_of else partial(measured_speeds, say=console.say)
    settings = resolve_auto(experiment, chosen, chosen_strategy(experiment, chosen, cluster), measure)
    experiment = settings.experiment
    set_threads(settings.parts, chosen)
    workers = start_workers(str(settings.strategy.value), experiment, chosen, cluster, console)
    with workers.as_lost_worker_error(AGAIN):
        with console.working("reading the data"), workers.all_or_none("read its data"):
            task = make_task(experiment, workers.replicas)
        noted = NotedData(task.splits, described=workers.is_chief and not resumed)
        if chosen.kind == "cpu":  # a GPU has memory of its own
            refuse_too_large(experiment, min(task.batch_size, task.examples), training=True)
        with as_memory_error(smaller_training(experiment)):
            task.build()
    spec = experiment.train.early_stopping
    stopping = StopWithoutProgress(spec, task.learner.model) if spec else None
    listening = interruption or Interruption()
    session = Session(experiment, settings, chosen, workers, task, noted, stopping, console, listening, part_of)
    for line in introduction(session):
        console.say(line)
    return session


def train(session: Session, run: RunFolder, more_epochs: bool = False, written: str = "") -> None:
    """Train, evaluate on the test split once, and write the run folder.

    Args:
        session: from `prepare`, of the chief.
        run: a new folder, or that of the run to resume.
        more_epochs: the run had fewer epochs; its config is written again, and its result is removed.
        written: the config as its user wrote it, for TensorBoard.

    Raises:
        Interrupted: Ctrl-C or another signal; the message names what was saved.
        RunError: the loss was not finite, memory or disk were too small, or another worker ended.
        DataError: images cannot be read.
    """
    session.console.say(f"run     {shell_word(run.path)}")
    if not session.part_of:  # else the process that started this one reports its end
        set_last_message(f"Resume with: {resume_command(run)}")
    run.remove_unfinished()
    task = session.task
    with _noting_why_it_stopped(run), _tensorboard(session, run, written) as board:
        checkpoints = _checkpoints(session, run, board)
        with _saving_on_interruption(session, run, checkpoints), _as_errors(session, _how_to_resume(session, run)):
            metrics = _restore(session, run, checkpoints, more_epochs)
            # Listeners with a state come before the checkpoints, which save that state; and files before the checkpoint whose
            # epoch would not be trained again after a kill.
            curves = _curves(session, run, metrics)
            first = [metrics, curves, *_snapshots(session, run), *([board] if board else [])]
            alone = session.workers.replicas is None  # replicas compute together, and not beside a step
            rehearsal = Rehearsal([task.rehearse, *([board.rehearse] if board else [])] if alone else [])
            last = [checkpoints, *([session.part_of.listener] if session.part_of else []), rehearsal]
            with (
                _as_diverged(session, run, checkpoints),
                rehearsal,
                _observers(session, checkpoints, first, last) as observers,
            ):
                plan = plan_of(session, checkpoints)
                LOOPS[session.experiment.train.loop](task.learner, task.training, task.validation(), plan, observers)
            finish(session, run, metrics.rows, board, curves)
            session.workers.agree_on_end()


def assist(session: Session) -> None:
    """Train as a worker that is not the chief: compute everything, and write nothing.

    Raises:
        CnnctlError: as `train`.
    """
    task, stopping = session.task, {"stopping": session.stopping} if session.stopping else {}
    checkpoints = Checkpoints(Path(), task.learner.model, task.learner.optimizer, stopping)
    set_last_message(f"{AGAIN}, as the chief reports")
    try:
        with _as_errors(session, RESUMED_BY_ALL):
            session.workers.agree_on_start(checkpoints, session.noted_data, session.interruption)
            with _observers(session, checkpoints) as observers:
                plan = plan_of(session, checkpoints)
                LOOPS[session.experiment.train.loop](task.learner, task.training, task.validation(), plan, observers)
            session.interruption.leave_if_asked()
            task.test(task.splits.read_test())
            session.workers.agree_on_end()
    except KeyboardInterrupt as pressed:
        raise Interrupted("interrupted; the chief reports what is saved", session.interruption.signal) from pressed
    except Diverged as error:
        raise RunError(f"{error}; the chief reports the layer where it began") from error
    session.console.say("done    the chief reports the results, and has written the run folder on its machine")


def plan_of(session: Session, checkpoints: Checkpoints | None = None) -> Plan:
    """Plan the epochs that are left; none are if an earlier process stopped early.

    Args:
        session: what is trained.
        checkpoints: what is done already; None for nothing.
    """
    experiment, task, train = session.experiment, session.task, session.experiment.train
    first_epoch = len(checkpoints.rows) if checkpoints else 0
    reason = session.stopping.reason() if session.stopping and first_epoch else None
    if reason:
        session.console.say(f"        already stopped early: {reason}")
    shown = experiment.log.tensorboard
    return Plan(
        epochs=first_epoch if reason else train.epochs,
        first_epoch=first_epoch,
        steps_per_epoch=task.steps_per_epoch,
        examples=task.examples,
        batch_size=task.batch_size,
        report_every=report_every(experiment, task.steps_per_epoch) if shown else 0,
        report_at=report_at(experiment) if shown else (),
        save_every=train.checkpoint.every_steps or 0 if train.checkpoint else 0,
        partial_epoch=checkpoints.partial_epoch if checkpoints else None,
    )


def board_of(session: Session, run: RunFolder, written: str = "") -> TensorBoardObserver:
    """Make the observer that writes TensorBoard's event files; arguments as in `train`."""
    compared_by = session.part_of.compared_by if session.part_of else {}
    return TensorBoardObserver(
        run.tensorboard,
        session.experiment,
        session.experiment.network.nodes,
        session.task.diagnostics(),
        str(run.path),
        compared_by,
        written,
    )


@contextlib.contextmanager
def _tensorboard(session: Session, run: RunFolder, written: str) -> Iterator[TensorBoardObserver | None]:
    if session.experiment.log.tensorboard:
        with contextlib.closing(board_of(session, run, written)) as board:
            yield board
    else:
        yield None


def _curves(session: Session, run: RunFolder, metrics: MetricsFile) -> CurvesFile:
    train = session.experiment.train
    return CurvesFile(run.curves, Training(name_of(run.path), train.epochs, list(metrics.rows), train.early_stopping))


def _snapshots(session: Session, run: RunFolder) -> list[SnapshotFiles]:
    count, nodes = session.experiment.log.snapshots, session.experiment.network.nodes
    layers = layers_of(session.task.network, [node for node in nodes if not node.shares])
    return [SnapshotFiles(run, layers, count)] if count else []


def _checkpoints(session: Session, run: RunFolder, board: TensorBoardObserver | None) -> Checkpoints:
    learner, spec = session.task.learner, session.experiment.train.checkpoint
    candidates = {"stopping": session.stopping, "board": board}
    listeners = {name: listener for name, listener in candidates.items() if listener}
    due = (spec.every_steps, spec.every_minutes) if spec else (None, None)
    return Checkpoints(run.checkpoints, learner.model, learner.optimizer, listeners, *due, learner.averages)


def _restore(session: Session, run: RunFolder, checkpoints: Checkpoints, more_epochs: bool) -> MetricsFile:
    """Restore the newest checkpoint and the files of the run; refuse the run before anything of it changes.

    Returns:
        metrics.csv with the epochs that are done.
    """
    experiment, say = session.experiment, session.console.say
    if not run.config.exists():
        run.write_config(experiment)  # first of all: with it the run can be resumed
    checkpoints.restore()
    origin = checkpoints.origin
    refuse_other_origin(run, origin, experiment)
    replicas = len(session.workers.replicas) if session.workers.replicas else 1
    environment, notes = note_environment(
        run, origin.environment, session.device, session.settings, session.noted_data, replicas
    )
    session.workers.agree_on_start(checkpoints, session.noted_data, session.interruption)
    if more_epochs:
        run.result.unlink(missing_ok=True)  # before the config: with the new config and the old result the run looks finished
    if origin.config and (more_epochs or _has_moved(origin, experiment)):
        run.write_config(experiment)
    checkpoints.origin = Origin(plain(experiment), environment)
    for note in (*checkpoints.notes, *notes):
        say(f"        {note}")
    if done := _done(session, checkpoints):
        say(f"        resumes after {done}")
    run.stopped.unlink(missing_ok=True)
    return MetricsFile(run.metrics, checkpoints.rows)


def _has_moved(origin: Origin, experiment: Experiment) -> bool:
    """Find out whether the data has another place than when the checkpoint was written."""
    return any(origin.config["data"].get(field) != getattr(experiment.data, field) for field in PLACES)


def _done(session: Session, checkpoints: Checkpoints) -> str:
    return done_of(checkpoints, session.experiment.train.epochs, session.task.steps_per_epoch)


@contextlib.contextmanager
def _observers(
    session: Session, checkpoints: Checkpoints, first: Sequence[Observer] = (), last: Sequence[Observer] = ()
) -> Iterator[Observers]:
    """Give the observers of a training in their order: those of every worker, with the chief's own first and last."""
    with contextlib.closing(progress_for(session.console)) as progress:
        stopping = [session.stopping] if session.stopping else []
        # After the checkpoints, which save the learning rate of the steps that are done.
        reducing = reducing_of(session, checkpoints.rows, progress.note)
        yield Observers([StopWhenNotFinite(), *first, progress, *stopping, *last, *reducing, session.interruption])


def reducing_of(
    session: Session, done: Sequence[EpochRecord] = (), say: Callable[[str], None] = lambda text: None
) -> list[ReduceLearningRate]:
    """Make the observer that reduces the learning rate, if the config asks for it; `done` are the epochs that are done."""
    train = session.experiment.train
    if train.reduce_on_plateau is None:
        return []
    initial = constant_rate(train.optimizer.learning_rate)
    assert initial is not None  # checked
    return [ReduceLearningRate(train.reduce_on_plateau, session.task.learner.optimizer, initial, done, say)]


# Errors


@contextlib.contextmanager
def _as_errors(session: Session, how_to_resume: str) -> Iterator[None]:
    """Raise what TensorFlow raises as errors with one clear message."""
    with (
        as_memory_error(smaller_training(session.experiment)),
        session.workers.as_lost_worker_error(how_to_resume),
        as_read_error(),
        session.interruption.passing_on(),
    ):
        yield


def _how_to_resume(session: Session, run: RunFolder) -> str:
    return f"Resume with, in all workers: {resume_command(run)}" if session.workers.cluster else ""


@contextlib.contextmanager
def _saving_on_interruption(session: Session, run: RunFolder, checkpoints: Checkpoints) -> Iterator[None]:
    """Save the last step when a signal comes, and raise Interrupted."""
    try:
        yield
    except KeyboardInterrupt as pressed:
        if not session.interruption.in_steps:  # else a step was cut short, and the weights are those of no step
            checkpoints.save_now()
        message = interrupted(run, _done(session, checkpoints), bool(session.workers.cluster))
        raise Interrupted(message, session.interruption.signal) from pressed


@contextlib.contextmanager
def _as_diverged(session: Session, run: RunFolder, checkpoints: Checkpoints) -> Iterator[None]:
    """Add to the message of a non-finite loss in which layer it began, and what is saved."""
    try:
        yield
    except Diverged as error:
        task = session.task
        first = task.diagnostics().first_not_finite(task.whole_batch(error.step - 1))
        raise RunError(diverged(run, _done(session, checkpoints), error, task.steps_per_epoch, first)) from error


@contextlib.contextmanager
def _noting_why_it_stopped(run: RunFolder) -> Iterator[None]:
    """Write to the run folder why a training stopped, for `cnnctl runs`; a wrong command is not the run's failure."""
    try:
        yield
    except (UsageError, ConfigError):
        raise
    except CnnctlError as error:
        run.note_stopped(error.state, str(error))
        raise
    except Exception as error:  # a bug of cnnctl or of a library
        run.note_stopped("failed", f"{type(error).__name__}: {error}")
        raise
