"""SendTo and RecvFrom, and Send and Recv on datagram sockets: one operation is one datagram."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from cts.net_support import connected_udp, fill_with_datagrams, udp, udp6, unix_datagram, unix_datagram_pair
from cts.support import (
    Completions,
    Sockets,
    cause_of,
    finish,
    pattern,
    perform,
    settle,
    start,
)
from proactor_trio.proactor import (
    Address,
    CancelCause,
    Connect,
    DeadlineExceeded,
    Nop,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    ReceivedDatagram,
    Recv,
    RecvBytes,
    RecvFrom,
    Send,
    SendTo,
    Socket,
    SocketClose,
    SocketType,
)

# With addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.reference("UnconnectedUdpTest.SendtoRecvfrom_Basic")
def test_a_datagram_comes_with_its_sender(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    buffer = bytearray(10)
    assert perform(proactor, SendTo(near, b"hello", far.getsockname())) == 5
    assert perform(proactor, RecvFrom(far, buffer)) == ReceivedDatagram(5, near.getsockname())
    assert buffer == b"hello" + bytes(5)


@pytest.mark.reference("UnconnectedUdpTest.SendtoRecvfrom_ReplyToSender")
def test_the_sender_is_where_an_answer_goes(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    perform(proactor, SendTo(near, b"question", far.getsockname()))
    _, sender = perform(proactor, RecvFrom(far, bytearray(20)))
    perform(proactor, SendTo(far, b"answer", sender))
    assert near.stdlib.recv(20) == b"answer"


@pytest.mark.reference("UnconnectedUdpTest.SendtoRecvfrom_ScatterGather")
def test_a_datagram_may_be_gathered_and_scattered(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    buffers = [bytearray(3), bytearray(4), bytearray(10)]
    assert perform(proactor, SendTo(near, [b"ab", b"", b"cdefghij"], far.getsockname())) == 10
    count, sender = perform(proactor, RecvFrom(far, buffers))
    assert (count, sender) == (10, near.getsockname())
    assert buffers == [b"abc", b"defg", b"hij" + bytes(7)]


@pytest.mark.reference("SocketTest.IPv6_CreateUDP6")
def test_over_ipv6_the_sender_has_flow_and_scope(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp6(sockets), udp6(sockets)
    perform(proactor, SendTo(near, b"x", far.getsockname()))
    assert perform(proactor, RecvFrom(far, bytearray(1))).sender == near.getsockname()


@pytest.mark.needs("abstract_names")
@pytest.mark.reference("SocketPosixTest.CreateSocket_UnixDgram")
def test_over_unix_sockets_the_sender_is_its_name(proactor: Proactor, sockets: Sockets) -> None:
    near, far = unix_datagram(sockets, "near"), unix_datagram(sockets, "far")
    perform(proactor, SendTo(near, b"x", far.getsockname()))
    assert perform(proactor, RecvFrom(far, bytearray(1))).sender == near.getsockname()


@pytest.mark.needs("abstract_names")
def test_a_unix_sender_without_a_name_is_none(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.keep(Socket.of_type(SocketType.UNIX_DGRAM)), unix_datagram(sockets, "far")
    perform(proactor, SendTo(near, b"x", far.getsockname()))
    assert perform(proactor, RecvFrom(far, bytearray(1))) == (1, None)


def test_a_destination_may_be_an_address_object(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    perform(proactor, SendTo(near, b"x", Address(far.family, far.getsockname())))
    assert far.stdlib.recv(10) == b"x"


def test_an_address_of_another_family_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    send = SendTo(udp(sockets), b"x", Address.from_string("[::1]:80"))
    with pytest.raises(ValueError, match="address"):
        proactor.submit(send)
    assert send.state is OperationState.NEW


def test_a_wrong_destination_is_refused_and_holds_no_memory(proactor: Proactor, sockets: Sockets) -> None:
    buffer = bytearray(10)
    with pytest.raises(ValueError, match="address"):
        proactor.submit(SendTo(udp(sockets), buffer, ("localhost", 80)))
    buffer.append(0)  # would raise BufferError


def test_a_receive_waits_for_its_datagram(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    receive = RecvFrom(far, bytearray(10))
    start(proactor, receive)
    assert receive.state is OperationState.SUBMITTED
    perform(proactor, SendTo(near, b"later", far.getsockname()))
    settle(proactor, receive)
    assert receive.result == (5, near.getsockname())


def test_an_empty_datagram_is_zero_bytes(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    assert perform(proactor, SendTo(near, b"", far.getsockname())) == 0
    perform(proactor, SendTo(near, b"next", far.getsockname()))
    received = [perform(proactor, RecvFrom(far, bytearray(10))).length for _ in range(2)]
    assert received == [0, 4]


@pytest.mark.parametrize(
    "buffer", [bytearray(3), [bytearray(1), bytearray(2)], bytearray()], ids=["one", "two", "empty"]
)
def test_a_datagram_that_is_longer_than_the_buffer_is_cut_and_says_so(
    proactor: Proactor, sockets: Sockets, buffer: object
) -> None:
    near, far = udp(sockets), udp(sockets)
    perform(proactor, SendTo(near, b"longer", far.getsockname()))
    receive = finish(proactor, RecvFrom(far, buffer))
    assert receive.truncated
    assert receive.result.length == (0 if buffer == b"" else 3)


def test_what_is_said_of_one_datagram_does_not_stay_for_the_next(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    receive = RecvFrom(far, bytearray(3))
    for data in (b"longer", b"fit"):
        perform(proactor, SendTo(near, data, far.getsockname()))
        finish(proactor, receive)
    assert not receive.truncated


def test_a_datagram_that_is_too_long_is_emsgsize(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    send = finish(proactor, SendTo(near, bytes(70_000), far.getsockname()))
    assert isinstance(send.error, OSError) and send.error.errno == errno.EMSGSIZE


@pytest.mark.needs("abstract_names")
@pytest.mark.parametrize(
    "make",
    [
        lambda near, far: SendTo(near, b"more", far.getsockname()),
        lambda near, far: SendTo(near, [b"mo", b"re"], far.getsockname()),
        lambda near, far: Send(near, b"more"),
        lambda near, far: Send(near, [b"mo", b"re"]),
    ],
    ids=["SendTo", "SendTo of two", "Send", "Send of two"],
)
def test_a_send_to_a_full_unix_socket_waits_and_sends_all_of_its_bytes(
    proactor: Proactor, sockets: Sockets, make: Callable[[Socket, Socket], Operation]
) -> None:
    near, far = unix_datagram(sockets, "near"), unix_datagram(sockets, "far")
    near.stdlib.connect(far.getsockname())
    filled = fill_with_datagrams(near)
    send = make(near, far)
    start(proactor, send)
    assert send.state is OperationState.SUBMITTED
    for _ in range(filled):
        far.stdlib.recv(1)
    settle(proactor, send)
    assert (send.result, far.stdlib.recv(10)) == (4, b"more")


@pytest.mark.needs("abstract_names")
def test_a_send_to_a_unix_socket_that_others_have_filled_waits_for_its_reader(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, other, far = (unix_datagram(sockets, name) for name in ("near", "other", "far"))
    other.stdlib.connect(far.getsockname())
    filled = fill_with_datagrams(other)
    send = SendTo(near, b"more", far.getsockname())
    start(proactor, send)
    for _ in range(filled):
        far.stdlib.recv(1)
    settle(proactor, send)
    assert (send.result, far.stdlib.recv(10)) == (4, b"more")


@pytest.mark.needs("abstract_names")
def test_a_send_that_waits_for_a_unix_socket_can_stand_in_a_chain(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = unix_datagram(sockets, "near"), unix_datagram(sockets, "far")
    near.stdlib.connect(far.getsockname())
    filled = fill_with_datagrams(near)
    chain = [
        Nop(completions, "first", OperationFlags.LINKED),
        Send(near, b"more", completions, "send", OperationFlags.LINKED),
        Nop(completions, "last"),
    ]
    start(proactor, *chain)
    for _ in range(filled):
        far.stdlib.recv(1)
    settle(proactor, *chain)
    assert completions.outcomes == [("first", "ok"), ("send", "ok"), ("last", "ok")]


@pytest.mark.needs("abstract_names")
def test_a_deadline_ends_a_send_that_waits_for_a_unix_socket(proactor: Proactor, sockets: Sockets) -> None:
    near, far = unix_datagram(sockets, "near"), unix_datagram(sockets, "far")
    near.stdlib.connect(far.getsockname())
    fill_with_datagrams(near)
    send = finish(proactor, SendTo(near, b"more", far.getsockname(), timeout=0.03))
    assert isinstance(send.error, DeadlineExceeded)


@pytest.mark.needs("abstract_names")
def test_closing_ends_a_send_that_waits_for_a_unix_socket(proactor: Proactor, sockets: Sockets) -> None:
    near, far = unix_datagram(sockets, "near"), unix_datagram(sockets, "far")
    near.stdlib.connect(far.getsockname())
    fill_with_datagrams(near)
    send, close = SendTo(near, b"more", far.getsockname()), SocketClose(near)
    start(proactor, send)
    proactor.submit(close)
    settle(proactor, send, close)
    assert cause_of(send) is CancelCause.RESOURCE_CLOSED


# Cancelling and closing -----------------------------------------------------------------------------------------------


@pytest.mark.regression("kinds-without-cancel")
def test_a_receive_can_be_cancelled_and_takes_no_datagram(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    receive = RecvFrom(far, bytearray(10))
    start(proactor, receive)
    assert proactor.cancel(receive)
    settle(proactor, receive)
    assert cause_of(receive) is CancelCause.REQUESTED
    perform(proactor, SendTo(near, b"x", far.getsockname()))
    assert perform(proactor, RecvFrom(far, bytearray(10))).length == 1


@pytest.mark.needs("abstract_names")
@pytest.mark.regression("kinds-without-cancel")
def test_a_send_that_waits_can_be_cancelled(proactor: Proactor, sockets: Sockets) -> None:
    near, far = unix_datagram(sockets, "near"), unix_datagram(sockets, "far")
    near.stdlib.connect(far.getsockname())
    fill_with_datagrams(near)
    send = SendTo(near, b"more", far.getsockname())
    start(proactor, send)
    assert proactor.cancel(send)
    settle(proactor, send)
    assert cause_of(send) is CancelCause.REQUESTED


def test_a_datagram_that_came_before_the_cancellation_is_delivered_or_stays(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = udp(sockets), udp(sockets)
    receive = RecvFrom(far, bytearray(10))
    start(proactor, receive)
    near.stdlib.sendto(b"race", far.getsockname())
    proactor.cancel(receive)
    settle(proactor, receive)
    received = receive.result or perform(proactor, RecvFrom(far, bytearray(10)))
    assert received == (4, near.getsockname())


def test_closing_the_socket_ends_a_receive(proactor: Proactor, sockets: Sockets) -> None:
    far = udp(sockets)
    receive, close = RecvFrom(far, bytearray(10)), SocketClose(far)
    start(proactor, receive)
    proactor.submit(close)
    settle(proactor, receive, close)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED


def test_several_receives_take_one_datagram_each(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    buffers = [bytearray(10) for _ in range(3)]
    receives = [RecvFrom(far, buffer) for buffer in buffers]
    start(proactor, *receives)
    for data in (b"a", b"bb", b"ccc"):
        perform(proactor, SendTo(near, data, far.getsockname()))
    settle(proactor, *receives)
    received = {bytes(buffer[: receive.result.length]) for buffer, receive in zip(buffers, receives, strict=True)}
    assert received == {b"a", b"bb", b"ccc"}


# In chains ------------------------------------------------------------------------------------------------------------


def test_a_short_datagram_does_not_break_a_chain(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = udp(sockets), udp(sockets)
    near.stdlib.sendto(b"abc", far.getsockname())
    chain = [
        RecvFrom(far, bytearray(100), completions, "receive", OperationFlags.LINKED),
        SendTo(far, b"answer", near.getsockname(), completions, "send"),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("receive", "ok"), ("send", "ok")]
    assert near.stdlib.recv(10) == b"answer"


def test_recv_in_a_chain_takes_one_datagram(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    for data in (b"one", b"two"):
        near.stdlib.send(data)
    buffer = bytearray(100)
    chain = [Recv(far, buffer, flags=OperationFlags.LINKED), Send(far, b"answer")]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert (chain[0].result, chain[1].result, bytes(buffer[:6])) == (3, 6, b"one" + bytes(3))


def test_whole_does_not_put_datagrams_together(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    for data in (b"one", b"two"):
        near.stdlib.send(data)
    assert perform(proactor, Recv(far, bytearray(6), whole=True)) == 3


# Connected ------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("UdpTest.UDP_ConnectedLoopback")
def test_connect_sets_the_peer_of_a_datagram_socket(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    perform(proactor, Connect(near, far.getsockname()))
    perform(proactor, Send(near, b"hello"))
    assert perform(proactor, RecvBytes(far, 100)) == b"hello"


def test_a_datagram_socket_may_be_connected_anew(proactor: Proactor, sockets: Sockets) -> None:
    near, first, second = udp(sockets), udp(sockets), udp(sockets)
    for peer in (first, second):
        perform(proactor, Connect(near, peer.getsockname()))
    perform(proactor, Send(near, b"x"))
    assert second.stdlib.recv(10) == b"x"


UDP_BOUNDARY = pytest.mark.reference("UdpTest.UDP_MessageBoundary")
UNIX_BOUNDARY = pytest.mark.reference(
    "SocketPosixTest.UnixDgram_MessageBoundary", "SocketPosixTest.UnixDgram_ConnectedLoopback"
)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(connected_udp, id="udp", marks=UDP_BOUNDARY),
        pytest.param(unix_datagram_pair, id="unix", marks=[UNIX_BOUNDARY, pytest.mark.needs("unix_sockets")]),
    ],
)
def test_datagrams_keep_their_boundaries(proactor: Proactor, sockets: Sockets, make: type) -> None:
    near, far = make(sockets)
    for message in (b"one", b"three"):
        perform(proactor, Send(near, message))
    assert [perform(proactor, RecvBytes(far, 100)) for _ in range(2)] == [b"one", b"three"]


@pytest.mark.reference("UdpTest.UDP_Bidirectional")
def test_datagrams_go_both_ways(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    forth, back = bytearray(10), bytearray(10)
    operations = [Recv(far, forth), Recv(near, back), Send(near, b"forth"), Send(far, b"back")]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert (forth[:5], back[:4]) == (b"forth", b"back")


@pytest.mark.reference("UdpTest.UDP_BurstTransfer")
def test_a_burst_arrives_in_order(proactor: Proactor, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    sends = [Send(near, pattern(100, number)) for number in range(50)]
    proactor.submit(*sends)
    settle(proactor, *sends)
    assert [perform(proactor, RecvBytes(far, 200)) for _ in range(50)] == [pattern(100, number) for number in range(50)]


# What ICMP says -------------------------------------------------------------------------------------------------------


def test_that_nobody_listens_fails_one_operation_and_is_forgotten(proactor: Proactor, sockets: Sockets) -> None:
    near, gone = udp(sockets), udp(sockets)
    address = gone.getsockname()
    perform(proactor, Connect(near, address))
    gone.close()
    receive = RecvFrom(near, bytearray(10))
    start(proactor, receive)
    perform(proactor, Send(near, b"x"))
    settle(proactor, receive)
    assert isinstance(receive.error, ConnectionRefusedError) and near.failure is None
    assert perform(proactor, Send(near, b"x")) == 1


def test_the_stream_of_a_tcp_socket_can_be_received_with_recv_from(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    perform(proactor, Send(near, b"abc"))
    assert perform(proactor, RecvFrom(far, bytearray(10))).length == 3
