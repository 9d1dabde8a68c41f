"""`curves.svg` read back as XML: lines, marks, scales and texts are those of the epochs."""

from __future__ import annotations

import itertools
import math
import random
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from cnnctl.report.chart import Frame, Line, Panel, Point, drawn, log_ticks, spread, ticks, value_range
from cnnctl.report.curves import CurvesFile, Training, best_of, curves_svg, name_of
from cnnctl.run_folder import best_epoch
from cnnctl.spec.training import EarlyStopping
from cnnctl.svg import cut, width_of
from cnnctl.train.observers import EpochRecord, Plan
from cnnctl.train.stopping import StopWithoutProgress

SVG = "{http://www.w3.org/2000/svg}"
PLAN = Plan(5, 0, 10, 100, 10)


def row(epoch: int, **values: Any) -> EpochRecord:
    usual = EpochRecord(epoch, 10 * epoch, 1 / epoch, 1 - 0.5 / epoch, 1.2 / epoch, 1 - 0.6 / epoch, 0.01 / epoch, 1.5, 80.0)
    return replace(usual, **values)


def training(epochs: int = 5, **values: Any) -> Training:
    return replace(Training("runs/first", epochs, [row(epoch + 1) for epoch in range(epochs)]), **values)


def parsed(of: Training) -> Element:
    return ElementTree.fromstring(curves_svg(of))


def texts(picture: Element) -> list[str]:
    return ["".join(each.itertext()) for each in picture.iter(f"{SVG}text")]


def circles(picture: Element) -> dict[str, tuple[float, float]]:
    """Returns the centre of each marked point by its tooltip."""
    return {
        str(each.findtext(f"{SVG}title")): (float(each.get("cx", "")), float(each.get("cy", "")))
        for each in picture.iter(f"{SVG}circle")
    }


def lines(picture: Element, colour: str) -> list[Element]:
    return [each for each in picture.iter(f"{SVG}path") if each.get("class") == f"{colour}-line"]


def marked(picture: Element) -> set[float]:
    """Returns where the vertical lines of the best epoch are, the legend's left out."""
    found = [each for each in picture.iter(f"{SVG}line") if each.get("stroke-dasharray") and float(each.get("y1", "")) > 90]
    return {float(each.get("x1", "")) for each in found}


def shaded(picture: Element) -> set[tuple[float, float]]:
    found = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "grey" and float(each.get("y", "")) > 90]
    return {(float(each.get("x", "")), float(each.get("x", "")) + float(each.get("width", ""))) for each in found}


def test_every_point_is_at_its_value_on_the_scale_that_the_ticks_show() -> None:
    picture = parsed(training())
    numbers = [each for each in picture.iter(f"{SVG}text") if each.get("text-anchor") == "end"]
    heights = [(float(each.get("y", "")) - 4, str(each.text)) for each in numbers]
    for name, percent in (("train loss", False), ("validation loss", False), ("validation accuracy", True)):
        marks = {said: place for said, place in circles(picture).items() if said.startswith(name)}
        assert len(marks) == 5
        scale = [(y, float(said.rstrip("%")) / (100 if percent else 1)) for y, said in heights if said.endswith("%") == percent]
        scale = scale[:3]  # of loss and accuracy; the learning rate's are below
        (y0, low), (y1, high) = scale[0], scale[1]
        for said, (_, y) in marks.items():
            value = float(said.rpartition(" ")[2].rstrip("%")) / (100 if percent else 1)
            assert low + (y - y0) / (y1 - y0) * (high - low) == pytest.approx(value, abs=0.01 * (high - low) + 1e-4)


def test_the_epochs_are_evenly_apart() -> None:
    places = [place[0] for said, place in circles(parsed(training())).items() if said.startswith("train loss")]
    assert {round(b - a, 1) for a, b in itertools.pairwise(places)} == {round((places[-1] - places[0]) / 4, 1)}


