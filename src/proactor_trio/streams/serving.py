"""Serving: a task for each connection of some listeners."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn

from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from proactor_trio.abc import Listener
from proactor_trio.timeouts import sleep

#: How long a listener that ran out of descriptors or memory waits before it tries again.
ACCEPT_RETRY_SECONDS: Final = 0.100
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))

_LOGGER: Final = logging.getLogger("proactor_trio.serve_listeners")


async def serve_listeners(
    handler: Callable[[Any], Awaitable[object]],
    listeners: Sequence[Listener[Any]],
    *,
    handler_nursery: Nursery | None = None,
    task_status: TaskStatus[Any] = TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run `handler(stream)` in a task for each connection of the listeners. Never returns; closes them at the end.

    handler_nursery: where the handlers run; by default in one of its own, so that they are cancelled with it. The
        stream is closed when its handler ends; what that raises cancels the nursery.
    A listener that runs out of descriptors or memory logs it, waits a little and goes on.
    """
    async with open_nursery() as nursery:
        if handler_nursery is None:
            handler_nursery = nursery
        for listener in listeners:
            nursery.start_soon(_serve_one, listener, handler_nursery, handler)
        task_status.started(listeners)
    raise AssertionError("a nursery with tasks that do not return has ended")


async def _serve_one(
    listener: Listener[Any], handler_nursery: Nursery, handler: Callable[[Any], Awaitable[object]]
) -> None:
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                _LOGGER.error(
                    "accept failed: %s (%s); trying again in %s milliseconds",
                    os.strerror(error.errno),
                    errno.errorcode[error.errno],
                    int(ACCEPT_RETRY_SECONDS * 1000),
                    exc_info=True,
                )
                await sleep(ACCEPT_RETRY_SECONDS)
            else:
                handler_nursery.start_soon(_handle, stream, handler)


async def _handle(stream: Any, handler: Callable[[Any], Awaitable[object]]) -> None:
    try:
        await handler(stream)
    finally:
        await stream.aclose()
