"""SocketStream: closing, ending one direction, connections that fail, streams that are dropped."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Callable

import pytest

from cts.runtime.conftest import Pair
from cts.runtime.support import (
    MORE_THAN_FITS,
    Outcome,
    cancelled_scope,
    error_when,
    is_open,
    receive_until_end,
)
from cts.support import close_with_reset, fill
from proactor_trio import (
    BrokenResourceError,
    ClosedResourceError,
    SocketStream,
    move_on_after,
    open_nursery,
)
from proactor_trio.proactor import Socket
from proactor_trio.testing import wait_all_tasks_blocked

# Closing ----------------------------------------------------------------------------------------------------------


async def test_a_receive_ends_when_its_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    assert isinstance(await error_when(near.aclose, near.receive_some), ClosedResourceError)


async def test_a_send_ends_when_its_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    assert isinstance(await error_when(near.aclose, near.send_all, bytes(MORE_THAN_FITS)), ClosedResourceError)


async def test_both_directions_end_when_their_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    outcomes = [Outcome(), Outcome()]
    async with open_nursery() as nursery:
        nursery.start_soon(outcomes[0].of, near.receive_some)
        nursery.start_soon(outcomes[1].of, near.send_all, bytes(MORE_THAN_FITS))
        await wait_all_tasks_blocked()
        await near.aclose()
    assert [type(outcome.error) for outcome in outcomes] == [ClosedResourceError, ClosedResourceError]


async def test_the_peer_sees_the_end_when_a_stream_is_closed_under_a_receive(pair: Pair) -> None:
    near, far = pair
    await error_when(near.aclose, near.receive_some)
    assert await far.receive_some() == b""


async def test_closing_twice_is_harmless(pair: Pair) -> None:
    near, _ = pair
    await near.aclose()
    await near.aclose()


async def test_two_tasks_may_close_at_once(pair: Pair) -> None:
    near, _ = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.aclose)
        nursery.start_soon(near.aclose)


async def test_the_descriptor_is_gone_when_aclose_returns(pair: Pair) -> None:
    near, _ = pair
    descriptor = near.socket.fileno()
    await near.aclose()
    assert not is_open(descriptor)


async def test_the_descriptor_is_gone_when_aclose_returns_that_ended_a_receive(pair: Pair) -> None:
    near, _ = pair
    descriptor = near.socket.fileno()
    await error_when(near.aclose, near.receive_some)
    assert not is_open(descriptor)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("receive_some", ()), ("send_all", (b"x",)), ("send_all", (b"",)), ("send_eof", ()),
     ("wait_send_all_might_not_block", ())],
)  # fmt: skip
async def test_a_closed_stream_refuses_to_be_used(pair: Pair, call: str, arguments: tuple[bytes, ...]) -> None:
    near, _ = pair
    await near.aclose()
    with pytest.raises(ClosedResourceError):
        await getattr(near, call)(*arguments)


async def test_a_closed_stream_refuses_its_end_also_when_that_was_sent_before(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    await near.aclose()
    with pytest.raises(ClosedResourceError):
        await near.send_eof()


async def test_a_block_closes_its_stream(pair: Pair) -> None:
    near, far = pair
    async with near:
        await near.send_all(b"x")
    assert await receive_until_end(far) == b"x"


async def test_a_cancelled_close_closes_all_the_same(pair: Pair) -> None:
    near, far = pair
    descriptor = near.socket.fileno()
    with cancelled_scope():
        await near.aclose()
    assert await far.receive_some() == b""
    assert not is_open(descriptor)


async def test_a_cancelled_block_closes_its_stream(pair: Pair) -> None:
    near, far = pair
    with move_on_after(0.01) as scope:
        async with near:
            await near.receive_some()
    assert scope.cancelled_caught
    assert await far.receive_some() == b""


async def test_closing_one_stream_ends_nothing_on_the_next_with_the_same_descriptor(
    make_pair: Callable[[str], Pair],
) -> None:
    first, _ = make_pair("unix")
    number = first.socket.fileno()
    await first.aclose()
    second, peer = make_pair("unix")
    assert number in (second.socket.fileno(), peer.socket.fileno())
    await second.send_all(b"x")
    assert await peer.receive_some() == b"x"


async def test_streams_that_reuse_descriptors_never_see_bytes_of_others(make_pair: Callable[[str], Pair]) -> None:
    for number in range(50):
        near, far = make_pair("unix")
        with move_on_after(0):
            await near.receive_some()
        await far.send_all(b"%d" % number)
        assert await near.receive_some() == b"%d" % number
        await near.aclose()
        await far.aclose()


# Ending the sending side ------------------------------------------------------------------------------------------


async def test_the_peer_sees_the_end_of_what_was_sent(pair: Pair) -> None:
    near, far = pair
    await near.send_all(b"x")
    await near.send_eof()
    assert await receive_until_end(far) == b"x"


async def test_receiving_goes_on_after_the_sending_side_was_ended(pair: Pair) -> None:
    near, far = pair
    await near.send_eof()
    await far.send_all(b"answer")
    assert await near.receive_some() == b"answer"


async def test_nothing_can_be_sent_after_the_end(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    for data in (b"x", b""):
        with pytest.raises(ClosedResourceError):
            await near.send_all(data)


async def test_waiting_for_room_after_the_end_is_refused_or_returns_at_once(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    outcome = Outcome()
    with move_on_after(1) as scope:
        await outcome.of(near.wait_send_all_might_not_block)
    assert not scope.cancelled_caught
    assert outcome.error is None or isinstance(outcome.error, ClosedResourceError)


async def test_the_sending_side_can_be_ended_twice(pair: Pair) -> None:
    near, _ = pair
    await near.send_eof()
    await near.send_eof()


async def test_the_end_is_a_checkpoint_and_a_cancellation_point(pair: Pair) -> None:
    near, far = pair
    with cancelled_scope():
        await near.send_eof()
    await near.send_all(b"still open")
    assert await far.receive_some() == b"still open"


# A connection that fails ------------------------------------------------------------------------------------------


async def test_a_reset_breaks_a_receive_that_waits(tcp_pair: Pair) -> None:
    near, far = tcp_pair

    async def reset() -> None:
        close_with_reset(far.socket.proactor_socket)

    error = await error_when(reset, near.receive_some)
    assert isinstance(error, BrokenResourceError)
    assert isinstance(error.__cause__, ConnectionResetError)


async def test_a_reset_breaks_the_next_receive(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    close_with_reset(far.socket.proactor_socket)
    with pytest.raises(BrokenResourceError) as failure:
        await near.receive_some()
    assert isinstance(failure.value.__cause__, ConnectionResetError)


async def test_a_reset_breaks_a_send_that_waits(tcp_pair: Pair) -> None:
    near, far = tcp_pair

    async def reset() -> None:
        close_with_reset(far.socket.proactor_socket)

    error = await error_when(reset, near.send_all, bytes(MORE_THAN_FITS))
    assert isinstance(error, BrokenResourceError)
    assert isinstance(error.__cause__, OSError)


async def test_a_reset_breaks_the_next_send(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    close_with_reset(far.socket.proactor_socket)
    with pytest.raises(BrokenResourceError) as failure:
        await near.send_all(b"x")
    assert isinstance(failure.value.__cause__, OSError)


async def test_a_peer_that_goes_breaks_a_send_that_waits(pair: Pair) -> None:
    near, far = pair
    error = await error_when(far.aclose, near.send_all, bytes(MORE_THAN_FITS))
    assert isinstance(error, BrokenResourceError)
    assert isinstance(error.__cause__, OSError)


async def test_a_peer_that_has_gone_breaks_a_send_sooner_or_later(pair: Pair) -> None:
    near, far = pair
    await far.aclose()
    with pytest.raises(BrokenResourceError):
        while True:
            await near.send_all(b"x")


async def test_a_broken_stream_can_be_closed(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    close_with_reset(far.socket.proactor_socket)
    with pytest.raises(BrokenResourceError):
        await near.receive_some()
    await near.aclose()


async def test_bytes_that_came_before_a_unix_peer_went_are_received_after_a_failed_send(
    make_pair: Callable[[str], Pair],
) -> None:
    near, far = make_pair("unix")
    await far.send_all(b"last words")
    await far.aclose()
    with pytest.raises(BrokenResourceError):
        await near.send_all(b"x")
    assert await near.receive_some() == b"last words"


async def test_waiting_for_room_on_a_broken_connection_returns_at_once(tcp_pair: Pair) -> None:
    near, far = tcp_pair
    fill(near.socket.proactor_socket)
    close_with_reset(far.socket.proactor_socket)
    await near.wait_send_all_might_not_block()
    with pytest.raises(BrokenResourceError):
        await near.send_all(b"x")


# What is dropped --------------------------------------------------------------------------------------------------


async def test_a_stream_that_is_dropped_open_warns_and_closes_its_descriptor(collected: Callable[[], None]) -> None:
    near, far = stdlib_socket.socketpair()
    stream: SocketStream | None = SocketStream(Socket.from_stdlib(near))
    assert stream is not None
    descriptor = stream.socket.fileno()
    with far:
        with pytest.warns(ResourceWarning, match="unclosed"):
            stream = None
            collected()
        assert not is_open(descriptor)
        assert far.recv(1) == b""


async def test_a_stream_that_was_used_is_dropped_without_a_collection() -> None:
    near, far = stdlib_socket.socketpair()
    stream: SocketStream | None = SocketStream(Socket.from_stdlib(near))
    assert stream is not None
    with far:
        far.send(b"x")
        assert await stream.receive_some() == b"x"
        await stream.send_all(b"y")
        with pytest.warns(ResourceWarning, match="unclosed"):
            stream = None
        assert far.recv(2) == b"y"
        assert far.recv(1) == b""


async def test_a_stream_that_was_closed_is_dropped_silently(collected: Callable[[], None]) -> None:
    near, far = stdlib_socket.socketpair()
    with far:
        stream: SocketStream | None = SocketStream(Socket.from_stdlib(near))
        assert stream is not None
        await stream.aclose()
        stream = None
        collected()


async def test_a_stream_in_use_is_kept_alive_by_its_receive(collected: Callable[[], None]) -> None:
    near, far = stdlib_socket.socketpair()
    received = []

    async def receive() -> None:
        async with SocketStream(Socket.from_stdlib(near)) as stream:
            received.append(await stream.receive_some())

    with far:
        async with open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            collected()
            far.send(b"x")
    assert received == [b"x"]
