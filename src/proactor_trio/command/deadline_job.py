"""Deadlines that cancel receives: first one that clearly waits, then hundreds that race the bytes. None may be lost."""

from __future__ import annotations

import random
from functools import partial
from typing import Final

from proactor_trio import (
    Event,
    SocketListener,
    SocketStream,
    current_time,
    move_on_after,
    open_nursery,
    open_tcp_stream,
    serve_tcp,
    sleep,
)
from proactor_trio.command.echo_job import difference
from proactor_trio.command.job_report import JobFailed, JobReport

DEADLINE_SECONDS: Final = 0.25
RACING_SECONDS: Final = 0.001
PIECES: Final = 256
PIECE_BYTES: Final = 4096
_HOST: Final = "127.0.0.1"


async def _dribble(stream: SocketStream, payload: bytes, begin_sending: Event) -> None:
    """Nothing until told, then the payload in pieces, each about when a receive gives up."""
    await begin_sending.wait()
    moments = random.Random(len(payload))
    for position in range(0, len(payload), PIECE_BYTES):
        await sleep(moments.uniform(0, 2 * RACING_SECONDS))
        await stream.send_all(payload[position : position + PIECE_BYTES])


async def _wait_in_vain(stream: SocketStream) -> float:
    """A receive on a stream on which nothing arrives, cut off by its deadline. After how many seconds."""
    begin = current_time()
    with move_on_after(DEADLINE_SECONDS) as scope:
        data = await stream.receive_some()
        raise JobFailed(f"a receive was to wait for nothing, but returned {len(data)} bytes")
    seconds = current_time() - begin
    if not scope.cancelled_caught or seconds < DEADLINE_SECONDS:
        raise JobFailed(f"the receive ended after {seconds:.3f} s, before its deadline of {DEADLINE_SECONDS} s")
    return seconds


async def _receive_racing(stream: SocketStream) -> tuple[bytes, int, int]:
    """Everything up to the end, by receives with short deadlines; the bytes, how many receives, how many cut off."""
    parts: list[bytes] = []
    receives = 0
    cut_off = 0
    while True:
        data: bytes | None = None
        receives += 1
        with move_on_after(RACING_SECONDS):
            data = await stream.receive_some()
        if data is None:
            cut_off += 1
        elif data:
            parts.append(data)
        else:
            return b"".join(parts), receives, cut_off


async def run_deadline_job() -> JobReport:
    """Cancel receives by deadlines and count the bytes afterwards."""
    payload = random.Random(PIECES).randbytes(PIECES * PIECE_BYTES)
    begin_sending = Event()

    async def handler(stream: SocketStream) -> None:
        await _dribble(stream, payload, begin_sending)

    async with open_nursery() as nursery:
        serve = partial(serve_tcp, handler, 0, host=_HOST)
        listeners: list[SocketListener] = await nursery.start(serve)
        stream = await open_tcp_stream(_HOST, listeners[0].socket.getsockname()[1])
        async with stream:
            waited = await _wait_in_vain(stream)
            begin_sending.set()
            begin = current_time()
            received, receives, cut_off = await _receive_racing(stream)
            seconds = current_time() - begin
        nursery.cancel_scope.cancel()
    if received != payload:
        raise JobFailed(f"after cancelled receives the stream is not whole: {difference(payload, received)}")
    if not cut_off:
        raise JobFailed(f"none of {receives} receives met its deadline of {RACING_SECONDS} s")
    return JobReport(
        name="deadline",
        work=f"a blocked receive, cut off at {DEADLINE_SECONDS} s after {waited:.4f} s; "
        f"then receives of at most {RACING_SECONDS * 1000:g} ms on the same stream",
        transferred=len(received),
        operations=receives,
        operation_name=f"receives ({cut_off} cut off)",
        seconds=seconds,
        check="all that was sent after the first deadline arrived, in order, nothing twice",
    )
