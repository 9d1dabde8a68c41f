"""One training from data to result; imported after TensorFlow is."""

from __future__ import annotations

import contextlib
import shlex
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnctl.build import build_model
from cnnctl.build.optimizers import build_loss, build_optimizer
from cnnctl.commands.environment import note_environment
from cnnctl.commands.trained import resume_command
from cnnctl.data.pipeline import ordered_batches, preparation, steps_of, training_batches, training_sample
from cnnctl.data.sources import named_outputs
from cnnctl.data.splits import Splits, read_splits
from cnnctl.errors import DataError, Interrupted, RunError
from cnnctl.report.board import Answers, Board, report_at, report_every
from cnnctl.report.console import Console
from cnnctl.report.progress import progress_for, show_seconds
from cnnctl.report.rows import summarize
from cnnctl.runs import MetricsFile, RunFolder, best_epoch
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss, gives
from cnnctl.spec.load import facts_of
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.device import choose_device
from cnnctl.train.inference import outputs_of
from cnnctl.train.insight import Insight
from cnnctl.train.loops import LOOPS, Learner, compiled_evaluation
from cnnctl.train.observe import EpochRecord, Observer, Observers, Plan
from cnnctl.train.steps import build_metrics
from cnnctl.train.stopping import StopWhenNotFinite, StopWithoutProgress

NOT_ENOUGH_MEMORY = "there is not enough memory for this network and batch; lower train.batch_size, filters or image_size"

LOOKED_AT = 32
"""Training images that gradients and activations are computed for."""
JUDGED = 5_000
"""Images that the confusion matrix and the worst mistakes in TensorBoard are taken from."""


