"""What a message advises works: a program does it, and the message is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.remedies import FOR_PEOPLE, refused, remedies_of, tried

BAD = Path(__file__).parent / "bad"
NAMES = sorted(file.stem for file in BAD.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _beside_the_configs_and_without_prepared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    monkeypatch.setenv("TFDS_DATA_DIR", "no-such-folder")


@pytest.mark.parametrize("name", NAMES)
def test_every_remedy_of_a_bad_config_removes_its_message(name: str) -> None:
    text = (BAD / f"{name}.yaml").read_text()
    for problem in refused(text):
        for remedy, after in tried(text, problem):
            if after is None:
                assert FOR_PEOPLE.fullmatch(remedy) or name.startswith("sweep-"), f"who can do this? {problem}"
            else:
                assert (problem.path, problem.message) not in [(each.path, each.message) for each in after], (remedy, problem)


def test_most_kinds_of_bad_configs_get_a_remedy_that_a_program_can_apply() -> None:
    texts = [(BAD / f"{name}.yaml").read_text() for name in NAMES]
    applied = [[after for problem in refused(text) for _, after in tried(text, problem) if after is not None] for text in texts]
    assert sum(map(bool, applied)) > 80


def test_remedies_are_read_out_of_a_message_one_by_one() -> None:
    assert remedies_of("'x' is wrong; write loop: custom, or leave loop out") == ["write loop: custom", "leave loop out"]
    assert remedies_of("unknown field 'a'; known: b, c") == []
    assert remedies_of("there is a tab; write: - dense: {units: 3, name: a or b}") == [
        "write: - dense: {units: 3, name: a or b}"
    ]
