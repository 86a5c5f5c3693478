"""The pytest fixture `redlockd_server`. pytest finds it by itself."""

from typing import Iterator

import pytest

from . import Server


@pytest.fixture(scope="session")
def _redlockd_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def redlockd_server(_redlockd_server: Server) -> Iterator[Server]:
    """A redlockd.testing.Server, which all tests of the run share. Locks stay from test to test: use different keys.
    After each test it is mended."""
    yield _redlockd_server
    _redlockd_server.mend()
