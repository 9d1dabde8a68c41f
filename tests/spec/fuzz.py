"""What the fuzz tests share: the judge of one config, hostile values, and how many cases are tried.

`CNNCTL_FUZZ=50 pytest -rP tests/spec/test_fuzz.py tests/spec/test_fuzz_schema.py` tries fifty times as many
cases as usual, by the same code, and prints how many were accepted and refused. Every case comes from a fixed
seed, so that a failure comes again; its message holds the config.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from pydantic import ValidationError

from cnnctl import cli
from cnnctl.commands.summary import summary
from cnnctl.errors import ConfigError, Problem
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.spec.dataset import Augment, DataSpec, Erase
from cnnctl.spec.document import Document, dump, read_document
from cnnctl.spec.experiment import METHOD, Experiment, FewShotSpec, LogSpec, ModelSpec
from cnnctl.spec.layers import STACK_ITEM
from cnnctl.spec.load import check
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
from cnnctl.spec.overrides import override
from cnnctl.spec.schema import json_schema
from cnnctl.spec.section import Named, Section
from cnnctl.spec.sweep import PRUNER, SweepSpec
from cnnctl.spec.training import LOSS, CheckpointSpec, EarlyStopping, ReduceOnPlateau, TrainSpec
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

SCALE = float(os.environ.get("CNNCTL_FUZZ", "1"))
HERE = Path(__file__).parent
CONFIGS = [
    *(file for file in sorted((HERE.parents[1] / "configs").glob("*.yaml")) if file.stem != "custom-layer"),
    *sorted(HERE.glob("everything*.yaml")),
]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
CONFIG = Path("x.yaml")

NAMED = (STACK_ITEM, OPTIMIZER, SCHEDULE, LOSS, METHOD, PRUNER, INITIALIZER, REGULARIZER, CONSTRAINT)


def _fields(named: Named, kind: str) -> dict[str, Any]:
    """Returns the schema of the fields of one choice; a bare name may also have none of them, `flatten: null`."""
    known = SCHEMA["$defs"][named.what]
    schema: dict[str, Any] = (known["anyOf"][1] if "anyOf" in known else known)["properties"][kind]
    return schema if "properties" in schema else schema["anyOf"][0]


SECTIONS: list[tuple[dict[str, Any], type[Section]]] = [
    *((_fields(named, kind), choice) for named in NAMED for kind, choice in named.choices.items()),
    *(
        (SCHEMA["$defs"][choice.__name__], choice)
        for choice in (
            *(DataSpec, ModelSpec, FewShotSpec, TrainSpec, LogSpec, Augment, Erase),
            *(EarlyStopping, ReduceOnPlateau, CheckpointSpec, SweepSpec),
        )
    ),
    (SCHEMA, Experiment),
]
"""Every section with its part of the schema."""

SURROGATE = "\ud800"
LONG = "long " * 2000
HUGE = 10**30
ZOO: list[Any] = [
    None, True, False, 0, 1, 2, 3, -1, 2**31 - 1, 2**31, 2**63, HUGE, -HUGE, 10**400, -0.0, 0.5, 1.0, 2.5, -0.5, 1e-300, 5e-324,
    1e308, math.nan, math.inf, -math.inf,
    "", " ", "x", "3", "0.5", "1e400", "nan", ".nan", "true", "null", "~", "-", "<<", "=", "*a", "&a", "!!int 3", "a: b", "#",
    "relu", "softmax", "same", "classes", "input", "test", "train", "train[:50%]", "auto", "few_shot", "group", "class", "drop",
    "0 epochs", "1 epochs", "0.000001 epochs", "123456789 epochs", "1e3 epochs", "-1 epochs", "2 epochs\n",
    "ünï", "数字", "\u202ex", "a\nb", "a\tb", "a\0b", "\x1b[31mred", "\x85", "\u2028", "\ufeff", SURROGATE, LONG,
    "~", "~nobody", "~a\0b", "..", "/dev/null", "no/such/folder", "images", "mnist:1.0.0", "mnist/..", ":", "/",
    [], {}, [[]], [{}], [None], [1], [1, 2], [2, 3], [1, 2, 3], [0, 1], [[1, 1], [2, 2]], [1, [2, 0]], [2**31 - 1] * 2, [HUGE, HUGE],
    ["a", "b"], ["a\nb"], [""], ["input"], ["input", "input"], [0.1, 0.2], [math.nan], [True, True], ["x"] * 300,
    {"x": 1}, {"": None}, {"a\nb": 1}, {SURROGATE: 1}, {"\x1b[31m": 1}, {"1": 1}, {LONG: 1}, {"a": {"b": {"c": []}}},
    "adam", {"adam": None}, {"adam": []}, {"sgd": {}, "adam": {}}, {"sgd": {"learning_rate": {"cosine": {}}}}, "cosine",
    {"sgd": {"learning_rate": {"exponential": {"initial_learning_rate": 0.1, "decay_rate": 0.5, "decay_steps": "0.1234567 epochs"}}}},
    {"constant": {"learning_rate": 0.1}}, {"maml": {"inner_steps": 2}}, "maml", "cosine_classifier", {"l2": {"l2": 0.1}}, "max_norm",
    "flatten", {"flatten": None}, {"flatten": {}}, {"flatten": []}, "conv2d", {"conv2d": {"filters": 2, "kernel_size": 3}},
    {"conv2d": {"filters": 2**31 - 1, "kernel_size": 2**31 - 1, "padding": "same"}}, {"dense": {"units": 2**31 - 1}},
    {"zero_padding2d": {"padding": 2**31 - 1}}, {"max_pooling2d": {"pool_size": 2**31 - 1, "padding": "same"}},
    {"add": {"inputs": ["input", "input"]}}, {"concatenate": {"inputs": ["input", "input"], "axis": HUGE}},
    {"batch_normalization": {"axis": -HUGE}}, {"dropout": {"rate": 0.5, "inputs": ["nowhere"]}}, {"dropout": {"rate": 0.5, "name": "input"}},
    {"dense": {"units": 3}, "flatten": None},
    {"repeat": {"times": 2, "layers": ["flatten"]}}, {"repeat": {"times": 0, "layers": []}},
    {"repeat": {"times": 1000, "layers": ["flatten"]}}, {"repeat": {"times": HUGE, "layers": ["flatten"]}},
    {"repeat": {"times": 1000, "layers": [{"repeat": {"times": 1000, "layers": ["flatten"]}}]}},
    {"repeat": {"times": 1000, "layers": [{"max_pooling2d": {"pool_size": 2**31 - 1, "padding": "same"}}]}},
    {"repeat": {"times": 1000, "layers": [{"conv2d": {"filters": 1, "kernel_size": 1, "inputs": ["nowhere"]}}]}},
    {"repeat": {"times": 50, "layers": [{"dropout": {"rate": 0.1, "name": "a"}}, {"concatenate": {"inputs": ["a", "a"]}}]}},
    {"repeat": {"times": 1000, "layers": [{"conv2d": {"filters": 1, "kernel_size": 3}}]}},
]  # fmt: skip
"""Values that stand for every kind of mistake and malice; each may replace any part of a config."""

NOT_FOR_PEOPLE = re.compile(r"object at|pydantic|Traceback|nput should|https?://|datetime\.|<class|\bdict_|Error\b|Exception\b")


class Tally(Counter[str]):
    """How many cases of each kind there were; printed so that `pytest -rP` shows it."""

    def close(self, *both: str) -> None:
        """Prints the counts; `both` kinds must have occurred, or the cases are of no use."""
        print(dict(self))
        assert min(self[kind] for kind in both) > 0, self


def go_to_a_folder_with_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a small set in `images`, and no other is prepared."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TFDS_DATA_DIR", "no-such-folder")
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True)
        Image.new("L", (6, 6)).save(folder / "images" / name / "1.png")


def times(count: int) -> int:
    """Returns how many cases are tried where `count` are usual."""
    return max(1, round(count * SCALE))


def judged(content: str | bytes, overrides: Sequence[str] = (), through_main: bool = False) -> str:
    """Returns whether `cnnctl summary` has `accepted` or `refused` a config, each as it should.

    Raises:
        AssertionError: it did anything else; the message holds the config.
    """
    CONFIG.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    try:
        refused = _refused(overrides)
        if refused:
            _holds_of_a_refusal(refused, overrides)
        else:
            _holds_of_what_is_accepted(overrides)
        if through_main:
            _main_agrees(refused, overrides)
    except Exception as error:
        raise AssertionError(f"{error!r}\n--set {overrides!r}\n{content!r}") from error
    return "refused" if refused else "accepted"


def _refused(overrides: Sequence[str]) -> ConfigError | None:
    """Returns the refusal of `cnnctl summary`, None where it prints its tables."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            summary(CONFIG, overrides, "table", 1, None, explain=True, check=False, console=Console(), verbose=False)
    except ConfigError as error:
        assert printed.getvalue() == ""
        return error
    assert "MACs per image" in printed.getvalue()
    assert_printable(printed.getvalue())
    return None


