"""Proactor operations in asyncio: its loop stays what it is, and a bridge brings a proactor to its tasks.

A copy of a file with asyncio's own means around it: a task group with a few copying tasks, and `asyncio.timeout()`. The
reads and writes are operations of one proactor; on io_uring all that the tasks ask for in one turn of the loop goes to
the kernel in one call, and no thread is needed.

Cancelled means that there was no effect: a task whose wait is cancelled goes on when the operation has really ended. If
its result came first it is returned, and the cancellation comes with the next await.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time

from proactor_trio.integrations import asyncio_bridge
from proactor_trio.integrations.asyncio_bridge import Bridge
from proactor_trio.proactor import (
    File,
    FileClose,
    FileOpen,
    FileRead,
    FileStatus,
    FileSync,
    FileWrite,
    SemaphoreWait,
    TimelineSemaphore,
)

BLOCK = 64 * 1024
CONTENTS = bytes(range(256)) * 4096 + b"and the rest"
WORKERS = 4


async def copy_blocks(bridge: Bridge, source: File, target: File, offsets: list[int]) -> None:
    """Copy blocks until the list is empty; several tasks share it."""
    buffer = bytearray(BLOCK)
    while offsets:
        offset = offsets.pop()
        count = await bridge.perform(FileRead(source, buffer, offset))
        await bridge.perform(FileWrite(target, memoryview(buffer)[:count], offset))


async def copy(bridge: Bridge, source_path: str, target_path: str) -> int:
    """Copy a file by several tasks at once; returns its size."""
    source = await bridge.perform(FileOpen(source_path))
    target = await bridge.perform(FileOpen(target_path, os.O_CREAT | os.O_WRONLY))
    size: int = (await bridge.perform(FileStatus(source))).st_size
    offsets = list(range(0, size, BLOCK))
    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(copy_blocks(bridge, source, target, offsets))
    await bridge.perform(FileSync(target))
    for file in (source, target):
        await bridge.perform(FileClose(file))
    return size


async def show_a_timeout(bridge: Bridge) -> None:
    """A semaphore that nobody signals, for as long as somebody has patience."""
    begin = time.monotonic()
    try:
        async with asyncio.timeout(0.05):
            await bridge.perform(SemaphoreWait([TimelineSemaphore()], [1]))
    except TimeoutError:
        print(f"nobody signalled within {time.monotonic() - begin:.2f} s")


async def show_another_thread(bridge: Bridge) -> None:
    """A thread signals what a task waits for; the loop sleeps until then."""
    semaphore = TimelineSemaphore()
    thread = asyncio.to_thread(semaphore.signal, 1)
    await asyncio.gather(bridge.perform(SemaphoreWait([semaphore], [1])), thread)
    print("a thread has signalled what a task waited for")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = (os.path.join(folder, name) for name in ("source", "target"))
        with open(source, "wb") as file:
            file.write(CONTENTS)
        async with asyncio_bridge.open_bridge() as bridge:
            print(f"asyncio drives a proactor on {bridge.proactor.backend_name}")
            print(f"{await copy(bridge, source, target)} bytes copied")
            await show_a_timeout(bridge)
            await show_another_thread(bridge)
        with open(target, "rb") as file:
            if file.read() != CONTENTS:
                raise SystemExit("the copy differs")


if __name__ == "__main__":
    asyncio.run(main())
