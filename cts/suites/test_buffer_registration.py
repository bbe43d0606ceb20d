"""Registered memory: what a proactor is told about memory, what is refused, and what stays alive how long."""

from __future__ import annotations

import gc
import mmap
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from cts.configurations import Configuration
from cts.support import Files, Sockets, finish, pattern, settle, start
from proactor_trio.proactor import (
    Access,
    AlreadyExists,
    BufferPool,
    Capability,
    ClosedResourceError,
    FailedPrecondition,
    FileRead,
    FileWrite,
    OperationCancelled,
    OperationFlags,
    Proactor,
    Region,
    RegistrationState,
    Slab,
    Span,
    StatusCode,
    Support,
    ThreadingMode,
    Timer,
    Unavailable,
    register_buffer,
    register_dmabuf,
    register_slab,
    status_of,
)

pytestmark = pytest.mark.needs("registered_buffers")

BOTH = Access.READ | Access.WRITE


def pins(proactor: Proactor) -> bool:
    """Whether its kernel has a table of buffers."""
    return proactor.capability_reports[Capability.REGISTERED_BUFFERS].support is Support.NATIVE


@pytest.fixture
def memfd() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 4 * mmap.PAGESIZE)
    yield descriptor
    os.close(descriptor)


# Memory of the caller ------------------------------------------------------------------------------------------------


@pytest.mark.reference("BufferRegistrationTest.RegisterHostBuffer")
def test_memory_of_the_caller_is_registered(proactor: Proactor) -> None:
    memory = bytearray(pattern(8192))
    with register_buffer(proactor, memory, BOTH) as region:
        assert (region.proactor, region.nbytes, region.access) == (proactor, 8192, BOTH)
        assert region.view == memory


@pytest.mark.reference("BufferRegistrationTest.RegisterMultipleBuffers")
def test_many_pieces_are_registered_side_by_side(proactor: Proactor) -> None:
    regions = [register_buffer(proactor, bytearray(4096), BOTH) for _ in range(5)]
    slots = [slot for region in regions for slot in region.slots]
    assert len(set(slots)) == len(slots) == (5 if pins(proactor) else 0)
    for region in regions:
        region.close()


def test_where_the_kernel_has_a_table_the_memory_is_pinned(proactor: Proactor) -> None:
    with register_buffer(proactor, bytearray(4096), BOTH) as region:
        assert region.pinned is pins(proactor)
        assert ("pinned" in region.reason) is region.pinned and region.reason


def test_without_the_capability_memory_is_registered_but_not_pinned(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.REGISTERED_BUFFERS)
    with register_buffer(proactor, bytearray(4096), BOTH) as region:
        assert not region.pinned and region.reason


def test_a_bytearray_cannot_be_resized_while_it_is_registered(proactor: Proactor) -> None:
    memory = bytearray(16)
    with register_buffer(proactor, memory, BOTH):
        with pytest.raises(BufferError):
            memory.append(1)
    memory.append(1)


@pytest.mark.parametrize(
    ("memory", "error"), [(b"", ValueError), (7, TypeError), (memoryview(b"abcd")[::2], TypeError)]
)
def test_what_is_no_memory_is_refused(proactor: Proactor, memory: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="memory"):
        register_buffer(proactor, memory, Access.READ)


def test_read_only_memory_cannot_be_registered_for_writing(proactor: Proactor) -> None:
    with pytest.raises(TypeError, match="read-only"):
        register_buffer(proactor, b"constant", Access.WRITE)
    register_buffer(proactor, b"constant", Access.READ).close()


@pytest.mark.parametrize(("access", "error"), [(Access(0), ValueError), (1, TypeError), (None, TypeError)])
def test_access_must_be_said(proactor: Proactor, access: Access, error: type[Exception]) -> None:
    with pytest.raises(error, match="access"):
        register_buffer(proactor, bytearray(1), access)


