"""The process that hostile files are given to: what hangs in it, or ends it, fails by itself and in time."""

import os
import time

import pytest

from tests.watched import Watched

PATIENCE = 0.5


def of_many_kinds(name: str) -> str:
    """One hangs, one dies, one is done."""
    if name == "hangs":
        time.sleep(3600)
    if name == "dies":
        os._exit(3)
    return name


def test_what_hangs_is_killed_what_dies_is_told_of_and_the_next_is_done():
    watched = Watched(of_many_kinds, PATIENCE)
    assert watched("first") == "first"
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"hangs.* took more than 0\.5 s"):
        watched("hangs")
    assert PATIENCE <= time.monotonic() - started < 30
    with pytest.raises(ChildProcessError, match=r"dies.* exit code 3"):
        watched("dies")
    assert watched("fine") == "fine"
    watched.end()
