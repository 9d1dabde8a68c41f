"""Parquet files: which columns are meant, files of one split, and images that come out as they went in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cnnctl.errors import DataError
from cnnctl.formats import open_parts, pages
from tests.formats.originals import encoded_of, labels_of, png, some, with_this_python

PNGS = [png(image) for image in some(20, 6, 5)]
Y = some(20, high=10, dtype=np.int64).tolist()
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def hugging_face(names: list[str] | None = None, **others: dict[str, Any]) -> dict[bytes, bytes]:
    """Returns the metadata that Hugging Face's datasets write."""
    label = {"names": names or [f"class {i}" for i in range(10)], "_type": "ClassLabel"}
    return {
        b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": label, **others}}}).encode()
    }


def save(file: Path, metadata: dict[bytes, bytes] | None = None, options: dict[str, Any] | None = None, **columns: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table({name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()})
    pq.write_table(made.replace_schema_metadata(metadata), file, **(options or {}))
    return file


def structs(images: list[bytes] = PNGS) -> pa.Array:
    return pa.array([{"bytes": image, "path": None} for image in images], STRUCT)


@pytest.mark.parametrize(
    "image", [structs(), pa.array(PNGS, pa.binary()), pa.array(PNGS, pa.large_binary())], ids=lambda a: str(a.type)
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd"},
        {"compression": "gzip"},
        {"compression": "none", "use_dictionary": False},
        {"row_group_size": 3},
        {"data_page_version": "2.0"},
        {"data_page_size": 100, "write_batch_size": 2},
        {"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"},
    ],
    ids=str,
)
def test_images_come_out_as_they_went_in(image: pa.Array, options: dict[str, Any], tmp_path: Path) -> None:
    if "column_encoding" in options:
        leaf = "image.bytes" if pa.types.is_struct(image.type) else "image"
        options = {**options, "column_encoding": {leaf: options["column_encoding"]}}
    file = save(tmp_path / "train-00000-of-00001.parquet", hugging_face(), options, image=image, label=Y)
    (part,) = open_parts("parquet", file).values()
    assert part.name == "train"
    assert encoded_of(part) == PNGS
    assert labels_of(part) == Y
    assert part.class_names == tuple(f"class {i}" for i in range(10))


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
            ["test", "train"],
        ),
        (["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"], ["test", "train"]),
        (["train-00000-of-00001-4746b8785c874cc7.parquet", "validation-00000-of-00001-aa.parquet"], ["train", "validation"]),
        (["train.parquet", "test.parquet"], ["test", "train"]),
        (["train/part-00000-x.snappy.parquet", "train/part-00001-x.snappy.parquet"], ["train"]),
        (["letters.parquet"], ["letters"]),
        (["a/train-0.parquet", "b/train-0.parquet", "b/test-0.parquet"], ["a-train", "b-train", "test"]),
    ],
)
def test_the_files_of_a_split_are_one_part(names: list[str], splits: list[str], tmp_path: Path) -> None:
    for place, name in enumerate(names):
        save(tmp_path / name, image=structs(PNGS[place * 5 : place * 5 + 5]), label=Y[place * 5 : place * 5 + 5])
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.parquet").write_bytes(b"none")
    parts = open_parts("parquet", tmp_path)
    assert list(parts) == splits
    assert sum(part.count for part in parts.values()) == 5 * len(names)
    part = parts.get("train", next(iter(parts.values())))
    assert encoded_of(part) == PNGS[: part.count]
    assert labels_of(part) == Y[: part.count]
    assert all(file.is_file() for file in part.files)


@pytest.mark.parametrize("below", ["", "data"])
def test_the_cache_of_hugging_face_has_links(below: str, tmp_path: Path) -> None:
    blob = save(tmp_path / "datasets--ylecun--mnist/blobs/0a1b", image=structs(), label=Y)
    folder = tmp_path / "datasets--ylecun--mnist/snapshots/77f3"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train-00000-of-00001.parquet").symlink_to(Path("../../../blobs") / blob.name)
    assert encoded_of(open_parts("parquet", folder / below)["train"]) == PNGS


