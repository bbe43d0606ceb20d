"""open_relay(): a relay that lives as long as a block, and whose faults do not pass unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.nursery import open_nursery
from proactor_trio.proactor.relay import Relay, RelayFlags, RelaySink
from proactor_trio.sync.event import Event


@asynccontextmanager
async def open_relay(source: Any, sink: RelaySink, flags: RelayFlags = RelayFlags.NONE) -> AsyncIterator[Relay]:
    """Tell a sink when a source speaks, for the length of a block: `async with open_relay(source, sink) as relay`.

    source, sink, flags: see proactor_trio.proactor.Relay.

    A fault (watching or reading the source, or telling the sink, has failed) cancels the block, and is raised by it as
    by a nursery: in an ExceptionGroup. The end of the block closes the relay; the sink is not told any more then. The
    entry is no checkpoint, the end is a schedule point, as with nurseries.
    """
    faulted = Event()

    async def raise_fault() -> None:
        await faulted.wait()
        assert relay.error is not None
        raise relay.error

    async with open_nursery(strict_exception_groups=True) as nursery:
        relay = Relay(current_run().proactor, source, sink, flags, lambda _relay, _error: faulted.set())
        nursery.start_soon(raise_fault)
        try:
            yield relay
        finally:
            relay.close()
        if not faulted.is_set():
            nursery.cancel_scope.cancel("the relay's block has ended")
