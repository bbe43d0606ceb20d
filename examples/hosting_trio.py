"""Proactor operations in a plain `trio.run()`: Trio is the loop, and a bridge brings a proactor to its tasks.

A small server of files by TCP. Each request names a file; sockets and files are operations of one proactor, so on
io_uring neither needs a thread, and Trio's cancel scopes end both kinds alike:

* `perform()` waits for one operation, in any task of the run;
* a chain is submitted as one batch, and its steps are awaited like single operations;
* `move_on_after()` around an operation: it is ended, or its result came first. Nothing lies between.

It needs Trio: `pip install proactor_trio[trio]`.
"""

from __future__ import annotations

import os
import tempfile

import trio

from proactor_trio.integrations import trio_bridge
from proactor_trio.integrations.trio_bridge import Bridge
from proactor_trio.proactor import (
    Accept,
    Connect,
    FileClose,
    FileOpen,
    FileRead,
    FileStatus,
    OperationFlags,
    RecvBytes,
    Send,
    Socket,
    SocketClose,
)

HOST = "127.0.0.1"
CONTENTS = b"contents of a file\n" * 1000


async def read_file(bridge: Bridge, path: str) -> bytearray:
    """The file's contents, by operations."""
    file = await bridge.perform(FileOpen(path))
    try:
        status = await bridge.perform(FileStatus(file))
        contents = bytearray(status.st_size)
        await bridge.perform(FileRead(file, contents, 0))
    finally:
        with trio.CancelScope(shield=True):
            await bridge.perform(FileClose(file))
    return contents


async def answer(bridge: Bridge, connection: Socket) -> None:
    """One request, one file, and the end of the stream: the last two as one chain."""
    path = await bridge.perform(RecvBytes(connection, 4096))
    contents = await read_file(bridge, path.decode()) if path else b""
    send, close = Send(connection, contents, flags=OperationFlags.LINKED), SocketClose(connection)
    bridge.proactor.submit(send, close)
    await bridge.perform(close)


async def serve(bridge: Bridge, listener: Socket) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(answer_and_close, bridge, await bridge.perform(Accept(listener)))


async def answer_and_close(bridge: Bridge, connection: Socket) -> None:
    try:
        await answer(bridge, connection)
    finally:
        connection.close()  # nothing is pending on it: whatever was awaited has ended


async def fetch(bridge: Bridge, address: tuple[str, int], path: str) -> bytes:
    """What a client gets for a path."""
    connection = Socket()
    await bridge.perform(Connect(connection, address))
    await bridge.perform(Send(connection, path.encode()))
    received = b""
    while piece := await bridge.perform(RecvBytes(connection, 65536)):
        received += piece
    await bridge.perform(SocketClose(connection))
    return received


async def show_a_timeout(bridge: Bridge, address: tuple[str, int]) -> None:
    """A client that asks for nothing gets no answer; its wait for one is cancelled."""
    connection = Socket()
    await bridge.perform(Connect(connection, address))
    with trio.move_on_after(0.05) as scope:
        await bridge.perform(RecvBytes(connection, 65536))
    print("no answer in time" if scope.cancelled_caught else "an answer?")
    await bridge.perform(SocketClose(connection))


async def main() -> None:
    listener = Socket()
    listener.bind((HOST, 0))
    listener.listen()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        with open(path, "wb") as file:
            file.write(CONTENTS)
        async with trio_bridge.open_bridge() as bridge, trio.open_nursery() as nursery:
            print(f"Trio drives a proactor on {bridge.proactor.backend_name}")
            nursery.start_soon(serve, bridge, listener)
            if await fetch(bridge, listener.getsockname(), path) != CONTENTS:
                raise SystemExit("the file did not come back as it is")
            print(f"{len(CONTENTS)} bytes of a file came back")
            await show_a_timeout(bridge, listener.getsockname())
            nursery.cancel_scope.cancel()
    listener.close()


if __name__ == "__main__":
    trio.run(main)
