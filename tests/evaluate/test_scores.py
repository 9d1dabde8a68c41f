"""Scores against definitions written out image by image, and how they are drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from cnnctl.evaluate.class_tables import MAX_ROWS, evaluation_markdown, evaluation_text
from cnnctl.evaluate.scores import LARGEST_MATRIX, Confusion, Scores, as_plain, calibration_error, scores_of
from cnnctl.report.tables import PAGE_WIDTH
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import has_penalties

GOLDEN = Path(__file__).parents[1] / "golden"


def certain(predicted: Sequence[int], classes: int, confidence: float = 0.9) -> np.ndarray:
    """Create probabilities that predict `predicted`, each with the same confidence."""
    probabilities = np.full((len(predicted), classes), (1 - confidence) / (classes - 1), np.float32)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    return probabilities


def scored(labels: Sequence[int], predicted: Sequence[int], names: Sequence[str]) -> Scores:
    accuracy = float(np.mean(np.array(labels) == np.array(predicted)))
    return scores_of(np.array(labels), certain(predicted, len(names)), names, 0.5, accuracy)


def random_scores(classes: int, images: int, names: Sequence[str] | None = None) -> Scores:
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, images)
    wrong = generator.random(images) < 0.3
    predicted = np.where(wrong, generator.integers(0, classes, images), labels)
    return scored(labels.tolist(), predicted.tolist(), names or [str(label) for label in range(classes)])


def test_precision_recall_and_f1_are_counted_as_defined() -> None:
    generator = np.random.default_rng(0)
    labels, predicted = generator.integers(0, 4, 200), generator.integers(0, 4, 200)
    scores = scored(labels.tolist(), predicted.tolist(), ["a", "b", "c", "d"])
    pairs = list(zip(labels, predicted, strict=True))
    for label, score in enumerate(scores.classes):
        hits = sum(true == label == named for true, named in pairs)
        precision, recall = hits / sum(named == label for _, named in pairs), hits / sum(true == label for true, _ in pairs)
        assert score.precision == pytest.approx(precision)
        assert score.recall == pytest.approx(recall)
        assert score.f1 == pytest.approx(2 * precision * recall / (precision + recall))
        assert score.images == sum(true == label for true, _ in pairs)
        assert scores.matrix[label].tolist() == [sum(pair == (label, other) for pair in pairs) for other in range(4)]
    assert scores.mean("recall") == pytest.approx(np.mean([score.recall for score in scores.classes]))


def test_a_share_of_nothing_is_undefined_and_counts_as_zero_in_the_mean() -> None:
    scores = scored([0, 0, 1], [0, 0, 0], ["a", "b", "c", "d"])
    shares = [(each.precision, each.recall, each.f1) for each in scores.classes]
    assert shares == [(pytest.approx(2 / 3), 1.0, pytest.approx(0.8)), (None, 0.0, 0.0), (None, None, None), (None, None, None)]
    assert scores.mean("precision") == pytest.approx(1 / 3)  # of a and b alone: c and d have no images


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_over_classes_is_the_macro_average_of_scikit_learn(seed: int) -> None:
    """Some classes have no images and are named, some are never named, one is neither."""
    generator = np.random.default_rng(seed)
    labels, predicted = generator.integers(0, 6, 40).tolist(), generator.integers(3, 9, 40).tolist()
    scores = scored(labels, predicted, [str(label) for label in range(10)])
    expected = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)[:3]
    assert [scores.mean(field) for field in ("precision", "recall", "f1")] == pytest.approx(expected)
    assert {each.label for each in scores.occurring} == {*labels, *predicted}
    assert f"Mean of the {len(scores.occurring)} classes: precision {expected[0]:.2%}," in evaluation_text(scores, "test")
    assert as_plain(scores)["mean_over"] == len({*labels, *predicted})


def test_confusions_are_what_was_taken_for_what_the_most_frequent_first() -> None:
    scores = scored([0, 1, 1, 1, 2, 2], [0, 2, 2, 0, 2, 1], ["a", "b", "c"])
    assert scores.confusions == [Confusion("b", "c", 2), Confusion("b", "a", 1), Confusion("c", "b", 1)]
    assert scores.images == 6


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_that_of_guo_et_al(seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(5, 0.5), 300).astype(np.float32)
    labels = generator.integers(0, 5, 300)
    error = 0.0
    for number in range(1, 16):
        inside = [
            (float(row.max()), int(row.argmax() == label))
            for row, label in zip(probabilities, labels, strict=True)
            if (number - 1) / 15 < float(row.max()) <= number / 15
        ]
        if inside:
            confidence, accuracy = (float(np.mean(values)) for values in zip(*inside, strict=True))
            error += len(inside) / 300 * abs(accuracy - confidence)
    assert calibration_error(labels, probabilities) == pytest.approx(error)


def test_who_is_always_certain_and_right_is_calibrated_and_always_wrong_is_not() -> None:
    probabilities = np.eye(3, dtype=np.float32)
    assert calibration_error(np.array([0, 1, 2]), probabilities) == 0.0
    assert calibration_error(np.array([1, 2, 0]), probabilities) == 1.0


def test_too_much_and_too_little_confidence_cancel_within_a_bin_only() -> None:
    half = certain([0, 0, 0, 0], 2, confidence=0.75)
    assert calibration_error(np.array([0, 0, 0, 1]), half) == pytest.approx(0.0)
    two_bins = np.concatenate([certain([0, 0], 2, confidence=0.92), certain([0, 0], 2, confidence=0.95)])
    assert calibration_error(np.array([0, 0, 1, 1]), two_bins) == pytest.approx((0.08 + 0.95) / 2)


def test_what_programs_get_is_json_without_numbers_that_are_none() -> None:
    scores = scores_of(np.array([0, 1]), certain([0, 0], 3), ["a", "b", "c"], float("nan"), 0.5)
    plain = json.loads(json.dumps(as_plain(scores), allow_nan=False))
    assert plain["loss"] is None
    assert plain["classes"][2] == {"class": "c", "label": 2, "precision": None, "recall": None, "f1": None, "images": 0}
    assert plain["confusion_matrix"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert plain["confusions"] == [{"true": "b", "predicted": "a", "images": 1}]


def test_of_very_many_classes_programs_get_the_confusions_instead_of_the_matrix() -> None:
    plain = as_plain(random_scores(LARGEST_MATRIX + 1, 300))
    assert plain["confusion_matrix"] is None
    assert len(plain["classes"]) == LARGEST_MATRIX + 1
    wrong = sum(each["images"] for each in plain["confusions"])
    assert wrong == pytest.approx(300 * (1 - plain["accuracy"]))


NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_scores_are_drawn_as_in_the_golden_files(golden: Callable[[Path, str], None]) -> None:
    few, wide, many = random_scores(3, 60), random_scores(10, 2000, NAMES), random_scores(60, 900)
    golden(GOLDEN / "evaluation-few.txt", evaluation_text(few, "test"))
    golden(GOLDEN / "evaluation-few.md", evaluation_markdown(few, "test"))
    golden(GOLDEN / "evaluation-wide.txt", evaluation_text(wide, "validation"))
    golden(GOLDEN / "evaluation-many.txt", evaluation_text(many, "images"))


@pytest.mark.parametrize("classes", [2, 10, 15, 16, 25, 300])
def test_no_line_is_wider_than_a_page_and_no_table_floods_it(classes: int) -> None:
    names = [f"character {label:03}" for label in range(classes)]
    lines = evaluation_text(random_scores(classes, 20 * classes, names), "test").splitlines()
    assert max(map(len, lines)) <= PAGE_WIDTH
    assert len(lines) <= 2 * MAX_ROWS + 15


def test_of_many_classes_the_worst_are_shown() -> None:
    classes = MAX_ROWS + 10
    labels = [label for label in range(classes) for _ in range(4)]
    predicted = [0 if label in (7, 23) else label for label in labels]
    text = evaluation_text(scored(labels, predicted, [f"c{label}" for label in range(classes)]), "test")
    assert f"The {MAX_ROWS} of {classes} classes with the lowest F1; --format json has all." in text
    rows = text.split("─\n")[1].split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows[:3]] == ["c7", "c23", "c0"]
    assert len(rows) == MAX_ROWS


def test_classes_that_do_not_occur_have_no_row() -> None:
    text = evaluation_text(scored([1, 1, 3], [1, 3, 3], ["a", "b", "c", "d"]), "images")
    assert [line.split()[0] for line in text.splitlines() if line.startswith(("a ", "b ", "c ", "d "))] == ["b", "d", "b", "d"]


def test_names_cannot_move_the_cursor() -> None:
    text = evaluation_text(scored([0, 1], [1, 1], ["\x1b[31mred", "new\nline"]), "test")
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert "new\\nline" in text


def test_without_a_mistake_it_says_so() -> None:
    names = [str(label) for label in range(30)]
    assert "No classes are confused." in evaluation_text(scored(range(30), range(30), names), "test")


@pytest.mark.parametrize("regularizer", [None, {"l2": {"l2": 0.1}}])
def test_a_loss_with_penalties_says_so(regularizer: Any) -> None:
    layers = ["flatten", {"repeat": {"times": 1, "layers": [{"dense": {"units": 3, "kernel_regularizer": regularizer}}]}}]
    config = {"data": {"source": "digits"}, "model": {"layers": [*layers, {"dense": {"units": "classes"}}]}}
    penalties = has_penalties(Experiment.model_validate(config))
    assert penalties == (regularizer is not None)
    scores = replace(random_scores(3, 60), regularized=penalties)
    assert (", loss 0.5000 (regularization included), on" in evaluation_text(scores, "test")) == penalties
    assert as_plain(scores)["loss_includes_regularization"] == penalties
