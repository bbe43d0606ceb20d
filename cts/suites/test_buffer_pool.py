"""Buffer pools: buffers of a region are lent one at a time, and nobody ever reads another's."""

from __future__ import annotations

import array
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cts.support import Completions, Files, finish, pattern
from proactor_trio.proactor import (
    Access,
    AlreadyExists,
    BufferPool,
    ClosedResourceError,
    FailedPrecondition,
    FileRead,
    FileWrite,
    OperationState,
    Proactor,
    Region,
    ResourceExhausted,
    Slab,
    SlabSource,
    StatusCode,
    register_buffer,
    register_slab,
    status_of,
)

pytestmark = pytest.mark.needs("registered_buffers")

BOTH = Access.READ | Access.WRITE
BUFFER_BYTES = 4096
COUNT = 8


@pytest.fixture
def slab() -> Iterator[Slab]:
    with Slab.allocate(BUFFER_BYTES, COUNT) as slab:
        yield slab


@pytest.fixture
def region(proactor: Proactor, slab: Slab) -> Iterator[Region]:
    with register_slab(proactor, slab, BOTH) as region:
        yield region


@pytest.fixture
def pool(region: Region) -> Iterator[BufferPool]:
    with BufferPool(region) as pool:
        yield pool


# Making and ending ---------------------------------------------------------------------------------------------------


@pytest.mark.reference("BufferPoolTest.CreateAndFree")
def test_a_new_pool_has_all_buffers(pool: BufferPool) -> None:
    assert (pool.available, pool.capacity, pool.buffer_size) == (COUNT, COUNT, BUFFER_BYTES)


@pytest.mark.reference("BufferPoolTest.FreeNullIsNoOp")
def test_closing_twice_is_closing_once(region: Region) -> None:
    pool = BufferPool(region)
    pool.close()
    pool.close()


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.reference("BufferPoolTest.ZeroBufferSizeRejected")
def test_buffers_without_bytes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="buffer_size") as refused:
        Slab.allocate(size, COUNT)
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("BufferPoolTest.ZeroBufferCountRejected")
def test_no_buffers_are_refused() -> None:
    with pytest.raises(ValueError, match="buffer_count") as refused:
        Slab.allocate(BUFFER_BYTES, 0)
    assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


@pytest.mark.reference("BufferPoolTest.NonPowerOfTwoCount")
def test_any_number_of_buffers_can_be_lent_for_reading(proactor: Proactor) -> None:
    with Slab.allocate(64, 3) as slab, register_slab(proactor, slab, Access.READ) as region, BufferPool(region) as pool:
        leases = [pool.acquire() for _ in range(3)]
        assert sorted(lease.index for lease in leases) == [0, 1, 2]
        for lease in leases:
            lease.release()


def test_a_region_that_is_not_divided_has_no_pool(proactor: Proactor) -> None:
    with register_buffer(proactor, bytearray(64), BOTH) as region:
        with pytest.raises(ValueError, match="register_slab"):
            BufferPool(region)


def test_a_pool_of_more_than_65534_buffers_is_refused(proactor: Proactor) -> None:
    with Slab.allocate(1, 65535) as slab, register_slab(proactor, slab, Access.READ) as region:
        with pytest.raises(ValueError, match="65534"):
            BufferPool(region)


def test_a_region_has_one_pool(region: Region, pool: BufferPool) -> None:
    with pytest.raises(AlreadyExists):
        BufferPool(region)


def test_the_next_pool_of_a_region_begins_with_all_buffers(region: Region) -> None:
    for _ in range(2):
        with BufferPool(region) as pool, pool.acquire():
            assert pool.available == COUNT - 1


def test_a_pool_with_leases_out_is_not_closed_and_goes_on(pool: BufferPool) -> None:
    lease = pool.acquire()
    with pytest.raises(FailedPrecondition, match="1 leases"):
        pool.close()
    lease.release()
    pool.acquire().release()


def test_a_closed_pool_lends_nothing(region: Region) -> None:
    pool = BufferPool(region)
    pool.close()
    with pytest.raises(ClosedResourceError):
        pool.acquire()


def test_a_region_with_an_open_pool_is_not_closed(region: Region, pool: BufferPool) -> None:
    with pytest.raises(FailedPrecondition, match="close the pool first"):
        region.close()


def test_a_slab_with_a_region_is_not_closed(slab: Slab, region: Region) -> None:
    with pytest.raises(FailedPrecondition, match="1 open regions"):
        slab.close()


@pytest.mark.reference("BufferPoolTest.SlabSourceIsNumaAlloc")
def test_the_source_of_an_allocated_slab_is_told(slab: Slab) -> None:
    assert slab.source is SlabSource.ALLOCATED


