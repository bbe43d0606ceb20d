"""Chains of which the kernel does not report each step: IOSQE_CQE_SKIP_SUCCESS on the steps that are SILENT.

Facts (io_uring_enter(2), and measured): with the flag an entry posts a completion only if it fails, and a transfer that
moved less than asked counts as failed where it breaks the link. If an entry with the flag fails, the later ones of its
chain post nothing at all; if one without it fails, all later ones post their -ECANCELED. On a deferred ring the kernel
goes on from silent step to silent step without coming back; a step that posts makes the waiting call return before the
next one begins.

So: a completion of a later step says that the silent ones before it succeeded, and wholly; a completion of a silent
step says that the chain broke there, whatever its result, and the rest is ours to end. Everything is reported in chain
order, and an operation that is done already (the dispatch was interrupted) is passed over.

Only kinds whose success is known without a report can be silent (a HANDLE_POLL is taken to have seen what it was asked
for), and chains with deadlines are not: a deadline's cause has to be told apart from a cancellation's.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Final

from proactor_trio.backends.contract import CompletionHook, Kind, OperationFields, OperationFlags
from proactor_trio.backends.io_uring.encode import LARGEST_TRANSFER

#: Kinds whose success moves all that was asked for.
_TRANSFERS: Final = frozenset(
    (Kind.RECV, Kind.SEND, Kind.FILE_READ, Kind.FILE_WRITE, Kind.STREAM_READ, Kind.STREAM_WRITE)
)
#: Kinds whose success says nothing more. File operations other than transfers are none of them: the kernel does not
#: mark them as failed, so it would post nothing (linking.py).
_PLAIN: Final = frozenset((Kind.NOP, Kind.TIMER, Kind.CONNECT, Kind.HANDLE_POLL))
#: Kinds of which success is all there is to report.
_NOTHING_TO_SAY: Final = frozenset((Kind.NOP, Kind.TIMER, Kind.CONNECT))
_SILENT: Final = int(OperationFlags.SILENT)


def silent_steps(operations: Sequence[OperationFields]) -> frozenset[OperationFields]:
    """The steps of a chain that go without a report of their own: never its last."""
    if any(operation.expires is not None for operation in operations):
        return frozenset()
    return frozenset(operation for operation in operations[:-1] if _is_silent(operation))


def _is_silent(operation: OperationFields) -> bool:
    if not int(operation.flags) & _SILENT:
        return False
    if operation.kind in _TRANSFERS:
        return whole_result(operation) <= LARGEST_TRANSFER  # the kernel moves no more, and calls that a success
    return operation.kind in _PLAIN


class _SilentChain:
    """One chain in flight: its steps with their identifiers, which of them are silent, how many were reported."""

    __slots__ = ("identifiers", "operations", "reported", "silent")

    def __init__(self, operations: Sequence[OperationFields], silent: frozenset[OperationFields]) -> None:
        self.operations = operations
        self.identifiers = [operation.identifier for operation in operations]
        self.silent = silent
        self.reported = 0


class SilentChains:
    """The chains with silent steps of one ring: `chains` by the identifier of each step."""

    __slots__ = ("_complete", "_in_flight", "chains")

    def __init__(self, complete: CompletionHook, in_flight: Mapping[int, OperationFields]) -> None:
        self._complete = complete
        self._in_flight = in_flight
        self.chains: dict[int, _SilentChain] = {}

    def add(self, operations: Sequence[OperationFields], silent: frozenset[OperationFields]) -> None:
        """A chain is about to be handed over."""
        chain = _SilentChain(operations, silent)
        for identifier in chain.identifiers:
            self.chains[identifier] = chain

    def may_have_started(self, identifier: int) -> bool:
        """Whether the steps before one of these steps may have succeeded without a report."""
        chain = self.chains.get(identifier)
        if chain is None:
            return False
        for index in reversed(range(chain.identifiers.index(identifier))):
            if chain.identifiers[index] not in self._in_flight:
                break
            if chain.operations[index] not in chain.silent:
                return False
        return True

    def settle(self, identifier: int, result: int) -> bool:
        """Report what a step's completion says of the others. True: also of the step itself, and the chain is over.

        May be called again for the same completion.
        """
        chain = self.chains[identifier]
        index = chain.identifiers.index(identifier)
        if index:
            self._report_silent_before(chain, index)
        if chain.operations[index] not in chain.silent:
            if index == len(chain.operations) - 1 or result < 0:
                self._forget(chain)
            return False
        self._report(chain, index, result)
        for later in range(index + 1, len(chain.operations)):
            self._report(chain, later, -errno.ECANCELED)
        self._forget(chain)
        return True

    def _report_silent_before(self, chain: _SilentChain, index: int) -> None:
        """The silent steps before one that has posted have succeeded, wholly."""
        in_flight, complete = self._in_flight, self._complete
        for earlier in range(chain.reported, index):
            operation = chain.operations[earlier]
            if operation in chain.silent and in_flight.get(chain.identifiers[earlier]) is operation:
                complete(operation, whole_result(operation) if operation.kind not in _NOTHING_TO_SAY else 0, 0)
        chain.reported = max(chain.reported, index)

    def _report(self, chain: _SilentChain, index: int, result: int) -> None:
        operation = chain.operations[index]
        if self._in_flight.get(chain.identifiers[index]) is operation:
            self._complete(operation, result, 0)
        chain.reported = max(chain.reported, index + 1)

    def _forget(self, chain: _SilentChain) -> None:
        for identifier in chain.identifiers:
            self.chains.pop(identifier, None)


def whole_result(operation: OperationFields) -> int:
    """What the kernel would have reported for a silent step that succeeded."""
    if operation.kind is Kind.HANDLE_POLL:
        return int(operation.poll_events)
    if operation.kind not in _TRANSFERS:
        return 0
    view = operation.view
    return sum(part.nbytes for part in view) if type(view) is tuple else view.nbytes
