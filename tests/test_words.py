"""One is one: no message says 1 epochs, and none counts in its own way; the field's words are found where others stand."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cnnctl.errors import counted
from cnnctl.report.rows import summarize
from cnnctl.report.tables import totals
from cnnctl.session import messages
from cnnctl.spec.load import load
from cnnctl.spec.optimizers import Span
from cnnctl.train.observers import StepsRecord

ROOT = Path(__file__).parents[1]
PLURAL_OF_ONE = re.compile(
    r"(?<![\d.,-])1 (epochs|images|steps|layers|classes|parameters|episodes|trials|replicas|runs|files)\b"
)


def test_one_is_one_and_thousands_have_commas() -> None:
    assert [counted(count, "epoch") for count in (0, 1, 2, 1200)] == ["0 epochs", "1 epoch", "2 epochs", "1,200 epochs"]
    assert [counted(count, "class", "classes") for count in (1, 2)] == ["1 class", "2 classes"]


def test_lengths_of_training() -> None:
    assert [str(Span(amount, "epochs")) for amount in (1, 1.0, 0.5, 2)] == ["1 epoch", "1 epoch", "0.5 epochs", "2 epochs"]


@pytest.mark.parametrize(("rows", "steps"), [(1, 0), (0, 1)])
def test_what_is_saved_of_a_training(rows: int, steps: int) -> None:
    partial = StepsRecord(1, steps, steps, 1, 0.0, 0.0, 0.0) if steps else None
    done = messages.done_of(cast(Any, SimpleNamespace(rows=[None] * rows, partial_epoch=partial)), 1, 1)
    assert not PLURAL_OF_ONE.search(done), done
    assert done.startswith(f"{rows} of 1 epoch")


def test_the_totals_of_a_network_of_one_parameter() -> None:
    experiment = load(ROOT / "configs/quickstart.yaml", [], look_at_data=False)
    one = summarize(experiment)
    small = SimpleNamespace(
        trainable=1,
        non_trainable=0,
        macs=1,
        activation_bytes=4,
        batch_size=1,
        rows=(),
        never_seen="",
        uncounted=[],
        unknown_from="",
    )
    assert not any(PLURAL_OF_ONE.search(line) for line in (*totals(one), *totals(cast(Any, small))))


def test_no_text_that_people_are_shown_has_the_plural_of_one() -> None:
    """Whatever golden files and exact messages hold; what people write, such as 1 epochs in a config, is theirs."""
    shown = [*(ROOT / "tests/golden").glob("*.*"), *(ROOT / "tests/spec/bad").glob("*.txt")]
    assert len(shown) > 100
    assert [file.name for file in shown if PLURAL_OF_ONE.search(file.read_text())] == []


def test_images_and_epochs_are_counted_by_the_helper_alone() -> None:
    """A count that is put before a plural by hand says 1 images sooner or later; these cannot be one."""
    by_hand = re.compile(r"\{(?:len\([^{}]*\)|[\w.]*(?:epochs|steps))(?::,)?\} (?:epochs|steps)\b")
    found = {file.name: by_hand.findall(file.read_text()) for file in (ROOT / "cnnctl").rglob("*.py")}
    assert {name for name, each in found.items() if each} == set()


TEXTS = {
    "code.py": """
        # What is judged,
        told = judge(anew=True)  # names are free
        f"{told} is no number {anew}"
        f\'\'\'one
        row an epoch\'\'\'
        """,
    "page.md": "The loss\nis said anew.\nWhatever tellers do.\n",
}


def test_words_that_the_field_has_better_ones_for_are_found_with_their_line(tmp_path: Path) -> None:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    words = [sys.executable, str(ROOT / "scripts/words"), *(str(tmp_path / name) for name in TEXTS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    found = [line.removeprefix(f"{tmp_path}/").rpartition(": ")[0] for line in done.stdout.splitlines()]
    assert found == [
        "code.py:2: 'judged'",
        "code.py:4: 'no number'",
        "code.py:5: 'one row an epoch'",
        "page.md:2: 'anew'",
        "page.md:2: 'said'",
    ]
    assert done.returncode == 1


def test_plain_english_passes(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("Evaluate the run, then retrain it: 1 row per epoch, 10 images/s.\n")
    words = [sys.executable, str(ROOT / "scripts/words"), str(tmp_path / "page.md")]
    assert subprocess.run(words, capture_output=True, timeout=20, check=False).returncode == 0
