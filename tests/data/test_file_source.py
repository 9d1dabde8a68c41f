"""Original files of a set as sources: equal pixels and labels from every kind, kept and streamed, cached and not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from numpy.typing import NDArray

from cnnctl.data.inspect.facts import data_facts
from cnnctl.data.sources import file_source
from cnnctl.data.sources.file_source import FileSource
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import read_splits
from cnnctl.errors import ConfigError, DataError
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from tests.formats.originals import idx, png, some, write

STACK = "model: {layers: [flatten, {dense: {units: classes}}]}\ntrain: {epochs: 1, precision: float32}\n"
IMAGES, TEST_IMAGES = some(60, 7, 7), some(20, 7, 7, seed=1)
LABELS, TEST_LABELS = np.arange(60) % 5, np.arange(20) % 5


def table(images: NDArray[Any], labels: NDArray[Any] | None) -> str:
    head = ([] if labels is None else ["label"]) + [f"pixel{i}" for i in range(images[0].size)]
    rows = images.reshape(len(images), -1)
    rows = rows if labels is None else np.c_[labels, rows]
    return "\n".join([",".join(head), *(",".join(map(str, row)) for row in rows.tolist())]) + "\n"


def as_idx(root: Path, labels: NDArray[Any], test_labels: NDArray[Any]) -> Path:
    for name, array in (
        ("train-images-idx3", IMAGES),
        ("train-labels-idx1", labels.astype(np.uint8)),
        ("t10k-images-idx3", TEST_IMAGES),
        ("t10k-labels-idx1", test_labels.astype(np.uint8)),
    ):
        write(root / f"{name}-ubyte.gz", idx(array))
    return root


def as_npz(root: Path, labels: NDArray[Any], test_labels: NDArray[Any]) -> Path:
    np.savez_compressed(root / "set.npz", x_train=IMAGES, y_train=labels, x_test=TEST_IMAGES, y_test=test_labels)
    return root / "set.npz"


def as_csv(root: Path, labels: NDArray[Any], test_labels: NDArray[Any]) -> Path:
    write(root / "mnist_train.csv", table(IMAGES, labels).encode())
    write(root / "mnist_test.csv", table(TEST_IMAGES, test_labels).encode())
    return root


def as_mat(root: Path, labels: NDArray[Any], test_labels: NDArray[Any]) -> Path:
    parts = {"train": (IMAGES, labels), "test": (TEST_IMAGES, test_labels)}
    content = {name: {"images": x.reshape(len(x), -1), "labels": y[:, np.newaxis]} for name, (x, y) in parts.items()}
    scipy.io.savemat(root / "emnist.mat", {"dataset": content})
    return root / "emnist.mat"


def as_parquet(root: Path, labels: NDArray[Any], test_labels: NDArray[Any]) -> Path:
    for name, images, of in (("train", IMAGES, labels), ("test", TEST_IMAGES, test_labels)):
        content = pa.table({"image": [{"bytes": png(image), "path": None} for image in images], "label": of})
        pq.write_table(content, root / f"{name}-00000-of-00001.parquet")
    return root


MAKERS: dict[str, Callable[[Path, NDArray[Any], NDArray[Any]], Path]] = {
    "idx": as_idx,
    "npz": as_npz,
    "csv": as_csv,
    "mat": as_mat,
    "parquet": as_parquet,
}


def config(kind: str, path: Path, file: Path, **data: Any) -> Path:
    file.write_text(f"data: {json.dumps({'source': kind, 'path': str(path), **data})}\n{STACK}")
    return file


def loaded(kind: str, path: Path, root: Path, **data: Any) -> Experiment:
    return load(config(kind, path, root / "x.yaml", **data))


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(kind: str, tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return MAKERS[kind](tmp_path / "set", LABELS, TEST_LABELS)


def test_everything_that_a_config_may_leave_out_is_found(kind: str, path: Path, tmp_path: Path) -> None:
    data = loaded(kind, path, tmp_path).data
    assert (data.image_size, data.channels, data.classes, data.train, data.validation, data.test) == (
        (7, 7), 1, 5, "mnist_train" if kind == "csv" else "train", 0.1, "mnist_test" if kind == "csv" else "test",
    )  # fmt: skip


@pytest.mark.parametrize("memory", ["keep", "stream"])
@pytest.mark.parametrize("cache", ["on", "off"])
def test_pixels_and_labels_are_those_of_the_arrays(
    memory: str, cache: str, kind: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off" if cache == "off" else str(tmp_path / "cache"))
    data = loaded(kind, path, tmp_path, memory=memory).data
    for _ in ("cold", "warm"):
        source = open_source(data)
        for split, images, labels in ((data.train, IMAGES, LABELS), (data.test, TEST_IMAGES, TEST_LABELS)):
            found = source.read(str(split))
            np.testing.assert_array_equal(found.images[:], images[..., np.newaxis])
            np.testing.assert_array_equal(found.labels, labels)
            np.testing.assert_array_equal(source.labels(str(split)), labels)
            assert found.original_sizes == ((7, 7), (7, 7))
        assert source.class_names == list("01234")


def test_facts_and_splits_are_the_same_from_every_kind(tmp_path: Path) -> None:
    found = {}
    for name, make in MAKERS.items():
        (tmp_path / name).mkdir()
        data = loaded(name, make(tmp_path / name, LABELS, TEST_LABELS), tmp_path).data
        found[name] = data_facts(data, read_splits(data)).fingerprint
    assert len(set(found.values())) == 1, found


def test_images_are_fitted_as_the_config_says(kind: str, path: Path, tmp_path: Path) -> None:
    from PIL import Image

    from cnnctl.data.images import fit_image

    data = loaded(kind, path, tmp_path, image_size=[9, 5], channels=3, invert=True, fit="pad", transpose=True).data
    source = open_source(data)
    wanted = np.stack([fit_image(Image.fromarray(image), data) for image in IMAGES])
    np.testing.assert_array_equal(source.read(data.train).images[:], wanted)
    assert any(
        "60 of 60 images" in note and "were resized to 9×5, 60 of them padded from other" in note for note in source.notes
    )


def test_transpose_turns_what_is_stored_by_columns_upright(kind: str, path: Path, tmp_path: Path) -> None:
    data = loaded(kind, path, tmp_path, transpose=True).data
    np.testing.assert_array_equal(open_source(data).read(data.train).images[:][..., 0], IMAGES.transpose(0, 2, 1))


def test_labels_that_begin_at_one_or_leave_gaps_are_remapped(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    place = MAKERS[kind](tmp_path / "set", LABELS * 3 + 1, TEST_LABELS * 3 + 1)
    plain = loaded(kind, place, tmp_path).data
    assert plain.classes == 14
    (note,) = [note for note in read_splits(plain).notes if "have no training image" in note]
    assert "data.remap_labels: true with data.classes: 5" in note
    data = loaded(kind, place, tmp_path, remap_labels=True).data
    assert data.classes == 5
    splits = read_splits(data)
    assert splits.class_names == ["1", "4", "7", "10", "13"]
    np.testing.assert_array_equal(splits.read_test().labels, TEST_LABELS)


def test_a_label_of_the_test_alone_is_told_from_all_others_after_remapping(tmp_path: Path) -> None:
    odd = TEST_LABELS.copy()
    odd[0] = 200
    (tmp_path / "set").mkdir()
    data = loaded("idx", as_idx(tmp_path / "set", LABELS + 1, odd + 1), tmp_path, remap_labels=True).data
    with pytest.raises(DataError, match=r"of the 6 classes of 'test' 5 occur in 'train'"):
        read_splits(data)


@pytest.mark.parametrize("labels", [LABELS - 1, LABELS * 10**6], ids=["negative", "millions"])
def test_labels_that_number_no_outputs_name_the_remedy(labels: NDArray[Any], tmp_path: Path) -> None:
    path = as_npz(tmp_path, labels, labels[:20])
    if labels.min() < 0:
        with pytest.raises(DataError, match=r"the labels of 'train' are -1 to 3, expected 0 or more.*data\.remap_labels: true"):
            read_splits(loaded("npz", path, tmp_path, classes=5).data)
    assert len(read_splits(loaded("npz", path, tmp_path, remap_labels=True).data).class_names) == 5


def test_labels_by_name_are_numbered_in_their_order(tmp_path: Path) -> None:
    names = np.array(["dog", "ant", "bee"])[np.arange(60) % 3]
    path = as_npz(tmp_path, names, names[:20])
    splits = read_splits(loaded("npz", path, tmp_path).data)
    assert splits.class_names == ["ant", "bee", "dog"]
    np.testing.assert_array_equal(np.array(splits.class_names)[splits.read_test().labels], names[:20])
    odd = names[:20].copy()
    odd[3] = "Dog"
    path = as_npz(tmp_path, names, odd)
    with pytest.raises(DataError, match=r"'Dog' of 'test' is not a class of 'train'; did you mean 'dog'"):
        read_splits(loaded("npz", path, tmp_path).data)


def test_a_validation_split_of_the_file_is_used(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "med.npz",
        train_images=IMAGES,
        train_labels=LABELS[:, None],
        val_images=TEST_IMAGES,
        val_labels=TEST_LABELS[:, None],
    )
    data = loaded("npz", tmp_path / "med.npz", tmp_path).data
    assert (data.validation, data.test) == ("val", 0.2)
    assert loaded("npz", tmp_path / "med.npz", tmp_path, validation=0.3).data.validation == 0.3
    assert loaded("npz", tmp_path / "med.npz", tmp_path, validation=None).data.validation is None


def test_arrays_and_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=IMAGES, y=LABELS, xt=TEST_IMAGES, yt=TEST_LABELS)
    notes = open_source(loaded("npz", tmp_path / "set.npz", tmp_path).data).notes
    assert "not read: xt (20, 7, 7), yt (20,); data.keys chooses others" in notes
    keys = {"train": ["x", "y"], "test": ["xt", "yt"]}
    data = loaded("npz", tmp_path / "set.npz", tmp_path, keys=keys).data
    assert (data.test, open_source(data).notes) == ("test", [])
    columns = {"image": [{"bytes": png(image), "path": None} for image in IMAGES], "label": LABELS, "writer": LABELS}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    notes = open_source(loaded("parquet", tmp_path / "train.parquet", tmp_path).data).notes
    assert notes == ["not read: writer; data.keys chooses others"]
    (tmp_path / "t.csv").write_text("id,label,p0,p1,p2,p3\n" + "".join(f"{i},{i % 2},1,2,3,4\n" for i in range(20)))
    assert open_source(loaded("csv", tmp_path / "t.csv", tmp_path).data).notes == ["not read: column 'id'"]


def test_a_split_without_labels_is_no_split_and_for_predict(tmp_path: Path) -> None:
    write(tmp_path / "set" / "train.csv", table(IMAGES, LABELS).encode())
    write(tmp_path / "set" / "test.csv", table(TEST_IMAGES, None).encode())
    data = loaded("csv", tmp_path / "set", tmp_path).data
    assert data.test == 0.2
    (note,) = [note for note in open_source(data).notes if "without labels" in note]
    assert (
        note
        == f"'test' has 20 images without labels, so it is not a split; cnnctl predict RUN {tmp_path}/set/test.csv classifies them"
    )
    with pytest.raises(ConfigError, match=r"data\.test: 'test' has images without labels.*use cnnctl predict"):
        loaded("csv", tmp_path / "set", tmp_path, test="test")


def test_a_split_that_is_not_there_names_those_that_are(kind: str, path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.test: there is no split 'tset'"):
        loaded(kind, path, tmp_path, test="tset")


def test_several_sets_in_a_folder_are_an_error_that_names_them(tmp_path: Path) -> None:
    for name in ("letters", "digits"):
        for split, images, labels in (("train", IMAGES, LABELS), ("test", TEST_IMAGES, TEST_LABELS)):
            write(tmp_path / "set" / f"emnist-{name}-{split}-images-idx3-ubyte", idx(images))
            write(tmp_path / "set" / f"emnist-{name}-{split}-labels-idx1-ubyte", idx(labels.astype(np.uint8)))
    with pytest.raises(ConfigError, match=r"'emnist-digits-train' and 'emnist-letters-train' may both be the train split"):
        loaded("idx", tmp_path / "set", tmp_path)
    assert loaded("idx", tmp_path / "set", tmp_path, train="emnist-letters-train").data.test == "emnist-letters-test"


@pytest.mark.parametrize(
    ("images", "white"),
    [(IMAGES / 255, 1), (IMAGES.astype(np.uint16) * 16, 4095), (IMAGES // 16, 15)],
    ids=["0..1", "12 bits", "16 levels"],
)
def test_other_ranges_name_the_value_of_white(images: NDArray[Any], white: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=images, y_train=LABELS)
    data = loaded("npz", tmp_path / "set.npz", tmp_path).data
    if images.dtype == np.uint8:
        (printed,) = [note for note in read_splits(data).notes if note.startswith("warning")]
    else:
        with pytest.raises(DataError) as error:
            read_splits(data)
        printed = str(error.value)
        assert printed.startswith(f"{tmp_path}/set.npz: the pixels are {images.dtype} from")
    assert f"write data.pixel_max: {white}, the value of white" in printed
    whole = open_source(loaded("npz", tmp_path / "set.npz", tmp_path, pixel_max=white).data).read("train")
    np.testing.assert_allclose(whole.images[:][..., 0].astype(int), IMAGES if white != 15 else IMAGES // 16 * 17, atol=1)


def test_images_of_any_kind_lie_in_parquet_files(tmp_path: Path) -> None:
    contents = [{"bytes": png(some(size, size + 1, 3, seed=size)), "path": None} for size in range(4, 24)]
    pq.write_table(pa.table({"img": contents, "fine_label": np.arange(20) % 2}), tmp_path / "train.parquet")
    data = loaded("parquet", tmp_path / "train.parquet", tmp_path, image_size=[8, 8]).data
    source = FileSource(data)
    assert data.channels == 3
    assert source.read(data.train).original_sizes == ((4, 5), (23, 24))


def test_broken_images_in_parquet_files_are_all_named(tmp_path: Path) -> None:
    contents = [{"bytes": png(image), "path": None} for image in IMAGES]
    contents[3]["bytes"], contents[40]["bytes"] = png(IMAGES[0])[:40], b"no picture"
    pq.write_table(pa.table({"image": contents, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(DataError) as raised:
        read_splits(loaded("parquet", tmp_path / "train.parquet", tmp_path).data)
    assert str(raised.value).splitlines()[0] == "2 of 60 images cannot be read as images; replace or remove them:"
    assert f"{tmp_path}/train.parquet: image 4: " in str(raised.value)
    assert f"{tmp_path}/train.parquet: image 41: not a PNG" in str(raised.value)


def test_what_is_read_as_it_is_needs_no_cache_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", str(tmp_path / "cache"))
    path = as_npz(tmp_path, LABELS, TEST_LABELS)
    read_splits(loaded("npz", path, tmp_path).data)
    assert not list((tmp_path / "cache").glob("*.npz")) if (tmp_path / "cache").exists() else True
    resized = loaded("npz", path, tmp_path, image_size=[9, 9]).data
    read_splits(resized)
    monkeypatch.setattr(file_source, "fit_array", None)
    read_splits(resized)


def test_rows_of_pixels_that_are_no_squares_have_facts_too(tmp_path: Path) -> None:
    images = some(30, 4, 7)
    write(tmp_path / "set.csv", table(images, np.arange(30) % 3).encode())
    data = loaded("csv", tmp_path / "set.csv", tmp_path, image_size=[4, 7]).data
    facts = data_facts(data, read_splits(data))
    assert facts.source_shape == facts.image_shape == [4, 7, 1]


def test_rows_of_pixels_by_columns_have_the_size_of_the_upright_image(tmp_path: Path) -> None:
    images = some(30, 5, 8)
    np.savez(tmp_path / "set.npz", x_train=images.transpose(0, 2, 1).reshape(30, -1), y_train=np.arange(30) % 3)
    data = loaded("npz", tmp_path / "set.npz", tmp_path, image_size=[5, 8], transpose=True).data
    np.testing.assert_array_equal(open_source(data).read(data.train).images[:][..., 0], images)


def test_a_missing_file_of_a_series_is_told(tmp_path: Path) -> None:
    for number in (0, 2):
        content = pa.table({"image": [{"bytes": png(image), "path": None} for image in IMAGES[:9]], "label": LABELS[:9]})
        pq.write_table(content, tmp_path / f"train-{number:05d}-of-00003.parquet")
    with pytest.raises(ConfigError, match=r"train has 2 of its 3 files; train-00001-of-00003\.parquet is missing"):
        loaded("parquet", tmp_path, tmp_path)


def test_values_beyond_white_are_a_warning(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=IMAGES.astype(np.uint16) * 16, y_train=LABELS)
    notes = read_splits(loaded("npz", tmp_path / "set.npz", tmp_path, pixel_max=255).data).notes
    assert any("and values above 255 become white; write data.pixel_max: 4095" in note for note in notes)


def test_names_of_columns_that_pandas_made_of_a_row_are_no_image(tmp_path: Path) -> None:
    """A set saved by pandas after its first image was read as names: 5, 0, 0.1, 84, 0.2, 84.1, ..."""
    values = [int(LABELS[0]), *(IMAGES[0].ravel() // 64).tolist()]
    seen: dict[int, int] = {}
    names = []
    for value in values:
        names.append(f"{value}.{seen[value]}" if value in seen else str(value))
        seen[value] = seen.get(value, 0) + 1
    rows = [",".join(map(str, [label, *image.ravel()])) for label, image in zip(LABELS, IMAGES, strict=True)]
    write(tmp_path / "set.csv", "\n".join([",".join(names), *rows]).encode())
    data = loaded("csv", tmp_path / "set.csv", tmp_path).data
    images = open_source(data).read(data.train)
    np.testing.assert_array_equal(images.images[:][..., 0], IMAGES)
    np.testing.assert_array_equal(images.labels, LABELS)


def test_a_first_image_that_is_broken_does_not_hide_the_others(tmp_path: Path) -> None:
    contents = [{"bytes": png(image), "path": None} for image in IMAGES]
    contents[0]["bytes"], contents[7]["bytes"] = b"no picture", b"none"
    pq.write_table(pa.table({"image": contents, "label": LABELS}), tmp_path / "train.parquet")
    data = loaded("parquet", tmp_path / "train.parquet", tmp_path).data
    assert data.image_size == (7, 7)
    with pytest.raises(DataError, match=r"2 of 60 images cannot be read as images"):
        read_splits(data)


def test_pixels_that_are_no_number_are_counted(tmp_path: Path) -> None:
    images = IMAGES.astype(np.float32)
    images[3, 2, 1] = np.nan
    np.savez(tmp_path / "set.npz", x_train=images, y_train=LABELS)
    with pytest.raises(DataError, match=r"expected pixels of 0 or more, received NaN 1 times"):
        read_splits(loaded("npz", tmp_path / "set.npz", tmp_path).data)


def test_labels_from_one_on_name_the_remedy_where_one_class_alone_is_missing(tmp_path: Path) -> None:
    path = as_npz(tmp_path, LABELS + 1, TEST_LABELS + 1)
    (note,) = read_splits(loaded("npz", path, tmp_path).data).notes
    assert note == "no images in 'train' of the class '0'; data.remap_labels: true removes them and numbers the others from 0"


# what names another source


@pytest.mark.parametrize("other", ["idx", "npz", "csv", "mat", "parquet", "folder"])
def test_a_wrong_source_is_told_the_right_one(other: str, kind: str, path: Path, tmp_path: Path) -> None:
    if other == kind:
        return
    with pytest.raises(ConfigError) as raised:
        loaded(other, path, tmp_path)
    assert f"write source: {kind}" in str(raised.value)


def test_files_some_folders_below_are_named(tmp_path: Path) -> None:
    raw = as_idx(tmp_path / "tv" / "MNIST" / "raw", LABELS, TEST_LABELS)
    for source, line in (("idx", ""), ("npz", "source: idx, "), ("folder", "source: idx, ")):
        with pytest.raises(ConfigError, match=rf"write {line}path: {raw.parent}"):
            loaded(source, tmp_path / "tv", tmp_path)
    assert loaded("idx", raw.parent, tmp_path).data.classes == 5


def test_the_name_of_a_set_is_told_its_source(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"data: {{source: mnist}}\n{STACK}")
    with pytest.raises(ConfigError, match=r"'mnist' is the name of a dataset; write source: tfds, name: mnist"):
        load(tmp_path / "x.yaml")


def test_a_folder_for_prepared_data_that_holds_idx_files_says_so(tmp_path: Path) -> None:
    raw = as_idx(tmp_path / "data" / "MNIST" / "raw", LABELS, TEST_LABELS)
    (tmp_path / "x.yaml").write_text(f"data: {{source: tfds, name: mnist, data_dir: {tmp_path}/data}}\n{STACK}")
    with pytest.raises(
        ConfigError,
        match=rf"data\.data_dir: '{raw}' holds IDX files, not data prepared by TFDS; write source: idx, path: {raw}",
    ):
        load(tmp_path / "x.yaml")
    assert loaded("idx", raw, tmp_path).data.classes == 5


def test_a_set_that_is_not_there_is_told(kind: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.path: there is no file or folder '.*/nowhere'; a relative path starts at the current folder"
    ):
        loaded(kind, tmp_path / "nowhere", tmp_path)
