"""TensorBoard; the only module that writes event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from cnnctl.errors import RunError
from cnnctl.train.observe import EndRecord, EpochRecord, Observer


class Events(Observer):
    """Writes scalars after each epoch, at the optimizer's step, to `train/` and `validation/`.

    Both have the tags `loss` and `accuracy`, so that TensorBoard draws them in one chart; `train/` also
    has `learning_rate` and `images_per_second`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def on_epoch(self, record: EpochRecord) -> None:
        """Writes the epoch's scalars."""
        train = {
            "loss": record.train_loss,
            "accuracy": record.train_accuracy,
            "learning_rate": record.learning_rate,
            "images_per_second": record.images_per_second,
        }
        self._write("train", record.step, train)
        if record.validation_loss is not None:
            self._write("validation", record.step, {"loss": record.validation_loss, "accuracy": record.validation_accuracy})

    def _write(self, part: str, step: int, scalars: Mapping[str, float | None]) -> None:
        try:
            if part not in self._writers:
                self._writers[part] = tf.summary.create_file_writer(str(self._folder / part))
            with self._writers[part].as_default(step=step):
                for tag, value in scalars.items():
                    tf.summary.scalar(tag, value)
            self._writers[part].flush()
        except tf.errors.OpError as error:
            raise RunError(f"TensorBoard's files in {self._folder} cannot be written: {error.message}") from error

    def on_end(self, record: EndRecord) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
