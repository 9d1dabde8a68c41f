"""The function `read` of a script, which reads a split as the sources of `cnnctl.data` do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from cnnctl.script.expressions import literal
from cnnctl.script.image_code import arranged, helpers, image_needs, image_values
from cnnctl.script.template import Needs, written
from cnnctl.spec.dataset import FILE_SOURCES, SOURCES, DataSpec
from cnnctl.spec.found import known_images
from cnnctl.spec.tfds_images import TFDS_IMAGES, Images, prepared_dir

DIGITS = '''
def read():
    """Return the digits of scikit-learn, uint8 $shape, and their labels (N,)."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    images = np.stack([fit(image) for image in images])  #? fitted
    return images, digits.target  #? fitted
    return $arranged, digits.target  #? !fitted
'''

TFDS = '''
def read(split):
    """Return the images of a split, uint8 $shape, and their labels (N,)."""
    dataset = tfds.load($set, split=split, as_supervised=True)  #? pairs
    dataset = tfds.load($set, split=split)  #? !pairs
    dataset = dataset.map(lambda example: (example[$image], example[$label]))  #? !pairs
    images, labels = zip(*tfds.as_numpy(dataset.batch(1024)))  #? !fitted
    return $arranged, np.concatenate(labels)  #? !fitted
    examples = [(fit(image), label) for image, label in tfds.as_numpy(dataset)]  #? fitted
    images, labels = zip(*examples)  #? fitted
    return np.stack(images), np.array(labels)  #? fitted
'''

_WORDS = (
    *SOURCES,
    "pairs",
    "fitted",  # arrays are fitted by Pillow
    "image_files",  # images are read by Pillow
    "any_mode",
    "own_grey",
    "own_colour",
    "converted",
    "not_finite",
    "remap_labels",
    "gzip",
    "labels_file",
)
"""Template flags that only some sources use."""


@dataclass(frozen=True)
class Reading:
    """The code that reads images.

    Attributes:
        templates: templates of functions; the last is `read`.
        needs: the template flags.
        values: the template values.
        arguments: the arguments of `read` for each split, as code; the name of any other split is a text.
    """

    templates: tuple[str, ...]
    needs: Needs
    values: Mapping[str, object]
    arguments: Mapping[str, str] = field(default_factory=dict)

    def code(self, needs: Needs) -> list[str]:
        """Generate the functions."""
        return [written(template, needs, **self.values) for template in self.templates]

    def call(self, split: object) -> str:
        """Generate the arguments that read a split."""
        return self.arguments.get(str(split), literal(split))


def reading_of(data: DataSpec) -> Reading:
    """Inspect the data of a checked config and choose how a script reads it.

    Raises:
        UsageError: a short script cannot read this folder or file as cnnctl does.
        DataError: a file has changed since the config was checked.
    """
    if data.source == "folder":
        from cnnctl.script.folder_code import folder_reading

        return folder_reading(data)
    if data.source in FILE_SOURCES:
        from cnnctl.script.original_files import file_reading

        return file_reading(data)
    return _digits(data) if data.source == "digits" else _tfds(data)


def base_needs(data: DataSpec) -> dict[str, bool]:
    """Return the default template flags of a source."""
    return {**dict.fromkeys(_WORDS, False), **image_needs(data), data.source: True, "remap_labels": data.remap_labels}


def array_needs(data: DataSpec, own: Images) -> dict[str, bool]:
    """Return the template flags of images that are arrays.

    Args:
        data: the data section of a checked config.
        own: the facts of the source, after `transpose`.
    """
    return {
        "fitted": (own.height, own.width, own.channels) != (*(data.image_size or ()), data.channels),
        "own_grey": own.channels == 1,
        "own_colour": own.channels == 3,
        "converted": own.channels != data.channels,
    }


def _own_images(data: DataSpec) -> Images:
    return known_images(data.model_copy(update={"image_size": None, "channels": None}))


def _digits(data: DataSpec) -> Reading:
    needs = {**base_needs(data), **array_needs(data, _own_images(data))}
    values = image_values(data)
    values["arranged"] = arranged("images", needs, values["white"])
    return Reading((*helpers(needs), DIGITS), needs, values, {data.train: ""})


def _tfds(data: DataSpec) -> Reading:
    own, well_known = _own_images(data), (data.name or "").partition(":")[0] in TFDS_IMAGES
    needs = {**base_needs(data), **array_needs(data, own), "pairs": well_known}
    if not well_known or own.channels not in (1, 3):  # it may have any dtype and any channels
        needs |= {"any_mode": True, "own_grey": False, "own_colour": False, "converted": True, "not_finite": True}
    values = image_values(data)
    image, label = _features(data)
    folder = f", data_dir={literal(data.data_dir)}" if data.data_dir else ""
    values |= {"set": literal(data.name) + folder, "image": literal(image), "label": literal(label)}
    values["arranged"] = arranged("np.concatenate(images)", needs, values["white"])
    return Reading((*helpers(needs), TFDS), needs, values)


def _features(data: DataSpec) -> tuple[str, str]:
    """Return the names of image and label in the features of a dataset; the usual names if it is not prepared."""
    folder = prepared_dir(data)
    features = json.loads((folder / "features.json").read_text())["featuresDict"]["features"] if folder else {}
    return _named(features, "image"), _named(features, "label")


def _named(features: dict[str, dict[str, object]], name: str) -> str:
    kind = {"image": "image", "label": "classLabel"}[name]
    found = [key for key, feature in features.items() if kind in feature]
    return name if name in found or not found else found[0]
