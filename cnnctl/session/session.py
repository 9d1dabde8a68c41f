"""One training from data to result; imported after TensorFlow is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from cnnctl.data.pipeline import as_read_error
from cnnctl.data.splits import fingerprint
from cnnctl.errors import CnnctlError, ConfigError, DataError, Interrupted, RunError, UsageError, counted
from cnnctl.few_shot.task import FewShot
from cnnctl.files import UNFINISHED, put_in_place
from cnnctl.model import build_model
from cnnctl.report.console import Console
from cnnctl.report.progress import progress_for, show_seconds
from cnnctl.report.rows import summarize
from cnnctl.report.tensorboard.observer import TensorBoardObserver, report_at, report_every
from cnnctl.report.text import accuracy_text, loss_text
from cnnctl.run_folder import MetricsFile, RunFolder, best_epoch
from cnnctl.session.classification import Classification
from cnnctl.session.environment import note_environment
from cnnctl.session.messages import diverged, done_of, interrupted
from cnnctl.session.run_files import PLACES, refuse_other_origin
from cnnctl.session.task import Part, Task
from cnnctl.session.trained_run import resume_command
from cnnctl.session.worker_checks import (
    AGAIN,
    RESUMED_BY_ALL,
    all_or_none,
    as_lost_worker_error,
    await_workers,
    refuse_other_images,
)
from cnnctl.spec.cluster import Cluster
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import has_penalties
from cnnctl.spec.oddities import last_batch_warning
from cnnctl.spec.section import plain
from cnnctl.surroundings import shell_word
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.device import choose_device
from cnnctl.train.distributed.replicas import Replicas
from cnnctl.train.distributed.strategy import chosen_strategy, refuse_unshareable, start
from cnnctl.train.loops import LOOPS
from cnnctl.train.memory_check import refuse_too_large
from cnnctl.train.observers import EpochRecord, Observer, Observers, Plan, Score, StepsRecord
from cnnctl.train.origin import Origin
from cnnctl.train.quiet import tell_of_end
from cnnctl.train.settings import resolve_auto, set_threads
from cnnctl.train.signals import Interruption
from cnnctl.train.stopping import Diverged, StopWhenNotFinite, StopWithoutProgress

NOT_ENOUGH_MEMORY = "there is not enough memory for this network and batch; lower train.batch_size, filters or image_size"


class Session:
    """Everything that one training needs, made in the order in which it can fail soonest.

    Args:
        experiment: a checked config.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        interruption: listens to signals.
        part_of: what the training is a part of; None for one by itself.
        cluster: who trains together, by `TF_CONFIG`.
    """

    def __init__(
        self,
        experiment: Experiment,
        device: str,
        console: Console,
        interruption: Interruption | None = None,
        part_of: Part | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.console = console
        self.interruption = interruption or Interruption()
        self.part_of = part_of
        self.device = choose_device(device)
        self.settings = resolve_auto(experiment, self.device, chosen_strategy(experiment, self.device, cluster))
        self.experiment = experiment = self.settings.experiment
        set_threads(self.settings.parts, self.device)
        self.workers = cluster if cluster and self.settings.strategy.value == "multi_worker" and len(cluster) > 1 else None
        self.replicas = self._start_replicas()
        with as_lost_worker_error(self.workers, AGAIN):
            with console.working("reading the data"), all_or_none(self.replicas, self.workers, "read its data"):
                self.task: Task = FewShot(experiment) if experiment.few_shot else Classification(experiment, self.replicas)
            self._build()
        stopping = experiment.train.early_stopping
        self.stopping = StopWithoutProgress(stopping, self.task.learner.model) if stopping else None
        self._test_fingerprint: str | None = None
        self._introduce()

    def _build(self) -> None:
        if self.device.kind == "cpu":  # a GPU has memory of its own
            refuse_too_large(self.experiment, min(self.task.batch_size, self.task.examples), training=True)
        try:
            self.task.build()
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise RunError(_too_large(self.experiment)) from error

    @property
    def is_chief(self) -> bool:
        """Returns whether this process writes the run folder."""
        return self.workers is None or self.workers.index == 0

    def _start_replicas(self) -> Replicas | None:
        strategy = str(self.settings.strategy.value)
        refuse_unshareable(strategy, self.experiment, self.device, self.workers)
        if self.workers:
            await_workers(self.workers, self.experiment, self.device, self.console)
        return start(strategy, self.device, self.workers)

    def _introduce(self) -> None:
        experiment, say = self.experiment, self.console.say
        summary = summarize(experiment)
        network = experiment.network
        size = f"{counted(len(network.nodes), 'layer')}, {counted(summary.trainable + summary.non_trainable, 'parameter')}"
        (_, data), *others = self.task.introduction()
        say(f"data    {data}")
        for note in self.task.splits.notes:
            say(f"        {note}")
        if warning := last_batch_warning(network.nodes, network.facts, self.task.examples, self.task.batch_size):
            say(f"        {warning}")
        say(f"model   {experiment.model.style}, {size}, {summary.macs:,} multiply-accumulates per image")
        for key, text in others:
            say(f"{key:<7} {text}")
        say(f"loop    {experiment.train.loop}, {self.settings}, on {self.device}")
        if self.replicas:
            say(
                f"        {counted(len(self.replicas), 'replica')}, each with its part of a batch of {counted(self.task.batch_size, 'image')}"
            )
        for reason in self.settings.reasons:
            say(f"        {reason}")

    def run(self, run: RunFolder, more_epochs: bool = False, written: str = "") -> None:
        """Trains, evaluates on the test split once, and writes the run folder.

        Args:
            run: a new folder, or that of a run to go on with.
            more_epochs: whether the run had fewer epochs: its config is written anew, and its result goes.
            written: the config as its user wrote it, for TensorBoard.

        Raises:
            Interrupted: Ctrl-C or another signal; it says what was saved.
            RunError: the loss was not finite, memory or disk were too small, or another worker has gone.
            DataError: the test split cannot be read.
        """
        self.console.say(f"run     {shell_word(run.path)}")
        if not self.part_of:  # else the process that started this one tells
            tell_of_end(f"Go on with: {resume_command(run)}")
        run.remove_unfinished()
        with _noted_where_it_stops(run):
            self._run_to_its_end(run, more_epochs, written)

    def _run_to_its_end(self, run: RunFolder, more_epochs: bool, written: str) -> None:
        with (
            contextlib.closing(self._board(run, written))
            if self.experiment.log.tensorboard
            else contextlib.nullcontext() as board
        ):
            checkpoints = self._checkpoints(run, board)
            try:
                with self._told(self._how_to_go_on(run)):
                    self._run(run, checkpoints, board, more_epochs)
            except KeyboardInterrupt as pressed:
                if not self.interruption.in_steps:
                    checkpoints.save_now()
                raise Interrupted(
                    interrupted(run, self._done(checkpoints), bool(self.workers)), self.interruption.signal
                ) from pressed

    def assist(self) -> None:
        """Trains as a worker that is not the chief: all is computed, and nothing written.

        Raises:
            CnnctlError: as `run`.
        """
        others = {"stopping": self.stopping} if self.stopping else {}
        checkpoints = Checkpoints(Path(), self.task.learner.model, self.task.learner.optimizer, others)
        tell_of_end(f"{AGAIN}, as the chief says")
        try:
            with self._told(RESUMED_BY_ALL):
                self._agree(checkpoints)
                self._train(checkpoints)
                self.interruption.leave_if_asked()
                self.task.test(self.task.splits.read_test())
                self._agree_on_end()
        except KeyboardInterrupt as pressed:
            raise Interrupted("interrupted; the chief tells what is saved", self.interruption.signal) from pressed
        except Diverged as error:
            raise RunError(f"{error}; the chief says since which layer") from error
        self.console.say("done    the chief reports the results; the run folder is on its machine alone, unless all share it")

    @contextlib.contextmanager
    def _told(self, how_to_go_on: str) -> Iterator[None]:
        """Tells what TensorFlow raises as what it is for people."""
        try:
            with as_lost_worker_error(self.workers, how_to_go_on), as_read_error(), self.interruption.passing_on():
                yield
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise RunError(_too_large(self.experiment)) from error

    def _how_to_go_on(self, run: RunFolder) -> str:
        return f"Go on with, in all workers: {resume_command(run)}" if self.workers else ""

    def _run(self, run: RunFolder, checkpoints: Checkpoints, board: TensorBoardObserver | None, more_epochs: bool) -> None:
        if not run.config.exists():
            run.write_config(self.experiment)  # before all else: with it the run can be gone on with
        checkpoints.restore()
        splits = self.task.splits
        begun = checkpoints.origin
        refuse_other_origin(run, begun, self.experiment)
        environment, notes = note_environment(
            run, begun.environment, self.device, self.settings, splits, len(self.replicas) if self.replicas else 1
        )
        self._agree(checkpoints)
        if more_epochs:  # not before all that may refuse the run
            run.result.unlink(missing_ok=True)  # first: with the new config and the old result it would pass for finished
        if begun.config and (more_epochs or self._has_moved(begun)):
            run.write_config(self.experiment)
        checkpoints.origin = Origin(plain(self.experiment), environment)
        for note in (*checkpoints.notes, *notes):
            self.console.say(f"        {note}")
        if done := self._done(checkpoints):
            self.console.say(f"        goes on after {done}")
        metrics = MetricsFile(run.metrics, checkpoints.rows)
        first = [metrics, *([board] if board else [])]
        last = [checkpoints, *([self.part_of.listener] if self.part_of else [])]  # what a checkpoint holds, all have heard
        run.stopped.unlink(missing_ok=True)  # not before all that may refuse the run
        try:
            self._train(checkpoints, first, last)
        except Diverged as error:
            where = self.task.insight().first_not_finite(self.task.whole_batch(error.step - 1))
            told = diverged(run, self._done(checkpoints), error, self.task.steps_per_epoch, where)
            raise RunError(told) from error
        self._finish(run, metrics.rows, board)
        self._agree_on_end()

    def _has_moved(self, begun: Origin) -> bool:
        """Returns whether the data is elsewhere than when the checkpoint was written."""
        return any(begun.config["data"].get(field) != getattr(self.experiment.data, field) for field in PLACES)

    def _agree(self, checkpoints: Checkpoints) -> None:
        """Lets all workers go on from the chief's checkpoint, with the same images."""
        if self.replicas and self.workers:
            self.interruption.share(self._anyone)
            self.interruption.leave_if_asked()
            content = self.replicas.decided_by_chief(checkpoints.restored)
            if not self.is_chief:
                checkpoints.load_bytes(content)
            refuse_other_images(self.replicas, self.task.splits)
        checkpoints.restored = b""  # nobody asks again, and it may be large

    def _anyone(self, asked: bool) -> bool:
        """Returns whether any worker says true; all call it at the same places, and leave where it is so."""
        assert self.replicas
        anyone = bool(self.replicas.gathered([asked]).any())
        if anyone:
            self.replicas.leave_together()
        return anyone

    def _agree_on_end(self) -> None:
        """Waits until all are through."""
        if self.replicas and self.workers:
            self.replicas.gathered([0])
            self.replicas.leave_together()

    def _board(self, run: RunFolder, written: str = "") -> TensorBoardObserver:
        compared_by = self.part_of.compared_by if self.part_of else {}
        return TensorBoardObserver(
            run.tensorboard,
            self.experiment,
            self.experiment.network.nodes,
            self.task.insight(),
            str(run.path),
            compared_by,
            written,
        )

    def _checkpoints(self, run: RunFolder, board: TensorBoardObserver | None) -> Checkpoints:
        learner, wish = self.task.learner, self.experiment.train.checkpoint
        candidates = {"stopping": self.stopping, "board": board}
        listeners = {name: listener for name, listener in candidates.items() if listener}
        often = (wish.every_steps, wish.every_minutes) if wish else (None, None)
        return Checkpoints(run.checkpoints, learner.model, learner.optimizer, listeners, *often, learner.averages)

    def _done(self, checkpoints: Checkpoints) -> str:
        return done_of(checkpoints, self.experiment.train.epochs, self.task.steps_per_epoch)

    def _train(self, checkpoints: Checkpoints, first: Sequence[Observer] = (), last: Sequence[Observer] = ()) -> None:
        """Runs the loop with everyone who listens: in every worker the progress and the stopping, and who is named besides."""
        with contextlib.closing(progress_for(self.console)) as progress:
            stopping = [self.stopping] if self.stopping else []
            everyone = [StopWhenNotFinite(), *first, progress, *stopping, *last, self.interruption]
            self._loop(len(checkpoints.rows), Observers(everyone), checkpoints.begun)

    def _loop(self, first_epoch: int, observer: Observer, begun: StepsRecord | None = None) -> None:
        experiment, train = self.experiment, self.experiment.train
        reason = self.stopping.reason() if self.stopping and first_epoch else None
        if reason:
            self.console.say(f"        had stopped: {reason}")
        epochs = first_epoch if reason else train.epochs
        task, steps = self.task, self.task.steps_per_epoch
        every, at = (report_every(experiment, steps), report_at(experiment)) if experiment.log.tensorboard else (0, ())
        saves = train.checkpoint.every_steps or 0 if train.checkpoint else 0
        plan = Plan(epochs, first_epoch, steps, task.examples, task.batch_size, every, at, saves, begun)
        LOOPS[train.loop](task.learner, task.training, task.validation(), plan, observer)

    def _finish(self, run: RunFolder, rows: list[EpochRecord], board: TensorBoardObserver | None) -> None:
        """Saves the network, then reads the test split for the one time."""
        _save_model(self.experiment, self.task.network, run)
        self.interruption.leave_if_asked()
        score = self._tested(run) if self.part_of is None or self.part_of.tested else None
        result = {key: _or_null(value) for key, value in self._result(rows, score).items()}
        if board:
            step = result["weights_epoch"] * self.task.steps_per_epoch
            board.finish(step, _for_board(score), self.task.answers(), result["weights"])
        run.write_json(run.result, result)
        if score and not self.part_of:
            self._conclude(run, result, score)

    def _tested(self, run: RunFolder) -> Score:
        with self.console.working("evaluating on the test split"):
            try:
                images = self.task.splits.read_test()
                self._test_fingerprint = fingerprint(images)
                return self.task.test(images)
            except DataError as error:
                hint = f"The training is saved; once that is mended: {resume_command(run)}"
                raise DataError(f"{error}. {hint}") from error

    def _result(self, rows: list[EpochRecord], score: Score | None) -> dict[str, Any]:
        seconds = sum(row.seconds for row in rows)
        kept, why = self._kept(rows)
        of_test = self.task.result(score or Score(math.nan, math.nan))
        return {
            **(of_test if score else dict.fromkeys(of_test)),
            "loss_includes_regularization": has_penalties(self.experiment),
            "weights_epoch": kept,
            "weights": why,
            "best_epoch": self.stopping.best_epoch if self.stopping else best_epoch(rows),
            "epochs": len(rows),
            "steps": rows[-1].step,
            "train_seconds": round(seconds, 3),
            "images_per_second": round(len(rows) * self.task.examples / seconds, 1),
            "parameters": self.task.network.count_params(),
            "test_fingerprint": self._test_fingerprint,
        }

    def _kept(self, rows: list[EpochRecord]) -> tuple[int, str]:
        """Returns the epoch whose weights the run leaves, and says why in words."""
        stopping, last = self.experiment.train.early_stopping, len(rows)
        kept = self.stopping.best_epoch if self.stopping and self.stopping.restores else last
        averaged = "; averaged weights (use_ema)" if self.experiment.train.optimizer.use_ema else ""
        if kept != last:
            assert stopping
            return kept, f"epoch {kept} of {last}: early stopping restored the best epoch by {stopping.monitor}{averaged}"
        return kept, f"epoch {kept} of {last}: the last epoch{self._why_last(kept)}{averaged}"

    def _why_last(self, last: int) -> str:
        """Returns, where the training could stop early, why the last epoch's weights were kept."""
        stopping = self.experiment.train.early_stopping
        if self.stopping is None or stopping is None:
            return ""
        if self.stopping.best_epoch == last:
            return f", the best by {stopping.monitor}"
        return f"; the best by {stopping.monitor} was epoch {self.stopping.best_epoch} (restore_best: false)"

    def _conclude(self, run: RunFolder, result: dict[str, Any], score: Score) -> None:
        say = self.console.result
        loss = loss_text(score.loss, result["loss_includes_regularization"])
        say(f"test    accuracy {accuracy_text(score)}, {loss}, on {self.task.tested_on()}")
        say(f"weights {result['weights']}")
        speed = f"{result['images_per_second']:,.0f} images per second"
        say(f"time    {show_seconds(result['train_seconds'])} of training, {counted(result['epochs'], 'epoch')}, {speed}")
        say(f"run     {shell_word(run.path)}")
        if self.experiment.log.tensorboard:
            say(f"see     tensorboard --logdir {shell_word(run.path)}")


