"""Two processes that each start one worker after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fork_server import ForkServer


@pytest.fixture(scope="session")
def fork_servers(fork_server: ForkServer) -> Iterator[list[ForkServer]]:
    with ForkServer() as second:
        yield [fork_server, second]
