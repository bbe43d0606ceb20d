"""TCP: accepting, serving, and running out of descriptors."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cts.runtime.support import (
    OTHER_LOOPBACK,
    Outcome,
    cancelled_scope,
    connect,
    echo,
    error_when,
    is_open,
    open_listener,
    port_of,
    receive_until_end,
)
from cts.support import LOOPBACK, Sockets, close_with_reset, open_descriptors, pattern
from proactor_trio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    Nursery,
    SocketListener,
    SocketStream,
    move_on_after,
    open_nursery,
    open_tcp_stream,
    serve_listeners,
    serve_tcp,
    sleep,
    sleep_forever,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.proactor import Accept, Connect, Operation
from proactor_trio.streams import serving
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

# Accepting --------------------------------------------------------------------------------------------------------


async def test_accept_waits_for_a_connection(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        outcome = Outcome()
        async with open_nursery() as nursery:
            nursery.start_soon(outcome.of, listener.accept)
            await wait_all_tasks_blocked()
            assert not outcome.done
            connect(sockets, listener)
        await outcome.value.aclose()


async def test_an_accepted_connection_is_not_inherited_by_programs(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        connect(sockets, listener)
        async with await listener.accept() as stream:
            assert not os.get_inheritable(stream.socket.fileno())
            assert not os.get_blocking(stream.socket.fileno())


async def test_a_cancelled_accept_leaves_the_listener_usable(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        for _ in range(5):
            with move_on_after(0.002) as scope:
                await listener.accept()
            assert scope.cancelled_caught
        connect(sockets, listener)
        async with await listener.accept():
            pass


async def test_an_accept_in_a_cancelled_scope_takes_no_connection(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        connect(sockets, listener)
        with cancelled_scope():
            await listener.accept()
        async with await listener.accept():
            pass


async def test_no_connection_is_lost_when_it_meets_a_cancellation(sockets: Sockets) -> None:
    accepted = []
    async with await open_listener() as listener:

        async def accept(scope: CancelScope) -> None:
            with scope:
                accepted.append(await listener.accept())

        for _ in range(50):
            async with open_nursery() as nursery:
                scope = CancelScope()
                nursery.start_soon(accept, scope)
                await wait_all_tasks_blocked()
                with stdlib_socket.create_connection(listener.socket.getsockname()) as client:
                    client.send(b"x")
                scope.cancel()
        with move_on_after(0.05):
            while len(accepted) < 50:
                accepted.append(await listener.accept())
    assert len(accepted) == 50
    for stream in accepted:
        assert await receive_until_end(stream) == b"x"
        await stream.aclose()


async def test_an_accept_ends_when_its_listener_is_closed() -> None:
    listener = await open_listener()
    assert isinstance(await error_when(listener.aclose, listener.accept), ClosedResourceError)


async def test_all_accepts_end_when_their_listener_is_closed() -> None:
    listener = await open_listener()
    outcomes = [Outcome() for _ in range(5)]
    async with open_nursery() as nursery:
        for outcome in outcomes:
            nursery.start_soon(outcome.of, listener.accept)
        await wait_all_tasks_blocked()
        await listener.aclose()
    assert [type(outcome.error) for outcome in outcomes] == [ClosedResourceError] * 5


async def test_a_closed_listener_refuses_to_accept() -> None:
    listener = await open_listener()
    await listener.aclose()
    await listener.aclose()
    with pytest.raises(ClosedResourceError):
        await listener.accept()


async def test_a_cancelled_close_of_a_listener_closes_it_all_the_same() -> None:
    listener = await open_listener()
    descriptor = listener.socket.fileno()
    with cancelled_scope():
        await listener.aclose()
    with CancelScope(shield=True):
        await wait_all_tasks_blocked()
    assert not is_open(descriptor)


async def test_several_tasks_accept_at_a_time_and_each_gets_a_connection_of_its_own(sockets: Sockets) -> None:
    streams: list[SocketStream] = []
    async with await open_listener() as listener:

        async def accept() -> None:
            streams.append(await listener.accept())

        async with open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(accept)
            await wait_all_tasks_blocked()
            clients = [connect(sockets, listener) for _ in range(10)]
    peers = {stream.socket.getpeername() for stream in streams}
    for stream in streams:
        await stream.aclose()
    assert peers == {client.getsockname() for client in clients}


async def test_cancelling_one_of_several_accepts_leaves_the_others(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        outcome = Outcome()
        async with open_nursery() as nursery:
            scope = CancelScope()

            async def cancelled() -> None:
                with scope:
                    await listener.accept()

            nursery.start_soon(cancelled)
            nursery.start_soon(outcome.of, listener.accept)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert not outcome.done
            connect(sockets, listener)
        await outcome.value.aclose()


async def test_a_connection_that_was_reset_before_it_was_accepted_does_not_disturb_the_next(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        close_with_reset(connect(sockets, listener))
        connect(sockets, listener).send(b"x")
        received: list[bytes] = []
        while not received:
            async with await listener.accept() as stream:
                try:
                    received.append(await stream.receive_some())
                except BrokenResourceError:
                    continue
        assert received == [b"x"]


async def test_an_error_of_one_connection_is_passed_over(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await open_listener() as listener:
        errors = [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN]
        genuine = Operation.__await__

        def fail_first(operation: Operation) -> Any:
            if errors:
                code = errors.pop()
                raise OSError(code, os.strerror(code))
            return genuine(operation)

        connect(sockets, listener)
        monkeypatch.setattr(Accept, "__await__", fail_first, raising=False)
        async with await listener.accept():
            assert not errors


# Serving ----------------------------------------------------------------------------------------------------------


async def start_server(nursery: Nursery, handler: Callable[[SocketStream], Any], **arguments: Any) -> int:
    """Serve in the nursery; the port."""

    async def serve(task_status: Any) -> None:
        await serve_tcp(handler, 0, host=LOOPBACK, task_status=task_status, **arguments)

    listeners = await nursery.start(serve)
    return port_of(listeners[0])


async def test_starting_a_server_gives_its_listeners() -> None:
    async with open_nursery() as nursery:

        async def serve(task_status: Any) -> None:
            await serve_tcp(echo, 0, host=LOOPBACK, task_status=task_status)

        listeners = await nursery.start(serve)
        assert [type(listener) for listener in listeners] == [SocketListener]
        nursery.cancel_scope.cancel()


async def test_each_connection_gets_a_handler_of_its_own() -> None:
    async def ask(port: int, number: int) -> None:
        async with await open_tcp_stream(LOOPBACK, port) as stream:
            await stream.send_all(pattern(1000, number))
            await stream.send_eof()
            assert await receive_until_end(stream) == pattern(1000, number)

    async with open_nursery() as nursery:
        port = await start_server(nursery, echo)
        async with open_nursery() as clients:
            for number in range(50):
                clients.start_soon(ask, port, number)
        nursery.cancel_scope.cancel()


async def test_a_stream_is_closed_when_its_handler_returns() -> None:
    async def say_and_leave(stream: SocketStream) -> None:
        await stream.send_all(b"bye")

    async with open_nursery() as nursery:
        port = await start_server(nursery, say_and_leave)
        async with await open_tcp_stream(LOOPBACK, port) as stream:
            assert await receive_until_end(stream) == b"bye"
        nursery.cancel_scope.cancel()


async def test_a_handler_that_crashes_ends_the_server_and_closes_everything() -> None:
    async def crash(_: SocketStream) -> None:
        raise ValueError("the handler's fault")

    before = open_descriptors()
    with pytest.raises(ExceptionGroup) as failure:
        async with open_nursery() as nursery:
            port = await start_server(nursery, crash)
            async with await open_tcp_stream(LOOPBACK, port) as stream:
                await stream.receive_some()
                await sleep_forever()
    assert failure.value.subgroup(ValueError) is not None
    assert open_descriptors() == before


async def test_cancelling_a_server_cancels_its_handlers_and_closes_its_listeners() -> None:
    ended = []

    async def wait(stream: SocketStream) -> None:
        try:
            await sleep_forever()
        finally:
            ended.append(stream)

    async with open_nursery() as nursery:
        port = await start_server(nursery, wait)
        async with await open_tcp_stream(LOOPBACK, port) as stream:
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with CancelScope(shield=True):
                assert await receive_until_end(stream) == b""
                with pytest.raises(OSError):
                    await open_tcp_stream(LOOPBACK, port)
    assert len(ended) == 1


async def test_handlers_in_a_nursery_of_the_caller_outlive_the_server() -> None:
    server_scope = CancelScope()

    async with open_nursery() as handlers, open_nursery() as nursery:

        async def serve(task_status: Any) -> None:
            with server_scope:
                await serve_tcp(echo, 0, host=LOOPBACK, handler_nursery=handlers, task_status=task_status)

        (listener,) = await nursery.start(serve)
        async with await open_tcp_stream(LOOPBACK, port_of(listener)) as stream:
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
            server_scope.cancel()
            await wait_all_tasks_blocked()
            await stream.send_all(b"y")
            assert await stream.receive_some() == b"y"


async def test_several_listeners_are_served_at_once() -> None:
    listeners = [await open_listener(), await open_listener(OTHER_LOOPBACK)]
    async with open_nursery() as nursery:
        nursery.start_soon(serve_listeners, echo, listeners)
        for listener in listeners:
            async with await open_tcp_stream(*listener.socket.getsockname()) as stream:
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"x"
        nursery.cancel_scope.cancel()


async def test_a_connection_that_comes_while_the_server_is_cancelled_is_closed(sockets: Sockets) -> None:
    for _ in range(20):
        async with open_nursery() as nursery:
            port = await start_server(nursery, echo)
            await wait_all_tasks_blocked()
            client = sockets.keep(stdlib_socket.create_connection((LOOPBACK, port)))
            nursery.cancel_scope.cancel()
        client.settimeout(1)
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass  # it was still in the queue of the listener


# Without descriptors ----------------------------------------------------------------------------------------------


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """For the length of the block every new descriptor is refused with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_an_accept_without_descriptors_is_an_error_and_the_connection_waits(sockets: Sockets) -> None:
    async with await open_listener() as listener:
        connect(sockets, listener)
        with no_more_descriptors():
            for _ in range(3):
                with pytest.raises(OSError) as failure:
                    await listener.accept()
                assert failure.value.errno == errno.EMFILE
        async with await listener.accept():
            pass


