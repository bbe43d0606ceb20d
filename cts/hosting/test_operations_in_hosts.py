"""Every kind of operation that matters, performed in tasks of plain Trio and of plain asyncio."""

from __future__ import annotations

import os
import socket as stdlib_socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cts.hosting.hosts import Bridge, Host
from cts.support import LOOPBACK, Completions, Files, Sockets, cause_of, pattern, pipe
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    ClosedResourceError,
    CompletionFlags,
    Connect,
    DeadlineExceeded,
    Event,
    EventWait,
    FailedPrecondition,
    FileClose,
    FileOpen,
    FileRead,
    FileStatus,
    FileSync,
    FileWrite,
    HandlePoll,
    Nop,
    Notification,
    NotificationWait,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    PollEvents,
    Recv,
    RecvBytes,
    RecvFrom,
    SemaphoreSignal,
    SemaphoreWait,
    Send,
    SendTo,
    Sequence,
    Socket,
    SocketClose,
    StreamRead,
    TimelineSemaphore,
    Timer,
)

LINKED = OperationFlags.LINKED
MULTISHOT = OperationFlags.MULTISHOT
MANY = 200


# Kinds ---------------------------------------------------------------------------------------------------------------


def test_a_timer(host: Host) -> None:
    async def scene(bridge: Bridge, _: Host) -> float:
        begin = time.monotonic()
        await bridge.perform(Timer(begin + 0.01))
        return time.monotonic() - begin

    assert 0.01 <= host.run(scene) < 5


