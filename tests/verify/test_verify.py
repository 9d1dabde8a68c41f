"""`cnnctl verify`: what agrees is shown, and whatever is broken is found and named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnctl.commands.verify import as_plain, shown, verify
from cnnctl.data.pipeline import training_batches
from cnnctl.errors import ConfigError, RunError, UsageError
from cnnctl.model import styles
from cnnctl.report.console import Console
from cnnctl.spec.document import parse
from cnnctl.spec.load import check
from cnnctl.train import loops
from cnnctl.verify import gradients
from cnnctl.verify import proof as proof_module
from cnnctl.verify.agreement import Build, Training
from cnnctl.verify.gradients import GradientRow
from cnnctl.verify.proof import Proof, compared_training, prove

CHAIN = """
seed: 1
data: {source: digits}
model:
  style: sequential
  layers:
    - conv2d: {filters: 3, kernel_size: 3, activation: relu}
    - batch_normalization
    - max_pooling2d
    - flatten
    - dropout: {rate: 0.3}
    - dense: {units: classes}
train: {batch_size: 32}
"""
BRANCHES = """
data: {source: digits}
model:
  style: subclass
  layers:
    - conv2d: {name: stem, filters: 2, kernel_size: 3, padding: same}
    - add: {inputs: [stem, input]}
    - flatten
    - dense: {units: classes}
train: {loop: fit, batch_size: 16}
"""
STEPS = 3


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a config into an empty folder, the working directory of the test."""
    return written(tmp_path, monkeypatch, CHAIN)


def written(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    monkeypatch.chdir(folder)
    config = folder / "config.yaml"
    config.write_text(text)
    return config


def run(
    config: Path | None, form: str = "table", explain: bool = False, overrides: tuple[str, ...] = (), steps: int = STEPS
) -> None:
    verify(config, overrides, steps, explain, form, Console(quiet=True), verbose=True)


@pytest.fixture(scope="module")
def proof() -> Proof:
    """Verify a config where nothing is broken."""
    return prove(check(parse(CHAIN, "config.yaml")), STEPS, Console(quiet=True))


def test_a_chain_agrees_to_the_bit_in_six_trainings(proof: Proof) -> None:
    found = json.loads(json.dumps(as_plain(proof)))
    assert (found["agrees"], found["disagreements"], found["steps"], found["batch_size"]) == (True, [], STEPS, 32)
    assert [each["style"] for each in found["builds"]] == ["sequential", "functional", "subclass"]
    trainings = [(each["style"], each["loop"]) for each in found["trainings"]]
    assert trainings[0] == ("sequential", "custom")
    assert sorted(trainings) == sorted((style, loop) for style in styles.STYLES for loop in loops.LOOPS)
    compared = [part for each in [*found["builds"], *found["trainings"]] for part in each.values() if isinstance(part, dict)]
    assert len(compared) == 3 * 2 + 6 * 5
    assert all(part["exact"] and part["values"] > 0 for part in compared)
    assert len(found["losses"]) == STEPS


def test_the_gradients_of_every_trained_variable_agree(proof: Proof) -> None:
    rows = as_plain(proof)["gradients"]
    assert [row["variable"] for row in rows] == ["kernel", "bias", "gamma", "beta", "kernel", "bias"]
    assert all(row["agrees"] and row["sampled"] for row in rows)


def test_the_tables_fit_a_page(proof: Proof) -> None:
    text = shown(proof, "table")
    assert max(map(len, text.splitlines())) <= 80
    assert "values                6 layers              324      320" in text  # 2 of them are dropout's seed
    assert "subclass by fit         equal   equal       equal    equal      equal" in text
    assert text.endswith("Everything agrees, builds and trainings to the bit.")


def test_where_rounding_differs_the_number_and_what_it_means_are_shown(proof: Proof) -> None:
    rounded = replace(proof.trainings[1].differences["losses"], exact=False, relative=3e-8)
    training = replace(proof.trainings[1], differences={**proof.trainings[1].differences, "losses": rounded})
    text = shown(replace(proof, trainings=[proof.trainings[0], training]), "table")
    assert "sequential by fit    equal  3.0e-08       equal    equal      equal" in text
    assert "not all of it to the bit" in text
    assert "Up to 1e-04 counts as agreement." in text


def test_weights_are_compared_by_how_far_training_moved_them() -> None:
    def training(weight: float) -> Training:
        none = {"values": np.zeros(1)}
        return Training("functional", "fit", none, none, none, {"weights": np.array([100.0, weight])}, none)

    start = Build("functional", [], {"weights": np.array([100.0, 100.0])}, {})
    found = compared_training(training(101.5), training(101.0), start).differences["weights"]
    assert (found.largest, found.relative) == (0.5, 0.5)


def test_a_variable_all_at_kinks_is_not_said_to_agree(proof: Proof) -> None:
    row = GradientRow("conv2d", "bias", weights=8, sampled=0, kinks=8, largest_gradient=0.0, largest_error=0.0)
    text = shown(replace(proof, gradients=[row]), "markdown")
    assert "| conv2d | bias | 8 | 0 | 8 |  |  |" in text
    assert "Weights at kinks are left out" in text
    assert text.endswith("Everything that could be compared agrees, builds and trainings to the bit.")


def test_a_stack_that_branches_is_compared_in_two_styles_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, monkeypatch, BRANCHES)
    run(config, "markdown", explain=True, steps=1)
    text = capsys.readouterr().out
    assert "Sequential is left out: it cannot build a stack with branches" in " ".join(text.split())
    assert "Trainings: 1 step of 16 images, in float32 on the CPU, compared with subclass by fit" in " ".join(text.split())
    assert "| functional by custom | equal |" in text
    assert "| sequential" not in text
    assert "| stem | kernel | 18 | 5 |" in text
    assert "to the bit.\n\nJ = 3·(a + b·c)" in text
    assert "For the 1,310 weights of this network" in " ".join(text.split())
    assert list(tmp_path.iterdir()) == [config]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """Verify with every compared value broken somewhere; return the error and the JSON."""
    config = tmp_path_factory.mktemp("broken") / "config.yaml"
    config.write_text(CHAIN)
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        break_everything(patch)
        patch.setattr(Console, "result", lambda _, text: printed.append(text))
        with pytest.raises(RunError, match="not everything agrees") as caught:
            run(config, "json")
    return str(caught.value), json.loads(printed[0])


