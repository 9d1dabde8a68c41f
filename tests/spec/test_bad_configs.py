"""Every bad config has its exact message: bad/NAME.yaml and bad/NAME.txt, written anew by pytest --update-golden."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnctl.errors import ConfigError
from cnnctl.spec.load import load

BAD = Path(__file__).parent / "bad"
NAMES = sorted(file.stem for file in BAD.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _beside_the_configs_and_without_prepared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    monkeypatch.setenv("TFDS_DATA_DIR", "no-such-folder")


def refused(name: str) -> ConfigError:
    with pytest.raises(ConfigError, match=re.escape(f"{name}.yaml")) as caught:
        load(Path(f"{name}.yaml"))
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_config_is_refused_with_exactly_this_message(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(BAD / f"{name}.txt", str(refused(name)))


@pytest.mark.parametrize("name", NAMES)
def test_problems_stand_in_the_order_of_the_file_each_at_a_character_of_it(name: str) -> None:
    lines = (BAD / f"{name}.yaml").read_text().split("\n")
    places = []
    for problem in refused(name).problems:
        file, *place = problem.location.split(":")
        assert file == f"{name}.yaml"
        if place:  # a file that is empty as a whole has none
            line, column = map(int, place)
            assert lines[line - 1][column - 1 :].strip(" "), f"{problem.location} is behind the end of its line"
            places.append((line, column))
    assert places == sorted(places)


def test_several_errors_in_one_file_are_all_told_at_once() -> None:
    assert [problem.path for problem in refused("several").problems] == [
        "seed",
        "data",
        "model.style",
        "model.layers[0].conv2d.kernel_size",
        "model.layers[1]",
        "model.layers[3].dense.kernel_regularizer.l2.l2",
        "train.epochs",
        "train.optimizer.adam.learning_rate",
        "train",
    ]


def test_no_message_has_a_config_that_is_gone() -> None:
    assert sorted(file.stem for file in BAD.glob("*.txt")) == NAMES
