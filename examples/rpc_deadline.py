"""A deadline that reaches through a request: the wait for a result, the send that depends on it, and the answer.

A request is a graph: wait until the accelerator has computed, send what it computed, receive the answer. Nothing of it
is decided by Python in between, and yet an ordinary `fail_after()` around it ends all of it in one step:

* the peer receives no byte of the request that came too late, also not when the accelerator is done after all;
* the semaphore of the accelerator is as good as before;
* heartbeats in the same loop go on meanwhile;
* the same connection carries the next request.

The program checks each of these.
"""

from __future__ import annotations

import socket
import threading

import proactor_trio
from proactor_trio.proactor import Recv, SemaphoreWait, Send, Socket, TimelineSemaphore

REQUEST_SECONDS = 0.05
HEARTBEAT_SECONDS = 0.002
LENGTH = 8


class Peer:
    """Answers requests of LENGTH bytes, and remembers all that it has received."""

    def __init__(self, stream: proactor_trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""

    async def serve(self) -> None:
        answered = 0
        async for piece in self.stream:
            self.received += piece
            while len(self.received) - answered >= LENGTH:
                request = self.received[answered : answered + LENGTH]
                answered += LENGTH
                await self.stream.send_all(request.upper())


class Heartbeats:
    """Tells the peer now and then that we are alive, on a connection of its own."""

    def __init__(self, stream: proactor_trio.SocketStream) -> None:
        self.stream = stream
        self.count = 0

    async def beat(self) -> None:
        while True:
            await proactor_trio.sleep(HEARTBEAT_SECONDS)
            await self.stream.send_all(b".")
            self.count += 1


async def ask(connection: Socket, accelerator: TimelineSemaphore, value: int, page: bytearray) -> bytes:
    """Send the page when the accelerator has reached the value; returns the answer."""
    answer = bytearray(LENGTH)
    async with proactor_trio.open_graph() as graph:
        computed = graph.add(SemaphoreWait(accelerator, value))
        sent = graph.add(Send(connection, page), after=computed)
        graph.add(Recv(connection, answer), after=sent)
    return bytes(answer)


def check(condition: bool, what: str) -> None:
    if not condition:
        raise SystemExit(f"not so: {what}")
    print(what)


async def client(connection: Socket, peer: Peer, heartbeats: Heartbeats) -> None:
    accelerator = TimelineSemaphore()
    beats = heartbeats.count
    try:
        with proactor_trio.fail_after(REQUEST_SECONDS):
            await ask(connection, accelerator, 1, bytearray(b"too late"))
    except proactor_trio.TooSlowError:
        check(True, "the request has failed by its deadline")
    else:
        check(False, "nobody signals the accelerator's semaphore in time")
    check(heartbeats.count > beats, "heartbeats went on meanwhile")

    accelerator.signal(1)  # after all: nobody waits for it any more
    page = bytearray(LENGTH)

    def compute() -> None:
        page[:] = b"in time!"
        accelerator.signal(2)

    worker = threading.Thread(target=compute)
    worker.start()
    with proactor_trio.fail_after(30):
        answer = await ask(connection, accelerator, 2, page)
    worker.join()
    check(accelerator.query() == 2, "the semaphore works as before")
    check(answer == b"IN TIME!", "the same connection carries the next request")
    check(peer.received == b"in time!", "the peer has received no byte of the one that was too late")


async def main() -> None:
    pairs = [[Socket.from_stdlib(end) for end in socket.socketpair()] for _ in range(2)]
    (connection, peers_end), (beating, listening) = pairs
    peer = Peer(proactor_trio.SocketStream(peers_end))
    heartbeats = Heartbeats(proactor_trio.SocketStream(beating))
    async with proactor_trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve)
        nursery.start_soon(heartbeats.beat)
        nursery.start_soon(swallow, proactor_trio.SocketStream(listening))
        await client(connection, peer, heartbeats)
        nursery.cancel_scope.cancel()
    for pair in pairs:
        for end in pair:
            end.close()


async def swallow(stream: proactor_trio.SocketStream) -> None:
    """The other end of the heartbeats."""
    async for _ in stream:
        pass


if __name__ == "__main__":
    proactor_trio.run(main)
