"""RecvPool and a pool that is empty: it pauses, and goes on when a buffer is given back, or ends."""

from __future__ import annotations

import socket as stdlib_socket
import threading
from typing import Any

import pytest

from cts.suites.receive_pools import (
    BUFFER_BYTES,
    MORE,
    MULTISHOT,
    SOON,
    MakePool,
    Received,
    both_forms,
    cancel,
    make_pool,
    memory,
    paused,
    pool,
    proactor,
    send,
)
from cts.support import (
    Sockets,
    cause_of,
    drain,
    finish,
    pattern,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Access,
    BufferPool,
    CancelCause,
    Capability,
    CompletionFlags,
    DeadlineExceeded,
    Nop,
    Operation,
    OperationCancelled,
    OperationFlags,
    Proactor,
    ProactorOptions,
    RecvPool,
    Slab,
    SocketClose,
    register_slab,
)

__all__ = ["make_pool", "memory", "pool", "proactor"]  # fixtures

pytestmark = pytest.mark.needs("registered_buffers")


# A pool that is empty ------------------------------------------------------------------------------------------------


def test_idle_connections_hold_no_buffer(proactor: Proactor, make_pool: MakePool, sockets: Sockets) -> None:
    pool = make_pool(1)
    idle = [RecvPool(sockets.tcp_pair()[0], pool) for _ in range(5)]
    near, far = sockets.tcp_pair()
    start(proactor, *idle)
    send(far, b"x")
    with perform(proactor, RecvPool(near, pool)):
        pass
    assert pool.available == 1
    for receive in idle:
        cancel(proactor, receive)


