"""Zero-copy sends: the memory of a registered slab goes out without being copied, where the kernel and the device can.

The completion function is called when the memory may be used again, which is when the peer has acknowledged it; that is
where a buffer goes back to the free ones. Whether the kernel really avoided the copy stands in its flags: the loopback
device never does, and a datagram that nobody wants is dropped as it is. Where there are no zero-copy sends the same
program runs and copies.
"""

from __future__ import annotations

import socket as stdlib_socket

from proactor_trio.proactor import (
    Access,
    Capability,
    CompletionFlags,
    Operation,
    OperationState,
    Proactor,
    Recv,
    Send,
    SendTo,
    Slab,
    Socket,
    SocketOptions,
    SocketType,
    register_slab,
)

BUFFER_BYTES, BUFFER_COUNT, ROUNDS = 64 * 1024, 4, 3


def connected() -> tuple[Socket, Socket]:
    with stdlib_socket.create_server(("127.0.0.1", 0)) as listener:
        near = stdlib_socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return Socket.from_stdlib(near, zero_copy=True), Socket.from_stdlib(far)


def verdict(flags: CompletionFlags) -> str:
    return "not copied" if flags & CompletionFlags.ZERO_COPY_ACHIEVED else "copied"


def send_in_rounds(proactor: Proactor) -> None:
    near, far = connected()
    with Slab.allocate(BUFFER_BYTES, BUFFER_COUNT) as slab, register_slab(proactor, slab, Access.READ) as region:
        print(f"  {region}: {region.reason}")
        verdicts: list[str] = []
        for index in range(ROUNDS * BUFFER_COUNT):
            send = Send(
                near,
                region.buffer_span(index % BUFFER_COUNT),
                lambda operation, flags: verdicts.append(verdict(flags)),
                whole=True,
            )
            receive = Recv(far, bytearray(BUFFER_BYTES), whole=True)
            proactor.submit(send, receive)
            while send.state is not OperationState.DONE or receive.state is not OperationState.DONE:
                proactor.poll(timeout=10)
        print(f"  {len(verdicts)} buffers over loopback: {', '.join(sorted(set(verdicts)))}")
    near.close()
    far.close()


def send_to_nobody(proactor: Proactor) -> None:
    """A multicast datagram that may not leave this host: it goes through the kernel and is dropped at its end."""
    socket = Socket.of_type(SocketType.UDP, SocketOptions.ZERO_COPY)
    socket.setsockopt(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_MULTICAST_TTL, 0)
    socket.setsockopt(stdlib_socket.IPPROTO_IP, stdlib_socket.IP_MULTICAST_LOOP, 0)

    def done(operation: Operation, flags: CompletionFlags) -> None:
        print(f"  a datagram to nobody: {operation.error or verdict(flags)}")

    send = SendTo(socket, bytearray(1000), ("224.0.0.251", 9), done)
    proactor.submit(send)
    while send.state is not OperationState.DONE:
        proactor.poll(timeout=10)
    socket.close()


def main() -> None:
    with Proactor() as proactor:
        report = proactor.capability_reports[Capability.ZERO_COPY_SEND]
        print(f"zero-copy sends on {proactor.backend_name}: {report.support.value}: {report.reason}")
        send_in_rounds(proactor)
        send_to_nobody(proactor)


if __name__ == "__main__":
    main()
