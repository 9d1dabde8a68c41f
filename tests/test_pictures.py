"""The pictures of the pages are those that scripts/pictures draws, and show the figures of the pages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cnnctl import cli
from tests.custom import option_of

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
SCRIPT = (ROOT / "scripts/pictures").read_text()
CONFIGS = [file.stem for file in sorted((ROOT / "configs").glob("*.yaml"))]


def table(name: str) -> dict[str, str]:
    """Read a table of the script, which needs TensorFlow to be imported."""
    (found,) = (
        node.value for node in ast.parse(SCRIPT).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    read: dict[str, str] = ast.literal_eval(found)
    return read


def commands() -> dict[str, str]:
    """Read the commands that draw pictures."""
    own = {
        name: f"draw configs/{name}.yaml {' '.join(option_of(ROOT / 'configs' / f'{name}.yaml'))}".strip() for name in CONFIGS
    }
    return table("COMMANDS") | {f"configs/{name}": command.replace(f"{ROOT}/", "") for name, command in own.items()}


def names() -> set[str]:
    """List all pictures, such as `configs/mnist.svg`."""
    return {file.relative_to(PICTURES).as_posix() for file in PICTURES.rglob("*.*")}


def test_the_script_draws_every_svg_file_and_nothing_else() -> None:
    drawn = re.findall(r'^    "([\w-]+)": \(\w+, \(', SCRIPT, re.MULTILINE)
    every = [*drawn, *commands(), *table("OF_RUNS")]
    assert sorted(every) == sorted(name.removesuffix(".svg") for name in names() if name.endswith(".svg"))


def test_every_screen_is_taken_by_the_script() -> None:
    taken = {name.removesuffix(".png") for name in names() if name.startswith(("explore", "tensorboard"))}
    assert set(table("SCREENS") | table("TABS")) == taken


def test_the_pages_to_learn_from_show_what_commands_draw() -> None:
    """As the README promises: no picture that the script computes by itself, none made by hand."""
    drawn = {f"{name}.svg" for name in commands() | table("OF_RUNS")} | {
        f"{name}.png" for name in table("SCREENS") | table("TABS")
    }
    pages = sorted((ROOT / "docs/learn").glob("*.md"))
    shown = {page.stem: re.findall(r"\]\(\.\./pictures/([\w./-]+)\)", page.read_text()) for page in pages}
    assert [name for name, found in shown.items() if not found] == []
    assert {each for found in shown.values() for each in found} - drawn == set()


def test_every_picture_is_shown_by_a_page_and_every_shown_one_is_there() -> None:
    shown = {name for page in PAGES for name in re.findall(r"!\[[^\]]+\]\([./\w]*pictures/([\w./-]+)\)", page.read_text())}
    assert shown == names()


def test_every_example_config_is_drawn_on_the_page_about_drawing() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(\.\./pictures/configs/([\w-]+)\.svg\)", (ROOT / "docs/guide/draw.md").read_text())
    assert sorted(shown) == sorted(CONFIGS)


@pytest.mark.parametrize("name", [name for name, words in commands().items() if words.startswith("draw ")])
def test_a_picture_is_what_its_command_draws_now(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cli.app([*commands()[name].split(), "--output", str(tmp_path / "now.svg")], standalone_mode=False)
    now, shown = (tmp_path / "now.svg").read_text(), (PICTURES / f"{name}.svg").read_text()
    assert now == shown, f".venv/bin/python scripts/pictures {name}"


def test_the_pictures_of_kinds_of_convolution_are_of_the_config_on_their_page() -> None:
    page = (ROOT / "docs/learn/kinds-of-convolution.md").read_text()
    assert f'```yaml title="kinds.yaml"\n{(ROOT / "docs/learn/kinds.yaml").read_text()}```\n' in page


def test_the_tape_is_what_verify_draws_now() -> None:
    from cnnctl.verify.tape_picture import tape_picture

    assert commands()["gradient-tape"] == "verify --explain"
    assert f"{tape_picture()}\n" == (PICTURES / "gradient-tape.svg").read_text(), (
        ".venv/bin/python scripts/pictures gradient-tape"
    )


def test_text_in_pictures_can_be_selected() -> None:
    assert [name for name in names() if name.endswith(".svg") and "<text" not in (PICTURES / name).read_text()] == []


def test_the_chart_shows_the_speeds_of_the_results() -> None:
    rows = re.findall(r"^\| .+? \| ([\d,]+) \([\d,]+–[\d,]+\) \|", (ROOT / "docs/results/speed.md").read_text(), re.MULTILINE)
    chart = (PICTURES / "results.svg").read_text()
    assert rows
    assert [speed for speed in rows if f">{speed}<" not in chart] == []