def test_a_place_in_the_table_is_used_again(proactor: Proactor) -> None:
    """More registrations one after the other than the table has places."""
    slots = set()
    for _ in range(20):
        with register_buffer(proactor, bytearray(64), BOTH) as region:
            slots.update(region.slots)
    assert len(slots) == (1 if pins(proactor) else 0)


# Slabs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("BufferRegistrationTest.RecvPoolConfiguration")
def test_a_slab_is_registered_as_a_receive_pool(proactor: Proactor) -> None:
    with Slab.allocate(2048, 16) as slab, register_slab(proactor, slab, Access.WRITE) as region:
        assert (region.buffer_size, region.buffer_count, region.slab) == (2048, 16, slab)
        with BufferPool(region) as pool:
            pool.check_for_receives(proactor)


@pytest.mark.parametrize("count", [3, 12, 65535])
@pytest.mark.reference("BufferRegistrationTest.RecvPoolRequiresPowerOfTwo")
def test_a_receive_pool_needs_a_power_of_two_of_buffers(proactor: Proactor, count: int) -> None:
    with Slab.allocate(16, count) as slab:
        with pytest.raises(ValueError, match="power of two") as refused:
            register_slab(proactor, slab, Access.WRITE)
        assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT


def test_a_receive_pool_has_at_most_32768_buffers(proactor: Proactor) -> None:
    with Slab.allocate(1, 32768) as slab:
        register_slab(proactor, slab, Access.WRITE).close()
    with Slab.allocate(1, 65536) as slab:
        with pytest.raises(ValueError):
            register_slab(proactor, slab, Access.WRITE)


def test_more_than_65535_buffers_are_refused(proactor: Proactor) -> None:
    with Slab.allocate(1, 65536) as slab:
        with pytest.raises(ValueError, match="65535"):
            register_slab(proactor, slab, Access.READ)


def test_a_receive_pool_recycles_its_buffers(proactor: Proactor) -> None:
    with Slab.allocate(64, 2) as slab, register_slab(proactor, slab, Access.WRITE) as region:
        with BufferPool(region) as pool:
            for _ in range(10):
                first, second = pool.acquire(), pool.acquire()
                assert {first.index, second.index} == {0, 1}
                first.release()
                second.release()


@pytest.mark.reference("BufferRegistrationTest.MultipleSendSlabRegistrations")
@pytest.mark.regression("one-read-slab")
def test_several_slabs_can_be_registered_for_reading(proactor: Proactor) -> None:
    with Slab.allocate(4096, 4) as one, Slab.allocate(4096, 4) as two:
        with register_slab(proactor, one, Access.READ) as first, register_slab(proactor, two, Access.READ) as second:
            assert not set(first.slots) & set(second.slots)


def test_a_slab_is_registered_once_with_a_proactor(proactor: Proactor, make_proactor: Callable[..., Proactor]) -> None:
    with Slab.allocate(4096, 4) as slab, register_slab(proactor, slab, Access.READ):
        with pytest.raises(AlreadyExists):
            register_slab(proactor, slab, Access.READ)
        register_slab(make_proactor(), slab, Access.READ).close()


@pytest.mark.reference("BufferRegistrationTest.RecvPoolRejectsReadOnlyRegion")
def test_a_receive_pool_must_be_writable(proactor: Proactor) -> None:
    with Slab.allocate(64, 4) as slab, register_slab(proactor, slab, Access.READ) as region, BufferPool(region) as pool:
        with pytest.raises(FailedPrecondition, match="WRITE") as refused:
            pool.check_for_receives(proactor)
        assert status_of(refused.value) is StatusCode.FAILED_PRECONDITION


def test_a_receive_pool_of_another_proactor_is_refused(
    proactor: Proactor, make_proactor: Callable[..., Proactor]
) -> None:
    with Slab.allocate(64, 4) as slab, register_slab(proactor, slab, BOTH) as region, BufferPool(region) as pool:
        with pytest.raises(ValueError, match="another proactor"):
            pool.check_for_receives(make_proactor())


def test_a_closed_slab_is_refused(proactor: Proactor) -> None:
    slab = Slab.allocate(64, 4)
    slab.close()
    with pytest.raises(ClosedResourceError):
        register_slab(proactor, slab, Access.READ)