def assert_printable(text: str) -> None:
    assert [each for each in text if not each.isprintable() and each != "\n"] == []


def _holds_of_a_refusal(error: ConfigError, overrides: Sequence[str]) -> None:
    assert error.exit_code == 2
    assert error.problems
    for problem in error.problems:
        _is_placed(problem, overrides)
        _is_worded(problem)
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        Console().error(str(error))
    assert_printable(printed.getvalue())
    assert len(printed.getvalue()) < 200_000, "so much nobody reads"


def _is_a_mapping() -> bool:
    """Returns whether the file itself can be read, so that every problem has its line and column."""
    try:
        read_document(CONFIG)
    except ConfigError:
        return False
    return True


def _is_placed(problem: Problem, overrides: Sequence[str]) -> None:
    if problem.location.startswith("--set "):
        assert overrides
        return
    found = re.fullmatch(r"x\.yaml(?::(\d+):(\d+))?", problem.location)
    assert found, problem
    if not found[1]:
        assert not _is_a_mapping(), problem
    else:
        lines = len(CONFIG.read_bytes().decode().splitlines())
        assert 1 <= int(found[1]) <= lines + 1, problem
        assert int(found[2]) >= 1, problem


def _is_worded(problem: Problem) -> None:
    assert problem.message
    _, *others = str(problem).split("\n")
    assert not NOT_FOR_PEOPLE.search(problem.message), problem
    assert not others or re.match(r"    input +\(", others[0]), f"only a stack that does not fit has several lines: {problem}"


