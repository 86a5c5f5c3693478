"""The fixture redlockd_server, as a user's test has it. Run with: pytest pytest_fixture.py"""

import pytest
import redlockd


def test_what_the_program_does_on_lost(redlockd_server):
    with redlockd.Client([redlockd_server.address]) as client:
        with pytest.raises(redlockd.LockLost):
            with client.lock("reports") as lock:
                redlockd_server.lose("reports")
                assert lock.lost.wait(10)


def test_the_next_test_has_the_same_server(redlockd_server):
    assert not redlockd_server.held("reports")
