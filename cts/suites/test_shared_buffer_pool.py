"""Buffer pools that processes share: the storage and what is checked of it, and one set of buffers for all handles."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cts.support import Files, finish
from proactor_trio.proactor import (
    Aborted,
    Access,
    ClosedResourceError,
    FailedPrecondition,
    FileRead,
    Proactor,
    ResourceExhausted,
    SharedBufferPool,
    SharedLease,
    Slab,
    StatusCode,
    Synchronization,
    register_slab,
    shared_pool_storage_size,
    status_of,
)
from proactor_trio.proactor.memory import slot_words
from proactor_trio.proactor.memory.slot_words import HAS_ATOMICS
from tests.proactor.shared_pool_worker import BUFFER_BYTES, Arena

COUNT = 16


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena(COUNT) as arena:
        yield arena


@pytest.fixture(params=list(Synchronization), ids=lambda way: way.name.lower())
def synchronization(request: pytest.FixtureRequest) -> Synchronization:
    way: Synchronization = request.param
    if way is Synchronization.ATOMICS and not HAS_ATOMICS:
        pytest.skip("this installation has no compiled helper")
    return way


@pytest.fixture
def pool(arena: Arena, synchronization: Synchronization) -> Iterator[SharedBufferPool]:
    with arena.create(synchronization) as pool:
        yield pool


@pytest.fixture
def other(arena: Arena, pool: SharedBufferPool) -> Iterator[SharedBufferPool]:
    """Another handle of the same pool, with mappings of its own, as another process would have them."""
    with Arena(COUNT, arena.descriptor) as mapped, mapped.open() as other:
        yield other


# Storage -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SharedBufferPoolTest.StorageSizeMonotonic")
def test_more_buffers_need_more_storage() -> None:
    sizes = [shared_pool_storage_size(count) for count in (1, 2, 64, 1000, 65534)]
    assert sizes == sorted(set(sizes))


@pytest.mark.reference("SharedBufferPoolTest.StorageSizePerSlotCost")
def test_each_buffer_needs_eight_bytes() -> None:
    """(4 there; here owner and epoch stand beside)."""
    assert shared_pool_storage_size(65) - shared_pool_storage_size(64) == 8 and shared_pool_storage_size(1) == 64 + 8


@pytest.mark.parametrize("count", [0, -1])
def test_a_pool_of_nothing_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="buffer_count"):
        shared_pool_storage_size(count)


@pytest.mark.reference("SharedBufferPoolTest.CreateAndFree")
def test_a_new_pool_has_all_buffers(pool: SharedBufferPool) -> None:
    assert (pool.available, pool.capacity, pool.buffer_size) == (COUNT, COUNT, BUFFER_BYTES)


@pytest.mark.reference("SharedBufferPoolTest.OpenValidatesMagic")
def test_storage_without_a_pool_is_refused(arena: Arena) -> None:
    with pytest.raises(ValueError, match="no pool was created in it") as refused:
        arena.open()
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("SharedBufferPoolTest.OpenValidatesVersionMismatch")
def test_a_pool_of_another_version_is_refused(arena: Arena) -> None:
    arena.create().close()
    arena.storage[12:16] = struct.pack("<I", 99)
    with pytest.raises(ValueError, match="version 99") as refused:
        arena.open()
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("SharedBufferPoolTest.OpenValidatesBufferSizeMismatch")
def test_buffers_of_another_size_are_refused(arena: Arena) -> None:
    arena.create().close()
    with Slab.allocate(BUFFER_BYTES * 2, COUNT) as slab, pytest.raises(ValueError, match="buffer_size 64") as refused:
        SharedBufferPool.open(arena.storage, slab)
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


def test_another_number_of_buffers_is_refused(arena: Arena) -> None:
    arena.create().close()
    with Slab.allocate(BUFFER_BYTES, COUNT - 1) as slab, pytest.raises(ValueError, match="buffer_count 16"):
        SharedBufferPool.open(arena.storage, slab)


@pytest.mark.reference("SharedBufferPoolTest.OpenValidatesMemoryTooSmall")
def test_storage_that_is_too_small_is_refused(arena: Arena) -> None:
    small = memoryview(arena.storage)[:-1]
    for make in (SharedBufferPool.create, SharedBufferPool.open):
        with pytest.raises(ValueError, match="storage: 16 buffers need 192 bytes, and it has 191"):
            make(small, arena.slab)
    small.release()


def test_storage_that_is_not_aligned_is_refused(arena: Arena) -> None:
    memory = bytearray(shared_pool_storage_size(COUNT) + 16)
    with pytest.raises(ValueError, match="multiple of 8"):
        SharedBufferPool.create(memoryview(memory)[1:], arena.slab)


def test_read_only_storage_is_refused(arena: Arena) -> None:
    with pytest.raises(TypeError, match="storage must be writable"):
        SharedBufferPool.create(bytes(1024), arena.slab)


def test_a_file_lock_needs_a_file(arena: Arena) -> None:
    with pytest.raises(ValueError, match="lock_descriptor"):
        SharedBufferPool.create(arena.storage, arena.slab, synchronization=Synchronization.FILE_LOCK)


def test_who_has_no_atomics_does_not_take_part_in_a_pool_that_uses_them(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not HAS_ATOMICS:
        pytest.skip("this installation has no compiled helper")
    arena.create(Synchronization.ATOMICS).close()
    monkeypatch.setattr("proactor_trio.proactor.memory.shared_pool.HAS_ATOMICS", False)
    with pytest.raises(FailedPrecondition, match="no compiled helper"):
        arena.open()


def test_without_atomics_a_new_pool_uses_a_file_lock(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactor_trio.proactor.memory.shared_pool.HAS_ATOMICS", False)
    monkeypatch.setattr(slot_words, "HAS_ATOMICS", False)
    with arena.create() as pool, arena.open() as other, other.acquire():
        assert pool.synchronization is other.synchronization is Synchronization.FILE_LOCK
        assert pool.available == COUNT - 1


# One set of buffers --------------------------------------------------------------------------------------------------


@pytest.mark.reference("SharedBufferPoolTest.CreateThenOpen")
def test_who_opens_goes_the_way_of_the_creator(
    pool: SharedBufferPool, other: SharedBufferPool, synchronization: Synchronization
) -> None:
    assert pool.synchronization is other.synchronization is synchronization


@pytest.mark.reference("SharedBufferPoolTest.CrossHandleAcquireRelease")
def test_a_lease_of_one_handle_is_seen_by_the_other(pool: SharedBufferPool, other: SharedBufferPool) -> None:
    with pool.acquire(), other.acquire():
        assert (pool.available, other.available) == (COUNT - 2, COUNT - 2)
    assert (pool.available, other.available) == (COUNT, COUNT)


@pytest.mark.reference("SharedBufferPoolTest.ExhaustionVisibleAcrossHandles")
def test_a_pool_that_one_handle_has_emptied_is_empty_for_all(pool: SharedBufferPool, other: SharedBufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT)]
    with pytest.raises(ResourceExhausted):
        other.acquire()
    leases.pop().release()
    other.acquire().release()
    for lease in leases:
        lease.release()


@pytest.mark.reference("SharedBufferPoolTest.BufferDataCoherentAcrossMappings")
def test_what_one_handle_writes_the_other_reads(pool: SharedBufferPool, other: SharedBufferPool) -> None:
    with pool.acquire() as lease:
        lease.view[:5] = b"hello"
        start = lease.index * BUFFER_BYTES
        assert bytes(other.memory[start : start + 5]) == b"hello"


@pytest.mark.reference("SharedBufferPoolTest.NoDuplicateIndices")
def test_no_buffer_is_lent_twice(pool: SharedBufferPool, other: SharedBufferPool) -> None:
    leases = [handle.acquire() for _ in range(COUNT // 2) for handle in (pool, other)]
    assert {lease.index for lease in leases} == set(range(COUNT))
    for lease in leases:
        lease.release()


@pytest.mark.reference("SharedBufferPoolTest.ConcurrentAcquireRelease")
def test_threads_never_share_a_buffer(pool: SharedBufferPool, other: SharedBufferPool) -> None:
    """Four threads with two handles, a thousand leases each."""
    marks: list[int | None] = [None] * COUNT
    failures: list[BaseException] = []

    def hammer(handle: SharedBufferPool) -> None:
        try:
            for _ in range(1000):
                with acquire_somehow(handle) as lease:
                    assert marks[lease.index] is None
                    marks[lease.index] = threading.get_ident()
                    time.sleep(0)
                    assert marks[lease.index] == threading.get_ident()
                    marks[lease.index] = None
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=hammer, args=(handle,)) for handle in (pool, other, pool, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and sum(pool.epochs()) == 4000 and pool.available == COUNT


def acquire_somehow(pool: SharedBufferPool) -> SharedLease:
    while True:
        try:
            return pool.acquire()
        except ResourceExhausted:
            time.sleep(0)


# Leases --------------------------------------------------------------------------------------------------------------


def test_each_lease_of_a_buffer_has_the_next_epoch(pool: SharedBufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT - 1)]
    epochs = []
    for _ in range(3):
        with pool.acquire() as lease:
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3]
    for lease in leases:
        lease.release()


def test_giving_back_twice_is_giving_back_once(pool: SharedBufferPool) -> None:
    lease = pool.acquire()
    lease.release()
    with pool.acquire() as again:
        lease.release()
        assert again.index == lease.index and pool.available == COUNT - 1


def test_the_view_ends_with_the_lease(pool: SharedBufferPool) -> None:
    with pool.acquire() as lease:
        view = lease.view
    with pytest.raises(ValueError):
        view[0]


def test_a_slice_keeps_the_buffer_out_of_the_pool(pool: SharedBufferPool) -> None:
    lease = pool.acquire()
    part = lease.view[:1]
    with pytest.raises(BufferError):
        lease.release()
    assert pool.available == COUNT - 1
    part.release()
    lease.release()
    assert pool.available == COUNT


def test_a_dropped_lease_warns_and_its_buffer_comes_back(pool: SharedBufferPool) -> None:
    lease = pool.acquire()
    with pytest.warns(ResourceWarning, match="unreleased"):
        del lease
    assert pool.available == COUNT


def test_a_handle_with_leases_out_is_not_closed(pool: SharedBufferPool, other: SharedBufferPool) -> None:
    lease = other.acquire()
    with pytest.raises(FailedPrecondition, match="1 leases"):
        other.close()
    lease.release()


def test_the_pool_goes_on_when_its_creator_leaves(arena: Arena, synchronization: Synchronization) -> None:
    creator = arena.create(synchronization)
    with Arena(COUNT, arena.descriptor) as mapped, mapped.open() as other:
        creator.close()
        with other.acquire():
            assert other.available == COUNT - 1


def test_a_closed_handle_lends_nothing(arena: Arena) -> None:
    pool = arena.create()
    pool.close()
    pool.close()
    with pytest.raises(ClosedResourceError):
        pool.acquire()


def test_a_dropped_handle_warns(arena: Arena) -> None:
    pool = arena.create()
    with pytest.warns(ResourceWarning, match="unclosed <SharedBufferPool"):
        del pool


@pytest.mark.needs("files")
def test_the_leases_of_a_registered_pool_are_spans_of_its_region(
    proactor: Proactor, arena: Arena, files: Files
) -> None:
    with register_slab(proactor, arena.slab, Access.READ | Access.WRITE) as region:
        with SharedBufferPool.create(arena.storage, region, lock_descriptor=arena.descriptor) as pool:
            with pool.acquire() as lease:
                assert lease.span.region is region
                assert finish(proactor, FileRead(files.holding(b"data"), lease.span, 0)).result == 4
                assert bytes(lease.view[:4]) == b"data"


# Processes -----------------------------------------------------------------------------------------------------------


def in_child(call: Callable[[], None]) -> int:
    """Run it in a forked child; the child's number, when it has ended. The test fails if it did not end well."""
    child = os.fork()
    if not child:
        try:
            call()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0
    return child


