"""Frontier exchanges over TCP, in one run: what crosses, what leaving means, and what goes wrong on a port."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cts.runtime.exchange_scenes import (
    LOOPBACK,
    Relay,
    Updates,
    axis_of,
    host,
    in_state,
    reached,
    some_error,
    tracker_of,
    trouble_with,
    two_hosts,
)
from cts.semantics.tls_scenes import Certificates
from proactor_trio import CancelScope, move_on_after, open_nursery, open_tcp_listeners, open_tcp_stream, sleep_forever
from proactor_trio.frontier_exchange import (
    BadFrame,
    ExchangeClosed,
    HostLeft,
    HostRefused,
    HostState,
    RemoteAxisFailed,
    TcpTransport,
    open_exchange,
)
from proactor_trio.proactor import Frontier, NotFound, ResourceExhausted
from proactor_trio.testing import wait_all_tasks_blocked


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates.issue()


# What crosses -----------------------------------------------------------------------------------------------------


async def test_what_one_host_advances_satisfies_a_wait_on_the_other() -> None:
    async with two_hosts() as (near, far):
        async with open_nursery() as nursery:
            nursery.start_soon(reached, near.tracker, (far.axis, 5))
            await wait_all_tasks_blocked()
            far.advance(5)


async def test_it_works_in_both_directions() -> None:
    async with two_hosts() as (near, far):
        for epoch in range(1, 20):
            near.advance(epoch)
            await reached(far.tracker, (near.axis, epoch))
            far.advance(epoch)
            await reached(near.tracker, (far.axis, epoch))


async def test_a_frontier_of_both_hosts_is_waited_for() -> None:
    async with two_hosts() as (near, far):
        near.advance(3)
        far.advance(4)
        await reached(near.tracker, (near.axis, 3), (far.axis, 4))


async def test_what_was_reached_before_a_host_joined_is_known_when_it_has() -> None:
    tracker = tracker_of(1, 0, 1, 2)
    tracker.advance(axis_of(1, 1), 40)
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport) as near:
        async with host(tracker, TcpTransport({0: (LOOPBACK, transport.port)})):
            await near.exchange.wait_for_peer(1)
            assert [near.tracker.query_epoch(axis_of(1, ordinal)) for ordinal in range(4)] == [0, 40, 0, None]


async def test_more_axes_than_one_update_holds_are_known_in_the_end() -> None:
    count = 5000
    tracker = tracker_of(1, *range(count), capacity=count)
    for ordinal in range(count):
        tracker.advance(axis_of(1, ordinal), ordinal + 1)
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0, capacity=count + 1), transport, axes_per_host=count) as near:
        near.exchange.expect(*(axis_of(1, ordinal) for ordinal in range(count)))
        async with host(tracker, TcpTransport({0: (LOOPBACK, transport.port)})):
            for start in range(0, count, 250):
                axes = range(start, start + 250)
                await reached(near.tracker, *((axis_of(1, ordinal), ordinal + 1) for ordinal in axes))


async def test_an_axis_that_is_registered_later_is_known_on_the_other_host() -> None:
    async with two_hosts() as (near, far):
        late = axis_of(1, 9)
        near.exchange.expect(late)
        far.tracker.register_axis(late)
        far.tracker.advance(late, 1)
        await reached(near.tracker, (late, 1))


async def test_an_advance_of_another_thread_is_noticed() -> None:
    async with two_hosts() as (near, far):
        thread = threading.Thread(target=far.advance, args=(1,))
        async with open_nursery() as nursery:
            nursery.start_soon(reached, near.tracker, (far.axis, 1))
            await wait_all_tasks_blocked()
            thread.start()
        thread.join()


async def test_the_last_of_many_advances_of_many_threads_arrives() -> None:
    async with two_hosts() as (near, far):

        def advance(start: int) -> None:
            for epoch in range(start, 2001, 4):
                far.advance(epoch)

        threads = [threading.Thread(target=advance, args=(start,)) for start in (1, 2, 3, 4)]
        for thread in threads:
            thread.start()
        await reached(near.tracker, (far.axis, 2000))
        for thread in threads:
            thread.join()
        assert near.tracker.query_epoch(far.axis) == 2000


async def test_a_thousand_advances_in_one_turn_are_one_update() -> None:
    updates = Updates()
    async with host(tracker_of(0, 0, 1), updates) as near:
        await wait_all_tasks_blocked()
        updates.taken.clear()
        for epoch in range(1, 1001):
            near.advance(epoch)
        await wait_all_tasks_blocked()
        assert [dict(update.epochs) for update in updates.taken] == [{near.axis: 1000}]


async def test_axes_of_other_machines_and_sessions_are_not_told() -> None:
    updates = Updates()
    tracker = tracker_of(0)
    foreign = [axis_of(1), axis_of(0, session=1)]
    for axis in foreign:
        tracker.register_axis(axis)
    async with host(tracker, updates):
        for axis in foreign:
            tracker.advance(axis, 1)
        await wait_all_tasks_blocked()
        assert {axis for update in updates.taken for axis in update.epochs} == {axis_of(0)}


async def test_the_failure_of_an_axis_crosses_with_its_reason() -> None:
    async with two_hosts() as (near, far):
        far.advance(2)
        far.tracker.fail_axis(far.axis, RuntimeError("the device is gone"))
        with pytest.raises(RemoteAxisFailed, match="machine 1: RuntimeError: the device is gone"):
            await reached(near.tracker, (far.axis, 3))
        assert near.tracker.query_epoch(far.axis) == 2


async def test_an_axis_that_had_failed_before_its_host_joined_has_failed_here() -> None:
    tracker = tracker_of(1)
    tracker.fail_axis(axis_of(1), OSError("no"))
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport) as near:
        async with host(tracker, TcpTransport({0: (LOOPBACK, transport.port)})):
            await near.exchange.wait_for_peer(1)
            with pytest.raises(RemoteAxisFailed):
                await reached(near.tracker, (axis_of(1), 1))


async def test_two_hosts_that_connect_to_each_other_do_no_harm() -> None:
    ports = []
    for _ in range(2):
        with stdlib_socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            ports.append(probe.getsockname()[1])
    first = TcpTransport({1: (LOOPBACK, ports[1])}, port=ports[0], host=LOOPBACK)
    second = TcpTransport({0: (LOOPBACK, ports[0])}, port=ports[1], host=LOOPBACK)
    async with host(tracker_of(0), first) as near, host(tracker_of(1), second) as far:
        await near.exchange.wait_for_peer(1)
        await far.exchange.wait_for_peer(0)
        far.advance(1)
        await reached(near.tracker, (far.axis, 1))


# Connections that end ---------------------------------------------------------------------------------------------


async def test_after_a_connection_was_broken_a_new_one_brings_what_was_missed() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with open_nursery() as nursery, host(tracker_of(0), transport) as near:
        relay = Relay(transport.port)
        await nursery.start(relay.run)
        async with host(tracker_of(1), TcpTransport({0: (LOOPBACK, relay.port)})) as far:
            for epoch in range(1, 6):
                await near.exchange.wait_for_peer(1)
                relay.break_connections()
                far.advance(epoch)
                await reached(near.tracker, (far.axis, epoch))
        assert relay.count >= 5
        nursery.cancel_scope.cancel()


async def test_a_host_that_starts_later_is_found() -> None:
    with stdlib_socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    async with host(tracker_of(1), TcpTransport({0: (LOOPBACK, port)})) as far:
        assert isinstance(await trouble_with(far.exchange, 0), OSError)
        assert far.exchange.peers[0].state is HostState.UNKNOWN
        async with host(tracker_of(0), TcpTransport(port=port, host=LOOPBACK)):
            await far.exchange.wait_for_peer(0)
            assert far.exchange.peers[0].error is None


# Leaving ----------------------------------------------------------------------------------------------------------


async def test_a_host_that_leaves_fails_its_axes_on_the_others_at_once() -> None:
    async with two_hosts() as (near, far):
        async with host(tracker_of(2), TcpTransport({0: (LOOPBACK, near.transport.port)})) as third:  # type: ignore[attr-defined]
            await near.exchange.wait_for_peer(2)
            third.advance(6)  # is told before the goodbye
        await in_state(near.exchange, 2, HostState.LEFT)
        with pytest.raises(HostLeft, match="machine 2 has left") as caught:
            await reached(near.tracker, (third.axis, 7))
        assert caught.value.machine_index == 2
        assert near.tracker.query_epoch(third.axis) == 6
        far.advance(1)
        await reached(near.tracker, (far.axis, 1))


async def test_a_host_that_has_left_hears_of_the_others_no_more() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport):
        async with host(tracker_of(1), TcpTransport({0: (LOOPBACK, transport.port)})) as far:
            await far.exchange.wait_for_peer(0)
        with pytest.raises(ExchangeClosed, match="machine 1 has left the exchange"):
            await reached(far.tracker, (axis_of(0), 1))


async def test_its_own_axes_are_left_alone_when_it_leaves() -> None:
    async with two_hosts() as (near, _far):
        pass
    near.advance(1)
    await reached(near.tracker, (near.axis, 1))


async def test_a_host_comes_back_as_another_incarnation() -> None:
    async with two_hosts() as (near, _far):
        for ordinal in (1, 2):
            to_near = TcpTransport({0: (LOOPBACK, near.transport.port)})  # type: ignore[attr-defined]
            async with host(tracker_of(2, ordinal), to_near) as third:
                await near.exchange.wait_for_peer(2)
                third.tracker.advance(axis_of(2, ordinal), 1)
                await reached(near.tracker, (axis_of(2, ordinal), 1))
            await in_state(near.exchange, 2, HostState.LEFT)


async def test_a_block_that_is_cancelled_says_no_goodbye() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport) as near:
        with CancelScope() as scope:
            async with host(tracker_of(1), TcpTransport({0: (LOOPBACK, transport.port)})):
                await near.exchange.wait_for_peer(1)
                scope.cancel()
                await sleep_forever()
        assert scope.cancelled_caught
        await in_state(near.exchange, 1, HostState.DISCONNECTED)


async def test_a_block_that_raises_says_goodbye_and_raises_that() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport) as near:
        with pytest.raises(KeyError, match="of the block"):
            async with host(tracker_of(1), TcpTransport({0: (LOOPBACK, transport.port)})):
                await near.exchange.wait_for_peer(1)
                raise KeyError("of the block")
        await in_state(near.exchange, 1, HostState.LEFT)


async def test_a_goodbye_does_not_wait_for_a_peer_that_never_reads() -> None:
    (listener,) = await open_tcp_listeners(0, host=LOOPBACK)
    port = listener.socket.getsockname()[1]
    async with listener, open_nursery() as nursery:
        nursery.start_soon(listener.accept)
        with move_on_after(5) as scope:
            async with open_exchange(tracker_of(1), TcpTransport({0: (LOOPBACK, port)}), lease=0.2):
                pass
        assert not scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_peer_can_be_cancelled() -> None:
    async with two_hosts() as (near, _far):
        async with open_nursery() as nursery:
            nursery.start_soon(near.exchange.wait_for_peer, 5)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


async def test_an_axis_of_a_host_that_has_left_fails_also_when_it_is_registered_later() -> None:
    async with two_hosts() as (near, _far):
        async with host(tracker_of(2), TcpTransport({0: (LOOPBACK, near.transport.port)})):  # type: ignore[attr-defined]
            await near.exchange.wait_for_peer(2)
        await in_state(near.exchange, 2, HostState.LEFT)
        near.tracker.register_axis(axis_of(2, 77))
        with pytest.raises(HostLeft):
            await reached(near.tracker, (axis_of(2, 77), 1))


# Refusals ---------------------------------------------------------------------------------------------------------


async def test_another_session_is_refused_and_both_sides_say_why() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport) as near:
        async with host(tracker_of(1, session=3), TcpTransport({0: (LOOPBACK, transport.port)})) as far:
            there = await trouble_with(far.exchange, 0)
            here = await some_error(near.exchange)
        assert isinstance(there, HostRefused) and isinstance(here, HostRefused)
        assert "machine 1 is of session 3, machine 0 of session 7" in str(here)
        assert str(here) in str(there)
        assert 1 not in near.exchange.peers


async def test_a_machine_index_that_is_used_twice_is_refused() -> None:
    async with two_hosts() as (near, far):
        to_near = TcpTransport({0: (LOOPBACK, near.transport.port)})  # type: ignore[attr-defined]
        async with host(tracker_of(1), to_near) as impostor:
            impostor.advance(1000)
            error = await trouble_with(impostor.exchange, 0)
            assert isinstance(error, HostRefused)
            assert "machine index 1 is used twice" in str(error)
        far.advance(1)
        await reached(near.tracker, (far.axis, 1))
        assert near.tracker.query_epoch(far.axis) == 1


async def test_a_host_that_meets_its_own_machine_index_is_refused() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport):
        async with host(tracker_of(0), TcpTransport({0: (LOOPBACK, transport.port)})) as twin:
            assert "used twice" in str(await trouble_with(twin.exchange, 0))


async def test_another_machine_than_was_expected_is_refused() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0), transport) as near:
        async with host(tracker_of(1), TcpTransport({5: (LOOPBACK, transport.port)})) as far:
            error = await trouble_with(far.exchange, 5)
            assert isinstance(error, HostRefused)
            assert "this is machine 0, where 5 was expected" in str(error)
            assert 0 not in far.exchange.peers
            assert "this is machine 0, where 5 was expected" in str(await trouble_with(near.exchange, 1))


async def test_garbage_on_the_port_disturbs_nobody() -> None:
    async with two_hosts() as (near, far):
        async with await open_tcp_stream(LOOPBACK, near.transport.port) as stranger:  # type: ignore[attr-defined]
            await stranger.send_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            error = await some_error(near.exchange)
        assert isinstance(error, BadFrame)
        assert "not the protocol of a frontier exchange" in str(error)
        assert "the connection with ('127.0.0.1'" in error.__notes__[0]
        far.advance(1)
        await reached(near.tracker, (far.axis, 1))


async def test_a_port_that_is_taken_is_an_error_of_the_block() -> None:
    (listener,) = await open_tcp_listeners(0, host=LOOPBACK)
    async with listener:
        taken = TcpTransport(port=listener.socket.getsockname()[1], host=LOOPBACK)
        with pytest.raises(OSError) as caught:
            async with open_exchange(tracker_of(0), taken):
                pass
        assert caught.value.errno == errno.EADDRINUSE


# TLS --------------------------------------------------------------------------------------------------------------


def encrypted(certificates: Certificates) -> TcpTransport:
    return TcpTransport(port=0, host=LOOPBACK, server_ssl_context=certificates.server_context())


async def test_it_works_over_tls(certificates: Certificates) -> None:
    transport = encrypted(certificates)
    async with host(tracker_of(0), transport) as near:
        address = {0: (LOOPBACK, transport.port)}
        async with host(tracker_of(1), TcpTransport(address, client_ssl_context=certificates.client_context())) as far:
            far.advance(3)
            await near.exchange.wait_for_peer(1)
            await reached(near.tracker, (far.axis, 3))
        await in_state(near.exchange, 1, HostState.LEFT)
        assert near.exchange.recent_errors == far.exchange.recent_errors == ()


async def test_a_certificate_that_is_not_trusted_is_reported(certificates: Certificates) -> None:
    transport = encrypted(certificates)
    async with host(tracker_of(0), transport) as near:
        untrusting = TcpTransport({0: (LOOPBACK, transport.port)}, client_ssl_context=ssl.create_default_context())
        async with host(tracker_of(1), untrusting) as far:
            error = await trouble_with(far.exchange, 0)
            assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
            await some_error(near.exchange)


async def test_a_host_without_tls_is_refused_by_one_with(certificates: Certificates) -> None:
    transport = encrypted(certificates)
    async with host(tracker_of(0), transport) as near:
        async with host(tracker_of(1), TcpTransport({0: (LOOPBACK, transport.port)})) as far:
            await some_error(near.exchange)
            await trouble_with(far.exchange, 0)
            assert near.exchange.peers == {}


def test_tls_in_one_direction_only_is_refused(certificates: Certificates) -> None:
    with pytest.raises(ValueError, match="both client_ssl_context and server_ssl_context"):
        TcpTransport({1: (LOOPBACK, 1)}, port=0, server_ssl_context=certificates.server_context())


# The users' own ---------------------------------------------------------------------------------------------------


async def test_what_a_callback_of_the_users_raises_ends_the_block_and_is_not_lost() -> None:
    def complain(error: BaseException | None) -> None:
        raise OSError("of a callback")

    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="of a callback"), flatten_subgroups=True):
        async with two_hosts() as (near, far):
            near.tracker.acquire_timepoint(Frontier([(far.axis, 1)]), complain)
            far.advance(1)
            await sleep_forever()


async def test_an_axis_that_nobody_has_named_yet_can_be_expected() -> None:
    async with two_hosts() as (near, _far):
        with pytest.raises(NotFound):
            await reached(near.tracker, (axis_of(1, 5), 1))
        near.exchange.expect(axis_of(1, 5), axis_of(1, 5))
        with move_on_after(0) as scope:
            await reached(near.tracker, (axis_of(1, 5), 1))
        assert scope.cancelled_caught


async def test_axes_for_which_the_tracker_has_no_room_are_reported_and_the_others_count() -> None:
    transport = TcpTransport(port=0, host=LOOPBACK)
    async with host(tracker_of(0, capacity=3), transport) as near:
        tracker = tracker_of(1, 0, 1, 2, 3)
        for ordinal in range(4):
            tracker.advance(axis_of(1, ordinal), 1)
        async with host(tracker, TcpTransport({0: (LOOPBACK, transport.port)})):
            await near.exchange.wait_for_peer(1)
            assert isinstance(near.exchange.peers[1].error, ResourceExhausted)
            epochs = [near.tracker.query_epoch(axis_of(1, ordinal)) for ordinal in range(4)]
            assert epochs.count(1) == epochs.count(None) == 2


@pytest.mark.parametrize("lease", [0, -1, 0.01, 3601, float("nan"), float("inf")])
async def test_a_lease_that_cannot_be_kept_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease"):
        async with open_exchange(tracker_of(0), TcpTransport(), lease=lease):
            pass


@pytest.mark.parametrize(
    ("tracker", "transport"), [(None, TcpTransport()), (tracker_of(0), None), (TcpTransport(), tracker_of(0))]
)
async def test_other_objects_are_refused(tracker: Any, transport: Any) -> None:
    with pytest.raises(TypeError):
        async with open_exchange(tracker, transport):
            pass


@pytest.mark.parametrize("peers", [{256: (LOOPBACK, 1)}, {-1: (LOOPBACK, 1)}])
async def test_machine_indexes_that_there_are_not_are_refused(peers: dict[int, tuple[str, int]]) -> None:
    with pytest.raises(ValueError, match="machine index"):
        async with open_exchange(tracker_of(0), TcpTransport(peers)):
            pass


async def test_a_tracker_without_exchange_is_told_nothing() -> None:
    async with two_hosts() as (near, far):
        pass
    assert near.tracker._observers == far.tracker._observers == ()


def test_an_advance_after_the_run_has_ended_does_no_harm(run_with: Callable[..., Any]) -> None:
    tracker = tracker_of(0)

    async def main() -> None:
        async with open_exchange(tracker, Updates()):
            thread.start()
            await wait_all_tasks_blocked()

    def advance() -> None:
        for epoch in range(1, 20_000):
            tracker.advance(axis_of(0), epoch)

    thread = threading.Thread(target=advance)
    run_with(main)
    thread.join()
    assert tracker.query_epoch(axis_of(0)) == 19_999
