"""RecvPool: receives into the buffers of a pool. What it does while that is empty: test_recv_pool_pauses.py."""

from __future__ import annotations

import socket as stdlib_socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

import proactor_trio
from cts.net_support import connected_udp, unix_datagram_pair
from cts.suites.receive_pools import (
    BUFFER_BYTES,
    MORE,
    MULTISHOT,
    SOON,
    MakePool,
    Received,
    both_forms,
    both_kinds,
    cancel,
    make_pool,
    memory,
    paused,
    pool,
    proactor,
    send,
)
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
from proactor_trio.lowlevel import current_proactor
from proactor_trio.proactor import (
    Access,
    BufferPool,
    ClosedResourceError,
    CompletionFlags,
    FailedPrecondition,
    Nop,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    RecvPool,
    Region,
    Send,
    Slab,
    Socket,
    StatusCode,
    ThreadingMode,
    register_slab,
    status_of,
)

__all__ = ["make_pool", "memory", "pool", "proactor"]  # fixtures

pytestmark = pytest.mark.needs("registered_buffers")


# What it gives -------------------------------------------------------------------------------------------------------


@both_kinds
@pytest.mark.reference("BufferRegistrationTest.RecvPoolConfiguration")
def test_it_gives_a_lease_of_the_bytes_that_came(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, kind: str
) -> None:
    near, far = sockets.pair(kind)
    send(far, b"some bytes")
    with perform(proactor, RecvPool(near, pool)) as lease:
        assert (bytes(lease.view), lease.length, lease.region) == (b"some bytes", 10, pool.region)
        assert pool.available == pool.capacity - 1
    assert pool.available == pool.capacity


def test_the_view_has_nothing_of_what_the_buffer_held_before(
    proactor: Proactor, make_pool: MakePool, sockets: Sockets
) -> None:
    pool = make_pool(1)
    near, far = sockets.tcp_pair()
    for message in (b"a long secret", b"short"):
        send(far, message)
        with perform(proactor, RecvPool(near, pool)) as lease:
            assert bytes(lease.view) == message


