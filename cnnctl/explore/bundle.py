"""Join the JavaScript modules and the style sheets of `page/` into one script and one style sheet, without a build tool.

A page opened from the disk may load no modules, so all of them become one function. Modules keep to rules that make this
possible: named imports of relative paths without renaming, `export` in front of declarations only, no cycles, and names at
the top level that no other module has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

FOLDER = Path(__file__).parent / "page"
ENTRY = "main.js"
FIRST_STYLES = ("base.css", "layout.css")
"""The style sheets that the others build on."""
_IMPORT = re.compile(r'^import\s*\{([^{}]*)\}\s*from\s*"([^"\n]+)";[^\S\n]*\n?', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|const|let|class)\b)", re.MULTILINE)
_DECLARED = re.compile(r"^(export )?(?:async function|function\*?|const|let|var|class)\s+([\w$]+)", re.MULTILINE)
_LEFT_OVER = re.compile(r"^(?:import|export)\b.*|^(?:const|let|var)\s*[{\[].*|\bimport\s*\(.*", re.MULTILINE)
_ENDS_ELEMENT = re.compile(r"</(?:script|style)|<!--", re.IGNORECASE)
"""What would end a script or a style element, or start a state of HTML's parser in which `</script>` does not."""


class BundleError(ValueError):
    """The page's own files break a rule of this module. No user can cause it; tests of the page find it."""


@dataclass(frozen=True)
class Module:
    """One JavaScript module.

    Attributes:
        path: relative to the folder, such as `arithmetic/network.js`.
        text: as it is in the file.
    """

    path: str
    text: str

    @cached_property
    def imports(self) -> list[tuple[str, list[str]]]:
        """The imported modules, in order, each with the imported names."""
        return [(self._resolved(path), _names(names)) for names, path in _IMPORT.findall(self.text)]

    @cached_property
    def declared(self) -> list[str]:
        """The names that the module declares at its top level, which starts in the first column."""
        return [name for _, name in _DECLARED.findall(self.text)]

    @cached_property
    def exported(self) -> set[str]:
        """The names that other modules may import."""
        return {name for export, name in _DECLARED.findall(self.text) if export}

    @cached_property
    def body(self) -> str:
        """The text without imports and without `export`."""
        return _EXPORT.sub("", _IMPORT.sub("", self.text)).strip("\n")

    def _resolved(self, path: str) -> str:
        if not path.startswith(("./", "../")):
            raise BundleError(f"{self.path}: expected a relative path to import from, received {path!r}")
        parts: list[str] = []
        for part in PurePosixPath(self.path).parent.joinpath(path).parts:
            if part == ".." and parts:
                parts.pop()
            elif part != ".":
                parts.append(part)
        return "/".join(parts)


def _names(names: str) -> list[str]:
    found = [name.strip() for name in names.split(",") if name.strip()]
    if renamed := [name for name in found if not re.fullmatch(r"[\w$]+", name)]:
        raise BundleError(f"expected imports without renaming, received {renamed[0]!r}")
    return found


def joined_script(folder: Path = FOLDER, entry: str = ENTRY) -> str:
    """Join the modules that `entry` needs into one strict function, each before those that import it.

    Args:
        folder: with the modules.
        entry: the module that starts the page, relative to the folder.

    Raises:
        BundleError: a module breaks a rule, or is missing.
    """
    modules = ordered_modules(folder, entry)
    _refuse_broken(modules)
    text = "\n\n".join(f"// {module.path}\n{module.body}" for module in modules)
    return _inert(f'"use strict";\n(() => {{\n{text}\n}})();\n', entry)


def ordered_modules(folder: Path = FOLDER, entry: str = ENTRY) -> list[Module]:
    """Read a module and those that it needs, each after the modules that it imports.

    Raises:
        BundleError: a module is missing, or imports itself through others.
    """
    done: dict[str, Module] = {}

    def visit(path: str, above: tuple[str, ...]) -> None:
        if path in above:
            raise BundleError(f"modules import each other: {' → '.join((*above[above.index(path) :], path))}")
        if path in done:
            return
        module = _read(folder, path, above)
        for other, _ in module.imports:
            visit(other, (*above, path))
        done[path] = module

    visit(entry, ())
    return list(done.values())


def _read(folder: Path, path: str, above: tuple[str, ...]) -> Module:
    try:
        return Module(path, (folder / path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{above[-1] if above else folder}: there is no module {path}") from error


def _refuse_broken(modules: list[Module]) -> None:
    """Check that imported names exist, that names are unique, and that no other form of import or export is left."""
    exported = {module.path: module.exported for module in modules}
    places: dict[str, str] = {}
    for module in modules:
        for other, names in module.imports:
            if missing := [name for name in names if name not in exported[other]]:
                raise BundleError(f"{module.path}: {other} exports no {missing[0]}")
        for name in module.declared:
            if name in places:
                raise BundleError(f"{module.path}: {name} is declared in {places[name]} too; rename one of them")
            places[name] = module.path
        if left := _LEFT_OVER.search(module.body):
            raise BundleError(f"{module.path}: cannot be joined: {left[0].strip()}")


def joined_style(folder: Path = FOLDER) -> str:
    """Join the style sheets of `style/`: those of `FIRST_STYLES` first, the others by name."""
    return _inert("\n".join(_styles(folder)), "style")


def _styles(folder: Path) -> Iterator[str]:
    files = {file.name: file for file in sorted((folder / "style").glob("*.css"))}
    for name in sorted(files, key=lambda name: FIRST_STYLES.index(name) if name in FIRST_STYLES else len(FIRST_STYLES)):
        yield files[name].read_text(encoding="utf-8")


def _inert(text: str, name: str) -> str:
    if found := _ENDS_ELEMENT.search(text):
        raise BundleError(f"{name}: {found[0]!r} would end its element in the page; write it in two parts")
    return text
