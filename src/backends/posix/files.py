"""Operations on files: by worker threads, and small reads from the page cache in place.

A small read is first tried at once with RWF_NOWAIT: what lies in the page cache costs one call and no thread. If that
is not all that was asked for, a worker reads again from the start, which for a file does no harm.

A close waits for what workers are doing with its descriptor, and takes back what none of them has begun.
"""

from __future__ import annotations

import os
from typing import Any, Final

from proactor_trio.backends.contract import Kind, OperationFields
from proactor_trio.backends.posix.file_calls import open_cached
from proactor_trio.backends.posix.ledger import NOTHING, Ledger
from proactor_trio.backends.posix.workers import CONTENTS_FLAGS, Job, WorkerPool, refused

READ_IN_PLACE_BYTES: Final = 64 * 1024

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)


class FileOperations:
    """The file operations that are queued or running, by descriptor, and the closes that wait for them."""

    __slots__ = ("_closes", "_jobs", "_ledger", "_not_in_place", "workers")

    def __init__(self, ledger: Ledger, workers: WorkerPool) -> None:
        self._ledger = ledger
        self.workers = workers
        self._jobs: dict[int, list[Job]] = {}
        self._closes: dict[int, OperationFields] = {}
        self._not_in_place: set[int] = set()  # descriptors that refused RWF_NOWAIT

    def begin(self, operation: OperationFields) -> None:
        """Give it to a worker."""
        job = operation.backend_state
        if job is None:
            job = operation.backend_state = Job(operation)
        elif not job.claim:
            return  # begun before an interruption, and on its way since
        if operation.kind is not Kind.FILE_OPEN and operation.kind is not Kind.FILE_CLOSE:
            jobs = self._jobs.setdefault(operation.descriptor, [])
            if job not in jobs:
                jobs.append(job)
        try:
            self.workers.submit(job)
        except RuntimeError:
            self.workers.done.append(refused(job))  # no thread is there and none can be started

    def begin_read(self, operation: OperationFields) -> None:
        ledger = self._ledger
        view, descriptor = operation.view, operation.descriptor
        fresh = operation.backend_state is None  # else a worker may be at it
        if _NOWAIT and fresh and view.nbytes <= READ_IN_PLACE_BYTES and descriptor not in self._not_in_place:
            ledger.attempts += 1
            try:
                (ledger.outcome,) = map(os.preadv, (descriptor,), ((view,),), (operation.offset,), (_NOWAIT,))
            except BlockingIOError:
                pass  # not in the page cache
            except OSError as error:
                if error.errno is None or ledger.outcome is not NOTHING:
                    raise  # a signal handler's
                self._not_in_place.add(descriptor)  # the file system has no such thing; real errors come again
            else:
                if ledger.outcome == view.nbytes or not ledger.outcome:
                    ledger.report_outcome(operation)
                    return
                ledger.outcome = NOTHING  # the end of the file, or of what is in the cache: a worker finds out
        self.begin(operation)

    def begin_contents(self, operation: OperationFields) -> None:
        """A file whose names and contents are in memory is read in place; every other by a worker."""
        ledger = self._ledger
        if _NOWAIT and operation.backend_state is None:  # else a worker may be at it
            ledger.attempts += 1
            (ledger.outcome,) = map(_contents_in_memory, (operation,))
            if ledger.outcome is not NOTHING:
                ledger.report_outcome(operation)
                return
        self.begin(operation)

    def begin_close(self, operation: OperationFields) -> None:
        self._not_in_place.discard(operation.descriptor)
        self._closes[operation.descriptor] = operation
        self._advance_close(operation.descriptor)

    def cancel(self, job: Job) -> None:
        """Take an operation back, unless a worker has begun it."""
        ledger = self._ledger
        try:
            (ledger.outcome,) = map(list.pop, (job.claim,))
        except IndexError:
            return  # it runs, and will say what it did
        ledger.report_outcome(job.operation)
        self.forget(job)

    def collect(self) -> None:
        """Report what workers have done."""
        done = self.workers.done
        while done:
            job = done[0]
            self._ledger.reports.append((job.operation, job.identifier, job.result, 0))
            self.forget(job)
            if job.descriptor in self._closes:
                self._advance_close(job.descriptor)
            done.popleft()

    def recover(self) -> None:
        """After an interruption: go on with the closes."""
        for descriptor in list(self._closes):
            self._advance_close(descriptor)

    def forget(self, job: Job) -> None:
        """An operation has its report; idempotent."""
        self.workers.collected(job)
        jobs = self._jobs.get(job.descriptor)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._jobs[job.descriptor]

    def _advance_close(self, descriptor: int) -> None:
        """Take back what no worker has begun on a file that is to be closed; close it when nothing runs any more."""
        ledger = self._ledger
        for job in list(self._jobs.get(descriptor, ())):
            ledger.attempting = job.operation
            self.cancel(job)
        ledger.attempting = operation = self._closes[descriptor]
        if not self._jobs.get(descriptor):
            self.begin(operation)
            del self._closes[descriptor]


def _contents_in_memory(operation: OperationFields) -> Any:
    """The number of bytes that were read without waiting; NOTHING: it cannot be had so, or not all of it."""
    view = operation.view
    if view.nbytes > READ_IN_PLACE_BYTES:
        return NOTHING
    descriptor = open_cached(operation.path, CONTENTS_FLAGS | os.O_CLOEXEC)
    if descriptor < 0:
        return NOTHING
    try:
        count = os.preadv(descriptor, (view,), 0, _NOWAIT)
        # A short read may have come to the end of what is in memory.
        return count if count == view.nbytes or count == os.fstat(descriptor).st_size else NOTHING
    except OSError:
        return NOTHING
    finally:
        os.close(descriptor)
