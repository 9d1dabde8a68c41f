"""CSV files with one image per row: which columns are what, and messages that name row and column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnctl.errors import DataError
from cnnctl.formats import csv, open_parts
from tests.formats.originals import everything, images_of, labels_of, some, write

X, Y = some(30, 5, 5), some(30, high=10)
PIXELS = [f"pixel{place}" for place in range(25)]


def table(
    rows: Sequence[Sequence[Any]] | np.ndarray, header: Sequence[str] = (), delimiter: str = ",", end: str = "\n"
) -> bytes:
    lines = [*([header] if header else []), *rows]
    return end.join([*(delimiter.join(map(str, line)) for line in lines), ""]).encode()


def with_label(place: int, x: np.ndarray = X, y: Any = Y) -> list[list[Any]]:
    """Returns rows with the label at a place among the pixels."""
    rows = x.reshape(len(x), -1).tolist()
    return [[*row[:place], label, *row[place:]] for row, label in zip(rows, y, strict=True)]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".txt", ""])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_kaggles_training_file_is_read(ending: str, delimiter: str, end: str, tmp_path: Path) -> None:
    file = write(tmp_path / f"train{ending}", table(with_label(0), ["label", *PIXELS], delimiter, end))
    (part,) = open_parts("csv", file).values()
    assert part.name == "train"
    assert images_of(part).dtype == np.uint8
    assert (images_of(part)[..., 0] == X).all()
    assert labels_of(part) == Y.tolist()


def test_kaggles_test_file_has_no_labels(tmp_path: Path) -> None:
    (part,) = open_parts("csv", write(tmp_path / "test.csv", table(X.reshape(30, -1), PIXELS))).values()
    assert part.labels is None
    assert (images_of(part)[..., 0] == X).all()


@pytest.mark.parametrize("name", ["label", "Class", "target", "y", "letter", "digit "])
@pytest.mark.parametrize("place", [0, 7, 25])
@pytest.mark.parametrize(
    "pixels", [PIXELS, [f"{row}x{column}" for row in range(1, 6) for column in range(1, 6)], [f"px_{i}" for i in range(25)]]
)
def test_the_label_is_found_by_its_name(name: str, place: int, pixels: list[str], tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table(with_label(place), [*pixels[:place], name, *pixels[place:]]))
    (part,) = open_parts("csv", file).values()
    assert (images_of(part)[..., 0] == X).all()
    assert labels_of(part) == Y.tolist()


def test_rows_may_be_numbered(tmp_path: Path) -> None:
    """Kannada-MNIST's test file has a column id, a file of pandas one without a name."""
    for name in ("id", "", "Unnamed: 0"):
        file = write(tmp_path / "a.csv", table(with_label(0, y=range(30)), [name, *PIXELS]))
        (part,) = open_parts("csv", file).values()
        assert part.labels is None
        assert (images_of(part)[..., 0] == X).all()


@pytest.mark.parametrize("labelled", [True, False])
def test_without_a_header_the_number_of_columns_decides(labelled: bool, tmp_path: Path) -> None:
    """A file without names has a label first if a square of pixels is left then."""
    rows = with_label(0) if labelled else X.reshape(30, -1)
    (part,) = open_parts("csv", write(tmp_path / "emnist-digits-train.csv", table(rows))).values()
    assert part.name == "emnist-digits-train"
    assert (images_of(part)[..., 0] == X).all()
    assert (labels_of(part) if part.labels else None) == (Y.tolist() if labelled else None)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("label", ["label", "", None])
def test_numbers_that_count_are_a_header(first: int, label: str | None, tmp_path: Path) -> None:
    """Pandas names columns 0, 1, 2, ...; its rows have a number then as well."""
    names = [str(place + first) for place in range(25 if label is not None else 26)]
    file = write(tmp_path / "a.csv", table(with_label(0), [label, *names] if label is not None else names))
    (part,) = open_parts("csv", file).values()
    assert part.count == 30
    assert (part.labels is None) == (label == "")
    assert (images_of(part)[..., 0] == X).all()


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("labelled", [True, False])
def test_images_that_are_no_squares_have_a_size(header: bool, labelled: bool, tmp_path: Path) -> None:
    x = some(9, 4, 6)
    rows = with_label(0, x, Y[:9]) if labelled else x.reshape(9, -1)
    names = [*(["label"] if labelled else []), *PIXELS[:24]]
    file = write(tmp_path / "a.csv", table(rows, names if header else []))
    (part,) = open_parts("csv", file, size=(4, 6)).values()
    assert (images_of(part)[..., 0] == x).all()
    assert (part.labels is not None) == labelled
    if labelled and not header:  # 25 columns are a square of pixels
        assert (part := open_parts("csv", file)["a"]).labels is None
        assert (part.height, part.width) == (5, 5)
    else:
        with pytest.raises(DataError, match=r"write data.image_size: \[height, width\]"):
            open_parts("csv", file)


