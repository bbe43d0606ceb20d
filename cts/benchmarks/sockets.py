"""socket: round trips, throughput, accepting, and sending without a copy."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Iterator
from typing import Any

from cts.benchmarks.measuring import Benchmark, Work, register
from proactor_trio.proactor import (
    Accept,
    Access,
    Capability,
    CompletionFlags,
    Operation,
    OperationState,
    Proactor,
    Recv,
    Send,
    Slab,
    Socket,
    SocketOptions,
    register_slab,
)

DONE = OperationState.DONE
LOOPBACK = "127.0.0.1"
ZERO_COPY_BYTES = 65536
#: Sends that are in flight at a time.
IN_FLIGHT = 8


def _pair(options: SocketOptions = SocketOptions.NONE) -> tuple[Socket, Socket]:
    with stdlib_socket.create_server((LOOPBACK, 0)) as listener:
        near = Socket(options=options)
        near.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)
        near.stdlib.setblocking(True)
        near.stdlib.connect(listener.getsockname())
        near.stdlib.setblocking(False)
        far, _ = listener.accept()
        return near, Socket.from_stdlib(far)


def _finish(proactor: Proactor, *operations: Operation) -> None:
    proactor.submit(*operations)
    while any(operation.state is not DONE for operation in operations):
        proactor.poll(1)


def round_trip(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many bytes there and back."""
    near, far = _pair()
    payload, there, back = bytes(size), bytearray(size), bytearray(size)
    send, receive = Send(near, payload, whole=True), Recv(far, there, whole=True)
    answer, result = Send(far, payload, whole=True), Recv(near, back, whole=True)

    def work(units: int) -> None:
        for _ in range(units):
            _finish(proactor, send, receive)
            _finish(proactor, answer, result)

    yield work
    near.close()
    far.close()


def throughput(proactor: Proactor, size: int) -> Iterator[Work]:
    """So many bytes in one direction."""
    near, far = _pair()
    send, receive = Send(near, bytes(size), whole=True), Recv(far, bytearray(size), whole=True)

    def work(units: int) -> None:
        for _ in range(units):
            _finish(proactor, send, receive)

    yield work
    near.close()
    far.close()


def _stream(proactor: Proactor, near: Socket, far: Socket, pieces: list[Any], length: int) -> Work:
    """A unit is one piece; all of them are in flight at a time, as where throughput matters."""
    # With a completion function a send without a copy is done when its memory is free again.
    sends = [Send(near, piece, _nothing, whole=True) for piece in pieces]
    receive = Recv(far, bytearray(length * len(pieces)), whole=True)

    def work(units: int) -> None:
        for _ in range(-(-units // len(pieces))):
            _finish(proactor, receive, *sends)

    return work


def _nothing(operation: Operation, flags: CompletionFlags) -> None:
    return


def copying_sends(proactor: Proactor, size: int) -> Iterator[Work]:
    """Sends that the kernel copies."""
    near, far = _pair()
    yield _stream(proactor, near, far, [bytes(size) for _ in range(IN_FLIGHT)], size)
    near.close()
    far.close()


def zero_copy_ad_hoc(proactor: Proactor, size: int) -> Iterator[Work]:
    """The same without a copy, from memory that is pinned for each send. Loopback copies anyway."""
    near, far = _pair(SocketOptions.ZERO_COPY)
    yield _stream(proactor, near, far, [bytes(size) for _ in range(IN_FLIGHT)], size)
    near.close()
    far.close()


def zero_copy_fixed(proactor: Proactor, size: int) -> Iterator[Work]:
    """The same from a registered slab."""
    near, far = _pair(SocketOptions.ZERO_COPY)
    with Slab.allocate(size, IN_FLIGHT) as slab, register_slab(proactor, slab, Access.READ) as region:
        yield _stream(proactor, near, far, [region.buffer_span(index) for index in range(IN_FLIGHT)], size)
    near.close()
    far.close()


def accept_rate(proactor: Proactor, size: int) -> Iterator[Work]:
    listener = Socket()
    listener.bind((LOOPBACK, 0))
    listener.listen(128)
    address = listener.getsockname()
    accept = Accept(listener)

    def work(units: int) -> None:
        for _ in range(units):
            with stdlib_socket.create_connection(address):
                _finish(proactor, accept)
                accept.result.close()

    yield work
    listener.close()


COPY = "socket/SocketZCThroughput/Copy"
register(Benchmark("socket/SocketRoundtrip", round_trip, (64, 256, 1024, 4096, 16384, 65536)))
register(Benchmark("socket/SocketThroughput", throughput, (4096, 16384, 65536, 262144)))
register(Benchmark("socket/SocketAcceptRate", accept_rate))
register(Benchmark(COPY, copying_sends, (ZERO_COPY_BYTES,), needs=Capability.ZERO_COPY_SEND))
register(
    Benchmark("socket/SocketZCThroughput/AdHoc", zero_copy_ad_hoc, (ZERO_COPY_BYTES,), needs=Capability.ZERO_COPY_SEND)
)
register(
    Benchmark(
        "socket/SocketZCThroughput/Fixed",
        zero_copy_fixed,
        (ZERO_COPY_BYTES,),
        compared_with=COPY,
        at_most=1.15,
        needs=Capability.ZERO_COPY_SEND,
    )
)