def test_train_and_validation_differ_by_colour_and_by_dashes() -> None:
    picture = parsed(training())
    assert [each.get("stroke-dasharray") for each in lines(picture, "blue")] == ["6 4", "6 4"]
    assert [each.get("stroke-dasharray") for each in lines(picture, "orange")] == [None, None]


def test_the_last_values_stand_beside_their_lines() -> None:
    found = texts(parsed(training()))
    assert {"train 0.2000", "validation 0.2400", "train 90.00%", "validation 88.00%", "0.002"} <= set(found)


def test_without_validation_only_the_training_is_drawn() -> None:
    rows = [row(epoch, validation_loss=None, validation_accuracy=None) for epoch in (1, 2, 3)]
    picture = parsed(training(3, rows=rows))
    assert lines(picture, "orange") == []
    assert "best epoch 3, lowest train_loss" in texts(picture)


def test_the_best_epoch_is_marked_in_every_panel() -> None:
    rows = [row(epoch, validation_loss=abs(epoch - 2) + 0.5) for epoch in (1, 2, 3, 4)]
    picture = parsed(training(4, rows=rows))
    place = circles(picture)["validation loss, epoch 2: 0.5000"][0]
    assert marked(picture) == {place}
    assert sum(each.get("stroke-dasharray") == "2 3" for each in picture.iter(f"{SVG}line")) == 4  # 3 panels and the legend
    assert shaded(picture) == set()


def test_the_epochs_of_patience_are_shaded_from_the_best_on() -> None:
    rows = [row(epoch, validation_loss=abs(epoch - 2) + 0.5) for epoch in (1, 2, 3, 4)]
    picture = parsed(training(9, rows=rows, stopping=EarlyStopping(patience=2)))
    at = circles(picture)
    ((begin, end),) = shaded(picture)
    assert begin == at["validation loss, epoch 2: 0.5000"][0]
    assert end == pytest.approx(at["validation loss, epoch 4: 2.5000"][0], abs=0.02)
    assert {"4 of 9 epochs, stopped early", "early stopping: no improvement for 2 of 2 epochs"} <= set(texts(picture))


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy", "train_loss", "train_accuracy"])
def test_the_best_epoch_and_the_wait_are_those_of_early_stopping(monitor: Any) -> None:
    draws = random.Random(monitor)
    for _ in range(20):
        spec = EarlyStopping(monitor=monitor, patience=3, min_delta=draws.choice([0.0, 0.1]), restore_best=False)
        observer = StopWithoutProgress(spec, SimpleNamespace(get_weights=list))
        rows = [row(epoch, **{monitor: draws.random()}) for epoch in range(1, 9)]
        for count, each in enumerate(rows, 1):
            reason = observer.on_epoch(each)
            best = best_of(training(8, rows=rows[:count], stopping=spec))
            assert best is not None
            assert best.epoch == observer.best_epoch
            assert (best.waited >= spec.patience) == bool(reason)


def test_without_early_stopping_the_best_epoch_is_the_one_of_the_result() -> None:
    draws = random.Random(1)
    for _ in range(20):
        rows = [row(epoch, validation_loss=draws.choice([0.1, 0.2, 0.3])) for epoch in range(1, 7)]
        best = best_of(training(6, rows=rows))
        assert best is not None
        assert best.epoch == best_epoch(rows)


def test_one_epoch_is_drawn_as_points() -> None:
    picture = parsed(training(10, rows=[row(1)]))
    assert list(picture.iter(f"{SVG}path")) == []
    assert len(circles(picture)) == 5
    assert "1 of 10 epochs" in texts(picture)


def test_many_epochs_have_lines_without_marks() -> None:
    picture = parsed(training(100))
    assert circles(picture) == {}
    assert len(lines(picture, "blue")) == 2


