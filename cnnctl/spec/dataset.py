"""The section `data`: where images come from and how they are prepared."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from cnnctl.spec.section import MAX, Section, Size, expected, show, wrong


class NotUsable(Exception):
    """The data that a data section names cannot be used.

    Attributes:
        field: the field of the data section that names it.
        message: the cause and the remedy.
        several_lines: True if line breaks in the message are intended, and not part of a name.
    """

    def __init__(self, field: str, message: str, several_lines: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.several_lines = several_lines


def expanded(field: str, path: str) -> Path:
    """Expand `~` and `~user` in the path of a field of the data section; raise NotUsable for an unknown user."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as error:
        raise NotUsable(field, f"'{path}' starts with an unknown home folder") from error


_NO_SPLIT = re.compile(r"none|off|no|false|\d+([.,]\d+)?\s*%|\d+,\d+", re.IGNORECASE)
"""Texts that stand for null or a number and are refused as the name of a split."""


def _part(value: object) -> str | float | tuple[str, ...]:
    if isinstance(value, str) and value and not _NO_SPLIT.fullmatch(value):
        return value
    if isinstance(value, float) and 0 < value < 1:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) and name for name in value):
        return tuple(value)
    raise expected(
        "the name of a split, a fraction between 0 and 1, or a list of classes or groups by name, such as ['8', '9']", value
    )


_NAME = {"type": "string", "minLength": 1}
_SPLIT = {**_NAME, "not": {"pattern": f"^(?i:{_NO_SPLIT.pattern})$"}}
_FRACTION = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
Part = Annotated[
    str | float | tuple[str, ...],
    PlainValidator(_part),
    PlainSerializer(lambda part: list(part) if isinstance(part, tuple) else part),
    WithJsonSchema({"anyOf": [_SPLIT, _FRACTION, {"type": "array", "items": _NAME, "minItems": 1}]}),
]
"""A split by its name, a fraction of `train`, or classes or groups of `train` by their names."""


def _channels(value: object) -> object:
    if type(value) is not int:  # true equals 1, and 3.0 equals 3
        raise expected("1 or 3", value)
    return value


Channels = Annotated[Literal[1, 3], BeforeValidator(_channels)]

_EXAMPLES = {"name": "mnist", "path": "images"}

Pair = tuple[str, str]
"""The names of the images and of their labels."""


def _keys(value: object) -> Pair | dict[str, Pair]:
    if isinstance(value, Mapping) and value and all(isinstance(split, str) for split in value):
        return {split: _pair_of_names(names, value) for split, names in value.items()}
    return _pair_of_names(value, value)


def _pair_of_names(names: object, value: object) -> Pair:
    if isinstance(names, list | tuple) and len(names) == 2 and all(isinstance(name, str) and name for name in names):
        return names[0], names[1]
    raise expected("the names of images and labels, such as [x, y], or those of each split, such as {train: [x, y]}", value)


def _plain_keys(keys: Pair | dict[str, Pair]) -> list[str] | dict[str, list[str]]:
    return {split: list(names) for split, names in keys.items()} if isinstance(keys, dict) else list(keys)


_NAMES = {"type": "array", "items": _NAME, "minItems": 2, "maxItems": 2}
_BY_SPLIT = {
    "type": "object",
    "properties": {},
    "patternProperties": {"^.+$": _NAMES},
    "additionalProperties": False,
    "minProperties": 1,
}
Keys = Annotated[
    Pair | dict[str, Pair],
    PlainValidator(_keys),
    PlainSerializer(_plain_keys),
    WithJsonSchema({"anyOf": [_NAMES, _BY_SPLIT]}),
]
"""The names of images and labels in a file: one pair, or one pair per split."""

FILE_SOURCES = ("idx", "npz", "csv", "mat", "parquet")
"""Sources that read the original files of a dataset."""
SOURCES = ("tfds", "folder", "digits", *FILE_SOURCES)


def _source(value: object) -> object:
    """Raise with the two lines to write if the source is the name of a TFDS dataset."""
    if isinstance(value, str) and value not in SOURCES:
        from cnnctl.spec.tfds_images import TFDS_IMAGES  # imports this module

        name = value.lower().replace("-", "_")
        if name in TFDS_IMAGES:
            raise wrong(f"{show(value)} is the name of a dataset; write source: tfds, name: {name}")
    return value


def _least_and_most(largest: float | None) -> tuple[PlainValidator, PlainSerializer, WithJsonSchema]:
    """Build the annotations of a pair of positive numbers in ascending order, at most `largest`."""

    def read(value: object) -> tuple[float, float]:
        both = value if isinstance(value, list | tuple) else ()
        numbers = [float(each) for each in both if type(each) in (int, float) and 0 < each <= (largest or sys.float_info.max)]
        if len(both) == len(numbers) == 2 and numbers[0] <= numbers[1]:
            return numbers[0], numbers[1]
        bounds = f"between 0 and {largest:g}, such as [0.1, 0.3]" if largest else "greater than 0, such as [0.5, 2.0]"
        raise expected(f"the smallest and the largest value, both {bounds}", value)

    one = {"type": "number", "exclusiveMinimum": 0, **({"maximum": largest} if largest else {})}
    schema = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
    return PlainValidator(read), PlainSerializer(list), WithJsonSchema(schema)


