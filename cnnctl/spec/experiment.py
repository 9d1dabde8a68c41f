"""A whole config as frozen models: `Experiment` and its parts."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
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

from cnnctl.spec.layers import DataFormat, Stack
from cnnctl.spec.optimizers import OPTIMIZER, Adam
from cnnctl.spec.section import MOST, Count, Named, Section, Seed, Size, expected, is_integer, wrong
from cnnctl.spec.sweep import SweepSpec

Unit = Annotated[float, Field(ge=0, le=1)]


def _part(value: object) -> str | float | tuple[str, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, float) and 0 < value < 1:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) and name for name in value):
        return tuple(value)
    raise expected(
        "the name of a split, a fraction between 0 and 1, or a list of classes or groups by name, such as ['8', '9']", value
    )


_NAME = {"type": "string", "minLength": 1}
_FRACTION = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
Part = Annotated[
    str | float | tuple[str, ...],
    PlainValidator(_part),
    PlainSerializer(lambda part: list(part) if isinstance(part, tuple) else part),
    WithJsonSchema({"anyOf": [_NAME, _FRACTION, {"type": "array", "items": _NAME, "minItems": 1}]}),
]
"""A split by its name, a fraction of `train`, or classes or groups of `train` by their names."""


def _channels(value: object) -> object:
    if type(value) is not int:  # true equals 1, and 3.0 equals 3
        raise expected("1 or 3", value)
    return value


Channels = Annotated[Literal[1, 3], BeforeValidator(_channels)]


class Augment(Section):
    """Random changes of training images, drawn anew each epoch by (seed, epoch, example).

    Attributes:
        rotation: at most so many degrees either way.
        shift: at most this fraction of height and width.
        zoom: scale between 1 - zoom and 1 + zoom.
        shear: at most so many degrees.
        flip: mirror left and right, half of the images.
        elastic: bend smoothly: pixels move by at most this fraction of height and width, most by less than a third of it.
        thickness: strokes grow or shrink on every side by at most so many pixels.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    flip: bool = False
    elastic: Annotated[float, Field(ge=0, lt=1)] = 0.0
    thickness: Annotated[float, Field(ge=0, le=1)] = 0.0


class DataSpec(Section):
    """Where images come from and how they are made ready.

    Attributes:
        source: `tfds`, `folder` (one folder a class) or `digits` (bundled with scikit-learn).
        name: for `tfds`, the builder, with its config after a slash where it has several.
        path: for `folder`, where the images are.
        data_dir: for `tfds`, where prepared data lies; without it `TFDS_DATA_DIR`, then TFDS's own.
        train: for `tfds` and `folder`, the split to train on.
        validation: fraction of train, or a split; null for none. For few-shot tasks also a list of classes or groups.
        test: as validation; null for the split `test` where the source has one, else 0.2.
        hold_out: what fractions and lists hold out of train: `image`, part of every class, in classification; `class`,
            whole classes, or `group`, all classes of a group, for few-shot tasks; null for image or class by the task.
        group: for `tfds` and `hold_out: group`, the feature that says the group of an image, such as `alphabet`.
        shared_classes: for few-shot tasks, `refuse` a validation or test split that has classes of train, or `drop`
            those classes from it.
        split_seed: what fractions, and episodes of validation and test, are drawn with, apart from `seed`, so that seeds
            compare on one split.
        image_size: [height, width] that images are resized to.
        channels: 1 for grey, 3 for colour; images are converted.
        classes: how many classes there are.
        renumber: true numbers the classes that occur in train from 0 and forgets the others, so that part of a set,
            such as `small1` of Omniglot, needs no more outputs than it has classes; give `classes` too.
        invert: true turns ink on white into high values on zero.
        labels: `integer` or `one_hot`.
        memory: where the decoded images are: `keep` has them in memory, `stream` in a file on disk, from which each batch
            is read; `auto` keeps them where they take at most an eighth of the memory that this process may have. Every
            number is the same to the bit, so a run goes on with any of the three, and its own config says what was said.
        augment: random changes of training images.
    """

    source: Literal["tfds", "folder", "digits"]
    name: Annotated[str, Field(min_length=1)] | None = None
    path: Annotated[str, Field(min_length=1)] | None = None
    data_dir: Annotated[str, Field(min_length=1)] | None = None
    train: Annotated[str, Field(min_length=1)] = "train"
    validation: Part | None = 0.1
    test: Part | None = None
    hold_out: Literal["image", "class", "group"] | None = None
    group: Annotated[str, Field(min_length=1)] | None = None
    shared_classes: Literal["refuse", "drop"] = "refuse"
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    image_size: Size | None = None
    channels: Channels | None = None
    classes: Annotated[int, Field(ge=2, le=MOST)] | None = None
    renumber: bool = False
    invert: bool = False
    labels: Literal["integer", "one_hot"] = "integer"
    memory: Literal["auto", "keep", "stream"] = "auto"
    augment: Augment | None = None

    @property
    def holds_out_classes(self) -> bool:
        """Whether splits share no class; so in every checked config of a few-shot task."""
        return self.hold_out in ("class", "group")

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        needed = {"tfds": "name", "folder": "path"}.get(self.source)
        if needed and getattr(self, needed) is None:
            raise wrong(f"source '{self.source}' needs '{needed}'")
        for field, source in (("name", "tfds"), ("data_dir", "tfds"), ("group", "tfds"), ("path", "folder")):
            if self.source != source and getattr(self, field) is not None:
                raise wrong(f"goes with source '{source}', not with '{self.source}'; remove it, or change source", field)
        if (self.hold_out == "group") != (self.group is not None):
            raise wrong(
                "hold_out: group and group, the feature that says the groups, go together; give both or neither", "group"
            )
        if self.renumber and self.classes is None:
            raise wrong("needs data.classes: how many classes occur in train", "renumber")
        for field in ("validation", "test"):
            if self.source == "digits" and isinstance(getattr(self, field), str):
                raise wrong("source 'digits' has no named splits; give a fraction, such as 0.2", field)
        if self.source == "digits" and self.train != "train":
            raise wrong("source 'digits' has no named splits; leave it out", "train")
        return self


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


