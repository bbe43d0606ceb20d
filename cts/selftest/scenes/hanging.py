"""Each test here never ends by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cts.support import Sockets
from proactor_trio import open_nursery
from proactor_trio.proactor import Proactor, RecvBytes


def test_a_poll(proactor: Proactor, sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()
    proactor.submit(RecvBytes(near, 100))
    while True:
        proactor.poll()


def test_a_task(run: Callable[..., Any], sockets: Sockets) -> None:
    near, _ = sockets.unix_pair()

    async def waits_for_bytes() -> None:
        await RecvBytes(near, 100)

    async def main() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(waits_for_bytes)

    run(main)


def test_a_thread() -> None:
    threading.Event().wait()
