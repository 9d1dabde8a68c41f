"""YAML text becomes plain data with places, and --set changes it like the file itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from cnnctl.errors import ConfigError
from cnnctl.spec.document import Document, parse, read_document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check
from cnnctl.spec.overrides import override

CONFIG = """\
seed: 3
data: {source: digits}
model:
  layers:
    - max_pooling2d
    - flatten
    - dense: {units: classes}
train:
  epochs: 5
"""


def content(text: str) -> Any:
    return parse(f"value: {text}", "x.yaml").content["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-1e+2", -100.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("+0.25", 0.25),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("1_000.5", 1000.5),
        ("3", 3),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("1_000", 1000),
        ("010", 10),  # ten, not eight
        ("08", 8),
        ("0x1F", "0x1F"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),  # no base 60
        ("1e", "1e"),
        ("e3", "e3"),
        ("1.2.3", "1.2.3"),
        ("2 epochs", "2 epochs"),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("2024-01-01", "2024-01-01"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'3'", "3"),
        ("[1, 1e1, on]", [1, 10.0, "on"]),
    ],
)
def test_a_scalar_is_read_as_yaml_1_2_reads_it(text: str, value: object) -> None:
    read = content(text)
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number_for_the_checks_to_refuse() -> None:
    assert math.isnan(content(".nan"))


def test_an_alias_repeats_what_its_anchor_names() -> None:
    read = parse("a: &a {x: [1, 2]}\nb: *a\n", "x.yaml").content
    assert read == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}}


def test_a_byte_order_mark_and_crlf_do_not_disturb(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + CONFIG.replace("\n", "\r\n").encode())
    assert read_document(file).content == parse(CONFIG, "x.yaml").content


def test_every_part_knows_where_it_stands() -> None:
    document = parse(CONFIG, "x.yaml")
    assert document.location(("data", "source")) == "x.yaml:2:8"
    assert document.location(("model", "layers", 1)) == "x.yaml:6:7"
    assert document.location(("model", "layers", 2, "dense", "units")) == "x.yaml:7:15"
    assert document.location(("train", "optimizer", "adam")) == "x.yaml:8:1", (
        "what is not there has the place of what is around it"
    )


def test_all_keys_that_stand_twice_are_told_with_the_line_of_the_first() -> None:
    with pytest.raises(ConfigError, match="stands twice") as caught:
        parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "x.yaml")
    assert str(caught.value).splitlines() == [
        "x.yaml:2:11  b: 'c' stands twice, first on line 2; keep one of them",
        "x.yaml:3:1  'a' stands twice, first on line 1; keep one of them",
    ]


@pytest.mark.parametrize("depth", [300, 350, 400, 500, 1000, 5000])
def test_brackets_in_brackets_end_in_one_message_at_any_depth(depth: int) -> None:
    with pytest.raises(ConfigError, match=r"nested too deeply|train: expected a mapping of fields"):
        check(parse(CONFIG.replace("epochs: 5", "[" * depth + "]" * depth), "x.yaml"))


def test_a_number_of_too_many_digits_is_refused_at_its_place() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:1:7  seed: cannot read '9+\.\.\. as int"):
        parse("seed: " + "9" * 5000, "x.yaml")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda file: None, "no such file; 'cnnctl init' lists example configs"),
        (lambda file: file.mkdir(), "this is a folder; give the YAML file of a config"),
        (lambda file: file.write_bytes(bytes(range(256))), "not a text file in UTF-8"),
        (lambda file: file.write_bytes(b"#" * 1_000_001), "at most 1,000,000 bytes"),
    ],
)
def test_what_is_no_config_file_gets_one_message_with_its_name(make: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    make(file)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_document(file)
    assert str(caught.value).startswith(f"{file}  ")
    assert "\n" not in str(caught.value)


# --set


def overridden(*texts: str, config: str = CONFIG) -> Document:
    document = parse(config, "x.yaml")
    for text in texts:
        override(document, text)
    return document


def checked(*texts: str, config: str = CONFIG) -> Experiment:
    return check(overridden(*texts, config=config))


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("train.epochs=9", ("train", "epochs"), 9),
        ("train.optimizer.sgd.momentum=9e-1", ("train", "optimizer"), {"sgd": {"momentum": 0.9}}),
        ("log.tensorboard=false", ("log",), {"tensorboard": False}),  # a section that was left out
        ("train.early_stopping={patience: 2}", ("train", "early_stopping"), {"patience": 2}),
        ("data.image_size=[12, 16]", ("data", "image_size"), [12, 16]),
        (
            "model.layers.0.max_pooling2d.pool_size=1",
            ("model", "layers", 0),
            {"max_pooling2d": {"pool_size": 1}},
        ),  # a bare name
        ("model.layers[2].dense.units=10", ("model", "layers", 2, "dense", "units"), 10),
        ("model.layers.0=dropout: {rate: 0.1}", ("model", "layers", 0), {"dropout": {"rate": 0.1}}),
        ("data.name='a=b'", ("data", "name"), "a=b"),
        ("data.name=", ("data", "name"), None),
        ("seed=5 # five", ("seed",), 5),
    ],
)
def test_set_writes_a_yaml_value_at_its_path(text: str, path: tuple[str | int, ...], value: object) -> None:
    here = overridden(text).content
    for key in path:
        here = here[key]
    assert here == value


def test_of_two_settings_of_one_path_the_last_counts() -> None:
    assert checked("train.epochs=7", "train.epochs=8").train.epochs == 8


def test_set_of_a_field_of_a_bare_optimizer_keeps_the_optimizer() -> None:
    config = CONFIG + "  optimizer: sgd\n"
    assert checked("train.optimizer.sgd.momentum=0.5", config=config).train.optimizer.momentum == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.epochs", "expected path=value, such as train.epochs=3"),
        ("=3", "expected path=value, such as train.epochs=3"),
        ("..=3", "expected path=value, such as train.epochs=3"),
        ("train.epochs=[1", "'[1' is not valid YAML"),
        ("model.layers.3.dropout.rate=0.1", "model.layers: there is no item 3: the list has 3 items, 0 to 2"),
        ("model.layers.-1.dense.units=3", "model.layers: there is no item '-1': the list has 3 items, 0 to 2"),
        ("model.layers.one=flatten", "model.layers: there is no item 'one': the list has 3 items, 0 to 2"),
        (f"model.layers.{'9' * 5000}=flatten", "model.layers: there is no item '9"),
        ("train.²=3", "train: unknown field '²'; known: loop"),
        (
            "model.layers.2.conv2d.filters=3",
            "model.layers[2]: there is no 'conv2d' here: it is 'dense'; to have another, set it as a whole: "
            "model.layers[2]={conv2d: ...}",
        ),
        ("train.epochs=" + "[" * 5000, "nested too deeply"),
        ("train.x=a:²:" + "9" * 5000, "train: unknown field 'x'; known: loop"),
        ("model.layers.1.conv2d.filters=3", "model.layers[1]: there is no 'conv2d' here: the config says 'flatten'"),
        ("data.source.name=x", "data.source: there is no 'name' here: the config says 'digits'"),
        ("train.0=x", "train: there is no '0' here: the config says {\"epochs\": 5}"),
        ("train.epohs=3", "train: unknown field 'epohs'; did you mean 'epochs'?"),
        ("trian.epochs=3", "unknown field 'trian'; did you mean 'train'?"),
        ("train.epochs=3.0", "train.epochs: expected an integer, received 3.0"),
        ("train.epochs=three", "train.epochs: expected an integer, received 'three'"),
        ("train.batch_size=true", "train.batch_size: expected an integer, received true"),
        ("seed.x=3", "seed: there is no 'x' here: the config says 3"),
        ("train.batch_size.x=3", 'train.batch_size: expected an integer, received {"x": 3}'),
        ("model.layers.2.dense=3", "model.layers[2].dense: expected a mapping of fields such as dense: {units: 3}, received 3"),
        (
            "model.layers.2.dense.units=11",
            "model.layers[2].dense.units: the network gives 11 numbers, but the data has 10 classes",
        ),
        ("data.name=mnist", "data.name: goes with source 'tfds', not with 'digits'; remove it"),
    ],
)
def test_a_wrong_set_is_told_with_itself_as_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        checked(text)
    assert len(caught.value.problems) == 1
    location = caught.value.problems[0].location
    assert location == f"--set {text}" if len(text) <= 100 else location == f"--set {text[:100]}..."


def test_a_set_of_thousands_of_digits_is_one_short_message() -> None:
    with pytest.raises(ConfigError) as caught:
        checked(f"train.epochs={'9' * 5_000}")
    assert len(str(caught.value)) < 300


def test_set_of_a_field_of_another_optimizer_names_the_one_that_is_there() -> None:
    message = (
        "train.optimizer: there is no 'sgd' here: it is 'adam'; to have another, set it as a whole: train.optimizer={sgd: ...}"
    )
    with pytest.raises(ConfigError, match=re.escape(f"--set train.optimizer.sgd.momentum=0.9  {message}")):
        checked("train.optimizer.sgd.momentum=0.9", config=CONFIG + "  optimizer: {adam: {beta_1: 0.8}}\n")


@pytest.mark.parametrize(
    ("texts", "path"),
    [
        (["model.layers=[{conv2d: {filters: -1, kernel_size: 3}}, flatten]"], "model.layers[0].conv2d.filters"),
        (["model.layers.2=dense: {units: -1}"], "model.layers[2].dense.units"),
        (["train={epochs: 0}"], "train.epochs"),
        (["train.epochs=3", "train={epochs: 0}"], "train.epochs"),
        (["train={epochs: 3}", "train.epochs=0"], "train.epochs"),
    ],
)
def test_what_is_wrong_inside_a_section_that_set_gave_is_told_with_the_last_set_as_the_place(
    texts: list[str], path: str
) -> None:
    with pytest.raises(ConfigError, match="received") as caught:
        checked(*texts)
    assert [(each.location, each.path) for each in caught.value.problems] == [(f"--set {texts[-1]}", path)]


def test_a_key_twice_in_the_value_of_a_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set train=\{epochs: 1, epochs: 2\}.*'epochs' stands twice"):
        overridden("train={epochs: 1, epochs: 2}")


@pytest.mark.parametrize(
    "text",
    [
        "train.optimizer.learning_rate=0.1",
        "train.optimizer.beta_1=0.8",
        "model.layers.0.pool_size=3",
        "model.layers.2.activation=softmax",
        "model.layers.1.name=flat",
    ],
)
@pytest.mark.parametrize("optimizer", ["", "  optimizer: adam\n", "  optimizer: {adam: {epsilon: 1e-5}}\n"])
def test_a_path_without_the_name_of_a_layer_or_an_optimizer_is_refused_with_the_path_that_works(
    text: str, optimizer: str
) -> None:
    config = CONFIG + (optimizer or "  optimizer: {adam: {}}\n")
    with pytest.raises(ConfigError, match="; the path is ") as caught:
        checked(text, config=config)
    path = str(caught.value).rpartition("; the path is ")[2]
    assert checked(f"{path}={text.partition('=')[2]}", config=config)


def test_a_field_of_an_optimizer_that_the_config_leaves_out_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(ConfigError, match=r"write optimizer: \{adam: \{learning_rate: 0.1\}\}$"):
        checked("train.optimizer.learning_rate=0.1")
