"""Hold the decoded images of a set in memory, or in a file from which batches are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from cnnctl.data.decoding_pool import processes_kept
from cnnctl.data.store.cache import IMAGES, Arrays, Layout, cached
from cnnctl.data.store.lazy import AnyImages
from cnnctl.data.store.memory import TOO_LARGE, images_take, refuse_too_many_images, why_streamed
from cnnctl.data.store.stream import Blocks, Decoding, streamed
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec


class ImageStore:
    """Decodes the splits of a set, or loads them from the cache, to memory or disk according to `data.memory`.

    Args:
        data: a checked config.
        count: counts the images of a split without decoding any; 0 where unknown.
        notes: receives a line where images are streamed.
    """

    def __init__(self, data: DataSpec, count: Callable[[str], int], notes: list[str]) -> None:
        self._data = data
        self._count = count
        self._notes = notes

    @cached_property
    def _streams(self) -> bool:
        """Whether the images are streamed: those of all splits, or none."""
        splits = dict.fromkeys([self._data.train, *filter(_is_name, (self._data.validation, self._data.test))])
        why = why_streamed(self._data, sum(map(self._count, map(str, splits))) if self._data.memory == "auto" else 0)
        self._notes += [f"images are streamed from disk: {why}"] if why else []
        return bool(why)

    def images(
        self,
        split: str,
        options: Mapping[str, object],
        files: list[Path] | None,
        blocks: Callable[[], Blocks],
        count: Callable[[], int] | None = None,
        quick: bool = False,
        others: Sequence[str] = (),
    ) -> tuple[AnyImages, Arrays]:
        """Load the images of a split, and its other arrays.

        Args:
            split: its name in the source.
            options: everything besides the files that determines the images, as plain values.
            files: the files to decode; None where decoding is so fast that images in memory need no cache.
            blocks: decodes the images.
            count: counts the images exactly, called only where they are decoded; None for the count of the constructor.
            quick: True where decoding is as fast as reading the cache, so that images in memory need no cache.
            others: the names of the other arrays, separated by spaces; several texts are alternatives.

        Raises:
            DataError: an image cannot be decoded, or memory or disk space is too small.
            OSError: a file cannot be read.
        """
        data = self._data
        assert data.image_size and data.channels
        counted = count or partial(self._count, split)
        decoding = Decoding(lambda some: images_take(some, data, split), counted, (*data.image_size, data.channels), blocks)
        names = [frozenset(["images", *each.split()]) for each in others]
        knows_itself = any("labels" in each for each in names)  # counting the images of such a set is slow
        layout = Layout(names, decoding.image, None if knows_itself else decoding.count()) if names else None
        if self._streams:
            return self._streamed(options, files or [], decoding, layout)
        refuse_too_many_images(self._count(split), data, split)

        def decoded() -> Arrays:
            refuse_too_many_images(decoding.shape[0], data, split)
            return decoding.in_memory()

        try:
            with processes_kept():
                arrays = decoded() if files is None or quick else cached(options, files, decoded, layout, self._notes)
        except MemoryError as error:  # less may be free than the limit allows
            raise DataError(f"there is not enough memory for the images of '{split}'; {TOO_LARGE}") from error
        beside = {name: array for name, array in arrays.items() if name != IMAGES}  # a source keeps them
        return arrays[IMAGES], beside

    def _streamed(
        self, options: Mapping[str, object], files: list[Path], decoding: Decoding, layout: Layout | None
    ) -> tuple[AnyImages, Arrays]:
        with processes_kept():
            found = streamed(options, files, decoding, layout, self._notes)
        note = f"the decoded images are for this run only, since {found.passing}"
        if found.passing and note not in self._notes:
            self._notes.append(note)
        return found.images, found.others


def _is_name(part: object) -> bool:
    return isinstance(part, str)
