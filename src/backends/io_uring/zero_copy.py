"""Sends whose memory the kernel may still read after it has taken the bytes.

Facts (io_uring_enter(2) on IORING_OP_SEND_ZC, and measured): the first completion says how much was taken, or why
nothing was, and by IORING_CQE_F_MORE that a second one follows; the second (IORING_CQE_F_NOTIF) says that the memory is
free, and whether it was copied after all. Only a failure before anything began has a single completion. Between the two
the operation cannot be cancelled any more (-ENOENT), and that may last as long as the peer takes to acknowledge. Pages
that the kernel reads stay allocated whatever the process does, but another use of the same memory would go out to the
peer.

So: `held` has the memory of each such send until the second completion, whatever became of the operation. It is not
asked to end any more. When a ring is closed its last notifications are waited for, but not for ever: memory of which
nobody will say that it is free is kept until the process ends.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final

from proactor_trio.backends.contract import CompletionFlags, CompletionHook, Kind, OperationFields
from proactor_trio.backends.io_uring import constants as c

#: How long a ring that is closed waits for the last of its memory, in seconds.
LONGEST_WAIT_SECONDS: Final = 1.0

_ACHIEVED: Final = int(CompletionFlags.ZERO_COPY_ACHIEVED)

#: Memory that was never said to be free.
_kept_for_ever: list[Any] = []


class ZeroCopySends:
    """The zero-copy sends of one ring that wait for their second completion: `held` by identifier. Owner only."""

    __slots__ = ("_complete", "held")

    def __init__(self, complete: CompletionHook) -> None:
        self._complete = complete
        #: The result of the first completion, and the memory.
        self.held: dict[int, tuple[int, Any]] = {}

    def taken(self, operation: OperationFields, result: int) -> None:
        """The first completion is in. May be called again for it."""
        if operation.identifier not in self.held and is_send(operation):
            self.held[operation.identifier] = (result, operation.view)

    def freed(self, identifier: int, operation: OperationFields | None, verdict: int) -> None:
        """The second completion is in. operation: None if it was given up at the first. May be called again."""
        entry = self.held.get(identifier)
        if entry is not None and operation is not None:
            result = entry[0]
            achieved = result >= 0 and not verdict & c.NOTIFICATION_COPIED
            self._complete(operation, result, _ACHIEVED if achieved else 0)
        self.held.pop(identifier, None)

    def wait(self, turn: Callable[[float], Iterable[tuple[int, int, int]]]) -> None:
        """The ring is about to be closed. `turn(seconds)`: wait at most so long, return the completions."""
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while self.held and (left := deadline - time.monotonic()) > 0:
            self.forget_freed(turn(left))
        _kept_for_ever.extend(self.held.values())

    def report(self) -> None:
        """The ring was closed. Warns of memory that was not free by then."""
        count = len(self.held)
        self.held.clear()
        if count:
            warnings.warn(
                f"the kernel may still read the memory of {count} zero-copy sends: it is never freed",
                ResourceWarning,
                stacklevel=2,
            )

    def forget_freed(self, completions: Iterable[tuple[int, int, int]]) -> None:
        """While the ring is being closed, and no operation is in flight any more."""
        for identifier, _, flags in completions:
            if flags & c.CQE_NOTIFICATION:
                self.held.pop(identifier, None)


def is_send(operation: OperationFields) -> bool:
    """Whether MORE in a completion of the operation means that its memory is held."""
    return operation.kind is Kind.SEND or operation.kind is Kind.SEND_TO