class SparseCategoricalCrossentropy(Section):
    kind: ClassVar[str] = "sparse_categorical_crossentropy"
    from_logits: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _cannot_smooth(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and "label_smoothing" in fields:
            raise wrong("integer labels cannot be smoothed; set data.labels: one_hot and use categorical_crossentropy")
        return fields


class CategoricalCrossentropy(Section):
    kind: ClassVar[str] = "categorical_crossentropy"
    from_logits: bool | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


LOSS = Named("loss", (SparseCategoricalCrossentropy, CategoricalCrossentropy))


class Prototypical(Section):
    kind: ClassVar[str] = "prototypical"
    distance: Literal["squared_euclid", "cosine"] = "squared_euclid"


class Maml(Section):
    kind: ClassVar[str] = "maml"
    inner_steps: Count = 1
    inner_learning_rate: Annotated[float, Field(gt=0)] = 0.4
    first_order: bool = False
    test_steps: Count | None = None


class Classifier(Section):
    kind: ClassVar[str] = "classifier"
    scale: Annotated[float, Field(gt=0)] = 16.0


LEARNER = Named("learner", (Prototypical, Maml, Classifier))


class FewShotSpec(Section):
    """Learning from few examples: the stack is an embedding, judged on episodes of classes never trained on.

    Attributes:
        learner: `prototypical`, `maml` or `classifier`, see below.
        way: classes of an episode.
        shot: labelled images a class.
        query: images a class to be classified.
        train_way: classes of a training episode; null for `way`, which `maml` needs.
        train_shot: labelled images a class of a training episode; null for `shot`.
        train_query: images a class to be classified in a training episode; null for `query`.
        episodes: training episodes an epoch; null for 100. `classifier` trains on batches of images instead.
        episodes_per_step: training episodes that a step averages over; null for 1.
        validation_episodes: episodes after each epoch, always the same.
        test_episodes: episodes of the test.
        rotations: in training, an image turned by 90, 180 or 270 degrees belongs to a class of its own.
        mirrors: in training, an image mirrored left and right belongs to a class of its own.
    """

    learner: Annotated[Any, LEARNER] = Prototypical.model_construct()
    way: Annotated[int, Field(ge=2, le=MOST)] = 5
    shot: Count = 1
    query: Count = 5
    train_way: Annotated[int, Field(ge=2, le=MOST)] | None = None
    train_shot: Count | None = None
    train_query: Count | None = None
    episodes: Count | None = None
    episodes_per_step: Count | None = None
    validation_episodes: Annotated[int, Field(ge=2, le=MOST)] = 1000
    test_episodes: Annotated[int, Field(ge=2, le=MOST)] = 1000
    rotations: bool = False
    mirrors: bool = False


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
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST}, {"const": "auto"}]}),
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


def _profile(value: object) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2 and all(is_integer(step, 1) for step in value):
        first, last = value
        if first <= last:
            return first, last
    raise expected("the first and the last step, such as [10, 20]", value)


_STEP = {"type": "integer", "minimum": 1, "maximum": MOST}
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
    every_epochs: Annotated[int, Field(ge=0, le=MOST)] | None = None
    profile: Profile | None = None

    @model_validator(mode="after")
    def _says_what_is_written(self) -> Self:
        for field in ("every_steps", "every_epochs", "profile"):
            if not self.tensorboard and getattr(self, field) is not None:
                raise wrong("goes to TensorBoard, but log.tensorboard is false; remove one of the two", field)
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
            raise wrong("goes with task: few_shot; say so at the top, or remove the section")
        return few_shot

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves an absent sweep out: the config of a run has none, and says so by that."""
        content: dict[str, Any] = handler(self)
        return content if self.sweep else {key: value for key, value in content.items() if key != "sweep"}
