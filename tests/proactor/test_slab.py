"""Slabs: where their memory comes from, where it lies, and when it may go."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
from collections.abc import Iterator

import pytest

from proactor_trio.proactor import ClosedResourceError, HugePages, OutOfRange, Slab, SlabSource, StatusCode
from proactor_trio.proactor.memory import placement
from proactor_trio.proactor.memory.placement import node_of

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture
def memfd() -> Iterator[int]:
    descriptor = os.memfd_create("slab")
    os.ftruncate(descriptor, 3 * mmap.PAGESIZE)
    yield descriptor
    os.close(descriptor)


# Geometry ------------------------------------------------------------------------------------------------------------


def test_a_slab_is_buffers_of_one_size_one_behind_the_other() -> None:
    with Slab.allocate(100, 3) as slab:
        assert (slab.buffer_size, slab.buffer_count, slab.nbytes, slab.view.nbytes) == (100, 3, 300, 300)
        for index in range(3):
            with slab.buffer(index) as buffer:
                buffer[:] = bytes([index]) * 100
        assert bytes(slab.view) == bytes(100) + b"\1" * 100 + b"\2" * 100


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 0), (-1, 1), (1, -1)])
def test_sizes_below_one_are_refused(size: int, count: int) -> None:
    for make in (Slab.allocate, lambda size, count: Slab.wrap(bytearray(8), size, count)):
        with pytest.raises(ValueError, match="buffer_"):
            make(size, count)


@pytest.mark.parametrize(("size", "count"), [("1", 1), (1, 1.5), (None, 1)])
def test_sizes_must_be_integers(size: int, count: int) -> None:
    with pytest.raises(TypeError, match="buffer_"):
        Slab.allocate(size, count)


def test_more_than_can_exist_is_out_of_range() -> None:
    with pytest.raises(OutOfRange) as refusal:
        Slab.allocate(1 << 40, 1 << 40)
    assert refusal.value.status is StatusCode.OUT_OF_RANGE


@pytest.mark.parametrize("index", [-1, 3])
def test_a_buffer_that_does_not_exist_is_refused(index: int) -> None:
    with Slab.allocate(8, 3) as slab, pytest.raises(ValueError, match="index"):
        slab.buffer(index)


# Sources -------------------------------------------------------------------------------------------------------------


def test_allocated_memory_is_zero_and_page_aligned() -> None:
    with Slab.allocate(mmap.PAGESIZE, 4) as slab:
        assert slab.source is SlabSource.ALLOCATED
        assert not any(slab.view)
        assert placement.address_of(slab.view) % mmap.PAGESIZE == 0


def test_memory_of_the_caller_stays_his() -> None:
    memory = bytearray(20)
    with Slab.wrap(memory, 5, 3) as slab:
        assert slab.source is SlabSource.WRAPPED and slab.nbytes == 15
        slab.view[14] = 7
        with pytest.raises(BufferError):
            memory.append(1)
    memory.append(1)
    assert memory[14] == 7


def test_memory_of_the_caller_may_be_read_only() -> None:
    with Slab.wrap(b"0123456789", 5, 2) as slab:
        assert bytes(slab.buffer(1)) == b"56789" and slab.view.readonly


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="memory has 10 bytes, and the buffers need 15"):
        Slab.wrap(bytearray(10), 5, 3)


@pytest.mark.parametrize("memory", [7, "text", memoryview(bytes(10))[::2]])
def test_what_is_no_memory_is_refused(memory: object) -> None:
    with pytest.raises(TypeError, match="memory"):
        Slab.wrap(memory, 1, 1)


@pytest.mark.parametrize("offset", [0, 1, mmap.PAGESIZE, mmap.PAGESIZE + 100])
def test_memory_behind_a_descriptor_may_begin_anywhere(memfd: int, offset: int) -> None:
    with Slab.from_descriptor(memfd, offset, 50, 10) as slab:
        assert slab.source is SlabSource.DESCRIPTOR
        slab.view[499] = 9
        assert os.pread(memfd, 1, offset + 499) == b"\x09"


def test_memory_that_is_not_there_is_refused(memfd: int) -> None:
    with pytest.raises(ValueError, match="of a file of"):
        Slab.from_descriptor(memfd, 2 * mmap.PAGESIZE, mmap.PAGESIZE, 2)


def test_the_descriptor_stays_the_callers(memfd: int) -> None:
    Slab.from_descriptor(memfd, 0, 1, 1).close()
    os.fstat(memfd)


def test_a_wrong_descriptor_is_refused() -> None:
    with pytest.raises(OSError):
        Slab.from_descriptor(10**6, 0, 1, 1)
    with pytest.raises(ValueError, match="descriptor"):
        Slab.from_descriptor(-1, 0, 1, 1)


# Placement -----------------------------------------------------------------------------------------------------------


@on_linux
def test_a_slab_lies_on_the_node_that_was_asked_for() -> None:
    """Checked with get_mempolicy(2)."""
    with Slab.allocate(4096, 16, node=0) as slab:
        found = slab.placement()
        if found.node is None:
            pytest.skip("this system does not say where memory lies")
        assert found.node == 0 and found.notes == ()


@on_linux
@pytest.mark.parametrize("node", [1000, 100_000])
def test_a_node_that_does_not_exist_is_said_and_no_error(node: int) -> None:
    with Slab.allocate(4096, 4, node=node) as slab:
        slab.view[0] = 1
        (note,) = slab.placement().notes
        assert note.startswith(f"node {node}: ")


def test_a_wrong_node_is_refused() -> None:
    for node, error in ((-1, ValueError), ("0", TypeError)):
        with pytest.raises(error, match="node"):
            Slab.allocate(1, 1, node=node)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="huge_pages"):
        Slab.allocate(1, 1, huge_pages=True)  # type: ignore[arg-type]


@on_linux
def test_transparent_huge_pages_come_or_a_note_says_why_not() -> None:
    """What came is measured after the memory was touched."""
    with Slab.allocate(1 << 20, 8, huge_pages=HugePages.TRANSPARENT) as slab:
        assert slab.placement().huge_page_bytes <= 2 << 20  # at most the first page, by looking at it
        slab.view[:] = bytes(slab.nbytes)
        found = slab.placement()
        assert 0 <= found.huge_page_bytes <= slab.nbytes
        assert found.huge_page_bytes or found.notes or "[always]" not in transparent_setting()


def transparent_setting() -> str:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled", encoding="ascii") as setting:
            return setting.read()
    except OSError:
        return ""


@on_linux
def test_without_reserved_huge_pages_the_slab_is_made_of_others_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_MAP_HUGETLB", -1)  # flags that mmap refuses
    with Slab.allocate(4096, 4, huge_pages=HugePages.RESERVED) as slab:
        slab.view[:] = bytes(slab.nbytes)
        assert slab.placement().notes[0].startswith("no reserved huge pages: ")


@on_linux
def test_a_machine_that_forbids_mbind_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers do."""
    monkeypatch.setattr(placement, "_system_call", lambda *arguments: 1)
    with Slab.allocate(4096, 4, node=0) as slab:
        assert slab.placement().node is None
        assert slab.placement().notes == ("node 0: mbind: Operation not permitted",)


