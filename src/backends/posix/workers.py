"""A few threads for what has no readiness: opening, reading, writing, syncing and closing files.

A regular file is always "ready" and blocks all the same, so file operations go to a thread. The threads are started
when there is work for them, at most `THREADS`, and live until the backend is closed.

A job belongs to whoever takes its claim. The worker takes it when it begins, the owner takes it to cancel: `list.pop()`
lets exactly one of the two have it, without a lock. So an operation that was cancelled in time has no effect, one that
has begun ends with its real result, and a job may be put into the queue twice (when an exception interrupted the first
time half-way) and still runs once. What is popped is the result of whoever cancels.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from proactor_trio.backends.contract import Kind, OperationFields
from proactor_trio.backends.posix import file_calls

THREADS: Final = 4
#: A fifo's writer is not to be waited for: it is no file to be read in this way.
CONTENTS_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK
CLOSING_PATIENCE_SECONDS: Final = 5.0


class Job:
    """One file operation on its way through the pool."""

    __slots__ = ("claim", "descriptor", "identifier", "operation", "result")

    def __init__(self, operation: OperationFields) -> None:
        self.operation = operation
        self.identifier = operation.identifier
        self.descriptor = operation.descriptor
        self.claim = [-errno.ECANCELED]
        self.result = 0

    def take(self) -> bool:
        """For the worker: whether it may have it."""
        try:
            self.claim.pop()
        except IndexError:
            return False
        return True


class WorkerPool:
    """Runs jobs in threads and puts them into `done`, then calls `wake`."""

    __slots__ = ("_name", "_outstanding", "_queue", "_threads", "_wake", "done")

    def __init__(self, wake: Callable[[], None], name: str) -> None:
        self.done: deque[Job] = deque()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._outstanding: set[Job] = set()
        self._wake = wake
        self._name = name

    def submit(self, job: Job) -> None:
        """Hand a job over. Raises RuntimeError when no thread at all can be started."""
        self._outstanding.add(job)
        if len(self._threads) < THREADS and len(self._outstanding) > len(self._threads):
            self._start_thread()
        self._queue.put(job)

    def collected(self, job: Job) -> None:
        """The owner has taken a job from `done`, or back from the queue; idempotent."""
        self._outstanding.discard(job)

    def close(self) -> None:
        """End the threads. One that is stuck in a system call is left to end by itself."""
        self._queue.put(None)
        for thread in self._threads:
            thread.join(CLOSING_PATIENCE_SECONDS)
        self._threads.clear()

    def _start_thread(self) -> None:
        name = f"{self._name} file worker {len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        queue = self._queue
        while True:
            job = queue.get()
            if job is None:
                queue.put(None)  # for the next one, known to the pool or not
                return
            is_done = job.take()
            if is_done:
                job.result = perform(job.operation)
                self.done.append(job)
            # A waiting thread must not keep the buffers of its last operation alive; nor one that is telling the owner.
            del job
            if is_done:
                self._wake()


def refused(job: Job) -> Job:
    """The job as it is when no thread can be had for it."""
    job.claim.clear()
    job.result = -errno.EAGAIN
    return job


def _contents(operation: OperationFields) -> int:
    descriptor = os.open(operation.path, CONTENTS_FLAGS | os.O_CLOEXEC)
    try:
        return _read_from_beginning(descriptor, operation.view)
    finally:
        os.close(descriptor)


def _read_from_beginning(descriptor: int, view: memoryview) -> int:
    count = 0
    while count < view.nbytes and (more := os.preadv(descriptor, (view[count:],), count)):
        count += more
    return count


def perform(operation: OperationFields) -> int:
    """Do one file operation, here and now: a result >= 0 or -errno."""
    try:
        match operation.kind:
            case Kind.FILE_OPEN:
                return os.open(operation.path, operation.open_flags | os.O_CLOEXEC, operation.mode)
            case Kind.FILE_CONTENTS:
                return _contents(operation)
            case Kind.FILE_READ:
                return os.preadv(operation.descriptor, (operation.view,), operation.offset)
            case Kind.FILE_WRITE:
                return os.pwritev(operation.descriptor, (operation.view,), operation.offset)
            case Kind.FILE_SYNC:
                (os.fdatasync if operation.data_only else os.fsync)(operation.descriptor)
            case Kind.FILE_CLOSE:
                os.close(operation.descriptor)
            case Kind.FILE_STATUS:
                if operation.path:
                    operation.data = os.stat(operation.path, follow_symlinks=operation.follow_links)
                else:
                    operation.data = os.stat(operation.descriptor)
            case Kind.FILE_TRUNCATE:
                os.ftruncate(operation.descriptor, operation.length)
            case Kind.FILE_ALLOCATE:
                return file_calls.allocate(operation)
            case Kind.RENAME:
                return file_calls.rename(operation)
            case Kind.UNLINK:
                (os.rmdir if operation.mode else os.unlink)(operation.path)
            case Kind.MAKE_DIRECTORY:
                os.mkdir(operation.path, operation.mode)
            case kind:
                raise AssertionError(f"{kind!r} is no file operation")
    except InterruptedError:
        return 0  # only close() lets EINTR through, and then the descriptor is closed
    except OSError as error:
        return -(error.errno or errno.EIO)
    except (ValueError, OverflowError):
        return -errno.EINVAL  # a number that Python itself finds too large for the call
    except MemoryError:
        return -errno.ENOMEM
    return 0