@both_forms
@pytest.mark.regression("empty-pool-does-not-pause")
@pytest.mark.ring_rule(8)
def test_without_a_buffer_it_pauses_and_goes_on_when_one_comes_back(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    receive, received = paused(proactor, pool, sockets, form)
    assert not received.finals
    received.leases.pop().release()
    poll_until(proactor, lambda: received.pieces)
    assert received.data == b"late"
    cancel(proactor, receive)
    received.release_all()


@both_forms
def test_a_newcomer_does_not_push_out_who_is_paused(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    """Buffers come back, and before the proactor has noticed, another receive is submitted."""
    receive, received = paused(proactor, pool, sockets, form)
    near, far = sockets.tcp_pair()
    send(far, b"newcomer")
    received.release_all()
    with perform(proactor, RecvPool(near, pool)) as lease:
        assert bytes(lease.view) == b"newcomer"
    poll_until(proactor, lambda: received.pieces)
    assert received.data == b"late"
    cancel(proactor, receive)


@pytest.mark.ring_rule(8)
def test_a_paused_receive_loses_no_byte_of_what_comes_meanwhile(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    receive, received = paused(proactor, pool, sockets, MULTISHOT)
    far: Any = receive.user_data
    data = pattern(20 * BUFFER_BYTES)
    send(far, data)
    received.leases.pop().release()
    poll_until(proactor, lambda: len(received.data) == len(b"late" + data))
    assert received.data == b"late" + data
    cancel(proactor, receive)
    received.release_all()


@both_forms
@pytest.mark.regression("lease-threads")
def test_a_buffer_given_back_by_another_thread_wakes_the_proactor(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    receive, received = paused(proactor, pool, sockets, form)
    asleep = threading.Event()

    def give_back() -> None:
        asleep.wait()
        received.leases.pop(0).release()

    thread = threading.Thread(target=give_back)
    thread.start()
    asleep.set()
    while not received.pieces:
        proactor.poll()  # without a limit: nothing but the buffer ends it
    thread.join()
    cancel(proactor, receive)
    received.release_all()


@both_forms
def test_the_proactor_sleeps_while_a_receive_is_paused(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    receive, received = paused(proactor, pool, sockets, form)
    proactor.poll(0.001)
    name = "system_calls" if "system_calls" in proactor.statistics() else "system_waits"
    before = proactor.statistics()[name]
    assert proactor.poll(0.02) == 0
    assert proactor.statistics()[name] - before <= 1
    cancel(proactor, receive)
    received.release_all()


@both_forms
def test_other_operations_go_on_while_a_receive_is_paused(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    receive, received = paused(proactor, pool, sockets, form)
    assert finish(proactor, Nop()).error is None
    cancel(proactor, receive)
    received.release_all()


@both_forms
@pytest.mark.ring_rule(8)
def test_connections_take_turns_when_there_is_one_buffer(
    proactor: Proactor, make_pool: MakePool, sockets: Sockets, form: OperationFlags
) -> None:
    """Each of three has more to receive at any time; none gets a third piece before each has had one."""
    pool = make_pool(1)
    pairs = [sockets.tcp_pair() for _ in range(3)]
    for _near, far in pairs:
        send(far, pattern(9 * BUFFER_BYTES))
    received = Received()
    turns = received.labels

    def go_on(operation: Operation, flags: CompletionFlags) -> None:
        received(operation, flags)
        if not flags & MORE and operation.error is None and len(turns) < 18:
            proactor.submit(operation)

    receives = [RecvPool(near, pool, go_on, flags=form, user_data=number) for number, (near, _far) in enumerate(pairs)]
    proactor.submit(*receives)
    poll_until(proactor, lambda: len(turns) >= 18)
    for receive in receives:
        cancel(proactor, receive)
    assert all(set(turns[start : start + 6]) == {0, 1, 2} for start in range(0, 18, 6)), turns


def test_many_connections_share_two_buffers(proactor: Proactor, make_pool: MakePool, sockets: Sockets) -> None:
    pool = make_pool(2)
    pairs = [sockets.unix_pair() for _ in range(12)]
    everything: dict[object, bytes] = {}

    def collect(operation: Operation, flags: CompletionFlags) -> None:
        if operation.error is None and operation.result.length:
            with operation.result as lease:
                label = operation.user_data
                everything[label] = everything.get(label, b"") + bytes(lease.view)

    receives = [
        RecvPool(near, pool, collect, flags=MULTISHOT, user_data=number) for number, (near, _far) in enumerate(pairs)
    ]
    start(proactor, *receives)
    for number, (_near, far) in enumerate(pairs):
        send(far, pattern(10 * BUFFER_BYTES, number))
        far.shutdown(stdlib_socket.SHUT_WR)
    settle(proactor, *receives)
    assert everything == {number: pattern(10 * BUFFER_BYTES, number) for number in range(12)}
    assert pool.available == 2


# Ends ----------------------------------------------------------------------------------------------------------------


@both_forms
def test_cancelled_while_idle_it_ends_once(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, _far = sockets.tcp_pair()
    received = Received()
    receive = RecvPool(near, pool, received, flags=form)
    start(proactor, receive)
    assert proactor.cancel(receive)
    settle(proactor, receive)
    assert received.finals == [receive] and cause_of(receive) is CancelCause.REQUESTED
    assert pool.available == pool.capacity


@both_forms
def test_cancelled_while_paused_it_ends_once(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    receive, received = paused(proactor, pool, sockets, form)
    assert proactor.cancel(receive)
    settle(proactor, receive)
    assert received.finals == [receive] and cause_of(receive) is CancelCause.REQUESTED
    received.release_all()
    assert pool.available == pool.capacity


@both_forms
def test_cancelled_before_it_began_it_ends_once(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, _far = sockets.tcp_pair()
    received = Received()
    receive = RecvPool(near, pool, received, flags=form)
    proactor.submit(receive)
    cancel(proactor, receive)
    assert received.finals == [receive] and isinstance(receive.error, OperationCancelled)


@both_forms
def test_cancelled_after_bytes_came_it_gives_them_or_leaves_them(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, far = sockets.tcp_pair()
    received = Received()
    receive = RecvPool(near, pool, received, flags=form)
    start(proactor, receive)
    send(far, b"in the race")
    cancel(proactor, receive)
    assert received.finals == [receive] and pool.available == pool.capacity
    if not received.pieces:
        assert drain(proactor, near, 11) == b"in the race"
    assert received.data in (b"", b"in the race")


@both_forms
def test_closing_the_socket_ends_an_idle_receive(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, _far = sockets.tcp_pair()
    receive = RecvPool(near, pool, Received(), flags=form)
    start(proactor, receive)
    finish(proactor, SocketClose(near))
    settle(proactor, receive)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED


@both_forms
def test_closing_the_socket_ends_a_paused_receive(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    receive, received = paused(proactor, pool, sockets, form)
    finish(proactor, SocketClose(receive.socket))
    settle(proactor, receive)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED and received.finals == [receive]
    received.release_all()


def test_a_close_in_the_same_batch_ends_it(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    receive = RecvPool(near, pool)
    proactor.submit(receive, SocketClose(near))
    settle(proactor, receive)
    assert cause_of(receive) is CancelCause.RESOURCE_CLOSED


@both_forms
@pytest.mark.parametrize("without", [Capability.NONE, Capability.MULTISHOT], ids=["as it is", "without multishot"])
def test_closing_the_proactor_ends_a_paused_receive(
    configuration: Any, sockets: Sockets, form: OperationFlags, without: Capability
) -> None:
    options = ProactorOptions(allowed_capabilities=Capability.ALL & ~without)
    with Slab.allocate(BUFFER_BYTES, 2) as slab:
        closed = Proactor(configuration.backend, options)
        region = register_slab(closed, slab, Access.WRITE | Access.READ)
        pool = BufferPool(region)
        receive, received = paused(closed, pool, sockets, form)
        closed.close()
        assert cause_of(receive) is CancelCause.PROACTOR_CLOSED and received.finals == [receive]
        received.release_all()
        pool.close()
        region.close()


@both_forms
def test_its_deadline_holds_while_idle(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, _far = sockets.tcp_pair()
    receive = finish(proactor, RecvPool(near, pool, Received(), flags=form, timeout=SOON))
    assert isinstance(receive.error, DeadlineExceeded)


@both_forms
def test_its_deadline_holds_while_paused(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    first, received = paused(proactor, pool, sockets, form)
    near, far = sockets.tcp_pair()
    send(far, b"x")
    receive = finish(proactor, RecvPool(near, pool, Received(), flags=form, timeout=SOON))
    assert isinstance(receive.error, DeadlineExceeded)
    cancel(proactor, first)
    received.release_all()
    assert drain(proactor, near, 1) == b"x"


def test_with_a_deadline_it_goes_on_after_a_pause(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    first, received = paused(proactor, pool, sockets, OperationFlags.NONE)
    near, far = sockets.tcp_pair()
    send(far, b"in time")
    receive = RecvPool(near, pool, timeout=60)
    start(proactor, receive)
    cancel(proactor, first)
    received.release_all()
    settle(proactor, receive)
    with receive.result as lease:
        assert bytes(lease.view) == b"in time"
