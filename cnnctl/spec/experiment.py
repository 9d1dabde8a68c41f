"""A whole config as frozen models: `Experiment` and its parts."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

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
from cnnctl.spec.layers import DataFormat, Stack
from cnnctl.spec.section import MAX, Count, Named, Section, Seed, expected, is_integer, wrong
from cnnctl.spec.sweep import SweepSpec
from cnnctl.spec.training import TrainSpec


class ModelSpec(Section):
    """The network.

    Attributes:
        style: how the Keras model is built: `sequential`, `functional` or `subclass`.
        data_format: `channels_last` or `channels_first`, for the images and for layers without their own.
        layers: the stack, one layer an item, each taking the one above unless it names its inputs.
    """

    style: Literal["sequential", "functional", "subclass"] = "sequential"
    data_format: DataFormat = "channels_last"
    layers: Stack


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
    """Learning from few examples: the stack is an embedding, judged on episodes of classes never trained on.

    Attributes:
        method: `prototypical`, `maml` or `cosine_classifier`, see below.
        way: classes of an episode.
        shot: labelled images a class.
        query: images a class to be classified.
        train_way: classes of a training episode; null for `way`, which `maml` needs.
        train_shot: labelled images a class of a training episode; null for `shot`.
        train_query: images a class to be classified in a training episode; null for `query`.
        episodes: training episodes an epoch; null for 100. `cosine_classifier` trains on batches of images instead.
        episodes_per_step: training episodes that a step averages over; null for 1.
        validation_episodes: episodes after each epoch, always the same.
        test_episodes: episodes of the test.
        rotations: in training, an image turned by 90, 180 or 270 degrees belongs to a class of its own.
        mirrors: in training, an image mirrored left and right belongs to a class of its own.
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
    """What a run writes beside its results.

    Attributes:
        tensorboard: write event files.
        every_steps: steps between the points of the curves within an epoch; null for about fifty points a run.
        every_epochs: epochs between histograms and pictures of what goes on inside the network; null for about six
            times a run, 0 for never.
        profile: [first, last] steps to profile, counted from 1 since the start of the training; null for none.
    """

    tensorboard: bool = True
    every_steps: Count | None = None
    every_epochs: Annotated[int, Field(ge=0, le=MAX)] | None = None
    profile: Profile | None = None

    @model_validator(mode="after")
    def _says_what_is_written(self) -> Self:
        for field in ("every_steps", "every_epochs", "profile"):
            if not self.tensorboard and getattr(self, field) is not None:
                raise wrong("goes to TensorBoard, but log.tensorboard is false; remove it, or write tensorboard: true", field)
        return self


class Experiment(Section):
    """A config, loaded and checked.

    Attributes:
        task: `classification`, or `few_shot` with the section `few_shot`.
        seed: what weights, order, augmentation, dropout and training episodes are drawn from.
    """

    task: Literal["classification", "few_shot"] = "classification"
    seed: Seed = 0
    data: DataSpec
    model: ModelSpec
    few_shot: FewShotSpec | None = None
    train: TrainSpec = TrainSpec.model_construct()
    log: LogSpec = LogSpec.model_construct()
    sweep: SweepSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _says_its_task(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        said = fields.get("task") != "few_shot" or fields.get("few_shot") is not None
        return fields if said else {**fields, "few_shot": {}}

    @field_validator("few_shot", mode="after")
    @classmethod
    def _goes_with_its_task(cls, few_shot: FewShotSpec | None, info: ValidationInfo) -> FewShotSpec | None:
        if few_shot is not None and info.data.get("task") == "classification":  # a wrong task is told by itself
            raise wrong("goes with task: few_shot; write task: few_shot at the top, or remove the section")
        return few_shot

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves an absent sweep out: the config of a run has none, and says so by that."""
        content: dict[str, Any] = handler(self)
        return content if self.sweep else {key: value for key, value in content.items() if key != "sweep"}
