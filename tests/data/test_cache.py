"""Decoded images on disk: equal to what is decoded anew, never stale, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data import decoding
from cnnctl.data.sources import tfds_source
from cnnctl.data.sources.opening import open_source
from cnnctl.data.store import cache
from cnnctl.data.store.cache import Arrays, Layout, cached
from cnnctl.data.store.lazy import ALIGNMENT
from cnnctl.errors import UsageError
from cnnctl.spec.dataset import DataSpec

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source"
    file.write_bytes(b"content")
    return file


def makes(value: int, calls: list[int] | None = None, size: int = 5) -> Callable[[], Arrays]:
    def make() -> Arrays:
        if calls is not None:
            calls.append(value)
        return {"images": np.full(size, value, np.uint8), "names": np.array(["a", "bc"])}

    return make


def never() -> Arrays:
    raise AssertionError("decoded again")


def test_what_was_made_is_not_made_again(source: Path) -> None:
    made = cached({"a": 1}, [source], makes(3))
    found = cached({"a": 1}, [source], never)
    assert {name: (each.dtype, each.tolist()) for name, each in found.items()} == {
        name: (each.dtype, each.tolist()) for name, each in made.items()
    }


def test_other_options_other_contents_and_other_names_are_other_entries(source: Path, folder: Path) -> None:
    cached({"a": 1}, [source], makes(1))
    assert cached({"a": 2}, [source], makes(2))["images"][0] == 2
    stamp = source.stat()
    source.write_bytes(b"CONTENT")  # as long, and as old
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert cached({"a": 1}, [source], makes(3))["images"][0] == 3
    other = source.rename(source.with_name("other"))
    assert cached({"a": 1}, [other], makes(4))["images"][0] == 4
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "no zip"])
def test_a_damaged_entry_is_made_anew(source: Path, folder: Path, damage: str) -> None:
    cached({}, [source], makes(1, size=3000))
    (entry,) = folder.iterdir()
    content = entry.read_bytes()
    entry.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "no zip": b"no zip"}[damage])
    assert cached({}, [source], makes(2, size=3000))["images"].tolist() == [2] * 3000
    assert cached({}, [source], never)["images"].tolist() == [2] * 3000


def test_no_wrong_bit_anywhere_gives_wrong_arrays(source: Path, folder: Path) -> None:
    made = cached({}, [source], makes(1, size=20))
    (entry,) = folder.iterdir()
    content = entry.read_bytes()
    for position in range(len(content)):
        for bit in (0, 3, 6):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            entry.write_bytes(damaged)
            found = cache.read_entry(entry)
            if found is not None:  # the bits of the time, for example, tell nothing about the arrays
                assert list(found) == list(made)
                assert all(np.array_equal(found[name], made[name]) for name in made)


def test_a_file_that_changes_while_it_is_read_is_not_kept(source: Path, folder: Path) -> None:
    def changes() -> Arrays:
        source.write_bytes(b"changed meanwhile")
        return makes(1)()

    assert cached({}, [source], changes)["images"][0] == 1
    assert not list(folder.glob("*.npz"))
    source.write_bytes(b"content")
    assert cached({}, [source], makes(2))["images"][0] == 2


def test_a_size_that_is_no_number_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_SIZE", "4G")
    with pytest.raises(UsageError, match="CNNCTL_CACHE_SIZE is '4G', expected a number of bytes such as 4294967296"):
        cached({}, [source], makes(1))


def test_what_fails_to_be_made_leaves_nothing(source: Path, folder: Path) -> None:
    with pytest.raises(AssertionError, match="decoded again"):
        cached({}, [source], never)
    assert not folder.exists()


def test_off_writes_and_reads_nothing(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached({}, [source], makes(1))
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")
    assert cached({}, [source], makes(2))["images"][0] == 2
    assert len(list(folder.iterdir())) == 1


def test_the_longest_unused_entries_make_room(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in range(3):
        cached({"a": value}, [source], makes(value, size=10_000))
        (newest,) = (file for file in folder.iterdir() if cache.key_of({"a": value}, [source]) in file.name)
        os.utime(newest, (value + 1000, value + 1000))
    monkeypatch.setenv("CNNCTL_CACHE_SIZE", "35000")
    cached({"a": 0}, [source], never)  # used just now
    cached({"a": 3}, [source], makes(3, size=10_000))
    calls: list[int] = []
    for value in (0, 2, 3, 1):
        cached({"a": value}, [source], makes(value, calls, size=10_000))
    assert calls == [1]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 35_000


def test_what_is_larger_than_the_cache_is_not_kept(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_SIZE", "1000")
    assert cached({}, [source], makes(1, size=2000))["images"][0] == 1
    assert not folder.exists()


def test_a_part_that_a_killed_process_left_is_removed_for_room(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    for name, age in (("killed", 1000), ("living", 1)):
        (folder / f".{name}.part").write_bytes(bytes(2500))
        os.utime(folder / f".{name}.part", (time.time() - age, time.time() - age))
    monkeypatch.setenv("CNNCTL_CACHE_SIZE", "6000")
    cached({}, [source], makes(1, size=3000))
    assert sorted(file.suffix for file in folder.iterdir()) == [".npz", ".part"]
    assert (folder / ".living.part").exists()


def test_where_nothing_can_be_written_the_run_goes_on(source: Path, folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    assert cached({}, [source], makes(1))["images"][0] == 1


def test_several_processes_at_once_agree(source: Path, folder: Path) -> None:
    code = f"""
