"""SocketStream: cancelling, waiting for room, checkpoints, and many at once."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from cts.runtime.conftest import Pair
from cts.runtime.support import (
    MORE_THAN_FITS,
    Outcome,
    Ticker,
    cancelled_scope,
    error_when,
    receive_exactly,
    receive_until_end,
)
from cts.support import fill, pattern
from proactor_trio import (
    BusyResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    SocketStream,
    move_on_after,
    open_nursery,
)
from proactor_trio.lowlevel import checkpoint
from proactor_trio.proactor import Recv
from proactor_trio.testing import wait_all_tasks_blocked

# Cancelling -------------------------------------------------------------------------------------------------------


async def test_a_receive_in_a_cancelled_scope_takes_no_byte(pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"x")
    with cancelled_scope():
        await near.receive_some()
    assert await near.receive_some() == b"x"


async def test_a_receive_that_waits_is_cancelled_and_the_stream_stays_usable(pair: Pair) -> None:
    near, far = pair
    for number in range(5):
        with move_on_after(0.002) as scope:
            await near.receive_some()
        assert scope.cancelled_caught
        await far.send_all(b"%d" % number)
        assert await near.receive_some() == b"%d" % number


async def test_a_shielded_receive_outlives_the_cancellation_around_it(pair: Pair) -> None:
    near, far = pair
    received = []

    async def receive() -> None:
        with CancelScope(shield=True):
            received.append(await near.receive_some())

    async with open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert not received
            await far.send_all(b"x")
    assert received == [b"x"]


async def test_cancelling_a_receive_twice_is_as_once(pair: Pair) -> None:
    near, far = pair
    async with open_nursery() as nursery:
        nursery.start_soon(near.receive_some)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


async def test_a_receive_inside_of_two_cancelled_scopes_ends_at_the_outer_one(pair: Pair) -> None:
    near, far = pair
    with CancelScope() as outer:
        with CancelScope() as inner:
            async with open_nursery() as nursery:
                nursery.start_soon(near.receive_some)
                await wait_all_tasks_blocked()
                inner.cancel()
                outer.cancel()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


async def test_a_receive_that_is_being_cancelled_still_refuses_a_second_one(pair: Pair) -> None:
    near, far = pair
    scope = CancelScope()

    async def receive() -> None:
        with scope:
            await near.receive_some()

    async with open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        scope.cancel()
        with pytest.raises(BusyResourceError):
            await near.receive_some()
    await far.send_all(b"x")
    assert await near.receive_some() == b"x"


@pytest.mark.parametrize("seed", range(4))
async def test_no_byte_is_lost_however_cancellations_and_bytes_meet(pair: Pair, seed: int) -> None:
    near, far = pair
    choose = random.Random(seed)
    sent = bytearray()
    received = bytearray()

    def send() -> None:
        piece = choose.randbytes(choose.randrange(1, 50))
        sent.extend(piece)
        assert far.socket.proactor_socket.stdlib.send(piece) == len(piece)

    async def receive(scope: CancelScope) -> None:
        with scope:
            while True:
                received.extend(await near.receive_some(choose.choice([1, 7, None])))

    for _ in range(200):
        async with open_nursery() as nursery:
            scope = CancelScope()
            nursery.start_soon(receive, scope)
            steps: list[Callable[[], None]] = [scope.cancel] + [send] * choose.randrange(3)
            choose.shuffle(steps)
            for step in steps:
                for _ in range(choose.randrange(4)):
                    await checkpoint()
                step()
    await far.aclose()
    received.extend(await receive_until_end(near))
    assert received == sent


async def test_bytes_and_a_cancellation_in_the_same_tick_give_the_one_or_the_other(pair: Pair) -> None:
    near, far = pair
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.receive_some)
        await wait_all_tasks_blocked()
        far.socket.proactor_socket.stdlib.send(b"x")
        nursery.cancel_scope.cancel()
    left = b"" if outcome.done else await near.receive_some()
    assert (outcome.value or b"") + left == b"x"


async def test_a_send_in_a_cancelled_scope_sends_nothing(pair: Pair) -> None:
    near, far = pair
    with cancelled_scope():
        await near.send_all(b"never")
    await near.send_all(b"x")
    assert await far.receive_some() == b"x"


async def test_a_blocked_send_is_cancelled_having_sent_a_beginning_of_its_data(pair: Pair) -> None:
    near, far = pair
    data = pattern(MORE_THAN_FITS)
    with move_on_after(0.02) as scope:
        await near.send_all(data)
    assert scope.cancelled_caught
    await near.aclose()
    received = await receive_until_end(far)
    assert 0 < len(received) < len(data)
    assert received == data[: len(received)]


async def test_a_send_that_was_cancelled_half_way_lets_go_of_its_memory(pair: Pair) -> None:
    near, _ = pair
    data = bytearray(MORE_THAN_FITS)
    with move_on_after(0.01):
        await near.send_all(data)
    data.clear()


async def test_a_stream_can_send_again_after_a_cancelled_send(pair: Pair) -> None:
    near, far = pair
    with move_on_after(0.01):
        await near.send_all(bytes(MORE_THAN_FITS))
    async with open_nursery() as nursery:

        async def send() -> None:
            await near.send_all(b"again")
            await near.aclose()

        nursery.start_soon(send)
        assert (await receive_until_end(far)).endswith(b"\0again")


# Waiting for room -------------------------------------------------------------------------------------------------


async def test_an_idle_stream_has_room(pair: Pair) -> None:
    near, _ = pair
    await near.wait_send_all_might_not_block()


async def test_a_full_stream_has_room_when_the_peer_has_read(pair: Pair) -> None:
    near, far = pair
    filled = fill(near.socket.proactor_socket)
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, near.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        assert not outcome.done
        await receive_exactly(far, filled)
    assert outcome.error is None


async def test_waiting_for_room_ends_when_the_stream_is_closed(pair: Pair) -> None:
    near, _ = pair
    fill(near.socket.proactor_socket)
    error = await error_when(near.aclose, near.wait_send_all_might_not_block)
    assert isinstance(error, ClosedResourceError)


async def test_waiting_for_room_conflicts_with_a_send(pair: Pair) -> None:
    near, far = pair
    filled = fill(near.socket.proactor_socket)
    async with open_nursery() as nursery:
        nursery.start_soon(near.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        with pytest.raises(BusyResourceError):
            await near.send_all(b"x")
        await receive_exactly(far, filled)


async def test_waiting_for_room_can_be_cancelled(pair: Pair) -> None:
    near, far = pair
    filled = fill(near.socket.proactor_socket)
    with move_on_after(0.01) as scope:
        await near.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    await receive_exactly(far, filled)
    await near.send_all(b"x")
    assert await far.receive_some() == b"x"


async def test_waiting_for_room_in_a_cancelled_scope_is_a_cancellation_point(pair: Pair) -> None:
    with cancelled_scope():
        await pair[0].wait_send_all_might_not_block()


# Fast paths are checkpoints ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["receive", "send", "send nothing", "wait"])
async def test_calls_that_are_served_at_once_let_other_tasks_run(pair: Pair, call: str) -> None:
    near, far = pair
    await far.send_all(bytes(100))
    ticker = Ticker()
    async with open_nursery() as nursery:
        nursery.start_soon(ticker)
        for _ in range(100):
            if call == "receive":
                assert await near.receive_some(1)
            elif call == "wait":
                await near.wait_send_all_might_not_block()
            else:
                await near.send_all(b"x" if call == "send" else b"")
        assert ticker.count >= 99
        nursery.cancel_scope.cancel()


async def test_a_task_that_never_waits_for_the_kernel_does_not_starve_a_deadline(pair: Pair) -> None:
    near, far = pair
    with move_on_after(0.02) as scope:
        while True:
            await near.send_all(b"x")
            await far.receive_some()
    assert scope.cancelled_caught


# Many at once -----------------------------------------------------------------------------------------------------


async def echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def test_two_hundred_connections_at_once_are_answered(make_pair: Callable[[str], Pair]) -> None:
    pairs = [make_pair("unix" if number % 2 else "tcp") for number in range(200)]
    answers: dict[int, bytes] = {}
    everyone_has_sent = Event()
    sent = 0

    async def ask(number: int, stream: SocketStream) -> None:
        nonlocal sent
        question = pattern(number * 100 + 1, number)
        await stream.send_all(question)
        sent += 1
        if sent == len(pairs):
            everyone_has_sent.set()
        await everyone_has_sent.wait()
        answers[number] = await receive_exactly(stream, len(question))
        await stream.aclose()

    async with open_nursery() as nursery:
        for number, (near, far) in enumerate(pairs):
            nursery.start_soon(echo, far)
            nursery.start_soon(ask, number, near)
    assert all(answers[number] == pattern(number * 100 + 1, number) for number in range(200))


async def test_more_connections_than_receive_buffers_wait_for_bytes_that_come_all_at_once(
    make_pair: Callable[[str], Pair],
) -> None:
    pairs = [make_pair("unix") for _ in range(300)]
    received: dict[int, bytes] = {}

    async def receive(number: int, stream: SocketStream) -> None:
        received[number] = await receive_exactly(stream, 40_000)

    async with open_nursery() as nursery:
        for number, (near, _) in enumerate(pairs):
            nursery.start_soon(receive, number, near)
        await wait_all_tasks_blocked()
        for number, (_, far) in enumerate(pairs):
            assert far.socket.proactor_socket.stdlib.send(pattern(40_000, number)) == 40_000
    assert all(received[number] == pattern(40_000, number) for number in range(300))


async def test_echo_on_sixty_four_connections_for_many_ticks_is_exact(make_pair: Callable[[str], Pair]) -> None:
    rounds = 50
    done = []

    async def ask(number: int, stream: SocketStream) -> None:
        for turn in range(rounds):
            question = b"%d of %d;" % (turn, number) * (1 + turn % 13)
            await stream.send_all(question)
            assert await receive_exactly(stream, len(question)) == question
        await stream.aclose()
        done.append(number)

    async with open_nursery() as nursery:
        for number in range(64):
            near, far = make_pair("tcp")
            nursery.start_soon(echo, far)
            nursery.start_soon(ask, number, near)
    assert sorted(done) == list(range(64))


async def test_a_stream_may_be_used_by_different_tasks_one_after_another(pair: Pair) -> None:
    near, far = pair
    received = []

    async def receive() -> None:
        received.append(await near.receive_some())

    for number in range(10):
        async with open_nursery() as nursery:
            nursery.start_soon(receive)
            await far.send_all(b"%d" % number)
    assert b"".join(received) == b"0123456789"


async def test_an_operation_on_the_socket_of_a_stream_sees_the_bytes_that_the_stream_left(pair: Pair) -> None:
    near, far = pair
    await far.send_all(b"0123456789")
    assert await near.receive_some(4) == b"0123"
    buffer = bytearray(10)
    assert await Recv(near.socket.proactor_socket, buffer) == 6
    assert buffer[:6] == b"456789"


def test_a_stream_can_be_made_outside_of_a_run_but_not_used(tcp_pair: Pair) -> None:
    near, _ = tcp_pair
    coroutine = near.receive_some()
    with pytest.raises(RuntimeError, match=r"async context|task"):
        coroutine.send(None)
    assert os.fstat(near.socket.fileno())
