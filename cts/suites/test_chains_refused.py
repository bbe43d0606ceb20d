"""Chains and batches that are wrong: refused whole, before anything runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cts.support import Completions, Sockets, settle
from proactor_trio.proactor import (
    Accept,
    ClosedResourceError,
    Connect,
    FileOpen,
    HandlePoll,
    Nop,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
    StatusCode,
    Timer,
    status_of,
)

pytestmark = pytest.mark.needs("links")

LINKED = OperationFlags.LINKED


def assert_refused_whole(
    proactor: Proactor, *batch: Operation, match: str, error: type[Exception] = ValueError
) -> None:
    with pytest.raises(error, match=match) as refused:
        proactor.submit(*batch)
    if error is ValueError:
        assert status_of(refused.value) is StatusCode.INVALID_ARGUMENT
    assert [operation.state for operation in batch] == [OperationState.NEW] * len(batch)
    assert proactor.statistics()["in_flight"] == 0
    assert proactor.poll(0) == 0


@pytest.mark.reference("SequenceTest.TrailingLinkedRejected")
def test_linked_on_the_only_operation_is_refused(proactor: Proactor) -> None:
    assert_refused_whole(proactor, Nop(flags=LINKED), match="last of its batch")


@pytest.mark.reference("SequenceTest.TrailingLinkedInBatchRejected")
def test_linked_on_the_last_of_several_is_refused_whole(proactor: Proactor, completions: Completions) -> None:
    assert_refused_whole(proactor, Nop(completions), Nop(completions, flags=LINKED), match="last of its batch")
    assert len(completions) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda socket, flags: Nop(flags=flags),
        lambda socket, flags: Timer(0.0, flags=flags),
        lambda socket, flags: HandlePoll(socket, flags=flags),
        lambda socket, flags: Connect(socket, ("127.0.0.1", 1), flags=flags),
        lambda socket, flags: Send(socket, b"x", flags=flags),
        lambda socket, flags: SocketClose(socket, flags=flags),
        lambda socket, flags: FileOpen("/dev/null", flags=flags),
    ],
)
@pytest.mark.regression("multishot-accepted-everywhere")
def test_multishot_on_an_operation_that_has_none_is_refused_whole(
    proactor: Proactor, sockets: Sockets, make: Callable[[Socket, OperationFlags], Operation]
) -> None:
    near, _ = sockets.tcp_pair()
    assert_refused_whole(proactor, Nop(), make(near, OperationFlags.MULTISHOT), match="MULTISHOT")


def test_multishot_and_linked_together_are_refused(proactor: Proactor, sockets: Sockets) -> None:
    accept = Accept(sockets.listener(), flags=OperationFlags.MULTISHOT | LINKED)
    assert_refused_whole(proactor, accept, Nop(), match="MULTISHOT and LINKED")


def test_linked_on_recv_bytes_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    assert_refused_whole(proactor, RecvBytes(near, 1, flags=LINKED), Nop(), match="successor")


def test_recv_bytes_may_be_the_last_step(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    chain = [Send(near, b"x", flags=LINKED), RecvBytes(far, 10)]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert chain[1].result == b"x"


def test_a_closed_socket_anywhere_refuses_the_batch_whole(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.tcp_pair()
    near.close()
    assert_refused_whole(proactor, Nop(flags=LINKED), RecvBytes(near, 1), match="closed", error=ClosedResourceError)


def test_something_else_than_an_operation_refuses_the_batch_whole(proactor: Proactor) -> None:
    nop = Nop()
    with pytest.raises(TypeError, match="operations"):
        proactor.submit(nop, "not an operation")  # type: ignore[arg-type]
    assert nop.state is OperationState.NEW
