"""scripts/bench: one whole comparison on the bundled digits, and the arithmetic of its parts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnctl.model import build_model
from cnnctl.report.progress import HEADER
from cnnctl.spec.dataset import FILE_SOURCES
from cnnctl.spec.document import dump, read_document
from cnnctl.spec.layers import BatchNormalization, Dropout
from cnnctl.spec.load import load
from scripts.benchmark import inference, sources, sweeps, workers
from scripts.benchmark.contenders import Contender, Way, best_torch, first_step_seconds, trainers
from scripts.benchmark.growth import base, points
from scripts.benchmark.machine import versions_in
from scripts.benchmark.measure import STARTED, Measured, measure, variables_for
from scripts.benchmark.others import busy_seconds, company, cores_of_others
from scripts.benchmark.picture import draw
from scripts.benchmark.processes import plain_network
from scripts.benchmark.ratios import Ratio, quotients, share_of_peak, spread, spreads
from scripts.benchmark.report import as_markdown, as_text
from scripts.benchmark.rounds import compete
from scripts.benchmark.settings import CONFIG, NETWORKS, PROCESSES, NotPrepared, Setting, Settings, Size, content_of
from tests.fork_server import is_running

BENCH = Path(__file__).parent.parent / "scripts/bench"
EVERYWHERE = {"cnnctl-custom", "keras"}
WITH_TORCH = {"torch", "torch-best", "lightning"}
TORCH_PYTHON = os.environ.get("CNNCTL_TORCH_PYTHON", sys.executable)
VERSIONS = versions_in(TORCH_PYTHON)
INSTALLED = {each.name for each in trainers(TORCH_PYTHON) if each.package and VERSIONS[each.package]}
needs_torch = pytest.mark.skipif(
    not VERSIONS["torch"], reason="torch is not installed; pip install '.[bench]', or set CNNCTL_TORCH_PYTHON"
)
POSITIVE = ("wall_seconds", "cpu_seconds", "peak_bytes", "start_seconds", "end_seconds", "train_seconds", "images_per_second")
SETTING = Setting(Path("config.yaml"), Path("data.npz"), 100, 1, "mnist", Size(), "valid")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of one round of one epoch: one of each kind that is installed."""
    file = tmp_path_factory.mktemp("bench") / "results.json"
    only = sorted(EVERYWHERE | WITH_TORCH)
    command = [sys.executable, str(BENCH), "--data", "digits", "--rounds", "1", "--epochs", "1", "--torch-python", TORCH_PYTHON]
    done = subprocess.run(
        [*command, "--only", *only, "--output", str(file)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def compared(results: dict[str, Any]) -> dict[str, Any]:
    """The results of the only network."""
    (comparison,) = results["comparisons"]
    return dict(comparison)


def named(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_everyone_who_is_installed_takes_part_and_the_others_are_named(
    results: dict[str, Any], compared: dict[str, Any]
) -> None:
    assert set(named(compared["contenders"])) == EVERYWHERE | INSTALLED
    assert set(results["left_out"]) == WITH_TORCH - INSTALLED
    assert results["failures"] == []


def test_every_contender_has_positive_figures_that_belong_together(compared: dict[str, Any]) -> None:
    images = compared["setting"]["train_images"]
    for row in compared["contenders"]:
        (figures,) = row["rounds"]
        assert all(row[name]["median"] == figures[name] > 0 for name in POSITIVE), row
        assert 0 <= figures["test_accuracy"] <= 1
        parts = figures["start_seconds"] + figures["train_seconds"] + figures["end_seconds"]
        assert parts == pytest.approx(figures["wall_seconds"], abs=0.5), "one epoch has no time between epochs"
        assert figures["images_per_second"] == pytest.approx(images / figures["train_seconds"], rel=0.01)
        assert sum(figures["epoch_seconds"]) == pytest.approx(figures["train_seconds"], abs=0.001)


def test_the_share_of_the_peak_follows_from_the_speed(results: dict[str, Any], compared: dict[str, Any]) -> None:
    macs = compared["setting"]["macs"]
    assert macs > 0
    for row in compared["contenders"]:
        peak = results["peak_gflops"][row["precision"]]
        assert row["share_of_peak"] == pytest.approx(6 * macs * row["images_per_second"]["median"] / (peak * 1e9))


def test_ratios_of_one_round_are_quotients_of_the_figures(compared: dict[str, Any]) -> None:
    rows = named([*compared["contenders"], *compared["summary"]])
    assert {ratio["over"] for ratio in compared["ratios"]} >= {"cnnctl-custom", "keras", "keras-summary"}
    assert {ratio["figure"] for ratio in compared["ratios"]} >= {"start_seconds", "end_seconds", "wall_seconds"}
    for ratio in compared["ratios"]:
        over, under = (rows[ratio[side]][ratio["figure"]]["median"] for side in ("over", "under"))
        assert ratio["median"] == ratio["min"] == ratio["max"] == pytest.approx(over / under)


def test_reports_name_every_contender_and_say_what_it_ran_on(results: dict[str, Any], compared: dict[str, Any]) -> None:
    precisions = [row["precision"] for row in compared["contenders"]]
    for text in (as_text(results), as_markdown(results)):
        assert all(name in text for name in (*EVERYWHERE, *precisions, "keras-summary", results["machine"]["cpu"]))
        assert "configs/mnist.yaml: digits, 1,258 training images, 1 epoch, batches of 128, 1 round" in " ".join(text.split())


@needs_torch
def test_torch_trains_the_same_network_and_learns(compared: dict[str, Any]) -> None:
    for name in INSTALLED:
        assert named(compared["contenders"])[name]["test_accuracy"]["median"] > 0.2  # chance is 0.1


@needs_torch
def test_torch_at_its_best_computes_in_the_fastest_way_of_its_trial(results: dict[str, Any], compared: dict[str, Any]) -> None:
    trial = results["trials"]["mnist"]
    speeds = [way["images_per_second"] or 0 for way in trial]
    assert len(speeds) == 3
    assert speeds == sorted(speeds, reverse=True)
    assert named(compared["contenders"])["torch-best"]["precision"] == trial[0]["precision"]
    assert "torch-best computes mnist in the fastest way of a trial of some steps" in as_markdown(results)


def test_saved_results_are_drawn_again_without_measuring(results: dict[str, Any], tmp_path: Path) -> None:
    points = [
        {"grows": grows, "value": value, "contender": "keras", "images_per_second": 5.0, "wall_seconds": 2.0, "peak_bytes": 3}
        for grows in ("images", "width", "depth", "batch_size")
        for value in (1, 2)
    ]
    growth = [{**point, "rounds": [{"others_cores": 0.0}]} for point in points]
    (tmp_path / "saved.json").write_text(json.dumps({**results, "growth": growth}))
    command = [sys.executable, str(BENCH), "--from", "saved.json", "--plot", "drawn.svg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == as_text({**results, "growth": growth}) + "\n"
    drawn = (tmp_path / "drawn.svg").read_text()
    assert all(f">{text}</text>" in drawn for text in ("cnnctl-custom", "keras", "images", "convolutions", "batch size"))


@pytest.mark.parametrize("content", [b"[]", b"not JSON", b"\xff"], ids=["a list", "not JSON", "not text"])
def test_other_files_are_not_drawn(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "saved.json").write_bytes(content)
    command = [sys.executable, str(BENCH), "--from", "saved.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "saved.json has no results of a comparison or of --growth" in done.stderr


def test_a_picture_is_drawn_of_bars_and_of_growth(results: dict[str, Any], tmp_path: Path) -> None:
    sizes = []
    point = {"grows": "width", "value": 1, "contender": "keras", "images_per_second": 1, "wall_seconds": 2.0, "peak_bytes": 3}
    for growth in ([], [point]):
        draw({**results, "growth": growth}, tmp_path / "out.png")
        image = (tmp_path / "out.png").read_bytes()
        assert image.startswith(b"\x89PNG")
        sizes.append(int.from_bytes(image[20:24]))  # the height, in the header of a PNG
    assert sizes[1] > sizes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--growth", "--network", "mobilenet"], "--growth does not use --network; remove it"),
        (["--memory", "--images", "9", "--network", "mnist"], "--memory does not use --network, --images; remove them"),
        (["--sweep", "--epochs", "3"], "--sweep does not use --epochs; remove it"),
        (["--workers", "--images", "9"], "--workers does not use --images; remove it"),
        (["--sources", "--network", "mnist"], "--sources does not use --network; remove it"),
        (["--inference", "--epochs", "2"], "--inference does not use --epochs; remove it"),
        (["--from", __file__, "--torch-python", sys.executable], "--from does not use --torch-python; remove it"),
        (["--data", "digits", "--images", "100"], "--images: the digits are too few to take fewer"),
        (["--inference", "--plot", "out.svg"], "--plot draws comparisons and --growth"),
        (["--plot", "out.pdf"], "expected a name that ends in .svg or .png, received 'out.pdf'"),
        (
            ["--growth", "--only", "keras", "cnnctl-fit"],
            "--only: cnnctl-fit cannot take part here; expected some of: cnnctl-custom",
        ),
        (["--sweep", "--only", "keras"], "--only: keras cannot take part here; expected some of: none"),
        (["--growth", "--inference"], "not allowed with argument"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], message: str) -> None:
    done = subprocess.run([sys.executable, str(BENCH), *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="child processes are found in /proc")
def test_a_benchmark_that_is_terminated_ends_its_contender_and_removes_its_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--data", "digits", "--only", "keras"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline() == "measuring the peak of the machine\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (started := children.read_text().split()) or "tensorflow" not in Path(f"/proc/{started[0]}/maps").read_text():
            time.sleep(0.01)
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert [each for each in started if is_running(int(each))] == []
    assert list(tmp_path.iterdir()) == []


SIZES = [(network, Size()) for network in NETWORKS] + [("mnist", Size(width=0.5, depth=4))]


def plain_options(source: str, network: str, size: Size) -> Namespace:
    padding = "same" if source == "digits" else "valid"
    return Namespace(network=network, width=size.width, depth=size.depth, padding=padding)


@pytest.mark.parametrize("source", ["mnist", "digits"])
@pytest.mark.parametrize(("network", "size"), SIZES)
def test_the_plain_keras_network_computes_what_that_of_the_config_computes(
    source: str, network: str, size: Size, tmp_path: Path
) -> None:
    content = content_of(source, 1, network, size)
    (tmp_path / "config.yaml").write_text(dump(content))
    mine = build_model(load(tmp_path / "config.yaml", ["train.precision=float32"]))
    plain = plain_network.network(mine.input_shape[1:], plain_options(source, network, size))
    generator = np.random.default_rng(0)
    weights = [
        np.abs(generator.normal(size=each.shape)) if "variance" in each.path else generator.normal(size=each.shape)
        for each in mine.weights
    ]
    mine.set_weights(weights)
    plain.set_weights(weights)
    images = generator.uniform(size=(3, *mine.input_shape[1:])).astype("float32")
    assert rates_removed(mine) == rates_removed(plain)
    for training in (False, True):  # the second changes the moving statistics, by their momentum
        one, other = (np.asarray(model(images, training=training)) for model in (mine, plain))
        np.testing.assert_allclose(one, other, rtol=1e-4)
    for mean, same in zip(mine.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(mean, same, rtol=1e-4)


def rates_removed(model: Any) -> list[float]:
    """Set the rates of dropout to 0, and return what they were."""
    layers = [layer for layer in model.layers if hasattr(layer, "rate")]
    rates = [float(layer.rate) for layer in layers]
    for layer in layers:
        layer.rate = 0.0
    return rates


INSPECT_TORCH = """
import json, sys, torch
from argparse import Namespace
from plain_torch_network import network
image, options = json.loads(sys.argv[1])
model = network(image, Namespace(**options))
norms = {(each.eps, round(1 - each.momentum, 6)) for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)}
rates = [each.p for each in model.modules() if isinstance(each, torch.nn.Dropout)]
parameters = sum(each.numel() for each in model.parameters())
print(json.dumps([list(model(torch.zeros(2, *image)).shape), parameters, sorted(norms), rates]))
"""


@needs_torch
@pytest.mark.parametrize("source", ["mnist", "digits"])
@pytest.mark.parametrize(("network", "size"), SIZES)
def test_the_plain_torch_network_is_that_of_the_config(source: str, network: str, size: Size, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(dump(content_of(source, 1, network, size)))
    experiment = load(tmp_path / "config.yaml")
    height, width, channels = experiment.network.image
    words = json.dumps([[channels, height, width], vars(plain_options(source, network, size))])
    command = [TORCH_PYTHON, "-c", INSPECT_TORCH, words]
    done = subprocess.run(command, cwd=PROCESSES, capture_output=True, text=True, timeout=60, check=True)
    layers = [node.layer for node in experiment.network.nodes]
    norms = {(each.epsilon, each.momentum) for each in layers if isinstance(each, BatchNormalization)}
    rates = [each.rate for each in layers if isinstance(each, Dropout)]
    parameters = sum(int(np.prod(weight.shape)) for weight in build_model(experiment).trainable_weights)
    assert json.loads(done.stdout) == [[2, 10], parameters, [list(each) for each in norms], rates]


def test_the_start_of_a_run_is_read_from_its_progress() -> None:
    lines = [(1.0, "data    mnist"), (2.5, HEADER), (4.0, "      1/3   1.5486  52%")]
    assert first_step_seconds(lines) == 2.5
    assert first_step_seconds(lines[:1]) is None


@pytest.mark.parametrize(("epochs", "end"), [([2.0], 3.5), ([1.0, 1.0], None)])
def test_the_end_of_a_run_is_known_with_one_epoch_only(epochs: list[float], end: float | None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    result = {"train_seconds": 2.0, "images_per_second": 9.0, "test_accuracy": 0.5}
    (run / "result.json").write_text(json.dumps(result))
    (run / "environment.json").write_text(json.dumps({"device": "CPU", "precision": "float32"}))
    (run / "metrics.csv").write_text("\n".join(["seconds", *map(str, epochs)]))
    (ours, *_) = trainers(sys.executable)
    reported = ours.reported(Measured(0, 8.0, 1.0, 1, None, "", [(2.5, HEADER)]), tmp_path)
    assert (reported["start_seconds"], reported["end_seconds"]) == (2.5, end)


def test_torch_at_its_best_is_started_in_its_way(tmp_path: Path) -> None:
    best = best_torch("python", Way("float32", compiled=True))
    assert best.command(SETTING, tmp_path)[-3:] == ["--precision", "float32", "--compiled"]


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
    return Contender(name, sys.executable, None, lambda setting, folder: [sys.executable, "-c", code], printed)


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
    assert company([{"rounds": [{"others_cores": 0.1}, {"others_cores": None}, None]}, {"rounds": []}], 2) == []
    (warning,) = company([{"rounds": [{"others_cores": 0.1}, {"others_cores": 0.9}]}], 2)
    assert warning.startswith("not alone: other processes kept up to 0.9 of 2 cores busy; measure again")


def test_the_config_is_that_of_mnist_but_for_what_is_asked() -> None:
    content = read_document(CONFIG).content
    assert content_of("mnist", content["train"]["epochs"], "mnist", Size()) == content
    new = content_of("mnist", 2, "mnist", Size(5_000, 0.5, 4, 32))
    assert new["data"]["train"] == "train[:5000]"
    assert (new["train"]["epochs"], new["train"]["batch_size"]) == (2, 32)
    assert [layer["conv2d"]["filters"] for layer in new["model"]["layers"] if "conv2d" in layer] == [16, 32, 32, 32]
    other = content_of("mnist", 1, "mnist-best", Size())
    assert (other["data"], other["train"]) == (content["data"], {**content["train"], "epochs": 1})
    assert other["model"] == read_document(CONFIG.with_name("mnist-best.yaml")).content["model"]


def test_growth_varies_one_thing_at_a_time_around_one_training() -> None:
    middle = base("mnist", None)
    assert middle == Size(60_000)
    sizes = {point.size for point in points(middle)}
    assert len(sizes) == 10
    for size in sizes:
        changed = [name for name in vars(size) if getattr(size, name) != getattr(middle, name)]
        assert replace(middle, **{name: getattr(size, name) for name in changed[:1]}) == size
    assert [point.value for point in points(base("mnist", 1200)) if point.grows == "images"] == [100, 300, 600, 1200]
    assert {point.grows for point in points(base("digits", None))} == {"width", "depth", "batch_size"}


def test_trained_networks_are_measured_and_both_tools_have_the_same_accuracy(tmp_path: Path) -> None:
    heard: list[str] = []
    names = ["cnnctl-float32", "keras"]
    rows = inference.inference_rows(["mnist"], Settings("digits", 1, tmp_path), None, 1, names, sys.executable, heard.append)
    assert [(row.task, row.contender) for row in rows] == [(task, name) for task in inference.TASKS for name in names]
    assert all((row.few, row.many) == (359, 1258) for row in rows)
    for row in rows:
        for split in (inference.FEW, inference.MANY):
            assert any(f"{row.contender} {row.task} {split}" in line for line in heard)
        assert row.few_seconds[0] != row.many_seconds[0]
        assert row.speeds == inference.further_speeds(359, 1258, row.few_seconds, row.many_seconds)
    assert rows[0].accuracy == pytest.approx(rows[1].accuracy)
    assert rows[0].accuracy and rows[0].accuracy > 0.2  # chance is 0.1


def test_two_splits_of_about_as_many_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "5000.json").write_text(json.dumps({"train": 4_500, "validation": 500, "test": 10_000}))  # as if prepared
    with pytest.raises(NotPrepared, match="2 times as many images in train as in test, received 4,500 and 10,000; increase"):
        inference.inference_rows(["mnist"], Settings("mnist", 1, tmp_path), 5_000, 1, ["keras"], sys.executable, lambda _: None)


def test_inference_speed_is_that_of_the_further_images() -> None:
    ours = inference.Row("mnist", "predict", "cnnctl", 100, 300, (1.0, 2.0), (2.0, 2.5), (200.0, 400.0), None)
    keras = replace(ours, contender="keras", few_seconds=(4.0, 4.0), speeds=(100.0, None))
    assert inference.further_speeds(100, 300, (1.0, 2.0, 3.0), (2.0, 2.5, 3.0)) == (200, 400, None)
    header, _, first, second, *_ = inference.inference_table([ours, keras], "markdown").splitlines()
    assert header == "| network | task | contender | whole | ratio | images/s | ratio | accuracy |"
    assert first == "| mnist | predict | cnnctl | 1.50 s | 1.00 | 300 | 1.00 | - |"
    assert second == "| mnist | predict | keras | 4.00 s | 3.00 | 100 | 2.00 | - |"


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
