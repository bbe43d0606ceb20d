"""Closing: what is pending on a resource ends first, then the descriptor really is closed."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket

import pytest

from cts.configurations import Configuration
from cts.support import (
    LOOPBACK,
    PAIR_KINDS,
    Completions,
    Files,
    Sockets,
    cause_of,
    fill,
    finish,
    pattern,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    ClosedResourceError,
    CompletionFlags,
    Connect,
    FileClose,
    FileRead,
    HandlePoll,
    Operation,
    OperationCancelled,
    OperationFlags,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
)

both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)


def test_close_closes_the_descriptor(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    descriptor = near.fileno()
    assert perform(proactor, SocketClose(near)) is None
    with pytest.raises(OSError):
        os.fstat(descriptor)


def test_a_socket_counts_as_closed_from_submission_on(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    closing = SocketClose(near)
    proactor.submit(closing)
    assert near.closed and near.fileno() == -1
    settle(proactor, closing)


@both_kinds
def test_the_peer_of_a_closed_socket_sees_the_end(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    perform(proactor, SocketClose(near))
    assert perform(proactor, RecvBytes(far, 10)) == b""


@both_kinds
@pytest.mark.ring_rule(10)
def test_a_pending_receive_ends_when_its_socket_is_closed(proactor: Proactor, sockets: Sockets, kind: str) -> None:
    near, far = sockets.pair(kind)
    receive = Recv(near, bytearray(10))
    start(proactor, receive)
    closing = SocketClose(near)
    proactor.submit(closing)
    settle(proactor, receive, closing)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED
    assert perform(proactor, RecvBytes(far, 10)) == b""


@pytest.mark.regression("close-without-final-callbacks")
def test_every_kind_of_pending_operation_ends_when_its_socket_is_closed(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    fill(near)
    pending: list[Operation] = [
        Recv(near, bytearray(10)),
        RecvBytes(near, 10),
        Recv(near, bytearray(10), whole=True),
        Send(near, b"x"),
        Send(near, pattern(100_000), whole=True),
    ]
    start(proactor, *pending)
    finish(proactor, SocketClose(near))
    settle(proactor, *pending)
    assert [cause_of(operation) for operation in pending] == [CancelCause.RESOURCE_CLOSED] * len(pending)
    far.close()


def test_operations_submitted_together_with_the_close_end(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    receive, closing = RecvBytes(near, 10), SocketClose(near)
    proactor.submit(receive, closing)
    settle(proactor, receive, closing)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED
    assert closing.error is None


def test_what_is_pending_is_completed_once(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, _ = sockets.tcp_pair()
    receives = [RecvBytes(near, 10, completions) for _ in range(3)]
    start(proactor, *receives)
    finish(proactor, SocketClose(near))
    settle(proactor, *receives)
    proactor.poll(0)
    assert len(completions) == 3


@pytest.mark.needs("descriptors")
def test_a_readiness_poll_on_a_closed_socket_ends(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    waiting = HandlePoll(near)
    start(proactor, waiting)
    finish(proactor, SocketClose(near))
    settle(proactor, waiting)
    assert waiting.error is not None or waiting.result


def test_bytes_that_were_sent_before_the_close_arrive(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    perform(proactor, Send(near, b"last words"))
    perform(proactor, SocketClose(near))
    assert perform(proactor, RecvBytes(far, 100)) == b"last words"
    assert perform(proactor, RecvBytes(far, 100)) == b""


@pytest.mark.ring_rule(10)
def test_a_listener_with_a_pending_accept_frees_its_port_at_once_fifty_times(proactor: Proactor) -> None:
    listener = Socket()
    listener.bind((LOOPBACK, 0))
    address = listener.getsockname()
    for _ in range(50):
        listener.listen()
        accept, closing = Accept(listener), SocketClose(listener)
        start(proactor, accept)
        proactor.submit(closing)
        settle(proactor, accept, closing)
        listener = Socket()
        listener.bind(address)
    listener.close()


@pytest.mark.ring_rule(10)
def test_the_port_is_free_at_once_after_the_proactor_is_closed_with_a_pending_accept_twenty_times(
    configuration: Configuration,
) -> None:
    listener = Socket()
    listener.bind((LOOPBACK, 0))
    address = listener.getsockname()
    for _ in range(20):
        listener.listen()
        with Proactor(backend=configuration.backend) as proactor:
            start(proactor, Accept(listener))
        listener.close()
        listener = Socket()
        listener.bind(address)
    listener.close()


@pytest.mark.reference("MultishotTest.MultishotAccept_ListenerClose")
@pytest.mark.regression("listener-close-is-a-cancel")
def test_closing_a_listener_ends_its_multishot_accept_with_one_final_completion(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=OperationFlags.MULTISHOT)
    start(proactor, accept)
    sockets.client_of(listener)
    poll_until(proactor, lambda: len(completions) == 1)
    sockets.keep(completions.results[0])
    finish(proactor, SocketClose(listener))
    settle(proactor, accept)
    assert [record.flags for record in completions.records] == [CompletionFlags.MORE, CompletionFlags.NONE]
    assert cause_of(accept) is CancelCause.RESOURCE_CLOSED


def test_a_second_close_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    closing = SocketClose(near)
    proactor.submit(closing)
    with pytest.raises(ClosedResourceError, match="socket was closed"):
        proactor.submit(SocketClose(near))
    settle(proactor, closing)
    with pytest.raises(ClosedResourceError, match="socket was closed"):
        proactor.submit(closing)


@pytest.mark.parametrize(
    "make",
    [
        Accept,
        lambda socket: Connect(socket, (LOOPBACK, 1)),
        lambda socket: Recv(socket, bytearray(1)),
        lambda socket: RecvBytes(socket, 1),
        lambda socket: Send(socket, b"x"),
        SocketClose,
    ],
)
def test_a_closed_socket_is_refused_at_submission(proactor: Proactor, sockets: Sockets, make: type) -> None:
    near, _ = sockets.tcp_pair()
    near.close()
    with pytest.raises(ClosedResourceError, match="socket was closed"):
        proactor.submit(make(near))


def test_a_closed_socket_says_so_everywhere(sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    near.close()
    for call in (near.getsockname, near.getpeername, near.listen, lambda: near.shutdown(stdlib_socket.SHUT_WR)):
        with pytest.raises(ClosedResourceError):
            call()


def test_a_close_cannot_be_undone_by_cancelling_it(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    closing = SocketClose(near)
    proactor.submit(closing)
    proactor.cancel(closing)
    settle(proactor, closing)
    assert closing.error is None
    assert perform(proactor, RecvBytes(far, 10)) == b""


@pytest.mark.needs("files")
def test_the_close_of_a_file_cannot_be_undone_by_cancelling_it(proactor: Proactor, files: Files) -> None:
    file = files.holding(b"x")
    descriptor = file.fileno()
    closing = FileClose(file)
    proactor.submit(closing)
    proactor.cancel(closing)
    settle(proactor, closing)
    with pytest.raises(OSError) as failure:
        os.fstat(descriptor)
    assert failure.value.errno == errno.EBADF


@pytest.mark.needs("files")
def test_a_file_with_pending_reads_closes_and_each_read_ends(proactor: Proactor, files: Files) -> None:
    contents = pattern(1 << 20)
    file = files.holding(contents)
    buffers = [bytearray(1 << 20) for _ in range(8)]
    reads = [FileRead(file, buffer, 0) for buffer in buffers]
    closing = FileClose(file)
    proactor.submit(*reads)
    proactor.submit(closing)
    settle(proactor, *reads, closing)
    for read, buffer in zip(reads, buffers, strict=True):
        assert (read.result == len(contents) and buffer == contents) or cause_of(read) is CancelCause.RESOURCE_CLOSED


def test_a_refused_batch_closes_nothing(proactor: Proactor, sockets: Sockets) -> None:
    """A wrong batch is refused whole: the socket that it was going to close is still open and usable."""
    near, far = sockets.tcp_pair()
    with pytest.raises(ValueError, match="max_bytes"):
        proactor.submit(SocketClose(near), RecvBytes(far, 0))
    assert not near.closed
    perform(proactor, Send(near, b"x"))


@pytest.mark.needs("files")
def test_a_refused_batch_closes_no_file(proactor: Proactor, files: Files, sockets: Sockets) -> None:
    file = files.holding(b"x")
    near, _ = sockets.tcp_pair()
    with pytest.raises(ValueError, match="max_bytes"):
        proactor.submit(FileClose(file), RecvBytes(near, 0))
    assert not file.closed
    assert perform(proactor, FileRead(file, bytearray(1), 0)) == 1


def test_the_same_socket_twice_in_a_batch_of_closes_is_refused_and_the_first_close_undone(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, _ = sockets.tcp_pair()
    with pytest.raises(ClosedResourceError):
        proactor.submit(SocketClose(near), SocketClose(near))
    assert not near.closed


def test_a_receive_behind_the_close_of_its_own_batch_is_refused_or_ends(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    closing, receive = SocketClose(near), RecvBytes(near, 10)
    try:
        proactor.submit(closing, receive)
    except ClosedResourceError:
        return
    settle(proactor, closing, receive)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED
    assert perform(proactor, RecvBytes(far, 10)) == b""


@pytest.mark.needs("files")
def test_reads_of_a_closed_file_never_read_from_the_file_that_got_its_number(proactor: Proactor, files: Files) -> None:
    length = 300 * 1024
    (files.folder / "second").write_bytes(b"B" * length)
    for _ in range(10):
        file = files.holding(b"A" * length)
        buffers = [bytearray(length) for _ in range(16)]
        reads = [FileRead(file, buffer, 0) for buffer in buffers]
        closing = FileClose(file)
        proactor.submit(*reads)
        proactor.submit(closing)
        settle(proactor, closing)
        descriptor = os.open(files.folder / "second", os.O_RDONLY)
        settle(proactor, *reads)
        os.close(descriptor)
        assert not any(b"B" in buffer for buffer in buffers)


def test_a_receive_on_a_reused_descriptor_number_is_not_disturbed(proactor: Proactor, sockets: Sockets) -> None:
    """Close, open another socket with the same number, receive: the old registration must not matter."""
    for _ in range(30):
        near, far = sockets.unix_pair()
        receive = RecvBytes(near, 10)
        start(proactor, receive)
        finish(proactor, SocketClose(near))
        settle(proactor, receive)
        far.close()
        other_near, other_far = sockets.unix_pair()
        receive = RecvBytes(other_near, 10)
        start(proactor, receive)
        other_far.stdlib.send(b"x")
        settle(proactor, receive)
        assert receive.result == b"x"
        other_near.close()
        other_far.close()


def test_a_result_that_came_before_the_close_stands(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    far.stdlib.send(b"x")
    receive, closing = RecvBytes(near, 10), SocketClose(near)
    proactor.submit(receive)
    proactor.submit(closing)
    settle(proactor, receive, closing)
    assert receive.result == b"x" or isinstance(receive.error, OperationCancelled)
