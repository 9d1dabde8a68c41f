"""A config as frozen models: `Experiment` and its sections."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.layers import STACK_ITEM, BlockSpec, DataFormat, Stack
from cnnctl.spec.layers.blocks import NAMES_OF_A_CONFIG, check_blocks, check_no_signs, known_blocks
from cnnctl.spec.section import MAX, Count, Named, Section, Seed, expected, is_integer, wrong
from cnnctl.spec.sweep import SweepSpec
from cnnctl.spec.training import TrainSpec

if TYPE_CHECKING:
    from cnnctl.spec.network import Network


class ModelSpec(Section):
    """The network.

    Attributes:
        style: how the Keras model is built: `sequential`, `functional` or `subclass`.
        data_format: `channels_last` or `channels_first`, for the images and for layers without their own.
        blocks: stacks with a name and parameters, used like layers.
        layers: the stack, one layer per item; each takes the output of the one above unless it sets `inputs`.
    """

    style: Literal["sequential", "functional", "subclass"] = "sequential"
    data_format: DataFormat = "channels_last"
    blocks: dict[str, BlockSpec] = Field(default_factory=dict, json_schema_extra={"default": {}, **NAMES_OF_A_CONFIG})
    layers: Stack

    @field_validator("blocks", mode="after")
    @classmethod
    def _blocks_are_right(cls, blocks: dict[str, BlockSpec]) -> dict[str, BlockSpec]:
        check_blocks(blocks, STACK_ITEM.choices)
        return blocks

    @field_validator("layers", mode="wrap")
    @classmethod
    def _layers_know_the_blocks(cls, layers: Any, handler: Any, info: ValidationInfo) -> Any:
        if "blocks" not in info.data:  # their own errors come first
            return []
        check_no_signs(layers)
        with known_blocks(info.data["blocks"]):
            return handler(layers)

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit absent blocks, so that the config of a run has no such key."""
        content: dict[str, Any] = handler(self)
        return content if self.blocks else {key: value for key, value in content.items() if key != "blocks"}


class Prototypical(Section):
    kind: ClassVar[str] = "prototypical"
    distance: Literal["squared_euclid", "cosine"] = "squared_euclid"


class Maml(Section):
    kind: ClassVar[str] = "maml"
    inner_steps: Count = 1
    inner_learning_rate: Annotated[float, Field(gt=0)] = 0.4
    first_order: bool = False
    test_steps: Count | None = None


class CosineClassifier(Section):
    kind: ClassVar[str] = "cosine_classifier"
    scale: Annotated[float, Field(gt=0)] = 16.0


METHOD = Named("method", (Prototypical, Maml, CosineClassifier))


class FewShotSpec(Section):
    """Learning from few examples: the stack is an embedding, evaluated on episodes of classes not in training.

    Attributes:
        method: `prototypical`, `maml` or `cosine_classifier`, see below.
        way: classes per episode.
        shot: labelled images per class.
        query: images per class to classify.
        train_way: classes per training episode; null for `way`, which `maml` requires.
        train_shot: labelled images per class in a training episode; null for `shot`.
        train_query: images per class to classify in a training episode; null for `query`.
        episodes: training episodes per epoch; null for 100. `cosine_classifier` trains on batches of images instead.
        episodes_per_step: training episodes averaged per step; null for 1.
        validation_episodes: episodes after each epoch, the same each time.
        test_episodes: episodes of the test.
        rotations: in training, images rotated by 90, 180 and 270 degrees form additional classes.
        mirrors: in training, horizontally mirrored images form additional classes.
    """

    renamed: ClassVar[Mapping[str, str]] = {"learner": "method"}

    method: Annotated[Any, METHOD] = Prototypical.model_construct()
    way: Annotated[int, Field(ge=2, le=MAX)] = 5
    shot: Count = 1
    query: Count = 5
    train_way: Annotated[int, Field(ge=2, le=MAX)] | None = None
    train_shot: Count | None = None
    train_query: Count | None = None
    episodes: Count | None = None
    episodes_per_step: Count | None = None
    validation_episodes: Annotated[int, Field(ge=2, le=MAX)] = 1000
    test_episodes: Annotated[int, Field(ge=2, le=MAX)] = 1000
    rotations: bool = False
    mirrors: bool = False


