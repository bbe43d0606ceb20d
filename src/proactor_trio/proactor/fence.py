"""Fences: semaphores meet what only knows descriptors, a device driver or another process.

A fence is a descriptor that becomes readable once and stays so: a sync_file of a graphics driver, an eventfd, the read
end of a pipe. An imported one signals a semaphore, an exported one is made readable by it.

Facts: the number of a descriptor may stand for something else as soon as it was closed, and an exported fence is the
caller's, who may close it at any time. So an exported fence is written to by a duplicate of its own. The duplicate is
closed with the last reference to the ExportedFence, and a chain that lets the kernel write to it holds one.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from proactor_trio.backends.contract import CompletionFlags, OperationFlags, PollEvents
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.dispatching import Attempt, raise_all
from proactor_trio.proactor.errors import DataLoss
from proactor_trio.proactor.incoming import Repeatable
from proactor_trio.proactor.operation import Continuation, Operation, OperationState
from proactor_trio.proactor.operations.descriptor import StreamWrite
from proactor_trio.proactor.operations.scheduling import HandlePoll

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor
    from proactor_trio.proactor.semaphore_source import SemaphoreSource

_LARGEST_DESCRIPTOR: Final = (1 << 31) - 1
_ONE: Final = (1).to_bytes(8, sys.byteorder)


class ImportedFence:
    """A descriptor that is watched until it has spoken, and what it says is told to a semaphore."""

    def __init__(self, proactor: Proactor, fd: int, semaphore: SemaphoreSource, value: int) -> None:
        """Raises ValueError, TypeError or OSError for what cannot be a fence, and owns nothing then."""
        check_integer(fd, "fd", 0, _LARGEST_DESCRIPTOR)
        try:
            os.fstat(fd)
        except OSError as error:
            raise OSError(error.errno, f"fd: {error.strerror}") from None
        self._proactor = proactor
        self._semaphore = semaphore
        self._value = value
        self._attempt = Attempt(semaphore)
        self._poll = HandlePoll(fd, PollEvents.IN, Continuation(self._completed))

    def begin(self) -> None:
        """The descriptor is owned from now on. Any thread: the owner of the proactor begins to watch it."""
        self._proactor.post(Repeatable(self._watch))

    def _watch(self) -> None:
        if self._poll.state is not OperationState.NEW:
            return  # submitted before an interruption
        try:
            self._proactor.submit(self._poll)
        except Exception as error:  # nobody but the semaphore is there to be told
            self._end(error)

    def _completed(self, operation: Operation, flags: CompletionFlags) -> None:
        self._proactor.uncount()
        error = operation.error
        if error is None and not operation.result & PollEvents.IN:
            error = DataLoss("an imported fence ended without having been signalled")
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """Tell the semaphore, then close. May be called again after an interruption, and goes on where it was."""
        if self._poll.handle < 0:
            return
        try:
            self._tell(error)
        except Exception:  # of callbacks: the semaphore was told all the same
            self._close()
            raise
        self._close()
        raise_all(self._attempt.errors)

    def _close(self) -> None:
        self._poll.completion_fn = None  # which refers to this object: no cycle
        descriptor, self._poll.handle = self._poll.handle, -1
        os.close(descriptor)

    def _tell(self, error: BaseException | None) -> None:
        if error is not None:
            self._semaphore.fail(error)
            return
        if self._attempt.applied:
            return
        try:
            with self._attempt:
                self._semaphore.signal(self._value)
        except Exception as refusal:  # whatever a source refuses with
            self._semaphore.fail(refusal)

    def __repr__(self) -> str:
        return f"<ImportedFence {self._poll.handle} for {self._value} of {self._semaphore!r}>"


class FenceWrite(StreamWrite):
    """Makes an exported fence readable, the last thing that the kernel does in a chain; nobody is told of its end."""

    __slots__ = ("_fence",)

    def __init__(self, fence: ExportedFence) -> None:
        super().__init__(fence.descriptor, _ONE, _let_go, flags=OperationFlags.LINKED)
        self._fence: ExportedFence | None = fence  # keeps the descriptor open
        self._prepare()

    def let_go(self) -> None:
        """It is done: nothing is written to the descriptor any more."""
        self._fence = None


def _let_go(operation: Operation, flags: CompletionFlags) -> None:
    assert isinstance(operation, FenceWrite) and operation._proactor is not None
    operation._proactor.uncount()
    operation.let_go()


class ExportedFence:
    """Waits on a semaphore like a timepoint and makes an eventfd readable. `descriptor`: its own duplicate."""

    __slots__ = ("__weakref__", "arrival", "descriptor", "value")

    def __init__(self, value: int, descriptor: int) -> None:
        """descriptor: an eventfd, not owned."""
        self.descriptor = -1
        self.value = value
        self.arrival = 0
        self.descriptor = os.dup(descriptor)

    @classmethod
    def create(cls, value: int) -> tuple[ExportedFence, int]:
        """A fence and the descriptor for the caller. Raises OSError and leaves nothing open."""
        descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            return cls(value, descriptor), descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def keep(self) -> None:
        """It waits from now on; see PendingValue. The semaphore holds it, and nothing else."""

    def fire(self, error: BaseException | None) -> None:
        """Its time has come; see Pending. A failure leaves the fence as it is."""
        if error is None:
            os.eventfd_write(self.descriptor, 1)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