def test_values_that_are_not_finite_leave_gaps_and_are_counted() -> None:
    losses = [0.5, math.nan, 0.4, math.inf, 0.3, 0.2]
    rows = [row(epoch, train_loss=loss) for epoch, loss in enumerate(losses, 1)]
    picture = parsed(training(6, rows=rows))
    assert "loss (not drawn: 2 NaN or infinite)" in texts(picture)
    assert len([each for each in lines(picture, "blue") if "L" in each.get("d", "")]) == 2  # epochs 5 and 6, and the accuracy
    assert len([said for said in circles(picture) if said.startswith("train loss")]) == 4
    written = " ".join(value for each in picture.iter() for value in each.attrib.values())
    assert not re.search(r"\b(nan|inf)\b", written)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, 1e308, 0.0, 5e-324, -1e-9])
def test_any_loss_can_be_drawn(loss: float) -> None:
    picture = parsed(training(2, rows=[row(1, train_loss=loss, validation_loss=loss), row(2, train_loss=loss)]))
    places = [float(each.get(name, "")) for each in picture.iter(f"{SVG}circle") for name in ("cx", "cy")]
    assert all(map(math.isfinite, places))


def test_losses_far_apart_get_a_log_scale_that_says_so() -> None:
    rows = [row(epoch, train_loss=10.0**-epoch, validation_loss=10.0**-epoch) for epoch in range(1, 5)]
    picture = parsed(training(4, rows=rows))
    assert "loss (log scale)" in texts(picture)
    heights = [place[1] for said, place in circles(picture).items() if said.startswith("train loss")]
    apart = [b - a for a, b in itertools.pairwise(heights)]
    assert max(apart) - min(apart) < 0.05  # equal factors are equally far apart


def test_the_interval_of_episodes_is_a_band_around_their_accuracy() -> None:
    rows = [row(epoch, validation_interval=0.05) for epoch in (1, 2, 3)]
    picture = parsed(training(3, rows=rows))
    (band,) = [each for each in picture.iter(f"{SVG}path") if each.get("class") == "orange"]
    corners = [tuple(map(float, pair.split())) for pair in band.get("d", "").strip("MZ").split("L")]
    heights = [place[1] for said, place in circles(picture).items() if said.startswith("validation accuracy")]
    assert len(corners) == 6
    for index, y in enumerate(heights):
        assert corners[index][1] < y < corners[5 - index][1]
        assert y - corners[index][1] == pytest.approx(corners[5 - index][1] - y, abs=0.11)
    assert "accuracy (band: 95 % interval)" in texts(picture)


def test_the_test_result_is_written_once_it_is_known() -> None:
    assert "5 epochs" in texts(parsed(training()))
    assert "5 epochs · test accuracy 98.31%" in texts(parsed(training(test="test accuracy 98.31%")))


def test_a_name_can_be_anything() -> None:
    hostile = "</title><script>alert(1)</script>/&\x1b[2J\udcff"
    picture = parsed(training(name=hostile))
    assert not list(picture.iter(f"{SVG}script"))
    assert r"</title><script>alert(1)</script>/&\x1b[2J\udcff" in texts(picture)


def test_the_picture_does_not_depend_on_the_clock() -> None:
    slow = training(rows=[replace(each, seconds=9.0, images_per_second=1.0) for each in training().rows])
    assert curves_svg(slow) == curves_svg(training())


def test_the_file_follows_the_epochs_and_starts_from_those_that_are_saved(tmp_path: Path) -> None:
    file, whole = tmp_path / "curves.svg", training()
    straight = CurvesFile(file, replace(whole, rows=[]))
    for each in whole.rows:
        straight.on_epoch(each)
    straight.finish("tested")
    expected = file.read_bytes()
    resumed = CurvesFile(file, replace(whole, rows=whole.rows[:3]))
    resumed.on_start(PLAN)
    assert file.read_text() == curves_svg(replace(whole, rows=whole.rows[:3]))
    for each in whole.rows[3:]:
        resumed.on_epoch(each)
    resumed.finish("tested")
    assert file.read_bytes() == expected
    CurvesFile(file, replace(whole, rows=[])).on_start(PLAN)
    assert not file.exists()


