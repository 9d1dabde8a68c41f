"""What a config leaves to its source: splits, sizes, channels and classes; found without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnnctl.spec.dataset import FILE_SOURCES, DataSpec, Part
from cnnctl.spec.tfds_images import DIGITS, Images, tfds_images

DEFAULT_TEST = 0.2


@dataclass(frozen=True)
class Found:
    """What a source has.

    Attributes:
        images: their height, width, channels and classes as they reach the network.
        train: the split to train on.
        validation: the part for validation.
        test: the part for the test.
        notes: why, where a person should know.
    """

    images: Images
    train: str
    validation: Part | None
    test: Part
    notes: tuple[str, ...] = ()


def found_in(data: DataSpec) -> Found:
    """Look at what a data section names; what the section says itself comes first.

    Raises:
        NotUsable: it is not there, is laid out as nothing that is known, or a file that was looked at is broken.
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
    return replace(found, images=_as_said(found.images, data))


def known_images(data: DataSpec) -> Images:
    """Return what can be known of the images that reach the network; raises as `found_in` does."""
    return found_in(data).images


def _transposed(images: Images, data: DataSpec) -> Images:
    return replace(images, height=images.width, width=images.height) if data.transpose else images


def _as_said(images: Images, data: DataSpec) -> Images:
    height, width = data.image_size or (images.height, images.width)
    return Images(height, width, data.channels or images.channels, data.classes or images.classes)
