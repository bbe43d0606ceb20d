"""An echo server and 64 clients, all in one run, over TCP on 127.0.0.1; every byte that comes back is compared."""

from __future__ import annotations

import random
from functools import partial
from typing import Final

from proactor_trio import SocketListener, SocketStream, current_time, open_nursery, open_tcp_stream, serve_tcp
from proactor_trio.command.job_report import JobFailed, JobReport

CLIENTS: Final = 64
MESSAGES: Final = 200
LONGEST_MESSAGE: Final = 8192
_HOST: Final = "127.0.0.1"


async def echo(stream: SocketStream) -> None:
    """Send back what comes, until the client ends its side."""
    async for data in stream:
        await stream.send_all(data)


async def receive_exactly(stream: SocketStream, length: int) -> bytes:
    """Exactly so many bytes, fewer only at the end of the stream."""
    parts: list[bytes] = []
    missing = length
    while missing and (data := await stream.receive_some(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def difference(expected: bytes, received: bytes) -> str:
    """Where two byte strings that differ do so."""
    for position, (wanted, found) in enumerate(zip(expected, received, strict=False)):
        if wanted != found:
            return f"byte {position} of {len(expected)} is {found:#04x} instead of {wanted:#04x}"
    return f"{len(received)} bytes came instead of {len(expected)}"


async def _client(number: int, port: int, lengths: list[int]) -> None:
    """Messages of many lengths and of content that no other client sends, one after another; then the end."""
    contents = random.Random(number)
    stream = await open_tcp_stream(_HOST, port)
    async with stream:
        for message_number in range(MESSAGES):
            message = contents.randbytes(contents.randint(1, LONGEST_MESSAGE))
            await stream.send_all(message)
            answer = await receive_exactly(stream, len(message))
            if answer != message:
                place = f"client {number}, message {message_number}"
                raise JobFailed(f"{place}: the answer differs: {difference(message, answer)}")
            lengths.append(len(message))
        await stream.send_eof()
        rest = await stream.receive_some()
        if rest:
            raise JobFailed(f"client {number}: {len(rest)} bytes came after the last answer")


async def run_echo_job() -> JobReport:
    """Serve 64 clients until the last one is content."""
    lengths: list[int] = []
    begin = current_time()
    async with open_nursery() as nursery:
        serve = partial(serve_tcp, echo, 0, host=_HOST)
        listeners: list[SocketListener] = await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        async with open_nursery() as clients:
            for number in range(CLIENTS):
                clients.start_soon(_client, number, port, lengths)
        nursery.cancel_scope.cancel()
    seconds = current_time() - begin
    if len(lengths) != CLIENTS * MESSAGES:
        raise JobFailed(f"{len(lengths)} messages came back instead of {CLIENTS * MESSAGES}")
    return JobReport(
        name="echo",
        work=f"{CLIENTS} clients at a time, {MESSAGES} messages of 1 to {LONGEST_MESSAGE} bytes each, TCP on {_HOST}",
        transferred=sum(lengths),
        operations=len(lengths),
        operation_name="round trips",
        seconds=seconds,
        check="every answer is its message, byte by byte, and nothing came after the last",
    )