def test_a_link_may_not_lead_elsewhere(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere/train.parquet", image=structs(), label=Y)
    (tmp_path / "here").mkdir()
    (tmp_path / "here/train.parquet").symlink_to(tmp_path / "elsewhere/train.parquet")
    with pytest.raises(DataError, match=r"cannot be read: it leads to .*put a copy in its place"):
        open_parts("parquet", tmp_path / "here")


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(Y, pa.int8()),
        pa.array(Y, pa.uint64()),
        pa.array(Y, pa.float64()),
        pa.array([label > 4 for label in Y]),
        pa.array([str(label) for label in Y]),
        pa.array([str(label) for label in Y], pa.large_string()),
        pa.array([str(label) for label in Y]).dictionary_encode(),
    ],
    ids=lambda labels: str(labels.type),
)
def test_labels_are_integers_or_names(labels: pa.Array, tmp_path: Path) -> None:
    (part,) = open_parts("parquet", save(tmp_path / "a.parquet", image=structs(), label=labels)).values()
    assert labels_of(part) == [int(x) if isinstance(x, bool | float) else x for x in labels.to_pylist()]
    assert part.class_names == ()


@pytest.mark.parametrize(
    ("columns", "image", "label"),
    [
        (["image", "label"], "image", "label"),
        (["img", "fine_label", "coarse_label"], "img", "fine_label"),
        (["Image", "thumbnail", "Label", "number"], "Image", "Label"),
        (["photo", "kind"], "photo", "kind"),
        (["image", "id"], "image", None),
        (["image", "label", "id"], "image", "label"),
        (["image"], "image", None),
    ],
)
def test_columns_are_found_by_type_and_name(columns: list[str], image: str, label: str | None, tmp_path: Path) -> None:
    pictures = ("image", "img", "Image", "photo", "thumbnail")
    made = {
        name: structs(PNGS if name == image else PNGS[::-1]) if name in pictures else Y if name == label else Y[::-1]
        for name in columns
    }
    (part,) = open_parts("parquet", save(tmp_path / "a.parquet", **made)).values()
    assert encoded_of(part) == PNGS
    assert (labels_of(part) if part.labels else None) == (Y if label else None)


def test_what_hugging_face_wrote_decides(tmp_path: Path) -> None:
    metadata = hugging_face(
        kind={"_type": "ClassLabel", "names": ["a", "b"]}, mask={"_type": "Image"}, label={"_type": "Value"}
    )
    file = save(
        tmp_path / "a.parquet",
        metadata,
        image=pa.array(PNGS, pa.binary()),
        raw=pa.array(PNGS[::-1], pa.binary()),
        label=Y[::-1],
        kind=Y,
    )
    (part,) = open_parts("parquet", file).values()
    assert labels_of(part) == Y
    assert part.class_names == ("a", "b")


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[1]", b'{"info": {"features": 3}}', b"[" * 100_000, b'{"info": {"features": {"label": {"names": 3}}}}'],
)
def test_broken_metadata_is_passed_over(broken: bytes, tmp_path: Path) -> None:
    file = save(tmp_path / "a.parquet", {b"huggingface": broken}, image=structs(), label=Y)
    (part,) = open_parts("parquet", file).values()
    assert labels_of(part) == Y
    assert part.class_names == ()


def test_keys_name_columns(tmp_path: Path) -> None:
    save(tmp_path / "train.parquet", first=structs(), second=structs(PNGS[::-1]), a=Y, b=Y[::-1])
    save(tmp_path / "test.parquet", first=structs(), second=structs(PNGS[::-1]), a=Y, b=Y[::-1])
    with pytest.raises(
        DataError,
        match=r"among first \(struct<bytes: binary, path: string>\), second \(.*, a \(int64\).*; write data.keys: \[first, a\]",
    ):
        open_parts("parquet", tmp_path)
    parts = open_parts("parquet", tmp_path, keys=("second", "b"))
    assert encoded_of(parts["train"]) == PNGS[::-1]
    assert labels_of(parts["test"]) == Y[::-1]
    parts = open_parts("parquet", tmp_path, keys={"train": ("second", "b"), "test": ("first", "a")})
    assert labels_of(parts["train"]) == Y[::-1]
    assert labels_of(parts["test"]) == Y
    for keys, message in (
        (("third", "a"), r"data.keys: there is no column 'third'; expected one of first"),
        (("a", "b"), r"data.keys: column 'a' has the type int64; expected a column of encoded images"),
        (("first", "second"), r"data.keys: column 'second' has the type struct"),
        ({"dev": ("first", "a")}, r"data.keys: there is no split 'dev'; expected one of test, train"),
    ):
        with pytest.raises(DataError, match=message):
            open_parts("parquet", tmp_path, keys=keys)


# what is wrong


