"""RecvPool under interruptions: exceptions of signal handlers lose no byte and no buffer, and repeat none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from cts.suites.test_callbacks import Fire
from cts.support import Completions, Sockets, alarm_handler, pattern, poll_until, settle
from proactor_trio.proactor import (
    Access,
    BufferPool,
    Capability,
    CompletionFlags,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    RecvPool,
    Slab,
    register_slab,
)
from tests.proactor.interruptions import interrupt_at

pytestmark = pytest.mark.needs("registered_buffers")

SECONDS = 0.15
LONGEST_SECONDS = 10
COUNT = 2
BUFFER_BYTES = 64
FORMS = {"single": OperationFlags.NONE, "multishot": OperationFlags.MULTISHOT}
both_forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@pytest.fixture(params=["as it is", "without multishot"])
def proactor(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    without = Capability.NONE if request.param == "as it is" else Capability.MULTISHOT
    return make_proactor(allowed_capabilities=Capability.ALL & ~without)


@pytest.fixture
def pool(proactor: Proactor) -> Iterator[BufferPool]:
    with Slab.allocate(BUFFER_BYTES, COUNT) as slab, register_slab(proactor, slab, Access.WRITE) as region:
        with BufferPool(region) as pool:
            yield pool


def take(completions: Completions) -> bytes:
    """All that was received, from leases that the recorder still holds; gives them back."""
    data = b""
    for record in completions.records:
        lease = record.result
        if lease is not None and lease.length:
            data += bytes(lease.view)
            lease.release()
    completions.records.clear()
    return data


@pytest.mark.needs("signals")
@both_forms
def test_interrupts_at_random_moments_lose_neither_bytes_nor_buffers(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, completions: Completions, form: OperationFlags
) -> None:
    fire = Fire(proactor, seed=31)
    near, far = sockets.tcp_pair()
    data = pattern(1 << 17)
    sent, got = 0, bytearray()
    receive = RecvPool(near, pool, completions, flags=form)
    with alarm_handler(fire.handle):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            sent += far.stdlib.send(data[sent : sent + fire.choice.randrange(1, 300)])
            while len(got) < sent:
                if receive.state is not OperationState.SUBMITTED:
                    proactor.submit(receive)
                fire.poll(0.0005)
                got += take(completions)
                assert time.monotonic() < end + LONGEST_SECONDS, f"{sent - len(got)} bytes are missing: {receive!r}"
    far.close()
    # Also what the proactor itself has in flight: a report of it that was interrupted is made again by the next poll.
    poll_until(proactor, lambda: receive.state is OperationState.DONE and not proactor.statistics()["in_flight"])
    got += take(completions)
    assert fire.interruptions > 10
    assert bytes(got) == data[:sent]
    assert pool.available == COUNT


@both_forms
@pytest.mark.ring_rule(17)
def test_an_interrupt_at_any_place_of_poll_loses_neither_bytes_nor_buffers(
    proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags
) -> None:
    """Three pieces for two buffers: taken, delivered, paused and resumed, and interrupted once at each place."""
    point = 1
    message = pattern(3 * BUFFER_BYTES)
    while True:
        near, far = sockets.tcp_pair()
        pieces: list[bytes] = []

        def collect(operation: Operation, flags: CompletionFlags, pieces: list[bytes] = pieces) -> None:
            if operation.error is None and operation.result.length:
                pieces.append(bytes(operation.result.view))
                operation.result.release()

        receive = RecvPool(near, pool, collect, flags=form)
        proactor.submit(receive)
        proactor.poll(0)
        far.stdlib.send(message)

        def poll_all(receive: RecvPool = receive, pieces: list[bytes] = pieces) -> None:
            for _ in range(3 if form else 1):
                proactor.poll(0.01)

        came = interrupt_at(point, poll_all, spared=collect.__code__)
        while sum(map(len, pieces)) < len(message):
            if receive.state is not OperationState.SUBMITTED:
                proactor.submit(receive)
            seen = len(pieces)
            poll_until(proactor, lambda seen=seen, pieces=pieces: len(pieces) > seen)
        proactor.cancel(receive)
        settle(proactor, receive)
        assert b"".join(pieces) == message
        assert pool.available == COUNT and not pool.region.users
        near.close()
        far.close()
        if not came:
            break
        point += 1
