"""The head of the few-shot method `cosine_classifier`."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="cnnctl")
class CosineHead(keras.layers.Layer):
    """Cosine between an embedding and each class's weight vector, times a scale, (B, D) → (B, classes).

    S. Gidaris and N. Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting", section 3.2.

    Args:
        classes: number of classes.
        scale: cosines are between -1 and 1, so a softmax of them alone is almost uniform.
        seed: of the initial weights.
    """

    def __init__(self, classes: int, scale: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.scale = scale
        self.seed = seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the weight vectors of the classes."""
        initializer = keras.initializers.GlorotUniform(self.seed)
        self.kernel = self.add_weight(shape=(shape[-1], self.classes), initializer=initializer, name="kernel")

    def call(self, vectors: Any) -> Any:
        """Compute logits."""
        return self.scale * (keras.ops.normalize(vectors, axis=-1) @ keras.ops.normalize(self.kernel, axis=0))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "classes": self.classes, "scale": self.scale, "seed": self.seed}
