"""Streams over TCP: conflicts, closing, ends, connecting, serving."""

from __future__ import annotations

import functools
import socket as stdlib_socket
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from cts.semantics.support import (
    LOOPBACK,
    MORE_THAN_FITS,
    blocked,
    cancelled_block,
    is_cancel_point,
    is_schedule_point,
    leaves,
    port_of,
    receive_exactly,
    tcp_pair,
)

Pair = tuple[Any, Any]


@pytest.fixture
async def pair(lib: Any) -> AsyncGenerator[Pair, None]:
    """Two connected streams, closed after the test."""
    near, far = await tcp_pair(lib)
    async with near, far:
        yield near, far


@pytest.fixture
async def listener(lib: Any) -> AsyncGenerator[Any, None]:
    """A listener on a free port, closed after the test."""
    (listening,) = await lib.open_tcp_listeners(0, host=LOOPBACK)
    async with listening:
        yield listening


# ---- conflicts --------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_two_tasks_cannot_receive_from_one_stream(lib: Any, pair: Pair) -> None:
    near, far = pair
    async with lib.open_nursery() as nursery:
        first = await blocked(lib, nursery, near.receive_some)
        with pytest.raises(lib.BusyResourceError):
            await near.receive_some()
        await far.send_all(b"for the first")
    assert first.value == b"for the first"


@pytest.mark.semantics(31)
async def test_two_tasks_cannot_send_on_one_stream(lib: Any, pair: Pair) -> None:
    near, _ = pair
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, near.send_all, bytes(MORE_THAN_FITS))
        for call in (lambda: near.send_all(b"x"), near.wait_send_all_might_not_block, near.send_eof):
            with pytest.raises(lib.BusyResourceError):
                await call()
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(31)
async def test_one_task_may_send_while_another_receives(lib: Any, pair: Pair) -> None:
    near, far = pair
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, near.receive_some)
        await near.send_all(b"there")
        assert await receive_exactly(far, 5) == b"there"
        await far.send_all(b"back")
    assert receiving.value == b"back"


