"""The network of configs/mnist.yaml as a user of Keras writes it."""

from __future__ import annotations

from argparse import Namespace

import keras
from keras import layers


def network(image: tuple[int, ...], options: Namespace) -> keras.Model:
    """Build the network for images (H, W, C); its outputs are logits, as in the config."""
    first, second = options.filters
    return keras.Sequential(
        [
            keras.Input(image),
            layers.Conv2D(first, 3, padding=options.padding, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(second, 3, padding=options.padding, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
