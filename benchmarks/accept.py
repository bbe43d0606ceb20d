"""Workload accept: accept a connection, echo one byte, close; server CPU time per connection.

The server closes first, as soon as the byte is sent, so a unit is exactly: accept, receive, send, close.
The client counts a connection when it has seen the end of the stream, then closes its side and opens the
next one; 16 are under way at any time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .measuring import Mark, Workload
from .serving import measure_server, server_contenders


async def echo_one_byte_stream(stream: Any) -> None:
    """Echo one byte on a stream of Trio's kind; the listener closes it when this returns."""
    await stream.send_all(await stream.receive_some(1))


async def echo_one_byte_reader_writer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo one byte on asyncio's streams and close."""
    writer.write(await reader.read(1))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


CONTENDERS = server_contenders(echo_one_byte_stream, echo_one_byte_reader_writer)

WORKLOAD = Workload(
    name="accept",
    title="accept, echo one byte, close (the server first), 16 under way; CPU time of the server process",
    unit="connection",
    rows=("accept",),
    contenders=CONTENDERS,
    baselines=("trio",),
    marks=tuple(Mark(contender.name, "trio", 0.5) for contender in CONTENDERS if contender.library == "proactor_trio"),
    sizes={"connections": 16, "warm_up_units": 500, "units": 2_500},
    quick_sizes={"warm_up_units": 160, "units": 1_200},
    measure=measure_server,
)
