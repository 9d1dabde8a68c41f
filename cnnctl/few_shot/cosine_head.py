"""The head of the few-shot learner `classifier`."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="cnnctl")
class CosineHead(keras.layers.Layer):
    """Gives the cosine between a vector and each class's own vector, times a scale, (B, D) → (B, classes).

    S. Gidaris and N. Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting", section 3.2.

    Args:
        classes: how many there are.
        scale: cosines lie between -1 and 1, and a softmax of them alone could not be sure.
        seed: of the initial vectors.
    """

    def __init__(self, classes: int, scale: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.scale = scale
        self.seed = seed

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Makes the vectors of the classes."""
        initializer = keras.initializers.GlorotUniform(self.seed)
        self.kernel = self.add_weight(shape=(shape[-1], self.classes), initializer=initializer, name="kernel")

    def call(self, vectors: Any) -> Any:
        """Returns logits."""
        return self.scale * (keras.ops.normalize(vectors, axis=-1) @ keras.ops.normalize(self.kernel, axis=0))

    def get_config(self) -> dict[str, Any]:
        """Returns what `__init__` takes."""
        return {**super().get_config(), "classes": self.classes, "scale": self.scale, "seed": self.seed}
