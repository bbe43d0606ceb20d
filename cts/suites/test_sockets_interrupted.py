"""Sockets under interruptions: what goes on by our own doing, datagrams and zero-copy sends come once each."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from cts.net_support import no_descriptors_left, udp
from cts.suites.test_callbacks import Fire
from cts.support import Completions, Sockets, alarm_handler, poll_until, settle, start
from proactor_trio.proactor import (
    Accept,
    Capability,
    CompletionFlags,
    Operation,
    OperationFlags,
    Proactor,
    Recv,
    RecvFrom,
    Send,
    SendTo,
)

MULTISHOT = OperationFlags.MULTISHOT
SECONDS = 0.25


@pytest.mark.needs("signals")
def test_interrupts_at_random_moments_lose_no_byte_of_a_multishot_receive_and_repeat_none(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=21)
    near, far = sockets.unix_pair()
    receive = Recv(far, bytearray(3), completions, flags=MULTISHOT)
    proactor.submit(receive)
    sent = 0
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            sent += near.stdlib.send(bytes(fire.choice.randrange(1, 9)))
            while sum(completions.results) < sent:
                fire.poll(0.0005)
    near.close()
    settle(proactor, receive)
    assert fire.interruptions > 20
    assert sum(completions.results) == sent and len(completions.finals) == 1


@pytest.mark.needs("signals")
def test_interrupts_at_random_moments_lose_no_connection_of_an_emulated_multishot_accept(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions
) -> None:
    proactor = make_proactor(allowed_capabilities=Capability.NONE)
    fire = Fire(proactor, seed=22)
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    proactor.submit(accept)
    clients: set[object] = set()
    with alarm_handler(fire.handle):
        while len(clients) < 300:
            clients.add(sockets.client_of(listener).getsockname())
            fire.poll(0)
    poll_until(proactor, lambda: len(completions) >= len(clients))
    proactor.cancel(accept)
    settle(proactor, accept)
    accepted = [sockets.keep(record.result) for record in completions.records if not record.is_final]
    assert len(accepted) == len(clients)
    assert {socket.getpeername() for socket in accepted} == clients


@pytest.mark.needs("signals")
def test_interrupts_at_random_moments_lose_no_datagram(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=23)
    near, far = udp(sockets), udp(sockets)
    operations: list[Operation] = []
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            batch: list[Operation] = [
                RecvFrom(far, [bytearray(1), bytearray(2)], completions),
                SendTo(near, [b"ab", b"c"], far.getsockname(), completions),
            ]
            proactor.submit(*batch)
            operations += batch
            while len(completions) < len(operations):
                fire.poll(0.0005)
    settle(proactor, *operations)
    assert fire.interruptions > 20
    assert len(completions) == len(operations)
    assert {operation.result for operation in operations} == {3, (3, near.getsockname())}


@pytest.mark.needs("signals")
def test_interrupts_at_random_moments_end_each_zero_copy_send_once(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=24)
    near, far = sockets.tcp_pair()
    near.zero_copy = True
    sends: list[Operation] = []
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            sends += [Send(near, bytearray(100), completions), Send(near, bytes(100), completions)]
            proactor.submit(*sends[-2:])
            while len(completions) < len(sends):
                fire.poll(0.0005)
            far.stdlib.recv(1000)
    settle(proactor, *sends)
    assert fire.interruptions > 20
    assert completions.results == [100] * len(sends)


def test_an_interrupt_for_a_message_neither_ends_nor_stops_a_multishot_receive(
    proactor: Proactor, sockets: Sockets
) -> None:
    near, far = sockets.tcp_pair()
    received: list[int] = []

    def take(operation: Operation, flags: CompletionFlags) -> None:
        if flags is CompletionFlags.MORE:
            received.append(operation.result)
            raise KeyboardInterrupt

    receive = Recv(near, bytearray(10), take, flags=MULTISHOT)
    start(proactor, receive)
    for count in (1, 2, 3):
        far.stdlib.send(bytes(count))
        with pytest.raises(KeyboardInterrupt):
            poll_until(proactor, lambda count=count: len(received) > count)
    proactor.cancel(receive)
    settle(proactor, receive)
    assert received == [1, 2, 3]


@pytest.mark.needs("signals")
def test_interrupts_at_random_moments_neither_end_nor_double_an_accept_that_pauses(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    fire = Fire(proactor, seed=25)
    listener = sockets.listener()
    client = sockets.client_of(listener)
    accept = Accept(listener, completions, flags=MULTISHOT)
    with no_descriptors_left(listener.fileno()), alarm_handler(fire.handle):
        proactor.submit(accept)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            fire.poll(0.01)
    poll_until(proactor, lambda: completions.records)
    proactor.cancel(accept)
    settle(proactor, accept)
    assert [record.is_final for record in completions.records] == [False, True]
    assert sockets.keep(completions.results[0]).getpeername() == client.getsockname()
