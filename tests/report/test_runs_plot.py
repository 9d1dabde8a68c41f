"""`cnnctl runs --plot`: the picture read back as XML, on run folders that were made here; no training and no TensorFlow."""

from __future__ import annotations

import csv
import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import yaml
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from cnnctl.commands.runs import runs
from cnnctl.errors import RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.report.runs_plot import MAX_RUNS, by_block
from cnnctl.report.tensorboard.reading import MAX_RECORD, scalars
from cnnctl.svg import width_of

SVG = "{http://www.w3.org/2000/svg}"
COLUMNS = (
    "epoch", "step", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds",
    "images_per_second",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs lie in the folder where the command is given."""
    monkeypatch.chdir(tmp_path)


def make_run(folder: Path, rows: list[list[Any]], **train: Any) -> Path:
    """Makes an interrupted run; a row has the losses and accuracies of an epoch, None for an empty cell."""
    folder.mkdir(parents=True)
    layers = ["flatten", {"dense": {"units": "classes"}}]
    config = {"data": {"source": "digits"}, "model": {"layers": layers}, "train": {"epochs": 10, **train}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"device": "CPU, 2 cores"}))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([epoch, 10 * epoch, *row, 0.001, 1.5, 100.0] for epoch, row in enumerate(rows, 1))
    return folder


def epochs(count: int, by: float = 1.0) -> list[list[Any]]:
    return [[by / epoch, 1 - 0.5 / epoch, 1.2 * by / epoch, 1 - 0.6 * by / epoch] for epoch in range(1, count + 1)]


def plotted(*roots: str, of: str | None = None, wanted: tuple[str, ...] = (), sort: str | None = None) -> Element:
    runs([Path(root) for root in roots], "table", sort, wanted, False, Console(), None, Path("out.svg"), of)
    return ElementTree.fromstring(Path("out.svg").read_text())


def refused(*roots: str, of: str | None = None, plot: str = "out.svg", seeds: bool = False) -> str:
    with pytest.raises((UsageError, RunError)) as caught:
        runs([Path(root) for root in roots], "table", None, (), seeds, Console(), None, Path(plot), of)
    assert not Path("out.svg").exists()
    return str(caught.value)


def texts(picture: Element) -> list[str]:
    return ["".join(each.itertext()) for each in picture.iter(f"{SVG}text")]


def marks(picture: Element) -> dict[str, tuple[float, float]]:
    return {
        str(each.findtext(f"{SVG}title")): (float(each.get("cx", "")), float(each.get("cy", "")))
        for each in picture.iter(f"{SVG}circle")
    }


def styles(picture: Element) -> list[tuple[str | None, str | None]]:
    """Returns the colour and the dashes of each line in the legend."""
    samples = [each for each in picture.iter(f"{SVG}path") if "H" in each.get("d", "")]
    return [(each.get("class"), each.get("stroke-dasharray")) for each in samples]


def test_each_run_has_a_line_in_each_panel_with_the_values_of_its_epochs(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", epochs(3))
    make_run(tmp_path / "runs/b", epochs(2, 0.5), batch_size=32)
    picture = plotted("runs")
    titles = [str(each.text) for each in picture.iter(f"{SVG}text") if each.get("font-weight") == "600"]
    assert titles == ["2 runs: loss and accuracy by epoch", "train loss", "validation loss", "validation accuracy"]
    found = marks(picture)
    for run, by, count in (("runs/a", 1.0, 3), ("runs/b", 0.5, 2)):
        for epoch in range(1, count + 1):
            values = (f"{by / epoch:.4f}", f"{1.2 * by / epoch:.4f}", f"{1 - 0.6 * by / epoch:.2%}")
            assert all(f"{run}, epoch {epoch}: {value}" in found for value in values)
    assert len(found) == 3 * (3 + 2)
    heights = [found["runs/a, epoch 1: 1.0000"][1], found["runs/b, epoch 1: 0.5000"][1], found["runs/b, epoch 2: 0.2500"][1]]
    assert heights[2] - heights[1] == pytest.approx((heights[1] - heights[0]) / 2, abs=0.02)  # one scale for all
    assert found["runs/a, epoch 2: 0.5000"][0] == found["runs/b, epoch 2: 0.2500"][0]


def test_the_legend_has_the_config_values_that_differ_in_the_order_of_the_table(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", epochs(3), batch_size=64)
    make_run(tmp_path / "runs/b", epochs(3), batch_size=32)
    shown = texts(plotted("runs", sort="batch_size"))
    assert "batch_size" in shown
    assert shown.index("runs/b") < shown.index("runs/a")
    assert shown.index("32") < shown.index("64")


def test_runs_can_be_named_one_by_one_and_each_is_drawn_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_run(tmp_path / "runs" / name, epochs(2))
    shown = texts(plotted("runs/c", "runs/a", "runs/../runs/a"))
    assert "2 runs: loss and accuracy by epoch" in shown
    assert shown.index("runs/c") < shown.index("runs/a")
    assert "runs/b" not in shown


def test_up_to_twenty_runs_all_differ_in_colour_or_dashes_and_more_are_refused(tmp_path: Path) -> None:
    for number in range(MAX_RUNS):
        make_run(tmp_path / f"runs/{number:02}", epochs(3, 1 + number / 20), batch_size=number + 1)
    found = styles(plotted("runs"))
    assert len(set(found)) == len(found) == MAX_RUNS == 20
    assert all(first[0] != second[0] and first[1] != second[1] for first, second in pairwise(found))
    Path("out.svg").unlink()
    make_run(tmp_path / "runs/more", epochs(3), batch_size=99, epochs=11)
    assert refused("runs") == "--plot draws at most 20 runs, received 21; name some, or choose with --filter KEY=VALUE"
    assert "20 runs: loss and accuracy by epoch" in texts(plotted("runs", wanted=("train.epochs=10",)))


def test_numbers_at_the_ends_of_twenty_lines_do_not_overlap(tmp_path: Path) -> None:
    for number in range(MAX_RUNS):
        make_run(tmp_path / f"runs/{number:02}", epochs(3), batch_size=number + 1)
    ends = [
        each for each in plotted("runs").iter(f"{SVG}text") if (each.text or "").isdigit() and float(each.get("x", "")) > 856
    ]
    heights = sorted(float(each.get("y", "")) for each in ends)
    assert len(heights) == 3 * MAX_RUNS
    assert min(b - a for a, b in pairwise(heights)) > 12


def test_a_run_without_validation_is_drawn_where_it_has_values(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", [[0.5, 0.8, None, None], [0.4, 0.9, None, None]])
    alone = plotted("runs/a")
    assert {"train loss", "train accuracy"} <= set(texts(alone))
    Path("out.svg").unlink()
    make_run(tmp_path / "runs/b", epochs(2))
    found = marks(plotted("runs"))
    assert len([name for name in found if name.startswith("runs/a")]) == 2
    assert len([name for name in found if name.startswith("runs/b")]) == 6


def test_a_run_without_epochs_is_left_out_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs/a", epochs(2))
    make_run(tmp_path / "runs/b", [])
    assert "1 run: loss and accuracy by epoch" in texts(plotted("runs"))
    captured = capsys.readouterr()
    assert "note    runs/b has no finished epoch; it is not drawn" in captured.err
    assert captured.err.splitlines()[-1] == "plot    out.svg"
    assert "runs/b" in captured.out  # in the table it is
    Path("out.svg").unlink()
    assert refused("runs/b") == "--plot: no run has a finished epoch; wait for one"


def test_values_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", [[1.0, 0.5, 1.0, 0.5], ["nan", 0.5, "inf", 0.5], [0.5, 0.5, 0.5, 0.5]])
    shown = texts(plotted("runs"))
    assert {"train loss (not drawn: 1 NaN or infinite)", "validation loss (not drawn: 1 NaN or infinite)"} <= set(shown)


def test_names_in_the_picture_are_inert(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "<script>x" / "&\x1b[2J", epochs(2))
    picture = plotted("runs")
    assert not list(picture.iter(f"{SVG}script"))
    assert any(r"&\x1b[2J" in each for each in texts(picture))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plot": "out.png"}, "--plot out.png: expected a name ending with .svg, such as out.svg"),
        ({"plot": "there.svg"}, "there.svg already exists; not overwriting. Choose another name: --plot there-2.svg"),
        ({"seeds": True}, "--plot draws single runs; remove --seeds, which shows runs that differ in the seed as one"),
        ({"of": "gradients"}, "--of gradients draws one run, received 2; name one, such as runs/a"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", epochs(2))
    make_run(tmp_path / "runs/b", epochs(2))
    Path("there.svg").write_text("mine")
    assert refused("runs", **options) == message
    assert Path("there.svg").read_text() == "mine"


def test_what_is_drawn_needs_a_picture(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", epochs(2))
    with pytest.raises(UsageError, match=r"--of gradients is what --plot draws; add --plot OUT\.svg"):
        runs([Path("runs")], "table", None, (), False, Console(), None, None, "gradients")


@pytest.mark.parametrize(("column", "value"), [("train_loss", "much"), ("epoch", "0"), ("epoch", ""), ("epoch", "nan")])
def test_damaged_metrics_are_one_message(column: str, value: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs/a", epochs(1))
    cells = (folder / "metrics.csv").read_text().splitlines()[1].split(",")
    cells[COLUMNS.index(column)] = value
    (folder / "metrics.csv").write_text(f"{','.join(COLUMNS)}\n{','.join(cells)}\n")
    assert "runs/a/metrics.csv is damaged: " in refused("runs")


# Gradient norms


def record(content: bytes) -> bytes:
    return struct.pack("<QI", len(content), 0) + content + bytes(4)


def write_norms(folder: Path, norms: dict[str, list[float]], name: str = "events.out.tfevents.1") -> Path:
    """Writes an event file with a norm per layer after every epoch of 10 steps, among other scalars."""
    content = record(Event(file_version="brain.Event:2").SerializeToString())
    for epoch in range(len(next(iter(norms.values())))):
        summary = Summary()
        for layer, values in norms.items():
            summary.value.extend(scalar_pb(f"training/gradient_norm/{layer}", values[epoch]).value)
        summary.value.extend(scalar_pb("training/gradient_norm", 99.0).value)
        content += record(Event(step=10 * (epoch + 1), summary=summary).SerializeToString())
    (folder / "tensorboard").mkdir(exist_ok=True)
    file = folder / "tensorboard" / name
    file.write_bytes(content)
    return file


def test_the_norms_of_a_run_are_a_line_per_layer_over_its_epochs(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs/a", epochs(3))
    write_norms(folder, {"conv2d": [4.0, 2.0, 1.0], "dense": [1.0, 1.5, 2.0]})
    picture = plotted("runs/a", of="gradients")
    found = marks(picture)
    assert set(found) == {
        *(f"conv2d, epoch {epoch}: {value}" for epoch, value in ((1, "4.0000"), (2, "2.0000"), (3, "1.0000"))),
        *(f"dense, epoch {epoch}: {value}" for epoch, value in ((1, "1.0000"), (2, "1.5000"), (3, "2.0000"))),
    }
    assert found["conv2d, epoch 3: 1.0000"][1] == found["dense, epoch 1: 1.0000"][1]
    assert {"a: gradients of each layer's weights", "norm of the gradients", "conv2d", "dense"} <= set(texts(picture))


def test_long_names_of_a_run_and_a_layer_end_inside_the_picture(tmp_path: Path) -> None:
    name, layer = "r" * 200, "l" * 300
    write_norms(make_run(tmp_path / "runs" / name, epochs(2)), {layer: [2.0, 1.0]})
    picture = plotted(f"runs/{name}", of="gradients")
    for each in picture.iter(f"{SVG}text"):
        assert width_of(each.text or "", float(each.get("font-size", 13))) < float(picture.get("width", ""))
    assert any(mark.startswith(layer) for mark in marks(picture))


def test_a_run_without_norms_says_how_to_get_them(tmp_path: Path) -> None:
    make_run(tmp_path / "runs/a", epochs(3))
    message = refused("runs/a", of="gradients")
    assert message.startswith(
        "runs/a has no gradient norms: they are written for TensorBoard with its histograms, so train with "
    )
    assert message.endswith("log.every_epochs: 1 writes them after every epoch")


def test_scalars_of_several_files_are_joined_and_a_half_record_is_left_out(tmp_path: Path) -> None:
    first = write_norms(tmp_path, {"dense": [3.0]})
    second = write_norms(tmp_path, {"dense": [3.0, 2.0]}, "events.out.tfevents.2")
    second.write_bytes(second.read_bytes() + first.read_bytes()[:30])
    found = scalars(tmp_path / "tensorboard", "training/gradient_norm/", tmp_path)
    assert found == {"dense": [(10, 3.0), (20, 2.0)]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (record(b"\xff\xff\xff"), "it is no event file of TensorBoard"),
        (struct.pack("<QI", MAX_RECORD + 1, 0), "it has a record of 200,000,001 bytes; the maximum is 200,000,000"),
    ],
)
def test_another_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs/a", epochs(3))
    write_norms(folder, {"dense": [3.0]}).write_bytes(content)
    assert refused("runs/a", of="gradients").endswith(message)


def test_a_link_out_of_the_run_is_not_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs/a", epochs(3))
    elsewhere = write_norms(folder, {"dense": [3.0]}).rename(tmp_path / "elsewhere")
    (folder / "tensorboard/events.out.tfevents.1").symlink_to(elsewhere)
    assert "it leads to" in refused("runs/a", of="gradients")


def test_many_layers_in_blocks_are_a_line_per_block(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs/a", epochs(2))
    inside = {f"stage_{block}/{layer}/conv2d": [3.0, 6.0] for block in range(10) for layer in ("a", "b", "c", "d")}
    write_norms(folder, {"stem": [7.0, 8.0], **inside, "dense": [1.0, 2.0]})
    picture = plotted("runs/a", of="gradients")
    found = marks(picture)
    assert len(found) == 2 * (10 + 2)
    assert "stage_9 (4 layers), epoch 2: 12.0000" in found and "stem, epoch 1: 7.0000" in found
    assert "a: gradients of each block's weights" in texts(picture)


def test_few_layers_in_blocks_are_a_line_each(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs/a", epochs(2))
    write_norms(folder, {f"stage_{block}/conv2d": [3.0, 6.0] for block in range(21)})
    picture = plotted("runs/a", of="gradients")
    assert len(marks(picture)) == 2 * 21 and "stage_20/conv2d, epoch 2: 6.0000" in marks(picture)
    assert "a: gradients of each layer's weights" in texts(picture)


@pytest.mark.parametrize(("inner", "lines"), [(2, 20), (3, 10)])
def test_inner_blocks_are_joined_before_outer_ones(inner: int, lines: int) -> None:
    names = [f"stage_{block}/unit_{unit}/{name}" for block in range(10) for unit in range(inner) for name in "ab"]
    joined = by_block({name: [(10, 3.0), (20, 4.0)] for name in names})
    assert len(joined) == lines
    whole = sum(values[0][1] ** 2 for values in joined.values())
    assert whole == pytest.approx(9.0 * len(names))  # the norm of everything is unchanged
    assert all([step for step, _ in values] == [10, 20] for values in joined.values())
