"""The page's modules become one script, and what cannot be joined is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnctl.explore.bundle import FOLDER, BundleError, joined_script, joined_style, ordered_modules

IMPORT_OR_EXPORT = re.compile(r"^\s*(?:import|export)\b", re.MULTILINE)


def folder_of(tmp_path: Path, **modules: str) -> Path:
    for name, text in modules.items():
        file = tmp_path / f"{name.replace('__', '/')}.js"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


def test_the_script_of_the_page_has_no_import_and_no_export() -> None:
    assert not IMPORT_OR_EXPORT.search(joined_script())


def test_every_name_of_the_page_is_declared_once() -> None:
    names = [name for module in ordered_modules() for name in module.declared]
    assert len(names) > 100
    assert len(names) == len(set(names))


def test_every_module_of_the_page_is_reached_from_its_entry() -> None:
    """Else it would be code that nobody runs."""
    there = {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.js")}
    assert there == {module.path for module in ordered_modules()}


def test_every_style_sheet_is_in_the_page() -> None:
    style = joined_style()
    sheets = [file.read_text(encoding="utf-8") for file in (FOLDER / "style").glob("*.css")]
    assert len(sheets) > 2
    assert all(sheet in style for sheet in sheets)
    assert style.startswith((FOLDER / "style" / "base.css").read_text(encoding="utf-8"))


def test_a_module_comes_after_those_that_it_imports(tmp_path: Path) -> None:
    modules = {
        "main": 'import { one } from "./a/one.js";\nimport {\n  two,\n  three,\n} from "./a/two.js";\nuse(one, two, three);\n',
        "a__one": 'import { two } from "./two.js";\nexport const one = two + 1;\n',
        "a__two": 'import { zero } from "../zero.js";\nexport function two() {}\nexport class three {}\n',
        "zero": "export const zero = 0;\n",
    }
    folder = folder_of(tmp_path, **modules)
    assert [module.path for module in ordered_modules(folder)] == ["zero.js", "a/two.js", "a/one.js", "main.js"]
    assert joined_script(folder) == (
        '"use strict";\n(() => {\n'
        "// zero.js\nconst zero = 0;\n\n"
        "// a/two.js\nfunction two() {}\nclass three {}\n\n"
        "// a/one.js\nconst one = two + 1;\n\n"
        "// main.js\nuse(one, two, three);\n"
        "})();\n"
    )


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"main": 'import { a } from "./a.js";\n', "a": 'import { b } from "./main.js";\n'}, "import each other: main.js → a.js → main.js"),
        ({"main": 'import { a } from "./a.js";\n'}, "there is no module a.js"),
        ({"main": 'import { b } from "./a.js";\n', "a": "export const a = 1;\nconst b = 2;\n"}, "a.js exports no b"),
        ({"main": 'import { a } from "./a.js";\nlet a;\n', "a": "export const a = 1;\n"}, "a is declared in a.js too"),
        ({"main": 'import { a as b } from "./a.js";\n', "a": "export const a = 1;\n"}, "without renaming, received 'a as b'"),
        ({"main": 'import { a } from "a";\n'}, "expected a relative path to import from, received 'a'"),
        ({"main": 'import * as a from "./a.js";\n'}, "cannot be joined: import \\* as a"),
        ({"main": 'import a from "./a.js";\n'}, "cannot be joined: import a from"),
        ({"main": "export default 1;\n"}, "cannot be joined: export default 1;"),
        ({"main": "const a = 1;\nexport { a };\n"}, "cannot be joined: export { a };"),
        ({"main": "const { a } = window;\n"}, "cannot be joined: const { a } = window;"),
        ({"main": 'const a = () => import("./a.js");\n'}, "cannot be joined: import"),
        ({"main": 'const a = "</script>";\n'}, "'</script' would end its element"),
        ({"main": 'const a = "<!--";\n'}, "'<!--' would end its element"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(tmp_path: Path, modules: dict[str, str], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        joined_script(folder_of(tmp_path, **modules))


def test_a_style_that_would_end_its_element_is_refused(tmp_path: Path) -> None:
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "a.css").write_text("/* </style> */")
    with pytest.raises(BundleError, match="'</style' would end its element"):
        joined_style(tmp_path)