def _holds_of_what_is_accepted(overrides: Sequence[str]) -> None:
    document = _document(overrides)
    experiment = check(document)
    run = RunFolder(Path("run"))
    run.path.mkdir(exist_ok=True)
    run.write_config(experiment)
    written = read_document(run.config)
    for again in (check(written), check(written, look_at_data=False)):
        assert again == experiment
        assert again.network == experiment.network
    for content in (document.content, written.content):
        assert [each.message for each in VALIDATOR.iter_errors(content)] == [], "the schema refuses what the loader accepts"


def _document(overrides: Sequence[str]) -> Document:
    document = read_document(CONFIG)
    for text in overrides:
        override(document, text)
    return document


def _main_agrees(refused: ConfigError | None, overrides: Sequence[str]) -> None:
    """The command's own exit code and streams say the same."""
    code, out, err = _called("summary", str(CONFIG), *(part for text in overrides for part in ("--set", text)))
    assert code == (2 if refused else 0), err
    assert bool(out) == (not refused)
    assert any(not line.startswith("warning: ") for line in err.splitlines()) == bool(refused)
    assert_printable(err)


def _called(*arguments: str) -> tuple[object, str, str]:
    """Returns exit code, stdout and stderr of the command, called in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = None
    with (
        mock.patch.object(sys, "argv", ["cnnctl", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
    return code, _written(out), _written(err)


def _written(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def complaints(content: Any, section: type[Section] = Experiment) -> list[str]:
    """Return the messages for a section alone, with their fields."""
    try:
        section.model_validate(content)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
    return []


def as_yaml(content: Any) -> str:
    """Returns plain data as text of a config."""
    try:
        return dump(content)
    except RecursionError:  # JSON is YAML too, and its writer goes deeper
        return json.dumps(content)


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every (mapping or list, key) of a config."""
    pairs = list(content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ())
    for key, value in pairs:
        yield content, key
        yield from places(value)