def test_names_are_labels_too(tmp_path: Path) -> None:
    names = ["A", 'the "b"', "c, d"] * 10
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    for header in (["label", *PIXELS], []):
        (part,) = open_parts("csv", write(tmp_path / "a.csv", table(with_label(0, y=quoted), header))).values()
        assert labels_of(part) == names
        assert (images_of(part)[..., 0] == X).all()


def test_a_text_among_pixels_is_no_label(tmp_path: Path) -> None:
    """Without a header the only text of the first row is the label if it stands at an end."""
    names = ["a", "b", "c"] * 10
    (part,) = open_parts("csv", write(tmp_path / "a.csv", table(with_label(25, y=names)))).values()
    assert labels_of(part) == names
    with pytest.raises(DataError, match=r"a.csv: row 1, column 8: expected a finite number, received 'a'"):
        open_parts("csv", write(tmp_path / "a.csv", table(with_label(7, y=names))))


def test_every_cell_may_be_quoted(tmp_path: Path) -> None:
    rows = [[f'"{cell}"' for cell in row] for row in with_label(3)]
    header = [f'"{name}"' for name in [*PIXELS[:3], "label", *PIXELS[3:]]]
    (part,) = open_parts("csv", write(tmp_path / "a.csv", table(rows, header))).values()
    assert labels_of(part) == Y.tolist()
    assert (images_of(part)[..., 0] == X).all()


@pytest.mark.parametrize("labels", [[f"{label}.0" for label in Y], [f" {label} " for label in Y], [f"+{label}" for label in Y]])
def test_labels_that_are_whole_numbers_are_integers(labels: list[str], tmp_path: Path) -> None:
    (part,) = open_parts("csv", write(tmp_path / "a.csv", table(with_label(0, y=labels), ["label", *PIXELS]))).values()
    assert labels_of(part) == Y.tolist()


def test_digits_and_letters_are_names(tmp_path: Path) -> None:
    labels = ["1", "a", "B"] * 10
    (part,) = open_parts("csv", write(tmp_path / "a.csv", table(with_label(0, y=labels), ["label", *PIXELS]))).values()
    assert labels_of(part) == labels


