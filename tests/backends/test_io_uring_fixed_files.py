"""The table of files of a ring, and what an entry looks like that names a place in it or in the table of buffers."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("io_uring is Linux's", allow_module_level=True)

from proactor_trio.backends.contract import BackendUnavailable, Kind, OperationFields, OperationFlags, TablePlace
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import encode, fixed_files
from proactor_trio.backends.io_uring.encode_zero_copy import with_zero_copy
from proactor_trio.backends.io_uring.fixed_files import FixedFiles, with_fixed_files
from proactor_trio.backends.io_uring.mapping import address_of
from proactor_trio.backends.io_uring.ring import Ring


class Transfer(OperationFields):
    """An operation as an encoder sees it."""

    __slots__ = ("place",)

    def __init__(self, place: TablePlace | None) -> None:
        self.flags = OperationFlags.NONE
        self.identifier = 77
        self.descriptor = 5
        self.view = memoryview(bytearray(4096))
        self.length = 4096
        self.whole = False
        self.message_flags = 0
        self.zero_copy = False
        self.buffer_slot = -1
        self.place = place

    def table_place(self) -> TablePlace | None:
        return self.place


@pytest.fixture
def ring() -> Iterator[Ring]:
    try:
        made = Ring(8, disabled=False, native=None)
    except BackendUnavailable as unavailable:
        pytest.skip(unavailable.reason)
    made.enable()
    yield made
    made.close()


@pytest.fixture
def descriptor() -> Iterator[int]:
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


def entry_of(encoder: encode.Encoder, transfer: Transfer, flags: int = 0) -> tuple[int, ...]:
    memory = memoryview(bytearray(64))
    encoder(memory, 0, transfer, flags)
    return c.SQE.unpack(memory)


def place_at(number: int) -> TablePlace:
    place = TablePlace()
    place.number = number
    return place


def test_an_entry_names_the_place_and_says_so() -> None:
    encoder = with_fixed_files(encode.encoder_table(provided_buffers=False))[Kind.SEND]
    entry = entry_of(encoder, Transfer(place_at(9)), c.SQE_IO_LINK)
    assert entry[:4] == (c.OP_SEND, c.SQE_IO_LINK | c.SQE_FIXED_FILE, 0, 9)


@pytest.mark.parametrize("place", [None, TablePlace()], ids=["not registered", "without a place"])
def test_without_a_place_an_entry_names_the_descriptor(place: TablePlace | None) -> None:
    encoder = with_fixed_files(encode.encoder_table(provided_buffers=False))[Kind.SEND]
    assert entry_of(encoder, Transfer(place))[:4] == (c.OP_SEND, 0, 0, 5)


def test_an_entry_without_a_descriptor_names_no_place() -> None:
    encoder = with_fixed_files(encode.encoder_table(provided_buffers=False))[Kind.RECV]
    transfer = Transfer(place_at(9))
    transfer.length = 0
    assert entry_of(encoder, transfer)[:4] == (c.OP_NOP, 0, 0, -1)


def test_a_zero_copy_send_from_registered_memory_names_its_place_in_the_table_of_buffers() -> None:
    encoder = with_zero_copy(encode.encoder_table(provided_buffers=False))[Kind.SEND]
    transfer = Transfer(None)
    transfer.zero_copy = True
    transfer.buffer_slot = 3
    entry = entry_of(encoder, transfer)
    assert entry[:4] == (c.OP_SEND_ZC, 0, c.SEND_ZC_REPORT_USAGE | c.RECVSEND_FIXED_BUF, 5)
    assert (entry[5], entry[6], entry[9]) == (address_of(transfer.view), 4096, 3)


def test_a_zero_copy_send_from_other_memory_names_none() -> None:
    encoder = with_zero_copy(encode.encoder_table(provided_buffers=False))[Kind.SEND]
    transfer = Transfer(None)
    transfer.zero_copy = True
    entry = entry_of(encoder, transfer)
    assert entry[2] == c.SEND_ZC_REPORT_USAGE and entry[9] == 0


def test_a_place_is_filled_and_emptied_again(ring: Ring, descriptor: int) -> None:
    table, place = FixedFiles(ring), TablePlace()
    table.add(place, descriptor)
    first = place.number
    table.remove(place)
    table.remove(place)
    table.add(place, descriptor)
    assert first == place.number >= 0
    table.remove_all()


def test_a_full_table_is_a_reason_and_no_error(ring: Ring, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_files, "LARGEST_TABLE", 4)  # half of it for contents
    table, places = FixedFiles(ring), [TablePlace() for _ in range(3)]
    for place in places:
        table.add(place, descriptor)
    assert [place.number for place in places] == [0, 1, -1]
    assert places[2].reason == "all 2 places of the table of files are in use"


def test_what_the_kernel_does_not_take_leaves_the_place_free(ring: Ring, descriptor: int) -> None:
    """The table cannot hold the ring itself."""
    table, place = FixedFiles(ring), TablePlace()
    table.add(place, ring.descriptor)
    assert place.number == -1 and os.strerror(errno.EBADF) in place.reason
    table.add(place, descriptor)
    assert place.number == 0


def test_an_interrupted_registration_is_undone(ring: Ring, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table, place = FixedFiles(ring), TablePlace()
    update = FixedFiles._update

    def interrupted(self: FixedFiles, number: int, file: int) -> int:
        update(self, number, file)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(FixedFiles, "_update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table.add(place, descriptor)
    table.remove(place)
    table.add(place, descriptor)
    assert place.number == 0
