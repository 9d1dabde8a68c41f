"""The findings of several runs about the same images: an option is advised only where every run has the finding."""

from __future__ import annotations

from pathlib import Path

from cnnctl.data.findings import Finding
from cnnctl.evaluate.evaluated_images import merge_findings

INVERTED = Finding("inverted", "the 20 images look inverted", "try --invert")
LARGE = Finding("drawn", "the 20 images fill more", "leave a margin")
ONE, OTHER = Path("runs/one"), Path("runs/other")


def test_a_finding_of_all_runs_is_reported_once_with_its_option() -> None:
    assert merge_findings({ONE: [INVERTED, LARGE], OTHER: [INVERTED]}) == [INVERTED, LARGE]


def test_an_option_that_not_every_run_needs_is_not_advised() -> None:
    (found,) = merge_findings({ONE: [INVERTED], OTHER: []})
    assert str(found).startswith("runs/one: the 20 images look inverted: other runs read the images correctly")
    assert "--invert" not in str(found)
    assert merge_findings({ONE: [LARGE], OTHER: []}) == [LARGE]