async def test_a_server_without_descriptors_logs_it_backs_off_and_survives(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "ACCEPT_RETRY_SECONDS", 0.01)
    client = sockets.tcp()
    async with open_nursery() as nursery:
        listener = await open_listener()
        nursery.start_soon(serve_listeners, echo, [listener])
        with caplog.at_level(logging.ERROR, "proactor_trio"), no_more_descriptors():
            await Connect(client, listener.socket.getsockname())
            while len(caplog.records) < 3:
                await sleep(0.001)
        assert all("EMFILE" in record.getMessage() for record in caplog.records)
        async with SocketStream(client) as stream:
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
        nursery.cancel_scope.cancel()


def test_a_server_without_descriptors_lets_other_tasks_run(
    run_with: Callable[..., Any], sockets: Sockets, caplog: pytest.LogCaptureFixture
) -> None:
    """It tries again when its time has come, and not before."""
    client = sockets.tcp()
    clock = MockClock()

    async def main() -> None:
        async with open_nursery() as nursery:
            listener = await open_listener()
            nursery.start_soon(serve_listeners, echo, [listener])
            with caplog.at_level(logging.ERROR, "proactor_trio"), no_more_descriptors():
                await Connect(client, listener.socket.getsockname())
                for tries in (1, 2):
                    while len(caplog.records) < tries:
                        await checkpoint()
                    for _ in range(100):
                        await checkpoint()
                    assert len(caplog.records) == tries, "it did not wait before it tried again"
                    clock.jump(serving.ACCEPT_RETRY_SECONDS)
            nursery.cancel_scope.cancel()

    run_with(main, clock=clock)


