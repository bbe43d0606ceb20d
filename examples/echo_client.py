"""An echo client: sends and receives at the same time, in two tasks on one connection.

    python examples/echo_client.py --port 12345

talks to a server that runs already (examples/echo_server.py --serve-forever --port 12345). Without a port the program
starts a small server of its own in the same run. Either way it checks that what came back is what it sent.

It sends far more than the buffers on the way can hold. A client that first sent everything and then looked at the
answers would stand still for ever, with a server that stands still, too: each waiting for the other to read.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from functools import partial

import proactor_trio

HOST = "127.0.0.1"
CHUNKS = 256
CHUNK_BYTES = 64 * 1024


async def send_everything(stream: proactor_trio.SocketStream, sent: list[str]) -> None:
    """16 MiB in chunks, then the end of our side."""
    contents, hash_sent = random.Random(1), hashlib.sha256()
    for _ in range(CHUNKS):
        chunk = contents.randbytes(CHUNK_BYTES)
        hash_sent.update(chunk)
        await stream.send_all(chunk)
    await stream.send_eof()
    sent.append(hash_sent.hexdigest())


async def receive_everything(stream: proactor_trio.SocketStream) -> tuple[int, str]:
    """What comes until the server ends its side: how many bytes, and their hash."""
    count, hash_received = 0, hashlib.sha256()
    async for data in stream:
        count += len(data)
        hash_received.update(data)
    return count, hash_received.hexdigest()


async def talk(port: int) -> None:
    sent: list[str] = []
    async with await proactor_trio.open_tcp_stream(HOST, port) as stream:
        with proactor_trio.fail_after(30):  # raises TooSlowError, wherever inside the time is spent
            async with proactor_trio.open_nursery() as nursery:
                nursery.start_soon(send_everything, stream, sent)
                count, received = await receive_everything(stream)
    if count != CHUNKS * CHUNK_BYTES or [received] != sent:
        raise SystemExit(f"{count} bytes came back, and they are not those that were sent")
    print(f"{count} bytes came back as they were sent")


async def main(port: int | None) -> None:
    if port is not None:
        await talk(port)
        return

    async def echo(stream: proactor_trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with proactor_trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(proactor_trio.serve_tcp, echo, 0, host=HOST))
        await talk(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo client.")
    parser.add_argument("--port", type=int, default=None, help="of a server on this machine; default: one of our own")
    proactor_trio.run(main, parser.parse_args().port)