# The registrations of one piece of memory ----------------------------------------------------------------------------


@pytest.mark.reference("BufferRegistrationTest.StateCleanupUnregistersAll")
def test_closing_the_state_closes_all_its_regions(make_proactor: Callable[..., Proactor]) -> None:
    one, two = make_proactor(), make_proactor()
    with RegistrationState(bytearray(64)) as state:
        regions = [state.register(one, BOTH), state.register(two, Access.READ)]
        assert [state.find(one), state.find(two)] == regions
    assert all(region.closed for region in regions) and state.find(one) is None


def test_a_proactor_is_in_the_state_once(proactor: Proactor) -> None:
    with RegistrationState(bytearray(64)) as state:
        state.register(proactor, BOTH)
        with pytest.raises(AlreadyExists):
            state.register(proactor, BOTH)


def test_a_slab_can_be_in_the_state(proactor: Proactor) -> None:
    with Slab.allocate(64, 4) as slab, RegistrationState(slab) as state:
        assert state.register(proactor, BOTH).slab is slab


@pytest.mark.needs("files")
@pytest.mark.reference("BufferRegistrationTest.RegionRetainedAfterStateCleanup")
def test_a_region_in_use_outlives_the_closing_of_its_state(
    proactor: Proactor, make_proactor: Callable[..., Proactor], sockets: Sockets, files: Files
) -> None:
    """What holds a region is an operation in flight."""
    other = make_proactor()
    state = RegistrationState(bytearray(64))
    busy, idle = state.register(proactor, BOTH), state.register(other, BOTH)
    read = FileRead(files.holding(b"data"), busy.span(), 0)
    proactor.submit(read)
    with pytest.raises(FailedPrecondition, match="1 operations"):
        state.close()
    assert idle.closed and not busy.closed
    settle(proactor, read)
    assert read.result == 4
    state.close()
    assert busy.closed


# dma-bufs: a memfd stands in for one ----------------------------------------------------------------------------------


@pytest.mark.needs("dmabuf")
@pytest.mark.reference("BufferRegistrationTest.RegisterDmabuf")
def test_shared_memory_behind_a_descriptor_is_registered(proactor: Proactor, memfd: int) -> None:
    with register_dmabuf(proactor, memfd, 0, mmap.PAGESIZE, BOTH) as region:
        region.view[:5] = b"hello"
        assert os.pread(memfd, 5, 0) == b"hello"
        assert region.nbytes == mmap.PAGESIZE and region.reason


@pytest.mark.needs("dmabuf")
@pytest.mark.parametrize("offset", [mmap.PAGESIZE, 100, mmap.PAGESIZE + 1])
@pytest.mark.reference("BufferRegistrationTest.RegisterDmabufWithOffset")
def test_it_may_begin_anywhere(proactor: Proactor, memfd: int, offset: int) -> None:
    os.pwrite(memfd, b"here", offset)
    with register_dmabuf(proactor, memfd, offset, mmap.PAGESIZE, BOTH) as region:
        assert bytes(region.view[:4]) == b"here" and region.nbytes == mmap.PAGESIZE


@pytest.mark.needs("files", "dmabuf")
def test_operations_reach_it(proactor: Proactor, memfd: int, files: Files) -> None:
    with register_dmabuf(proactor, memfd, 10, 100, BOTH) as region:
        assert finish(proactor, FileRead(files.holding(b"from a file"), region.span(), 0)).result == 11
        assert os.pread(memfd, 11, 10) == b"from a file"


@pytest.mark.needs("dmabuf")
@pytest.mark.reference("BufferRegistrationTest.SlabAndDmabufCoexist")
def test_slabs_and_dmabufs_share_the_table(proactor: Proactor, memfd: int) -> None:
    with Slab.allocate(4096, 4) as slab, register_slab(proactor, slab, Access.READ) as first:
        with register_dmabuf(proactor, memfd, 0, 4096, BOTH) as second:
            assert not set(first.slots) & set(second.slots)