Fractions = Annotated[tuple[float, float], *_least_and_most(1.0)]
Ratios = Annotated[tuple[float, float], *_least_and_most(None)]


class Erase(Section):
    """Random erasing of a rectangle in training images (Zhong et al. 2017), after all other transformations.

    Attributes:
        probability: of each image to lose a rectangle.
        scale: the smallest and the largest area of the rectangle, as a fraction of the image.
        ratio: the smallest and the largest ratio of its height to its width. A side longer than that of the image is cut.
        fill_value: the value that fills it, from 0 (black) to 1 (white); null for noise, an independent uniform value for each
            pixel and channel.
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale: Fractions = (0.02, 0.33)
    ratio: Ratios = (0.3, 3.3)
    fill_value: Annotated[float, Field(ge=0, le=1)] | None = None


class Augment(Section):
    """Random transformations of training images, drawn from (seed, epoch, example).

    Attributes:
        rotation: maximum rotation in degrees, in both directions.
        shift: maximum translation as a fraction of height and width, in all directions, independent of rotation and zoom.
        zoom: scale between 1 - zoom and 1 + zoom.
        shear: maximum shear angle in degrees.
        flip: mirror half of the images horizontally.
        elastic: smooth elastic distortion: maximum displacement of a pixel as a fraction of height and width; most pixels
            move by less than a third of it.
        thickness: maximum growth or shrinkage of strokes on each side, in pixels.
        erase: random erasing of a rectangle; null for none.
        mixup: alpha of mixup (Zhang et al. 2018), such as 0.2; 0 for none. Each image and its label are mixed with those of a
            random other one, in shares lambda and 1 - lambda, lambda from Beta(alpha, alpha). Requires `labels: one_hot`. The
            training accuracy then counts predictions of the class with the larger share; validation and test are not mixed.
        plain_epochs: how many epochs at the end of the training have images as they are, such as 2: neither moved, erased nor
            mixed. Weights and the averages of batch normalization then fit such images, which augmentation makes smoother.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    flip: bool = False
    elastic: Annotated[float, Field(ge=0, lt=1)] = 0.0
    thickness: Annotated[float, Field(ge=0, le=1)] = 0.0
    erase: Erase | None = None
    mixup: Annotated[float, Field(ge=0)] = 0.0
    plain_epochs: Annotated[int, Field(ge=0, le=MAX)] = 0

    @property
    def transforms(self) -> bool:
        """Whether any transformation is set."""
        return self.model_copy(update={"plain_epochs": 0}) != Augment()


