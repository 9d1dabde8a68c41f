"""A layer of one's own for configs/custom-layer.yaml: squeeze and excitation (Hu et al. 2018)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="example")
class SqueezeExcitation(keras.layers.Layer):
    """Multiplies each channel by a number from 0 to 1, computed from the means of all channels.

    Args:
        ratio: channels per unit of the first dense layer.
        seed: seed of the initial weights; null to derive it from the seed of the config.
    """

    def __init__(self, ratio: int = 4, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ratio = ratio
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1] or 1
        units = max(channels // self.ratio, 1)
        # Two seeds, since initializers with equal seeds draw equal numbers.
        first, second = (None, None) if self.seed is None else (self.seed, self.seed + 1)
        draw = keras.initializers.GlorotUniform
        self.squeeze = self.add_weight((channels, units), initializer=draw(first), name="squeeze")
        self.excite = self.add_weight((units, channels), initializer=draw(second), name="excite")

    def call(self, inputs: Any) -> Any:
        means = ops.mean(inputs, axis=(1, 2))  # (B, C)
        hidden = ops.relu(ops.matmul(means, self.squeeze))  # (B, C / ratio)
        gates = ops.sigmoid(ops.matmul(hidden, self.excite))  # (B, C)
        return inputs * gates[:, None, None, :]  # (B, H, W, C)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ratio": self.ratio, "seed": self.seed}

    # The two methods below are cnnctl's, and may be left out: the summary then shows "?".

    def macs(self, input_shape: tuple[int | None, ...]) -> int:
        """Return the MACs (multiply-accumulate operations) per image."""
        return 2 * self.squeeze.shape[0] * self.squeeze.shape[1]

    def window(self, input_shape: tuple[int | None, ...]) -> str:
        """Say what a value of the output depends on: `value`, `position`, `all`, or a window."""
        return "all"
