"""What is dropped without being closed warns, and is given back also where warnings are errors."""

from __future__ import annotations

import gc
import os
import socket as stdlib_socket
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from proactor_trio.proactor import Access, BufferPool, Event, File, Proactor, Slab, Socket, register_slab


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Warnings are errors; what finalizers raise is kept here."""
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: raised.append(type(caught.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield raised


def a_socket() -> tuple[Socket, int]:
    socket = Socket()
    return socket, socket.descriptor


def a_file() -> tuple[File, int]:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    return File(descriptor), descriptor


def an_event() -> tuple[Event, int]:
    event = Event()
    return event, event.fileno()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("make", [a_socket, a_file, an_event])
def test_its_descriptor_is_closed(make: Callable[[], tuple[object, int]], unraisable: list[object]) -> None:
    resource, descriptor = make()
    del resource
    assert (unraisable, is_open(descriptor)) == ([ResourceWarning], False)


def test_an_accepted_socket_that_is_dropped_ends_its_connection(unraisable: list[object]) -> None:
    near, far = stdlib_socket.socketpair()
    dropped = Socket.from_stdlib(near)
    del dropped
    with far:
        assert far.recv(1) == b""
    assert unraisable == [ResourceWarning]


def test_an_idle_proactor_frees_its_backend(unraisable: list[object]) -> None:
    proactor = Proactor("poll")
    descriptor = proactor.wakeup_descriptor()
    del proactor
    gc.collect()  # which may come to its sockets first, and then they warn too
    assert (set(unraisable), is_open(descriptor)) == ({ResourceWarning}, False)


def test_the_buffer_of_a_lease_comes_back(unraisable: list[object]) -> None:
    with Proactor("poll") as proactor, Slab.allocate(8, 1) as slab:
        with register_slab(proactor, slab, Access.READ) as region, BufferPool(region) as pool:
            lease = pool.acquire()
            del lease
            assert (unraisable, pool.available) == ([ResourceWarning], 1)
