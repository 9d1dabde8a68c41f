"""Write what the inference of the plain scripts and `cnnctl predict` read: inference_files.py MODEL.keras FOLDER DATA NETWORK...

A file with images alone for each split, and the network of the plain Keras script with the weights of MODEL.keras, in float32
and in bfloat16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from plain import add_network
from plain_network import network


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("data")
    add_network(parser)
    options = parser.parse_args()
    data = np.load(options.data)
    for part in ("train", "test"):
        np.savez(options.folder / f"{part}-images.npz", x_test=data[f"{part}_images"])
    trained = keras.models.load_model(options.model, compile=False)
    for precision in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_global_policy(precision)
        model = network(data["test_images"].shape[1:], options)
        model.set_weights(trained.get_weights())
        model.save(options.folder / f"{precision}.keras")


main()
