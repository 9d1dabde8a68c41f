"""Original files of image sets that claim to be huge, hold code, are damaged, or unpack to more than there is memory for."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io

from cnnctl.errors import DataError
from cnnctl.formats import KINDS, Part, open_parts, recognised
from cnnctl.formats.streams import check_count
from tests.formats.originals import idx, png, some

ROOT = Path(__file__).parents[2]
X, Y = some(20, 5, 5), some(20, high=10)
TRILLION = 10**12
PLENTY = 250_000_000
"""Bytes that reading a hostile file may take: a block, and what Arrow and NumPy need for themselves."""


def read_all(kind: str, path: Path) -> list[Part]:
    parts = list(open_parts(kind, path).values())
    for part in parts:
        for _ in part.blocks(8):
            pass
        if part.labels:
            part.labels()
    return parts


def refusal(kind: str, file: Path, content: bytes) -> str:
    """Returns the message for a file that is refused, at the latest when it is read."""
    file.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_all(kind, file)
    assert str(file) in str(raised.value)
    return str(raised.value)


def npy(array: np.ndarray, shape: tuple[int, ...] | None = None, **changes: Any) -> bytes:
    """Returns an npy file; `shape` and others for what its header claims."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape if shape is None else shape, **changes}
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + array.tobytes()


def npz(compression: int = zipfile.ZIP_DEFLATED, /, **members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression, compresslevel=9) as out:
        for name, member in members.items():
            out.writestr(f"{name}.npy", member)
    return content.getvalue()


def csv(x: np.ndarray = X, y: np.ndarray = Y) -> bytes:
    return b"".join(",".join(map(str, row)).encode() + b"\n" for row in np.c_[y, x.reshape(len(x), -1)].tolist())


def mat(**variables: Any) -> bytes:
    content = io.BytesIO()
    scipy.io.savemat(content, variables, do_compression=True)
    return content.getvalue()


def parquet(images: Any = None, **options: Any) -> bytes:
    content = io.BytesIO()
    images = pa.array([png(image) for image in X]) if images is None else images
    pq.write_table(pa.table({"image": images, "label": np.zeros(len(images), np.int64)}), content, **options)
    return content.getvalue()


ORDINARY: dict[str, Callable[[], bytes]] = {
    "idx": lambda: idx(X),
    "npz": lambda: npz(x=npy(X), y=npy(Y)),
    "csv": csv,
    "mat": lambda: mat(
        dataset={"train": {"images": X.reshape(20, 25), "labels": Y[:, None]}, "mapping": np.array([[0, 48.0]])}
    ),
    "parquet": parquet,
}


# claims


