"""`auto` measures where no rule decides: real trial steps in processes of their own, remembered on disk."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnnctl.few_shot.task import make_task
from cnnctl.report.console import Console
from cnnctl.session import session as session_module
from cnnctl.session import trial_steps
from cnnctl.session.state import Part
from cnnctl.session.trial_steps import is_worth_measuring, measured_speeds
from cnnctl.spec import auto
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.train import settings
from cnnctl.train.device import Device
from cnnctl.train.observers import Observer
from cnnctl.train.settings import Candidate, Speeds, resolve_auto

CONFIGS = Path(__file__).parents[2] / "configs"
CPU = Device("cpu", "2 cores", cores=2)
ONE, TWO = Candidate("float32", 1), Candidate("float32", 2)
LONG = ("train.batch_parts=auto", "train.epochs=10000", "train.batch_size=64", "train.precision=float32")


def in_a_new_process(code: str, cache: Path) -> str:
    """Run code in a process in which TensorFlow has computed nothing; return what it prints."""
    head = """
        from pathlib import Path
        from cnnctl.session.trial_steps import *
        from cnnctl.session import trial_steps
        from cnnctl.spec.load import load
        from cnnctl.train.settings import *
        CPU = Device("cpu", "2 cores", cores=2)
        ONE, TWO = Candidate("float32", 1), Candidate("float32", 2)
        experiment = load(Path(CONFIG), LONG)
    """
    text = f"CONFIG, LONG, CACHE = {str(CONFIGS / 'quickstart.yaml')!r}, {LONG!r}, {str(cache)!r}\n{textwrap.dedent(head)}{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "CNNCTL_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_candidates_are_measured_once_and_remembered(tmp_path: Path) -> None:
    printed = in_a_new_process("print(measured_speeds(experiment, CPU, [TWO, ONE]).as_plain())", tmp_path)
    first = ast.literal_eval(printed)
    assert [(each["precision"], each["parts"], each["cached"]) for each in first] == [
        ("float32", 2, False),
        ("float32", 1, False),
    ]
    again = in_a_new_process(
        """
        trial_steps._in_a_process = None
        print(measured_speeds(experiment, CPU, [TWO, ONE]).as_plain())
        other = load(Path(CONFIG), [*LONG, "train.batch_size=65"])
        print(known_speeds(other, CPU, [TWO, ONE]))
        """,
        tmp_path,
    )
    remembered, other = again.splitlines()
    assert ast.literal_eval(remembered) == [{**each, "cached": True} for each in first]
    assert other == "None"  # another batch size
    (file,) = (tmp_path / "auto").iterdir()
    file.write_text("[1.0]")
    assert in_a_new_process("print(known_speeds(experiment, CPU, [TWO, ONE]))", tmp_path)[:4] == "None"


def test_a_trial_that_dies_or_hangs_leaves_the_choice_to_the_rules_and_is_not_made_again(tmp_path: Path) -> None:
    printed = in_a_new_process(
        """
        import os, signal, time
        trial_steps.LONGEST = 1.0
        begun = tuple(Path(CACHE, name) for name in ("killed", "asleep"))
        instead = (
            lambda *_: (begun[0].open("a").write("x"), os.kill(os.getpid(), signal.SIGKILL)),
            lambda *_: (begun[1].open("a").write("x"), time.sleep(600)),
        )
        for number, compute in enumerate(instead):
            trial_steps._images_per_second = compute
            one_of_two = load(Path(CONFIG), [*LONG, f"train.batch_size={64 + number}"])
            for _ in range(2):
                print(measured_speeds(one_of_two, CPU, [TWO, ONE]))
        print([file.stat().st_size for file in begun])
        print(resolve_auto(experiment, CPU, measure=measured_speeds).reasons)
        """,
        tmp_path,
    )
    *tried, begun, reasons = printed.splitlines()
    assert tried == ["None"] * 4
    assert begun == "[1, 1]"  # neither the second candidate nor the second command tried
    assert reasons == "['batch_parts: auto → 2 (2 cores, ≥ 32 images per part)']"


def test_a_trial_of_a_sweep_goes_by_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object, **__: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(session_module, "measured_speeds", measure)
    experiment = load(CONFIGS / "quickstart.yaml", LONG)
    prepared = session_module.prepare(experiment, make_task, "cpu", Console(quiet=True), part_of=Part(Observer()))
    assert prepared.settings.speeds is None
    with pytest.raises(AssertionError, match="measured"):
        session_module.prepare(experiment, make_task, "cpu", Console(quiet=True))


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.labels=one_hot"],
        ["train.optimizer={adam: {learning_rate: {piecewise: {boundaries: [100, 5 epochs], values: [1e-2, 1e-3, 1e-4]}}}}"],
        ["model.layers.0={normalization: {}}"],
    ],
)
def test_every_kind_of_training_makes_trial_steps(overrides: list[str]) -> None:
    experiment = load(CONFIGS / "quickstart.yaml", overrides)
    for candidate in (ONE, Candidate("mixed_bfloat16", 1)):
        assert trial_steps._images_per_second(experiment, CPU, candidate, 2) > 0


def test_short_trainings_and_processes_that_have_computed_measure_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(trial_steps, "_in_a_process", None)
    short = load(CONFIGS / "quickstart.yaml", ["train.batch_parts=auto", "train.epochs=5"])
    assert not is_worth_measuring(short)
    assert measured_speeds(short, CPU, [TWO, ONE]) is None
    assert is_worth_measuring(load(CONFIGS / "quickstart.yaml", LONG))
    monkeypatch.setattr(trial_steps, "threads_can_be_set", lambda: False)
    assert measured_speeds(load(CONFIGS / "quickstart.yaml", LONG), CPU, [TWO, ONE]) is None


def test_the_choice_is_the_expected_one_unless_another_is_clearly_faster() -> None:
    assert Speeds({TWO: 100.0, ONE: 104.0}).fastest == TWO
    assert Speeds({TWO: 100.0, ONE: 106.0}).fastest == ONE


def test_figures_fit_a_line_of_100_columns() -> None:
    assert Speeds({TWO: 1234.5, ONE: 9.0}).lines == ["images/s: 1,234 in 2 parts, 9 in 1 part"]
    both = Speeds({Candidate("float32", 1): 1.0, Candidate("mixed_bfloat16", 1): 2.0})
    assert both.lines == ["images/s: 1 in float32, 2 in mixed_bfloat16"]
    many = {Candidate(precision, parts): 123_456.0 for precision in ("mixed_bfloat16", "float32") for parts in (64, 1, 32)}
    figures = "123,456 in 64 parts, 123,456 in 1 part, 123,456 in 32 parts"
    assert Speeds(many).lines == [f"images/s in mixed_bfloat16: {figures}", f"images/s in float32: {figures}"]
    assert max(map(len, Speeds(many).lines)) + len("loop    ") <= 100


def test_what_is_measured_becomes_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load(CONFIGS / "quickstart.yaml", ["train.precision=auto", *LONG[:-1]])
    asked: list[Sequence[Candidate]] = []

    def measure(_: Experiment, __: Device, candidates: Sequence[Candidate]) -> Speeds:
        asked.append(candidates)
        return Speeds(dict(zip(candidates, (1.0, 3.0, 2.0, 2.5), strict=False)))

    monkeypatch.setattr(auto, "cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(settings, "cpu_flags", auto.cpu_flags)
    settled = resolve_auto(experiment, CPU, measure=measure)
    assert asked.pop() == [TWO, ONE]  # emulated bfloat16 is out of the question
    assert (settled.parts, settled.batch_parts.why) == (1, "measured")
    assert settled.reasons[-1] == "images/s: 1 in 2 parts, 3 in 1 part"
    assert settled.precision.why.startswith("this CPU has no bfloat16 instructions")
    for flags in (frozenset({"avx512_bf16"}), frozenset[str]()):  # it has them, or reports nothing
        monkeypatch.setattr(auto, "cpu_flags", lambda flags=flags: flags)
        monkeypatch.setattr(settings, "cpu_flags", auto.cpu_flags)
        settled = resolve_auto(experiment, CPU, measure=measure)
        assert len(asked.pop()) == 4
        assert settled.precision.why == settled.batch_parts.why
    renorm = "model.layers=[flatten, {batch_normalization: {renorm: true}}, {dense: {units: classes}}]"
    whole = load(CONFIGS / "quickstart.yaml", ["train.batch_parts=auto", renorm])
    monkeypatch.setattr(settings, "cpu_flags", lambda: frozenset({"avx2"}))
    assert resolve_auto(whole, CPU, measure=measure).parts == 1
    assert not asked  # one candidate


def test_a_signal_ends_the_trials_and_leaves_no_process(tmp_path: Path) -> None:
    printed = in_a_new_process(
        """
        import os, signal, time
        signal.signal(signal.SIGALRM, signal.default_int_handler)  # as Ctrl-C
        trial_steps._images_per_second = lambda *_: time.sleep(600)
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        try:
            measured_speeds(experiment, CPU, [TWO, ONE])
        except KeyboardInterrupt:
            print("interrupted")
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("no process")
        """,
        tmp_path,
    )
    assert printed.splitlines() == ["interrupted", "no process"]
