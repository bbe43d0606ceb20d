"""Sockets and registered memory: spans as buffers, zero-copy sends from the kernel's table, regions that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cts.net_support import slow_reader_pair, udp
from cts.support import Completions, Sockets, drain, finish, pattern, perform, poll_until, settle, start
from proactor_trio.proactor import (
    Access,
    BufferPool,
    FailedPrecondition,
    Operation,
    OperationFlags,
    Proactor,
    Recv,
    RecvFrom,
    Region,
    Send,
    SendTo,
    Slab,
    Socket,
    Span,
    register_buffer,
    register_slab,
)

pytestmark = pytest.mark.needs("registered_buffers")

SIZE, COUNT = 16_384, 8
BOTH = Access.READ | Access.WRITE


def fill_buffers(region: Region) -> bytes:
    """Put a pattern of its own into each buffer; returns all of them."""
    for index in range(region.buffer_count):
        region.view[index * region.buffer_size : (index + 1) * region.buffer_size] = pattern(region.buffer_size, index)
    return bytes(region.view)


@pytest.fixture
def region(proactor: Proactor) -> Iterator[Region]:
    """A registered slab with a pattern in each buffer."""
    with Slab.allocate(SIZE, COUNT) as slab, register_slab(proactor, slab, BOTH) as registered:
        fill_buffers(registered)
        yield registered


@pytest.fixture
def pair(sockets: Sockets) -> tuple[Socket, Socket]:
    """Two connected TCP sockets; the first sends without copying."""
    near, far = sockets.tcp_pair()
    near.zero_copy = True
    return near, far


@pytest.mark.reference("SendFlagsTest.ZeroCopySendRegisteredSlab")
def test_a_registered_buffer_arrives(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    proactor.submit(Send(near, region.buffer_span(2), completions, whole=True))
    assert drain(proactor, far, SIZE) == pattern(SIZE, 2)
    poll_until(proactor, lambda: completions.records)
    assert completions.results == [SIZE]


@pytest.mark.reference("SendFlagsTest.ZeroCopySendRegisteredSlab")
def test_it_is_named_by_its_place_where_the_kernel_has_a_table(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    send = Send(near, region.buffer_span(2), completions, whole=True)
    proactor.submit(send)
    assert send.buffer_slot == (region.slots[0] if region.pinned else -1)
    drain(proactor, far, SIZE)
    settle(proactor, send)


@pytest.mark.reference("SendFlagsTest.ZeroCopySendRegisteredLargeTransfer")
def test_all_buffers_in_turn_arrive(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    for index in range(COUNT):
        proactor.submit(Send(near, region.buffer_span(index), completions, whole=True))
        assert drain(proactor, far, SIZE) == pattern(SIZE, index)
    poll_until(proactor, lambda: len(completions) == COUNT)


@pytest.mark.reference("SendFlagsTest.ZeroCopySendPartialBuffer")
def test_a_part_of_a_buffer_arrives(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    proactor.submit(Send(near, region.buffer_span(1).sub(100, 1000), completions, whole=True))
    assert drain(proactor, far, 1000) == pattern(SIZE, 1)[100:1100]
    poll_until(proactor, lambda: completions.records)


@pytest.mark.reference("SendFlagsTest.ScatterGatherFromRegistered")
def test_several_registered_buffers_arrive_in_order(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    proactor.submit(Send(near, [region.buffer_span(index) for index in (3, 0)], completions, whole=True))
    assert drain(proactor, far, 2 * SIZE) == pattern(SIZE, 3) + pattern(SIZE, 0)
    poll_until(proactor, lambda: completions.records)


@pytest.mark.reference("SendFlagsTest.ScatterGatherMixedRegistration")
def test_registered_and_plain_memory_go_together(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    data = [b"plain ", region.buffer_span(4), Span(bytearray(b" a span of plain memory"), 1)]
    proactor.submit(Send(near, data, completions, whole=True))
    assert drain(proactor, far, SIZE + 28) == b"plain " + pattern(SIZE, 4) + b"a span of plain memory"
    poll_until(proactor, lambda: completions.records)


@pytest.mark.reference("SendFlagsTest.ConcurrentRegisteredSends")
def test_registered_sends_at_a_time_keep_their_bytes_apart(
    proactor: Proactor, sockets: Sockets, region: Region, completions: Completions
) -> None:
    pairs = [sockets.tcp_pair() for _ in range(4)]
    for index, (near, _) in enumerate(pairs):
        near.zero_copy = True
        proactor.submit(Send(near, region.buffer_span(index), completions, whole=True))
    assert [drain(proactor, far, SIZE) for _, far in pairs] == [pattern(SIZE, index) for index in range(4)]
    poll_until(proactor, lambda: len(completions) == 4)


@pytest.mark.reference("SendFlagsTest.ZeroCopySendMultipleSlabs")
def test_buffers_of_two_slabs_arrive(
    proactor: Proactor, pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    with Slab.allocate(1000, 3) as slab, register_slab(proactor, slab, Access.READ) as other:
        contents = fill_buffers(other)
        for span in (region.buffer_span(0), other.buffer_span(2)):
            proactor.submit(Send(near, span, completions, whole=True))
        assert drain(proactor, far, SIZE + 1000) == pattern(SIZE, 0) + contents[2000:]
        poll_until(proactor, lambda: len(completions) == 2)


def test_memory_that_another_proactor_has_registered_is_plain_memory(
    make_proactor: Callable[..., Proactor], pair: tuple[Socket, Socket], region: Region, completions: Completions
) -> None:
    near, far = pair
    other = make_proactor()
    send = Send(near, region.buffer_span(5), completions, whole=True)
    other.submit(send)
    assert send.buffer_slot == -1
    assert drain(other, far, SIZE) == pattern(SIZE, 5)
    settle(other, send)


def test_a_datagram_of_registered_memory_arrives(
    proactor: Proactor, sockets: Sockets, region: Region, completions: Completions
) -> None:
    sender, receiver = udp(sockets), udp(sockets)
    sender.zero_copy = True
    finish(proactor, SendTo(sender, region.buffer_span(6).sub(0, 1000), receiver.getsockname(), completions))
    assert receiver.stdlib.recv(2000) == pattern(SIZE, 6)[:1000]


def test_a_receive_fills_a_span(proactor: Proactor, sockets: Sockets, region: Region) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"into registered memory")
    assert perform(proactor, Recv(near, region.buffer_span(7).sub(10, 100))) == 22
    assert region.buffer_span(7).view()[10:32] == b"into registered memory"


def test_a_receive_from_a_datagram_socket_fills_spans(proactor: Proactor, sockets: Sockets, region: Region) -> None:
    near, far = udp(sockets), udp(sockets)
    near.stdlib.sendto(b"abcd", far.getsockname())
    spans = [region.buffer_span(index).sub(0, 2) for index in (0, 1)]
    assert perform(proactor, RecvFrom(far, spans)).length == 4
    assert [bytes(span.view()) for span in spans] == [b"ab", b"cd"]


# Regions stay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        Recv,
        lambda socket, span: Recv(socket, [bytearray(1), span]),
        lambda socket, span: Recv(socket, span, flags=OperationFlags.MULTISHOT),
        RecvFrom,
    ],
    ids=["Recv", "Recv of two", "multishot Recv", "RecvFrom"],
)
@pytest.mark.regression("regions-not-retained")
def test_a_region_with_an_operation_in_flight_cannot_be_closed(
    proactor: Proactor, sockets: Sockets, make: Callable[[Socket, Span], Operation]
) -> None:
    near, _far = sockets.tcp_pair()
    with register_buffer(proactor, bytearray(100), BOTH) as region:
        operation = make(near, region.span())
        start(proactor, operation)
        with pytest.raises(FailedPrecondition, match="1 operations are in flight"):
            region.close()
        proactor.cancel(operation)
        settle(proactor, operation)


def test_a_multishot_receive_keeps_its_region_from_one_delivery_to_the_next(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    with register_buffer(proactor, bytearray(100), BOTH) as region:
        receive = Recv(near, region.span(), completions, flags=OperationFlags.MULTISHOT)
        start(proactor, receive)
        far.stdlib.send(b"x")
        poll_until(proactor, lambda: completions.records)
        with pytest.raises(FailedPrecondition):
            region.close()
        far.close()
        settle(proactor, receive)


@pytest.mark.needs("zerocopy")
def test_a_zero_copy_send_keeps_its_region_until_the_memory_is_free(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    with register_buffer(proactor, bytearray(500_000), Access.READ) as region:
        send = Send(near, region.span(), completions, whole=True)
        proactor.submit(send)
        poll_until(proactor, lambda: proactor.statistics()["held_sends"])
        with pytest.raises(FailedPrecondition):
            region.close()
        drain(proactor, far, 500_000)
        settle(proactor, send)


@pytest.mark.parametrize(
    ("make", "access", "name"), [(Send, Access.WRITE, "data"), (Recv, Access.READ, "buffer")], ids=["Send", "Recv"]
)
def test_a_region_that_was_registered_for_something_else_is_refused(
    proactor: Proactor,
    sockets: Sockets,
    make: Callable[[Socket, Span], Operation],
    access: Access,
    name: str,
) -> None:
    near, _far = sockets.tcp_pair()
    with register_buffer(proactor, bytearray(100), access) as region:
        with pytest.raises(FailedPrecondition, match=name):
            proactor.submit(make(near, region.span()))
        assert not region.users


def test_a_refused_batch_holds_no_region(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    with register_buffer(proactor, bytearray(100), BOTH) as region:
        with pytest.raises(TypeError, match="buffer"):
            proactor.submit(Recv(near, region.span()), Recv(near, b"read-only"))
        assert not region.users


def test_a_lease_cannot_be_given_back_while_it_is_received_into(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    with Slab.allocate(100, 4) as slab, register_slab(proactor, slab, BOTH) as region, BufferPool(region) as pool:
        lease = pool.acquire()
        receive = Recv(near, lease.span)
        start(proactor, receive)
        with pytest.raises(BufferError):
            lease.release()
        far.stdlib.send(b"hello")
        settle(proactor, receive)
        assert bytes(lease.view[:5]) == b"hello"
        lease.release()