@contextlib.contextmanager
def _noted_where_it_stops(run: RunFolder) -> Iterator[None]:
    """Leave in the run folder why a training ended before its end, for `cnnctl runs`; a wrong command is not the run's fault."""
    try:
        yield
    except (UsageError, ConfigError):
        raise
    except CnnctlError as error:
        run.note_stopped(error.state, str(error))
        raise
    except Exception as error:  # ours or a library's: whoever looks at the run should see it too
        run.note_stopped("failed", f"{type(error).__name__}: {error}")
        raise


def _for_board(score: Score | None) -> dict[str, float | None]:
    return {"loss": score.loss, "accuracy": score.accuracy, "accuracy_interval": score.interval} if score else {}


def _or_null(value: Any) -> Any:
    """Returns a result, or None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _too_large(experiment: Experiment) -> str:
    smaller = " and, for episodes, train_way, train_query or episodes_per_step" if experiment.few_shot else ""
    return f"{NOT_ENOUGH_MEMORY}{smaller}"


def _save_model(experiment: Experiment, trained: keras.Model, run: RunFolder) -> None:
    """Saves the network alone, whichever loop trained it: no optimizer, so that Keras needs nothing of ours to load it."""
    plain = build_model(experiment)
    plain.set_weights(trained.get_weights())
    beside = run.model.with_name(f".model{UNFINISHED}.keras")
    try:
        plain.save(beside)
        put_in_place(beside, run.model)
    except OSError as error:
        raise RunError(f"{run.model} cannot be written: {error.strerror}. Once there is room: {resume_command(run)}") from error
    finally:
        beside.unlink(missing_ok=True)