@pytest.mark.semantics(31)
async def test_a_large_transfer_arrives_whole(lib: Any, pair: Pair) -> None:
    near, far = pair
    data = bytes(range(256)) * (MORE_THAN_FITS // 256)
    async with lib.open_nursery() as nursery:
        nursery.start_soon(near.send_all, data)
        assert await receive_exactly(far, len(data)) == data


# ---- ends -------------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_the_end_of_the_stream_is_no_bytes_again_and_again(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"last")
    await far.send_eof()
    assert await receive_exactly(near, 4) == b"last"
    assert [await near.receive_some() for _ in range(3)] == [b""] * 3


@pytest.mark.semantics(31)
async def test_after_send_eof_the_other_direction_stays_open(lib: Any, pair: Pair) -> None:
    near, far = pair
    await near.send_eof()
    await near.send_eof()
    with pytest.raises(lib.ClosedResourceError):
        await near.send_all(b"too late")
    await far.send_all(b"still open")
    assert await receive_exactly(near, 10) == b"still open"


@pytest.mark.semantics(31)
async def test_iterating_gives_the_bytes_up_to_the_end(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"one two")
    await far.aclose()
    received = b""
    async for data in near:
        received += data
    assert received == b"one two"


@pytest.mark.semantics(31)
async def test_sending_to_a_peer_that_is_gone_breaks_the_stream(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.aclose()
    with pytest.raises(lib.BrokenResourceError):
        while True:
            await near.send_all(bytes(65536))


@pytest.mark.semantics(31)
async def test_a_reset_breaks_receiving_with_the_errors_of_the_system_as_the_cause(lib: Any, pair: Pair) -> None:
    near, far = pair
    far.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await far.aclose()
    with pytest.raises(lib.BrokenResourceError) as caught:
        await near.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


@pytest.mark.semantics(31)
@pytest.mark.parametrize("wrong", [0, -1])
async def test_the_largest_number_of_bytes_is_positive(lib: Any, pair: Pair, wrong: int) -> None:
    with pytest.raises(ValueError):
        await pair[0].receive_some(wrong)


@pytest.mark.semantics(31)
async def test_receiving_gives_no_more_than_was_asked_for(lib: Any, pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"0123456789")
    assert len(await near.receive_some(4)) <= 4


@pytest.mark.semantics(31)
async def test_waiting_for_room_ends_when_there_is_room(lib: Any, pair: Pair) -> None:
    near, far = pair
    await near.wait_send_all_might_not_block()
    async with lib.open_nursery() as nursery:
        with lib.CancelScope() as scope:
            nursery.start_soon(_cancel_when_blocked, lib, scope)
            await near.send_all(bytes(MORE_THAN_FITS))
        waiting = await blocked(lib, nursery, near.wait_send_all_might_not_block)
        nursery.start_soon(_receive_for_ever, far)
        while not waiting.done:
            await lib.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert waiting.error is None


async def _cancel_when_blocked(lib: Any, scope: Any) -> None:
    await lib.testing.wait_all_tasks_blocked()
    scope.cancel()


# ---- closing ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(31)
async def test_a_closed_stream_refuses_everything_but_closing(lib: Any, pair: Pair) -> None:
    near, _ = pair
    await near.aclose()
    await near.aclose()
    for call in (
        near.receive_some,
        lambda: near.send_all(b"x"),
        near.wait_send_all_might_not_block,
        near.send_eof,
    ):
        with pytest.raises(lib.ClosedResourceError):
            await call()


@pytest.mark.semantics(31)
async def test_closing_wakes_who_receives_with_closed(lib: Any, pair: Pair) -> None:
    near, _ = pair
    async with lib.open_nursery() as nursery:
        receiving = await blocked(lib, nursery, near.receive_some)
        await near.aclose()
    assert isinstance(receiving.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_closing_wakes_who_sends_with_closed(lib: Any, pair: Pair) -> None:
    near, _ = pair
    async with lib.open_nursery() as nursery:
        sending = await blocked(lib, nursery, near.send_all, bytes(MORE_THAN_FITS))
        await near.aclose()
    assert isinstance(sending.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_closing_a_listener_wakes_who_accepts_with_closed(lib: Any, listener: Any) -> None:
    async with lib.open_nursery() as nursery:
        accepting = await blocked(lib, nursery, listener.accept)
        await listener.aclose()
    assert isinstance(accepting.error, lib.ClosedResourceError)
    with pytest.raises(lib.ClosedResourceError):
        await listener.accept()


@pytest.mark.semantics(31)
async def test_a_stream_is_closed_also_when_its_task_is_cancelled(lib: Any, pair: Pair) -> None:
    near, far = pair
    with cancelled_block(lib):
        await near.aclose()
    with pytest.raises(lib.ClosedResourceError):
        await near.receive_some()
    assert await far.receive_some() == b""


@pytest.mark.semantics(31)
async def test_closing_is_a_checkpoint(lib: Any, pair: Pair) -> None:
    near, far = pair
    assert await is_schedule_point(lib, near.aclose)
    assert await is_cancel_point(lib, far.aclose)


@pytest.mark.semantics(31)
async def test_a_cancelled_receive_leaves_the_stream_usable(lib: Any, pair: Pair) -> None:
    near, far = pair
    for number in range(5):
        async with lib.open_nursery() as nursery:
            await blocked(lib, nursery, near.receive_some)
            nursery.cancel_scope.cancel()
        await far.send_all(b"%d" % number)
        assert await near.receive_some() == b"%d" % number


@pytest.mark.semantics(31)
async def test_a_cancelled_accept_leaves_the_connection_for_the_next(lib: Any, listener: Any) -> None:
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, listener.accept)
        nursery.cancel_scope.cancel()
    client = await lib.open_tcp_stream(LOOPBACK, port_of(listener))
    async with client, await listener.accept() as server:
        await client.send_all(b"hello")
        assert await receive_exactly(server, 5) == b"hello"


# ---- connecting and serving -------------------------------------------------------------------------------------


@pytest.mark.semantics(32)
async def test_a_connection_is_made_in_both_directions(lib: Any, listener: Any) -> None:
    client = await lib.open_tcp_stream(LOOPBACK, port_of(listener))
    async with client, await listener.accept() as server:
        assert client.socket.getpeername() == server.socket.getsockname()
        assert client.socket.getsockname() == server.socket.getpeername()


@pytest.mark.semantics(32)
async def test_a_refused_connection_is_an_oserror_caused_by_a_group_of_the_attempts(lib: Any, listener: Any) -> None:
    port = port_of(listener)
    await listener.aclose()
    with pytest.raises(OSError) as caught:
        await lib.open_tcp_stream(LOOPBACK, port)
    cause = caught.value.__cause__
    assert cause is not None and [type(leaf) for leaf in leaves(cause)] == [ConnectionRefusedError]
    assert isinstance(cause, ExceptionGroup)


@pytest.mark.semantics(32)
async def test_an_attempt_that_is_cancelled_closes_its_socket(lib: Any, full_listener: tuple[str, int]) -> None:
    """The comparison of descriptors around each test sees that it does."""
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, functools.partial(lib.open_tcp_stream, *full_listener))
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


@pytest.fixture
def full_listener() -> Any:
    """The address of a listener that nobody accepts from and whose queue is full: connecting blocks."""
    listener = stdlib_socket.create_server((LOOPBACK, 0), backlog=0)
    clients = []
    try:
        for _ in range(8):
            client = stdlib_socket.socket()
            clients.append(client)
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()
    finally:
        for socket in (*clients, listener):
            socket.close()


@pytest.mark.semantics(32)
async def test_connecting_in_a_cancelled_scope_connects_nobody(lib: Any, listener: Any) -> None:
    with cancelled_block(lib):
        await lib.open_tcp_stream(LOOPBACK, port_of(listener))
    client = await lib.open_tcp_stream(LOOPBACK, port_of(listener))
    async with client, await listener.accept() as server:
        assert server.socket.getpeername() == client.socket.getsockname()


@pytest.mark.semantics(32)
async def test_a_numeric_address_is_resolved_without_a_thread(
    lib: Any, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving: list[threading.Thread] = []
    original = stdlib_socket.getaddrinfo

    def observed(*args: Any, **kwargs: Any) -> Any:
        resolving.append(threading.current_thread())
        return original(*args, **kwargs)

    monkeypatch.setattr(stdlib_socket, "getaddrinfo", observed)
    client = await lib.open_tcp_stream(LOOPBACK, port_of(listener))
    async with client, await listener.accept():
        assert set(resolving) == {threading.current_thread()}


@pytest.mark.semantics(32)
async def test_a_name_is_resolved_in_a_thread_that_a_cancellation_abandons(
    lib: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on, over = threading.Event(), threading.Event(), threading.Event()
    original = stdlib_socket.getaddrinfo

    def slow(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return original(host, port, *args, **kwargs)
        asked.set()
        assert go_on.wait(10)
        over.set()
        return []

    monkeypatch.setattr(stdlib_socket, "getaddrinfo", slow)
    async with lib.open_nursery() as nursery:
        await blocked(lib, nursery, lib.open_tcp_stream, "a-name.invalid", 80)
        assert asked.wait(10)
        nursery.cancel_scope.cancel()
    assert not over.is_set()
    go_on.set()
    assert over.wait(10)


@pytest.mark.semantics(32)
async def test_a_server_handles_its_connections_side_by_side(lib: Any) -> None:
    async def echo(stream: Any) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with lib.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(lib.serve_tcp, echo, 0, host=LOOPBACK))
        clients = [await lib.open_tcp_stream(LOOPBACK, port_of(listener)) for _ in range(3)]
        for number, client in enumerate(clients):
            await client.send_all(b"%d" % number)
        for number, client in reversed(list(enumerate(clients))):
            assert await receive_exactly(client, 1) == b"%d" % number
            await client.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(32)
async def test_a_server_that_is_cancelled_closes_its_listeners_and_streams(lib: Any) -> None:
    async with lib.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(lib.serve_tcp, _receive_for_ever, 0, host=LOOPBACK))
        client = await lib.open_tcp_stream(LOOPBACK, port_of(listener))
        await lib.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with client:
        with pytest.raises(lib.ClosedResourceError):
            await listener.accept()
        assert await client.receive_some() == b""


async def _receive_for_ever(stream: Any) -> None:
    while await stream.receive_some():
        pass


@pytest.mark.semantics(32)
async def test_an_error_in_a_handler_ends_the_server(lib: Any) -> None:
    async def fail(stream: Any) -> None:
        raise KeyError("in the handler")

    with pytest.raises(ExceptionGroup) as caught:
        async with lib.open_nursery() as nursery:
            (listener,) = await nursery.start(functools.partial(lib.serve_tcp, fail, 0, host=LOOPBACK))
            async with await lib.open_tcp_stream(LOOPBACK, port_of(listener)) as client:
                await client.receive_some()
                await lib.sleep_forever()
    assert caught.value.subgroup(KeyError) is not None


@pytest.mark.semantics(32)
def test_a_run_closes_what_it_had_open(lib: Any, run: Callable[..., Any]) -> None:
    """A stream that goes through `async with` is closed however the run ends."""
    kept: list[Any] = []

    async def main() -> None:
        near, far = await tcp_pair(lib)
        kept.extend((near, far))
        async with near, far:
            raise ValueError

    with pytest.raises(ValueError):
        run(main)
    assert [stream.socket.fileno() for stream in kept] == [-1, -1]
