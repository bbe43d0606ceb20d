"""Workload echo: 64 connections, each sends 1 KiB and waits for it to come back; server CPU time per request.

All servers ask for at most 4 KiB at a time. Trio would take 64 KiB by default, and allocating that for
each call costs it a part of its time that says nothing about its loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .measuring import Mark, Workload
from .serving import measure_server, server_contenders

MAXIMUM_RECEIVE = 4096


async def echo_stream(stream: Any) -> None:
    """Echo on a stream of Trio's kind until the peer closes."""
    while data := await stream.receive_some(MAXIMUM_RECEIVE):
        await stream.send_all(data)


async def echo_reader_writer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo on asyncio's streams until the peer closes."""
    while data := await reader.read(MAXIMUM_RECEIVE):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


WORKLOAD = Workload(
    name="echo",
    title="64 connections, 1 KiB there and back; CPU time of the server process",
    unit="request",
    rows=("echo",),
    contenders=server_contenders(echo_stream, echo_reader_writer),
    baselines=("trio", "uvloop streams"),
    marks=(
        Mark("proactor_trio io_uring", "trio", 0.5),
        Mark("proactor_trio io_uring", "uvloop streams", 1.0),
        Mark("proactor_trio epoll", "trio", 0.65),
    ),
    sizes={"connections": 64, "message_bytes": 1024, "warm_up_units": 3_200, "units": 20_000},
    quick_sizes={"warm_up_units": 1280, "units": 8_000},
    measure=measure_server,
)
