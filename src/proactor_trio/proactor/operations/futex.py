"""Operations on futexes: FutexWait and FutexWake, for words that other threads or processes change (Linux 6.7).

A futex is a 32-bit word in memory. A wait ends when somebody wakes the word, or at once when it does not hold the
expected value any more: whoever changes a word, wakes it afterwards, and nobody misses that. Source: futex(2),
futex_wait(2); the kernel has 32-bit futexes only.
"""

from __future__ import annotations

from typing import Any, Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.arguments import check_integer, writable_view
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation

#: Wakes all that wait.
EVERYBODY: Final = 0x7FFFFFFF

_WORD_BYTES: Final = 4
_LARGEST_WORD: Final = 0xFFFFFFFF
_SIZE_U32: Final = 2
_PRIVATE: Final = 128


class FutexOperation(Operation):
    """Base: a word of shared memory.

    word: writable memory of 4 bytes, aligned to 4 (a slice of a mapped file, of a Slab, of an array).
    private: the word is not shared with other processes, which is a little cheaper. Both sides have to agree.
    """

    __slots__ = ("private", "word")

    def __init__(
        self,
        word: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        private: bool = False,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.word = word
        self.private = private

    def _prepare(self) -> None:
        view = writable_view(self.word, "word")
        if view.nbytes != _WORD_BYTES:
            raise ValueError(f"word must have {_WORD_BYTES} bytes, which is the kernel's futex, not {view.nbytes}")
        self.view = view
        self.futex_flags = _SIZE_U32 | (_PRIVATE if self.private else 0)


class FutexWait(FutexOperation):
    """Waits until a word is woken, or does not hold `expected`. Result: None.

    expected: 0 to 2**32 - 1. A word at an odd address ends it with OSError EINVAL. Cancelling it leaves the word alone.
    """

    __slots__ = ("expected",)
    kind = Kind.FUTEX_WAIT

    def __init__(
        self,
        word: Any,
        expected: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        private: bool = False,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(word, completion_fn, user_data, flags, private=private, **limits)
        self.expected = expected

    def _prepare(self) -> None:
        check_integer(self.expected, "expected", 0, _LARGEST_WORD)
        super()._prepare()
        self.futex_value = self.expected

    def _finish(self, result: int) -> None:
        return None


class FutexWake(FutexOperation):
    """Wakes those that wait for a word. Result: how many were woken.

    count: the most to wake, EVERYBODY for all. It completes at the next poll and does not wait.
    """

    __slots__ = ("count",)
    kind = Kind.FUTEX_WAKE

    def __init__(
        self,
        word: Any,
        count: int = EVERYBODY,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        *,
        private: bool = False,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(word, completion_fn, user_data, flags, private=private, **limits)
        self.count = count

    def _prepare(self) -> None:
        check_integer(self.count, "count", 1, EVERYBODY)
        super()._prepare()
        self.futex_value = self.count
