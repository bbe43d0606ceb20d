"""The kernel's tables of memory behind the io_uring backend: places, refusals, entries, and groups of buffers."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from collections.abc import Iterator

import pytest

from proactor_trio.backends.contract import BackendUnavailable, Kind, MemoryRegistration, OperationFields
from proactor_trio.proactor import Proactor

if sys.platform != "linux":
    pytest.skip("io_uring is a mechanism of Linux", allow_module_level=True)

from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode
from proactor_trio.backends.io_uring.buffer_group import BufferGroups
from proactor_trio.backends.io_uring.encode_registered import with_registered_buffers
from proactor_trio.backends.io_uring.mapping import address_of
from proactor_trio.backends.io_uring.registered_buffers import TABLE_PLACES, RegisteredBuffers
from proactor_trio.backends.io_uring.ring import Ring


@pytest.fixture
def ring() -> Iterator[Ring]:
    try:
        ring = Ring(8)
    except BackendUnavailable as unavailable:
        pytest.skip(unavailable.reason)
    yield ring
    ring.close()


class RefusingRing:
    """Its kernel answers what the test says."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[int, bytes]] = []

    def register(self, opcode: int, argument: bytearray, count: int) -> int:
        self.calls.append((opcode, bytes(argument)))
        return self.answers.pop(0) if self.answers else 0


def pieces(count: int) -> list[memoryview]:
    return [memoryview(bytearray(4096)) for _ in range(count)]


# The table -----------------------------------------------------------------------------------------------------------


def test_each_piece_has_a_place_of_its_own(ring: Ring) -> None:
    table = RegisteredBuffers(ring)
    first, second = MemoryRegistration(), MemoryRegistration()
    table.add(first, pieces(3))
    table.add(second, pieces(2))
    assert len({*first.slots, *second.slots}) == 5 and "5" not in first.reason
    table.remove(first)
    table.remove(second)


def test_places_are_used_again(ring: Ring) -> None:
    table = RegisteredBuffers(ring)
    used = set()
    for _ in range(5):
        registration = MemoryRegistration()
        table.add(registration, pieces(2))
        used.update(registration.slots)
        table.remove(registration)
    assert len(used) == 2


def test_removing_twice_is_removing_once(ring: Ring) -> None:
    table = RegisteredBuffers(ring)
    registration, other = MemoryRegistration(), MemoryRegistration()
    table.add(registration, pieces(1))
    table.remove(registration)
    table.remove(registration)
    table.add(other, pieces(1))
    assert len(other.slots) == 1


def test_a_table_that_is_full_is_a_reason_and_no_error(ring: Ring) -> None:
    table = RegisteredBuffers(ring)
    registration = MemoryRegistration()
    table.add(registration, pieces(1) * (TABLE_PLACES + 1))
    assert registration.slots == () and f"{TABLE_PLACES} empty places" in registration.reason


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOMEM])
def test_a_kernel_without_such_tables_is_a_reason_and_no_error(error: int) -> None:
    registration = MemoryRegistration()
    RegisteredBuffers(RefusingRing(-error)).add(registration, pieces(1))  # type: ignore[arg-type]
    assert registration.slots == () and registration.reason.startswith("no table of buffers: ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.ENOMEM, "RLIMIT_MEMLOCK"),
        (errno.EFAULT, "cannot pin"),
        (errno.EOPNOTSUPP, "file"),
        (errno.EIO, "Input/output"),
    ],
)
def test_what_cannot_be_pinned_has_no_place_and_a_reason(error: int, words: str) -> None:
    """The second piece is refused: the first one's place is emptied again."""
    ring = RefusingRing(0, 0, -error)
    registration = MemoryRegistration()
    RegisteredBuffers(ring).add(registration, pieces(2))  # type: ignore[arg-type]
    assert registration.slots == () and words in registration.reason
    assert len(ring.calls) == 1 + 2 + 2


def test_an_interrupted_registration_can_be_removed() -> None:
    class Interrupting(RefusingRing):
        def register(self, opcode: int, argument: bytearray, count: int) -> int:
            result = super().register(opcode, argument, count)
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return result

    table = RegisteredBuffers(Interrupting())  # type: ignore[arg-type]
    registration, other = MemoryRegistration(), MemoryRegistration()
    with pytest.raises(KeyboardInterrupt):
        table.add(registration, pieces(2))
    held = set(registration.slots)
    table.remove(registration)
    table.add(other, pieces(2))
    assert set(other.slots) == held


