"""What an operation names is the operation's until its end, also when it was submitted in a completion function."""

from __future__ import annotations

import gc
import weakref

import pytest

from cts.support import Sockets, drain, fill, pattern, poll_until, settle, start
from proactor_trio.proactor import CompletionFlags, Operation, OperationState, Proactor, Recv, RecvBytes, Send

REPEATS = 20


class Bytes(bytearray):
    """Memory whose end can be seen."""


@pytest.mark.parametrize("gathered", [False, True], ids=["one buffer", "several"])
@pytest.mark.reference("DataLifetimeTest.SendFromRecvCallback_StackLocalData")
def test_a_send_of_a_callback_s_own_data_sends_that_data(proactor: Proactor, sockets: Sockets, gathered: bool) -> None:
    near, far = sockets.tcp_pair()

    def answer(operation: Operation, flags: CompletionFlags) -> None:
        local = [bytearray(b"local "), bytearray(b"data")]
        proactor.submit(Send(far, local if gathered else b"".join(local), whole=True))

    receive = RecvBytes(far, 10, answer)
    start(proactor, receive)
    near.stdlib.send(b"question")
    assert drain(proactor, near, 10) == b"local data"


@pytest.mark.reference("DataLifetimeTest.RepeatedSendFromRecvCallback_VaryingPatterns")
def test_repeated_sends_of_callbacks_keep_their_data_apart(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    numbers = iter(range(REPEATS))

    def answer(operation: Operation, flags: CompletionFlags) -> None:
        proactor.submit(Send(far, [bytearray(pattern(500, next(numbers))), pattern(500)], whole=True))

    for number in range(REPEATS):
        receive = RecvBytes(far, 1, answer)
        start(proactor, receive)
        near.stdlib.send(b"x")
        assert drain(proactor, near, 1000) == pattern(500, number) + pattern(500)


@pytest.mark.reference("DataLifetimeBackpressureTest.BackpressureSend_ContextOwnedData")
def test_a_send_that_has_to_wait_sends_the_data_that_it_was_given(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    filled = fill(near)
    send = Send(near, bytearray(b"kept"))
    start(proactor, send)
    gc.collect()
    assert send.state is OperationState.SUBMITTED
    assert drain(proactor, far, filled + 4).endswith(b"kept")
    settle(proactor, send)


@pytest.mark.reference("DataLifetimeBackpressureTest.RepeatedBackpressureSend_VaryingPatterns")
def test_repeated_sends_that_have_to_wait_keep_their_data_apart(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    for number in range(5):
        filled = fill(near)
        send = Send(near, [bytearray(pattern(300, number)), bytearray(pattern(300, number + 1))], whole=True)
        start(proactor, send)
        assert drain(proactor, far, filled + 600)[filled:] == pattern(300, number) + pattern(300, number + 1)
        settle(proactor, send)


@pytest.mark.parametrize("gathered", [False, True], ids=["one buffer", "several"])
def test_memory_lives_as_long_as_its_operation_is_in_flight_and_no_longer(
    proactor: Proactor, sockets: Sockets, gathered: bool
) -> None:
    near, far = sockets.tcp_pair()
    memory = Bytes(10)
    watched = weakref.ref(memory)
    receive = Recv(near, [memory] if gathered else memory)
    del memory
    start(proactor, receive)
    receive.buffer = b""  # what the caller drops is the caller's business
    gc.collect()
    assert watched() is not None
    far.stdlib.send(b"x")
    poll_until(proactor, lambda: receive.state is OperationState.DONE)
    gc.collect()
    assert watched() is None


def test_the_socket_lives_as_long_as_its_operation(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    del near
    gc.collect()
    far.stdlib.send(b"alive")
    settle(proactor, receive)
    assert receive.result == b"alive"