@pytest.mark.reference("BufferPoolTest.SlabWrapExternalMemory")
def test_a_pool_over_the_callers_memory_lends_it(proactor: Proactor) -> None:
    memory = bytearray(256)
    with Slab.wrap(memory, 64, 4) as slab, register_slab(proactor, slab, BOTH) as region, BufferPool(region) as pool:
        with pool.acquire() as lease:
            lease.view[0] = 7
            assert memory[lease.index * 64] == 7


# Lending -------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("BufferPoolTest.AcquireAndRelease")
def test_a_buffer_comes_back(pool: BufferPool) -> None:
    lease = pool.acquire()
    assert pool.available == COUNT - 1
    lease.release()
    assert pool.available == COUNT


@pytest.mark.reference("BufferPoolTest.AcquireAllAndReleaseAll")
def test_all_buffers_can_be_out_at_a_time_and_come_back(pool: BufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT)]
    assert pool.available == 0
    for lease in leases:
        lease.release()
    assert pool.available == COUNT


@pytest.mark.reference("BufferPoolTest.ResourceExhaustion")
def test_an_empty_pool_refuses_at_once(pool: BufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT)]
    with pytest.raises(ResourceExhausted) as refusal:
        pool.acquire()
    assert refusal.value.status is StatusCode.RESOURCE_EXHAUSTED
    for lease in leases:
        lease.release()


@pytest.mark.reference("BufferPoolTest.BufferMemoryAccessible")
def test_the_memory_of_a_lease_can_be_used(pool: BufferPool) -> None:
    with pool.acquire() as lease:
        lease.view[:] = pattern(BUFFER_BYTES)
        assert bytes(lease.view) == pattern(BUFFER_BYTES)


@pytest.mark.reference("BufferPoolTest.BuffersAreDisjoint")
def test_leases_do_not_overlap(pool: BufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT)]
    for number, lease in enumerate(leases):
        lease.view[:] = bytes([number]) * BUFFER_BYTES
    assert [set(lease.view) for lease in leases] == [{number} for number in range(COUNT)]
    for lease in leases:
        lease.release()


@pytest.mark.reference("BufferPoolTest.LeaseHasValidRegion")
def test_a_lease_names_its_region(region: Region, pool: BufferPool) -> None:
    with pool.acquire() as lease:
        assert lease.region is region
        assert lease.span.region is region
        assert (lease.span.offset, lease.span.length) == (lease.index * BUFFER_BYTES, BUFFER_BYTES)


@pytest.mark.reference("BufferPoolTest.LeaseIndicesValid")
def test_each_lease_has_another_index(pool: BufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT)]
    assert {lease.index for lease in leases} == set(range(COUNT))
    for lease in leases:
        lease.release()


def test_the_buffer_that_came_back_last_is_lent_first(pool: BufferPool) -> None:
    first, second = pool.acquire(), pool.acquire()
    second.release()
    first.release()
    with pool.acquire() as lease:
        assert lease.index == first.index


# Giving back ---------------------------------------------------------------------------------------------------------


@pytest.mark.reference("BufferRegistrationTest.LeaseDoubleReleaseIsIdempotent")
def test_giving_back_twice_is_giving_back_once(pool: BufferPool) -> None:
    lease = pool.acquire()
    lease.release()
    other = pool.acquire()
    lease.release()
    assert pool.available == COUNT - 1 and lease.released and not other.released
    other.release()


def test_the_view_of_a_lease_ends_with_it(pool: BufferPool) -> None:
    lease = pool.acquire()
    view = lease.view
    lease.release()
    with pytest.raises(ValueError):
        view[0]
    with pytest.raises(ValueError):
        lease.view[0]


def test_a_lease_whose_view_nobody_had_has_none_afterwards(pool: BufferPool) -> None:
    lease = pool.acquire()
    lease.release()
    with pytest.raises(ValueError, match="released"):
        _ = lease.view


@pytest.mark.needs("files")
def test_the_span_of_a_released_lease_cannot_be_used(proactor: Proactor, pool: BufferPool, files: Files) -> None:
    with pool.acquire() as lease:
        span = lease.span
    with pytest.raises(ValueError):
        proactor.submit(FileRead(files.holding(b"data"), span, 0))


def test_a_slice_keeps_the_buffer_out_of_the_pool(pool: BufferPool) -> None:
    lease = pool.acquire()
    part = lease.view[:4]
    with pytest.raises(BufferError, match="slices"):
        lease.release()
    assert pool.available == COUNT - 1 and not lease.released
    part.release()
    lease.release()
    assert pool.available == COUNT


