"""Waiting until everything else waits: tasks, and worker threads."""

from __future__ import annotations

from proactor_trio._kernel.context import current_run
from proactor_trio._kernel.traps import checkpoint


async def wait_all_tasks_blocked(cushion: float = 0.0) -> None:
    """Wait until all other tasks are blocked and nothing has happened for `cushion` real seconds.

    What is in flight in the kernel does not count as happening; the thing that it ends in does.
    """
    await current_run().wait_all_tasks_blocked(cushion)


async def wait_all_threads_completed() -> None:
    """Wait until no task of this run waits for a call in a worker thread; a checkpoint if none does.

    Tasks that go on because of a thread may start another one; so together with wait_all_tasks_blocked() this belongs
    into a loop that ends when active_thread_count() is 0.
    """
    await checkpoint()
    run = current_run()
    while run.thread_calls:
        await run.thread_calls_ended.park()


def active_thread_count() -> int:
    """How many tasks of this run wait for a call in a worker thread; what was abandoned does not count."""
    return current_run().thread_calls
