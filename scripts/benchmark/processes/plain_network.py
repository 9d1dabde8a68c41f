"""The networks as a user of Keras writes them. All output logits, as in the configs, in float32 whatever the precision."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import keras
from keras import layers


def network(image: tuple[int, ...], options: Namespace) -> keras.Model:
    """Build the network of `--network` for images (H, W, C)."""
    return NETWORKS[options.network](image, options)


def mnist(image: tuple[int, ...], options: Namespace) -> keras.Model:
    """Build the network of configs/mnist.yaml, or for --growth a wider or deeper one."""
    first, second = (round(options.width * filters) for filters in (32, 64))
    return keras.Sequential(
        [
            keras.Input(image),
            layers.Conv2D(first, 3, padding=options.padding, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(second, 3, padding=options.padding, activation="relu"),
            layers.MaxPooling2D(2),
            *(layers.Conv2D(second, 3, padding="same", activation="relu") for _ in range(2, options.depth)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, dtype="float32"),
        ]
    )


def mnist_best(image: tuple[int, ...], options: Namespace) -> keras.Model:
    """Build the network of configs/mnist-best.yaml: six convolutions with batch normalization."""
    return keras.Sequential(
        [
            keras.Input(image),
            *normalized(32, options.padding),
            *normalized(32, options.padding),
            layers.MaxPooling2D(2),
            *normalized(64, "same"),
            *normalized(64, "same"),
            layers.MaxPooling2D(2),
            *normalized(128, "same"),
            *normalized(128, options.padding),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(10, dtype="float32"),
        ]
    )


def normalized(filters: int, padding: str) -> list[Any]:
    """Make a convolution with ReLU, and batch normalization."""
    return [layers.Conv2D(filters, 3, padding=padding, activation="relu"), layers.BatchNormalization()]


def mobilenet(image: tuple[int, ...], options: Namespace) -> keras.Model:
    """Build the network of configs/mobilenet.yaml: blocks with depthwise convolutions."""
    inputs = keras.Input(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Add()([x, inverted(x, 64, 16)])
    x = inverted(x, 64, 24, strides=2)
    x = layers.Add()([x, inverted(x, 96, 24)])
    x = inverted(x, 96, 40, strides=2)
    x = layers.Add()([x, inverted(x, 160, 40)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, dtype="float32")(x))


def inverted(x: Any, expanded: int, filters: int, strides: int = 1) -> Any:
    """Expand the channels, filter each, and reduce them: the block of MobileNetV2."""
    x = layers.Conv2D(expanded, 1, use_bias=False)(x)
    x = layers.ReLU(6)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
    x = layers.ReLU(6)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2D(filters, 1, use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


NETWORKS = {"mnist": mnist, "mnist-best": mnist_best, "mobilenet": mobilenet}