class Session:
    """Everything that one training needs, made in the order in which it can fail soonest."""

    def __init__(self, experiment: Experiment, device: str, console: Console) -> None:
        self.experiment = experiment
        self.console = console
        self.device = choose_device(device)
        with console.working("reading the data"):
            self.splits = read_splits(experiment.data)
        try:
            self.learner = self._learner()
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise RunError(NOT_ENOUGH_MEMORY) from error
        stopping = experiment.train.early_stopping
        self.stopping = StopWithoutProgress(stopping, self.learner.model) if stopping else None
        self._introduce()

    def _learner(self) -> Learner:
        experiment, train = self.experiment, self.experiment.train
        nodes, _ = facts_of(experiment)
        model = build_model(experiment)
        optimizer = build_optimizer(train.optimizer, self._steps_per_epoch(), train.epochs, train.precision)
        return Learner(model, optimizer, build_loss(chosen_loss(experiment, nodes)), build_metrics(experiment))

    def _steps_per_epoch(self) -> int:
        return steps_of(len(self.splits.train), self.experiment.train.batch_size)

    def _introduce(self) -> None:
        experiment, say = self.experiment, self.console.say
        summary = summarize(experiment)
        nodes, _ = facts_of(experiment)
        size = f"{len(nodes)} layers, {summary.trainable + summary.non_trainable:,} parameters"
        say(f"data    {_describe(self.splits, experiment)}")
        for note in self.splits.notes:
            say(f"        {note}")
        say(f"model   {experiment.model.style}, {size}, {summary.macs:,} multiply-accumulates an image")
        say(f"loss    {chosen_loss(experiment, nodes).why}")
        say(f"loop    {experiment.train.loop}, {experiment.train.precision}, on {self.device}")

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
        checkpoints = Checkpoints(run.checkpoints, self.learner.model, self.learner.optimizer, self.stopping)
        first_epoch = checkpoints.restore()
        if first_epoch:
            self.console.say(f"        goes on after epoch {first_epoch}")
        if not run.config.exists():
            run.write_config(self.experiment)
        note_environment(run, self.device, self.experiment.train.precision, self.splits.train, self.splits.class_names)
        with contextlib.closing(self._board(run)) if self.experiment.log.tensorboard else contextlib.nullcontext() as board:
            try:
                rows = self._train(run, first_epoch, checkpoints, board)
                self._finish(run, rows, board)
            except KeyboardInterrupt as pressed:
                raise Interrupted(_saved(run, len(checkpoints.rows), self.experiment.train.epochs)) from pressed
            except (MemoryError, tf.errors.ResourceExhaustedError) as error:
                raise RunError(NOT_ENOUGH_MEMORY) from error

    def _board(self, run: RunFolder) -> Board:
        nodes, _ = facts_of(self.experiment)
        prepare = preparation(self.experiment)
        images, labels = training_sample(self.splits.train, prepare, count=LOOKED_AT, seed=self.experiment.seed)
        insight = Insight(self.learner, nodes, images, labels)
        return Board(run.tensorboard, self.experiment, nodes, insight, str(run.path))

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
        prepare = preparation(experiment)
        steps = self._steps_per_epoch()
        every, at = (report_every(experiment, steps), report_at(experiment)) if experiment.log.tensorboard else (0, ())
        plan = Plan(epochs, first_epoch, steps, len(self.splits.train), train.batch_size, every, at)
        batches = training_batches(
            self.splits.train,
            prepare,
            batch_size=train.batch_size,
            seed=experiment.seed,
            first_epoch=first_epoch,
            epochs=max(epochs, first_epoch + 1),  # Keras wants to see a batch even where no epoch is left
        )
        validation = self.splits.validation
        held_out = ordered_batches(validation, prepare, train.batch_size) if validation else None
        LOOPS[train.loop](self.learner, batches, held_out, plan, observer)

    def _finish(self, run: RunFolder, rows: list[EpochRecord], board: Board | None) -> None:
        """Saves the network, then reads the test split for the one time."""
        _save_model(self.experiment, self.learner.model, run)
        with self.console.working("evaluating on the test split"):
            try:
                images = self.splits.read_test()
            except DataError as error:
                hint = f"The training is saved; once that is mended: {resume_command(run)}"
                raise DataError(f"{error}. {hint}") from error
            test = ordered_batches(images, preparation(self.experiment), self.experiment.train.batch_size)
            values = compiled_evaluation(self.learner)(test)
        assert values is not None
        result = self._result(rows, *values)
        if board:
            board.finish(result["steps"], {"loss": values[0], "accuracy": values[1]}, self._answers())
        run.write_json(run.result, result)
        self._conclude(run, result)

    def _answers(self) -> Answers:
        """Returns what the network says of validation images, or of training images without validation, at most `JUDGED`."""
        split, images = ("validation", self.splits.validation) if self.splits.validation else ("train", self.splits.train)
        some = images.take(np.arange(min(len(images), JUDGED)))
        outputs = outputs_of(
            self.learner.model, ordered_batches(some, preparation(self.experiment), self.experiment.train.batch_size)
        )
        nodes, _ = facts_of(self.experiment)
        probabilities = np.asarray(tf.nn.softmax(outputs)) if gives(nodes) == "logits" else outputs
        class_names = named_outputs(self.splits.class_names, self.experiment.data)
        return Answers(split, some.images, some.labels, probabilities, class_names)

    def _result(self, rows: list[EpochRecord], test_loss: float, test_accuracy: float) -> dict[str, Any]:
        seconds = sum(row.seconds for row in rows)
        return {
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "best_epoch": self.stopping.best_epoch if self.stopping else best_epoch(rows),
            "epochs": len(rows),
            "steps": rows[-1].step,
            "train_seconds": round(seconds, 3),
            "images_per_second": round(len(rows) * len(self.splits.train) / seconds, 1),
            "parameters": self.learner.model.count_params(),
        }

    def _conclude(self, run: RunFolder, result: dict[str, Any]) -> None:
        say = self.console.result
        accuracy, loss = result["test_accuracy"], result["test_loss"]
        say(f"test    accuracy {accuracy:.2%}, loss {loss:.4f}, on {self.splits.test_size:,} images")
        speed = f"{result['images_per_second']:,.0f} images a second"
        say(f"time    {show_seconds(result['train_seconds'])} of training, {result['epochs']} epochs, {speed}")
        say(f"run     {run.path}")
        if self.experiment.log.tensorboard:
            say(f"see     tensorboard --logdir {shlex.quote(str(run.tensorboard))}")


def _describe(splits: Splits, experiment: Experiment) -> str:
    data = experiment.data
    assert data.image_size and data.channels
    name = data.name or data.path or data.source
    validation = f", {len(splits.validation):,} validation" if splits.validation else ""
    shape = f"{data.image_size[0]}×{data.image_size[1]}×{data.channels}"
    counts = f"{len(splits.train):,} train{validation}, {splits.test_size:,} test"
    return f"{name}: {counts} images of {shape}, {data.classes} classes"


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
