"""TensorBoard; the only module that writes event files."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from cnnctl.train.observe import EndRecord, EpochRecord, Observer


class Events(Observer):
    """Writes scalars after each epoch, at the optimizer's step, to `train/` and `validation/`.

    Both have the tags `loss` and `accuracy`, so that TensorBoard draws them in one chart; `train/` also
    has `learning_rate` and `images_per_second`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._train = tf.summary.create_file_writer(str(folder / "train"))
        self._validation: tf.summary.SummaryWriter | None = None

    def on_epoch(self, record: EpochRecord) -> None:
        """Writes the epoch's scalars."""
        with self._train.as_default(step=record.step):
            tf.summary.scalar("loss", record.train_loss)
            tf.summary.scalar("accuracy", record.train_accuracy)
            tf.summary.scalar("learning_rate", record.learning_rate)
            tf.summary.scalar("images_per_second", record.images_per_second)
        self._train.flush()
        if record.validation_loss is not None:
            self._write_validation(record)

    def _write_validation(self, record: EpochRecord) -> None:
        if self._validation is None:
            self._validation = tf.summary.create_file_writer(str(self._folder / "validation"))
        with self._validation.as_default(step=record.step):
            tf.summary.scalar("loss", record.validation_loss)
            tf.summary.scalar("accuracy", record.validation_accuracy)
        self._validation.flush()

    def on_end(self, record: EndRecord) -> None:
        """Closes the files."""
        self._train.close()
        if self._validation is not None:
            self._validation.close()
