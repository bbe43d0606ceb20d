"""Calls from tasks into worker threads."""

from proactor_trio.threads import current_default_thread_limiter, run_sync

__all__ = ["current_default_thread_limiter", "run_sync"]
