"""The section `train`: how a network is trained."""

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


class EarlyStopping(Section):
    """Stops when the monitored value has not improved for `patience` epochs.

    Attributes:
        monitor: a column of metrics.csv: `validation_loss`, `validation_accuracy`, `train_loss` or `train_accuracy`.
        patience: epochs.
        min_delta: the least change that counts as better.
        restore_best: go back to the weights of the best epoch.
    """

    monitor: Literal["validation_loss", "validation_accuracy", "train_loss", "train_accuracy"] = "validation_loss"
    patience: Count = 5
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    restore_best: bool = True


class CheckpointSpec(Section):
    """When to save within epochs, besides after each; for long epochs.

    Attributes:
        every_steps: steps between checkpoints.
        every_minutes: minutes after which a checkpoint is due.
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
        loop: `fit` (Keras drives) or `custom` (a GradientTape loop).
        epochs: passes over the training images.
        batch_size: images a step; where training is by episodes, images at once in validation and test.
        optimizer: by its Keras name, see below.
        loss: null chooses by what the last layer gives (logits or softmax) and by `data.labels`.
        precision: `float32`, `mixed_bfloat16` or `mixed_float16`; weights are float32 always. `auto` takes the 16 bits that
            this device multiplies in hardware, else float32.
        batch_parts: so many parts of a batch are computed at once, one a core, which is faster than sharing each
            operation among the cores; `auto` for as many as suit this machine. Rounds otherwise than one part, and dropout
            draws otherwise; not with layers that need the batch whole, such as batch normalization.
        strategy: `one_device`; `mirrored`, all GPUs of this machine, each with a part of every batch; or `multi_worker`, all
            processes that the environment variable `TF_CONFIG` names, with the custom loop. `auto` takes the workers of
            `TF_CONFIG` where it names several, all GPUs where there are several and each gets 32 images of a batch or more, else one
            device. `batch_size` is what all of them share.
        early_stopping: null for none.
        checkpoint: when to save within epochs too; null for after each epoch only, and when Ctrl-C is pressed.
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
    checkpoint: CheckpointSpec | None = None
