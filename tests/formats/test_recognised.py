"""What a file or folder is, by its content, and what to do with one that is of another kind than asked."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from PIL import Image

from cnnctl.errors import DataError
from cnnctl.formats import KINDS, open_parts, recognised
from tests.formats.originals import idx, images_of, labels_of, png, some, with_this_python, write

X, Y = some(20, 5, 5), some(20, high=10)
CSV = "\n".join(",".join(map(str, [label, *row])) for label, row in zip(Y, X.reshape(20, -1).tolist(), strict=True)).encode()
HEADER = ",".join(["label", *(f"pixel{i}" for i in range(25))]).encode() + b"\n"


def of(write_into: Callable[[io.BytesIO], object]) -> bytes:
    content = io.BytesIO()
    write_into(content)
    return content.getvalue()


def archive(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        out.writestr(name, content)
    return made.getvalue()


def tar(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as out:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        out.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def hdf5(user_block: int = 0) -> bytes:
    made = io.BytesIO()
    with h5py.File(made, "w", userblock_size=user_block) as out:
        out["X"] = X
    content = made.getvalue()
    return b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + content[128:] if user_block else content


def mnist_pickle(protocol: int) -> bytes:
    rows = X.reshape(20, -1) / 255
    return pickle.dumps(((rows[:10], Y[:10]), (rows[10:15], Y[10:15]), (rows[15:], Y[15:])), protocol)


def picture(form: str) -> bytes:
    return of(lambda file: Image.fromarray(X[0]).save(file, form))


FILES: dict[str, tuple[str, bytes]] = {
    "images of idx": ("idx", idx(X)),
    "labels of idx": ("idx", idx(Y)),
    "floats of idx": ("idx", idx(X.astype(np.float64))),
    "npz": ("npz", of(lambda file: np.savez(file, x=X, y=Y))),
    "compressed npz": ("npz", of(lambda file: np.savez_compressed(file, x=X, y=Y))),
    "npy": ("npy", of(lambda file: np.save(file, X))),
    "csv": ("csv", CSV),
    "csv with a header": ("csv", HEADER + CSV),
    "header alone": ("csv", HEADER),
    "csv of windows": ("csv", b"\xef\xbb\xbf" + (HEADER + CSV).replace(b"\n", b"\r\n")),
    "semicolons": ("csv", CSV.replace(b",", b";")),
    "tabs": ("csv", CSV.replace(b",", b"\t")),
    "long header": ("csv", ",".join(f"pixel{i}" for i in range(20_000)).encode()),
    "matlab": ("mat", of(lambda file: scipy.io.savemat(file, {"X": X, "y": Y}))),
    "matlab 7.3": ("mat73", hdf5(512)),
    "hdf5": ("mat73", hdf5()),
    "parquet": ("parquet", of(lambda file: pq.write_table(pa.table({"image": [png(X[0])]}), file))),
    **{f"pickle {protocol}": ("pickle", mnist_pickle(protocol)) for protocol in range(6)},
    "pickled array": ("pickle", pickle.dumps(X, 0)),
    "pickled dict": ("pickle", pickle.dumps({b"data": X, b"labels": [1]}, 2)),
    "pickled list": ("pickle", pickle.dumps([X], 1)),
    "zip": ("zip", archive("train.csv", CSV)),
    "empty zip": ("zip", of(lambda file: zipfile.ZipFile(file, "w").close())),
    "tar": ("tar", tar("train.csv", CSV)),
    **{form: ("image", picture(form)) for form in ("png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm")},
}
OTHERS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\0",
    "prose": b"This is text, as it is in a README, which has commas, too, but no rows, of numbers.\n",
    "source": b"import numpy as np\n\ndef f(a, b, c, d, e, f):\n    return 1, 2, 3, 4, 5, 6\n",
    "json": b'{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}\n',
    "names": b"id,label\n1,0\n2,3\n",
    "table of texts": b"a,b,c,d,e,f\nx,y,z,u,v,w\n",
    "yaml": b"data:\n  source: idx\n",
    "cut idx": idx(X)[:10],
    "zeros": bytes(1000),
    "random": some(1000, high=255, seed=3).tobytes(),
    "cut gzip": gzip.compress(idx(X))[:9],
    "no gzip": b"\x1f\x8b" + bytes(100),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", ["", ".csv", ".npz", ".png"])
def test_content_decides(name: str, packed: bool, ending: str, tmp_path: Path) -> None:
    kind, content = FILES[name]
    (tmp_path / f"file{ending}").write_bytes(gzip.compress(content) if packed else content)
    assert recognised(tmp_path / f"file{ending}") == kind


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_none_of_these(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(OTHERS[name])
    assert recognised(tmp_path / "a.csv") is None


def test_what_is_no_file_is_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert recognised(tmp_path / "fifo") is None
    assert recognised(tmp_path / "missing") is None
    assert recognised(tmp_path) is None


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({"train-images-idx3-ubyte.gz": "images of idx"}, "idx"),
        ({"raw/train-images-idx3-ubyte": "images of idx"}, "idx"),
        ({"gzip/emnist-letters-train-images-idx3-ubyte.gz": "images of idx"}, "idx"),
        ({"other/train-images-idx3-ubyte": "images of idx"}, None),
        ({"mnist.npz": "npz"}, "npz"),
        ({"x_train.npy": "npy", "y_train.npy": "npy"}, "npz"),
        ({"a/x.npy": "npy"}, None),
        ({"train.csv": "csv", "sample_submission.csv": "csv"}, "csv"),
        ({"data/train-00000-of-00001.parquet": "parquet", "README.md": "csv"}, "parquet"),
        ({"a/b/c/train/0000.parquet": "parquet"}, "parquet"),
        ({"train_32x32.mat": "matlab"}, "mat"),
        ({"a/1.png": "png", "b/2.jpg": "jpeg"}, "folder"),
        ({"train/a/1.png": "png"}, "folder"),
        ({"1.png": "png"}, "folder"),
        ({".cache/train.parquet": "parquet", ".hidden.csv": "csv"}, None),
        ({"data.zip": "zip"}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_folders_are_what_they_hold(names: dict[str, str], kind: str | None, tmp_path: Path) -> None:
    for name, content in names.items():
        write(tmp_path / name, FILES[content][1])
    assert recognised(tmp_path) == kind


def test_of_a_large_folder_little_is_read(tmp_path: Path) -> None:
    for name in range(60):
        (tmp_path / f"{name:02}").mkdir()
        for file in range(30):
            (tmp_path / f"{name:02}" / f"{file:02}.txt").write_bytes(b"")
    os.mkfifo(tmp_path / "00" / "99")  # to open it would wait for ever
    write(tmp_path / "59" / "a.png", FILES["png"][1])
    assert recognised(tmp_path) is None


# what is of another kind


@pytest.mark.parametrize("asked", KINDS)
@pytest.mark.parametrize("name", ["images of idx", "npz", "csv", "matlab", "parquet"])
def test_the_right_source_is_named(asked: str, name: str, tmp_path: Path) -> None:
    kind, content = FILES[name]
    file = write(tmp_path / "file", content)
    if kind == asked:
        return
    with pytest.raises(DataError, match=rf"/file: expected an? .* file, but this is an? .* file; write source: {kind}$"):
        open_parts(asked, file)
    (tmp_path / "folder").mkdir()
    file.rename(tmp_path / "folder" / {"idx": "train-images-idx3-ubyte"}.get(kind, f"train.{kind}"))
    with pytest.raises(DataError, match=rf"/folder: expected an? .* file, but this has an? .* file; write source: {kind}$"):
        open_parts(asked, tmp_path / "folder")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "npy",
            r"this is a single array; put the arrays .* into one folder as x_train.npy and y_train.npy, and write source: npz",
        ),
        ("matlab 7.3", r"this is an HDF5 file, as written by Matlab's -v7.3; save it again in Matlab: .*'-v7'\)"),
        ("png", r"this is an image; put the images of each class into a folder of its own, and write source: folder"),
    ],
)
@pytest.mark.parametrize("asked", KINDS)
def test_what_is_never_read_has_a_remedy(name: str, message: str, asked: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        open_parts(asked, write(tmp_path / "file", FILES[name][1]))


@pytest.mark.parametrize("kind", ["npz", "matlab", "parquet"])
def test_what_is_not_read_through_gzip_is_to_be_unpacked_by_the_command_given(kind: str, tmp_path: Path) -> None:
    (tmp_path / "its data").mkdir()
    file = write(tmp_path / "its data" / "train.gz", FILES[kind][1])
    with pytest.raises(DataError, match=r"compressed with gzip; unpack it: python -m gzip -d '.*/its data/train.gz'") as raised:
        open_parts(FILES[kind][0], file)
    run(str(raised.value).partition("unpack it: ")[2], tmp_path)
    assert open_parts(FILES[kind][0], file.with_suffix(""))["train"].count in (1, 20)


@pytest.mark.parametrize("name", ["it's.pkl.gz", "mnist.pkl"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_converted_by_the_command_given(name: str, protocol: int, tmp_path: Path) -> None:
    file = write(tmp_path / name, mnist_pickle(protocol))
    with pytest.raises(DataError, match=r"this is a pickle, which can run any code on loading and is never read") as raised:
        open_parts("npz", file)
    run(str(raised.value).partition("; type: ")[2], tmp_path)
    parts = open_parts("npz", tmp_path / f"{name.partition('.')[0]}.npz")
    assert list(parts) == ["train", "val", "test"]
    assert (images_of(parts["val"])[..., 0] == X[10:15] / 255).all()
    assert labels_of(parts["test"]) == Y[15:].tolist()


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["its data.zip", "archive", "train.csv.zip"])
def test_an_archive_is_unpacked_by_the_command_given(kind: str, packed: bool, name: str, tmp_path: Path) -> None:
    if packed and kind == "zip":
        return
    content = FILES[kind][1]
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=rf"this is a {kind} archive; unpack it, and write path: ") as raised:
        open_parts("csv", tmp_path / name)
    run(str(raised.value).partition("; type: ")[2], tmp_path)
    folder = Path(str(raised.value).partition("write path: ")[2].partition("; type: ")[0])
    assert open_parts("csv", folder)["train"].count == 20


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda path: None, "no such file or folder; write another data.path"),
        (os.mkfifo, "not a regular file; write another data.path"),
        (Path.mkdir, "expected a CSV file, but this folder has none; write another data.path"),
        (Path.touch, "expected a CSV file, but this file is empty; download it again"),
        (
            lambda path: write(path / "a" / "1.png", png(X[0])),
            "expected a CSV file, but this folder has images; write source: folder",
        ),
    ],
)
def test_nothing_of_any_kind_is_named(made: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    made(tmp_path / "data")
    with pytest.raises(DataError, match=rf"{tmp_path}/data: {message}"):
        open_parts("csv", tmp_path / "data")


def run(command: str, folder: Path) -> None:
    """Runs a command as it is typed into a shell."""
    subprocess.run(command, shell=True, check=True, cwd=folder, env=with_this_python())
