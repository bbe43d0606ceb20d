"""Closes that have to wait.

Facts: the kernel looks a descriptor's number up when it begins an operation. For most that is when the operation is
submitted. A link of a chain that has not started, and a file operation that was handed to a worker, are looked up
later; if the number was closed and given away by then, they would read, write or send to a stranger. And such
operations are not found by a cancellation that names the descriptor. A deferred ring starts a link in the system call
after the one that reported its predecessor; one that was closed under then would wait for ever, and hold the file open.

So: a close first cancels these operations one by one, and goes to the backend when the last of them has completed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from proactor_trio.proactor.chain import Chain
from proactor_trio.proactor.operation import Operation


def operations_before(close: Operation, chains: Iterable[Chain]) -> list[Operation]:
    """The operations that must have completed before `close` may begin."""
    resource = close.resource()
    waiting = [user for user in getattr(resource, "users", ()) if user.started and user is not close]
    for chain in chains:
        waiting += chain.waiting_links(resource)
    return [operation for operation in waiting if operation.identifier]


class HeldCloses:
    """The closes of one proactor that wait: `held`, each with the identifiers of what it waits for. Owner only."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[Operation, list[int]] = {}

    def hold(self, close: Operation, operations: Iterable[Operation]) -> None:
        self.held[close] = [operation.identifier for operation in operations]

    def is_held(self, close: Operation) -> bool:
        return close in self.held

    def ready(self, in_flight: Mapping[int, Operation]) -> Iterator[Operation]:
        """The closes that may begin now. Each is forgotten when the caller, having begun it, asks for the next."""
        for close, identifiers in list(self.held.items()):
            if not any(identifier in in_flight for identifier in identifiers):
                yield close
                del self.held[close]
