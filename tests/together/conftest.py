"""Two processes that each start one worker after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.nursery import Nursery


@pytest.fixture(scope="session")
def nurseries() -> Iterator[list[Nursery]]:
    with Nursery() as first, Nursery() as second:
        yield [first, second]