def test_bytes_there_and_back(host: Host, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def scene(bridge: Bridge, _: Host) -> Any:
        await bridge.perform(Send(near, b"ping"))
        return await bridge.perform(RecvBytes(far, 100))

    assert host.run(scene) == b"ping"


def test_into_the_callers_memory(host: Host, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    into = bytearray(4)

    async def scene(bridge: Bridge, _: Host) -> Any:
        await bridge.perform(Send(near, b"ping"))
        return await bridge.perform(Recv(far, into))

    assert (host.run(scene), into) == (4, b"ping")


def test_a_connection_is_made_and_accepted(host: Host, sockets: Sockets) -> None:
    listener = sockets.listener()

    async def scene(bridge: Bridge, host: Host) -> Any:
        async with host.start(bridge.perform, Accept(listener)) as accepting:
            client = sockets.keep(Socket())
            await bridge.perform(Connect(client, listener.getsockname()))
        server = sockets.keep(accepting.value)
        return client.getsockname() == server.getpeername()

    assert host.run(scene)


def test_datagrams(host: Host, sockets: Sockets) -> None:
    near, far = (sockets.keep(Socket(stdlib_socket.AF_INET, stdlib_socket.SOCK_DGRAM)) for _ in range(2))
    near.bind((LOOPBACK, 0))
    far.bind((LOOPBACK, 0))
    into = bytearray(10)

    async def scene(bridge: Bridge, _: Host) -> Any:
        await bridge.perform(SendTo(near, b"ping", far.getsockname()))
        received = await bridge.perform(RecvFrom(far, into))
        return received.length

    assert host.run(scene) == 4


def test_a_send_without_a_copy(host: Host, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    near.zero_copy = True
    data = pattern(100_000)

    async def scene(bridge: Bridge, host: Host) -> Any:
        async with host.start(_receive_all, bridge, far, len(data)) as receiving:
            sent = await bridge.perform(Send(near, data))
        return sent, receiving.value

    assert host.run(scene) == (len(data), data)


async def _receive_all(bridge: Bridge, socket: Socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        received += await bridge.perform(RecvBytes(socket, 1 << 16))
    return received


def test_the_life_of_a_file(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def scene(bridge: Bridge, _: Host) -> Any:
        file = await bridge.perform(FileOpen(path, os.O_CREAT | os.O_RDWR))
        await bridge.perform(FileWrite(file, b"contents", 0))
        await bridge.perform(FileSync(file))
        into = bytearray(8)
        await bridge.perform(FileRead(file, into, 0))
        status = await bridge.perform(FileStatus(file))
        await bridge.perform(FileClose(file))
        return into, status.st_size

    assert host.run(scene) == (b"contents", 8)


def test_an_event_that_another_thread_sets(host: Host) -> None:
    event = Event()

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, EventWait(event)) as waiting:
            _in_thread(event.set)
        assert waiting.word == "ok"

    host.run(scene)
    event.close()


def test_a_semaphore_that_another_thread_signals(host: Host) -> None:
    semaphore = TimelineSemaphore()

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, SemaphoreWait([semaphore], [1])) as waiting:
            _in_thread(lambda: semaphore.signal(1))
        assert waiting.word == "ok"

    host.run(scene)


def test_a_semaphore_that_a_task_signals(host: Host) -> None:
    """Nothing comes from outside here: the wait is finished by the loop's own thread."""
    semaphore = TimelineSemaphore()

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, SemaphoreWait([semaphore], [1])) as waiting:
            semaphore.signal(1)
        assert waiting.word == "ok"

    host.run(scene)


def test_a_signal_as_an_operation(host: Host) -> None:
    semaphore = TimelineSemaphore()

    async def scene(bridge: Bridge, _: Host) -> None:
        await bridge.perform(SemaphoreSignal([semaphore], [3]))

    host.run(scene)
    assert semaphore.query() == 3


def test_a_notification(host: Host) -> None:
    notification = Notification()

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, NotificationWait(notification)) as waiting:
            _in_thread(notification.signal)
        assert waiting.word == "ok"

    host.run(scene)


def test_readiness_of_a_descriptor(host: Host) -> None:
    with pipe() as (reader, writer):

        async def scene(bridge: Bridge, host: Host) -> Any:
            async with host.start(bridge.perform, HandlePoll(reader, PollEvents.IN)) as waiting:
                os.write(writer, b"x")
            return waiting.value

        assert host.run(scene) & PollEvents.IN


def test_a_sequence(host: Host, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def scene(bridge: Bridge, _: Host) -> Any:
        await bridge.perform(Sequence([Send(near, b"a"), Nop(), Send(near, b"b")]))
        return await bridge.perform(RecvBytes(far, 10))

    assert host.run(scene) == b"ab"


def test_many_at_once(host: Host, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(MANY)]

    async def scene(bridge: Bridge, host: Host) -> None:
        receives = [RecvBytes(near, 10) for near, _ in pairs]
        bridge.proactor.submit(*receives)
        await host.checkpoint()
        for _, far in pairs:
            far.stdlib.send(b"x")
        for receive in receives:
            assert await bridge.perform(receive) == b"x"

    host.run(scene)


# Batches, chains, completion functions -------------------------------------------------------------------------------


def test_the_steps_of_a_chain_are_awaited_one_by_one(host: Host, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    into = bytearray(3)
    chain = Recv(near, into, flags=LINKED), Send(near, into)

    async def scene(bridge: Bridge, _: Host) -> Any:
        bridge.proactor.submit(*chain)
        await bridge.perform(Send(far, b"abc"))
        return [await bridge.perform(step) for step in chain], await bridge.perform(RecvBytes(far, 10))

    assert host.run(scene) == ([3, 3], b"abc")


def test_a_step_that_is_done_already_is_returned(host: Host) -> None:
    async def scene(bridge: Bridge, host: Host) -> Any:
        nop = Nop()
        bridge.proactor.submit(nop)
        await host.until(lambda: nop.state is OperationState.DONE)
        await bridge.perform(nop)
        return nop.error

    assert host.run(scene) is None


def test_the_later_steps_of_a_broken_chain_say_so(host: Host, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    chain = Recv(near, bytearray(3), flags=LINKED), Send(near, b"never")

    async def scene(bridge: Bridge, _: Host) -> None:
        bridge.proactor.submit(*chain)
        far.close()
        with pytest.raises(OperationCancelled):
            await bridge.perform(chain[1])

    host.run(scene)
    assert cause_of(chain[1]) is CancelCause.EARLIER_STEP_FAILED


def test_multishot_with_a_completion_function(host: Host, sockets: Sockets) -> None:
    listener = sockets.listener()
    accepted: list[Socket] = []

    def keep(operation: Operation, flags: CompletionFlags) -> None:
        if flags & CompletionFlags.MORE:
            accepted.append(sockets.keep(operation.result))

    async def scene(bridge: Bridge, host: Host) -> None:
        accept = Accept(listener, keep, flags=MULTISHOT)
        bridge.proactor.submit(accept)
        for _ in range(3):
            sockets.client_of(listener)
        await host.until(lambda: len(accepted) == 3)
        bridge.proactor.cancel(accept)
        await host.until(lambda: accept.state is OperationState.DONE)

    host.run(scene)


def test_multishot_cannot_be_awaited(host: Host, sockets: Sockets) -> None:
    listener = sockets.listener()

    async def scene(bridge: Bridge, _: Host) -> None:
        with pytest.raises(ValueError, match="MULTISHOT"):
            await bridge.perform(Accept(listener, flags=MULTISHOT))

    host.run(scene)


def test_an_operation_that_is_awaited_also_calls_its_completion_function(host: Host, completions: Completions) -> None:
    async def scene(bridge: Bridge, _: Host) -> None:
        await bridge.perform(Nop(completions))

    host.run(scene)
    assert len(completions) == 1


def test_a_completion_function_may_submit(host: Host, completions: Completions) -> None:
    async def scene(bridge: Bridge, host: Host) -> None:
        first = Nop(lambda _operation, _flags: bridge.proactor.submit(Nop(completions)))
        bridge.proactor.submit(first)
        await host.until(lambda: len(completions))

    host.run(scene)


def test_an_operation_is_performed_again(host: Host, sockets: Sockets) -> None:
    near, far = sockets.unix_pair()
    receive = RecvBytes(far, 1)

    async def scene(bridge: Bridge, _: Host) -> Any:
        await bridge.perform(Send(near, b"ab"))
        return await bridge.perform(receive), await bridge.perform(receive)

    assert host.run(scene) == (b"a", b"b")


# Errors --------------------------------------------------------------------------------------------------------------


def test_an_error_of_the_system(host: Host, sockets: Sockets) -> None:
    address = sockets.refusing_address()
    client = sockets.tcp()

    async def scene(bridge: Bridge, _: Host) -> None:
        with pytest.raises(ConnectionRefusedError):
            await bridge.perform(Connect(client, address))

    host.run(scene)


def test_the_operations_own_deadline(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge, _: Host) -> None:
        with pytest.raises(DeadlineExceeded):
            await bridge.perform(RecvBytes(near, 10, timeout=0.01))

    host.run(scene)


def test_a_software_operations_deadline(host: Host) -> None:
    async def scene(bridge: Bridge, _: Host) -> None:
        with pytest.raises(DeadlineExceeded):
            await bridge.perform(SemaphoreWait([TimelineSemaphore()], [1], timeout=0.01))

    host.run(scene)


def test_a_socket_that_is_closed_meanwhile(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, RecvBytes(near, 10)) as receiving:
            await bridge.perform(SocketClose(near))
        assert receiving.word == ClosedResourceError.__name__

    host.run(scene)


def test_an_operation_that_another_task_cancels(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, receive) as receiving:
            bridge.proactor.cancel(receive)
        assert receiving.word == OperationCancelled.__name__

    host.run(scene)


def test_what_cannot_be_submitted_is_refused_at_once(host: Host, sockets: Sockets) -> None:
    near = sockets.tcp()
    near.close()

    async def scene(bridge: Bridge, _: Host) -> None:
        with pytest.raises(ClosedResourceError):
            await bridge.perform(RecvBytes(near, 10))

    host.run(scene)


def test_two_tasks_cannot_wait_for_one_operation(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()
    receive = RecvBytes(near, 10)

    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.start(bridge.perform, receive) as receiving:
            with pytest.raises(FailedPrecondition, match="another task"):
                await bridge.perform(receive)
            receiving.cancel()

    host.run(scene)


def test_a_step_that_was_given_to_another_proactor_is_refused(host: Host) -> None:
    async def scene(bridge: Bridge, host: Host) -> None:
        async with host.open_bridge() as other:
            timer = Timer(time.monotonic() + 1000)
            other.proactor.submit(timer)
            with pytest.raises(FailedPrecondition, match="submitted to"):
                await bridge.perform(timer)

    host.run(scene)


# Threads, idleness ---------------------------------------------------------------------------------------------------


def test_wake_from_another_thread_is_a_turn(host: Host) -> None:
    async def scene(bridge: Bridge, host: Host) -> None:
        turns = bridge.turns
        _in_thread(bridge.proactor.wake)
        await host.until(lambda: bridge.turns > turns)

    host.run(scene)


def test_another_thread_submits(host: Host, completions: Completions) -> None:
    async def scene(bridge: Bridge, _: Host) -> None:
        done = Event()
        thread = threading.Thread(target=bridge.proactor.submit, args=(Nop(lambda *_: done.set()),))
        thread.start()
        await bridge.perform(EventWait(done))
        thread.join()
        done.close()

    host.run(scene)


def test_a_posted_call_of_another_thread_is_made_in_the_loop(host: Host) -> None:
    threads: list[int] = []

    async def scene(bridge: Bridge, host: Host) -> None:
        _in_thread(lambda: bridge.proactor.post(lambda: threads.append(threading.get_ident())))
        await host.until(lambda: threads)

    host.run(scene)
    assert threads == [threading.get_ident()]


def test_an_idle_bridge_takes_no_turns(host: Host, sockets: Sockets) -> None:
    near, _far = sockets.unix_pair()

    async def scene(bridge: Bridge, host: Host) -> int:
        async with host.start(bridge.perform, RecvBytes(near, 10)) as receiving:
            begin = time.monotonic()
            await host.until(lambda: time.monotonic() > begin + 0.02)
            turns = bridge.turns
            await host.until(lambda: time.monotonic() > begin + 0.05)
            turns = bridge.turns - turns
            receiving.cancel()
        return turns

    assert host.run(scene) == 0


def test_what_is_submitted_together_needs_few_turns(host: Host, sockets: Sockets) -> None:
    pairs = [sockets.unix_pair() for _ in range(50)]

    async def scene(bridge: Bridge, host: Host) -> int:
        turns = bridge.turns
        sends = [Send(near, b"x") for near, _ in pairs]
        for send in sends:
            bridge.proactor.submit(send)
        for send in sends:
            await bridge.perform(send)
        return bridge.turns - turns

    assert host.run(scene) <= 5


def test_a_pipe_that_blocks_the_reader(host: Host) -> None:
    with pipe() as (reader, writer):

        async def scene(bridge: Bridge, host: Host) -> Any:
            into = bytearray(5)
            async with host.start(bridge.perform, StreamRead(reader, into)) as reading:
                os.write(writer, b"bytes")
            return reading.value, into

        assert host.run(scene) == (5, b"bytes")


def test_a_large_file_is_read(host: Host, files: Files) -> None:
    contents = pattern(1 << 20)
    file = files.holding(contents)
    into = bytearray(len(contents))

    async def scene(bridge: Bridge, _: Host) -> Any:
        return await bridge.perform(FileRead(file, into, 0))

    assert (host.run(scene), into) == (len(contents), contents)


def _in_thread(function: Any) -> None:
    """Call it in another thread, and wait for that."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
