"""Evaluate or predict with a saved network, as the Keras guides have it.

plain_keras_inference.py TASK MODEL.keras IMAGES.npz PART BATCH_SIZE
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np

TOP = 3


def evaluate(model: Any, data: Any, part: str, batch_size: int) -> dict[str, float]:
    images = data[f"{part}_images"].astype("float32") / 255
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"])
    found, accuracy = model.evaluate(images, data[f"{part}_labels"], batch_size=batch_size)
    return {"loss": float(found), "accuracy": float(accuracy)}


def predict(model: Any, data: Any, batch_size: int) -> list[dict[str, float]]:
    images = data["x_test"].astype("float32") / 255
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict(images, batch_size=batch_size)))
    best = np.argsort(-probabilities, axis=1)[:, :TOP]
    return [{str(label): float(row[label]) for label in chosen} for row, chosen in zip(probabilities, best, strict=True)]


def main() -> None:
    task, file, images, part, batch_size = sys.argv[1:]
    model, data = keras.models.load_model(file, compile=False), np.load(images)
    found = evaluate(model, data, part, int(batch_size)) if task == "evaluate" else predict(model, data, int(batch_size))
    print("\n" + json.dumps(found))


main()
