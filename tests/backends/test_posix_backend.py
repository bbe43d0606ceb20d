"""The posix backend as a whole: what it takes, what it gives back, what it says of itself."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from proactor_trio.backends.contract import (
    Capability,
    Kind,
    Support,
)
from proactor_trio.backends.posix.backend import EpollBackend, PollBackend, PosixBackend
from tests.backends.posix_owner import (
    PATIENCE,
    Accept,
    Nop,
    Owner,
    Timer,
    receive,
    received,
)


@pytest.mark.parametrize("backend_class", [EpollBackend, PollBackend])
def test_descriptors_are_given_back(backend_class: type[PosixBackend]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    owner = Owner(backend_class)
    assert len(os.listdir("/proc/self/fd")) > before
    owner.backend.close()
    owner.backend.wake()  # too late, harmless
    assert len(os.listdir("/proc/self/fd")) == before


def test_undelivered_connections_are_closed(listener: socket.socket) -> None:
    owner = Owner(EpollBackend)
    operation = Accept(socket=listener)
    with socket.create_connection(listener.getsockname()) as client:
        owner.before_commit.append(KeyboardInterrupt())
        owner.start(operation)
        with pytest.raises(KeyboardInterrupt):
            owner.poll(PATIENCE)
        owner.backend.close()
        client.settimeout(PATIENCE)
        assert client.recv(1) == b""


def test_what_it_can_do() -> None:
    owner = Owner(EpollBackend, Capability.ALL & ~Capability.MULTISHOT)
    capabilities = owner.backend.capabilities
    assert set(capabilities) == set(Capability.ALL)
    assert capabilities[Capability.MULTISHOT].support is Support.EMULATED
    assert capabilities[Capability.MULTISHOT].reason.startswith("switched off by allowed_capabilities")
    assert owner.backend.native_multishot == frozenset()
    assert capabilities[Capability.LINKED_OPERATIONS].support is Support.EMULATED
    assert Kind.TIMER not in owner.backend.native_kinds
    assert owner.run(Timer()) == -errno.EOPNOTSUPP
    assert owner.backend.linkable([Nop(), Nop()]) == 0
    owner.backend.close()


def test_a_forked_child_leaves_the_parents_registrations(
    owner: Owner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    operation = receive(ours)
    owner.start(operation)
    owner.settle()
    child = os.fork()
    if child == 0:
        owner.backend.abandon()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    theirs.send(b"x")
    owner.finish(operation)
    assert received(operation) == b"x"