class DataSpec(Section):
    """Where images come from and how they are prepared.

    Attributes:
        source: `tfds`, `folder` (one folder per class), `digits` (part of scikit-learn), or the original files of a dataset:
            `idx` (MNIST and its relatives), `npz`, `csv` (one row per image), `mat` (EMNIST) or `parquet` (Hugging Face).
        name: for `tfds`, the builder, with its config after a slash where it has several.
        path: for every source but `tfds` and `digits`, the folder or file of the images.
        data_dir: for `tfds`, the folder of prepared data; by default `TFDS_DATA_DIR`, then TFDS's own default.
        keys: for `npz`, `mat` and `parquet`, the names of images and labels, such as `[x, y]`, or those of each split, such as
            `{train: [x, y], test: [xt, yt]}`; for `labels_file`, its columns of file names and labels. null for the usual names.
        labels_file: for `folder`, a CSV file of file names and labels. Images that it does not list keep the class of their
            folder if its labels are names of folders; else they are not read.
        class_folders: for `folder`, `top`: each folder of a split is a class, with all images below it; `leaf`: each folder that
            holds images is a class, named by its path, and its first folder is its group.
        follow_links: for `folder`, true follows links to images and folders, also outside of `path`.
        train: the split to train on. In a folder it is found as `train` or `training`, in any case; without one it is `path`.
        validation: fraction of train, or a split; null for none. For few-shot tasks also a list of classes or groups.
            By default the source's own validation split (`validation`, `val`, `valid`, `dev`), or 0.1 if it has none.
        test: as validation; null for the source's own test split (`test`, `testing`), or 0.2 if it has none.
        hold_out: what fractions and lists hold out of train: `image`, part of every class, in classification; `class`,
            whole classes, or `group`, all classes of a group, for few-shot tasks; null for image or class by the task.
        group: for `tfds` and `hold_out: group`, the feature with the group of an image, such as `alphabet`.
        shared_classes: for few-shot tasks, `refuse` a validation or test split that has classes of train, or `drop`
            those classes from it.
        split_seed: seed of fractions and of the episodes of validation and test; separate from `seed`, so that runs with
            different seeds are compared on one split.
        image_size: [height, width] that images are resized to; null for that of the source, or of a folder's first image.
        fit: for images of another aspect ratio than image_size, `stretch`, `crop` to the center, or `pad` with the color of
            the image's border.
        channels: 1 for grayscale, 3 for color; images are converted.
        classes: number of classes.
        remap_labels: true numbers the classes that occur in train from 0 and drops the others. Labels that start at 1 or
            have gaps, and subsets such as `small1` of Omniglot, then need no more outputs than there are classes.
        pixel_max: the pixel value that becomes white, such as 4095 for 12-bit images in 16-bit files, or 1 for floats;
            null for 255, and for 65535 in 16-bit files.
        transpose: true swaps rows and columns, as the original files of EMNIST need.
        invert: true inverts pixels (dark ink on white paper).
        labels: `integer` or `one_hot`.
        memory: `keep` holds the decoded images in memory; `stream` reads each batch from a file on disk; `auto` keeps them
            if they need at most a quarter of the memory available to this process, an eighth for few-shot tasks. Results are
            bit-identical, so a run resumes with any of the three.
        augment: random transformations of training images.
    """

    renamed: ClassVar[Mapping[str, str]] = {"renumber": "remap_labels"}

    source: Annotated[Literal["tfds", "folder", "digits", "idx", "npz", "csv", "mat", "parquet"], BeforeValidator(_source)]
    name: Annotated[str, Field(min_length=1)] | None = None
    path: Annotated[str, Field(min_length=1)] | None = None
    data_dir: Annotated[str, Field(min_length=1)] | None = None
    keys: Keys | None = None
    labels_file: Annotated[str, Field(min_length=1)] | None = None
    class_folders: Literal["top", "leaf"] = "top"
    follow_links: bool = False
    train: Annotated[str, Field(min_length=1)] = "train"
    validation: Part | None = 0.1
    test: Part | None = None
    hold_out: Literal["image", "class", "group"] | None = None
    group: Annotated[str, Field(min_length=1)] | None = None
    shared_classes: Literal["refuse", "drop"] = "refuse"
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    image_size: Size | None = None
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    channels: Channels | None = None
    classes: Annotated[int, Field(ge=2, le=MAX)] | None = None
    remap_labels: bool = False
    pixel_max: Annotated[float, Field(gt=0, le=MAX)] | None = None
    transpose: bool = False
    invert: bool = False
    labels: Literal["integer", "one_hot"] = "integer"
    memory: Literal["auto", "keep", "stream"] = "auto"
    augment: Augment | None = None

    @property
    def holds_out_classes(self) -> bool:
        """Whether splits share no class, as in every checked config of a few-shot task."""
        return self.hold_out in ("class", "group")

    @property
    def has_path(self) -> bool:
        """Whether `path` names the folder or file of the images."""
        return self.source in ("folder", *FILE_SOURCES)

    @model_validator(mode="after")
    def _has_what_its_source_needs(self) -> Self:
        needed = "name" if self.source == "tfds" else "path" if self.has_path else None
        if needed and getattr(self, needed) is None:
            raise wrong(f"source '{self.source}' needs '{needed}'; write {needed}: {_EXAMPLES[needed]}", needed)
        for field, sources in _ONLY_WITH.items():
            if self.source not in sources and getattr(self, field) != DataSpec.model_fields[field].default:
                listed = " or ".join(f"'{source}'" for source in sources)
                raise wrong(f"is only for source {listed}, not for '{self.source}'; remove it", field)
        if self.keys is not None and self.source == "folder" and (self.labels_file is None or isinstance(self.keys, dict)):
            raise wrong("names the two columns of data.labels_file, such as [file, label]; remove it, or set both", "keys")
        return self

    @model_validator(mode="after")
    def _names_its_groups(self) -> Self:
        if self.source == "folder":
            if self.hold_out == "group" and self.class_folders != "leaf":
                raise wrong(
                    "the groups of a folder are the parent folders of its classes; write class_folders: leaf", "hold_out"
                )
        elif (self.hold_out == "group") != (self.group is not None):
            if self.source != "tfds":
                raise wrong(f"source '{self.source}' has no groups of classes; write hold_out: class", "hold_out")
            remedy = (
                "write group: alphabet, or another feature" if self.group is None else "write hold_out: group, or remove it"
            )
            raise wrong(f"hold_out: group and group, the feature with the groups, must be set together; {remedy}", "group")
        return self

    @model_validator(mode="after")
    def _numbers_its_classes(self) -> Self:
        if self.remap_labels and self.classes is None and self.source == "tfds":
            raise wrong("requires data.classes, the number of classes that occur in train", "remap_labels")
        for field in ("validation", "test"):
            if self.source == "digits" and isinstance(getattr(self, field), str):
                raise wrong(f"source 'digits' has no named splits; write {field}: 0.2, or another fraction", field)
        if self.source == "digits" and self.train != "train":
            raise wrong("source 'digits' has no named splits; remove train", "train")
        return self


_ONLY_WITH: Mapping[str, tuple[str, ...]] = {
    "name": ("tfds",),
    "data_dir": ("tfds",),
    "group": ("tfds",),
    "path": ("folder", *FILE_SOURCES),
    "keys": ("npz", "mat", "parquet", "folder"),
    "labels_file": ("folder",),
    "class_folders": ("folder",),
    "follow_links": ("folder",),
}
"""Fields that only some sources have."""
