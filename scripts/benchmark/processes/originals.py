"""Write a dataset in every file format that cnnctl reads: originals.py FOLDER COUNT [MNIST_DATA_DIR]."""

from __future__ import annotations

import gzip
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
from PIL import Image

SIDE = 28


def arrays(count: int, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 28, 28) and labels of MNIST if it is prepared, else enlarge the digits of scikit-learn."""
    if data_dir:
        import tensorflow_datasets as tfds

        images, labels = tfds.as_numpy(tfds.load("mnist", split="train", data_dir=data_dir, batch_size=-1, as_supervised=True))
        return images[:count, ..., 0], labels[:count]
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = np.random.default_rng(0).integers(0, len(digits.target), count)
    large = np.kron(digits.images[rows], np.ones((3, 3))) * (255 / 16)
    return np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8), digits.target[rows]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=1)
    return content.getvalue()


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for name, suffix in (("idx", ""), ("idx_gz", ".gz")):
        (folder / name).mkdir()
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx(array)
            (folder / name / f"train-{kind}-ubyte{suffix}").write_bytes(gzip.compress(content, 6) if suffix else content)
    np.savez(folder / "plain.npz", x_train=images, y_train=labels)
    np.savez_compressed(folder / "compressed.npz", x_train=images, y_train=labels)
    rows = images.reshape(len(images), -1)
    head = ",".join(["label", *(f"pixel{index}" for index in range(rows.shape[1]))])
    np.savetxt(folder / "train.csv", np.c_[labels, rows], "%d", ",", header=head, comments="")
    content = {"dataset": {"train": {"images": rows, "labels": labels[:, np.newaxis]}}}
    scipy.io.savemat(folder / "set.mat", content, do_compression=True)
    encoded = [png(image) for image in images]
    table = pa.table({"image": [{"bytes": each, "path": None} for each in encoded], "label": labels})
    pq.write_table(table, folder / "train.parquet", row_group_size=1_000)
    for index, (each, label) in enumerate(zip(encoded, labels, strict=True)):
        place = folder / "folder" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:06d}.png").write_bytes(each)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *arrays(int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))
