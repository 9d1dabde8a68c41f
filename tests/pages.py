"""The pages of the documentation, and what runs the commands that they show.

In a page, every line of a ```sh block is a command, and the plain block right after it is what the last of them prints: `...` stands for
what is left out. A plain block whose lines begin with `$ ` is a session: commands, each with its output. A block with a title, such as
```yaml title="mnist.yaml", is a file. A comment above a block changes that: `<!-- not run: REASON -->` or `<!-- exit code 2 -->`.
"""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fork_server import ForkServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- (?P<note>.*?) -->\n)?```(?P<language>\w*)(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
SESSION = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
OUTPUTS = ("", "console", "python")
EXACT = ("summary", "data", "schema", "code")
"""Verbs whose results depend on no training and no machine."""
SHELL = ("ls", "cat", "head", "mkdir", "cp")


@dataclass(frozen=True)
class Block:
    """A block of a page, with the comment above it. Lines of ```bash are commands that no test of pages runs."""

    language: str
    title: str
    text: str
    note: str
    line: int
    output: str | None = None

    @property
    def commands(self) -> list[str]:
        """The commands of a block of shell lines; a line that ends with a backslash goes on."""
        return self.text.replace("\\\n", " ").strip().splitlines() if self.language in ("sh", "bash") else []

    @property
    def is_run(self) -> bool:
        """Whether commands are run, and not said not to be."""
        return self.language == "sh" and not self.note.startswith("not run: ")

    @property
    def exit_code(self) -> int:
        """The exit code of the commands, 0 unless the comment has another."""
        return int(self.note.removeprefix("exit code ")) if self.note.startswith("exit code ") else 0


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page; the output of a command belongs to it."""
    text = page.read_text()
    for each, after in itertools.pairwise([*BLOCK.finditer(text), None]):
        assert each
        line, note = text[: each.start()].count("\n") + 1, each["note"] or ""
        if each["text"].startswith("$ "):
            yield from (Block("sh", "", command, note, line, output) for command, output in SESSION.findall(each["text"]))
            continue
        printed = after and after["language"] in OUTPUTS and not text[each.end() : after.start()].strip()
        title = re.search(r'title="([^"]+)"', each["info"])
        output = after["text"] if printed and after and not after["text"].startswith("$ ") else None
        yield Block(each["language"], title[1] if title else "", each["text"], note, line, output)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class Commands:
    """Runs commands of pages, each in a process of its own that is forked from one with everything imported."""

    def __init__(self) -> None:
        self._server = ForkServer()
        self._kept = tempfile.TemporaryDirectory(prefix="cnnctl-pages-")
        self._done: dict[tuple[str, ...], tuple[str, Path]] = {}

    def __enter__(self) -> Commands:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)
        self._kept.cleanup()

    def run_or_copy(self, command: str, folder: Path) -> tuple[int, str]:
        """Run a command; what another page has trained or verified already is copied from there."""
        words = shlex.split(command)
        run = words[words.index("--run-dir") + 1] if "--run-dir" in words else ""
        if words[0] != "cnnctl" or not (run or words[1] == "verify"):
            return self.run(command, folder)
        key = (command, *((folder / word).read_text() for word in words if word.endswith(".yaml")))
        kept = Path(self._kept.name) / str(len(self._done))
        if key not in self._done:
            code, printed = self.run(command, folder)
            if code:
                return code, printed
            self._done[key] = printed, shutil.copytree(folder / run, kept) if run else kept
        elif run:
            shutil.copytree(self._done[key][1], folder / run)
        return 0, self._done[key][0]

    def run(self, command: str, folder: Path) -> tuple[int, str]:
        """Run a command in a folder; return its exit code and what it prints."""
        words = shlex.split(command)
        if words[0] in SHELL:
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=20, check=False)
            return done.returncode, done.stdout + done.stderr
        before = ""
        if ">" in words:
            before = f"import os\nos.dup2(os.open({words.pop()!r}, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)\n"
            words.remove(">")
        if words[0] == "python":
            before += (
                f"import os, runpy, sys\nrunpy.run_path({words[1]!r}, run_name='__main__')\nsys.stdout.flush()\nos._exit(0)"
            )
            words = ["cnnctl"]
        assert words[0] == "cnnctl", f"what runs {command!r}? Say so above its block: <!-- not run: REASON -->"
        output = folder / ".printed"
        return self._server.run(*words[1:], cwd=folder, output=output, before=before), output.read_text()


def shortened(command: str) -> str:
    """Return a command that trains for one epoch: what it prints is compared, not what it reaches."""
    if not command.startswith("cnnctl train ") or "--resume" in command or "train.epochs=" in command:
        return command
    return f"{command} --set train.epochs=1"


def missing_lines(shown: str, printed: str, exact: bool) -> list[str]:
    """Return the lines of a shown output that are not printed, in this order."""
    rest, missing = _lines(printed, exact), []
    for line in (each for each in _lines(shown, exact) if each.strip() != "..."):
        found = next((index for index, each in enumerate(rest) if _matches(line, each)), None)
        if found is None:
            missing.append(line)
        else:
            rest = rest[found + 1 :]
    return missing


def _lines(text: str, exact: bool) -> list[str]:
    """Return the lines to compare: where numbers differ from machine to machine, their shape, and rows of one shape once."""
    if exact:
        return [line.rstrip() for line in text.strip("\n").splitlines()]
    shapes = (_shape(line) for line in text.splitlines() if line.strip() != "...")
    return [shape for shape, _ in itertools.groupby(shapes) if shape]


def _shape(line: str) -> str:
    without_numbers = re.sub(r"[+-]?\d[\d.,:]*(e[+-]\d+)?(?![\w])|·", "#", line)
    return re.sub(r"\s+", " ", re.sub("─+", "─", without_numbers)).strip()


def _matches(shown: str, printed: str) -> bool:
    parts = map(re.escape, shown.split("..."))
    return re.fullmatch(".*".join(parts), printed) is not None
