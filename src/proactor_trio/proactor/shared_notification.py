"""SharedNotification: a notification between processes, over memory and descriptors that the caller shares.

Its epoch is the lower half of an aligned 64-bit word in shared memory. A signal adds one to the word, wakes the threads
that are blocked on it (a futex, in whatever process they are), and writes to the descriptor by which the other side's
proactors are woken. Each side has an end of its own: where one signals, the other waits.

* The word is changed by an atomic addition of the compiled helper. Without the helper it is changed under flock(2) on
  `lock_file`; the kernel lets that lock go when its holder dies, and the word is stored in one piece, so nothing is
  left half-done. Both sides have to go the same way. A signal under a lock is not for signal handlers.
* The wake descriptor is read empty and non-blocking by whoever of this process waits by operations. There may be
  several SharedNotifications on one epoch, but each wake descriptor belongs to one.
* Memory and descriptors stay the caller's; `close()` lets go of the memory and closes nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from proactor_trio.backends.contract import CompletionFlags, PollEvents
from proactor_trio.proactor import futex_word
from proactor_trio.proactor.arguments import check_integer, writable_view
from proactor_trio.proactor.errors import ClosedResourceError, FailedPrecondition, Unimplemented
from proactor_trio.proactor.memory.placement import address_of
from proactor_trio.proactor.memory.slot_words import HAS_ATOMICS, add_atomically
from proactor_trio.proactor.notification import ALL_WAITERS, EPOCH_MASK, NotificationSource, Waiter
from proactor_trio.proactor.operation import Continuation, Operation, OperationState
from proactor_trio.proactor.operations.scheduling import HandlePoll

if TYPE_CHECKING:
    from proactor_trio.proactor.operations.notification import NotificationWait
    from proactor_trio.proactor.proactor import Proactor

if sys.platform != "win32":
    import fcntl

EPOCH_BYTES: Final = 8
_SIGNAL: Final = (1).to_bytes(8, "little")
_LONGEST_READ: Final = 4096


class SharedNotification(NotificationSource):
    """A notification whose epoch lies in shared memory. Thread-safe; NotificationWait only on one proactor at a time.

    epoch: writable memory of 8 bytes, aligned to 8, that all sides map.
    wake_handle: a non-blocking descriptor (an eventfd, a pipe's end) that becomes readable when others signal; None if
        nobody here waits by operations.
    signal_handle: a non-blocking descriptor to which a signal of ours is written; None if nobody is woken by one.
    lock_file: a file that all sides have open, needed where the compiled helper is missing.

    Raises Unimplemented where the system has no futexes, or neither the helper nor `lock_file` is there.
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_epoch",
        "_lock",
        "_lock_file",
        "_polls",
        "_signal_handle",
        "_waiters",
        "_wake_handle",
    )

    def __init__(
        self,
        epoch: Any,
        wake_handle: int | None = None,
        signal_handle: int | None = None,
        lock_file: int | None = None,
    ) -> None:
        futex_word.require()
        for name, handle in (("wake_handle", wake_handle), ("signal_handle", signal_handle)):
            if handle is not None and os.get_blocking(handle):
                raise ValueError(f"{name} must be non-blocking")
        if not HAS_ATOMICS and lock_file is None:
            raise Unimplemented("without the compiled helper a shared notification needs lock_file")
        view = writable_view(epoch, "epoch")
        if view.nbytes != EPOCH_BYTES or address_of(view) % EPOCH_BYTES:
            raise ValueError(f"epoch must be {EPOCH_BYTES} bytes of memory, aligned to {EPOCH_BYTES}")
        self._address = address_of(view)
        self._epoch: memoryview | None = view.cast("Q")
        self._wake_handle = wake_handle
        self._signal_handle = signal_handle
        self._lock = threading.Lock()
        #: A description of our own: a lock of it is not one of the other handles in this process.
        self._lock_file = -1
        if not HAS_ATOMICS:
            self._lock_file = os.open(f"/proc/self/fd/{lock_file}", os.O_RDWR | os.O_CLOEXEC)
        self._waiters: dict[Waiter, None] = {}
        self._polls: dict[Proactor, HandlePoll] = {}

    def _word(self) -> memoryview:
        if self._epoch is None:
            raise ClosedResourceError("this notification was closed")
        return self._epoch

    def query_epoch(self) -> int:
        """The epoch now: 32 bits, which wrap."""
        return self._word()[0] & EPOCH_MASK

    def signal(self, wake_count: int = ALL_WAITERS) -> int:
        """Advance the epoch and wake, here and elsewhere; returns how many blocked threads were woken.

        wake_count: how many blocked threads at most. Operations that wait elsewhere are woken by `signal_handle`.
        """
        check_integer(wake_count, "wake_count", 1, ALL_WAITERS)
        self._advance()
        woken = futex_word.wake(self._address, wake_count)
        if self._signal_handle is not None:
            try:
                os.write(self._signal_handle, _SIGNAL)
            except BlockingIOError:
                pass  # full: whoever reads it is being woken
        self._finish_waiters()
        return woken

    def _advance(self) -> None:
        word = self._word()
        if HAS_ATOMICS:
            add_atomically(word, 0, 1)
            return
        with self._lock:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                word[0] += 1
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    # Blocking ----------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread, which must not be a polling one, until the next signal. False: the time was over first."""
        return self.wait_for_token(self.query_epoch(), timeout)

    def wait_for_token(self, token: int, timeout: float | None = None) -> bool:
        """Block this thread while the epoch is `token`, for `timeout` seconds at most. False: it still is."""
        check_integer(token, "token", 0, EPOCH_MASK)
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.query_epoch() == token:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            futex_word.wait(self._address, token, left)
        return True

    # Operations --------------------------------------------------------------------------------------------------

    def add_waiter(self, waiter: NotificationWait, identifier: int, proactor: Proactor) -> None:
        """For NotificationWait. The proactor's owner thread."""
        self._waiters[waiter, identifier, proactor] = None
        if self.query_epoch() != waiter.token:
            self._finish_waiters()
        else:
            self._start_polling(proactor)

    def check_can_wait(self) -> None:
        """Raise FailedPrecondition if operations cannot wait here."""
        if self._wake_handle is None:
            raise FailedPrecondition("notification has no wake_handle: operations cannot wait for it")

    def remove_waiter(self, waiter: NotificationWait, identifier: int, proactor: Proactor) -> None:
        """For NotificationWait. The proactor's owner thread."""
        self._waiters.pop((waiter, identifier, proactor), None)
        self._stop_polling(proactor)

    def _start_polling(self, proactor: Proactor) -> None:
        poll = self._polls.get(proactor)
        if poll is None:
            assert self._wake_handle is not None
            poll = self._polls[proactor] = HandlePoll(self._wake_handle, PollEvents.IN, Continuation(self._woken))
        if poll.state is OperationState.NEW:  # else an interruption came after this
            proactor.submit(poll)

    def _stop_polling(self, proactor: Proactor) -> None:
        if any(owner is proactor for _, _, owner in list(self._waiters)):
            return
        poll = self._polls.pop(proactor, None)
        if poll is not None:
            proactor.cancel(poll)

    def _woken(self, operation: Operation, flags: CompletionFlags) -> None:
        proactor = operation._proactor
        assert proactor is not None
        proactor.uncount()
        if self._polls.get(proactor, operation) is not operation:  # none: it was interrupted, or stopped
            return
        self._polls.pop(proactor, None)
        if not any(owner is proactor for _, _, owner in list(self._waiters)):
            return
        if operation.error is not None:
            for waiter, identifier, owner in list(self._waiters):
                if owner is proactor:
                    proactor.finish(waiter, identifier, operation.error)
                    self._waiters.pop((waiter, identifier, owner), None)
            return
        self._drain()
        self._finish_waiters()
        for waiter, identifier, owner in list(self._waiters):
            if owner is proactor:
                self.add_waiter(waiter, identifier, proactor)

    def _drain(self) -> None:
        assert self._wake_handle is not None
        try:
            os.read(self._wake_handle, _LONGEST_READ)
        except BlockingIOError:
            pass

    def _finish_waiters(self) -> None:
        epoch = self.query_epoch()
        for entry in list(self._waiters):
            waiter, identifier, proactor = entry
            if waiter.token != epoch:
                proactor.finish_from_anywhere(waiter, identifier, epoch)
                self._waiters.pop(entry, None)  # afterwards: an interruption leaves it to the next signal

    # The end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the shared memory; idempotent. Raises FailedPrecondition while operations wait."""
        if self._waiters:
            raise FailedPrecondition(f"{len(self._waiters)} operations wait for this notification; cancel them first")
        for proactor in list(self._polls):
            self._stop_polling(proactor)
        if self._epoch is not None:
            self._epoch.release()
            self._epoch = None
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def __enter__(self) -> SharedNotification:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SharedNotification {'closed' if self._epoch is None else self.query_epoch()}>"
