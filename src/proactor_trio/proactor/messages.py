"""Messages between proactors: 64 bits from any thread, delivered by the message callback inside the target's `poll()`.

A proactor takes at most `ProactorOptions.message_pool_capacity` messages that have not been delivered; more are refused
with ResourceExhausted until it has polled. They are delivered in the order in which they came, and do not count as
completions. Without a callback they are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from operator import call
from typing import TYPE_CHECKING, Any, Final

from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import CompletionErrors, ResourceExhausted

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor

LARGEST_MESSAGE: Final = (1 << 64) - 1

MessageCallback = Callable[["Proactor", int], object]


class Messages:
    """The messages of one proactor. `put()` is for any thread, everything else for the owner."""

    __slots__ = ("_capacity", "_decode", "callback", "untaken", "waiting")

    def __init__(self, capacity: int, decode: Callable[[object], int]) -> None:
        """decode: makes the number of what the kernel left."""
        self._capacity = capacity
        self._decode = decode
        #: Numbers, and what the kernel left for `decode`.
        self.waiting: deque[Any] = deque()
        self.callback: MessageCallback | None = None
        #: What the callback has put aside, and which still counts as waiting.
        self.untaken: Sized = ()

    def put(self, data: int) -> None:
        """Queue a message. Raises ResourceExhausted when too many are waiting."""
        check_integer(data, "data", 0, LARGEST_MESSAGE)
        if len(self.waiting) + len(self.untaken) >= self._capacity:
            raise ResourceExhausted(f"{self._capacity} messages wait for this proactor already; send after its poll()")
        self.waiting.append(data)

    def take(self, entries: deque[Any]) -> None:
        """Move over what the kernel brought; one C call each, so that an interruption neither loses nor doubles any."""
        for _ in range(len(entries)):
            self.waiting.extend(map(call, (entries.popleft,)))

    def deliver(self, proactor: Proactor, errors: CompletionErrors) -> None:
        """Call the callback with those that wait now; what comes meanwhile waits for the next poll."""
        for _ in range(len(self.waiting)):
            entry = self.waiting[0]
            data = entry if type(entry) is int else self._decode(entry)
            callback = self.callback
            del self.waiting[0]  # by no call: an interruption between this and the callback would lose the message
            if callback is None:
                continue
            try:
                callback(proactor, data)
            except Exception as error:
                errors.keep_of_call(error, callback)
