"""`cnnctl draw` writes one file, as its suffix asks, and refuses what it cannot draw."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cnnctl import cli
from cnnctl.draw import rendering

CONFIG = "data: {source: digits}\nmodel: {layers: [conv2d: {filters: 4, kernel_size: 3}, flatten, dense: {units: classes}]}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.yaml").write_text(CONFIG)


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["cnnctl", "draw", *words])
    try:
        cli.main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_the_picture_is_named_like_the_config_and_the_layer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "q.yaml") == 0
    assert capsys.readouterr().out == "q.svg is ready. Open it in a browser: q.svg\n"
    assert call(monkeypatch, "q.yaml", "--layer", "conv2d") == 0
    assert capsys.readouterr().out == "q-conv2d.svg is ready. Open it in a browser: q-conv2d.svg\n"
    for name in ("q.svg", "q-conv2d.svg"):
        assert ElementTree.parse(name).getroot().tag == "{http://www.w3.org/2000/svg}svg"


BLOCKS = """
data: {source: digits}
model:
  blocks: {unit: {layers: [conv2d: {filters: 4, kernel_size: 3}]}}
  layers: [unit, flatten, dense: {units: classes}]
"""


def test_a_layer_in_a_block_is_drawn_by_its_full_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("b.yaml").write_text(BLOCKS)
    assert call(monkeypatch, "b.yaml", "--layer", "unit/conv2d") == 0
    assert capsys.readouterr().out == "b-unit-conv2d.svg is ready. Open it in a browser: b-unit-conv2d.svg\n"
    assert "unit/conv2d: conv2d, 4 filters 3×3" in Path("b-unit-conv2d.svg").read_text()


def test_options_change_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in {
        "a": (),
        "b": ("--layout", "column"),
        "c": ("--theme", "dark"),
        "d": ("--set", "model.layers.0.conv2d.filters=8"),
    }.items():
        assert call(monkeypatch, "q.yaml", *words, "-o", f"{name}.svg") == 0
    texts = [Path(f"{name}.svg").read_text() for name in "abcd"]
    assert len(set(texts)) == 4
    assert "(6, 6, 8)" in texts[3] and "(6, 6, 4)" in texts[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "x.gif"), "--output x.gif: expected a name ending with .svg, .png or .pdf, such as x.svg"),
        (("-o", "q.yaml"), "--output q.yaml: expected a name ending with .svg, .png or .pdf, such as q.svg"),
        (("-o", "no/x.svg"), "--output no/x.svg: there is no folder no; create it: mkdir -p no"),
        (("--layer", "../x"), "--layer ../x: there is no such layer; expected one of conv2d, flatten"),
        (("--layer", "conv2d", "--layout", "row"), "--layout row is for a whole network; remove it, or --layer conv2d"),
        (("--layout", "circle"), "expected one of row, column, received 'circle'"),
        (("--set", "model.layers.0.conv2d.filters=0"), "model.layers[0].conv2d.filters: expected"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "q.yaml", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in Path().iterdir()) == ["q.yaml"]


def test_without_cairosvg_a_png_is_refused_and_an_svg_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rendering, "find_spec", lambda name: None)
    assert call(monkeypatch, "q.yaml", "-o", "a b.png") == 2
    message = ".png needs CairoSVG; install with: pip install cairosvg. Or write 'a b.svg', which needs nothing"
    assert " ".join(capsys.readouterr().err.split()) == message


def test_without_the_library_cairo_one_message_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Missing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "cairosvg":
                raise OSError("no library called cairo-2 was found")

    monkeypatch.delitem(sys.modules, "cairosvg", raising=False)
    monkeypatch.setattr(rendering, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    assert call(monkeypatch, "q.yaml", "-o", "a.pdf") == 1
    assert "the system's library Cairo" in capsys.readouterr().err
    assert not Path("a.pdf").exists()


@pytest.mark.skipif(find_spec("cairosvg") is None, reason="cairosvg is in the extra draw")
def test_png_and_pdf_are_drawn_in_light_colours_and_a_layer_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    assert call(monkeypatch, "q.yaml", "-o", "a.pdf") == 0
    assert call(monkeypatch, "q.yaml", "--layer", "conv2d", "-o", "b.png") == 0
    assert call(monkeypatch, "q.yaml", "--theme", "dark", "-o", "c.png") == 0
    assert Path("a.pdf").read_bytes().startswith(b"%PDF-")
    for name, colour in (("b", (255, 255, 255)), ("c", (18, 24, 31))):
        with Image.open(f"{name}.png") as image:
            pixels = image.convert("RGB")
            assert pixels.getpixel((3, 3)) == colour
            assert len(pixels.getcolors(1 << 24) or []) > 20
