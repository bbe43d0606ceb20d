"""Calls from worker threads into tasks."""

from proactor_trio.threads.from_thread import check_cancelled, run, run_sync

__all__ = ["check_cancelled", "run", "run_sync"]
