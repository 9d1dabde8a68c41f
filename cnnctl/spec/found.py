"""Facts that a config leaves to its source: splits, image size, channels and classes; without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnnctl.spec.dataset import FILE_SOURCES, DataSpec, Part
from cnnctl.spec.tfds_images import DIGITS, Images, tfds_images

DEFAULT_TEST = 0.2


@dataclass(frozen=True)
class Found:
    """The facts of a source.

    Attributes:
        images: height, width, channels and classes as the network receives them.
        train: the split to train on.
        validation: the part for validation.
        test: the part for the test.
        notes: messages about how these were found.
    """

    images: Images
    train: str
    validation: Part | None
    test: Part
    notes: tuple[str, ...] = ()


def found_in(data: DataSpec) -> Found:
    """Inspect the data that a data section names; values set in the section have precedence.

    Raises:
        NotUsable: the data does not exist, has no known layout, or an inspected file is broken.
        OSError: it cannot be read.
    """
    if data.source == "folder":
        from cnnctl.spec.found_folder import found_folder

        found = found_folder(data)
    elif data.source in FILE_SOURCES:
        from cnnctl.spec.found_files import found_files

        found = found_files(data)
    else:
        images = DIGITS if data.source == "digits" else tfds_images(data)
        test: Part = "test" if data.source == "tfds" else DEFAULT_TEST
        found = Found(_transposed(images, data), data.train, data.validation, test if data.test is None else data.test)
    return replace(found, images=_with_settings(found.images, data))


def known_images(data: DataSpec) -> Images:
    """Return the known facts of the images that the network receives; raise as `found_in` does."""
    return found_in(data).images


def _transposed(images: Images, data: DataSpec) -> Images:
    return replace(images, height=images.width, width=images.height) if data.transpose else images


def _with_settings(images: Images, data: DataSpec) -> Images:
    height, width = data.image_size or (images.height, images.width)
    return Images(height, width, data.channels or images.channels, data.classes or images.classes)
