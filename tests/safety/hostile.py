"""Makers of files that are not what they should be."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 100_000
"""Pixels of a decompression bomb's sides: ten thousand million in all."""


def digits_in_folders(root: Path, classes: Iterable[str], images: int) -> Path:
    """Writes a folder a class with some images of 8×8, no two alike."""
    generator = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(images):
            Image.fromarray(generator.integers(0, 256, (8, 8), np.uint8)).save(root / name / f"{index}.png")
    return root


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, width: int = 8, height: int = 8, depth: int = 8, colour: int = 0, rows: bytes | None = None) -> bytes:
    """Returns a PNG with chunks before its pixels, which are black; `rows` in place of them, compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    if rows is None:
        values = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        rows = zlib.compress(bytes((1 + -(-width * values * depth // 8)) * height), 9)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(form: str, mode: str = "L", **options: object) -> bytes:
    """Returns an image of 8×8 in one of Pillow's formats."""
    content = io.BytesIO()
    Image.new(mode, (8, 8), 0).save(content, form, **options)
    return content.getvalue()


def jpeg_of_size(side: int) -> bytes:
    """Returns a JPEG that claims to be larger than it is."""
    content = encoded("JPEG")
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", side, side) + content[place + 4 :]


def bmp_of_size(width: int, height: int) -> bytes:
    """Returns a BMP that claims another size than it has."""
    content = encoded("BMP")
    return content[:18] + struct.pack("<ii", width, height) + content[26:]


def exif(content: bytes) -> bytes:
    """Returns a PNG with what is to be EXIF data."""
    return png(chunk(b"eXIf", content))


def jpeg_with_exif(content: bytes) -> bytes:
    plain = encoded("JPEG")
    segment = b"Exif\0\0" + content
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]


def directory(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Returns a little TIFF directory, as EXIF data has it: (tag, type, count, value) each."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", following)


def tiff_bomb() -> bytes:
    """Returns a few kB that are an image of 400 million pixels."""
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "TIFF", compression="group4")
    return content.getvalue()


ZEROS = zlib.compress(bytes(200_000_000), 9)
"""About 200 kB that become 200 MB."""

REFUSED: dict[str, Callable[[], bytes]] = {
    "bomb": lambda: png(width=SIDE, height=SIDE, rows=ZEROS),
    "bomb of one bit": lambda: png(width=SIDE, height=SIDE, depth=1, rows=ZEROS),
    "bomb of 64 bits": lambda: png(width=SIDE, height=SIDE, depth=16, colour=6, rows=ZEROS),
    "bomb in colour": lambda: png(width=SIDE, height=1001, colour=2, rows=ZEROS),
    "bomb of a palette": lambda: png(chunk(b"PLTE", bytes(768)), width=SIDE, height=SIDE, colour=3, rows=ZEROS),
    "wide bomb": lambda: png(width=2**31 - 1, height=1, rows=ZEROS),
    "high bomb": lambda: png(width=1, height=2**31 - 1, rows=ZEROS),
    "size beyond all": lambda: png(width=2**32 - 1, height=2**32 - 1, rows=ZEROS),
    "jpeg bomb": lambda: jpeg_of_size(65_500),
    "bmp bomb": lambda: bmp_of_size(SIDE, SIDE),
    "bmp bomb upside down": lambda: bmp_of_size(SIDE, -SIDE),
    "bmp of a negative width": lambda: bmp_of_size(-8, 8),
    "bmp without width": lambda: bmp_of_size(0, 8),
    "no width": lambda: png(width=0),
    "no height": lambda: png(height=0),
    "text of 200 MB": lambda: png(chunk(b"zTXt", b"Comment\0\0" + ZEROS)),
    "profile of 200 MB": lambda: png(chunk(b"iCCP", b"profile\0\0" + ZEROS)),
    "international text of 200 MB": lambda: png(chunk(b"iTXt", b"Comment\0\1\0\0\0" + ZEROS)),
    "empty": lambda: b"",
    "one byte": lambda: b"\x89",
    "signature alone": lambda: b"\x89PNG\r\n\x1a\n",
    "cut off png": lambda: png(rows=zlib.compress(bytes(range(72))))[:-30],
    "cut off jpeg": lambda: encoded("JPEG")[:-40],
    "cut off bmp": lambda: encoded("BMP")[:-40],
    "no pixels": lambda: png(rows=b""),
    "broken pixels": lambda: png(rows=b"no pixels at all"),
    "wrong checksum": lambda: png().replace(struct.pack(">I", zlib.crc32(b"IEND")), b"0000").replace(b"IHDR", b"IHDX"),
    "unknown colours": lambda: png(rows=b"").replace(b"\0\0\0\x08\0\0\0\x08\x08\0", b"\0\0\0\x08\0\0\0\x08\x08\x05"),
    "a chunk of 2 GB": lambda: b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(100),
    "junk for exif": lambda: exif(b"junk"),
    "text": lambda: b"no picture",
    "html": lambda: b"<!DOCTYPE html><html><body>404</body></html>",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "zip": lambda: b"PK\x03\x04" + bytes(100),
    "gif bomb": lambda: encoded("GIF")[:6] + b"\xff\xff\xff\xff" + encoded("GIF")[10:],
    "tiff bomb": tiff_bomb,
    "webp bomb": lambda: encoded("WEBP")[:26] + b"\xff\x3f\xff\x3f" + encoded("WEBP")[30:],
    "ppm bomb": lambda: b"P5 60000 60000 255\n" + bytes(100),
    "ppm of no size": lambda: b"P5 0 8 255\n" + bytes(100),
    "ppm of words": lambda: b"P5 eight eight 255\n" + bytes(100),
    "cut off gif": lambda: encoded("GIF")[:-20],
    "cut off tiff": lambda: encoded("TIFF")[:60],
    "cut off webp": lambda: encoded("WEBP")[:-20],
    "cut off ppm": lambda: encoded("PPM")[:-20],
    "tiff that leads to itself": lambda: directory((0x0100, 3, 1, 8), (0x0101, 3, 1, 8), following=8),
    "eps": lambda: encoded("EPS"),
    "postscript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/tmp/sentinel) (w) file closefile\nshowpage\n",
    "pdf": lambda: encoded("PDF"),
    "ico": lambda: encoded("ICO"),
    "tga": lambda: encoded("TGA"),
    "pcx": lambda: encoded("PCX"),
    "jpeg 2000": lambda: encoded("JPEG2000"),
    "dds": lambda: encoded("DDS", "RGB"),
    "sgi": lambda: encoded("SGI"),
    "psd": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, 8, 8, 8, 1) + bytes(12) + bytes(2 + 64),
    "fits": lambda: (
        b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + b"END".ljust(2720)
    ),
    "fpx": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "wmf": lambda: b"\xd7\xcd\xc6\x9a\0\0" + bytes(100),
    "xbm": lambda: (
        b"#define im_width 8\n#define im_height 8\nstatic char im_bits[] = {\n0x00,0x00,0x00,0x00,0x00,0x00,0x00,0x00};"
    ),
}
"""Files that are no images, by what they are, whatever they are called."""

