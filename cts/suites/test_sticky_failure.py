"""The first error that ends a connection stays with its socket, on every backend alike."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from cts.net_support import no_descriptors_left, udp
from cts.support import (
    Completions,
    Sockets,
    close_with_reset,
    finish,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    Connect,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    SendTo,
    Socket,
    StatusCode,
    status_of,
)


def reset_pair(proactor: Proactor, sockets: Sockets) -> tuple[Socket, Operation]:
    """A socket whose peer has reset the connection, and the receive that was told so."""
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    close_with_reset(far)
    settle(proactor, receive)
    return near, receive


# What is kept ---------------------------------------------------------------------------------------------------------


@pytest.mark.reference("SocketTest.StickyFailure_InitiallyOk")
def test_a_socket_begins_without_a_failure(sockets: Sockets) -> None:
    assert sockets.tcp().failure is None and sockets.tcp_pair()[0].failure is None


@pytest.mark.reference("ErrorPropagationTest.ConnectFailureCarriesCorrectStatus")
def test_a_refused_connect_is_kept(proactor: Proactor, sockets: Sockets) -> None:
    client = sockets.tcp()
    connect = finish(proactor, Connect(client, sockets.refusing_address()))
    assert status_of(connect.error) is StatusCode.UNAVAILABLE
    assert isinstance(client.failure, ConnectionRefusedError)


def test_a_reset_that_a_receive_met_is_kept(proactor: Proactor, sockets: Sockets) -> None:
    near, receive = reset_pair(proactor, sockets)
    assert isinstance(receive.error, ConnectionResetError)
    assert isinstance(near.failure, ConnectionResetError)


@pytest.mark.reference("ErrorPropagationTest.SendOnClosedConnectionSetsStickyFailure")
def test_a_broken_pipe_that_a_send_met_is_kept(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.close()
    finish(proactor, Send(near, b"x"))
    assert isinstance(near.failure, BrokenPipeError)


@pytest.mark.reference("ErrorPropagationTest.StickyFailurePersistsAcrossOperations")
def test_the_first_failure_stays(proactor: Proactor, sockets: Sockets) -> None:
    near, _receive = reset_pair(proactor, sockets)
    for _ in range(3):
        finish(proactor, Send(near, b"x"))
    assert near.failed_errno == errno.ECONNRESET


@pytest.mark.reference("SocketTest.StickyFailure_ReleaseAfterError")
def test_a_socket_with_a_failure_can_be_closed(proactor: Proactor, sockets: Sockets) -> None:
    near, _receive = reset_pair(proactor, sockets)
    near.close()
    assert near.closed


def test_the_connections_of_a_listener_keep_their_own_failures(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    first, second = sockets.client_of(listener), sockets.client_of(listener)
    accepted = [sockets.keep(perform(proactor, Accept(listener))) for _ in range(2)]
    close_with_reset(first)
    finish(proactor, RecvBytes(accepted[0], 1))
    assert isinstance(accepted[0].failure, ConnectionResetError)
    assert accepted[1].failure is None and listener.failure is None
    second.close()


# What it does ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda socket: Send(socket, b"x"),
        lambda socket: Send(socket, [b"x", b"y"]),
        lambda socket: Connect(socket, ("127.0.0.1", 1)),
    ],
    ids=["Send", "Send of two", "Connect"],
)
@pytest.mark.regression("sticky-failure-not-enforced")
def test_later_sends_and_connects_complete_with_it(
    proactor: Proactor, sockets: Sockets, make: Callable[[Socket], Operation]
) -> None:
    near, _receive = reset_pair(proactor, sockets)
    operation = finish(proactor, make(near))
    assert isinstance(operation.error, ConnectionResetError)
    assert type(operation).__name__ in str(operation.error)


def test_they_complete_in_the_next_poll_and_not_in_submit(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, _receive = reset_pair(proactor, sockets)
    proactor.submit(Send(near, b"x", completions))
    assert len(completions) == 0
    proactor.poll(0)
    assert completions.outcomes == [(None, "ConnectionResetError")]


@pytest.mark.reference("ErrorPropagationTest.OperationAfterSocketError")
def test_a_receive_still_gets_what_had_arrived(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    far.stdlib.send(b"last words")
    far.close()
    finish(proactor, Send(near, b"x"))
    received = [perform(proactor, RecvBytes(near, 5)) for _ in range(3)]
    assert received == [b"last ", b"words", b""]


def test_a_receive_after_the_failure_is_the_end_or_the_failure(proactor: Proactor, sockets: Sockets) -> None:
    near, _receive = reset_pair(proactor, sockets)
    receive = finish(proactor, RecvBytes(near, 10))
    assert receive.result == b"" or isinstance(receive.error, ConnectionResetError)


@pytest.mark.reference("ErrorPropagationTest.ProactorContinuesAfterSocketFailure")
def test_other_sockets_go_on(proactor: Proactor, sockets: Sockets) -> None:
    reset_pair(proactor, sockets)
    near, far = sockets.tcp_pair()
    perform(proactor, Send(near, b"x"))
    assert perform(proactor, RecvBytes(far, 1)) == b"x"


def test_a_chain_breaks_at_the_failure(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, _receive = reset_pair(proactor, sockets)
    linked = OperationFlags.LINKED
    chain = [Nop(completions, 0, linked), Send(near, b"x", completions, 1, linked), Nop(completions, 2)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [(0, "ok"), (1, "ConnectionResetError"), (2, "cancelled")]


@pytest.mark.reference("ErrorPropagationTest.ConnectFailurePropagatesThroughLinkedChain")
def test_a_refused_connect_cancels_the_send_after_it_and_fails_the_next(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    client, linked = sockets.tcp(), OperationFlags.LINKED
    refused = Connect(client, sockets.refusing_address(), completions, "connect", linked)
    later = Send(client, b"x", completions, "send")
    proactor.submit(refused, later)
    settle(proactor, refused, later)
    assert completions.outcomes == [("connect", "ConnectionRefusedError"), ("send", "cancelled")]
    assert isinstance(finish(proactor, Send(client, b"x")).error, ConnectionRefusedError)


def test_a_task_gets_it_too(run: Callable[..., object], sockets: Sockets) -> None:
    async def main() -> None:
        near, far = sockets.unix_pair()
        far.close()
        for _ in range(2):
            with pytest.raises(BrokenPipeError):
                await Send(near, b"x")

    run(main)


# What does not stay ---------------------------------------------------------------------------------------------------


@pytest.mark.reference("CancellationTest.CancelRecvSocketStillUsable")
@pytest.mark.regression("cancelled-marks-the-socket")
def test_a_cancelled_receive_leaves_the_socket_usable(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = Recv(near, bytearray(1))
    start(proactor, receive)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert isinstance(receive.error, OperationCancelled) and near.failure is None
    far.stdlib.send(b"x")
    assert perform(proactor, RecvBytes(near, 1)) == b"x"


@pytest.mark.reference("CancellationTest.CancelAcceptListenerStillUsable")
def test_a_cancelled_accept_leaves_the_listener_usable(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accept = Accept(listener)
    start(proactor, accept)
    proactor.cancel(accept)
    settle(proactor, accept)
    assert listener.failure is None
    sockets.client_of(listener)
    sockets.keep(perform(proactor, Accept(listener)))


def test_a_failed_accept_does_not_stay(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    with no_descriptors_left(client.fileno()):
        accept = finish(proactor, Accept(listener))
    assert isinstance(accept.error, OSError) and listener.failure is None


def test_a_datagram_that_is_too_long_does_not_stay(proactor: Proactor, sockets: Sockets) -> None:
    near, far = udp(sockets), udp(sockets)
    assert finish(proactor, SendTo(near, bytes(70_000), far.getsockname())).error is not None
    assert near.failure is None and perform(proactor, SendTo(near, b"x", far.getsockname())) == 1


def test_a_send_before_there_is_a_connection_does_not_stay(proactor: Proactor, sockets: Sockets) -> None:
    listener, client = sockets.listener(), sockets.tcp()
    assert finish(proactor, Send(client, b"x")).error is not None
    assert client.failure is None
    perform(proactor, Connect(client, listener.getsockname()))
    sockets.keep(perform(proactor, Accept(listener)))


def test_an_error_that_is_not_about_the_connection_does_not_stay(proactor: Proactor, sockets: Sockets) -> None:
    listener, client = sockets.listener(), sockets.tcp()
    perform(proactor, Connect(client, listener.getsockname()))
    again = finish(proactor, Connect(client, listener.getsockname()))
    assert isinstance(again.error, OSError) and again.error.errno == errno.EISCONN
    assert client.failure is None and perform(proactor, Send(client, b"x")) == 1


# Switched off ---------------------------------------------------------------------------------------------------------


def test_a_socket_that_keeps_no_failure_asks_the_kernel_each_time(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.keeps_failure = False
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    close_with_reset(far)
    settle(proactor, receive)
    assert near.failure is None
    # The kernel has told of the reset once; what it says of a send now is another thing.
    assert isinstance(finish(proactor, Send(near, b"x")).error, BrokenPipeError)


def test_accepted_sockets_inherit_that_from_their_listener(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    listener.keeps_failure = False
    sockets.client_of(listener)
    assert not sockets.keep(perform(proactor, Accept(listener))).keeps_failure


def test_streams_report_what_the_kernel_says_each_time(run: Callable[..., object], sockets: Sockets) -> None:
    from proactor_trio import BrokenResourceError, SocketStream

    async def main() -> None:
        near, far = sockets.tcp_pair()
        stream = SocketStream(near)
        close_with_reset(far)
        causes = []
        with pytest.raises(BrokenResourceError) as failure:
            await stream.receive_some()
        causes.append(type(failure.value.__cause__))
        with pytest.raises(BrokenResourceError) as failure:
            await stream.send_all(b"x")
        causes.append(type(failure.value.__cause__))
        assert causes == [ConnectionResetError, BrokenPipeError]
        await stream.aclose()

    run(main)


def test_an_operation_that_failed_by_it_can_be_submitted_again(proactor: Proactor, sockets: Sockets) -> None:
    near, _receive = reset_pair(proactor, sockets)
    send = Send(near, b"x")
    for _ in range(2):
        assert isinstance(finish(proactor, send).error, ConnectionResetError)
    assert send.state is OperationState.DONE


def test_a_failure_that_is_known_does_not_disturb_what_is_in_flight(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(near, 10, completions, "receive")
    start(proactor, receive)
    near.shutdown(1)
    finish(proactor, Send(near, b"x", completions, "send"))
    assert isinstance(near.failure, BrokenPipeError) and receive.state is OperationState.SUBMITTED
    far.stdlib.send(b"hello")
    poll_until(proactor, lambda: len(completions) == 2)
    assert receive.result == b"hello"