def _profile(value: object) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2 and all(is_integer(step, 1) for step in value):
        first, last = value
        if first <= last:
            return first, last
    raise expected("the first and the last step, such as [10, 20]", value)


_STEP = {"type": "integer", "minimum": 1, "maximum": MAX}
Profile = Annotated[
    tuple[int, int],
    PlainValidator(_profile),
    PlainSerializer(list),
    WithJsonSchema({"type": "array", "items": _STEP, "minItems": 2, "maxItems": 2}),
]


class LogSpec(Section):
    """Logs that a run writes besides its results.

    Attributes:
        tensorboard: write event files.
        every_steps: steps between points of the curves within an epoch; null for about 50 points per run.
        every_epochs: epochs between histograms and images of weights and activations; null for about six times per run,
            0 for never.
        profile: [first, last] steps to profile, counted from 1 since the start of the training; null for none.
        snapshots: number of epochs whose weights are kept in `snapshots/`, evenly spaced: the first before the training, the
            last after it; null for none.
    """

    tensorboard: bool = True
    every_steps: Count | None = None
    every_epochs: Annotated[int, Field(ge=0, le=MAX)] | None = None
    profile: Profile | None = None
    snapshots: Annotated[int, Field(ge=2, le=MAX)] | None = None

    @model_validator(mode="after")
    def _tensorboard_has_its_fields(self) -> Self:
        for field in ("every_steps", "every_epochs", "profile"):
            if not self.tensorboard and getattr(self, field) is not None:
                raise wrong("is for TensorBoard, but log.tensorboard is false; remove it, or write tensorboard: true", field)
        return self


class Experiment(Section):
    """A config, loaded and checked.

    Attributes:
        task: `classification`, or `few_shot` with the section `few_shot`.
        seed: seed of weights, order, augmentation, dropout and training episodes.
    """

    task: Literal["classification", "few_shot"] = "classification"
    seed: Seed = 0
    data: DataSpec
    model: ModelSpec
    few_shot: FewShotSpec | None = None
    train: TrainSpec = TrainSpec.model_construct()
    log: LogSpec = LogSpec.model_construct()
    sweep: SweepSpec | None = None

    @cached_property
    def network(self) -> "Network":
        """The layers with their shapes and costs, computed once; of a checked experiment alone."""
        from cnnctl.spec.network import traced  # it imports this module

        return traced(self)

    @property
    def plain_from(self) -> int:
        """The first of the `data.augment.plain_epochs`, counted from 0; the number of epochs where there are none."""
        return max(self.train.epochs - (self.data.augment.plain_epochs if self.data.augment else 0), 0)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the experiment without its network, which the update may change."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("network", None)
        return copied

    @model_validator(mode="before")
    @classmethod
    def _few_shot_has_defaults(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        complete = fields.get("task") != "few_shot" or fields.get("few_shot") is not None
        return fields if complete else {**fields, "few_shot": {}}

    @field_validator("few_shot", mode="after")
    @classmethod
    def _few_shot_has_its_task(cls, few_shot: FewShotSpec | None, info: ValidationInfo) -> FewShotSpec | None:
        if few_shot is not None and info.data.get("task") == "classification":  # a wrong task has its own error
            raise wrong("requires task: few_shot; write task: few_shot at the top, or remove the section")
        return few_shot

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit an absent sweep, so that the config of a run has no such key."""
        content: dict[str, Any] = handler(self)
        return content if self.sweep else {key: value for key, value in content.items() if key != "sweep"}