TAKEN: dict[str, Callable[[], bytes]] = {
    "png": png,
    "jpeg": lambda: encoded("JPEG"),
    "bmp": lambda: encoded("BMP"),
    "gif": lambda: encoded("GIF"),
    "webp": lambda: encoded("WEBP"),
    "tiff": lambda: encoded("TIFF"),
    "tiff of floats": lambda: encoded("TIFF", "F"),
    "ppm": lambda: encoded("PPM"),
    "bitmap of text": lambda: b"P1\n# a comment\n8 8\n" + b"0 1 0 1 0 1 0 1\n".replace(b"0", b"1") * 8,
    "a bit": lambda: png(depth=1),
    "16 bits": lambda: png(depth=16),
    "16 bits in colour": lambda: png(depth=16, colour=2),
    "16 bits with transparency": lambda: png(depth=16, colour=6),
    "a grey that is transparent": lambda: png(chunk(b"tRNS", b"\0\0")),
    "16 bits, one of which is transparent": lambda: png(chunk(b"tRNS", b"\0\0"), depth=16),
    "a palette of one colour": lambda: png(chunk(b"PLTE", b"\1\2\3"), colour=3),
    "a palette with transparency": lambda: png(chunk(b"PLTE", b"\1\2\3"), chunk(b"tRNS", b"\0"), colour=3),
    "more transparency than colours": lambda: png(chunk(b"PLTE", b"\1\2\3"), chunk(b"tRNS", bytes(256)), colour=3),
    "cmyk": lambda: encoded("JPEG", "CMYK"),
    "no exif at all": lambda: exif(b""),
    "an orientation that is none": lambda: exif(directory((0x0112, 3, 1, 9999))),
    "an orientation of text": lambda: exif(directory((0x0112, 2, 4, 0x41414141))),
    "an orientation of 4 GB": lambda: exif(directory((0x0112, 12, 2**29, 8))),
    "exif that leads to itself": lambda: exif(directory((0x8769, 4, 1, 8), following=8)),
    "exif beyond its end": lambda: exif(b"II*\0\xff\xff\xff\xff"),
    "exif of 65,535 entries": lambda: exif(b"II*\0\x08\0\0\0\xff\xff" + bytes(600)),
    "jpeg with exif that leads to itself": lambda: jpeg_with_exif(directory((0x8769, 4, 1, 8), following=8)),
    "jpeg with junk for exif": lambda: jpeg_with_exif(b"MM\0\0" + bytes(range(200))),
    "animation of 4,294,967,295 frames": lambda: png(chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))),
    "resolution of nothing": lambda: png(chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1))),
    "gamma of nothing": lambda: png(chunk(b"gAMA", bytes(4))),
}
"""Strange files that are images nonetheless, all black or white."""


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


ODD: dict[str, Callable[[Path], None]] = {
    "fifo": make_fifo,
    "socket": make_socket,
    "folder": Path.mkdir,
}
"""Things that are no files, by what they are."""
