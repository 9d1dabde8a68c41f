"""Streamed sets: equal to those in memory to the bit, whole or not there, and reported where the disk is too small."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from cnnctl.data import image_set
from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.image_set import ImageSet
from cnnctl.data.images import Pixels
from cnnctl.data.inspect.duplicates import equal_images
from cnnctl.data.inspect.facts import data_facts
from cnnctl.data.pipeline import (
    Preparation,
    Shares,
    as_read_error,
    iterate,
    ordered_batches,
    owned,
    training_batches,
    training_sample,
)
from cnnctl.data.sources import tfds_source
from cnnctl.data.sources.opening import open_source
from cnnctl.data.sources.tfds_builders import count_of
from cnnctl.data.splits import Splits, fingerprint, read_splits
from cnnctl.data.store import cache, lazy, memory, stream
from cnnctl.data.store.lazy import LazyImages
from cnnctl.data.store.stream import Blocks, Decoding, opened_entry, streamed
from cnnctl.data.user_images import read_classes
from cnnctl.errors import DataError
from cnnctl.few_shot.episodes import Episodes, add_pose_classes, training_episodes
from cnnctl.spec.dataset import Augment, DataSpec, Erase
from cnnctl.spec.few_shot import EpisodeSize
from tests.data.test_class_splits import letters, prepared  # noqa: F401  # a fixture

COUNT, SIDE = 40, 6
PLAIN = Preparation(0, False, None)
CHANGED = Preparation(COUNT, True, Augment(rotation=20, shift=0.1, zoom=0.1, shear=5, flip=True, elastic=0.1, thickness=0.5))
MIXED = Preparation(COUNT, False, Augment(rotation=20, erase=Erase(), mixup=0.4))


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with splits, of images of several sizes and modes; some of them are copies."""
    generator = np.random.default_rng(0)
    for split, count in (("train", COUNT), ("test", 9)):
        for number in range(count):
            place = tmp_path / "images" / split / "abcd"[number % 4]
            place.mkdir(parents=True, exist_ok=True)
            shape = (SIDE, SIDE, 3) if number % 3 else (SIDE + 2, SIDE - 1)
            pixels = generator.integers(0, 256, shape, np.uint8) if number % 5 else np.full(shape, 9, np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "images"


def of_folder(images: Path, mode: str, **fields: Any) -> DataSpec:
    plain = {"source": "folder", "path": str(images), "image_size": [SIDE, SIDE], "channels": 3, "classes": 4, "test": "test"}
    return DataSpec.model_validate({**plain, "memory": mode, **fields})


def of_digits(mode: str, **fields: Any) -> DataSpec:
    plain = {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.2, "validation": 0.1}
    return DataSpec.model_validate({**plain, "memory": mode, **fields})


def of_mnist(mode: str, **fields: Any) -> DataSpec:
    plain = {"source": "tfds", "name": "mnist", "image_size": [28, 28], "channels": 1, "classes": 10, "test": "test[:5%]"}
    return DataSpec.model_validate({**plain, "train": "train[:2000]", "memory": mode, **fields})


def assert_same_set(kept: ImageSet | None, lazy: ImageSet | None) -> None:
    if kept is None or lazy is None:
        assert kept is lazy
        return
    assert isinstance(lazy.images, LazyImages)
    assert not isinstance(kept.images, LazyImages)
    np.testing.assert_array_equal(lazy.images[:], kept.images)
    np.testing.assert_array_equal(lazy.labels, kept.labels)
    assert fingerprint(lazy) == fingerprint(kept)


def assert_same_splits(kept: Splits, lazy: Splits) -> None:
    assert_same_set(kept.train, lazy.train)
    assert_same_set(kept.validation, lazy.validation)
    assert_same_set(kept.read_test(), lazy.read_test())
    assert lazy.class_names == kept.class_names
    assert [note for note in lazy.notes if "stream" not in note] == kept.notes


# equal to what is in memory

FOLDERS: list[dict[str, Any]] = [
    {},
    {"validation": None},
    {"test": 0.3},
    {"invert": True, "channels": 1},
    {"image_size": [9, 4]},
    {"labels": "one_hot"},
]


@pytest.mark.parametrize("fields", FOLDERS, ids=str)
def test_splits_of_a_folder_are_those_in_memory(fields: dict[str, Any], images: Path) -> None:
    assert_same_splits(*(read_splits(of_folder(images, mode, **fields)) for mode in ("keep", "stream")))


@pytest.mark.parametrize(
    "fields", [{}, {"validation": None}, {"image_size": [10, 6], "channels": 3}, {"invert": True}], ids=str
)
def test_splits_of_the_digits_are_those_in_memory(fields: dict[str, Any]) -> None:
    assert_same_splits(*(read_splits(of_digits(mode, **fields)) for mode in ("keep", "stream")))


LETTERS: list[dict[str, Any]] = [
    {"test": 0.3, "validation": 0.2},
    {"test": ["letter_3", "letter_8"], "invert": True},
    {"hold_out": "group", "group": "alphabet", "validation": ["Signs"], "test": 0.4},
    {"test": "half_new", "shared_classes": "drop", "image_size": [5, 7], "channels": 3},
]


@pytest.mark.parametrize("fields", LETTERS, ids=str)
def test_disjoint_splits_of_a_prepared_set_are_those_in_memory(fields: dict[str, Any], prepared: Path) -> None:  # noqa: F811
    assert_same_splits(*(read_disjoint_splits(letters(prepared, memory=mode, **fields)) for mode in ("keep", "stream")))


@pytest.mark.parametrize("fields", [{"train": "new+old"}, {"remap_labels": True, "train": "old", "classes": 3}], ids=str)
def test_parts_of_a_prepared_set_are_those_in_memory(fields: dict[str, Any], prepared: Path) -> None:  # noqa: F811
    sets = [open_source(letters(prepared, memory=mode, **fields)).read(fields["train"]) for mode in ("keep", "stream")]
    assert_same_set(*sets)


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR has no prepared MNIST")
@pytest.mark.parametrize("fields", [{}, {"train": "train[-1%:]+test[10:20]"}, {"image_size": [20, 20]}], ids=str)
def test_splits_of_mnist_are_those_in_memory(fields: dict[str, Any], folder: Path) -> None:
    kept = read_splits(of_mnist("keep", **fields))
    shutil.rmtree(folder)
    assert_same_splits(kept, read_splits(of_mnist("stream", **fields)))


def test_a_folder_to_be_judged_on_is_that_in_memory(images: Path) -> None:
    sets = [read_classes(images / "test", of_folder(images, mode), ["d", "c", "b", "a"])[0] for mode in ("keep", "stream")]
    assert_same_set(*sets)


@pytest.mark.parametrize("mode", ["auto", "keep", "stream"])
def test_what_lies_beside_a_folder_to_be_judged_on_is_not_looked_at(mode: str, images: Path) -> None:
    data = of_folder(images, mode, train="a", validation="train", test="other")
    found, _ = read_classes(images / "test", data, ["a", "b", "c", "d"])
    assert len(found) == 9


def test_the_facts_of_a_set_are_those_in_memory(images: Path) -> None:
    kept, lazy = (data_facts(data, read_splits(data)) for data in (of_folder(images, mode) for mode in ("keep", "stream")))
    assert len(kept.duplicates) > 0
    assert {**vars(lazy), "notes": []} == {**vars(kept), "notes": []}
    assert "images are streamed from disk: data.memory is stream" in lazy.notes


def test_copies_are_placed_in_the_split_that_they_are_in() -> None:
    one, other = (np.random.default_rng(0).integers(0, 256, (count, 2, 2, 1), np.uint8) for count in (7, 5))
    one[3], other[4], one[6] = 0, 0, 0
    found = equal_images({"one": ImageSet(one, np.zeros(7, np.int64)), "other": ImageSet(other + 0, np.zeros(5, np.int64))})
    assert [("one", 3), ("one", 6), ("other", 4)] in found
    assert [("one", 0), ("other", 0)] in found  # drawn from the same seed


# batches


@pytest.fixture
def sets() -> tuple[ImageSet, ImageSet]:
    kept, lazy = (read_splits(of_digits(mode)).train for mode in ("keep", "stream"))
    return kept, lazy


@pytest.mark.parametrize("prepare", [PLAIN, CHANGED, MIXED], ids=["plain", "augmented", "mixed"])
@pytest.mark.parametrize("skip", [0, 1, 12, 25])
def test_training_batches_are_those_in_memory_to_the_bit(
    prepare: Preparation, skip: int, sets: tuple[ImageSet, ImageSet]
) -> None:
    """1,258 images: 13 batches an epoch."""
    kept, lazy = (
        list(training_batches(each, prepare, batch_size=100, seed=3, first_epoch=1, epochs=3, skip=skip).as_numpy_iterator())
        for each in sets
    )
    assert len(kept) == 26 - skip
    assert_same_batches(kept, lazy)


@pytest.mark.parametrize("prepare", [PLAIN, CHANGED], ids=["plain", "augmented"])
@pytest.mark.parametrize("batch_size", [100, 1258, 5000])
def test_ordered_batches_are_those_in_memory_to_the_bit(
    prepare: Preparation, batch_size: int, sets: tuple[ImageSet, ImageSet]
) -> None:
    kept, lazy = (list(ordered_batches(each, prepare, batch_size).as_numpy_iterator()) for each in sets)
    assert sum(len(images) for images, _ in lazy) == 1258
    assert_same_batches(kept, lazy)


@pytest.mark.parametrize("replicas", [range(3), range(1, 2)])
def test_the_shares_of_replicas_are_those_in_memory_to_the_bit(replicas: range, sets: tuple[ImageSet, ImageSet]) -> None:
    shares = Shares(replicas, 3)
    trained, judged = [], []
    for each in sets:
        for prepare in (CHANGED, MIXED):
            batches = training_batches(each, prepare, batch_size=100, seed=3, first_epoch=0, epochs=2, skip=12, shares=shares)
            trained.append(list(batches.as_numpy_iterator()))
        judged.append(list(ordered_batches(each, PLAIN, 100, shares).as_numpy_iterator()))
    assert len(trained[0]) == 14 * len(replicas)
    assert_same_batches(trained[0] + trained[1], trained[2] + trained[3])
    assert_same_batches(*judged)


def test_a_sample_is_that_in_memory_to_the_bit(sets: tuple[ImageSet, ImageSet]) -> None:
    for prepare in (CHANGED, MIXED):
        kept, lazy = (training_sample(each, prepare, count=32, seed=5) for each in sets)
        assert_same_batches([tuple(map(np.asarray, kept))], [tuple(map(np.asarray, lazy))])


def test_the_batches_of_a_streamed_set_know_their_shape(sets: tuple[ImageSet, ImageSet]) -> None:
    """Keras builds a network by it."""
    for each in sets:
        dataset = training_batches(each, PLAIN, batch_size=100, seed=3, first_epoch=0, epochs=1)
        assert dataset.element_spec[0].shape.as_list() == [None, 8, 8, 1]


@pytest.mark.parametrize(("rotations", "mirrors"), [(False, False), (True, True), (False, True)])
def test_episodes_are_those_in_memory_to_the_bit(rotations: bool, mirrors: bool, sets: tuple[ImageSet, ImageSet]) -> None:
    drawn = []
    for each in sets:
        turned = add_pose_classes(each, rotations, mirrors)
        episodes = Episodes(turned, EpisodeSize(5, 2, 3), "train")
        batches = training_episodes(episodes, CHANGED, seed=1, first=4, count=8, at_once=3, per_epoch=4, skip=1)
        drawn.append(list(batches.as_numpy_iterator()))
        assert isinstance(turned.images, LazyImages) == isinstance(each.images, LazyImages)
    assert_same_batches(*drawn)


def assert_same_batches(kept: list[Any], lazy: list[Any]) -> None:
    for mine, its in zip(kept, lazy, strict=True):
        for one, other in zip(mine, its, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert one.tobytes() == other.tobytes()


def test_an_image_that_cannot_be_read_within_the_graph_is_told_as_it_is(sets: tuple[ImageSet, ImageSet], folder: Path) -> None:
    _, lazy = sets
    (entry,) = folder.iterdir()
    os.truncate(entry, 1000)
    batches = training_batches(lazy, PLAIN, batch_size=100, seed=3, first_epoch=0, epochs=1)
    with pytest.raises(DataError) as raised, as_read_error():
        list(batches)
    printed = f"the file of decoded images in {folder} was truncated while images were read from it; run the command again"
    assert str(raised.value) == printed
    with pytest.raises(tf.errors.InvalidArgumentError, match="Incompatible shapes"), as_read_error():
        tf.constant([1, 2]) + tf.constant([1, 2, 3])


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_closes_the_batches_even_where_its_traceback_holds_them(
    kind: type[BaseException], sets: tuple[ImageSet, ImageSet]
) -> None:
    """A thread that reads images for them might collect them, and wait for itself."""
    held: list[Any] = []

    def train(batches: Any) -> None:
        held.append(batches)
        next(batches)
        raise kind

    with pytest.raises(kind), iterate(training_batches(sets[1], PLAIN, batch_size=10, seed=3, first_epoch=0, epochs=9)) as own:
        train(own)
    assert next(held[0], None) is None


def test_all_iterators_over_an_owned_dataset_are_closed_at_its_end(sets: tuple[ImageSet, ImageSet]) -> None:
    batches = training_batches(sets[1], PLAIN, batch_size=10, seed=3, first_epoch=0, epochs=1)
    with owned(batches) as dataset:
        twice = [list(dataset.as_numpy_iterator()) for _ in range(2)]
        left = [iter(dataset), iter(dataset)]
        next(left[1])
    for passed in twice:
        assert_same_batches(passed, list(batches.as_numpy_iterator()))
    assert [next(each, None) for each in left] == [None, None]


# chosen by size


@pytest.mark.parametrize(("bytes_", "kept"), [(4 * 49 * 108, True), (4 * 49 * 108 - 1, False)])
def test_auto_keeps_what_takes_a_quarter_of_the_memory(
    bytes_: int, kept: bool, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 training and 9 test images of 6·6·3 bytes."""
    monkeypatch.setattr(memory, "machine_memory", lambda: bytes_)
    splits = read_splits(of_folder(images, "auto"))
    assert isinstance(splits.train.images, LazyImages) != kept
    assert isinstance(splits.read_test().images, LazyImages) != kept
    printed = "images are streamed from disk: decoded they take 0.0 GB, more than a quarter of the 0.0 GB of memory"
    assert (printed in splits.notes) != kept


def test_auto_keeps_where_the_system_says_nothing_of_its_memory(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: None)
    assert not isinstance(read_splits(of_folder(images, "auto")).train.images, LazyImages)


@pytest.mark.parametrize(
    ("fields", "copied"),
    [
        ({"validation": None}, 0.0),
        ({"validation": 0.2}, 0.2),
        ({"validation": 0.1, "test": 0.3}, 0.4),
        ({"hold_out": "class", "test": 0.2}, 1.0),
    ],
)
def test_the_estimate_for_images_in_memory_is_the_peak_of_reading_them(
    fields: dict[str, Any], copied: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_set, "READ_AT_ONCE", 64)  # what is read or copied at a time is small beside so few images too
    monkeypatch.setattr(lazy, "BLOCK_VALUES", 2**18)
    generator, count = np.random.default_rng(0), {"train": 6000, "test": 10}
    arrays = {f"x_{split}": generator.integers(0, 256, (each, 32, 32, 3), np.uint8) for split, each in count.items()}
    arrays |= {f"y_{split}": np.arange(each) % 10 for split, each in count.items()}
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]  # none of them is named allow_pickle
    data = of_digits(
        "keep", source="npz", path=str(tmp_path / "x.npz"), image_size=[32, 32], channels=3, **{"test": "test", **fields}
    )
    read = read_disjoint_splits if data.holds_out_classes else read_splits
    tracemalloc.start()
    try:
        splits = read(data)
        splits.read_test()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(splits.train.images, np.ndarray)
    estimate = count["train"] * 32 * 32 * 3 * (1 + memory.copied_part(data, "train"))
    assert memory.copied_part(data, "train") == pytest.approx(copied)
    assert estimate < peak < estimate + 2**21


def test_auto_counts_a_prepared_set_without_tfds(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """18 training and 3 test images of 9 bytes, from the cache."""
    data = letters(prepared, memory="auto")
    read_disjoint_splits(data)
    monkeypatch.setattr(tfds_source, "prepared_builder", None)
    for count, kept in ((8 * 21 * 9, True), (8 * 21 * 9 - 1, False)):
        monkeypatch.setattr(memory, "machine_memory", lambda count=count: count)
        assert isinstance(read_disjoint_splits(data).train.images, LazyImages) != kept


def test_keep_that_does_not_fit_says_that_stream_would(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 1000)
    with pytest.raises(DataError, match=r"but this machine has 0\.0 GB of memory; write data\.memory: stream or a smaller"):
        read_splits(of_folder(images, "keep"))


SPLITS = ["train", "new", "train[:50%]", "train[33%:]", "train[-7%:]", "mixed[1:3]", "new[-2:]", "train[:9%]+new", "train[5:5]"]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_counted_as_tfds_counts_it_give_or_take_one(split: str, prepared: Path) -> None:  # noqa: F811
    splits = tfds.builder_from_directory(prepared / "letters" / "1.0.0").info.splits
    lengths = {name: info.num_examples for name, info in splits.items()}
    assert abs(count_of(split, lengths) - splits[split].num_examples) <= 1


def test_of_a_split_that_is_not_known_none_is_counted_and_of_a_part_that_is_not_understood_all() -> None:
    assert count_of("other[:3]", {"train": 18}) == 0
    assert count_of("train[:1shard]", {"train": 18}) == 18


# the file


def decoding(value: int = 1, count: int = 50, calls: list[int] | None = None, yields: int | None = None) -> Decoding:
    def blocks() -> Blocks:
        if calls is not None:
            calls.append(value)
        yielded = count if yields is None else yields
        for start in range(0, yielded, 8):
            yield np.full((min(8, yielded - start), 4, 4, 1), value, np.uint8)
        return {"labels": np.arange(count)}

    return Decoding("the {:,} images take".format, lambda: count, (4, 4, 1), blocks)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(b"content")
    return tmp_path / "source"


def test_what_was_decoded_is_not_decoded_again_whether_kept_or_streamed(source: Path, folder: Path) -> None:
    calls: list[int] = []
    streamed({"a": 1}, [source], decoding(calls=calls))
    found = streamed({"a": 1}, [source], decoding(calls=calls))
    arrays = cache.cached({"a": 1}, [source], decoding(calls=calls).in_memory)
    assert calls == [1]
    assert found.passing == ""
    np.testing.assert_array_equal(found.images[:], arrays["images"])
    np.testing.assert_array_equal(found.others["labels"], arrays["labels"])
    cache.cached({"a": 2}, [source], decoding(2, calls=calls).in_memory)
    assert streamed({"a": 2}, [source], decoding(2, calls=calls)).images[3].max() == 2
    assert calls == [1, 2]
    assert len(list(folder.iterdir())) == 2


def test_an_entry_is_the_same_file_whether_kept_or_streamed(source: Path, folder: Path) -> None:
    streamed({}, [source], decoding())
    (entry,) = folder.iterdir()
    with np.load(entry) as content:  # NumPy's own reader
        assert content["images"].shape == (50, 4, 4, 1)
        assert content["labels"].tolist() == list(range(50))


@pytest.mark.parametrize("damage", ["cut", "empty", "no zip", "compressed"])
def test_a_damaged_file_is_noticed_and_made_anew(damage: str, source: Path, folder: Path) -> None:
    streamed({}, [source], decoding(1, 3000))
    (entry,) = folder.iterdir()
    content = entry.read_bytes()
    if damage == "compressed":
        np.savez_compressed(entry, images=np.ones((3000, 4, 4, 1), np.uint8), labels=np.arange(3000))
    else:
        entry.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "no zip": b"no zip"}[damage])
    assert streamed({}, [source], decoding(2, 3000)).images[2999].max() == 2
    assert streamed({}, [source], decoding(3, 3000)).images[2999].max() == 2


def test_no_wrong_bit_anywhere_gives_wrong_images(source: Path, folder: Path) -> None:
    streamed({}, [source], decoding(count=3))
    (entry,) = folder.iterdir()
    content, noticed = entry.read_bytes(), 0
    for position in range(len(content)):
        for bit in (0, 3, 6):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            entry.write_bytes(damaged)
            found = opened_entry(entry)
            noticed += found is None
            if found is not None:  # the bits of the time, for example, tell nothing about the images
                assert found.images[:].tolist() == np.ones((3, 4, 4, 1)).tolist()
                assert found.others["labels"].tolist() == [0, 1, 2]
    assert noticed > len(content)


@pytest.mark.parametrize("count", [0, 49, 51, 80])
def test_other_images_than_there_should_be_are_no_set(count: int, source: Path, folder: Path) -> None:
    for make in (lambda: streamed({}, [source], decoding(yields=count)), decoding(yields=count).in_memory):
        with pytest.raises(DataError, match=f"expected 50 images, found {count}; repair the data"):
            make()
    assert not list(folder.iterdir())


def test_a_file_that_changes_while_it_is_decoded_is_streamed_for_this_run_alone(source: Path, folder: Path) -> None:
    plain = decoding(7)

    def blocks() -> Blocks:
        source.write_bytes(b"changed meanwhile")
        return (yield from plain.blocks())

    found = streamed({}, [source], Decoding(plain.take, plain.count, plain.image, blocks))
    assert found.passing == "files changed while they were decoded"
    assert found.images[49].max() == 7
    assert not list(folder.iterdir())


@pytest.mark.parametrize("why", ["off", "too small", "not to be written"])
def test_what_the_cache_cannot_hold_is_streamed_from_a_file_that_leaves_nothing(
    why: str, source: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    if why == "off":
        monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")
    elif why == "too small":
        monkeypatch.setenv("CNNCTL_CACHE_SIZE", str(50 * 16 - 1))
    else:
        folder.write_text("a file where the folder should be")
    calls: list[int] = []
    for _ in range(2):
        found = streamed({}, [source], decoding(4, calls=calls))
        assert found.images[49].max() == 4
    assert calls == [4, 4]
    expected = {"off": "the cache is off", "too small": "CNNCTL_CACHE_SIZE is 0.0 GB"}
    assert found.passing == expected.get(why, f"{folder} cannot be written")
    assert not list((tmp_path / "temporary").iterdir())
    assert not folder.is_dir() or not list(folder.iterdir())


def test_a_run_says_that_images_are_decoded_for_it_alone(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")
    splits = read_splits(of_folder(images, "stream"))
    splits.read_test()
    assert splits.notes.count("the decoded images are for this run only, since the cache is off") == 1


def test_an_entry_that_makes_room_for_another_is_read_to_its_end_by_who_has_it(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_SIZE", "3000")
    first = streamed({"a": 1}, [source], decoding(1, 100))
    second = streamed({"a": 2}, [source], decoding(2, 100))
    assert len(list(folder.iterdir())) == 1
    assert (first.images[99].max(), second.images[99].max()) == (1, 2)


def test_what_killed_processes_left_is_removed_when_a_set_is_decoded(source: Path, folder: Path) -> None:
    folder.mkdir()
    for name, age in (("killed", 1000), ("living", 1)):
        (folder / f".{name}.part").write_bytes(bytes(25))
        os.utime(folder / f".{name}.part", (time.time() - age, time.time() - age))
    streamed({}, [source], decoding())
    assert [file.name for file in folder.iterdir() if file.suffix == ".part"] == [".living.part"]


# the disk


def test_a_disk_with_too_little_room_is_told_before_anything_is_decoded(
    images: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 40 * 108 - 1))
    monkeypatch.setattr("cnnctl.data.decoding.opened_file", None)
    with pytest.raises(DataError) as raised:
        read_splits(of_folder(images, "stream"))
    assert str(raised.value) == (
        f"the 40 images of 'train' take, as 6×6×3, 0.0 MB on disk for streaming, but {folder} has 0.0 MB free; "
        "free some, set CNNCTL_CACHE_DIR to a folder on a larger disk, set a smaller data.image_size, or read part of the split"
    )
    assert not list(folder.iterdir())


FULL = """
import resource, sys
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    read_splits(DataSpec.model_validate_json(sys.argv[1]))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("cache_dir", ["on", "off"])
def test_a_disk_that_gets_full_is_told_and_nothing_is_left(cache_dir: str, images: Path, folder: Path, tmp_path: Path) -> None:
    """A process that may write only 2 kB into a file stands for it."""
    place = {"on": str(folder), "off": "off"}[cache_dir]
    environment = {**os.environ, "CNNCTL_CACHE_DIR": place, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    words = [sys.executable, "-c", FULL, of_folder(images, "stream").model_dump_json()]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    where, variable = (folder, "CNNCTL_CACHE_DIR") if cache_dir == "on" else (tmp_path, "TMPDIR")
    assert f"but {where} cannot be written (File too large); free some, set {variable} to a folder" in done.stdout
    assert sorted(file.name for file in tmp_path.rglob(".*")) == []
    assert not folder.is_dir() or not list(folder.iterdir())


# several processes

READ = """
import sys, time
from cnnctl.data import decoding
from cnnctl.data.splits import fingerprint, read_splits
from cnnctl.spec.dataset import DataSpec
opened = decoding.opened_file
def slowly(*given):
    time.sleep(float(sys.argv[2]))
    return opened(*given)
decoding.opened_file = slowly
print(fingerprint(read_splits(DataSpec.model_validate_json(sys.argv[1])).train))
"""


def reading(images: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    words = [sys.executable, "-c", READ, of_folder(images, "stream").model_dump_json(), str(seconds)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


def test_several_processes_that_decode_at_once_agree(images: Path, folder: Path) -> None:
    running = [reading(images, 0.05) for _ in range(3)]
    found = {process.communicate()[0] for process in running}
    assert found == {f"{fingerprint(read_splits(of_folder(images, 'keep')).train)}\n"}
    assert [file.suffix for file in folder.iterdir()] == [".npz"]


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_while_it_decodes_leaves_nothing_that_is_taken_for_whole(
    blow: signal.Signals, images: Path, folder: Path
) -> None:
    with reading(images, 0.2) as process:
        while not list(folder.glob(".*.part")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(blow)
        process.communicate()
    assert process.returncode
    assert not list(folder.glob("*.npz"))
    assert bool(list(folder.glob(".*.part"))) == (blow == signal.SIGKILL)
    kept, lazy = (fingerprint(read_splits(of_folder(images, mode)).train) for mode in ("keep", "stream"))
    assert kept == lazy


# memory


def test_no_more_than_a_block_is_in_memory_while_a_folder_is_decoded(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "_BYTES_AT_ONCE", 5 * 108)
    blocks: list[int] = []
    drained = Decoding.drained

    def counted(self: Decoding, take: Callable[[Pixels], object]) -> Any:
        def noted(block: Pixels) -> None:
            blocks.append(len(block))
            take(block)

        return drained(self, noted)

    monkeypatch.setattr(stream.Decoding, "drained", counted)
    read_splits(of_folder(images, "stream"))
    assert sum(blocks) == 40
    assert max(blocks) <= 5


@pytest.fixture
def nothing_loads_a_whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no more than a few images be asked for at once."""
    read = LazyImages.__getitem__

    def few(self: LazyImages, index: Any) -> Pixels:
        found = read(self, index)
        assert found.ndim == 3 or found.size <= 100 * 64, f"{len(found)} images at once"
        return found

    monkeypatch.setattr(LazyImages, "__getitem__", few)
    monkeypatch.setattr("cnnctl.data.store.lazy.BLOCK_VALUES", 100 * 64)


@pytest.mark.usefixtures("nothing_loads_a_whole_set")
def test_neither_the_facts_nor_the_fingerprint_nor_batches_load_a_whole_set() -> None:
    data = of_digits("stream", validation=0.2, test=0.2)
    splits = read_splits(data)
    data_facts(data, splits)
    training_sample(splits.train, CHANGED, count=32, seed=0)
    assert len(list(ordered_batches(splits.train, PLAIN, 100))) == 11
    assert len(list(training_batches(splits.train, CHANGED, batch_size=100, seed=0, first_epoch=0, epochs=1))) == 11