def test_the_leases_of_a_dead_process_stay_until_they_are_reclaimed(pool: SharedBufferPool, arena: Arena) -> None:
    def take_and_die() -> None:
        for lease in [arena.open().acquire() for _ in range(3)]:
            assert not lease.released
            os._exit(0)

    child = in_child(take_and_die)
    assert pool.owners() == {child: 3} and pool.available == COUNT - 3
    assert pool.reclaim_by_owner(child) == 3
    assert pool.owners() == {} and pool.available == COUNT and pool.reclaimed == 3


def test_reclaiming_nothing_is_no_error(pool: SharedBufferPool) -> None:
    child = in_child(lambda: None)
    assert pool.reclaim_by_owner(child) == 0


def test_nothing_is_taken_from_the_living(pool: SharedBufferPool) -> None:
    with pool.acquire() as lease:
        with pytest.raises(FailedPrecondition, match=f"process {os.getpid()} is alive"):
            pool.reclaim_by_owner(os.getpid())
        assert not lease.released and pool.available == COUNT - 1


def test_a_later_process_of_the_same_number_is_not_the_owner(
    pool: SharedBufferPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of processes are used again. The starting time tells them apart."""
    pool._identity ^= 1  # as if this process had been started a moment earlier
    lease = pool.acquire()
    assert pool.reclaim_by_owner(os.getpid()) == 1
    with pytest.raises(Aborted, match="taken away"):
        lease.release()


def test_who_was_deprived_of_a_buffer_cannot_give_back_what_is_anothers(pool: SharedBufferPool) -> None:
    """The epoch tells the leases of a buffer apart."""
    pool._identity ^= 1
    late = pool.acquire()
    pool.reclaim_by_owner(os.getpid())
    pool._identity ^= 1
    with pool.acquire() as lease:
        assert lease.index == late.index
        with pytest.raises(Aborted):
            late.release()
        assert pool.available == COUNT - 1


def test_a_forked_child_cannot_use_what_it_inherits(pool: SharedBufferPool) -> None:
    lease = pool.acquire()

    def use() -> None:
        for call in (pool.acquire, lease.release):
            with pytest.raises(RuntimeError, match=r"inherited by fork"):
                call()
        pool.close()

    in_child(use)
    assert pool.available == COUNT - 1
    lease.release()


def test_a_child_that_ends_releases_nothing_of_its_parents(pool: SharedBufferPool) -> None:
    leases = [pool.acquire()]
    in_child(leases.clear)
    assert pool.available == COUNT - 1
    leases[0].release()
