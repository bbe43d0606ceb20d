"""Rules of memory, each of which was broken once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pickle import PickleBuffer
from typing import Any

import pytest

from cts.support import Sockets
from proactor_trio.proactor import (
    Access,
    FailedPrecondition,
    HugePages,
    OperationState,
    Proactor,
    Region,
    Send,
    SharedBufferPool,
    Slab,
    register_buffer,
    register_slab,
    shared_pool_storage_size,
)


@pytest.fixture
def slab() -> Iterator[Slab]:
    with Slab.allocate(64, 4) as made:
        yield made


@pytest.fixture
def pool(slab: Slab) -> Iterator[SharedBufferPool]:
    made = SharedBufferPool.create(bytearray(shared_pool_storage_size(4)), slab)
    yield made
    made.close()


# What refuses to close is open and whole ------------------------------------------------------------------------------


def test_a_slab_with_an_export_of_its_view_refuses_to_close(slab: Slab) -> None:
    """An array made from `slab.view` is such an export."""
    export = PickleBuffer(slab.view)
    with pytest.raises(BufferError, match="this slab cannot be closed"):
        slab.close()
    export.release()
    assert not slab.closed
    assert slab.buffer(3).nbytes == 64


def test_a_slab_that_is_closed_after_a_refusal_gives_its_memory_back(slab: Slab) -> None:
    export = PickleBuffer(slab.view)
    with pytest.raises(BufferError):
        slab.close()
    export.release()
    slab.close()
    assert slab._mapping is not None
    assert slab._mapping.closed


def test_a_region_that_refuses_to_close_is_as_it_was(proactor: Proactor) -> None:
    region = register_buffer(proactor, bytearray(4096), Access.READ | Access.WRITE)
    was_pinned = region.pinned
    export = PickleBuffer(region.view)
    with pytest.raises(BufferError, match="this region cannot be closed"):
        region.close()
    assert (region.closed, region.pinned) == (False, was_pinned)
    export.release()
    region.close()


def test_a_shared_pool_that_refuses_to_close_goes_on(pool: SharedBufferPool) -> None:
    export = PickleBuffer(pool.memory)
    with pytest.raises(BufferError, match="this pool cannot be closed"):
        pool.close()
    export.release()
    with pool.acquire() as lease:
        assert lease.view.nbytes == 64


# Interruptions --------------------------------------------------------------------------------------------------------


def test_a_lease_whose_release_was_interrupted_touches_no_storage_of_a_closed_pool(slab: Slab) -> None:
    """Its memory may be unmapped by then."""
    storage = bytearray(shared_pool_storage_size(4))
    pool = SharedBufferPool.create(storage, slab)
    lease = pool.acquire()
    lease._held = False  # as far as a release comes before it gives the slot back
    pool._outstanding -= 1
    pool.close()
    before = bytes(storage)
    del lease
    gc.collect()
    assert storage == before


def test_an_operation_that_was_never_submitted_does_not_keep_a_region_open(
    proactor: Proactor, slab: Slab, sockets: Sockets
) -> None:
    """A signal handler's exception may come between its preparation and its submission."""
    region = register_slab(proactor, slab, Access.READ)
    near, _ = sockets.pair("tcp")
    send = Send(near, region.buffer_span(0))
    send._prepare()
    assert send.state is OperationState.NEW
    assert region.users
    region.close()
    assert not region.users
    send._withdraw()


def test_an_operation_in_flight_keeps_a_region_open(proactor: Proactor, slab: Slab, sockets: Sockets) -> None:
    region = register_slab(proactor, slab, Access.READ)
    near, _ = sockets.pair("tcp")
    send = Send(near, region.buffer_span(0))
    proactor.submit(send)
    with pytest.raises(FailedPrecondition, match="1 operations are in flight"):
        region.close()
    while send.state is not OperationState.DONE:
        proactor.poll(timeout=1)
    region.close()


class _Interruption(BaseException):
    """What a signal handler raises."""


def test_a_registration_that_is_interrupted_behind_its_success_is_undone(
    proactor: Proactor, slab: Slab, monkeypatch: pytest.MonkeyPatch
) -> None:
    registrations: list[Any] = []
    register = proactor._backend.register_memory

    def register_and_be_interrupted(registration: Any, pieces: Any) -> None:
        register(registration, pieces)
        registrations.append(registration)
        raise _Interruption

    with monkeypatch.context() as patch:
        patch.setattr(proactor._backend, "register_memory", register_and_be_interrupted)
        with pytest.raises(_Interruption):
            register_slab(proactor, slab, Access.READ)
    assert [registration.slots for registration in registrations] == [()]
    assert not list(slab.regions)


def test_a_region_that_is_interrupted_before_it_is_open_leaves_no_pages_pinned(
    proactor: Proactor, slab: Slab, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Interrupting(set[Region]):
        def add(self, region: Region) -> None:
            super().add(region)
            registrations.append(region._registration)
            raise _Interruption

    registrations: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(slab, "regions", _Interrupting())
        with pytest.raises(_Interruption):
            register_slab(proactor, slab, Access.READ)
        assert not slab.regions
    assert [registration.slots for registration in registrations] == [()]


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("huge_pages", HugePages)
def test_more_memory_than_there_is_is_an_error_of_the_system(huge_pages: HugePages) -> None:
    with pytest.raises(OSError, match="Cannot allocate memory"):
        Slab.allocate(sys.maxsize, 1, huge_pages=huge_pages)
