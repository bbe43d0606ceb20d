"""Large transfers, and several connections at a time: every byte arrives once, in order, on its own connection."""

from __future__ import annotations

import socket as stdlib_socket

import pytest

from cts.support import Sockets, pattern, perform, settle
from proactor_trio.proactor import (
    Accept,
    Connect,
    Operation,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    SendFlags,
    Socket,
)

MEGABYTE = 1 << 20


def received_while(proactor: Proactor, socket: Socket, length: int, *sends: Operation) -> bytes:
    """Receive so many bytes while sends are under way, and see them done."""
    received = bytearray()
    while len(received) < length:
        piece = perform(proactor, RecvBytes(socket, 65536))
        assert piece, "the stream ended early"
        received += piece
    settle(proactor, *sends)
    return bytes(received)


@pytest.mark.reference("LargeTransferTest.LargeTransfer_1MB")
def test_a_megabyte_arrives(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    contents = pattern(MEGABYTE)
    send = Send(near, contents, whole=True)
    proactor.submit(send)
    assert received_while(proactor, far, MEGABYTE, send) == contents
    assert send.result == MEGABYTE


@pytest.mark.reference("LargeTransferTest.LargeTransfer_SmallSendBuffer")
def test_sixty_four_kilobytes_pass_through_a_small_send_buffer(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, 1)
    contents = pattern(65536)
    send = Send(near, contents, whole=True)
    proactor.submit(send)
    assert received_while(proactor, far, 65536, send) == contents


@pytest.mark.reference("LargeTransferTest.LargeTransfer_Chunked")
def test_many_sends_of_one_stream_arrive_in_order(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    pieces = [pattern(16_384, number) for number in range(64)]
    received = bytearray()
    for piece in pieces:
        perform(proactor, Send(near, piece, whole=True))
        buffer = bytearray(16_384)
        perform(proactor, Recv(far, buffer, whole=True))
        received += buffer
    assert received == b"".join(pieces)


@pytest.mark.reference("LargeTransferTest.LargeTransfer_Bidirectional")
def test_a_megabyte_goes_each_way_at_a_time(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    forth, back = pattern(MEGABYTE, 1), pattern(MEGABYTE, 2)
    received_forth, received_back = bytearray(MEGABYTE), bytearray(MEGABYTE)
    operations = [
        Send(near, forth, whole=True),
        Send(far, back, whole=True),
        Recv(far, received_forth, whole=True),
        Recv(near, received_back, whole=True),
    ]
    proactor.submit(*operations)
    settle(proactor, *operations)
    assert (received_forth, received_back) == (forth, back)


@pytest.mark.reference("ConcurrentConnectionsTest.ConcurrentConnections_Sequential")
def test_connections_one_after_the_other(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    for number in range(5):
        client = sockets.tcp()
        perform(proactor, Connect(client, listener.getsockname()))
        accepted = sockets.keep(perform(proactor, Accept(listener)))
        perform(proactor, Send(client, b"%d" % number))
        assert perform(proactor, RecvBytes(accepted, 10)) == b"%d" % number


def connections(proactor: Proactor, sockets: Sockets, count: int) -> list[tuple[Socket, Socket]]:
    """So many (client, accepted socket), made at a time."""
    listener = sockets.listener()
    clients = [sockets.tcp() for _ in range(count)]
    accepts = [Accept(listener) for _ in range(count)]
    connects = [Connect(client, listener.getsockname()) for client in clients]
    proactor.submit(*accepts, *connects)
    settle(proactor, *accepts, *connects)
    accepted = {sockets.keep(accept.result).getpeername(): accept.result for accept in accepts}
    return [(client, accepted[client.getsockname()]) for client in clients]


@pytest.mark.reference("ConcurrentConnectionsTest.ConcurrentConnections_Parallel")
def test_connections_at_a_time_keep_their_bytes_apart(proactor: Proactor, sockets: Sockets) -> None:
    pairs = connections(proactor, sockets, 10)
    contents = [pattern(20_000, number) for number in range(10)]
    buffers = [bytearray(20_000) for _ in pairs]
    sends = [Send(client, piece, whole=True) for (client, _), piece in zip(pairs, contents, strict=True)]
    receives = [Recv(accepted, buffer, whole=True) for (_, accepted), buffer in zip(pairs, buffers, strict=True)]
    proactor.submit(*sends, *receives)
    settle(proactor, *sends, *receives)
    assert buffers == contents


@pytest.mark.reference("ConcurrentConnectionsTest.ConcurrentConnections_Interleaved")
def test_interleaved_messages_stay_on_their_connections(proactor: Proactor, sockets: Sockets) -> None:
    pairs = connections(proactor, sockets, 4)
    for round_number in range(3):
        for number, (client, _) in enumerate(pairs):
            perform(proactor, Send(client, b"%d/%d" % (round_number, number)))
        for number, (_, accepted) in reversed(list(enumerate(pairs))):
            assert perform(proactor, RecvBytes(accepted, 20)) == b"%d/%d" % (round_number, number)


@pytest.mark.parametrize("pieces", [[b"one", b"two"], [b"x"] * 50], ids=["two", "fifty"])
@pytest.mark.reference("SendFlagsTest.MoreFlagCoalesces")
def test_sends_with_more_to_come_arrive_as_all_others(
    proactor: Proactor, sockets: Sockets, pieces: list[bytes]
) -> None:
    near, far = sockets.tcp_pair()
    for piece in pieces[:-1]:
        perform(proactor, Send(near, piece, send_flags=SendFlags.MORE))
    perform(proactor, Send(near, pieces[-1]))
    contents = b"".join(pieces)
    assert received_while(proactor, far, len(contents)) == contents


@pytest.mark.reference("SendFlagsTest.MoreFlagCoalesces")
def test_what_was_sent_with_more_to_come_waits_for_it(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    perform(proactor, Send(near, b"first ", send_flags=SendFlags.MORE))
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(10)
    perform(proactor, Send(near, b"second"))
    assert received_while(proactor, far, 12) == b"first second"
