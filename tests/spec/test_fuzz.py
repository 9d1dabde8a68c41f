"""Whatever a config says, `cnnctl summary` takes it or refuses it with a place: never a traceback, never a hang.

The cases are mutations of every example config, of its text and of its parsed tree, and `--set` texts; each comes
from a fixed seed. `CNNCTL_FUZZ=50` tries fifty times as many, see tests/spec/fuzz.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnctl.spec.document import dump, parse
from tests.spec.fuzz import CONFIGS, LONG, SURROGATE, ZOO, Tally, as_yaml, go_to_a_folder_with_images, judged, places, times

TEXTS = {file.stem: file.read_text() for file in CONFIGS}
CONTENTS = {name: parse(text, name).content for name, text in TEXTS.items()}


@pytest.fixture(autouse=True)
def _in_a_folder_with_images_and_without_prepared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_to_a_folder_with_images(tmp_path, monkeypatch)


# Changes of the text

PIECES = [
    "\t", " ", "\n", "\r", "\r\n", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "é", "数", SURROGATE,
    "&a ", "*a", "*unknown", "<<: *a\n", "<<: {x: 1}\n", "? ", ": ", "- ", ", ", "{", "}", "[", "]", "'", '"', "|\n", ">\n", "#", "@", "`", "%",
    "!", "!x ", "!!python/object:os.system x", "!!python/name:os.system ", "!!binary aGk=", "!!binary é", "!!set {}", "!!omap []",
    "!!timestamp x", "!!timestamp 2024-01-01", "!!float ''", "!!float x", "!!float 1:30", "!!bool x", "!!int ''", "!!int x", "!!null x", "!!str 3", "!!seq ",
    "!!map ", "!<x> ", "%YAML 1.2\n---\n", "%TAG ! x\n", "---\n", "...\n", "--- ", "9" * 50, "9" * 5000, "1e400", "-1", "0", ".nan", ".inf", "-.inf", "1_0", "٣", "1٣",
    "[" * 50, "[" * 2000, "{a: " * 100, "- " * 500, "null", "true", "''", '"\\ud800"', '"\\0"', '"\\x1b[31m"', '"a\\nb"', '"a\\nb": 1\n', '? [a]\n: b\n', "? {a: b}\n: c\n",
    "1: 2\n", "true: 1\n", "null: 1\n", ".nan: 1\n", "'': 1\n", LONG, "[*a, *a, *a, *a]",
    "~", "=", "2024-01-01", "0x1F", "1:30", "08", "yes",
]  # fmt: skip

TextChange = Callable[[Random, str], str]


def flip(random: Random, text: str) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + chr(random.choice([random.randrange(128), random.randrange(0x3000)])) + text[place + 1 :]


def delete(random: Random, text: str) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + text[place + random.randint(1, 8) :]


def insert(random: Random, text: str) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + random.choice(PIECES) + text[place:]


def insert_before_a_value(random: Random, text: str) -> str:
    ends = [place + 2 for place in range(len(text)) if text.startswith(": ", place)]
    place = random.choice(ends or [0])
    return text[:place] + random.choice(PIECES) + text[place:]


def replace_a_value(random: Random, text: str) -> str:
    return of_one_line(lambda line: f"{line.partition(':')[0]}: {random.choice(PIECES)}")(random, text)


def of_one_line(change: Callable[[str], str]) -> TextChange:
    def changed(random: Random, text: str) -> str:
        lines = text.split("\n")
        index = random.randrange(len(lines))
        return "\n".join([*lines[:index], change(lines[index]), *lines[index + 1 :]])

    return changed


def anchor_and_alias(random: Random, text: str) -> str:
    ends = [place + 2 for place in range(len(text)) if text.startswith(": ", place)] or [0]
    first, second = sorted(random.choices(ends, k=2))
    return text[:first] + "&a " + text[first:second] + "*a " + text[second:]


TEXT_CHANGES: list[TextChange] = [
    flip, delete, insert, insert, insert_before_a_value, insert_before_a_value, replace_a_value, anchor_and_alias,
    of_one_line(lambda line: f"{line}\n{line}"),
    of_one_line(lambda line: ""),
    of_one_line(lambda line: " " + line),
    of_one_line(lambda line: "\t" + line),
    of_one_line(lambda line: line[2:]),
    of_one_line(lambda line: line.replace("  ", "\t")),
    of_one_line(lambda line: "  " * 40 + line),
    of_one_line(lambda line: "- " + line),
    of_one_line(lambda line: line.replace(":", "")),
    lambda random, text: text[: random.randrange(len(text) + 1)],
    lambda random, text: text + random.choice(["---\n", "...\n", ""]) + text,
]  # fmt: skip


def as_bytes(random: Random, text: str) -> bytes:
    """Returns the text as a file, now and then in another encoding or with bytes that are no text."""
    plain = text.encode("utf-8", "surrogatepass")
    place = random.randrange(len(plain) + 1)
    ways = [
        b"\xef\xbb\xbf" + plain,
        text.encode("utf-16", "surrogatepass"),
        text.encode("utf-16-le", "surrogatepass"),
        plain[:place] + bytes([random.randrange(256)]) + plain[place + 1 :],
        plain.replace(b"\n", b"\r\n"),
        plain.replace(b"\n", b"\r"),
    ]
    return random.choice([*ways, *[plain] * 40])


def changed_text(random: Random, text: str) -> bytes:
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        text = random.choice(TEXT_CHANGES)(random, text)
    return as_bytes(random, text)


@pytest.mark.parametrize("name", TEXTS)
def test_a_config_whose_text_was_changed_is_taken_or_refused(name: str) -> None:
    tally = Tally([judged(TEXTS[name])])
    for case in range(times(10)):
        text = changed_text(Random(f"text {name} {case}"), TEXTS[name])
        tally[judged(text, through_main=case % 8 == 0)] += 1
    tally.close("accepted", "refused")


# Changes of the parsed tree

NEAR = [
    "name",
    "inputs",
    "units",
    "filters",
    "times",
    "layers",
    "seed",
    "rate",
    "axis",
    "kernel_size",
    "learning_rate",
    "validation",
]


def changed_tree(random: Random, content: Any) -> Any:
    """Returns a copy with one to three parts replaced, deleted, renamed, moved or made one more of."""
    content = copy.deepcopy(content)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        found = list(places(content))
        if found:
            where, key = random.choice(found)
            random.choice(TREE_CHANGES)(random, where, key, found)
    return content


def put_from_the_zoo(random: Random, where: Any, key: Any, found: Any) -> None:
    where[key] = copy.deepcopy(random.choice(ZOO))


def put_as_text(random: Random, where: Any, key: Any, found: Any) -> None:
    where[key] = str(where[key])


def put_into_a_list(random: Random, where: Any, key: Any, found: Any) -> None:
    where[key] = [where[key]] * random.randint(1, 3)


def put_into_a_mapping(random: Random, where: Any, key: Any, found: Any) -> None:
    where[key] = {random.choice([str(key), *NEAR]): where[key]}


def put_what_stands_elsewhere(random: Random, where: Any, key: Any, found: Any) -> None:
    other, other_key = random.choice(found)
    if other_key in other if isinstance(other, dict) else other_key < len(other):
        where[key] = copy.deepcopy(other[other_key])


def nest(random: Random, where: Any, key: Any, found: Any) -> None:
    for _ in range(random.choice([3, 30, 60, 90])):
        where[key] = random.choice([[where[key]], {"repeat": {"times": 1, "layers": [where[key]]}}])


def remove(random: Random, where: Any, key: Any, found: Any) -> None:
    del where[key]


def rename(random: Random, where: Any, key: Any, found: Any) -> None:
    if isinstance(where, dict):
        misspelt = [key[:1] + key[2:] if len(key) > 2 else key + "x", key.upper(), key + " "]
        odd = [random.choice(NEAR), random.choice(["", "a\nb", SURROGATE, LONG, "é"])]
        where[random.choice([*misspelt, *odd])] = where.pop(key)


def add(random: Random, where: Any, key: Any, found: Any) -> None:
    value = copy.deepcopy(random.choice(ZOO))
    if isinstance(where, dict):
        where[random.choice(NEAR)] = value
    else:
        where.insert(key, value)


def add_again(random: Random, where: Any, key: Any, found: Any) -> None:
    if isinstance(where, list):
        where[key:key] = [copy.deepcopy(where[key])] * random.choice([1, 2, 30])


TREE_CHANGES = [
    *[put_from_the_zoo] * 6, put_as_text, put_into_a_list, put_into_a_mapping, put_what_stands_elsewhere, nest, remove, remove,
    rename, rename, add, add, add_again,
]  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_a_config_whose_parts_were_changed_is_taken_or_refused(name: str) -> None:
    tally = Tally([judged(TEXTS[name])])
    for case in range(times(12)):
        content = changed_tree(Random(f"tree {name} {case}"), CONTENTS[name])
        tally[judged(as_yaml(content), through_main=case % 8 == 0)] += 1
    tally.close("accepted", "refused")


# --set

PATHS = [
    "", ".", "..", "=", "a..b", "[", "]", "[]", "[0]", "0", "-1", "train", "train.", ".train", "train.epochs", "train..epochs", "train epochs", " train.epochs ",
    "train.epochs.", "train[epochs]", "train.epochs.x", "train.epochs[0]", "train.optimizer.adam.learning_rate", "train.optimizer.sgd.momentum",
    "model", "model.layers", "model.layers.-1", "model.layers.99999999999", "model.layers.0", "model.layers[0", "model.layers.0.0", "model.layers.0.conv2d",
    "model.layers.0.conv2d.filters", "model.layers.0.name", "model.layers.1e3", "model.layers.٣", "model.layers." + "9" * 5000, "model.style", "data", "data.name", "data.path",
    "data.source", "data.classes", "data.image_size", "data.image_size.0", "few_shot.way", "few_shot.method.maml.inner_steps", "log.profile", "seed", "seed.x", "task",
    "a\nb", "train.a\nb", "\x1b[31m", "é", "数.字", "\ud800", "\udcff", "train.\udcff", LONG, "a." * 500 + "b", "__class__", "train.__class__", "<<", "*a", "&a",
]  # fmt: skip
USUAL = [
    "1",
    "2",
    "3",
    "8",
    "0.1",
    "0.5",
    "1e-3",
    "true",
    "false",
    "null",
    "",
    "same",
    "relu",
    "softmax",
    "test",
    "[8, 8]",
    "adam",
    "{sgd: {momentum: 0.9}}",
]


def as_setting(value: Any) -> str:
    """Returns a value as it would stand behind `--set path=`."""
    text = dump({"v": value}).strip()
    return text[4:-1] if text.startswith("{v: ") else text[2:].strip()


VALUES = [*PIECES, *map(as_setting, ZOO), " ", "=", "a=b", "[1", "{", "- 1\n- 2", "a: b\nc: d", "3 # three"]


def part_that_is_there(random: Random, content: Any) -> tuple[str, Any]:
    """Returns the path of some part, and the part."""
    path: list[str] = []
    while isinstance(content, dict | list) and content and (not path or random.random() < 0.9):
        key = random.choice(list(content) if isinstance(content, dict) else range(len(content)))
        path.append(str(key))
        content = content[key]
    return ".".join(path), content


def some_path(random: Random, content: Any) -> str:
    """Returns a path that is there, one near it, or a hostile one."""
    if random.random() < 0.3:
        return random.choice(PATHS)
    path = part_that_is_there(random, content)[0].split(".")
    if random.random() < 0.3:
        path.insert(random.randint(0, len(path)), random.choice([*NEAR, *PATHS]))
    return ".".join(path)


def near(random: Random, value: Any) -> str:
    """Returns a value of the same kind, for `--set`."""
    if isinstance(value, bool):
        return as_setting(not value)
    if isinstance(value, int | float):
        return as_setting(random.choice([value, value + 1, value - 1, value / 2]))
    return random.choice([as_setting(value), *USUAL])


def some_set(random: Random, content: Any) -> str:
    if random.random() < 0.5:
        path, value = part_that_is_there(random, content)
        return f"{path}={near(random, value)}"
    lead, equals = random.choice([*[""] * 8, " ", "--"]), random.choice([*["="] * 9, ""])
    return lead + some_path(random, content) + equals + random.choice(VALUES)


@pytest.mark.parametrize("name", CONTENTS)
def test_whatever_set_says_is_taken_or_refused(name: str) -> None:
    tally = Tally([judged(TEXTS[name])])
    for case in range(times(8)):
        random = Random(f"set {name} {case}")
        overrides = [some_set(random, CONTENTS[name]) for _ in range(random.choice([1, 1, 1, 2, 3]))]
        overrides = [text.replace("\0", "") for text in overrides]  # no argument of a process can hold it
        tally[judged(TEXTS[name], overrides, through_main=case % 4 == 0)] += 1
        tally["settings"] += len(overrides)
    tally.close("accepted", "refused")


# Anything at all

SETTINGS = settings(
    max_examples=times(60), derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
WORDS = st.sampled_from(
    [*"aA01.-_:[]{}'\"#&*!|>%@`~=, \n\t\\", "data", "model", "layers", "train", "source: digits", ": ", "\n- ", "\n  "]
)
TEXTS_AT_ALL = st.text(max_size=30) | st.lists(WORDS, max_size=30).map("".join)


@SETTINGS
@given(st.binary(max_size=40) | TEXTS_AT_ALL)
def test_any_file_at_all_is_refused(content: str | bytes) -> None:
    assert judged(content) == "refused"


@SETTINGS
@given(st.lists(st.tuples(TEXTS_AT_ALL, st.sampled_from(["=", ""]), TEXTS_AT_ALL).map("".join), min_size=1, max_size=2))
def test_any_set_at_all_is_taken_or_refused(overrides: list[str]) -> None:
    judged(TEXTS["quickstart"], [text.replace("\0", "") for text in overrides])


@pytest.mark.parametrize("path", ["seed", "data.train", "model.layers.0", "train.optimizer"])
def test_any_value_of_set_at_all_is_taken_or_refused(path: str) -> None:
    @SETTINGS
    @given(TEXTS_AT_ALL)
    def tried(value: str) -> None:
        judged(TEXTS["quickstart"], [f"{path}={value}".replace("\0", "")])

    tried()
