"""What all tests of one process share: one PostgreSQL server, and a memory that is not searched again and again."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a run of unit tests alone loads nothing of it
    from envtui.lab.postgres import Cluster


def pytest_collection_finish(session: pytest.Session) -> None:
    """The collector leaves alone what lives as long as the process does: thousands of tests and the modules.

    Textual makes some ten objects for each strip of the screen; with the usual threshold the collector took a third of
    the time of a test of a screen.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


_done = itertools.count(1)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What tests left open in circles is closed in time: the collector counts objects, the system descriptors (1024)."""
    if next(_done) % 20 == 0 or nextitem is None or nextitem.path != item.path:
        gc.collect()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """The server behind `cluster` in every module. Tests have databases of their own on it; whoever restarts it, crashes
    it or changes its settings starts one beside."""
    from tests.servers.postgres import running

    with running() as cluster:
        yield cluster
