"""The tables of an ensemble, with each network alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cnnctl.evaluate.ensemble_tables import Member, accuracy_of, ensemble_markdown, ensemble_text, members_as_plain
from cnnctl.evaluate.scores import Scores, scores_of
from cnnctl.report.tables import PAGE_WIDTH

GOLDEN = Path(__file__).parents[1] / "golden"
MEMBERS = [
    Member("runs/first", 0.75, 0.81234, 0.7),
    Member("runs/second", 0.5, float("nan"), 0.9),
    Member("runs/third", 1.0, 0.4, 0.4),
]


@pytest.fixture
def scores() -> Scores:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], np.float32)
    return scores_of(np.array([0, 0, 1, 1]), probabilities, ["cat", "dog"], 0.4567, 0.75)


def test_an_ensemble_is_drawn_as_in_the_golden_files(scores: Scores, golden: Callable[[Path, str], None]) -> None:
    text = ensemble_text(scores, "test", MEMBERS)
    golden(GOLDEN / "evaluation-ensemble.txt", text)
    golden(GOLDEN / "evaluation-ensemble.md", ensemble_markdown(scores, "test", MEMBERS))
    assert max(map(len, text.splitlines())) <= PAGE_WIDTH


def test_a_line_for_a_hundred_networks_is_no_wider_than_a_page(scores: Scores) -> None:
    members = [Member(f"runs/{index}", index % 2, 0.1, 0.1) for index in range(100)]
    assert max(map(len, ensemble_text(scores, "test", members).splitlines())) <= PAGE_WIDTH


def test_the_deviation_is_that_of_a_sample() -> None:
    assert accuracy_of(MEMBERS) == pytest.approx((0.75, np.std([0.75, 0.5, 1.0], ddof=1)))


def test_json_says_null_where_a_number_cannot_be_said() -> None:
    plain = json.loads(json.dumps(members_as_plain(MEMBERS), allow_nan=False))
    assert plain["runs"][1] == {"run": "runs/second", "accuracy": 0.5, "loss": None, "cross_entropy": 0.9}
    assert plain["accuracy_of_runs"] == {"mean": 0.75, "standard_deviation": 0.25}


def test_a_name_of_a_run_cannot_move_the_cursor(scores: Scores) -> None:
    odd = [Member("runs/\x1b[2J", 0.5, 0.1, 0.1), *MEMBERS]
    assert "\x1b" not in ensemble_text(scores, "test", odd)
