"""Zero-copy sends: the memory is the kernel's until it says so, and nobody waits for that who does not want to.

Where a backend copies, the same programs give the same results, without ZERO_COPY_ACHIEVED.
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
from collections.abc import Callable

import pytest

from cts.net_support import slow_reader_pair, udp
from cts.support import (
    Completions,
    Sockets,
    close_with_reset,
    drain,
    finish,
    pattern,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    Capability,
    CompletionFlags,
    Connect,
    FailedPrecondition,
    Nop,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    RecvFrom,
    Send,
    SendFlags,
    SendTo,
    Socket,
    SocketClose,
    SocketOptions,
    SocketType,
)

ACHIEVED, NONE = CompletionFlags.ZERO_COPY_ACHIEVED, CompletionFlags.NONE

#: More than a receiver of `slow_reader_pair()` has room for, less than its sender has.
MUCH = 500_000


def held_sends(proactor: Proactor) -> int:
    """How many sends the kernel has taken whose memory it may still read."""
    return proactor.statistics()["held_sends"]


def zero_copy_pair(sockets: Sockets) -> tuple[Socket, Socket]:
    """Two connected TCP sockets; the first sends without copying."""
    near, far = sockets.tcp_pair()
    near.zero_copy = True
    return near, far


# The option -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", SocketType, ids=lambda type: type.name)
@pytest.mark.reference("ZeroCopyTest.ZeroCopy_CreateSocket")
def test_the_option_never_fails(sockets: Sockets, type: SocketType) -> None:
    try:
        sockets.keep(Socket.of_type(type, SocketOptions.ZERO_COPY))
    except OSError as error:
        assert error.errno == errno.EAFNOSUPPORT


@pytest.mark.reference("ZeroCopyTest.ZeroCopy_CombinedOptions")
def test_the_option_goes_with_others(sockets: Sockets) -> None:
    options = SocketOptions.ZERO_COPY | SocketOptions.REUSE_ADDR | SocketOptions.NO_DELAY
    created = sockets.keep(Socket(options=options))
    assert created.zero_copy and created.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("type", "can"),
    [(SocketType.TCP, True), (SocketType.UDP, True), (SocketType.UNIX_STREAM, False), (SocketType.UNIX_DGRAM, False)],
    ids=lambda value: getattr(value, "name", value),
)
def test_only_what_the_protocol_can_is_asked_for(sockets: Sockets, type: SocketType, can: bool) -> None:
    assert sockets.keep(Socket.of_type(type, SocketOptions.ZERO_COPY)).zero_copy is can


def test_accepted_sockets_inherit_it(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.keep(Socket(options=SocketOptions.ZERO_COPY))
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    sockets.client_of(listener)
    assert sockets.keep(perform(proactor, Accept(listener))).zero_copy


def test_whoever_imports_a_socket_may_declare_it(sockets: Sockets) -> None:
    imported = sockets.keep(Socket.from_descriptor(stdlib_socket.socket().detach(), zero_copy=True))
    assert imported.zero_copy


# With a completion function -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(100, id="small", marks=pytest.mark.reference("SendFlagsTest.ZeroCopySendBasic")),
        pytest.param(65536, id="64 KiB", marks=pytest.mark.reference("SendFlagsTest.ZeroCopySendLargeBuffer")),
        pytest.param(1_000_000, id="large"),
    ],
)
@pytest.mark.parametrize("make", [bytes, bytearray], ids=["bytes", "bytearray"])
@pytest.mark.reference("SendFlagsTest.ZeroCopySendUnregisteredFallback")
def test_the_bytes_arrive(
    proactor: Proactor, sockets: Sockets, completions: Completions, make: type, length: int
) -> None:
    near, far = zero_copy_pair(sockets)
    proactor.submit(Send(near, make(pattern(length)), completions, whole=True))
    assert drain(proactor, far, length) == pattern(length)
    poll_until(proactor, lambda: completions.records)
    assert completions.results == [length] and completions.records[0].is_final


@pytest.mark.reference("ZeroCopyTest.ZeroCopy_SendRecv")
def test_sockets_that_were_made_for_it_send_and_receive(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener, client = sockets.listener(), sockets.keep(Socket(options=SocketOptions.ZERO_COPY))
    perform(proactor, Connect(client, listener.getsockname()))
    server = sockets.keep(perform(proactor, Accept(listener)))
    proactor.submit(Send(client, bytearray(pattern(10_000)), completions, whole=True))
    assert drain(proactor, server, 10_000) == pattern(10_000)
    perform(proactor, Send(server, b"answer"))
    assert perform(proactor, RecvBytes(client, 10)) == b"answer"
    poll_until(proactor, lambda: completions.records)
    assert completions.results == [10_000]


def test_several_buffers_arrive_in_order(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = zero_copy_pair(sockets)
    proactor.submit(Send(near, [b"one ", bytearray(b"two "), b"", b"three"], completions))
    assert drain(proactor, far, 13) == b"one two three"
    poll_until(proactor, lambda: completions.records)
    assert completions.results == [13]


@pytest.mark.reference("SendFlagsTest.ZeroCopyWithMoreeFlag")
def test_it_goes_with_more_to_come(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = zero_copy_pair(sockets)
    proactor.submit(Send(near, b"first ", completions, send_flags=SendFlags.MORE))
    proactor.submit(Send(near, b"second", completions))
    assert drain(proactor, far, 12) == b"first second"
    poll_until(proactor, lambda: len(completions) == 2)


def test_an_empty_send_completes_with_zero(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, _far = zero_copy_pair(sockets)
    send = finish(proactor, Send(near, b"", completions))
    assert send.result == 0


@pytest.mark.reference("SendFlagsTest.ZeroCopyBufferSafetyOnCompletion")
def test_the_memory_may_be_changed_in_the_completion_function(proactor: Proactor, sockets: Sockets) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    memory = bytearray(pattern(MUCH))

    def overwrite(operation: Operation, flags: CompletionFlags) -> None:
        memory[:] = bytes(MUCH)

    send = Send(near, memory, overwrite, whole=True)
    proactor.submit(send)
    assert drain(proactor, far, MUCH) == pattern(MUCH)
    settle(proactor, send)


@pytest.mark.needs("zerocopy")
def test_the_completion_function_is_not_called_while_the_kernel_may_read(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    memory = bytearray(MUCH)
    send = Send(near, memory, completions, whole=True)
    proactor.submit(send)
    poll_until(proactor, lambda: held_sends(proactor) == 1)
    assert len(completions) == 0 and send.state is OperationState.SUBMITTED
    with pytest.raises(BufferError):
        memory.append(0)
    drain(proactor, far, MUCH)
    settle(proactor, send)
    memory.append(0)
    assert (len(completions), held_sends(proactor)) == (1, 0)


@pytest.mark.needs("zerocopy")
def test_until_then_it_cannot_be_submitted_again(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    send = Send(near, bytes(MUCH), completions, whole=True)
    proactor.submit(send)
    poll_until(proactor, lambda: held_sends(proactor) == 1)
    with pytest.raises(FailedPrecondition, match="in flight"):
        proactor.submit(send)
    drain(proactor, far, MUCH)
    settle(proactor, send)
    proactor.submit(send)
    drain(proactor, far, MUCH)
    settle(proactor, send)


@pytest.mark.needs("zerocopy")
def test_the_loopback_device_copies_and_says_so(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = zero_copy_pair(sockets)
    send = Send(near, bytes(100_000), completions, whole=True)
    proactor.submit(send)
    drain(proactor, far, 100_000)
    settle(proactor, send)
    assert completions.records[0].flags is NONE and not send.zero_copy_achieved


@pytest.mark.needs("zerocopy")
def test_what_was_not_copied_is_said_to_be_achieved(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    """A multicast datagram that may not leave this host, and that this host does not want, is dropped uncopied."""
    sender = udp_without_a_way_out(sockets)
    send = finish(proactor, SendTo(sender, bytearray(1000), ("224.0.0.251", 9), completions))
    if isinstance(send.error, OSError) and send.error.errno == errno.ENETUNREACH:
        pytest.skip("no route for multicast")
    assert (completions.results, completions.records[0].flags) == ([1000], ACHIEVED)
    assert send.zero_copy_achieved


def udp_without_a_way_out(sockets: Sockets) -> Socket:
    sender = sockets.keep(Socket.of_type(SocketType.UDP, SocketOptions.ZERO_COPY))
    sender.setsockopt(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_MULTICAST_TTL, 0)
    sender.setsockopt(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_MULTICAST_LOOP, 0)
    return sender


@pytest.mark.needs("zerocopy")
def test_an_achievement_is_not_said_of_the_next_send(proactor: Proactor, sockets: Sockets) -> None:
    sender, receiver = udp_without_a_way_out(sockets), udp(sockets)
    send = SendTo(sender, bytearray(1000), ("224.0.0.251", 9), lambda operation, flags: None)
    finish(proactor, send)
    send.address = receiver.getsockname()
    finish(proactor, send)
    assert (send.result, send.zero_copy_achieved) == (1000, False)


@pytest.mark.regression("zero-copy-error-hidden")
def test_a_failure_is_not_hidden_by_the_second_completion(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    sender, receiver = udp(sockets, SocketOptions.ZERO_COPY), udp(sockets)
    send = finish(proactor, SendTo(sender, bytearray(70_000), receiver.getsockname(), completions))
    assert isinstance(send.error, OSError) and send.error.errno == errno.EMSGSIZE
    assert [record.flags for record in completions.records] == [NONE]


def test_datagrams_of_one_and_of_several_buffers_arrive(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    sender, receiver = udp(sockets, SocketOptions.ZERO_COPY), udp(sockets)
    for data in (bytearray(b"hello"), [b"he", bytearray(b"llo")]):
        finish(proactor, SendTo(sender, data, receiver.getsockname(), completions))
        assert perform(proactor, RecvFrom(receiver, bytearray(10))) == (5, sender.getsockname())
    assert completions.results == [5, 5]


def test_an_interruption_in_the_completion_function_neither_loses_nor_doubles_anything(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = zero_copy_pair(sockets)
    calls: list[object] = []

    def interrupted(operation: Operation, flags: CompletionFlags) -> None:
        calls.append(operation.result)
        raise KeyboardInterrupt

    sends = [Send(near, bytearray(1000), interrupted) for _ in range(3)]
    proactor.submit(*sends)
    while len(calls) < 3:
        with pytest.raises(KeyboardInterrupt):
            poll_until(proactor, lambda: False)
    drain(proactor, far, 3000)
    settle(proactor, *sends)
    assert calls == [1000] * 3


# Cancelling and closing -----------------------------------------------------------------------------------------------


@pytest.mark.needs("zerocopy")
def test_cancelling_what_was_sent_gives_the_result_when_the_memory_is_free(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    send = Send(near, bytearray(MUCH), completions, whole=True)
    proactor.submit(send)
    poll_until(proactor, lambda: held_sends(proactor) == 1)
    assert proactor.cancel(send)
    proactor.poll(0)
    assert proactor.is_quiet()  # nothing is asked again and again
    drain(proactor, far, MUCH)
    settle(proactor, send)
    assert completions.results == [MUCH]


def test_cancelling_what_the_kernel_has_not_taken_ends_it(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, _far = zero_copy_pair(sockets)
    send = Send(near, bytearray(20_000_000), completions, whole=True)
    proactor.submit(send)
    proactor.poll(0.01)
    proactor.cancel(send)
    settle_after_reset(proactor, near, send)
    assert send.error is not None or 0 < send.result < 20_000_000


def settle_after_reset(proactor: Proactor, socket: Socket, *operations: Operation) -> None:
    """Close the socket so that its unsent memory is let go, and see the operations done."""
    socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    perform(proactor, SocketClose(socket))
    settle(proactor, *operations)


@pytest.mark.needs("zerocopy")
@pytest.mark.ring_rule(13)
def test_closing_the_socket_does_not_wait_for_the_memory(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    send = Send(near, bytearray(MUCH), completions, whole=True)
    proactor.submit(send)
    poll_until(proactor, lambda: held_sends(proactor) == 1)
    perform(proactor, SocketClose(near))
    assert len(completions) == 0
    drain(proactor, far, MUCH)
    settle(proactor, send)
    assert completions.results == [MUCH]


def test_closing_the_proactor_waits_for_the_memory(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions
) -> None:
    proactor = make_proactor()
    near, far = zero_copy_pair(sockets)
    send = Send(near, bytearray(b"hello"), completions)
    start(proactor, send)
    proactor.close()
    assert completions.results == [5] and far.stdlib.recv(10) == b"hello"


# Without a completion function ----------------------------------------------------------------------------------------


@pytest.mark.needs("zerocopy")
@pytest.mark.ring_rule(13)
def test_a_send_that_nobody_is_told_of_is_done_when_the_kernel_has_taken_it(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    send = finish(proactor, Send(near, bytes(MUCH), whole=True))
    assert (send.result, held_sends(proactor)) == (MUCH, 1)
    drain(proactor, far, MUCH)
    poll_until(proactor, lambda: held_sends(proactor) == 0)


@pytest.mark.needs("zerocopy")
def test_it_can_be_submitted_again_while_the_memory_is_held(proactor: Proactor, sockets: Sockets) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    first, second = pattern(MUCH, 1), pattern(MUCH, 2)
    send = finish(proactor, Send(near, first, whole=True))
    send.payload = second
    finish(proactor, send)
    assert held_sends(proactor) == 2
    del first, send
    assert drain(proactor, far, 2 * MUCH) == pattern(MUCH, 1) + second
    poll_until(proactor, lambda: held_sends(proactor) == 0)


@pytest.mark.needs("zerocopy")
@pytest.mark.parametrize(
    "data", [bytearray(MUCH), [bytes(MUCH // 2), bytearray(MUCH // 2)]], ids=["bytearray", "one of two"]
)
@pytest.mark.ring_rule(13)
def test_what_could_be_changed_is_copied_then(proactor: Proactor, sockets: Sockets, data: object) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    assert perform(proactor, Send(near, data, whole=True)) == MUCH
    assert held_sends(proactor) == 0
    drain(proactor, far, MUCH)


def test_a_task_goes_on_when_the_kernel_has_taken_the_bytes(run: Callable[..., object], sockets: Sockets) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)

    async def main() -> int:
        sent: int = await Send(near, pattern(MUCH), whole=True)
        assert await received_in_a_task(far, MUCH) == pattern(MUCH)
        return sent

    assert run(main) == MUCH


async def received_in_a_task(socket: Socket, length: int) -> bytes:
    """Receive exactly so many bytes."""
    buffer = bytearray(length)
    assert await Recv(socket, buffer, whole=True) == length
    return bytes(buffer)


def test_a_task_that_awaits_one_with_a_completion_function_goes_on_before_it_is_called(
    run: Callable[..., object], sockets: Sockets, completions: Completions
) -> None:
    from proactor_trio import sleep

    near, far = slow_reader_pair(sockets, zero_copy=True)

    async def main() -> tuple[int, bytes]:
        send = Send(near, bytearray(pattern(MUCH)), completions, whole=True)
        sent: int = await send
        received = await received_in_a_task(far, MUCH)
        while not completions.records:
            await sleep(0)
        return sent, received

    assert run(main) == (MUCH, pattern(MUCH))
    assert completions.results == [MUCH]


@pytest.mark.needs("zerocopy")
def test_memory_that_is_never_said_to_be_free_is_kept_and_reported(
    make_proactor: Callable[..., Proactor], sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proactor_trio.backends.io_uring import zero_copy

    monkeypatch.setattr(zero_copy, "LONGEST_WAIT_SECONDS", 0.01)
    proactor = make_proactor()
    near, far = slow_reader_pair(sockets, zero_copy=True)
    finish(proactor, Send(near, bytes(MUCH), whole=True))
    with pytest.warns(ResourceWarning, match="zero-copy"):
        proactor.close()
    close_with_reset(far)


# Where it is not done -------------------------------------------------------------------------------------------------


@pytest.mark.needs("zerocopy")
def test_steps_of_chains_are_copied(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    linked = OperationFlags.LINKED
    chain = [
        Send(near, bytearray(MUCH), completions, "send", linked),
        Nop(completions, "between", linked),
        Send(near, bytes(10), completions, "last"),
    ]
    proactor.submit(*chain)
    settle(proactor, *chain)
    assert completions.outcomes == [("send", "ok"), ("between", "ok"), ("last", "ok")]
    assert held_sends(proactor) == 0
    drain(proactor, far, MUCH + 10)


@pytest.mark.needs("zerocopy")
def test_what_has_a_deadline_is_copied(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    finish(proactor, Send(near, bytearray(MUCH), completions, whole=True, timeout=60))
    assert (completions.results, held_sends(proactor)) == ([MUCH], 0)
    drain(proactor, far, MUCH)


@pytest.mark.reference("SendFlagsTest.ZeroCopyFallbackWhenCapabilityDisabled")
def test_it_is_copied_where_the_capability_is_switched_off(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions
) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.ALL & ~Capability.ZERO_COPY_SEND)
    near, far = slow_reader_pair(sockets, zero_copy=True)
    send = finish(proactor, Send(near, bytearray(MUCH), completions, whole=True))
    assert [record.flags for record in completions.records] == [NONE] and not send.zero_copy_achieved
    drain(proactor, far, MUCH)


@pytest.mark.needs("zerocopy")
def test_a_socket_without_the_option_copies(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    near, far = slow_reader_pair(sockets)
    finish(proactor, Send(near, bytearray(MUCH), completions, whole=True))
    assert held_sends(proactor) == 0
    drain(proactor, far, MUCH)


@pytest.mark.needs("zerocopy")
def test_a_socket_can_be_told_to_copy_from_now_on(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = slow_reader_pair(sockets, zero_copy=True)
    send = Send(near, bytearray(MUCH), completions, whole=True)
    proactor.submit(send)
    poll_until(proactor, lambda: held_sends(proactor) == 1)
    drain(proactor, far, MUCH)
    settle(proactor, send)
    near.zero_copy = False
    finish(proactor, send)
    assert held_sends(proactor) == 0
    drain(proactor, far, MUCH)