def break_everything(patch: pytest.MonkeyPatch) -> None:
    """Breaks one thing each: the first fit, the second custom training, a build, the arithmetic, the derivatives."""
    fit, measured = loops.LOOPS["fit"], gradients.numerical_derivative
    seeds = iter([1, 1, 1, 9, 1, 1, 1])  # for the builds and six trainings

    def build_other(*arguments: Any) -> Any:
        model = styles.build_subclass(*arguments)
        kernel = model.get_layer("conv2d").kernel
        kernel.assign(kernel * 1.0000002)
        return model

    def darker(learner: Any, train: Any, *rest: Any) -> None:
        fit(learner, lambda first: train(first).map(lambda x, y: (0.9 * x, y)), *rest)

    patch.setitem(loops.LOOPS, "fit", darker)
    patch.setattr(
        "cnnctl.verify.agreement.training_batches",
        lambda images, prepare, **named: training_batches(images, prepare, **named | {"seed": next(seeds)}),
    )
    patch.setitem(styles.STYLES, "subclass", build_other)
    patch.setattr("cnnctl.verify.agreement.differences", lambda experiment: ["conv2d: another shape"])
    patch.setattr(gradients, "numerical_derivative", lambda *arguments: 1.01 * (measured(*arguments) or 0.0))


@pytest.mark.parametrize(
    "line",
    [
        r"functional: conv2d: another shape",
        r"initial weights of subclass: differ from sequential by \S+, expected equal bits",
        r"losses of sequential by fit: differ from sequential by custom by \S+, expected at most 1e-04",
        r"weights of sequential by fit: differ from sequential by custom by \S+, expected at most 1e-04",
        r"optimizer of sequential by fit: differ from sequential by custom by \S+, expected at most 1e-04",
        r"batches of functional by custom: differ from sequential by custom by inf, expected equal bits",
        r"gradients of dense/kernel: differ from numerical ones by \S+, expected at most 1e-05",
    ],
)
def test_what_disagrees_is_named_for_people_and_programs(line: str, broken: tuple[str, Any]) -> None:
    message, found = broken
    assert re.search(f"^  {line}$", message, flags=re.M)
    assert message.endswith("Please report it with the config.")
    assert not found["agrees"]
    assert any(re.fullmatch(line, each) for each in found["disagreements"])


def test_batches_that_were_changed_after_their_checksums_are_no_other_batches(broken: tuple[str, Any]) -> None:
    assert "batches of sequential by fit" not in broken[0]


def test_a_loss_that_is_no_number_is_one_message(chain: Path) -> None:
    with pytest.raises(RunError, match=r"the loss became (inf|nan) at step \d+; .* smaller learning_rate"):
        run(chain, overrides=("train.optimizer.sgd.learning_rate=1e30",))


def test_without_a_config_differentiation_alone_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    run(None, explain=True)
    text = capsys.readouterr().out
    assert text.startswith("J = 3·(a + b·c) at a = 5, b = 3, c = 2.")
    assert "this network" not in text


@pytest.mark.parametrize(
    ("config", "form", "explain", "overrides", "message"),
    [
        (None, "table", False, (), "expected a config to verify, or --explain"),
        (None, "table", True, ("seed=1",), "--set needs a config to change"),
        (Path("x.yaml"), "json", True, (), "--explain has no JSON form; use --format table or markdown"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    config: Path | None, form: str, explain: bool, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(config, form, explain, overrides)


def test_a_wrong_config_is_told_before_tensorflow_starts(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.commands.verify.import_tensorflow", lambda verbose: pytest.fail("TensorFlow was started"))
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        run(chain, overrides=("train.batchsize=3",))


def test_a_network_without_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "data: {source: digits, classes: 64}\nmodel: {layers: [flatten]}"
    with pytest.raises(RunError, match="no trainable weights to verify"):
        run(written(tmp_path, monkeypatch, text))


def test_too_little_memory_is_one_message(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(proof_module, "build", fail)
    with pytest.raises(RunError, match="not enough memory"):
        run(chain)
