"""Frontier exchanges on bad days: lines that are cut, peers that lie, leases that end. In memory, under a MockClock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cts.runtime.exchange_scenes import (
    LEASE,
    Line,
    axis_of,
    host,
    host_and_handmade_peer,
    identity_of,
    in_state,
    reached,
    some_error,
    tracker_of,
    trouble_with,
    two_hosts_on_a_line,
)
from proactor_trio import CancelScope, current_time, open_nursery, sleep, sleep_forever
from proactor_trio.frontier_exchange import (
    BadFrame,
    HostLost,
    HostRefused,
    HostState,
    RemoteAxisFailed,
    StreamTransport,
    Update,
    open_exchange,
)
from proactor_trio.frontier_exchange.stream_transport import GREETING_SECONDS, MOST_STRANGERS
from proactor_trio.frontier_exchange.wire import LARGEST_BODY, Goodbye, Refusal, encode
from proactor_trio.testing import MockClock, wait_all_tasks_blocked

Scene = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture
def play(run_with: Callable[..., Any]) -> Scene:
    """Runs an async function under a clock that jumps whenever nothing is left to do."""
    return lambda scene: run_with(scene, clock=MockClock(autojump_threshold=0))


# Leases -----------------------------------------------------------------------------------------------------------


def test_a_host_that_vanishes_fails_its_axes_after_its_lease(play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, line):
            cut_at = current_time()
            line.cut()
            with pytest.raises(HostLost, match=r"machine 1 has vanished.* lease of 8 s") as caught:
                await reached(near.tracker, (far.axis, 1))
            assert (caught.value.machine_index, caught.value.lease) == (1, LEASE)
            # The last sign may have come an eighth of the lease before the cut.
            assert 1.25 * LEASE - LEASE / 8 <= current_time() - cut_at <= 1.5 * LEASE
            assert near.exchange.peers[1].state is HostState.LOST

    play(scene)


def test_the_lease_is_that_of_the_host_that_vanishes(play: Scene) -> None:
    async def scene() -> None:
        line = Line()
        async with (
            host(tracker_of(0), StreamTransport({}, [line]), lease=1000.0) as near,
            host(tracker_of(1), StreamTransport({0: line.dial}), lease=2.0),
        ):
            await near.exchange.wait_for_peer(1)
            line.cut()
            started = current_time()
            with pytest.raises(HostLost, match="lease of 2 s"):
                await reached(near.tracker, (axis_of(1), 1))
            assert current_time() - started <= 3.0

    play(scene)


def test_signs_of_life_keep_a_host_that_has_nothing_to_say(play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, _line):
            await sleep(100 * LEASE)
            assert near.exchange.peers[1].state is far.exchange.peers[0].state is HostState.CONNECTED
            assert near.exchange.recent_errors == ()

    play(scene)


@pytest.mark.parametrize("quiet", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("length", [0.1, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_cut_that_is_shorter_than_the_lease_loses_nothing(length: float, quiet: float, play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, line):
            await sleep(quiet * LEASE / 8)  # at different moments between two signs of life
            line.cut()
            for epoch in range(1, 11):
                far.advance(epoch)
                near.advance(2 * epoch)
                await sleep(length * LEASE / 10)
            line.heal()
            await reached(near.tracker, (far.axis, 10))
            await reached(far.tracker, (near.axis, 20))
            await sleep(10 * LEASE)
            assert (near.tracker.query_epoch(far.axis), far.tracker.query_epoch(near.axis)) == (10, 20)
            assert near.exchange.peers[1].state is far.exchange.peers[0].state is HostState.CONNECTED

    play(scene)


def test_a_host_that_was_out_of_reach_for_too_long_is_refused_and_reads_why(play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, line):
            line.cut()
            await in_state_later(near.exchange, 1, HostState.LOST)
            await in_state_later(far.exchange, 0, HostState.LOST)
            line.heal()
            await sleep(3 * LEASE)
            error = far.exchange.peers[0].error
            assert isinstance(error, HostRefused)
            assert "machine 1 has vanished" in str(error)
            far.advance(5)
            await sleep(3 * LEASE)
            assert near.tracker.query_epoch(far.axis) == 0

    play(scene)


async def in_state_later(exchange: Any, machine_index: int, state: HostState) -> None:
    while exchange.peers[machine_index].state is not state:
        await sleep(0.1)


def test_another_incarnation_takes_the_place_of_a_lost_host_but_not_before(play: Scene) -> None:
    async def scene() -> None:
        line = Line()
        async with host(tracker_of(0), StreamTransport({}, [line]), lease=LEASE) as near:
            with CancelScope() as scope:
                async with host(tracker_of(1), StreamTransport({0: line.dial}), lease=LEASE):
                    await near.exchange.wait_for_peer(1)
                    scope.cancel()
                    await sleep_forever()
            async with host(tracker_of(1, 4), StreamTransport({0: line.dial}), lease=LEASE) as again:
                assert "used twice" in str(await trouble_with(again.exchange, 0))
                again.tracker.advance(axis_of(1, 4), 1)
                await again.exchange.wait_for_peer(0)
                await near.exchange.wait_for_peer(1)
                await reached(near.tracker, (axis_of(1, 4), 1))

    play(scene)


def test_what_lay_in_the_sockets_while_this_process_stood_still_counts(run_with: Callable[..., Any]) -> None:
    clock = MockClock()

    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, _line):
            for epoch in range(1, 20):
                clock.jump(50 * LEASE)  # all that was due is due at once
                await wait_all_tasks_blocked()
                far.advance(epoch)
                await reached(near.tracker, (far.axis, epoch))

    run_with(scene, clock=clock)


def test_an_axis_of_a_lost_host_fails_also_when_it_is_registered_later(play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, _far, line):
            line.cut()
            await in_state_later(near.exchange, 1, HostState.LOST)
            near.exchange.expect(axis_of(1, 50))
            with pytest.raises(HostLost):
                await reached(near.tracker, (axis_of(1, 50), 1))

    play(scene)


def test_the_loss_of_one_host_leaves_the_axes_of_others_alone(play: Scene) -> None:
    async def scene() -> None:
        line, other = Line(), Line()
        async with (
            host(tracker_of(0), StreamTransport({}, [line, other]), lease=LEASE) as near,
            host(tracker_of(1), StreamTransport({0: line.dial}), lease=LEASE),
            host(tracker_of(2), StreamTransport({0: other.dial}), lease=LEASE) as third,
        ):
            await near.exchange.wait_for_peer(1)
            await near.exchange.wait_for_peer(2)
            line.cut()
            await in_state_later(near.exchange, 1, HostState.LOST)
            third.advance(1)
            await reached(near.tracker, (third.axis, 1))

    play(scene)


# Connections ------------------------------------------------------------------------------------------------------


def test_connections_that_break_over_and_over_lose_nothing(play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, line):
            for epoch in range(1, 30):
                line.break_connections()
                far.advance(epoch)
                await reached(near.tracker, (far.axis, epoch))
            assert near.exchange.peers[1].state is HostState.CONNECTED

    play(scene)


def test_a_new_connection_takes_no_longer_than_a_fraction_of_the_lease(play: Scene) -> None:
    async def scene() -> None:
        async with two_hosts_on_a_line() as (near, far, line):
            await sleep(1)
            broken_at = current_time()
            line.break_connections()
            far.advance(1)
            await reached(near.tracker, (far.axis, 1))
            assert current_time() - broken_at <= LEASE / 8

    play(scene)


def test_a_stranger_that_says_nothing_is_sent_away(play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, _line):
            assert not await peer.stream.receive_some()
            assert current_time() >= GREETING_SECONDS
            assert near.exchange.peers == {}

    play(scene)


def test_strangers_are_limited_in_number_and_hosts_come_in_after_them(play: Scene) -> None:
    async def scene() -> None:
        line = Line()
        async with host(tracker_of(0), StreamTransport({}, [line]), lease=LEASE) as near:
            streams = [await line.dial() for _ in range(MOST_STRANGERS + 1)]
            assert f"{MOST_STRANGERS} connections have not greeted" in str(await some_error(near.exchange))
            async with host(tracker_of(1), StreamTransport({0: line.dial}), lease=LEASE) as far:
                await near.exchange.wait_for_peer(1)
                far.advance(1)
                await reached(near.tracker, (far.axis, 1))
            assert len(streams) == MOST_STRANGERS + 1

    play(scene)


# What peers say ---------------------------------------------------------------------------------------------------

GARBAGE = {
    "no protocol": (b"\x00" * 64, "not the protocol"),
    "another version": (b"FX\x02\x02\x00\x00\x00\x00", "version 2; this host speaks version 1"),
    "too large": (b"FX\x01\x02" + (LARGEST_BODY + 1).to_bytes(4, "big"), "65537 bytes, where 65536 are the most"),
    "another kind": (b"FX\x01\x09\x00\x00\x00\x00", "kind 9"),
    "a short update": (b"FX\x01\x02\x00\x00\x00\x01x", "cannot be read"),
    "counts that lie": (b"FX\x01\x02\x00\x00\x00\x04\x00\x05\x00\x00", "counts make"),
    "a text that is none": (b"FX\x01\x04\x00\x00\x00\x01\xff", "cannot be read"),
    "an axis of another machine": (encode(Update({axis_of(2): 9}, {})), "not its own"),
    "an axis of the receiver": (encode(Update({axis_of(0): 9}, {})), "not its own"),
    "an axis of another session": (encode(Update({axis_of(1, session=1): 9}, {})), "not its own"),
    "a failure of another machine": (encode(Update({}, {axis_of(2): "broken"})), "not its own"),
    "too many axes": (encode(Update({axis_of(1, ordinal): 1 for ordinal in range(5)}, {})), "more than 4 axes"),
    "a second hello": (encode(identity_of(1)), "a second hello"),
}


@pytest.mark.parametrize("case", GARBAGE)
def test_what_is_not_allowed_ends_the_connection_is_told_to_both_and_moves_nothing(case: str, play: Scene) -> None:
    data, words = GARBAGE[case]

    async def scene() -> None:
        async with host_and_handmade_peer(tracker=tracker_of(0), axes_per_host=4) as (near, peer, line):
            await peer.join(identity_of(1))
            await peer.say(Update({axis_of(1): 1}, {}))
            await near.exchange.wait_for_peer(1)
            while await peer.frames.receive() != Update({axis_of(0): 0}, {}):
                pass
            await peer.stream.send_all(data)
            refusal = await peer.hear()
            assert isinstance(refusal, Refusal) and words in refusal.reason
            assert not await peer.stream.receive_some()
            error = near.exchange.peers[1].error
            assert isinstance(error, BadFrame) and words in str(error)
            assert near.tracker.query_epoch(axis_of(0)) == 0
            assert near.tracker.query_epoch(axis_of(1)) == 1
            again = type(peer)(await line.dial())  # the host itself is still welcome
            await again.join(identity_of(1))
            await again.say(Update({axis_of(1): 2}, {}))
            await reached(near.tracker, (axis_of(1), 2))

    play(scene)


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 20])
def test_a_frame_that_is_cut_off_moves_nothing(cut: int, play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, _line):
            await peer.join(identity_of(1))
            await peer.say(Update({axis_of(1): 1}, {}))
            await near.exchange.wait_for_peer(1)
            await peer.stream.send_all(encode(Update({axis_of(1): 2}, {}))[:cut])
            await peer.stream.send_eof()  # type: ignore[attr-defined]
            assert "in the middle of a frame" in str(await trouble_with(near.exchange, 1))
            assert near.tracker.query_epoch(axis_of(1)) == 1

    play(scene)


@pytest.mark.parametrize(
    "message", [Update({axis_of(1): 1}, {}), Goodbye(), Refusal("no")], ids=["update", "goodbye", "refusal"]
)
def test_nothing_counts_before_a_hello(message: Any, play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, _line):
            await peer.say(message)
            while await peer.frames.receive() is not None:
                pass
            assert isinstance(await some_error(near.exchange), (BadFrame, HostRefused))
            assert near.exchange.peers == {}
            assert near.tracker.query_epoch(axis_of(1)) is None

    play(scene)


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (identity_of(1, session_epoch=8), "of session 8"),
        (identity_of(0), "used twice"),
        (identity_of(1, lease=0.0), "a lease of 0 s"),
        (identity_of(1, lease=4_000_000.0), "a lease of 4e\\+06 s"),
    ],
)
def test_who_may_not_take_part_reads_why(identity: Any, words: str, play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, _line):
            await peer.say(identity)
            refusal = await peer.hear()
            assert isinstance(refusal, Refusal)
            with pytest.raises(HostRefused, match=words):
                raise await some_error(near.exchange)
            assert refusal.reason == str(near.exchange.recent_errors[0])
            assert await peer.hear() is None

    play(scene)


def test_updates_that_come_twice_or_late_move_nothing_back(play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, _line):
            await peer.join(identity_of(1))
            for epoch in (3, 1, 3, 2, 0, 5, 4, 5):
                await peer.say(Update({axis_of(1): epoch}, {}))
            await reached(near.tracker, (axis_of(1), 5))
            await wait_all_tasks_blocked()
            assert near.tracker.query_epoch(axis_of(1)) == 5

    play(scene)


def test_an_axis_that_failed_keeps_its_first_reason(play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, _line):
            await peer.join(identity_of(1))
            for reason in ("the first", "the second"):
                await peer.say(Update({}, {axis_of(1): reason}))
            await near.exchange.wait_for_peer(1)
            with pytest.raises(RemoteAxisFailed, match="the first"):
                await reached(near.tracker, (axis_of(1), 1))

    play(scene)


def test_several_connections_of_one_host_do_no_harm(play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, line):
            await peer.join(identity_of(1))
            other = type(peer)(await line.dial())
            await other.join(identity_of(1))
            assert near.exchange.peers[1].links == 2
            await other.say(Update({axis_of(1): 2}, {}))
            await peer.say(Update({axis_of(1): 1}, {}))
            await reached(near.tracker, (axis_of(1), 2))
            await peer.stream.aclose()
            await wait_all_tasks_blocked()
            assert near.exchange.peers[1].state is HostState.CONNECTED
            await other.stream.aclose()
            await in_state(near.exchange, 1, HostState.DISCONNECTED)

    play(scene)


def test_a_goodbye_ends_all_connections_of_the_host(play: Scene) -> None:
    async def scene() -> None:
        async with host_and_handmade_peer() as (near, peer, line):
            await peer.join(identity_of(1))
            other = type(peer)(await line.dial())
            await other.join(identity_of(1))
            await peer.say(Goodbye())
            await in_state(near.exchange, 1, HostState.LEFT)
            while await other.frames.receive() is not None:
                pass

    play(scene)


# The end of a block -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(0, 40, 3))
def test_a_block_may_be_cancelled_at_any_moment(steps: int, play: Scene) -> None:
    async def scene() -> None:
        line = Line()
        async with host(tracker_of(0), StreamTransport({}, [line]), lease=LEASE) as near:
            async with open_nursery() as nursery:
                nursery.start_soon(take_part, line)
                for _ in range(steps):
                    await sleep(0)
                nursery.cancel_scope.cancel()
            async with host(tracker_of(2), StreamTransport({0: line.dial}), lease=LEASE) as third:
                third.advance(1)
                await near.exchange.wait_for_peer(2)
                await reached(near.tracker, (third.axis, 1))

    async def take_part(line: Line) -> None:
        tracker = tracker_of(1)
        async with open_exchange(tracker, StreamTransport({0: line.dial}), lease=LEASE) as exchange:
            for epoch in range(1, 10):
                tracker.advance(axis_of(1), epoch)
                await sleep(0)
            await exchange.wait_for_peer(0)

    play(scene)


def test_a_goodbye_over_a_line_that_is_cut_is_given_up(play: Scene) -> None:
    async def scene() -> None:
        started = 0.0
        line = Line()
        async with host(tracker_of(0), StreamTransport({}, [line]), lease=LEASE) as near:
            async with host(tracker_of(1), StreamTransport({0: line.dial}), lease=LEASE):
                await near.exchange.wait_for_peer(1)
                line.cut()
                started = current_time()
            assert current_time() - started <= 1.0

    play(scene)
