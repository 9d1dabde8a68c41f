"""One process that starts all others of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as started:
        yield started
