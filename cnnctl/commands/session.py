"""One training from data to result; imported after TensorFlow is."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.build import build_model
from cnnctl.commands.classification import Classification
from cnnctl.commands.environment import note_environment
from cnnctl.commands.few_shot import FewShot
from cnnctl.commands.trained import resume_command
from cnnctl.data.sources import ImageSet
from cnnctl.data.splits import Splits
from cnnctl.errors import DataError, Interrupted, RunError
from cnnctl.report.board import Answers, Board, report_at, report_every
from cnnctl.report.console import Console
from cnnctl.report.progress import progress_for, show_seconds
from cnnctl.report.rows import summarize
from cnnctl.runs import MetricsFile, RunFolder, best_epoch
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import facts_of
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.device import choose_device
from cnnctl.train.insight import Insight
from cnnctl.train.loops import LOOPS
from cnnctl.train.observe import EpochRecord, Observer, Observers, Plan, Score
from cnnctl.train.settings import set_threads, settle
from cnnctl.train.stopping import StopWhenNotFinite, StopWithoutProgress

NOT_ENOUGH_MEMORY = "there is not enough memory for this network and batch; lower train.batch_size, filters or image_size"


class Task(Protocol):
    """What is trained on what, and how it is judged.

    Attributes:
        splits: the data.
        network: built, as the config says it; its weights are what a run leaves.
        learner: what is trained.
        examples: training images an epoch.
        batch_size: images a step.
        steps_per_epoch: batches an epoch.
    """

    splits: Splits
    network: keras.Model
    learner: Any
    examples: int
    batch_size: int
    steps_per_epoch: int

    def build(self) -> None:
        """Builds network and learner; called once."""
        ...

    def introduction(self) -> list[tuple[str, str]]:
        """Returns what a person should know before the training, a key and a text a line; the data comes first."""
        ...

    def training(self, first_epoch: int, epochs: int) -> tf.data.Dataset:
        """Returns the batches from one epoch, counted from 0, to before another."""
        ...

    def validation(self) -> Any | None:
        """Returns what the learner's evaluation takes; None for no validation."""
        ...

    def insight(self) -> Insight:
        """Returns what looks into the network."""
        ...

    def test(self, images: ImageSet) -> Score:
        """Returns how the learner does on the test split."""
        ...

    def tested_on(self) -> str:
        """Returns what the test was, for people."""
        ...

    def result(self, score: Score) -> dict[str, Any]:
        """Returns what result.json says of the test."""
        ...

    def answers(self) -> Answers | None:
        """Returns what the network says of images, for pictures at the end; None where it names no classes."""
        ...