def test_a_run_is_named_by_the_end_of_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_of(Path("runs/mnist/2026-11-24_21-19-03")) == "mnist/2026-11-24_21-19-03"
    assert name_of(Path("first")) == f"{tmp_path.name}/first"
    assert name_of(Path("first")) == name_of(tmp_path / "first")


# Scales and labels


def test_labels_are_moved_apart_in_their_order_and_stay_inside() -> None:
    draws = random.Random(3)
    for _ in range(200):
        heights = [draws.uniform(0, 150) for _ in range(draws.randint(1, 20))]
        placed = spread(heights, 0, 150)
        in_order = [placed[index] for index in sorted(range(len(heights)), key=heights.__getitem__)]
        gap = min(15, 150 / max(len(heights) - 1, 1))
        assert all(b - a >= gap - 1e-6 for a, b in itertools.pairwise(in_order))
        assert all(-1e-6 <= y <= 150 + 1e-6 for y in placed)
    assert spread([10, 100], 0, 150) == [10, 100]  # what has room is not moved


def test_ticks_are_round_and_inside() -> None:
    draws = random.Random(4)
    for _ in range(300):
        low = draws.uniform(-1, 1) * 10 ** draws.randint(-9, 9)
        high = low + 10 ** draws.uniform(-3, 9) * max(abs(low), 1e-9)
        found = ticks(low, high, 5)
        assert 2 <= len(found) <= 7
        assert all(low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high) for value in found)
        step = found[1] - found[0]
        assert f"{step:.0e}"[0] in "125"
    assert ticks(1, 4, 10, whole=True) == [1, 2, 3, 4]


def test_log_ticks_are_powers_of_ten() -> None:
    assert log_ticks(0.3, 20) == pytest.approx([0.5, 1, 2, 5, 10, 20])
    found = log_ticks(1e-300, 1e300)
    assert 2 <= len(found) <= 9
    assert all(math.log10(value) == pytest.approx(round(math.log10(value))) for value in found)


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, 1e300])
def test_equal_values_are_drawn_inside_the_panel(value: float) -> None:
    panel = Panel("loss", [Line("train", [Point(1, value), Point(2, value)])])
    low, high, log = value_range(panel)
    assert low < value < high
    assert not log
    assert any("circle" in part for part in drawn(panel, Frame(0, 100, (1, 2)), 0))


def test_texts_of_the_legend_do_not_overlap() -> None:
    rows = [row(epoch, validation_accuracy=1 - epoch / 10) for epoch in (1, 2, 3, 4)]
    of = training(90, rows=rows, stopping=EarlyStopping(monitor="validation_accuracy", patience=30))
    legend = [each for each in parsed(of).iter(f"{SVG}text") if each.get("y") == "78"]
    assert len(legend) == 2
    ends = [float(each.get("x", "")) + width_of(str(each.text), 12) for each in legend]
    assert all(end < float(each.get("x", "")) - 20 for end, each in zip(ends, legend[1:], strict=False))
    assert ends[-1] < 760


def test_drawing_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy", "matplotlib", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
    assert curves_svg(training()).startswith("<svg")


def test_a_long_text_keeps_its_start_and_its_end_and_fits() -> None:
    words = "".join(map(str, range(10, 99)))
    for width in (40.0, 123.4, 500.0):
        short = cut(words, width, 17)
        start, end = short.split("…")
        assert words.startswith(start) and words.endswith(end)
        assert width_of(short, 17) <= width < width_of(f"{short}0", 17)
        assert 0 <= len(end) - len(start) <= 1
    assert cut(words, width_of(words, 17), 17) == words


def test_a_long_title_ends_inside_the_picture() -> None:
    picture = parsed(training(name="runs/" + "w" * 500))
    title = texts(picture)[0]
    assert title.startswith("runs/www") and "…" in title
    assert 24 + width_of(title, 17) <= float(picture.get("width", ""))
    assert "w" * 500 in str(picture.findtext(f"{SVG}title"))
