"""An echo server: one task for each connection, and one line of shutting down.

    python examples/echo_server.py --serve-forever --port 12345

serves until Ctrl-C; try it with `nc 127.0.0.1 12345` or examples/echo_client.py. Without `--serve-forever` the program
starts a few clients of its own, checks that each gets back what it sent, and ends.

`serve_tcp()` accepts connections and starts `echo()` for each in a task of a nursery. No task outlives the nursery that
it was started in: when the scope of the nursery is cancelled, every connection is closed before the block is left.
"""

from __future__ import annotations

import argparse
from functools import partial

import proactor_trio

HOST = "127.0.0.1"
CLIENTS = 5


async def echo(stream: proactor_trio.SocketStream) -> None:
    """Send back what comes, until the other side says that it is done. serve_tcp() closes the stream afterwards."""
    try:
        async for data in stream:
            await stream.send_all(data)
    except proactor_trio.BrokenResourceError as error:
        print(f"a client vanished: {error}")  # its problem, not that of the other connections


async def visit(number: int, port: int, answers: dict[int, bytes]) -> None:
    """One client of our own: says something, ends its side, collects everything that comes back."""
    async with await proactor_trio.open_tcp_stream(HOST, port) as stream:
        await stream.send_all(f"client {number} ".encode() * 1000)
        await stream.send_eof()
        answers[number] = b"".join([data async for data in stream])


async def main(port: int, serve_forever: bool) -> None:
    answers: dict[int, bytes] = {}
    async with proactor_trio.open_nursery() as nursery:
        # start() waits until the server is listening, then it goes on in the background of this block.
        listeners = await nursery.start(partial(proactor_trio.serve_tcp, echo, port, host=HOST))
        port = listeners[0].socket.getsockname()[1]
        print(f"serving on {HOST}, port {port}")
        if serve_forever:
            return  # leaving the block waits for its tasks: the server, that is until Ctrl-C
        async with proactor_trio.open_nursery() as visitors:
            for number in range(CLIENTS):
                visitors.start_soon(visit, number, port, answers)
        nursery.cancel_scope.cancel()
    for number in range(CLIENTS):
        if answers[number] != f"client {number} ".encode() * 1000:
            raise SystemExit(f"client {number} did not get back what it sent")
    print(f"{CLIENTS} clients got back what they sent")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An echo server.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, lets the system choose one")
    parser.add_argument("--serve-forever", action="store_true", help="serve until Ctrl-C")
    arguments = parser.parse_args()
    try:
        proactor_trio.run(main, arguments.port, arguments.serve_forever)
    except* KeyboardInterrupt:
        print("stopped")
