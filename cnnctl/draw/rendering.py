"""Convert an SVG picture to PNG or PDF by CairoSVG, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cnnctl.errors import RunError, UsageError
from cnnctl.surroundings import shell_word

SUFFIXES = (".svg", ".png", ".pdf")
PIXELS = 2
"""Pixels of a PNG file per pixel of the picture, for sharp text on a slide."""


def refuse_suffix(path: Path) -> None:
    """Check that a picture can be written as the suffix of its file asks.

    Raises:
        UsageError: another suffix, or a package that is not installed.
    """
    suffix = path.suffix.lower()
    plain = shell_word(path.with_suffix(".svg"))
    if suffix not in SUFFIXES:
        raise UsageError(f"--output {path}: expected a name ending with .svg, .png or .pdf, such as {plain}")
    if suffix != ".svg" and find_spec("cairosvg") is None:
        raise UsageError(f"{suffix} needs CairoSVG; install with: pip install cairosvg. Or write {plain}, which needs nothing")


def rendered(svg: str, suffix: str) -> bytes:
    """Return the content of a file with this suffix.

    Raises:
        RunError: the system library that CairoSVG draws with is missing.
    """
    if suffix == ".svg":
        return f"{svg}\n".encode()
    try:
        import cairosvg
    except OSError as error:
        raise RunError(
            f"{suffix} needs the system's library Cairo, which CairoSVG does not find; write .svg instead"
        ) from error
    if suffix == ".pdf":
        content: bytes = cairosvg.svg2pdf(bytestring=svg.encode())
        return content
    content = cairosvg.svg2png(bytestring=svg.encode(), scale=PIXELS)
    return content
