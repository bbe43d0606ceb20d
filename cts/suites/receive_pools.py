"""What the suites of RecvPool share: pools, a completion function that gives leases back, and a receive that pauses.

Each test runs twice on each configuration: as it is, and without MULTISHOT, which on io_uring makes the proactor
perform it itself, as it does elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from cts.support import (
    PAIR_KINDS,
    Sockets,
    finish,
    settle,
)
from proactor_trio.proactor import (
    Access,
    BufferPool,
    Capability,
    CompletionFlags,
    Operation,
    OperationFlags,
    OperationState,
    PoolLease,
    Proactor,
    RecvPool,
    Slab,
    Socket,
    register_slab,
)

BUFFER_BYTES = 1024
SOON = 0.005
MULTISHOT = OperationFlags.MULTISHOT
MORE = CompletionFlags.MORE
FORMS = {"single": OperationFlags.NONE, "multishot": MULTISHOT}
WITHOUT_MULTISHOT = Capability.ALL & ~Capability.MULTISHOT

both_kinds = pytest.mark.parametrize("kind", PAIR_KINDS)
both_forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
MakePool = Callable[..., BufferPool]


@pytest.fixture(params=["as it is", "without multishot"])
def proactor(request: pytest.FixtureRequest, make_proactor: Callable[..., Proactor]) -> Proactor:
    allowed = Capability.ALL if request.param == "as it is" else WITHOUT_MULTISHOT
    return make_proactor(allowed_capabilities=allowed)


@pytest.fixture
def memory() -> Iterator[ExitStack]:
    """Pools, regions and slabs of the test, closed in that order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_pool(proactor: Proactor, memory: ExitStack) -> MakePool:
    def make(count: int = 4, of: Proactor = proactor, buffer_bytes: int = BUFFER_BYTES) -> BufferPool:
        slab = memory.enter_context(Slab.allocate(buffer_bytes, count))
        region = memory.enter_context(register_slab(of, slab, Access.WRITE | Access.READ))
        return memory.enter_context(BufferPool(region))

    return make


@pytest.fixture
def pool(make_pool: MakePool) -> BufferPool:
    return make_pool()


class Received:
    """A completion function that takes the bytes and gives each lease back, or keeps it."""

    def __init__(self, *, keep: bool = False) -> None:
        self.pieces: list[bytes] = []
        self.labels: list[object] = []
        self.finals: list[Operation] = []
        self.leases: list[PoolLease] = []
        self._keep = keep

    def __call__(self, operation: Operation, flags: CompletionFlags) -> None:
        if not flags & MORE:
            self.finals.append(operation)
        if operation.error is not None:
            return
        lease = operation.result
        if lease.length:
            self.pieces.append(bytes(lease.view))
            self.labels.append(operation.user_data)
            self.leases.append(lease)
        if not self._keep:
            lease.release()

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def release_all(self) -> None:
        while self.leases:
            self.leases.pop().release()


def send(socket: Socket, data: bytes) -> None:
    """All of it, by the stdlib; it has to fit into the socket's buffers."""
    assert socket.stdlib.send(data) == len(data)


def cancel(proactor: Proactor, receive: RecvPool) -> None:
    proactor.cancel(receive)
    settle(proactor, receive)


def paused(proactor: Proactor, pool: BufferPool, sockets: Sockets, form: OperationFlags) -> tuple[RecvPool, Received]:
    """A receive for which bytes have arrived, and no buffer is left. The leases are in the Received."""
    hoard = Received(keep=True)
    near, far = sockets.tcp_pair()
    for _ in range(pool.capacity):
        send(far, b"taken")
        perform_into(proactor, RecvPool(near, pool, hoard))
    received = Received()
    near, far = sockets.tcp_pair()
    receive = RecvPool(near, pool, received, flags=form, user_data=far)
    proactor.submit(receive)
    send(far, b"late")
    for _ in range(5):
        proactor.poll(0.001)
    assert receive.state is OperationState.SUBMITTED and not received.pieces
    received.leases = hoard.leases
    return receive, received


def perform_into(proactor: Proactor, receive: RecvPool) -> None:
    finish(proactor, receive)
    assert receive.error is None
