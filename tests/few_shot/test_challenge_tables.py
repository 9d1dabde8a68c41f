"""What is said of a one-shot challenge: rows, totals and the interval."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnctl.few_shot.challenge_tables import (
    ChallengeResult,
    Mistake,
    RunRow,
    challenge_markdown,
    challenge_text,
    mistake_title,
    wilson_interval,
)
from cnnctl.report.tables import as_json

GOLDEN = Path(__file__).parents[1] / "golden"


def mistakes(run: str, count: int) -> list[Mistake]:
    return [
        Mistake(f"{run}/test/item{index:02}.png", f"{run}/training/class09.png", f"{run}/training/class{index:02}.png")
        for index in range(1, count + 1)
    ]


@pytest.fixture
def result() -> ChallengeResult:
    rows = [RunRow("run01", 20, 20, mistakes("run01", 3)), RunRow("run02", 5, 10, mistakes("run02", 0))]
    return ChallengeResult(rows, "by the cosine of the inputs of layer 'dense_1'", 8)


@pytest.mark.parametrize(("errors", "images"), [(0, 20), (1, 20), (17, 400), (200, 400), (400, 400), (1, 1)])
def test_the_ends_of_the_interval_are_the_rates_that_the_score_test_just_accepts(errors: int, images: int) -> None:
    """A rate p is accepted where |errors / images - p| ≤ 1.96 · √(p (1 - p) / images), which is where the formula comes from."""
    rate = errors / images
    low, high = wilson_interval(errors, images)
    assert 0 <= low <= rate <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(rate - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / images), rel=1e-6)
    assert high > low


def test_the_interval_is_that_of_a_published_case() -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3: 81 of 263."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_totals_are_sums_of_the_rows(result: ChallengeResult) -> None:
    plain = json.loads(as_json(result.as_plain()))
    assert [(row["errors"], row["error_rate"]) for row in plain["runs"]] == [(3, 0.15), (0, 0.0)]
    assert (plain["total"]["errors"], plain["total"]["images"]) == (3, 30)
    assert plain["total"]["error_rate"] == pytest.approx(0.1)
    assert plain["total"]["interval_95"] == pytest.approx(wilson_interval(3, 30))
    assert len(plain["mistakes"]) == 3
    assert plain["mistakes"][1] == {
        "test": "run01/test/item02.png",
        "chosen": "run01/training/class09.png",
        "right": "run01/training/class02.png",
    }


def test_guessing_is_weighted_by_the_images_of_each_run(result: ChallengeResult) -> None:
    assert result.guessing == pytest.approx((20 * 0.95 + 10 * 0.8) / 30)


def test_the_texts_are_as_they_were_read(result: ChallengeResult, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / "one-shot.txt", challenge_text(result))
    golden(GOLDEN / "one-shot.md", challenge_markdown(result))
    assert max(map(len, challenge_text(result).splitlines())) <= 80


def test_a_name_cannot_move_the_cursor() -> None:
    assert mistake_title(Mistake("run1/test/a\x1b[2J.png", "run1/training/b.x.png", "run1/training/c")) == (
        r"run1/a\x1b[2J: b.x, not c"
    )
