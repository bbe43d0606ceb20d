"""Sockets by callbacks: an upper-casing server and its client on one proactor, without a run loop.

The server has one MULTISHOT Accept for all connections, and one MULTISHOT Recv for each, into a buffer of its own. What
it sends must not be touched until it is sent, so each answer is a new object. The client speaks twice and hangs up.
"""

from __future__ import annotations

from proactor_trio.proactor import (
    Accept,
    Address,
    CompletionFlags,
    Connect,
    Operation,
    OperationFlags,
    OperationState,
    Proactor,
    Recv,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
    SocketOptions,
    SocketState,
    SocketType,
)


class Server:
    def __init__(self, proactor: Proactor) -> None:
        self.proactor = proactor
        self.listener = Socket.of_type(SocketType.TCP, SocketOptions.REUSE_ADDR | SocketOptions.NO_DELAY)
        self.listener.bind(Address.from_string("127.0.0.1:0"))
        self.listener.listen()
        self.accept = Accept(self.listener, self.accepted, flags=OperationFlags.MULTISHOT)
        proactor.submit(self.accept)

    @property
    def address(self) -> Address:
        return Address(self.listener.family, self.listener.getsockname())

    def accepted(self, accept: Operation, flags: CompletionFlags) -> None:
        if accept.error is None:
            connection: Socket = accept.result
            self.proactor.submit(Recv(connection, bytearray(1024), self.received, flags=OperationFlags.MULTISHOT))

    def received(self, receive: Operation, flags: CompletionFlags) -> None:
        assert isinstance(receive, Recv)
        if flags & CompletionFlags.MORE:
            answer = bytes(receive.buffer[: receive.result]).upper()
            self.proactor.submit(Send(receive.socket, answer, whole=True))
        else:  # the end of the stream, or an error
            print(f"server: the connection is {receive.socket.state.value}, and over: {receive.error or 'the end'}")
            self.proactor.submit(SocketClose(receive.socket))


def wait_for(proactor: Proactor, *operations: Operation) -> None:
    while any(operation.state is not OperationState.DONE for operation in operations):
        proactor.poll(timeout=10)


def main() -> None:
    with Proactor() as proactor:
        server = Server(proactor)
        print(f"server: listens on {server.address}")
        client = Socket.of_type(SocketType.TCP)
        for message in (b"hello", b"and goodbye"):
            answer = RecvBytes(client, 1024)
            steps = [Send(client, message, flags=OperationFlags.LINKED), answer]
            if client.state is SocketState.CREATED:
                steps.insert(0, Connect(client, server.address, flags=OperationFlags.LINKED))
            proactor.submit(*steps)  # connect, then send, then receive, as one chain
            wait_for(proactor, *steps)
            print(f"client: {message!r} became {answer.result!r}")
        closes = SocketClose(client), SocketClose(server.listener)
        proactor.submit(*closes)
        wait_for(proactor, *closes, server.accept)
        while proactor.statistics()["in_flight"]:
            proactor.poll(timeout=10)


if __name__ == "__main__":
    main()
