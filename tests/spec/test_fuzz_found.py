"""What the fuzz tests found once and no file of tests/spec/bad can show."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from cnnctl.errors import ConfigError
from cnnctl.run_folder import RunFolder
from cnnctl.spec.document import MAX_BYTES, parse, read_document
from cnnctl.spec.load import load
from cnnctl.spec.optimizers import Exponential

CONFIG = "data: {source: digits}\nmodel: {layers: [flatten, dense: {units: classes}]}\n"
ARABIC_ONE_THREE = "1\u0663"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "x.yaml"
    file.write_text(CONFIG)
    return file


def content(text: str) -> Any:
    return parse(f"value: {text}", "x.yaml").content["value"]


# Scalars


@pytest.mark.parametrize("text", ["=", "<<", ARABIC_ONE_THREE, "-\u0663", f"1.{ARABIC_ONE_THREE}", "1e\u0663"])
def test_what_is_no_number_in_ascii_and_no_word_of_yaml_1_2_is_a_text(text: str) -> None:
    assert content(text) == text


@pytest.mark.parametrize("end", ["e", ".e", "_x", ".5.5"])
def test_a_long_text_that_begins_as_a_number_is_read_in_one_go(end: str) -> None:
    text = "1" * 300_000 + end
    assert content(text) == text


def test_the_two_halves_that_json_makes_of_a_character_are_one() -> None:
    assert content(r'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    ("length", "written"),
    [
        ("2 epochs", "2 epochs"),
        ("1 epoch", "1 epoch"),
        ("0.00001 epochs", "0.00001 epochs"),
        ("0.000000000012 epochs", "0.000000000012 epochs"),
        ("123456789 epochs", "123456789 epochs"),
        ("1234567.25 epochs", "1234567.25 epochs"),
        ("0.1234567 epochs", "0.1234567 epochs"),
    ],
)
def test_every_length_of_training_survives_config_yaml(length: str, written: str, file: Path, tmp_path: Path) -> None:
    schedule = f"exponential: {{initial_learning_rate: 0.1, decay_rate: 0.5, decay_steps: {length}}}"
    experiment = load(file, [f"train.optimizer={{sgd: {{learning_rate: {{{schedule}}}}}}}"])
    run = RunFolder(tmp_path)
    run.write_config(experiment)
    assert f"decay_steps: {written}" in run.config.read_text()
    assert load(run.config) == experiment


def test_a_length_that_a_float_would_take_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a number of steps such as 200"):
        Exponential.model_validate({"initial_learning_rate": 0.1, "decay_rate": 0.5, "decay_steps": f"0.{'0' * 400}1 epochs"})


# Files


def test_a_pipe_without_end_is_refused_after_as_much_as_a_config_may_have(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(b"#" * (MAX_BYTES + 1),), daemon=True).start()
    with pytest.raises(ConfigError, match="at most 1,000,000 bytes"):
        read_document(pipe)


def test_a_pipe_can_hold_a_config(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=(CONFIG,), daemon=True).start()
    assert read_document(pipe).content["data"] == {"source": "digits"}


def test_a_file_whose_name_has_a_line_break_is_told_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a\nb.yaml"
    for text in (None, "seed: [", CONFIG + "sed: 3\n", "seed: 3\n"):
        if text:
            file.write_text(text)
        with pytest.raises(ConfigError, match=re.escape(r"a\nb.yaml")) as caught:
            load(file)
        assert len(str(caught.value).split("\n")) == len(caught.value.problems)


# --set


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.epochs=a\nb", r"--set train.epochs=a\nb  train.epochs: expected an integer, received 'a b'"),
        ("train.ep\nochs=3", r"--set train.ep\nochs=3  train: unknown field 'ep\nochs'; did you mean 'epochs'?"),
        ("data.source.x\ny=3", r"--set data.source.x\ny=3  data.source: there is no 'x\ny' here: the value is 'digits'"),
        ("seed=[\n1", r"--set seed=[\n1  '[\n1' is not valid YAML"),
        ("seed={a: 1,\na: 2}", r"--set seed={a: 1,\na: 2}:2:1  duplicate key 'a', first on line 1; keep one of them"),
        ("data.name=\udcff", "--set data.name=\udcff  not UTF-8 text"),
        ("data.\udcff=1", "--set data.\udcff=1  not UTF-8 text"),
        ("seed=!!float ''", "--set seed=!!float '':1:1  cannot read '' as float"),
        (
            "seed=!!timestamp x",
            "--set seed=!!timestamp x:1:1  unknown tag '!!timestamp': a config has no tags; remove the tag",
        ),
    ],
)
def test_a_hostile_set_is_told_on_one_line(text: str, message: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load(file, [text])
    assert str(caught.value) == message


def test_set_of_an_item_of_an_empty_list_says_that_it_is_empty(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.layers: there is no item 0: the list is empty"):
        load(file, ["model.layers=[]", "model.layers.0=flatten"])


def test_set_of_brackets_in_brackets_is_refused_at_once(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[(\.\.\.|…)?  nested too deeply for a config"):
        load(file, ["seed=" + "[" * 100_000])