class Session:
    """Everything that one training needs, made in the order in which it can fail soonest."""

    def __init__(self, experiment: Experiment, device: str, console: Console) -> None:
        self.console = console
        self.device = choose_device(device)
        self.settings = settle(experiment, self.device)
        self.experiment = experiment = self.settings.experiment
        set_threads(self.settings.parts, self.device)
        with console.working("reading the data"):
            self.task: Task = FewShot(experiment) if experiment.few_shot else Classification(experiment)
        try:
            self.task.build()
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise RunError(_too_large(experiment)) from error
        stopping = experiment.train.early_stopping
        self.stopping = StopWithoutProgress(stopping, self.task.learner.model) if stopping else None
        self._introduce()

    def _introduce(self) -> None:
        experiment, say = self.experiment, self.console.say
        summary = summarize(experiment)
        nodes, _ = facts_of(experiment)
        size = f"{len(nodes)} layers, {summary.trainable + summary.non_trainable:,} parameters"
        (_, data), *others = self.task.introduction()
        say(f"data    {data}")
        for note in self.task.splits.notes:
            say(f"        {note}")
        say(f"model   {experiment.model.style}, {size}, {summary.macs:,} multiply-accumulates an image")
        for key, text in others:
            say(f"{key:<7} {text}")
        say(f"loop    {experiment.train.loop}, {self.settings}, on {self.device}")
        for reason in self.settings.reasons:
            say(f"        {reason}")

    def run(self, run: RunFolder) -> None:
        """Trains, evaluates on the test split once, and writes the run folder.

        Args:
            run: a new folder, or that of a run to go on with.

        Raises:
            Interrupted: Ctrl-C; it says what was saved.
            RunError: the loss was not finite, or memory or disk were too small.
            DataError: the test split cannot be read.
        """
        self.console.say(f"run     {run.path}")
        learner = self.task.learner
        checkpoints = Checkpoints(run.checkpoints, learner.model, learner.optimizer, self.stopping)
        first_epoch = checkpoints.restore()
        if first_epoch:
            self.console.say(f"        goes on after epoch {first_epoch}")
        if not run.config.exists():
            run.write_config(self.experiment)
        note_environment(run, self.device, self.settings, self.task.splits.train, self.task.splits.class_names)
        with contextlib.closing(self._board(run)) if self.experiment.log.tensorboard else contextlib.nullcontext() as board:
            try:
                rows = self._train(run, first_epoch, checkpoints, board)
                self._finish(run, rows, board)
            except KeyboardInterrupt as pressed:
                raise Interrupted(_saved(run, len(checkpoints.rows), self.experiment.train.epochs)) from pressed
            except (MemoryError, tf.errors.ResourceExhaustedError) as error:
                raise RunError(_too_large(self.experiment)) from error

    def _board(self, run: RunFolder) -> Board:
        nodes, _ = facts_of(self.experiment)
        return Board(run.tensorboard, self.experiment, nodes, self.task.insight(), str(run.path))

    def _train(self, run: RunFolder, first_epoch: int, checkpoints: Checkpoints, board: Board | None) -> list[EpochRecord]:
        """Runs the loop with everyone who listens; returns the rows of metrics.csv."""
        metrics = MetricsFile(run.metrics, checkpoints.rows)
        progress = progress_for(self.console)
        others = [observer for observer in (board, progress, self.stopping) if observer]
        try:  # the checkpoint comes last: what it holds, all others have heard
            self._loop(first_epoch, Observers([StopWhenNotFinite(), metrics, *others, checkpoints]))
        finally:
            progress.close()
        return metrics.rows

    def _loop(self, first_epoch: int, observer: Observer) -> None:
        experiment, train = self.experiment, self.experiment.train
        stopped = self.stopping is not None and first_epoch > 0 and self.stopping.reason() is not None
        epochs = first_epoch if stopped else train.epochs
        task, steps = self.task, self.task.steps_per_epoch
        every, at = (report_every(experiment, steps), report_at(experiment)) if experiment.log.tensorboard else (0, ())
        plan = Plan(epochs, first_epoch, steps, task.examples, task.batch_size, every, at)
        batches = task.training(first_epoch, max(epochs, first_epoch + 1))  # Keras wants a batch even where no epoch is left
        LOOPS[train.loop](task.learner, batches, task.validation(), plan, observer)

    def _finish(self, run: RunFolder, rows: list[EpochRecord], board: Board | None) -> None:
        """Saves the network, then reads the test split for the one time."""
        _save_model(self.experiment, self.task.network, run)
        with self.console.working("evaluating on the test split"):
            try:
                score = self.task.test(self.task.splits.read_test())
            except DataError as error:
                hint = f"The training is saved; once that is mended: {resume_command(run)}"
                raise DataError(f"{error}. {hint}") from error
        result = self._result(rows, score)
        if board:
            values = {"loss": score.loss, "accuracy": score.accuracy, "accuracy_interval": score.interval}
            board.finish(result["steps"], values, self.task.answers())
        run.write_json(run.result, result)
        self._conclude(run, result, score)

    def _result(self, rows: list[EpochRecord], score: Score) -> dict[str, Any]:
        seconds = sum(row.seconds for row in rows)
        return {
            **self.task.result(score),
            "best_epoch": self.stopping.best_epoch if self.stopping else best_epoch(rows),
            "epochs": len(rows),
            "steps": rows[-1].step,
            "train_seconds": round(seconds, 3),
            "images_per_second": round(len(rows) * self.task.examples / seconds, 1),
            "parameters": self.task.network.count_params(),
        }

    def _conclude(self, run: RunFolder, result: dict[str, Any], score: Score) -> None:
        say = self.console.result
        interval = "" if score.interval is None else f" ± {100 * score.interval:.2f} %"
        say(f"test    accuracy {score.accuracy:.2%}{interval}, loss {score.loss:.4f}, on {self.task.tested_on()}")
        speed = f"{result['images_per_second']:,.0f} images a second"
        say(f"time    {show_seconds(result['train_seconds'])} of training, {result['epochs']} epochs, {speed}")
        say(f"run     {run.path}")
        if self.experiment.log.tensorboard:
            say(f"see     tensorboard --logdir {shlex.quote(str(run.tensorboard))}")


def _too_large(experiment: Experiment) -> str:
    smaller = " and, for episodes, train_way, train_query or episodes_per_step" if experiment.few_shot else ""
    return f"{NOT_ENOUGH_MEMORY}{smaller}"


def _saved(run: RunFolder, epochs: int, of: int) -> str:
    saved = f"the first {epochs} of {of} epochs are saved" if epochs else "no epoch was finished"
    return f"interrupted; {saved}. Go on with: {resume_command(run)}"


def _save_model(experiment: Experiment, trained: keras.Model, run: RunFolder) -> None:
    """Saves the network alone, whichever loop trained it: no optimizer, so that Keras needs nothing of ours to load it."""
    plain = build_model(experiment)
    plain.set_weights(trained.get_weights())
    beside = run.model.with_name(".part.keras")
    try:
        plain.save(beside)
        beside.replace(run.model)
    except OSError as error:
        raise RunError(f"{run.model} cannot be written: {error.strerror}. Once there is room: {resume_command(run)}") from error
    finally:
        beside.unlink(missing_ok=True)
