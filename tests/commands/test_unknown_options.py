"""Options that are fields of the config are refused with what works in their place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from cnnctl import cli
from cnnctl.commands.unknown_options import options_of, refuse_fields
from cnnctl.errors import UsageError
from cnnctl.spec.document import read_document
from cnnctl.spec.load import check
from cnnctl.spec.overrides import override

MNIST = str(Path(__file__).parents[2] / "configs" / "mnist.yaml")
VERBS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]  # it is a group


def reported(verb: str, *arguments: str) -> str:
    """Returns the refusal of a command line, an empty text where the options are left to Typer."""
    try:
        refuse_fields(verb, options_of(VERBS[verb]), arguments)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("option", ["--run-dir", "--output", "--logdir", "--jobs", "--n-jobs", "--n-trials"])
def test_an_option_of_another_program_names_one_that_sweep_has(option: str) -> None:
    message = reported("sweep", MNIST, option, "2")
    assert re.fullmatch(rf"sweep has no option {option}; use (--\S+) 2", message), message
    assert message.split()[-2] in options_of(VERBS["sweep"])
    assert "--dir" not in reported("train", MNIST, option, "2")


@pytest.mark.parametrize(
    ("option", "path"),
    [
        (["--epochs", "5"], "train.epochs"),
        (["--epochs=5"], "train.epochs"),
        (["-epochs", "5"], "train.epochs"),
        (["--lr", "0.1"], "train.optimizer.adam.learning_rate"),
        (["--learning-rate", "0.1"], "train.optimizer.adam.learning_rate"),
        (["--weight_decay", "1e-4"], "train.optimizer.adam.weight_decay"),
        (["--bs", "16"], "train.batch_size"),
        (["--optimizer", "sgd"], "train.optimizer"),
        (["--seed", "3"], "seed"),
        (["--patience", "3"], "train.early_stopping.patience"),
        (["--early-stopping", "3"], "train.early_stopping.patience"),
        (["--validation-split", "0.2"], "data.validation"),
        (["--dataset", "mnist"], "data.name"),
        (["--precision", "auto"], "train.precision"),
        (["--style", "subclass"], "model.style"),
        (["train.epochs=5"], "train.epochs"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "sweep", "summary", "verify", "code", "data"])
def test_a_field_of_the_config_as_an_option_is_refused_with_the_set_that_works(verb: str, option: list[str], path: str) -> None:
    message = reported(verb, MNIST, *option)
    said = re.search(r"; use --set ((\S+)=\S+)$", message)
    assert said, message
    assert said[2] == path
    document = read_document(Path(MNIST))
    override(document, said[1])
    check(document)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--config", MNIST],
            f"train has no option --config; pass the config as an argument: cnnctl train {MNIST}",
        ),
        (["train", MNIST, "--gpu"], "train has no option --gpu; use --device gpu"),
        (["train", MNIST, "--output-dir", "x"], "train has no option --output-dir; use --run-dir x"),
        (
            ["train", MNIST, "--shuffle"],
            "train has no option --shuffle, images are always prefetched and shuffled; remove it",
        ),
        (["summary", MNIST, "--gpu"], "summary has no option --gpu, option --device selects the device; remove it"),
        (["data", MNIST, "--data", "images"], "data has no option --data; use --set data.path=images"),
    ],
)
def test_options_of_other_programs_are_refused_with_what_there_is(arguments: list[str], message: str) -> None:
    assert reported(*arguments) == message


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", MNIST, "--nonsense", "3"],
        ["train", MNIST, "--set", "train.epochs=5", "--quiet"],
        ["train", MNIST, "--run-dir", "--epochs"],
        ["summary", MNIST, "--batch-size", "3"],
        ["summary", MNIST, "--batchsize", "3"],
        ["evaluate", "run", "--epochs", "5"],
        ["evaluate", "run", "--config", "x.yaml"],
        ["evaluate", "train.epochs=5"],
        ["train", MNIST, "--turns"],
        ["train", "--", "--epochs"],
    ],
)
def test_other_options_are_left_to_typer(arguments: list[str]) -> None:
    assert reported(*arguments) == ""