@pytest.mark.parametrize(
    ("pixels", "dtype"),
    [
        (X, np.uint8),
        (X.astype(np.int32) - 100, np.int32),
        (X.astype(np.int32) * 200, np.int32),
        (X.astype(np.float32) / 255, np.float32),
        (X.astype(np.float64) / 3, np.float32),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pixels_are_bytes_integers_or_floats(pixels: np.ndarray, dtype: type, tmp_path: Path) -> None:
    (part,) = open_parts("csv", write(tmp_path / "a.csv", table(pixels.reshape(30, -1).tolist()))).values()
    assert images_of(part).dtype == dtype
    assert np.array_equal(images_of(part)[..., 0], pixels.astype(dtype))


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf\n\n" + table(with_label(0), ["label", *PIXELS]).replace(b"\n", b"\n\r\n\n").rstrip()
    (part,) = open_parts("csv", write(tmp_path / "a.csv", content)).values()
    assert labels_of(part) == Y.tolist()


def test_rows_go_over_the_ends_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.csv", table(with_label(0), ["label", *PIXELS]))
    for size in (100, 101, 997):
        monkeypatch.setattr(csv, "PIECE_BYTES", size)
        (part,) = open_parts("csv", file).values()
        assert (images_of(part)[..., 0] == X).all()
        assert labels_of(part) == Y.tolist()


@pytest.mark.parametrize(
    "names", [("train.csv", "test.csv"), ("mnist_train.csv", "mnist_test.csv.gz"), ("a-train.tsv", "a-t10k.tsv")]
)
def test_a_folder_has_a_file_for_each_split(names: tuple[str, str], tmp_path: Path) -> None:
    for name, rows in zip(names, (with_label(0), with_label(0)[:9]), strict=True):
        write(tmp_path / name, table(rows))
    write(tmp_path / "sample_submission.csv", b"ImageId,Label\n1,0\n")
    write(tmp_path / "test_labels.csv", b"id,label\n1,0\n")
    write(tmp_path / "others.csv", table(with_label(0)))
    parts = open_parts("csv", tmp_path)
    assert {part.count for part in parts.values()} == {30, 9}
    assert sorted(parts) == sorted(name.partition(".")[0] for name in names)


def test_of_two_copies_in_a_folder_the_uncompressed_one_is_read(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", table(with_label(0)))
    write(tmp_path / "train.csv.gz", table(with_label(0)[:3]))
    (part,) = open_parts("csv", tmp_path).values()
    assert part.count == 30


def test_one_file_in_a_folder_needs_no_split(tmp_path: Path) -> None:
    write(tmp_path / "letters.csv", table(with_label(0)))
    assert list(open_parts("csv", tmp_path)) == ["letters"]
    write(tmp_path / "numbers.csv", table(with_label(0)))
    with pytest.raises(
        DataError, match=r"expected train.csv and test.csv, received letters, numbers; write one file as data.path"
    ):
        open_parts("csv", tmp_path)


# what is wrong


def changed(row: int, column: int, text: str) -> list[list[Any]]:
    rows = with_label(0)
    rows[row][column] = text
    return rows


HEADER = ["label", *PIXELS]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            changed(4, 3, "x"),
            r"row 6, column 'pixel2': expected an integer from 0 to 255, received 'x'; correct or remove the row",
        ),
        (changed(4, 3, "256"), r"row 6, column 'pixel2': expected an integer from 0 to 255, received '256'"),
        (changed(4, 3, "-1"), r"row 6, column 'pixel2': expected an integer from 0 to 255, received '-1'"),
        (changed(4, 3, "0.5"), r"row 6, column 'pixel2': expected an integer from 0 to 255, received '0.5'"),
        (changed(4, 3, ""), r"row 6, column 'pixel2': expected an integer from 0 to 255, received nothing"),
        (changed(4, 0, ""), r"row 6, column 'label': expected a label, received nothing; complete or remove the row"),
        (changed(4, 25, "1,2"), r"row 6 has 27 columns, expected 26 as in the first row; complete or remove it"),
        ([*with_label(0)[:4], [1, 2], *with_label(0)], r"row 6 has 2 columns, expected 26 as in the first row"),
        (changed(4, 0, "é"), r"row 6 is not UTF-8 text; save the file as CSV in UTF-8"),
        (changed(4, 0, "a" * 1001), r"column 'label' has a label of more than 1,000 characters"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_row_and_column_are_named(rows: list[list[Any]], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "PIECE_BYTES", 200)  # the first rows, by which a file is known, are in order
    content = table(rows, HEADER).decode().encode("latin-1")
    file = write(tmp_path / "a.csv", content)
    with pytest.raises(DataError, match=rf"a.csv: {message}"):
        everything(open_parts("csv", file)["a"])


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("text", "received"), [("x", "'x'"), ("nan", "'nan'"), ("inf", "'inf'"), ("1_0", None), ("", "nothing")]
)
def test_the_first_rows_may_be_wrong_too(header: bool, text: str, received: str | None, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table(changed(1, 3, text), HEADER if header else []))
    where = "column 'pixel2'" if header else "column 4"
    message = (
        rf"row {3 if header else 2}, {where}: expected a finite number, received {received}"
        if received
        else "rows .* cannot|could not"
    )
    with pytest.raises(DataError, match=message):
        open_parts("csv", file)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            ["label", "class", *PIXELS[1:]],
            r"expected one column of labels beside the pixels, received 'label', 'class'; name it label",
        ),
        (["label", *PIXELS[:-1], "split"], r"received 'label', 'split'"),
        (["first", *PIXELS[:-1], "second"], r"received 'first', 'second'"),
        (["label", *PIXELS[:-1], "id"], r"24 pixels per image are not a square; write data.image_size: \[height, width\]"),
    ],
    ids=["two", "split", "unknown", "id"],
)
def test_other_columns_are_named(header: list[str], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table(with_label(0), header))
    with pytest.raises(DataError, match=message):
        open_parts("csv", file)


def test_a_size_that_does_not_fit_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table(with_label(0, some(3, 24), Y[:3]), ["label", *PIXELS[:24]]))
    message = r"24 pixels per image are not a square, and data.image_size \[5, 6\] has 30; write .* with height × width = 24"
    with pytest.raises(DataError, match=message):
        open_parts("csv", file, size=(5, 6))


def test_columns_without_names_that_fit_nothing_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table(some(3, 24)))
    with pytest.raises(
        DataError, match=r"24 columns are not a square of pixels, with or without a label before them; write data"
    ):
        open_parts("csv", file)


def test_a_header_alone_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected images, received only a header"):
        open_parts("csv", write(tmp_path / "a.csv", table([], HEADER)))


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", table(with_label(0), HEADER))
    (part,) = open_parts("csv", file).values()
    write(file, table(with_label(0)[:-1], HEADER))
    with pytest.raises(DataError, match=r"a\.csv changed while it was read; run the command again"):
        images_of(part)