@pytest.mark.needs("dmabuf")
def test_a_part_that_is_not_there_is_refused(proactor: Proactor, memfd: int) -> None:
    with pytest.raises(ValueError, match="offset and length"):
        register_dmabuf(proactor, memfd, 3 * mmap.PAGESIZE, 2 * mmap.PAGESIZE, BOTH)


@pytest.mark.needs("dmabuf")
def test_what_cannot_be_mapped_is_refused(proactor: Proactor) -> None:
    with open("/dev/null", "rb") as device, pytest.raises(OSError):
        register_dmabuf(proactor, device.fileno(), 0, 4096, BOTH)


@pytest.mark.needs("dmabuf")
def test_it_is_not_unmapped_under_a_view(proactor: Proactor, memfd: int) -> None:
    region = register_dmabuf(proactor, memfd, 0, 4096, BOTH)
    views = [region.view[:1], region.span(5, 5).view()]
    with pytest.raises(BufferError, match="2 views"):
        region.close()
    assert not region.closed and region.view[0] == 0
    for view in views:
        view.release()
    region.close()


@pytest.mark.needs("dmabuf")
def test_the_descriptor_stays_the_callers(proactor: Proactor, memfd: int) -> None:
    register_dmabuf(proactor, memfd, 0, 4096, BOTH).close()
    os.fstat(memfd)


@pytest.mark.needs("dmabuf")
def test_a_dropped_one_warns_and_is_unmapped(proactor: Proactor, memfd: int) -> None:
    region = register_dmabuf(proactor, memfd, 0, 4096, BOTH)
    with pytest.warns(ResourceWarning, match="unclosed <Region"):
        del region
        gc.collect()
    proactor.poll(0)


def test_a_dmabuf_is_refused_by_name(make_proactor: Callable[..., Proactor], memfd: int) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.DMABUF)
    with pytest.raises(Unavailable, match="has no DMABUF") as refusal:
        register_dmabuf(proactor, memfd, 0, 4096, BOTH)
    assert refusal.value.status is StatusCode.UNAVAILABLE and proactor.backend_name in str(refusal.value)


# Operations on registered memory -------------------------------------------------------------------------------------


@pytest.fixture
def region(proactor: Proactor) -> Iterator[Region]:
    with register_buffer(proactor, bytearray(65536), BOTH) as region:
        yield region


@pytest.mark.needs("files")
def test_reads_and_writes_use_the_table_where_there_is_one(proactor: Proactor, region: Region, files: Files) -> None:
    file = files.holding()
    region.view[:] = pattern(65536)
    write = finish(proactor, FileWrite(file, region.span(0, 30000), 0))
    read = finish(proactor, FileRead(file, region.span(30000, 30000), 0))
    assert (write.result, read.result) == (30000, 30000)
    assert bytes(region.view[30000:60000]) == pattern(65536)[:30000]
    assert write.buffer_slot == read.buffer_slot == (region.slots[0] if pins(proactor) else -1)


@pytest.mark.needs("files")
def test_the_same_operation_goes_on_with_plain_memory(proactor: Proactor, region: Region, files: Files) -> None:
    read = finish(proactor, FileRead(files.holding(b"data"), region.span(), 0))
    read.buffer = bytearray(4)
    assert finish(proactor, read).buffer == b"data"


@pytest.mark.needs("files")
def test_a_span_of_plain_memory_is_memory_like_any_other(proactor: Proactor, files: Files) -> None:
    memory = bytearray(10)
    assert finish(proactor, FileRead(files.holding(b"data"), Span(memory, 2, 3), 0)).result == 3
    assert memory == b"\0\0dat\0\0\0\0\0"


@pytest.mark.needs("files")
def test_registered_memory_of_another_proactor_is_plain_memory(
    make_proactor: Callable[..., Proactor], region: Region, files: Files
) -> None:
    other = make_proactor()
    read = finish(other, FileRead(files.holding(b"data"), region.span(), 0))
    assert read.result == 4 and read.buffer_slot == -1