import numpy as np
from pathlib import Path
from cnnctl.data.store.cache import cached
for turn in range(30):
    arrays = cached({{"turn": turn % 3}}, [Path({str(source)!r})], lambda: {{"images": np.arange(200_000)}})
    assert np.array_equal(arrays["images"], np.arange(200_000))
"""
    environment = {**os.environ, "CNNCTL_CACHE_SIZE": "4000000"}  # room for two of the three: they push each other out
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert not list(folder.glob(".*.part"))


@pytest.fixture
def images(tmp_path: Path) -> DataSpec:
    for name, colour in (("a", (250, 0, 0)), ("b", (9, 9, 9))):
        (tmp_path / "set/train" / name).mkdir(parents=True)
        Image.new("RGB", (9, 7), colour).save(tmp_path / "set/train" / name / "1.png")
        Image.new("L", (6, 6), 77).save(tmp_path / "set/train" / name / "2.png")
    return DataSpec(source="folder", path=str(tmp_path / "set"), image_size=(6, 6), channels=1, classes=2)


def test_a_folder_is_decoded_once_and_says_the_same(images: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_source(images)
    read = first.read("train")
    monkeypatch.setattr(decoding, "decoded", never)
    second = open_source(images)
    again = second.read("train")
    assert np.array_equal(read.images, again.images)
    assert np.array_equal(read.labels, again.labels)
    assert first.notes == second.notes
    assert len(first.notes) == 4, "what was read, from where, resized and converted"


@pytest.mark.parametrize("change", [{"image_size": (5, 5)}, {"channels": 3}, {"invert": True}])
def test_images_made_otherwise_are_decoded_anew(images: DataSpec, change: dict[str, object]) -> None:
    open_source(images).read("train")
    changed = images.model_copy(update=change)
    found = open_source(changed).read("train")
    os.environ["CNNCTL_CACHE_DIR"] = "off"  # the fixture puts it back
    assert np.array_equal(found.images, open_source(changed).read("train").images)


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR has no prepared MNIST")
def test_mnist_from_the_cache_is_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataSpec(source="tfds", name="mnist", image_size=(28, 28), channels=1, classes=10)
    read = {split: open_source(data).read(split) for split in ("test", "train[:10%]")}
    labels = open_source(data).labels("test")
    monkeypatch.setattr(tfds_source.TfdsSource, "_batches", never)
    again = open_source(data)
    for split, images in read.items():
        found = again.read(split)
        assert np.array_equal(images.images, found.images)
        assert np.array_equal(images.labels, found.labels)
    assert np.array_equal(open_source(data).labels("test"), labels)


# entries that others put there


def put_fifo(entry: Path) -> None:
    os.mkfifo(entry)


def put_link(entry: Path) -> None:
    entry.symlink_to("/dev/zero")


def put_link_outside(entry: Path) -> None:
    """A link to an entry that would do, outside of the cache."""
    other = entry.parent.with_name("outside.npz")
    np.savez(other, images=np.full(5, 9, np.uint8), names=np.array(["a", "bc"]))
    with zipfile.ZipFile(other, "a") as content:
        content.writestr(cache.NAMES, '["images", "names"]')
    entry.symlink_to(other)


def put_folder(entry: Path) -> None:
    entry.mkdir()


def put_compressed(entry: Path) -> None:
    """Few bytes that become 200 MB."""
    with zipfile.ZipFile(entry, "w", zipfile.ZIP_DEFLATED) as content:
        cache.write_arrays(content, {"images": np.zeros(200_000_000, np.uint8)})
        content.writestr(cache.NAMES, '["images"]')


def put_names(entry: Path) -> None:
    """A list of arrays that is none."""
    with zipfile.ZipFile(entry, "w") as content:
        content.writestr(cache.NAMES, '{"images": 1}')


@pytest.mark.parametrize("put", [put_fifo, put_link, put_link_outside, put_folder, put_compressed, put_names])
def test_what_is_no_entry_is_neither_waited_for_nor_read_and_told(
    put: Callable[[Path], None], source: Path, folder: Path
) -> None:
    folder.mkdir()
    entry = folder / f"{cache.key_of({}, [source])}.npz"
    put(entry)
    notes: list[str] = []
    tracemalloc.start()
    try:
        assert cached({}, [source], makes(3), notes=notes)["images"].tolist() == [3] * 5
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert notes == [f"{entry} is damaged, or was not written by cnnctl; decoding the images again"]
    if put is not put_folder:  # which nothing removes
        assert cached({}, [source], never, notes=notes)["images"].tolist() == [3] * 5
        assert len(notes) == 1


WRONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "fewer": lambda arrays: {**arrays, "images": arrays["images"][:3]},
    "none": lambda arrays: {**arrays, "images": arrays["images"][:0]},
    "of floats": lambda arrays: {**arrays, "images": arrays["images"] / 255},
    "of another shape": lambda arrays: {**arrays, "images": arrays["images"][:, :5]},
    "without channels": lambda arrays: {**arrays, "images": arrays["images"][..., 0]},
    "without counts": lambda arrays: {name: each for name, each in arrays.items() if name != "counts"},
    "with counts of another kind": lambda arrays: {**arrays, "counts": arrays["counts"].astype(np.float32)},
    "with too few counts": lambda arrays: {**arrays, "counts": arrays["counts"][:2]},
    "with sizes of nothing": lambda arrays: {**arrays, "sizes": 0 * arrays["sizes"]},
    "with more arrays": lambda arrays: {**arrays, "others": arrays["counts"]},
    "of nothing": lambda _: {},
}


@pytest.mark.parametrize("memory", ["keep", "stream"])
@pytest.mark.parametrize("wrong", WRONG)
def test_an_entry_of_other_arrays_is_decoded_again(wrong: str, memory: str, images: DataSpec, folder: Path) -> None:
    data = images.model_copy(update={"memory": memory})
    expected = open_source(data).read("train")
    pixels = expected.images[:]
    (entry,) = folder.glob("*.npz")
    arrays = dict(cache.read_entry(entry) or {})
    entry.unlink()  # those that are streamed are read from it still
    with entry.open("wb") as out:
        cache._written(out, WRONG[wrong](arrays))
    source = open_source(data)
    found = source.read("train")
    np.testing.assert_array_equal(found.images[:], pixels)
    assert found.original_sizes == expected.original_sizes
    assert [note for note in source.notes if "decoding the images again" in note] == [
        f"{entry} is damaged, or was not written by cnnctl; decoding the images again"
    ]
    assert {name: each.tolist() for name, each in (cache.read_entry(entry) or {}).items()} == {
        name: each.tolist() for name, each in arrays.items()
    }


SHAPE = (40, 6, 5, 1)
LAYOUT = Layout([frozenset(["images"])], SHAPE[1:], SHAPE[0])


def of_images(source: Path, make: Callable[[], Arrays] = never) -> NDArray[np.uint8]:
    return cached({}, [source], make, LAYOUT)["images"]


def test_images_come_back_equal_at_an_address_that_needs_no_copy(source: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    of_images(source, lambda: {"images": images})
    again = of_images(source)
    np.testing.assert_array_equal(again, images)
    assert again.ctypes.data % ALIGNMENT == 0
    assert again.flags.writeable


def test_no_memory_is_allocated_for_more_images_than_an_entry_has_bytes(source: Path, folder: Path) -> None:
    images = np.full(SHAPE, 9, np.uint8)
    of_images(source, lambda: {"images": images})
    (entry,) = folder.glob("*.npz")
    with zipfile.ZipFile(entry, "w") as content:
        with content.open(f"{cache.IMAGES}.npy", "w") as member:
            header = {"shape": (10_000_000, *SHAPE[1:]), "fortran_order": False, "descr": "|u1"}
            np.lib.format.write_array_header_1_0(member, header)
        content.writestr(cache.NAMES, '["images"]')
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(of_images(source, lambda: {"images": images}), images)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # the header is of 300 MB
    finally:
        tracemalloc.stop()


def test_one_changed_bit_of_the_images_is_noticed(source: Path, folder: Path) -> None:
    images = np.full(SHAPE, 9, np.uint8)
    of_images(source, lambda: {"images": images})
    (entry,) = folder.glob("*.npz")
    content = bytearray(entry.read_bytes())
    content[content.index(bytes([9] * 100)) + 50] ^= 1
    entry.write_bytes(content)
    np.testing.assert_array_equal(of_images(source, lambda: {"images": images}), images)
    entry.write_bytes(content)
    with pytest.raises(AssertionError, match="decoded again"):
        of_images(source)
