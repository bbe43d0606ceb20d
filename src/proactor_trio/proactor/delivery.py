"""The completion hook: what a backend reports becomes a result or an error, and whoever waits is told.

Each delivery is committed by the statements before the completion function is called (`del in_flight[...]`, state): a
signal handler runs only at calls, jumps and function entries, so it cannot come between them and the call. Everything
before the commit may be interrupted and is then done again.

What a completion function raises never disturbs the others. An Exception is kept until all completions of the poll have
been delivered and is raised by `poll()` then. Anything else (KeyboardInterrupt) leaves at once; what had not been
delivered is delivered by the next `poll()`.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import Final

from proactor_trio.backends.contract import CompletionFlags, OperationFlags
from proactor_trio.proactor.chain import Chain
from proactor_trio.proactor.errors import CANCELED, CancelCause, CompletionErrors
from proactor_trio.proactor.multishot import EmulatedMultishot
from proactor_trio.proactor.observing import OperationObserver
from proactor_trio.proactor.operation import (
    SOFTWARE_FAILURE,
    Continuation,
    Operation,
    OperationState,
    SoftwareOperation,
)

_MORE: Final = CompletionFlags.MORE
#: What completion functions are given for the flags of a final report.
_FINAL: Final = {0: CompletionFlags.NONE, 2: CompletionFlags.ZERO_COPY_ACHIEVED}
#: As plain integers, whose arithmetic is many times faster.
_MORE_BIT: Final = int(CompletionFlags.MORE)
_MULTISHOT: Final = int(OperationFlags.MULTISHOT)
_MULTISHOT_ALONE: Final = OperationFlags.MULTISHOT
_NO_FLAGS: Final = OperationFlags.NONE
_AGAIN: Final = -errno.EAGAIN
#: How an operation that was asked to end may say so, beside CANCELED.
_INTERRUPTED: Final = (-errno.EINTR, -errno.EAGAIN)
_CANCELLING: Final = OperationState.CANCELLING
_DONE: Final = OperationState.DONE


class Delivery:
    """Delivers the completions of one proactor. Owner thread only, inside `poll()`."""

    __slots__ = ("_in_flight", "_multishot", "chain_steps", "delivered", "errors", "observer", "unfinished")

    def __init__(self, in_flight: dict[int, Operation]) -> None:
        self._in_flight = in_flight
        self._multishot = EmulatedMultishot()
        #: Who is told of operations, beside those who wait for them.
        self.observer: OperationObserver | None = None
        #: How many were delivered since the proactor was made.
        self.delivered = 0
        #: What completion functions raised.
        self.errors = CompletionErrors()
        #: Completed steps whose chains have to go on: chain, step, its identifier.
        self.chain_steps: deque[tuple[Chain, Operation, int]] = deque()
        #: The continuations that have not returned, by the identifiers of their operations: afterwards only those that
        #: were interrupted.
        self.unfinished: dict[int, tuple[Operation, Continuation]] = {}

    @property
    def multishot(self) -> EmulatedMultishot:
        """What is to begin again."""
        return self._multishot

    def complete(self, operation: Operation, result: int, flags: int) -> None:
        """One raw completion (contract.py). Everything before the commit may run twice and must not mind."""
        if flags or result == _AGAIN or operation.flags is not _NO_FLAGS:
            if flags == _MORE_BIT and operation.flags is _MULTISHOT_ALONE and result >= 0:
                self._complete_more(operation, result)  # what most reports of these are
                return
            if self._goes_on(operation, result, flags):
                return
        if operation._limits is not None and result >= 0:
            result = operation._judge_expired(result)
        chain = operation._chain
        if chain is not None:
            if result < 0 or operation._is_short(result):
                chain.break_at(operation)
                self.chain_steps.append((chain, operation, operation.identifier))
            elif operation is chain.last_started:
                self.chain_steps.append((chain, operation, operation.identifier))
        if result >= 0:
            operation.result = operation._finish(result)
            operation.error = None
        else:
            self._set_failure(operation, result)
        waiter = operation.waiter
        completion_fn = operation.completion_fn
        identifier = operation.identifier
        observer = self.observer
        told = None if observer is None else operation.result if operation.error is None else operation.error
        if completion_fn is not None and type(completion_fn) is Continuation:
            self.unfinished[identifier] = operation, completion_fn
        # The commit: no call from here to that of the completion function.
        self.delivered += 1
        del self._in_flight[identifier]
        operation.identifier = 0
        operation.view = None
        operation.data = None
        operation._chain = None
        operation.state = _DONE
        if waiter is not None:
            operation.waiter = None
            waiter.operation_completed(operation)
        if completion_fn is not None:
            try:
                completion_fn(operation, _FINAL[flags])
            except Exception as error:
                self.errors.keep(error, operation)
            if type(completion_fn) is Continuation:
                self.unfinished.pop(identifier, None)
        if observer is not None:
            observer.operation_completed(operation, told)

    def resume(self) -> None:
        """Call the continuations again that were interrupted."""
        for identifier, (operation, continuation) in list(self.unfinished.items()):
            if identifier not in self._in_flight:  # else it comes again
                self.delivered += 1
                try:
                    continuation(operation, CompletionFlags.NONE)
                except Exception as error:
                    self.errors.keep(error, operation)
            self.unfinished.pop(identifier, None)

    def complete_by_us(self, operation: Operation, result: int | BaseException) -> None:
        """A completion of ours: a raw result, or the exception that is a software operation's error."""
        if isinstance(result, BaseException):
            assert isinstance(operation, SoftwareOperation)
            operation.failure = result
            result = SOFTWARE_FAILURE
        self.complete(operation, result, 0)

    def _set_failure(self, operation: Operation, result: int) -> None:
        if result == CANCELED or (result in _INTERRUPTED and operation.state is _CANCELLING):
            error: BaseException = operation._cancellation()
            if operation._cancel_cause is CancelCause.DEADLINE_PASSED:
                error = operation._expiry()
        elif result == -errno.ETIME and operation._limits is not None:
            operation._failure(result)  # it also lets go of what the operation holds
            error = operation._expiry()
        else:
            error = operation._failure(result)
        operation.result = None
        operation.error = error

    def _goes_on(self, operation: Operation, result: int, flags: int) -> bool:
        """Deal with a report that is not the final one of its operation. False: it is."""
        multishot = operation.flags is not _NO_FLAGS and int(operation.flags) & _MULTISHOT
        if not multishot and result != _AGAIN:
            if flags & _MORE_BIT:
                return self._complete_sent(operation, result)
            if flags:
                operation._note_zero_copy()
            return False
        if result < 0:
            delay = operation._retry_delay(result)
            if delay is None or operation.state is _CANCELLING:
                return False
            self._multishot.pause(operation, delay)
            operation.deliveries += 1  # the commit
            return True
        if not flags:
            if operation._is_last(result):
                return False
            self._multishot.add(operation)
        self._complete_more(operation, result)
        return True

    def _complete_sent(self, operation: Operation, result: int) -> bool:
        """The kernel has taken what a zero-copy send names, and may still read it (contract.py, rule 13).

        Where nobody is told that the memory is free, this is the final completion: False. Else only a waiter goes on;
        what failed has its second report at once, and everybody waits for that.
        """
        if operation.completion_fn is None:
            return False
        waiter = operation.waiter
        if result < 0 or waiter is None:
            operation.deliveries += 1
            return True
        operation.result = result
        operation.error = None
        operation.waiter = None
        operation.deliveries += 1
        waiter.operation_completed(operation)
        return True

    def _complete_more(self, operation: Operation, result: int) -> None:
        operation.result = operation._finish(result)
        operation.error = None
        completion_fn = operation.completion_fn
        self.delivered += 1
        operation.data = None
        operation.deliveries += 1
        if completion_fn is not None:
            try:
                completion_fn(operation, _MORE)
            except Exception as error:
                self.errors.keep(error, operation)
