"""Read the images to predict: image files, and the images in data files such as test.csv, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.decoding import DecodedBlock, Decoder
from cnnctl.data.decoding_pool import MAX_ITEMS, blocks_of, in_order
from cnnctl.data.image_set import decoded_at_once
from cnnctl.data.images import Fitting, Pixels, fit_array
from cnnctl.data.inspect.census import FRAMES
from cnnctl.data.inspect.originals import Originals, Thumbnail, array_thumbnail, originals_in
from cnnctl.errors import DataError, counted
from cnnctl.formats import KINDS, Part, open_parts, recognised, role_of
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.image_files import IMAGE_SUFFIXES, broken_images


@dataclass(frozen=True)
class InputBatch:
    """Images fitted to a config.

    Attributes:
        names: one per image, such as `scan.png`, or `test.csv:1` for the first image of a data file.
        images: (B, H, W, C), uint8.
        originals: facts of the images before fitting.
    """

    names: list[str]
    images: Pixels
    originals: Originals

    def __len__(self) -> int:
        return len(self.names)

    def take(self, positions: NDArray[np.int64]) -> Self:
        """Select the images at some positions."""
        names = [self.names[position] for position in positions]
        return type(self)(names, self.images[positions], self.originals.take(positions))

    @classmethod
    def joined(cls, batches: Sequence[InputBatch]) -> Self:
        """Concatenate batches."""
        names = [name for batch in batches for name in batch.names]
        images = np.concatenate([batch.images for batch in batches])
        return cls(names, images, Originals.joined([batch.originals for batch in batches]))


@dataclass(frozen=True)
class OriginalFile:
    """A data file with many images, such as test.csv.

    Attributes:
        path: as the user named it.
        split: the split to predict.
        others: descriptions of its other splits.
    """

    path: Path
    split: Part
    others: tuple[str, ...] = ()


@dataclass
class Inputs:
    """Images to predict.

    Attributes:
        sources: image files, and data files with many images.
        data: a checked config, which defines how images are fitted.
        max_thumbnails: number of thumbnails to store.
        folders: the folder in which a file was found. A link must not lead out of it; files named directly may be any link.
        broken: receives one message per image that cannot be read. No batch contains such an image.
        thumbnails: thumbnails of the first images, before fitting.
        several_frames: number of files with several images, of which the first is read.
    """

    sources: Sequence[Path | OriginalFile]
    data: DataSpec
    max_thumbnails: int
    folders: Mapping[Path, Path] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)
    several_frames: int = 0

    @property
    def count(self) -> int:
        """Count the images, including broken ones."""
        return sum(1 if isinstance(source, Path) else source.split.count for source in self.sources)

    def batches(self, size: int) -> Iterator[InputBatch]:
        """Yield the images in batches of `size`, so that any number of them fits into memory.

        Raises:
            DataError: a data file is damaged, or its values are not pixels.
        """
        waiting: list[InputBatch] = []
        for read in self._read(size):
            waiting.append(read)
            while sum(map(len, waiting)) >= size:
                whole = InputBatch.joined(waiting)
                first, others = np.split(np.arange(len(whole)), [size])
                waiting = [whole.take(others)] if len(others) else []
                yield whole.take(first)
        if waiting:
            yield InputBatch.joined(waiting)

    def _read(self, size: int) -> Iterator[InputBatch]:
        for are_files, sources in groupby(self.sources, lambda source: isinstance(source, Path)):
            if are_files:
                yield from self._of_files(cast("list[Path]", list(sources)))
            else:
                for source in cast("Iterator[OriginalFile]", sources):
                    yield from self._of_original(source, size)

    def _decoder(self) -> Decoder:
        return Decoder(Fitting.of(self.data), inspects=True, max_thumbnails=self._missing_thumbnails)

    @property
    def _missing_thumbnails(self) -> int:
        return self.max_thumbnails - len(self.thumbnails)

    def _of_files(self, files: Sequence[Path]) -> Iterator[InputBatch]:
        items = [(str(file), self.folders.get(file)) for file in files]
        blocks = blocks_of(items, min(MAX_ITEMS, decoded_at_once(self.data)))
        decoder = self._decoder()
        return self._decoded(decoder, in_order(decoder.files, blocks, len(items)), lambda place: items[place][0])

    def _decoded(self, decoder: Decoder, blocks: Iterable[DecodedBlock], name_of: Callable[[int], str]) -> Iterator[InputBatch]:
        """Yield the images of decoded blocks, and note those that are broken."""
        start = 0
        for block in blocks:
            names = {place: name_of(start + place) for place in range(len(block))}
            self.broken += [broken_images([(names.pop(place), why)], "1 image") for place, why in block.broken]
            self.several_frames += int(block.census["counts"][FRAMES])
            self.thumbnails += block.thumbnails[: self._missing_thumbnails]  # several processes draw more
            decoder.max_thumbnails = self._missing_thumbnails  # in the next blocks
            start += len(block)
            if names:
                yield InputBatch(list(names.values()), block.images, block.originals)

    def notes(self) -> list[str]:
        """Describe what was skipped, once all images are read."""
        several = [source for source in self.sources if isinstance(source, OriginalFile) and source.others]
        splits = [f"{each.path}: predicting the split '{each.split.name}', not {', '.join(each.others)}" for each in several]
        has = "1 image has" if self.several_frames == 1 else f"{self.several_frames:,} images have"
        return [*splits, *([f"{has} several frames; the first is read"] if self.several_frames else [])]

    def _of_original(self, file: OriginalFile, size: int) -> Iterator[InputBatch]:
        split = file.split
        if split.height is None:
            contents = cast("Iterator[list[bytes]]", split.blocks(min(MAX_ITEMS, decoded_at_once(self.data))))
            decoder = self._decoder()
            decoded = in_order(decoder.contents, contents, split.count)
            yield from self._decoded(decoder, decoded, lambda place: f"{file.path}:{place + 1}")
            return
        row = 0
        for block in cast("Iterator[NDArray[Any]]", split.blocks(size)):
            names = [f"{file.path}:{row + number}" for number in range(1, len(block) + 1)]
            yield self._of_array(file, names, block)
            row += len(block)

    def _of_array(self, file: OriginalFile, names: list[str], block: NDArray[Any]) -> InputBatch:
        try:
            fitted = fit_array(block, self.data)
        except DataError as error:
            message = str(error).replace("write data.pixel_max:", "add --pixel-max")
            raise DataError(f"{file.path}: {message}") from error
        self.thumbnails += [array_thumbnail(image) for image in block[: self._missing_thumbnails]]
        return InputBatch(names, fitted, originals_in(block))


def source_of(file: Path, data: DataSpec) -> Path | OriginalFile:
    """Return the file itself, or, for a data file with many images, its split to predict.

    Args:
        file: as the user named it.
        data: how the run reads its own images. Its keys of images and labels apply to files of the same kind.

    Raises:
        DataError: the data file is damaged, or has several splits but no test split.
    """
    kind = None if file.suffix.lower() in IMAGE_SUFFIXES else recognised(file)
    if kind not in KINDS:
        return file
    size = data.image_size[::-1] if data.image_size and data.transpose else data.image_size
    parts = open_parts(kind, file, data.keys if kind == data.source else None, size)
    tests = [name for name in parts if role_of(name) == "test"]
    chosen = tests if len(tests) == 1 else list(parts)
    if len(chosen) != 1:
        raise DataError(
            f"{file}: expected a test split or a single split, received {', '.join(parts)}; split it into one file each"
        )
    others = tuple(f"{name} ({counted(part.count, 'image')})" for name, part in parts.items() if name != chosen[0])
    return OriginalFile(file, parts[chosen[0]], others)