def test_a_refused_release_leaves_a_usable_lease(pool: BufferPool) -> None:
    lease = pool.acquire()
    part = lease.view[:4]
    with pytest.raises(BufferError):
        lease.release()
    lease.view[:4] = b"abcd"
    assert bytes(part) == b"abcd"
    part.release()
    lease.release()


def test_an_object_made_from_the_view_keeps_the_buffer_out_of_the_pool(pool: BufferPool) -> None:
    lease = pool.acquire()
    holder = pickle.PickleBuffer(lease.view)
    with pytest.raises(BufferError, match="made from its view"):
        lease.release()
    lease.view[0] = 1
    holder.release()
    lease.release()


def test_leaving_the_block_gives_back_and_names_slices_that_remain(pool: BufferPool) -> None:
    with pytest.raises(BufferError):
        with pool.acquire() as lease:
            part = lease.view[1:]
    part.release()
    lease.release()


def test_leaving_the_block_by_an_exception_does_not_hide_it(pool: BufferPool) -> None:
    with pytest.raises(LookupError):
        with pool.acquire() as lease:
            part = lease.view[1:]
            raise LookupError
    part.release()
    lease.release()


def test_leaving_the_blocks_of_everything_by_an_exception_does_not_hide_it(proactor: Proactor) -> None:
    with pytest.raises(LookupError):
        with Slab.allocate(64, 4) as slab, register_slab(proactor, slab, BOTH) as region, BufferPool(region) as pool:
            lease = pool.acquire()
            raise LookupError
    for release in (lease.release, pool.close, region.close, slab.close):
        release()


def test_a_dropped_lease_warns_and_its_buffer_comes_back(pool: BufferPool) -> None:
    lease = pool.acquire()
    with pytest.warns(ResourceWarning, match="unreleased"):
        del lease
    assert pool.available == COUNT


def test_the_buffer_of_a_dropped_lease_comes_back_when_its_last_slice_is_gone(pool: BufferPool) -> None:
    leases = [pool.acquire() for _ in range(COUNT)]
    part = leases[0].view[:4]
    with pytest.warns(ResourceWarning, match="unreleased"):
        leases[0] = leases[1]
    with pytest.raises(ResourceExhausted):
        pool.acquire()
    part.release()
    leases[0] = pool.acquire()
    for lease in leases:
        lease.release()


def test_a_dropped_pool_warns(region: Region) -> None:
    pool = BufferPool(region)
    with pytest.warns(ResourceWarning, match="unclosed <BufferPool"):
        del pool
    BufferPool(region).close()


# With operations -----------------------------------------------------------------------------------------------------


@pytest.mark.needs("files")
def test_leases_are_read_and_written_by_operations(proactor: Proactor, pool: BufferPool, files: Files) -> None:
    file = files.holding()
    with pool.acquire() as source, pool.acquire() as target:
        source.view[:] = pattern(BUFFER_BYTES)
        assert finish(proactor, FileWrite(file, source.span, 0)).result == BUFFER_BYTES
        assert finish(proactor, FileRead(file, target.span, 0)).result == BUFFER_BYTES
        assert bytes(target.view) == pattern(BUFFER_BYTES)


@pytest.mark.needs("files")
def test_a_part_of_a_lease_is_a_span_of_its_own(proactor: Proactor, pool: BufferPool, files: Files) -> None:
    with pool.acquire() as lease:
        assert finish(proactor, FileRead(files.holding(b"0123456789"), lease.span_of(100, 4), 2)).result == 4
        assert bytes(lease.view[100:104]) == b"2345"


@pytest.mark.needs("files")
def test_a_lease_in_flight_cannot_be_given_back(
    proactor: Proactor, pool: BufferPool, files: Files, completions: Completions
) -> None:
    lease = pool.acquire()
    read = FileRead(files.holding(b"data"), lease.span, 0, completions)
    proactor.submit(read)
    with pytest.raises(BufferError, match="in flight"):
        lease.release()
    while read.state is not OperationState.DONE:
        proactor.poll(1)
    lease.release()


@pytest.mark.needs("files")
def test_a_lease_can_be_given_back_in_the_completion_function(
    proactor: Proactor, pool: BufferPool, files: Files
) -> None:
    lease = pool.acquire()
    finish(proactor, FileRead(files.holding(b"data"), lease.span, 0, lambda operation, flags: lease.release()))
    assert lease.released


# Threads -------------------------------------------------------------------------------------------------------------