def test_what_came_can_be_sent_on_from_its_buffer(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    for message in (b"first", b"second, from another buffer"):
        send(far, message)
        with perform(proactor, RecvPool(near, pool)) as lease:
            assert perform(proactor, Send(near, lease.span, whole=True)) == len(message)
        assert drain(proactor, far, len(message)) == message


def test_more_than_a_buffer_holds_comes_in_pieces(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    data = pattern(2 * BUFFER_BYTES)
    send(far, data)
    got = b""
    while len(got) < len(data):
        with perform(proactor, RecvPool(near, pool)) as lease:
            assert lease.length <= BUFFER_BYTES
            got += bytes(lease.view)
    assert got == data


@both_forms
def test_the_end_of_the_stream_is_a_lease_without_a_buffer(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, far = sockets.tcp_pair()
    far.shutdown(stdlib_socket.SHUT_WR)
    completions = Completions()
    finish(proactor, RecvPool(near, pool, completions, flags=form))
    (end,) = completions.records
    assert end.is_final and (end.result.length, end.result.released) == (0, True)
    assert pool.available == pool.capacity


def test_a_connection_that_was_reset_is_an_error_and_takes_no_buffer(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    close_with_reset(far)
    receive = finish(proactor, RecvPool(near, pool))
    assert isinstance(receive.error, ConnectionResetError) and pool.available == pool.capacity
    assert near.failure is not None


@pytest.mark.reference("BufferRegistrationTest.RecvPoolBufferRecycling")
def test_it_can_be_submitted_again_and_again(proactor: Proactor, make_pool: MakePool, sockets: Sockets) -> None:
    pool = make_pool(2)
    near, far = sockets.tcp_pair()
    received = Received()
    receive = RecvPool(near, pool, received)
    for number in range(20):
        send(far, b"message %d" % number)
        finish(proactor, receive)
    assert received.pieces == [b"message %d" % number for number in range(20)]
    assert pool.available == 2


@both_kinds
@pytest.mark.reference("MultishotTest.MultishotRecv_MultipleMessages")
def test_with_multishot_each_piece_comes_with_more(
    proactor: Proactor, make_pool: MakePool, sockets: Sockets, kind: str
) -> None:
    pool = make_pool(2)
    near, far = sockets.pair(kind)
    received = Received()
    receive = RecvPool(near, pool, received, flags=MULTISHOT)
    start(proactor, receive)
    for number in range(10):
        send(far, b"message %d" % number)
        poll_until(proactor, lambda number=number: len(received.pieces) == number + 1)
    assert not received.finals
    far.shutdown(stdlib_socket.SHUT_WR)
    settle(proactor, receive)
    assert received.pieces == [b"message %d" % number for number in range(10)]
    assert receive.error is None and pool.available == 2


@both_forms
def test_a_megabyte_comes_in_order_through_four_buffers(
    proactor: Proactor, make_pool: MakePool, sockets: Sockets, form: OperationFlags
) -> None:
    pool = make_pool(4, buffer_bytes=4096)
    near, far = sockets.tcp_pair()
    data = pattern(1 << 20)
    received = Received()

    def go_on(operation: Operation, flags: CompletionFlags) -> None:
        received(operation, flags)
        if not flags & MORE and operation.error is None and operation.result.length:
            proactor.submit(operation)

    receive = RecvPool(near, pool, go_on, flags=form)
    proactor.submit(receive, Send(far, data, lambda operation, flags: far.shutdown(stdlib_socket.SHUT_WR), whole=True))
    poll_until(proactor, lambda: receive.state is OperationState.DONE)
    assert received.data == data and pool.available == 4


@both_forms
def test_poll_counts_deliveries_and_nothing_else(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, far = sockets.tcp_pair()
    received = Received()
    receive = RecvPool(near, pool, received, flags=form)
    proactor.submit(receive)
    far.shutdown(stdlib_socket.SHUT_WR)
    assert sum(proactor.poll(0.01) for _ in range(5)) == 1


def test_what_comes_without_a_completion_function_is_the_operations_result(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    send(far, b"x")
    receive = finish(proactor, RecvPool(near, pool))
    receive.result.release()


def test_a_lease_that_nobody_takes_goes_back_with_a_warning(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    send(far, b"x")
    finish(proactor, receive := RecvPool(near, pool))
    with pytest.warns(ResourceWarning, match="unreleased"):
        del receive
    assert pool.available == pool.capacity


# Datagrams -----------------------------------------------------------------------------------------------------------


@both_forms
@pytest.mark.parametrize("pair", [connected_udp, unix_datagram_pair])
def test_each_datagram_has_a_buffer_of_its_own(
    proactor: Proactor,
    pool: BufferPool,
    sockets: Sockets,
    form: OperationFlags,
    pair: Callable[[Sockets], tuple[Socket, Socket]],
) -> None:
    near, far = pair(sockets)
    send(far, b"one")
    send(far, b"two")
    received = Received()
    receive = RecvPool(near, pool, received, flags=form)
    finish(proactor, receive) if not form else start(proactor, receive)
    if form:
        poll_until(proactor, lambda: len(received.pieces) == 2)
        cancel(proactor, receive)
    else:
        finish(proactor, receive)
    assert received.pieces == [b"one", b"two"]


def test_an_empty_datagram_ends_nothing_and_holds_no_buffer(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = connected_udp(sockets)
    completions = Completions()
    receive = RecvPool(near, pool, completions, flags=MULTISHOT)
    start(proactor, receive)
    send(far, b"")
    poll_until(proactor, lambda: completions.records)
    send(far, b"after it")
    poll_until(proactor, lambda: len(completions) == 2)
    cancel(proactor, receive)
    assert [result.length for result in completions.results[:2]] == [0, 8]
    completions.results[1].release()
    assert pool.available == pool.capacity


def test_a_datagram_longer_than_a_buffer_is_cut_off(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, far = connected_udp(sockets)
    send(far, pattern(BUFFER_BYTES + 1))
    with perform(proactor, RecvPool(near, pool)) as lease:
        assert bytes(lease.view) == pattern(BUFFER_BYTES)


# In chains, in tasks, from other threads -----------------------------------------------------------------------------


def test_it_may_be_the_last_step_of_a_chain(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvPool(far, pool)
    proactor.submit(Send(near, b"linked", flags=OperationFlags.LINKED), receive)
    settle(proactor, receive)
    with receive.result as lease:
        assert bytes(lease.view) == b"linked"


def test_as_the_last_step_of_a_chain_it_pauses_too(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    first, received = paused(proactor, pool, sockets, OperationFlags.NONE)
    near, far = sockets.tcp_pair()
    receive = RecvPool(far, pool)
    proactor.submit(Send(near, b"linked", flags=OperationFlags.LINKED), receive)
    for _ in range(5):
        proactor.poll(0.001)
    cancel(proactor, first)
    received.release_all()
    settle(proactor, receive)
    receive.result.release()


def test_a_task_awaits_a_lease(run: Callable[..., Any], sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()

    async def main() -> bytes:
        proactor = current_proactor()
        with Slab.allocate(BUFFER_BYTES, 2) as slab, register_slab(proactor, slab, Access.WRITE) as region:
            with BufferPool(region) as pool:
                with proactor_trio.move_on_after(SOON) as scope:
                    await RecvPool(near, pool)
                assert scope.cancelled_caught
                send(far, b"for a task")
                with await RecvPool(near, pool) as lease:
                    return bytes(lease.view)

    assert run(main) == b"for a task"


def test_another_threads_submission_is_begun_by_the_owner(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvPool(near, pool)
    thread = threading.Thread(target=proactor.submit, args=(receive,))
    thread.start()
    thread.join()
    send(far, b"x")
    with pytest.raises(FailedPrecondition, match="cannot be closed: 1 operations"):
        pool.close()
    settle(proactor, receive)
    receive.result.release()


def test_a_proactor_that_another_thread_polls_receives(
    make_proactor: Callable[..., Proactor], make_pool: MakePool, sockets: Sockets
) -> None:
    shared = make_proactor(threading_mode=ThreadingMode.CROSS_THREAD)
    shared.poll(0)
    pool = make_pool(2, of=shared)
    near, far = sockets.tcp_pair()
    send(far, b"x")
    finish(shared, receive := RecvPool(near, pool)).result.release()
    assert receive.error is None


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.reference("BufferRegistrationTest.RecvPoolRejectsReadOnlyRegion")
def test_a_pool_that_may_only_be_read_is_refused(proactor: Proactor, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    with Slab.allocate(BUFFER_BYTES, 2) as slab, register_slab(proactor, slab, Access.READ) as region:
        with BufferPool(region) as pool:
            with pytest.raises(FailedPrecondition, match="READ") as refusal:
                proactor.submit(RecvPool(near, pool))
            assert status_of(refusal.value) is StatusCode.FAILED_PRECONDITION


def test_another_proactors_pool_is_refused(
    proactor: Proactor, make_proactor: Callable[..., Proactor], make_pool: MakePool, sockets: Sockets
) -> None:
    near, _far = sockets.tcp_pair()
    foreign = make_pool(2, of=make_proactor())
    with pytest.raises(ValueError, match="pool: its memory is registered with another proactor"):
        proactor.submit(RecvPool(near, foreign))


def test_a_closed_pool_is_refused(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    pool.close()
    with pytest.raises(ClosedResourceError, match="pool"):
        proactor.submit(RecvPool(near, pool))


def test_a_closed_socket_is_refused_and_the_pool_is_left_alone(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, _far = sockets.tcp_pair()
    near.close()
    with pytest.raises(ClosedResourceError, match="socket"):
        proactor.submit(RecvPool(near, pool))
    pool.close()


def test_what_is_no_socket_or_no_pool_is_refused(pool: BufferPool, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    with pytest.raises(TypeError, match="socket"):
        RecvPool(near.stdlib, pool)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pool"):
        RecvPool(near, bytearray(10))  # type: ignore[arg-type]


def test_it_cannot_have_a_successor(proactor: Proactor, pool: BufferPool, sockets: Sockets) -> None:
    near, _far = sockets.tcp_pair()
    with pytest.raises(ValueError, match="RecvPool cannot have a successor"):
        proactor.submit(RecvPool(near, pool, flags=OperationFlags.LINKED), Nop())
    pool.close()


@pytest.mark.reference("BufferRegistrationTest.RecvPoolRequiresPowerOfTwo")
def test_slabs_that_are_no_power_of_two_do_not_come_so_far(proactor: Proactor) -> None:
    with Slab.allocate(BUFFER_BYTES, 3) as slab, pytest.raises(ValueError, match="power of two"):
        register_slab(proactor, slab, Access.WRITE)


@both_forms
def test_pool_and_region_cannot_be_closed_while_it_is_in_flight(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    near, _far = sockets.tcp_pair()
    region: Region = pool.region
    receive = RecvPool(near, pool, Received(), flags=form)
    start(proactor, receive)
    with pytest.raises(FailedPrecondition, match="1 operations in flight"):
        pool.close()
    with pytest.raises(FailedPrecondition, match="1 operations are in flight"):
        region.close()
    cancel(proactor, receive)
    pool.close()
    region.close()


def test_a_pool_cannot_be_closed_while_what_came_is_leased(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    send(far, b"x")
    with perform(proactor, RecvPool(near, pool)), pytest.raises(FailedPrecondition, match="1 leases are out"):
        pool.close()


# Exceptions in the middle --------------------------------------------------------------------------------------------


@both_forms
def test_an_interrupt_in_the_completion_function_neither_loses_nor_doubles_a_buffer(
    proactor: Proactor, make_pool: MakePool, sockets: Sockets, form: OperationFlags
) -> None:
    pool = make_pool(2)
    near, far = sockets.tcp_pair()
    received = Received()

    def interrupted(operation: Operation, flags: CompletionFlags) -> None:
        received(operation, flags)
        raise KeyboardInterrupt

    receive = RecvPool(near, pool, interrupted, flags=form)
    for number in range(6):
        if receive.state is not OperationState.SUBMITTED:
            proactor.submit(receive)
        send(far, b"%d" % number)
        with pytest.raises(KeyboardInterrupt):
            poll_until(proactor, lambda: False)
        proactor.poll(0)
        assert pool.available == 2
    assert received.data == b"012345"
    receive.completion_fn = received
    if form:
        cancel(proactor, receive)


def test_an_error_of_the_completion_function_is_raised_by_poll(
    proactor: Proactor, pool: BufferPool, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()

    def failing(operation: Operation, flags: CompletionFlags) -> None:
        operation.result.release()
        raise LookupError("mine")

    send(far, b"x")
    proactor.submit(RecvPool(near, pool, failing))
    with pytest.raises(LookupError, match="mine"):
        poll_until(proactor, lambda: False)
    assert pool.available == pool.capacity