@pytest.mark.needs("files")
def test_chains_use_it(proactor: Proactor, region: Region, files: Files) -> None:
    source, target = files.holding(b"0123456789"), files.holding(name="copy")
    span = region.span(7, 10)
    chain = [FileRead(source, span, 0, flags=OperationFlags.LINKED), FileWrite(target, span, 0)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert os.pread(target.fileno(), 20, 0) == b"0123456789"


@pytest.mark.needs("files")
def test_large_transfers_use_it(proactor: Proactor, files: Files) -> None:
    length = 3 * 1024 * 1024
    file = files.holding(pattern(length))
    with register_buffer(proactor, bytearray(length), BOTH) as region:
        assert finish(proactor, FileRead(file, region.span(), 0)).result == length
        assert region.view == pattern(length)


@pytest.mark.needs("files")
def test_memory_that_is_registered_for_reading_is_not_filled(proactor: Proactor, files: Files) -> None:
    with register_buffer(proactor, bytearray(16), Access.READ) as region:
        with pytest.raises(FailedPrecondition, match="buffer: its region is registered for READ, not WRITE"):
            proactor.submit(FileRead(files.holding(b"data"), region.span(), 0))


@pytest.mark.needs("files")
def test_memory_that_is_registered_for_writing_is_not_sent(proactor: Proactor, files: Files) -> None:
    with register_buffer(proactor, bytearray(16), Access.WRITE) as region:
        with pytest.raises(FailedPrecondition, match="registered for WRITE, not READ"):
            proactor.submit(FileWrite(files.holding(), region.span(), 0))


@pytest.mark.needs("files")
def test_a_refused_submission_leaves_the_region_free(proactor: Proactor, region: Region, files: Files) -> None:
    file = files.holding()
    with pytest.raises(ValueError, match="offset"):
        proactor.submit(FileRead(file, region.span(), 0), FileRead(file, region.span(), -1))
    assert not region.users


# In flight -----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("files")
@pytest.mark.regression("regions-not-retained")
def test_a_region_with_operations_in_flight_is_not_closed(proactor: Proactor, region: Region, files: Files) -> None:
    file = files.holding(b"data")
    reads = [FileRead(file, region.span(number, 4), 0) for number in range(3)]
    proactor.submit(*reads)
    with pytest.raises(FailedPrecondition, match="3 operations"):
        region.close()
    settle(proactor, *reads)
    assert [read.result for read in reads] == [4, 4, 4]
    region.close()


@pytest.mark.needs("files")
def test_a_region_can_be_closed_in_the_last_completion_function(proactor: Proactor, files: Files) -> None:
    region = register_buffer(proactor, bytearray(4), BOTH)
    finish(proactor, FileRead(files.holding(b"data"), region.span(), 0, lambda operation, flags: region.close()))
    assert region.closed


@pytest.mark.needs("files")
def test_a_cancelled_step_lets_the_region_go(proactor: Proactor, region: Region, files: Files) -> None:
    chain = [Timer(1e9, flags=OperationFlags.LINKED), FileRead(files.holding(b"data"), region.span(), 0)]
    start(proactor, *chain)
    assert region.users
    proactor.cancel(chain[0])
    settle(proactor, *chain)
    assert isinstance(chain[1].error, OperationCancelled) and not region.users


@pytest.mark.needs("files")
def test_closing_the_proactor_ends_the_use_of_its_regions(make_proactor: Callable[..., Proactor], files: Files) -> None:
    proactor = make_proactor()
    region = register_buffer(proactor, bytearray(4), BOTH)
    chain = [Timer(1e9, flags=OperationFlags.LINKED), FileRead(files.holding(b"data"), region.span(), 0)]
    start(proactor, *chain)
    proactor.close()
    assert not region.users
    region.close()


@pytest.mark.needs("files")
def test_leaving_the_block_by_an_exception_does_not_hide_it(proactor: Proactor, files: Files) -> None:
    read: FileRead | None = None
    with pytest.raises(LookupError):
        with register_buffer(proactor, bytearray(4), BOTH) as region:
            read = FileRead(files.holding(b"data"), region.span(), 0)
            proactor.submit(read)
            raise LookupError
    assert read is not None
    settle(proactor, read)
    region.close()


@pytest.mark.needs("files")
def test_the_spans_of_a_closed_region_cannot_be_used(proactor: Proactor, files: Files) -> None:
    with register_buffer(proactor, bytearray(4), BOTH) as region:
        span = region.span()
    with pytest.raises(ValueError):
        proactor.submit(FileRead(files.holding(), span, 0))
    with pytest.raises(ClosedResourceError):
        region.span()


def test_a_dropped_region_warns_and_gives_its_place_back(proactor: Proactor) -> None:
    region = register_buffer(proactor, bytearray(64), BOTH)
    slots = region.slots
    with pytest.warns(ResourceWarning, match="unclosed <Region"):
        del region
    proactor.poll(0)
    with register_buffer(proactor, bytearray(64), BOTH) as region:
        assert region.slots == slots


# Threads -------------------------------------------------------------------------------------------------------------


def error_on_another_thread(call: Callable[[], object]) -> BaseException | None:
    failures: list[BaseException | None] = []

    def run() -> None:
        try:
            call()
            failures.append(None)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return failures[0]


@pytest.mark.ring_rule(14)
def test_registering_belongs_to_the_owner_thread(proactor: Proactor) -> None:
    failure = error_on_another_thread(lambda: register_buffer(proactor, bytearray(1), BOTH))
    assert isinstance(failure, FailedPrecondition) and "belongs to thread" in str(failure)


def test_closing_belongs_to_the_owner_thread(proactor: Proactor, region: Region) -> None:
    failure = error_on_another_thread(region.close)
    assert isinstance(failure, FailedPrecondition) and not region.closed


@pytest.mark.needs("files")
def test_operations_of_any_thread_retain_the_region(proactor: Proactor, region: Region, files: Files) -> None:
    read = FileRead(files.holding(b"data"), region.span(), 0)
    assert error_on_another_thread(lambda: proactor.submit(read)) is None
    assert region.users
    settle(proactor, read)
    assert read.result == 4 and not region.users


@pytest.mark.needs("files")
@pytest.mark.ring_rule(14)
def test_before_its_first_poll_any_thread_may_register(make_proactor: Callable[..., Proactor], files: Files) -> None:
    proactor = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    region = register_buffer(proactor, bytearray(4), BOTH)
    file = files.holding(b"data")

    def poller() -> None:
        assert finish(proactor, FileRead(file, region.span(), 0)).result == 4
        region.close()
        proactor.close()

    assert error_on_another_thread(poller) is None
    assert region.closed


def test_a_closed_proactor_registers_nothing(make_proactor: Callable[..., Proactor]) -> None:
    proactor = make_proactor()
    proactor.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        register_buffer(proactor, bytearray(1), BOTH)


# Bad days ------------------------------------------------------------------------------------------------------------


@pytest.mark.needs("fork")
def test_a_forked_child_lets_go_of_inherited_memory(proactor: Proactor, configuration: Configuration) -> None:
    with Slab.allocate(64, 4) as slab, register_slab(proactor, slab, BOTH) as region:
        child = os.fork()
        if not child:
            try:
                region.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not region.closed


@pytest.mark.needs("files")
def test_memory_that_the_kernel_cannot_pin_is_used_as_it_is(proactor: Proactor, files: Files) -> None:
    """A mapping for reading only: the kernel pins for writing."""
    file = files.holding(pattern(mmap.PAGESIZE))
    with mmap.mmap(file.fileno(), mmap.PAGESIZE, access=mmap.ACCESS_READ) as mapping:
        with register_buffer(proactor, mapping, Access.READ) as region:
            assert not region.pinned and region.reason
            copy = files.holding(name="copy")
            assert finish(proactor, FileWrite(copy, region.span(), 0)).result == mmap.PAGESIZE