@pytest.mark.parametrize(
    "shape",
    [
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (2**31, 1, 1),
        (TRILLION // 2**12, 64, 64),
        (20, 5, 6),
        (20, 2**32 - 1, 2**32 - 1),
        (2**31, 0, 0),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_dimensions_of_an_idx_file_are_those_of_its_bytes(shape: tuple[int, ...], packed: bool, tmp_path: Path) -> None:
    content = idx(X, shape)
    printed = refusal("idx", tmp_path / "train-images-idx3-ubyte", gzip.compress(content) if packed else content)
    assert "ends early" in printed or "images" in printed


def test_what_no_compressed_file_can_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A byte becomes 1,032 at most (https://zlib.net/zlib_tech.html); of less the end is seen when it is read."""
    file = tmp_path / "train-images-idx3-ubyte"
    for count in (1032 * 20, 1032 * 200):
        content = gzip.compress(idx(X, (count, 5, 5)))
        file.write_bytes(content)
        if count * 25 > 1032 * len(content):
            with pytest.raises(DataError, match=rf"it ends early: expected {count * 25 + 16:,} bytes, received \d+ compressed"):
                open_parts("idx", file)
        else:
            assert "it ends early" in refusal("idx", file, content)


def test_the_number_of_images_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    check_count("a file", 2**20)
    with pytest.raises(DataError, match="a file: expected at most 2,147,483,647 images, received 2,147,483,648"):
        check_count("a file", 2**31)
    monkeypatch.setattr("cnnctl.formats.streams.memory_share", lambda: 2**20)
    with pytest.raises(DataError, match=r"a file: the labels of 1,048,576 images take 0.0 GB; split the file"):
        check_count("a file", 2**20)


@pytest.mark.parametrize(
    "claimed",
    [(TRILLION, 5, 5), (TRILLION,), (2**31, 5, 5), (20, TRILLION, TRILLION), (20, 5, 6), (20, 5), (-20, 5, 5), (10**40, 5)],
)
@pytest.mark.parametrize("kind", ["npz", "stored npz", "npy"])
def test_the_shape_of_an_array_is_that_of_its_bytes(claimed: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    for images, labels in ((npy(X, claimed), npy(Y)), (npy(X), npy(Y, claimed))):
        if kind == "npy":
            (tmp_path / "x_train.npy").write_bytes(images)
            (tmp_path / "y_train.npy").write_bytes(labels)
            with pytest.raises(DataError, match="damaged"):
                read_all("npz", tmp_path)
        else:
            stored = zipfile.ZIP_STORED if "stored" in kind else zipfile.ZIP_DEFLATED
            assert "damaged" in refusal("npz", tmp_path / "a.npz", npz(stored, x=images, y=labels))


def test_the_sizes_of_a_zip_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    """The list of members claims the size of the header."""
    header = npy(X, (TRILLION, 5, 5))
    content = npz(x=header, y=npy(Y))
    size = len(header) - X.nbytes + 25 * TRILLION
    assert "damaged" in refusal("npz", tmp_path / "a.npz", resized(content, b"x.npy", size % 2**32))


def resized(content: bytes, name: bytes, size: int) -> bytes:
    """Returns a zip file whose list of members has another size for one (APPNOTE.TXT of PKWARE, 4.3.12)."""
    place = content.rindex(name) - 46
    return content[: place + 24] + struct.pack("<I", size) + content[place + 28 :]


@pytest.mark.parametrize("length", [10_001, 10_000_000])
def test_a_long_header_of_an_array_is_not_read(length: int, tmp_path: Path) -> None:
    text = str({"descr": "|u1", "fortran_order": False, "shape": (2, 2, 2)}).encode().ljust(length)
    array = b"\x93NUMPY\2\0" + struct.pack("<I", length) + text + bytes(8)
    assert f"the header of an array has {length:,} bytes" in refusal("npz", tmp_path / "a.npz", npz(x=array, y=npy(Y[:2])))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"(" * 9000,
        b"{'descr': '|u1', 'fortran_order': False, 'shape': __import__('os').system('touch marker')}",
        b"{'descr': '|u1', 'fortran_order': False}",
        b"{'descr': 'x' * 10**10, 'fortran_order': False, 'shape': (2,)}",
        b"{'descr': '|V99999999999', 'fortran_order': False, 'shape': (2, 2, 2)}",
        b"{'descr': '<U99999999', 'fortran_order': False, 'shape': (99, 99, 99)}",
        b"{'descr': [('a', '|u1')], 'fortran_order': 1, 'shape': (2, 2, 2)}",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (2.5, 2, 2)}",
        b"\xff" * 100,
        b"9" * 9000,
    ],
    ids=range(11),
)
def test_the_text_of_a_header_is_parsed_with_care(text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(8)
    assert "damaged" in refusal("npz", tmp_path / "a.npz", npz(x=array, y=npy(Y[:2])))
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_a_long_list_of_members_is_not_read(tmp_path: Path) -> None:
    content = npz(x=npy(X), y=npy(Y), **{f"{'a' * 200}{i}": b"" for i in range(5000)})
    assert "its directory has more than 1,048,576 bytes" in refusal("npz", tmp_path / "a.npz", content)


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        (TRILLION, "claims 1,000,000,000,000 images in"),
        (-1, "claims -1"),
        (21, "rows"),
        (19, "rows"),
        (0, "expected images, received none"),
    ],
)
def test_the_rows_of_a_parquet_file_are_those_that_it_has(claimed: int, reason: str, tmp_path: Path) -> None:
    content = parquet()
    assert reason in refusal("parquet", tmp_path / "a.parquet", with_rows(content, 20, claimed))


def with_rows(content: bytes, rows: int, claimed: int) -> bytes:
    """Returns a Parquet file whose metadata claims other rows: field 3 of FileMetaData, an i64, before field 4, a list."""
    length = int.from_bytes(content[-8:-4], "little")
    pages, footer = content[: -8 - length], content[-8 - length : -8]
    assert footer.count(b"\x16" + varint(rows) + b"\x19") == 1
    footer = footer.replace(b"\x16" + varint(rows) + b"\x19", b"\x16" + varint(claimed) + b"\x19")
    return pages + footer + struct.pack("<I", len(footer)) + b"PAR1"


def varint(value: int) -> bytes:
    """Returns an integer in Thrift's compact protocol."""
    value = value << 1 if value >= 0 else (-value << 1) - 1
    digits = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def packed_element(content: bytes) -> bytes:
    """Returns a compressed element, which has no padding."""
    packed = zlib.compress(content)
    return struct.pack("<II", 15, len(packed)) + packed


def variable(code: int, shape: tuple[int, ...], name: bytes, content: bytes) -> bytes:
    """Returns a matrix element of a MAT-file."""
    before = element(6, struct.pack("<II", code, 0)) + element(5, struct.pack(f"<{len(shape)}I", *shape)) + element(1, name)
    return element(14, before + content)


MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
CELL, STRUCT, CHAR, SPARSE, UINT8 = 1, 2, 4, 5, 9
FIELDS = element(5, struct.pack("<i", 7)) + element(1, b"images\0labels\0")


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (TRILLION // 2**10, 1000), (2**32 - 1,) * 32])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", [CELL, STRUCT, CHAR, SPARSE, UINT8, 17, 99])
def test_the_shapes_of_matlab_are_those_of_their_bytes(code: int, shape: tuple[int, ...], packed: bool, tmp_path: Path) -> None:
    """Also those of cells and structs, for which SciPy makes room."""
    hostile = variable(code, shape, b"images", FIELDS if code == STRUCT else element(2, bytes(24)))
    printed = refusal("mat", tmp_path / "a.mat", MAT_HEADER + (packed_element(hostile) if packed else hostile))
    expected = "damaged: variable 'images'" if code == UINT8 or max(shape) >= 2**31 else "received none"
    assert expected in printed


@pytest.mark.parametrize("width", [0, -1, 2**31 - 1, 5])
def test_the_names_of_fields_are_within_their_element(width: int, tmp_path: Path) -> None:
    hostile = variable(STRUCT, (1, 1), b"dataset", element(5, struct.pack("<i", width)) + element(1, b"images\0labels\0"))
    assert "damaged" in refusal("mat", tmp_path / "a.mat", MAT_HEADER + hostile)


def test_structs_in_structs_have_an_end(tmp_path: Path) -> None:
    inner = variable(UINT8, (1, 1), b"", element(2, b"\1"))
    for _ in range(2000):
        inner = variable(STRUCT, (1, 1), b"a", element(5, struct.pack("<i", 2)) + element(1, b"a\0") + inner)
    assert "received none" in refusal("mat", tmp_path / "a.mat", MAT_HEADER + inner)


def test_a_compressed_variable_claims_what_its_bytes_can_become(tmp_path: Path) -> None:
    claims = (
        struct.pack("<II", 14, 2**32 - 8) + variable(UINT8, (2**16, 2**15), b"images", b"")[8:] + struct.pack("<II", 2, 2**31)
    )
    printed = refusal("mat", tmp_path / "a.mat", MAT_HEADER + packed_element(claims))
    assert "damaged: a variable claims 4,294,967,288 bytes" in printed


# code


class Marker:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("where", ["images", "labels", "beside", "member", "npy", "pickle", "packed pickle"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_unpickled(where: str, kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    objects = np.array([Marker(marker)] * 20, object)
    arrays = {
        "x": X,
        "y": Y,
        **{"images": {"x": objects[:, None, None]}, "labels": {"y": objects}, "beside": {"z": objects}}.get(where, {}),
    }
    file = tmp_path / "a.npz"
    np.savez(file, allow_pickle=True, **arrays)
    if where == "member":
        file.write_bytes(npz(x=pickle.dumps(Marker(marker)), y=npy(Y)))
    if where == "npy":
        np.save(tmp_path / "a.npy", objects, allow_pickle=True)
        (tmp_path / "a.npy").rename(file)
    if "pickle" in where:
        content = pickle.dumps(Marker(marker), 2)
        file.write_bytes(gzip.compress(content) if where == "packed pickle" else content)
    recognised(file)
    if where == "beside" and kind == "npz":
        read_all(kind, file)
    else:
        refusal(kind, file, file.read_bytes())
    assert not marker.exists()
    if where != "member":  # which NumPy does not unpickle either
        unpickle(file)
        assert marker.exists()


def unpickle(file: Path) -> None:
    """Unpickles what is in a file: it would have made the marker."""
    content = file.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    loaded = np.load(io.BytesIO(content), allow_pickle=True)
    if zipfile.is_zipfile(file):
        for name in loaded:
            loaded[name]
        loaded.close()


# damage


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_read_or_refused_with_one_message(kind: str, packed: bool, seed: int, tmp_path: Path) -> None:
    """Bytes changed, cut out, put in or repeated, at random: whatever the libraries make of it, there is a DataError at most."""
    generator = np.random.default_rng(seed)
    original = ORDINARY[kind]()
    file = tmp_path / {"idx": "train-images-idx3-ubyte"}.get(kind, f"a.{kind}")
    refused = 0
    for _ in range(60):
        content = original
        for _ in range(generator.integers(1, 4)):
            content = damaged(content, generator)
        file.write_bytes(
            gzip.compress(content, 1)
            if packed and generator.random() < 0.5
            else damaged(gzip.compress(content, 1), generator)
            if packed
            else content
        )
        refused += read_or_refused(kind, file)
    assert refused > 10


def read_or_refused(kind: str, file: Path) -> bool:
    """Reads a file that may be damaged; returns whether it is refused."""
    try:
        read_all(kind, file)
    except DataError as error:
        printed = str(error)
    else:
        return False
    assert str(file) in printed
    assert len(printed) < 2000
    return True


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    place, length = (int(each) for each in generator.integers(0, [len(content), 12]))
    match generator.integers(0, 4):
        case 0:
            return content[:place] + generator.bytes(length) + content[place + length :]
        case 1:
            return content[:place] + content[place + length :]
        case 2:
            return content[:place] + bytes([255]) * length + content[place:]
        case _:
            return content[:place] + content[place : place + length] * 3 + content[place + length :]


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zstd"}, {"compression": "none"}, {"data_page_version": "2.0"}, {"use_dictionary": False}],
    ids=str,
)
def test_every_byte_of_a_page_header_may_be_wrong(options: dict[str, Any], tmp_path: Path) -> None:
    original = parquet(**options)
    with pq.ParquetFile(io.BytesIO(original)) as content:
        chunk = content.metadata.row_group(0).column(0)
    starts = {chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset}
    for place in (start + offset for start in starts for offset in range(24)):
        for value in (0, 1, 0x7F, 0x80, 0xFF):
            (tmp_path / "a.parquet").write_bytes(original[:place] + bytes([value]) + original[place + 1 :])
            read_or_refused("parquet", tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_system_does_not_read_is_named(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(ORDINARY[kind]())
    parts = open_parts(kind, file)
    file.unlink()
    for part in parts.values():
        with pytest.raises(DataError, match=rf"{file}: cannot be read: No such file or directory"):
            list(part.blocks(1))


# bombs

MEGABYTE = bytes(2**20)
MANY = 384
"""Megabytes that a bomb becomes: more than `PLENTY`."""


def packed(begin: bytes, piece: bytes = MEGABYTE, times: int = MANY, form: int = 31) -> bytes:
    """Returns `begin` and many times a piece, compressed: by default as gzip does, by 15 as zlib does."""
    packer = zlib.compressobj(1, wbits=form)
    return b"".join([packer.compress(begin), *(packer.compress(piece) for _ in range(times)), packer.flush()])


def idx_header(*shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def npz_of_zeros(name: str = "x") -> bytes:
    """Returns an npz file with an array of zeros, written piece by piece."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        out.writestr("y.npy", npy(np.zeros(MANY, np.uint8)))
        with out.open(f"{name}.npy", "w", force_zip64=True) as member:
            member.write(npy(np.zeros(0, np.uint8), (MANY, 1024, 1024)))
            for _ in range(MANY):
                member.write(MEGABYTE)
    return content.getvalue()


def mat_of_zeros(nested: bool) -> bytes:
    """Returns a MAT-file with few images, and a variable or a field of zeros that is none of them."""
    length = MANY * 2**20
    begin = element(6, struct.pack("<II", UINT8, 0)) + element(5, struct.pack("<3I", MANY, 2**10, 2**10))
    begin += element(1, b"" if nested else b"other") + struct.pack("<II", 2, length)
    whole = struct.pack("<II", 14, len(begin) + length) + begin
    if nested:
        outer = element(6, struct.pack("<II", STRUCT, 0)) + element(5, struct.pack("<2I", 1, 1)) + element(1, b"dataset")
        outer += element(5, struct.pack("<i", 6)) + element(1, b"other\0")
        whole = struct.pack("<II", 14, len(outer) + len(whole) + length) + outer + whole
    bomb = packed(whole, form=15)
    return mat(images=X, labels=Y[:, None]) + struct.pack("<II", 15, len(bomb)) + bomb


def same_image(size: int, rows: int) -> pa.Array:
    """Returns one image many times, as a dictionary has it."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([bytes(size)]))


ONE_PAGE = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
IDX = "train-images-idx3-ubyte"
LONG = "row 21 has more than 16,777,216 bytes; expected one image per row"
BOMBS: dict[str, tuple[str, str, Callable[[], bytes], str]] = {
    # the source, the name of the file, its content and the message; none where it is read block by block
    "idx": ("idx", IDX, lambda: packed(idx_header(MANY, 1024, 1024)), ""),
    "idx of one image": ("idx", IDX, lambda: packed(idx_header(1, 1024, 1024)), "it is longer than its header states"),
    "idx of a large image": ("idx", IDX, lambda: packed(idx_header(1, MANY * 1024, 1024)), "more than 100,000,000 pixels"),
    "npz": ("npz", "a.npz", npz_of_zeros, ""),
    "npz of something else": ("npz", "a.npz", lambda: npz_of_zeros("z"), "write data.keys: [z, 'y']"),
    "csv of one line": ("csv", "a.csv", lambda: packed(csv(), b"1," * 2**19), LONG),
    "csv of one cell": ("csv", "a.csv", lambda: packed(csv(), b"1" * 2**20), LONG),
    "csv of blank lines": ("csv", "a.csv", lambda: packed(csv(), b"\n" * 2**20), ""),
    "csv of an open quote": ("csv", "a.csv", lambda: packed(csv() + b'"', b"1\n" * 2**19), "row 21 has 1 columns, expected 26"),
    "mat": ("mat", "a.mat", lambda: mat_of_zeros(nested=False), ""),
    "mat of a struct": ("mat", "a.mat", lambda: mat_of_zeros(nested=True), ""),
    "parquet of a large page": (
        "parquet",
        "a.parquet",
        lambda: parquet(pa.array([bytes(MANY * 2**20)]), **ONE_PAGE),
        "a page of",
    ),
    "parquet of one image": (
        "parquet",
        "a.parquet",
        lambda: parquet(same_image(10**7, 500), compression="zstd", store_schema=False),
        "",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory of a process is read from /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_much_takes_little_memory(name: str, tmp_path: Path) -> None:
    kind, file, make, message = BOMBS[name]
    content = make()
    assert len(content) < 8_000_000
    (tmp_path / file).write_bytes(content)
    printed, grown = read_in_child(kind, tmp_path / file)
    assert message in printed if message else printed == "", printed
    assert grown < PLENTY, f"{grown:,}"


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory of a process is read from /proc")
def test_a_line_of_50_mb_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv() + b"1," * 25_000_000 + b"\n" + csv())
    printed, grown = read_in_child("csv", tmp_path / "a.csv")
    assert "row 21 has more than 16,777,216 bytes; expected one image per row" in printed
    assert grown < PLENTY, f"{grown:,}"


READ = """
import sys, json
from pathlib import Path
from cnnctl.errors import DataError
from cnnctl.formats import open_parts, csv, idx, mat, npz, parquet

def most():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

before, printed = most(), ""
try:
    for part in open_parts(sys.argv[1], Path(sys.argv[2])).values():
        for _ in part.blocks(10**6):
            pass
        part.labels and part.labels()
except DataError as error:
    printed = str(error)
print(json.dumps([printed, most() - before]))
"""


def read_in_child(kind: str, file: Path) -> tuple[str, int]:
    """Reads a file in a process of its own; returns the message, if any, and by how many bytes its memory grew at most."""
    done = subprocess.run([sys.executable, "-c", READ, kind, str(file)], cwd=ROOT, capture_output=True, text=True, check=True)
    printed, grown = json.loads(done.stdout)
    return printed, grown
