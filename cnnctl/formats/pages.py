"""Find the unpacked size of the pages of a Parquet column before Arrow allocates it.

A page's header is in Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md);
its fields are those of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cnnctl.errors import DataError
from cnnctl.formats.remedies import quoted
from cnnctl.formats.streams import BLOCK_BYTES, damaged

MAX_EXPANSION = 20
"""Maximum expansion of a page above `BLOCK_BYTES`; encoded images hardly compress."""
_FIRST_LOOK, _MAX_HEADER = 2**12, 2**24
_DICTIONARY_PAGE, _DELTA_BYTE_ARRAY = 2, 7
_MAX_DEPTH, _MAX_VARINT = 8, 10


@dataclass(frozen=True)
class Page:
    """A page of a column.

    Attributes:
        dictionary: True for the values that other pages refer to.
        unpacked: bytes in memory.
        packed: bytes in the file.
        values: number of values.
        encoding: of the values.
    """

    dictionary: bool
    unpacked: int
    packed: int
    values: int
    encoding: int


def bytes_per_value(raw: IO[bytes], file: Path, chunks: Iterable[Any]) -> int:
    """Compute the bytes per value of a column: the size of a dictionary, or the average of any other page.

    Args:
        raw: the file.
        file: for messages.
        chunks: Arrow's metadata of the chunks.

    Raises:
        DataError: a page is damaged, or far larger in memory than in the file.
    """
    pages = (page for chunk in chunks for page in pages_of(raw, file, chunk))
    return max((page.unpacked if page.dictionary else -(-page.unpacked // max(page.values, 1)) for page in pages), default=1)


def pages_of(raw: IO[bytes], file: Path, chunk: Any) -> Iterator[Page]:
    """Yield the pages of one chunk of a column. Raises as `bytes_per_value` does."""
    size = raw.seek(0, 2)
    at = min(place for place in (chunk.dictionary_page_offset, chunk.data_page_offset) if place)
    end, left = at + chunk.total_compressed_size, chunk.num_values
    if not 0 < at <= end <= size:
        raise damaged(file, f"a column goes from byte {at:,} to {end:,} of {size:,}")
    while at < end and left > 0:
        page, start = _page(raw, file, at)
        _check(page, file)
        yield page
        left -= 0 if page.dictionary else page.values
        at = start + page.packed


def _check(page: Page, file: Path) -> None:
    if min(page.unpacked, page.packed, page.values) < 0:
        raise damaged(file, "a page has a negative size")
    if page.unpacked > max(BLOCK_BYTES, MAX_EXPANSION * page.packed):
        raise damaged(file, f"a page of {page.packed:,} bytes claims {page.unpacked:,} unpacked")
    if page.encoding == _DELTA_BYTE_ARRAY:  # a value of a few bytes may expand to any size
        code = f"import pyarrow.parquet as p; p.write_table(p.read_table({str(file)!r}), {str(file.with_suffix('.new.parquet'))!r})"
        raise DataError(
            f"{file}: a column is encoded as DELTA_BYTE_ARRAY, which cannot be read in bounded memory; rewrite it: "
            f"python -c {quoted(code)}"
        )


def _page(raw: IO[bytes], file: Path, at: int) -> tuple[Page, int]:
    """Read the header of the page at a position; return also the start of its content."""
    look = _FIRST_LOOK
    while True:  # statistics in a header may contain whole images
        raw.seek(at)
        header = _Thrift(raw.read(look))
        try:
            fields = header.struct()
            return _page_of(fields), at + header.at
        except IndexError as error:
            look *= 16
            if look > _MAX_HEADER:
                raise damaged(file, f"the header of the page at byte {at:,} does not end") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise damaged(file, f"there is no page at byte {at:,}") from error


def _page_of(fields: dict[int, Any]) -> Page:
    data, dictionary, data_v2 = (fields.get(number) for number in (5, 7, 8))
    details = data or dictionary or data_v2 or {1: 0}
    encoding = details.get(4 if details is data_v2 else 2, 0)
    return Page(int(fields[1]) == _DICTIONARY_PAGE, int(fields[2]), int(fields[3]), int(details[1]), int(encoding))


class _Thrift:
    """Values in the compact protocol. Texts are skipped."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Read the fields of a struct by their numbers.

        Raises:
            IndexError: the struct continues after the content.
            ValueError: the content is not a struct.
        """
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._integer()
            fields[number] = self._value(header & 15, depth)
        if self.at > len(self._content):
            raise IndexError
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                self.at += 8
            case 8:
                length = self._varint()  # first: reading the length advances the position
                self.at += length
            case 9 | 10:
                self._list(depth)
            case 12 if depth < _MAX_DEPTH:
                return self.struct(depth + 1)
            case _:  # no page header has a map
                raise ValueError(kind)
        return None

    def _list(self, depth: int) -> None:
        header = self._byte()
        count = header >> 4 if header >> 4 < 15 else self._varint()
        for _ in range(count):
            if header & 15 in (1, 2):
                self._byte()
            else:
                self._value(header & 15, depth + 1)

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for place in range(_MAX_VARINT):
            byte = self._byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise ValueError("a number does not end")

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]
