"""scripts/bench: one whole comparison on the bundled digits, and the arithmetic of its parts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnctl.spec.dataset import FILE_SOURCES
from cnnctl.spec.document import read_document
from scripts.benchmark import sources, sweeps, workers
from scripts.benchmark.contenders import Contender
from scripts.benchmark.growth import points
from scripts.benchmark.measure import STARTED, measure, variables_for
from scripts.benchmark.others import busy_seconds, company, cores_of_others
from scripts.benchmark.picture import draw
from scripts.benchmark.ratios import Ratio, quotients, share_of_peak, spread, spreads
from scripts.benchmark.report import as_markdown, as_text
from scripts.benchmark.rounds import compete
from scripts.benchmark.settings import CONFIG, Setting, changed

BENCH = Path(__file__).parent.parent / "scripts/bench"
EVERYWHERE = {"cnnctl-custom", "keras"}
WITH_TORCH = {"torch", "lightning"}
INSTALLED = {name for name in WITH_TORCH if importlib.util.find_spec(name)}
POSITIVE = ("wall_seconds", "cpu_seconds", "peak_bytes", "start_seconds", "train_seconds", "images_per_second")
SETTING = Setting(Path("config.yaml"), Path("data.npz"), 100, 1, 10, (32, 64), "valid")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of one round of one epoch: one of each kind that is installed."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    only = sorted(EVERYWHERE | WITH_TORCH)
    command = [sys.executable, str(BENCH), "--data", "digits", "--rounds", "1", "--epochs", "1", "--only", *only]
    done = subprocess.run([*command, "--output", str(file)], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def named(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_everyone_who_is_installed_takes_part_and_the_others_are_named(results: dict[str, Any]) -> None:
    assert set(named(results["contenders"])) == EVERYWHERE | INSTALLED
    assert set(results["left_out"]) == WITH_TORCH - INSTALLED
    assert results["failures"] == []


def test_every_contender_has_positive_figures_that_belong_together(results: dict[str, Any]) -> None:
    images = results["setting"]["train_images"]
    for row in results["contenders"]:
        (figures,) = row["rounds"]
        assert all(row[name]["median"] == figures[name] > 0 for name in POSITIVE), row
        assert 0 <= figures["test_accuracy"] <= 1
        assert figures["start_seconds"] + figures["train_seconds"] < figures["wall_seconds"]
        assert figures["images_per_second"] == pytest.approx(images / figures["train_seconds"], rel=0.01)
        assert sum(figures["epoch_seconds"]) == pytest.approx(figures["train_seconds"], abs=0.001)


def test_the_share_of_the_peak_follows_from_the_speed(results: dict[str, Any]) -> None:
    macs = results["setting"]["macs"]
    assert macs > 0
    for row in results["contenders"]:
        peak = results["peak_gflops"][row["peak_precision"]]
        assert row["share_of_peak"] == pytest.approx(6 * macs * row["images_per_second"]["median"] / (peak * 1e9))


def test_ratios_of_one_round_are_quotients_of_the_figures(results: dict[str, Any]) -> None:
    rows = named([*results["contenders"], *results["summary"]])
    assert {ratio["over"] for ratio in results["ratios"]} >= {"cnnctl-custom", "keras", "keras-summary"}
    for ratio in results["ratios"]:
        over, under = (rows[ratio[side]][ratio["figure"]]["median"] for side in ("over", "under"))
        assert ratio["median"] == ratio["min"] == ratio["max"] == pytest.approx(over / under)


def test_reports_name_every_contender_and_say_what_it_ran_on(results: dict[str, Any]) -> None:
    for text in (as_text(results), as_markdown(results)):
        assert all(name in text for name in (*EVERYWHERE, "keras-summary", results["machine"]["cpu"]))
        assert "digits, 1,258 training images, 1 epoch, batches of 128, 1 round" in " ".join(text.split())


@pytest.mark.skipif(not INSTALLED, reason="torch and lightning are not installed; pip install '.[bench]'")
def test_torch_trains_the_same_network_and_learns(results: dict[str, Any]) -> None:
    for name in INSTALLED:
        assert named(results["contenders"])[name]["test_accuracy"]["median"] > 0.2  # chance is 0.1


def test_a_picture_is_drawn_of_bars_and_of_growth(results: dict[str, Any], tmp_path: Path) -> None:
    sizes = []
    for growth in ([], [{"grows": "width", "value": 1, "contender": "keras", "wall_seconds": 2.0, "peak_bytes": 3}]):
        draw({**results, "growth": growth}, tmp_path / "out.png")
        image = (tmp_path / "out.png").read_bytes()
        assert image.startswith(b"\x89PNG")
        sizes.append(int.from_bytes(image[20:24]))  # the height, in the header of a PNG
    assert sizes[1] > sizes[0]


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0], (3, 3, 3)), ([1.0, 9.0, 2.0], (2, 1, 9)), ([1.0, 4.0, 2.0, 3.0], (2.5, 1, 4))]
)
def test_a_spread_is_median_least_and_most(values: list[float], expected: tuple[float, float, float]) -> None:
    found = spread(values)
    assert found
    assert (found.median, found.least, found.most) == expected


def test_of_no_rounds_there_is_no_spread() -> None:
    assert spread([]) is None
    assert spreads([None]) == {}


def test_spreads_leave_out_failed_rounds_texts_and_what_is_not_known() -> None:
    found = spreads([{"speed": 2, "device": "cpu", "start": None}, None, {"speed": 4, "device": "cpu", "start": 5.0}])
    assert {name: each.as_plain() for name, each in found.items()} == {
        "speed": {"median": 3, "min": 2, "max": 4},
        "start": {"median": 5.0, "min": 5.0, "max": 5.0},
    }


def test_a_ratio_is_taken_within_each_round_and_not_between_medians() -> None:
    ratio = Ratio("speed", "speed", "fast", "slow")
    rounds = {"fast": [{"speed": 10}, {"speed": 2}, {"speed": 6}], "slow": [{"speed": 5}, {"speed": 2}, {"speed": 1}]}
    assert quotients(ratio, rounds) == [2, 1, 6]  # the median is 2; that of the medians would be 3


def test_a_ratio_needs_both_figures_of_a_round() -> None:
    ratio = Ratio("speed", "speed", "fast", "slow")
    assert quotients(ratio, {"fast": [None, {"speed": 6}], "slow": [{"speed": 5}, {"speed": 2}]}) == [3]
    assert quotients(ratio, {"fast": [{"speed": 6}]}) == []


def test_a_training_costs_six_operations_a_multiply_accumulate() -> None:
    assert share_of_peak(images_per_second=1000, macs=10**6, gflops=12) == pytest.approx(0.5)


def contender(name: str, code: str, printed: Callable[..., dict[str, Any]]) -> Contender:
    return Contender(name, sys.executable, lambda setting, folder: [sys.executable, "-c", code], printed)


def test_contenders_take_turns_and_one_that_fails_is_named_while_the_others_go_on(tmp_path: Path) -> None:
    heard: list[str] = []
    failing = contender("failing", "import sys; sys.exit('no such layer')", lambda *_: {})
    mute = contender("mute", "pass", lambda done, folder: json.loads(done.stdout))
    well = contender("well", "print(7)", lambda done, folder: {"images_per_second": int(done.stdout)})
    outcome = compete([failing, mute, well], SETTING, 2, tmp_path, heard.append)
    assert [line.split()[4] for line in heard] == ["failing", "mute", "well"] * 2
    assert [figures["images_per_second"] for figures in outcome.rounds["well"] if figures] == [7, 7]
    assert outcome.rounds["failing"] == outcome.rounds["mute"] == [None, None]
    assert [(each.contender, each.when) for each in outcome.failures[:2]] == [
        ("failing", "round 1 of 2"),
        ("mute", "round 1 of 2"),
    ]
    assert outcome.failures[0].lines == ["no such layer", "exit code 1"]
    assert "reported no figures: JSONDecodeError" in outcome.failures[1].lines[-1]


def test_a_process_is_measured_from_outside(tmp_path: Path) -> None:
    code = "import sys; data = bytearray(b'1') * 200_000_000; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = measure([sys.executable, "-c", code], tmp_path, variables_for(sys.executable, tmp_path))
    assert (done.exit_code, done.stdout, done.last_lines()) == (3, "out\n", ["err"])
    assert done.peak_bytes > 200_000_000
    assert 0 < done.stderr[0][0] <= done.wall_seconds
    assert done.cpu_seconds > 0


def test_a_process_that_prints_much_is_read_to_its_end(tmp_path: Path) -> None:
    code = "import sys; sys.stdout.write('a' * 1_000_000); sys.stderr.write('b' * 1_000_000)"
    done = measure([sys.executable, "-c", code], tmp_path, variables_for(sys.executable, tmp_path))
    assert len(done.stdout) == len(done.stderr[0][1]) == 1_000_000


def test_nobody_is_told_how_many_threads_to_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", "mine")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = json.loads(measure([sys.executable, "-c", code], tmp_path, variables_for(sys.executable, tmp_path)).stdout)
    assert "OMP_NUM_THREADS" not in seen
    assert float(seen[STARTED]) > 0
    assert (seen["PYTHONPATH"], seen["PATH"]) == ("mine", os.environ["PATH"])
    assert "PYTHONPATH" not in variables_for("another/python", tmp_path)


def test_what_others_took_is_what_all_took_without_the_process() -> None:
    assert cores_of_others(before=100, after=118, own=8, wall=20) == 0.5
    assert cores_of_others(before=100, after=107.9, own=8, wall=20) == 0  # the clocks tick apart
    assert cores_of_others(before=None, after=118, own=8, wall=20) is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux counts what all processes took in /proc/stat")
def test_the_machine_has_been_busy_for_a_while() -> None:
    first, second = busy_seconds(), busy_seconds()
    assert first is not None and second is not None
    assert 0 < first <= second


def test_a_machine_that_others_use_is_said_and_one_that_is_idle_is_not() -> None:
    assert company([{"others_cores": {"median": 0.1, "min": 0.0, "max": 0.1}}, {"name": "failed"}], 2) == []
    (warning,) = company([{"others_cores": {"median": 0.1, "min": 0.0, "max": 0.9}}], 2)
    assert warning.startswith("not alone: other processes kept up to 0.9 of 2 cores busy; measure again")


def test_the_config_is_that_of_mnist_but_for_what_is_asked() -> None:
    content = read_document(CONFIG).content
    assert changed(content, "mnist", content["train"]["epochs"], None, 1, None) == content
    new = changed(content, "mnist", 2, 5_000, 0.5, 32)
    assert new["data"]["train"] == "train[:5000]"
    assert (new["train"]["epochs"], new["train"]["batch_size"]) == (2, 32)
    assert [layer["conv2d"]["filters"] for layer in new["model"]["layers"] if "conv2d" in layer] == [16, 32]
    assert content == read_document(CONFIG).content  # untouched


def test_growth_varies_one_thing_at_a_time_around_one_training() -> None:
    sizes = {point.size for point in points("mnist")}
    assert len(sizes) == 8
    assert all(sum(a != b for a, b in zip(size, (60_000, 1.0, 128), strict=True)) <= 1 for size in sizes)
    assert {point.grows for point in points("digits")} == {"width", "batch_size"}


@pytest.mark.soak
def test_sweeps_are_measured_in_turns_with_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "CONFIG", sweeps.CONFIG.replace(f"trials: {sweeps.TRIALS}", "trials: 3"))
    monkeypatch.setattr(sweeps, "AT", (1, 3))
    monkeypatch.setattr(sweeps, "TRIALS", 3)
    found = sweeps.compare_sweeps((1,), 1, tmp_path, lambda _: None)
    (row,) = found["sweeps"]
    assert row["wall_seconds"]["median"] > row["train_seconds"]["median"] > 0
    assert row["bytes_after_3"]["median"] > 1e8
    assert re.search(
        r"3 trials, 1 at once: \d+\.\d s .*\n  memory of its process: \d+ MB after 1 trial, \d+ MB after 3",
        sweeps.as_table(found),
    )


@pytest.mark.soak
def test_workers_are_measured_in_turns_against_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, *_, several = (setup for setup in workers.setups() if setup.strategy != "one_device" or len(setup.cores[0]) == 1)
    monkeypatch.setattr(workers, "BATCH_SIZES", (512,))
    monkeypatch.setattr(workers, "setups", lambda: [alone, several])
    rows = workers.worker_rows("digits", 1, 1, tmp_path, lambda _: None)
    assert [row.setup for row in rows] == [alone.name, several.name]
    assert rows[0].ratios == (1.0,)
    assert all(row.speeds[0] > 0 for row in rows)
    assert workers.worker_table(rows, "markdown").count("\n") == len(rows) + 1


def test_sources_are_read_cold_and_warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert {source for source, _ in sources.PLACES.values()} == {"folder", *FILE_SOURCES}, "a row for each"
    monkeypatch.setattr(sources, "PLACES", {name: sources.PLACES[name] for name in ("idx .gz", "parquet", "folder of PNGs")})
    rows = sources.source_rows(tmp_path, lambda _: None, rounds=1, count=60)
    assert [row.source for row in rows] == list(sources.PLACES)
    assert all(row.images == 60 and row.bytes > 0 and row.cold_seconds > 0 and row.warm_seconds > 0 for row in rows)
    assert sources.source_table(rows, "markdown").count("\n") == len(rows) + 1
