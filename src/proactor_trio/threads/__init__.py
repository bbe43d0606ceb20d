"""Worker threads, and the way back from them into the run.

to_thread.py    a task calls a blocking function in a thread
from_thread.py  that thread, or any other, calls into the run
calls.py        such a call: where it is made, and how its result comes back
host.py         what a worker thread knows of the task that waits for it
"""

from proactor_trio.threads.to_thread import current_default_thread_limiter, run_sync

__all__ = ["current_default_thread_limiter", "run_sync"]