@on_linux
def test_the_node_of_read_only_memory_is_not_told() -> None:
    assert node_of(memoryview(b"constant")) is None


# The end -------------------------------------------------------------------------------------------------------------


def test_a_slab_with_views_is_not_closed_and_says_how_many() -> None:
    slab = Slab.allocate(64, 4)
    views = [slab.buffer(0), slab.view[3:5], memoryview(slab.view)]
    with pytest.raises(BufferError, match="3 views"):
        slab.close()
    assert not slab.closed and slab.view[0] == 0
    for view in views:
        view.release()
    slab.close()


def test_slices_of_slices_count() -> None:
    slab = Slab.allocate(64, 4)
    part = slab.buffer(0)[1:]
    with pytest.raises(BufferError, match="1 views"):
        slab.close()
    part.release()
    slab.close()


def test_objects_made_from_a_view_count() -> None:
    slab = Slab.allocate(64, 4)
    numbers = (ctypes.c_uint8 * 64).from_buffer(slab.view)
    with pytest.raises(BufferError):
        slab.close()
    del numbers
    gc.collect()
    slab.close()


@pytest.mark.parametrize("make", [Slab.allocate, lambda size, count: Slab.wrap(bytearray(64), size, count)])
def test_closing_twice_is_closing_once(make: type[Slab]) -> None:
    slab = make(8, 8)  # type: ignore[arg-type]
    slab.close()
    slab.close()
    assert slab.closed


def test_a_closed_slab_gives_nothing() -> None:
    slab = Slab.allocate(8, 8)
    slab.close()
    for use in (lambda: slab.buffer(0), slab.placement):
        with pytest.raises(ClosedResourceError):
            use()
    with pytest.raises(ValueError):
        slab.view[0]


def test_a_view_of_the_callers_own_does_not_count() -> None:
    memory = memoryview(bytearray(64))
    Slab.wrap(memory, 8, 8).close()
    assert memory[0] == 0


def test_a_dropped_slab_warns() -> None:
    slab = Slab.allocate(8, 8)
    with pytest.warns(ResourceWarning, match="unclosed <Slab"):
        del slab


def test_the_memory_of_a_dropped_slab_lives_as_long_as_views_of_it() -> None:
    slab = Slab.allocate(8, 8)
    view = slab.buffer(3)
    with pytest.warns(ResourceWarning, match="unclosed <Slab"):
        del slab
        gc.collect()
    view[:] = b"still me"
    assert bytes(view) == b"still me"


@on_linux
def test_closing_gives_the_memory_back() -> None:
    def resident() -> int:
        with open("/proc/self/statm", encoding="ascii") as statistics:
            return int(statistics.read().split()[1]) * mmap.PAGESIZE

    before = resident()
    for _ in range(4):
        with Slab.allocate(1 << 20, 32) as slab:
            slab.view[:] = bytes(slab.nbytes)
    assert resident() - before < 96 << 20
