"""A training as the Keras site's first example has it: float32 arrays in memory, `fit` with validation, `evaluate`.

After https://keras.io/examples/vision/mnist_convnet/, which ends in a softmax and takes one-hot labels; here the loss takes
logits and integer labels, as that of the config does. Everything else, such as XLA, has the defaults of Keras; `--precision`
sets Keras's policy, such as mixed_bfloat16.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from plain import Stopwatch, arguments, report
from plain_network import network


class Timing(keras.callbacks.Callback):
    """Measure the steps, without the time between epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Stopwatch()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.watch.begin()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.watch.lap()


def main() -> None:
    options = arguments()
    data = np.load(options.data)
    train, validation, test = (data[f"{part}_images"].astype("float32") / 255 for part in ("train", "validation", "test"))
    keras.mixed_precision.set_global_policy(options.precision)
    model = network(train.shape[1:], options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
    timing = Timing()
    model.fit(
        train,
        data["train_labels"],
        batch_size=options.batch_size,
        epochs=options.epochs,
        validation_data=(validation, data["validation_labels"]),
        callbacks=[timing],
    )
    _, accuracy = model.evaluate(test, data["test_labels"])
    device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    report(timing.watch, len(train), float(accuracy), device, options.precision)


main()