async def test_a_server_that_backs_off_can_be_cancelled(sockets: Sockets, caplog: pytest.LogCaptureFixture) -> None:
    client = sockets.tcp()
    with caplog.at_level(logging.ERROR, "proactor_trio"):
        async with open_nursery() as nursery:
            listener = await open_listener()
            nursery.start_soon(serve_listeners, echo, [listener])
            with no_more_descriptors():
                await Connect(client, listener.socket.getsockname())
                while not caplog.records:
                    await sleep(0.001)
                nursery.cancel_scope.cancel()


async def test_connecting_without_descriptors_is_an_error() -> None:
    async with await open_listener() as listener:
        with no_more_descriptors(), pytest.raises(OSError) as failure:
            await open_tcp_stream(LOOPBACK, port_of(listener))
    cause = failure.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [error.errno for error in cause.exceptions if isinstance(error, OSError)] == [errno.EMFILE]


async def test_one_handler_may_wait_for_another() -> None:
    arrived: list[SocketStream] = []
    both_are_here = Event()

    async def meet(stream: SocketStream) -> None:
        arrived.append(stream)
        if len(arrived) == 2:
            both_are_here.set()
        await both_are_here.wait()
        await stream.send_all(b"met")

    async with open_nursery() as nursery:
        port = await start_server(nursery, meet)
        async with await open_tcp_stream(LOOPBACK, port) as first, await open_tcp_stream(LOOPBACK, port) as second:
            assert await receive_until_end(first) == await receive_until_end(second) == b"met"
        nursery.cancel_scope.cancel()
