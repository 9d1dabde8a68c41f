"""The section `train`: loop, optimizer, loss, precision and devices."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from cnnctl.spec.optimizers import OPTIMIZER, Adam
from cnnctl.spec.section import MAX, Count, Named, Section, expected, is_integer, wrong


class SparseCategoricalCrossentropy(Section):
    kind: ClassVar[str] = "sparse_categorical_crossentropy"
    from_logits: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _cannot_smooth(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "label_smoothing" in fields:
            raise wrong(
                "integer labels cannot be smoothed; remove it, or use categorical_crossentropy with labels: one_hot",
                "label_smoothing",
            )
        return fields


class CategoricalCrossentropy(Section):
    kind: ClassVar[str] = "categorical_crossentropy"
    from_logits: bool | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


LOSS = Named("loss", (SparseCategoricalCrossentropy, CategoricalCrossentropy))


Monitor = Literal["validation_loss", "validation_accuracy", "train_loss", "train_accuracy"]
"""A column of metrics.csv."""


class EarlyStopping(Section):
    """Stops the training when the monitored value has not improved for `patience` epochs.

    Attributes:
        monitor: a column of metrics.csv: `validation_loss`, `validation_accuracy`, `train_loss` or `train_accuracy`.
        patience: epochs.
        min_delta: the smallest change that counts as an improvement.
        restore_best: restore the weights of the best epoch.
    """

    monitor: Monitor = "validation_loss"
    patience: Count = 5
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    restore_best: bool = True


class ReduceOnPlateau(Section):
    """Reduces the learning rate when the monitored value has not improved for `patience` epochs (Keras ReduceLROnPlateau).

    Attributes:
        monitor: a column of metrics.csv: `validation_loss`, `validation_accuracy`, `train_loss` or `train_accuracy`.
        factor: factor of the learning rate at each reduction.
        patience: epochs.
        min_delta: the smallest change that counts as an improvement.
        cooldown: epochs after a reduction in which none are counted.
        min_lr: the learning rate is not reduced below this.
    """

    monitor: Monitor = "validation_loss"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Count = 10
    min_delta: Annotated[float, Field(ge=0)] = 1e-4
    cooldown: Annotated[int, Field(ge=0, le=MAX)] = 0
    min_lr: Annotated[float, Field(ge=0)] = 0.0


class CheckpointSpec(Section):
    """Checkpoints within epochs, in addition to those after each epoch; for long epochs.

    Attributes:
        every_steps: steps between checkpoints.
        every_minutes: minutes between checkpoints.
    """

    every_steps: Count | None = None
    every_minutes: Annotated[float, Field(gt=0)] | None = None


def _parts(value: object) -> int | str:
    if value == "auto" or is_integer(value, 1):
        return value  # type: ignore[return-value]  # it is one of the two
    raise expected("a number of parts such as 2, or auto", value)


Parts = Annotated[
    int | str,
    PlainValidator(_parts),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX}, {"const": "auto"}]}),
]


class TrainSpec(Section):
    """How the network is trained.

    Attributes:
        loop: `fit` (`model.fit`) or `custom` (a `tf.GradientTape` loop).
        epochs: passes over the training images.
        batch_size: images per step; in training by episodes, images per batch in validation and test.
        optimizer: an optimizer by its Keras name, see below.
        loss: null chooses by the output of the network (logits or probabilities) and by `data.labels`.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`; weights are always float32. `auto` takes the 16-bit format
            that this device has in hardware, else float32; a CPU that has one measures long trainings in both. In 16 bits a faster way to compute is used: rounding and dropout
            masks differ from Keras's.
        batch_parts: number of parts of a batch that are computed in parallel, one per core, which is faster than splitting
            each operation among the cores. Batch normalization uses the statistics of the whole batch. `auto` measures long
            trainings by trial steps and keeps the figures; short ones have as many parts as there are cores, each of at least
            32 images; in 16 bits, networks with batch normalization stay whole. Rounding and dropout masks differ from `batch_parts: 1`. Not
            for layers that need the whole batch, such as batch normalization with `renorm`.
        strategy: `one_device`; `mirrored`, all GPUs of this machine, each with a part of every batch; or `multi_worker`, all
            processes in the environment variable `TF_CONFIG`, with the custom loop. `auto` takes the workers of `TF_CONFIG`
            if it lists several, all GPUs if there are several and each gets at least 32 images per batch, else one device.
            `batch_size` is the total over all of them.
        early_stopping: null for no early stopping.
        reduce_on_plateau: reduces a constant learning rate when training stops improving; null for never.
        checkpoint: additional checkpoints within epochs; null for checkpoints after each epoch and on Ctrl-C only.
    """

    loop: Literal["fit", "custom"] = "custom"
    epochs: Count = 10
    batch_size: Count = 128
    optimizer: Annotated[Any, OPTIMIZER] = Adam.model_construct()
    loss: Annotated[Any, LOSS] | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16", "auto"] = "float32"
    batch_parts: Parts = 1
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    early_stopping: EarlyStopping | None = None
    reduce_on_plateau: ReduceOnPlateau | None = None
    checkpoint: CheckpointSpec | None = None
