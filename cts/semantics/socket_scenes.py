"""Fixtures of the suites about sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cts.semantics.support import LOOPBACK

Pair = tuple[Any, Any]


@pytest.fixture
async def pair(lib: Any) -> AsyncGenerator[Pair, None]:
    """Two connected Unix stream sockets."""
    near, far = lib.socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
async def tcp(lib: Any) -> AsyncGenerator[Pair, None]:
    """Two connected TCP sockets."""
    with lib.socket.socket() as listening:
        await listening.bind((LOOPBACK, 0))
        listening.listen()
        near = lib.socket.socket()
        await near.connect(listening.getsockname())
        far, _ = await listening.accept()
    with near, far:
        yield near, far


@pytest.fixture
async def listening(lib: Any) -> AsyncGenerator[Any, None]:
    """A listening TCP socket."""
    with lib.socket.socket() as sock:
        await sock.bind((LOOPBACK, 0))
        sock.listen()
        yield sock
