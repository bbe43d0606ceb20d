"""Workloads echo, echo_many, echo_large: connections that each send a message and wait for it to come back.

They have 64 connections and 1 KiB, 512 connections and 1 KiB, 64 connections and 64 KiB; server CPU time per request.
For messages of 1 KiB all servers ask for at most 4 KiB at a time. Trio would take 64 KiB by default, and allocating
that for each call costs it a part of its time that says nothing about its loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .measuring import Mark, Workload
from .serving import measure_server, server_contenders

MAXIMUM_RECEIVE = 4096
LARGE_MESSAGE = 64 * 1024


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


async def echo_large_stream(stream: Any) -> None:
    """Echo large messages on a stream of Trio's kind until the peer closes."""
    while data := await stream.receive_some(LARGE_MESSAGE):
        await stream.send_all(data)


async def echo_large_reader_writer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo large messages on asyncio's streams until the peer closes."""
    while data := await reader.read(LARGE_MESSAGE):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


_CONTENDERS = server_contenders(echo_stream, echo_reader_writer)
_MARKS = (
    Mark("proactor_trio io_uring", "trio", 0.4),
    Mark("proactor_trio io_uring", "uvloop streams", 0.9),
    Mark("proactor_trio epoll", "trio", 0.65),
)

WORKLOAD = Workload(
    name="echo",
    title="64 connections, 1 KiB there and back; CPU time of the server process",
    unit="request",
    rows=("echo",),
    contenders=_CONTENDERS,
    baselines=("trio", "uvloop streams"),
    marks=_MARKS,
    sizes={"connections": 64, "message_bytes": 1024, "warm_up_units": 3_200, "units": 20_000},
    quick_sizes={"warm_up_units": 1280, "units": 8_000},
    measure=measure_server,
)

MANY_WORKLOAD = Workload(
    name="echo_many",
    title="512 connections, 1 KiB there and back; CPU time of the server process",
    unit="request",
    rows=("echo_many",),
    contenders=_CONTENDERS,
    baselines=("trio", "uvloop streams"),
    marks=_MARKS,
    sizes={"connections": 512, "message_bytes": 1024, "warm_up_units": 5_120, "units": 30_000},
    quick_sizes={"warm_up_units": 2_560, "units": 10_000},
    measure=measure_server,
)

LARGE_WORKLOAD = Workload(
    name="echo_large",
    title="64 connections, 64 KiB there and back; CPU time of the server process",
    unit="request",
    rows=("echo_large",),
    contenders=server_contenders(echo_large_stream, echo_large_reader_writer),
    baselines=("trio", "uvloop streams"),
    marks=(Mark("proactor_trio io_uring", "trio", 0.85),),
    sizes={"connections": 64, "message_bytes": LARGE_MESSAGE, "warm_up_units": 640, "units": 5_000},
    quick_sizes={"warm_up_units": 320, "units": 2_000},
    measure=measure_server,
)