WITHOUT_LOCKABLE_MEMORY = """
import ctypes, resource
from proactor_trio.proactor import Proactor
from proactor_trio.proactor.memory.access import Access
from proactor_trio.proactor.memory.registration import register_buffer

CAP_IPC_LOCK = 14
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
sets = (ctypes.c_uint32 * 6)()
libc = ctypes.CDLL(None)
assert libc.capget(header, sets) == 0
sets[0] &= ~(1 << CAP_IPC_LOCK)
assert libc.capset(header, sets) == 0
resource.setrlimit(resource.RLIMIT_MEMLOCK, (4 << 20, 4 << 20))
with Proactor("io_uring") as proactor:
    with register_buffer(proactor, bytearray(4096), Access.READ) as small:
        with register_buffer(proactor, bytearray(8 << 20), Access.READ) as large:
            print(small.pinned, large.pinned, large.reason, sep="|")
"""


def test_more_than_the_limit_on_locked_memory_is_used_without_a_place(ring: Ring) -> None:
    """In a child that may not lock without limit."""
    if not hasattr(ctypes.CDLL(None), "capset"):
        pytest.skip("no capset() here")
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_LOCKABLE_MEMORY],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert child.stderr == ""
    assert child.stdout.startswith("True|False|too little lockable memory")


# Entries -------------------------------------------------------------------------------------------------------------


class Transfer(OperationFields):
    """What the encoders look at."""

    __slots__ = ()

    def __init__(self, slot: int) -> None:
        self.identifier, self.descriptor, self.offset, self.buffer_slot = 77, 5, 4096, slot
        self.view = memoryview(bytearray(100))


@pytest.mark.parametrize(
    ("kind", "slot", "opcode"),
    [
        (Kind.FILE_READ, 3, c.OP_READ_FIXED),
        (Kind.FILE_WRITE, 3, c.OP_WRITE_FIXED),
        (Kind.FILE_READ, -1, c.OP_READ),
        (Kind.FILE_WRITE, -1, c.OP_WRITE),
    ],
)
def test_an_entry_names_the_place_in_the_table(kind: Kind, slot: int, opcode: int) -> None:
    encoders = with_registered_buffers(encode.encoder_table(provided_buffers=False))
    entries = memoryview(bytearray(c.SQE.size))
    transfer = Transfer(slot)
    encoders[kind](entries, 0, transfer, 0)
    fields = c.SQE.unpack(entries)
    assert fields[0] == opcode and fields[9] == max(slot, 0)
    assert fields[3:7] == (5, 4096, address_of(transfer.view), 100) and fields[8] == 77


# Groups of receive buffers --------------------------------------------------------------------------------------------


def test_groups_have_numbers_of_their_own(ring: Ring) -> None:
    groups = BufferGroups(ring)
    memory = memoryview(bytearray(4096 * 4))
    made = [groups.open(memory, 4096, []) for _ in range(3)]
    assert len({group.identifier for group in made}) == 3
    for group in made:
        groups.close(group)
    assert not groups.groups


def test_a_group_is_found_again_by_its_list_of_free_buffers(ring: Ring) -> None:
    groups = BufferGroups(ring)
    memory = memoryview(bytearray(64 * 4))
    free: list[int] = []
    assert groups.open(memory, 64, free) is groups.open(memory, 64, free)
    groups.forget_all()


def test_free_buffers_are_shown_to_the_kernel_once(ring: Ring) -> None:
    groups = BufferGroups(ring)
    free = [2, 0]
    group = groups.open(memoryview(bytearray(64 * 4)), 64, free)
    groups.publish()
    assert (free, group.in_kernel) == ([], 2)
    groups.publish()
    assert group.in_kernel == 2
    free.append(3)
    groups.publish()
    assert group.in_kernel == 3
    groups.close(group)
    groups.close(group)


def test_an_interrupted_showing_is_repeated(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = BufferGroups(ring)
    free = [0, 1]
    group = groups.open(memoryview(bytearray(64 * 4)), 64, free)
    write = type(group)._write

    def interrupted(self: object, identifiers: object) -> None:
        write(group, identifiers)  # type: ignore[arg-type]
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(type(group), "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        groups.publish()
    assert (free, group.in_kernel) == ([0, 1], 0)
    free.append(2)
    groups.publish()
    assert (free, group.in_kernel) == ([], 3)
    groups.close(group)


def test_a_ring_that_the_kernel_refuses_is_an_error_and_leaves_nothing(ring: Ring) -> None:
    """Three buffers: not a power of two."""
    groups = BufferGroups(ring)
    with pytest.raises(OSError, match="ring of 3 receive buffers"):
        groups.open(memoryview(bytearray(64 * 3)), 64, [])
    assert not groups.groups


@pytest.mark.parametrize("backend", ["io_uring", "io_uring_abi"])
def test_closing_the_proactor_frees_the_groups_that_are_left(backend: str, ring: Ring) -> None:
    with Proactor(backend) as proactor:
        group = proactor._backend.open_buffer_group(memoryview(bytearray(64 * 4)), 64, [0, 1, 2, 3])
        assert group is not None
        proactor.wake()
        proactor.poll(1)
        assert group.in_kernel == 4
    assert group.in_kernel == 0
