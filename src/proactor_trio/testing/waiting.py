"""Waiting until everything else waits."""

from __future__ import annotations

from proactor_trio._kernel.context import current_run


async def wait_all_tasks_blocked(cushion: float = 0.0) -> None:
    """Wait until all other tasks are blocked and nothing has happened for `cushion` real seconds.

    What is in flight in the kernel does not count as happening; the thing that it ends in does.
    """
    await current_run().wait_all_tasks_blocked(cushion)
