"""The pictures of the pages are those that scripts/pictures draws, and show the figures of the pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


def test_the_script_draws_every_svg_file_and_nothing_else() -> None:
    drawn = re.findall(r'^    "([\w-]+)": \(\w+, \(', (ROOT / "scripts/pictures").read_text(), re.MULTILINE)
    assert sorted(drawn) == sorted(file.stem for file in PICTURES.glob("*.svg"))


def test_every_picture_is_shown_by_a_page_and_every_shown_one_is_there() -> None:
    shown = {name for page in PAGES for name in re.findall(r"!\[[^\]]+\]\([./\w]*pictures/([\w.-]+)\)", page.read_text())}
    assert shown == {file.name for file in PICTURES.iterdir()}


def test_text_in_pictures_can_be_selected() -> None:
    assert [file.name for file in PICTURES.glob("*.svg") if "<text" not in file.read_text()] == []


def test_the_chart_shows_the_speeds_of_the_results() -> None:
    rows = re.findall(r"^\| .+? \| ([\d,]+) \([\d,]+–[\d,]+\) \|", (ROOT / "docs/results/speed.md").read_text(), re.MULTILINE)
    chart = (PICTURES / "results.svg").read_text()
    assert rows
    assert [speed for speed in rows if f">{speed}<" not in chart] == []
