"""The confusion matrix and the worst mistakes as pictures."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnctl.report.confusion import confusion_png, wrong_png
from cnnctl.report.tiles import CARD_WIDTH

DARK, PALE, GREEN, RED = (8, 48, 107), (247, 251, 255), (27, 120, 55), (178, 24, 43)


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def count(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=-1).sum())


def test_colors_are_shares_of_the_true_class_however_many_images_it_has() -> None:
    picture = pixels(confusion_png(np.diag([1, 900]), ["a", "b"], "901 images"))
    # a 2×2 matrix without mistakes: half of the cells are full and half are empty, apart from the numbers
    full, empty = count(picture, DARK), count(picture, PALE)
    assert 0.9 < full / empty <= 1.0
    wrong = pixels(confusion_png(np.array([[0, 5], [0, 900]]), ["a", "b"], "905 images"))
    assert 0.9 < count(wrong, DARK) / full < 1.1
    assert not np.array_equal(wrong, picture)


def test_a_matrix_of_few_classes_is_as_wide_as_a_card_and_any_other_has_room_for_its_names() -> None:
    digits = [str(label) for label in range(10)]
    card = pixels(confusion_png(np.eye(10, dtype=np.int64), digits, "10 images", for_card=True))
    assert CARD_WIDTH - 20 < card.shape[1] <= CARD_WIDTH
    long = [f"Anglo-Saxon_Futhorc/character{label:02}" for label in range(10)]
    named = pixels(confusion_png(np.eye(10, dtype=np.int64), long, "10 images", for_card=True))
    assert count(named, DARK) > 10 * 20 * 20  # the cells are not squeezed by long names


def test_hundreds_of_classes_have_no_names_and_thousands_no_more_than_a_screen() -> None:
    many = pixels(confusion_png(np.eye(3000, dtype=np.int64), ["x"] * 3000, "3,000 images"))
    assert max(many.shape) < 1400
    names = [f"class {label}" for label in range(50)]
    same = confusion_png(np.eye(50, dtype=np.int64), names, "50 images")
    assert same == confusion_png(np.eye(50, dtype=np.int64), names[::-1], "50 images")


def mistakes(names: list[str], **changed: Any) -> bytes:
    images = np.random.default_rng(0).integers(0, 256, (len(names), 8, 8, 1), dtype=np.uint8)
    given = {"images": images, "truth": names, "answers": names[::-1], "probabilities": np.linspace(0.9, 0.5, len(names))}
    return wrong_png(**{**given, "title": "4 of 9 images are wrong; the most confident:", **changed})


def test_a_mistake_has_its_true_and_its_predicted_class_in_two_colors() -> None:
    picture = pixels(mistakes(["0", "1", "2", "3"]))
    assert picture.shape[1] == CARD_WIDTH
    assert count(picture, GREEN) > 20
    assert count(picture, RED) > 20
    assert mistakes(["0", "1", "2", "3"]) != mistakes(["0", "1", "2", "4"])


def test_images_are_drawn_equal_as_bytes_and_as_shares() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 5, 3), dtype=np.uint8)
    assert mistakes(["a", "b"], images=images) == mistakes(["a", "b"], images=images / 255.0)


def test_a_long_name_stays_in_its_column() -> None:
    picture = pixels(mistakes(["W" * 60, "b", "c", "d"]))
    gap = picture[30:80, CARD_WIDTH // 2 - 2 : CARD_WIDTH // 2 + 2]
    assert (gap == 255).all()


def test_a_name_in_another_alphabet_is_drawn_with_its_own_letters() -> None:
    assert mistakes(["ж", "б"]) != mistakes(["д", "г"])  # equal boxes if the font had no Cyrillic


def test_nothing_of_it_imports_matplotlib() -> None:
    code = "import sys; from cnnctl.report.confusion import *; confusion_png(np.eye(2, dtype=int), ['a', 'b'], ''); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