def run_threads(call: Callable[[], None], count: int = 4) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_never_share_a_buffer(pool: BufferPool) -> None:
    """Reference: thread-safety of acquire and release. Each buffer bears the mark of at most one thread."""
    marks: list[int | None] = [None] * COUNT

    def hammer() -> None:
        own = threading.get_ident()
        for _ in range(2000):
            try:
                lease = pool.acquire()
            except ResourceExhausted:
                time.sleep(0)
                continue
            assert marks[lease.index] is None
            marks[lease.index] = own
            lease.view[:8] = own.to_bytes(8, "little")
            assert bytes(lease.view[:8]) == own.to_bytes(8, "little")
            marks[lease.index] = None
            lease.release()

    run_threads(hammer)
    assert pool.available == COUNT


@pytest.mark.regression("lease-threads")
def test_of_threads_that_give_back_one_lease_one_does(pool: BufferPool) -> None:
    for _ in range(200):
        lease = pool.acquire()
        barrier = threading.Barrier(3)

        def release(lease: Any = lease, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            lease.release()

        run_threads(release, 3)
        assert pool.available == COUNT


# Waiting for a buffer ------------------------------------------------------------------------------------------------


def test_who_waits_is_told_when_a_buffer_comes_back(pool: BufferPool) -> None:
    told: list[str] = []
    leases = [pool.acquire() for _ in range(COUNT)]
    pool.when_free(lambda: told.append("free"))
    assert told == []
    leases.pop().release()
    assert told == ["free"]
    for lease in leases:
        lease.release()
    assert told == ["free"]


def test_who_waits_while_buffers_are_free_is_told_at_once(pool: BufferPool) -> None:
    told: list[str] = []
    pool.when_free(lambda: told.append("free"))
    assert told == ["free"]


def test_who_asks_again_while_being_told_waits_for_the_next_buffer(pool: BufferPool) -> None:
    told: list[int] = []
    leases = [pool.acquire() for _ in range(COUNT)]

    def try_again() -> None:
        told.append(pool.available)
        leases.append(pool.acquire())
        pool.when_free(try_again)

    pool.when_free(try_again)
    leases.pop(0).release()
    assert told == [1]
    leases.pop(0).release()
    assert told == [1, 1]
    pool._waiting.clear()
    for lease in leases:
        lease.release()


# Feeding receives ----------------------------------------------------------------------------------------------------


def test_a_pool_that_feeds_receives_lends_nothing_else(pool: BufferPool) -> None:
    pool.feed_receives()
    with pytest.raises(FailedPrecondition, match="feeds receives"):
        pool.acquire()
    assert pool.available == COUNT


def test_a_pool_that_feeds_receives_can_be_closed_and_made_anew(proactor: Proactor, region: Region) -> None:
    for _ in range(3):
        with BufferPool(region) as pool:
            group = pool.feed_receives()
            assert group is pool.feed_receives()
            proactor.poll(0)
            assert pool.available == COUNT


def test_the_kernel_gets_the_free_buffers_before_it_is_entered(proactor: Proactor, region: Region) -> None:
    """Where it has rings of receive buffers. One that was leased before comes when it is given back, by any thread."""
    with BufferPool(region) as pool:
        lease = pool.acquire()
        group = pool.feed_receives()
        if group is None:
            lease.release()
            return
        proactor.wake()
        proactor.poll(1)
        assert group.in_kernel == COUNT - 1
        run_threads(lease.release, 1)
        proactor.wake()
        proactor.poll(1)
        assert (group.in_kernel, pool.available) == (COUNT, COUNT)


def test_a_buffer_that_the_kernel_has_filled_becomes_a_lease_once(proactor: Proactor, region: Region) -> None:
    with BufferPool(region) as pool:
        if pool.feed_receives() is None:
            return
        proactor.wake()
        proactor.poll(1)
        lease = pool.unfilled_lease()
        for _ in range(2):
            pool.fill_received(lease, 3)
        assert (lease.index, pool.available) == (3, COUNT - 1)
        lease.release()


def test_a_receive_without_a_ring_takes_free_buffers(pool: BufferPool) -> None:
    if pool.feed_receives() is not None:
        return
    leases = [pool.unfilled_lease() for _ in range(COUNT + 1)]
    for lease in leases[:COUNT]:
        pool.fill_free(lease)
    with pytest.raises(ResourceExhausted):
        pool.fill_free(leases[COUNT])
    for lease in leases[:COUNT]:
        lease.release()


def test_numbers_come_from_arrays_too(pool: BufferPool) -> None:
    """What has no bytes for items can be copied through the view of a lease."""
    with pool.acquire() as lease:
        numbers = array.array("d", [1.5, 2.5])
        lease.view[:16] = memoryview(numbers).cast("B")
        assert lease.span_of(0, 16).view().cast("d").tolist() == [1.5, 2.5]
