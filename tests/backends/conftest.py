"""Fixtures for the tests of the posix backend alone; each test with `owner` runs on both event sets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from proactor_trio.backends.posix.backend import EpollBackend, PollBackend
from tests.backends.posix_owner import (
    PATIENCE,
    Owner,
)


@pytest.fixture(params=[EpollBackend, PollBackend], ids=["epoll", "poll"])
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    created = Owner(request.param)
    yield created
    for operation in list(created.in_flight.values()):
        created.backend.cancel(operation)
    end = time.monotonic() + PATIENCE
    while created.in_flight and time.monotonic() < end:
        created.poll(0.1)
    created.backend.close()
    assert not created.in_flight


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _address = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as created:
        created.setblocking(False)
        yield created