def test_images_have_to_be_in_the_file(tmp_path: Path) -> None:
    images = [{"bytes": PNGS[0], "path": None}, {"bytes": None, "path": "0.png"}]
    (part,) = open_parts("parquet", save(tmp_path / "a.parquet", image=pa.array(images, STRUCT), label=Y[:2])).values()
    with pytest.raises(DataError, match=r"a.parquet: row 2: column 'image' has no image; if the file only has paths"):
        encoded_of(part)


@pytest.mark.parametrize(
    "image", [pa.array([PNGS[0], None], pa.binary()), pa.array([{"bytes": PNGS[0]}, None]), pa.array([PNGS[0], b""])], ids=str
)
def test_a_missing_image_is_named(image: pa.Array, tmp_path: Path) -> None:
    (part,) = open_parts("parquet", save(tmp_path / "a.parquet", image=image, label=Y[:2])).values()
    with pytest.raises(DataError, match=r"row 2: column 'image' has no image"):
        encoded_of(part)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([1, None]), "column 'label': row 2 has no label; remove or label the row"),
        (pa.array(["a", None]), "column 'label': row 2 has no label"),
        (pa.array([1.5, 2.0]), "column 'label' has the label 1.5; expected integers"),
        (pa.array(["a", "b" * 1001]), "column 'label' has a label of more than 1,000 characters"),
    ],
    ids=str,
)
def test_wrong_labels_are_named(labels: pa.Array, message: str, tmp_path: Path) -> None:
    (part,) = open_parts("parquet", save(tmp_path / "a.parquet", image=structs(PNGS[:2]), label=labels)).values()
    with pytest.raises(DataError, match=message):
        labels_of(part)


def test_a_table_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"expected a column of encoded images, binary or struct<bytes, path>, among text \(string\), label \(int64\)",
    ):
        open_parts("parquet", save(tmp_path / "a.parquet", text=["a"] * 20, label=Y))


def test_the_files_of_a_split_have_the_same_columns(tmp_path: Path) -> None:
    save(tmp_path / "train-0.parquet", image=structs(), label=Y)
    save(tmp_path / "train-1.parquet", image=structs(), target=Y)
    with pytest.raises(DataError, match=r"train-1.parquet: its columns differ from those of train-0.parquet"):
        open_parts("parquet", tmp_path)


def test_no_rows_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected images, received none"):
        open_parts("parquet", save(tmp_path / "a.parquet", image=structs([]), label=pa.array([], pa.int64())))


def test_repeated_prefixes_are_refused_and_the_command_given_writes_the_file_again(tmp_path: Path) -> None:
    options = {"use_dictionary": False, "column_encoding": {"image.bytes": "DELTA_BYTE_ARRAY"}}
    file = save(tmp_path / "it's.parquet", None, options, image=structs(), label=Y)
    (part,) = open_parts("parquet", file).values()
    with pytest.raises(
        DataError, match=r"encoded as DELTA_BYTE_ARRAY, which cannot be read in bounded memory; rewrite it: "
    ) as raised:
        encoded_of(part)
    subprocess.run(
        str(raised.value).partition("; rewrite it: ")[2], shell=True, check=True, cwd=tmp_path, env=with_this_python()
    )
    assert encoded_of(open_parts("parquet", file.with_suffix(".new.parquet"))["it's"]) == PNGS


def test_of_large_values_few_are_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a dictionary, which a row repeats with a few bits."""
    monkeypatch.setattr("cnnctl.formats.streams.BLOCK_BYTES", 2000)
    for name, images in (("plain", [bytes([1 + i]) * 400 for i in range(20)]), ("dictionary", [b"x" * 400] * 20)):
        file = save(
            tmp_path / f"{name}.parquet", None, {"use_dictionary": name == "dictionary"}, image=structs(images), label=Y
        )
        (part,) = open_parts("parquet", file).values()
        assert [len(block) for block in part.blocks(100)] == [2] * 10


def test_pages_are_as_arrow_wrote_them(tmp_path: Path) -> None:
    file = save(
        tmp_path / "a.parquet",
        None,
        {"data_page_size": 500, "write_batch_size": 2, "dictionary_pagesize_limit": 500},
        image=structs(),
    )
    content = pq.ParquetFile(file)
    chunk = content.metadata.row_group(0).column(0)
    with file.open("rb") as raw:
        found = list(pages.pages_of(raw, file, chunk))
    content.close()
    assert [page.dictionary for page in found].count(True) == 1
    assert len(found) > 3
    assert sum(page.values for page in found if not page.dictionary) == 20
    assert sum(page.packed for page in found) < chunk.total_compressed_size
