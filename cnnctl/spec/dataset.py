"""The section `data`: where images come from and how they are made ready."""

from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from cnnctl.spec.section import MOST, Section, Size, expected, wrong


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
