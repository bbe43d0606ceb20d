"""Message: 64 bits for another proactor, as an operation that can stand in a chain.

Between two io_uring proactors the kernel carries it (MSG_RING, Linux 5.18): as a step of a chain it is sent without
anybody being woken on this side. Otherwise it goes through the target's queue.
"""

from __future__ import annotations

import errno
from typing import Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import FailedPrecondition, ResourceExhausted
from proactor_trio.proactor.messages import LARGEST_MESSAGE
from proactor_trio.proactor.operation import CompletionFunction, Limits, SoftwareOperation
from proactor_trio.proactor.proactor import Proactor


class Message(SoftwareOperation):
    """Delivers 64 bits to the message callback of a proactor, which may be this one. Result: None.

    target: has to stay open until it was delivered. data: 0 to 2**64 - 1.
    It completes when the target has it, not when the callback was called; a target that cannot take more ends it with
    ResourceExhausted. In a chain nothing is sent before its turn.
    """

    __slots__ = ("data_to_send", "kind", "target")

    def __init__(
        self,
        target: Proactor,
        data: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(target, Proactor):
            raise TypeError(f"target must be a Proactor, not {type(target).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.target = target
        self.data_to_send = data
        self.kind = Kind.SOFTWARE  # type: ignore[misc]  # each submission chooses

    def _prepare(self) -> None:
        check_integer(self.data_to_send, "data", 0, LARGEST_MESSAGE)
        if self.target.is_closed:
            raise FailedPrecondition("target is closed")
        handle = self.target.message_handle()  # RuntimeError for one that was inherited by fork()
        if handle is None or self._proactor is None or not self._proactor.has_native(Kind.MESSAGE):
            self.kind = Kind.SOFTWARE  # type: ignore[misc]
            return
        self.kind = Kind.MESSAGE  # type: ignore[misc]
        self.message_target = handle
        self.message = self.data_to_send

    def _begin(self, proactor: Proactor) -> None:
        try:
            self.target.send_message(self.data_to_send)
        except (ResourceExhausted, FailedPrecondition) as error:
            proactor.finish(self, self.identifier, error)
        else:
            proactor.finish(self, self.identifier, 0)

    def _cancel(self, proactor: Proactor) -> None:
        return  # it was sent when it began

    def _failure(self, result: int) -> BaseException:
        if result == -errno.EOVERFLOW:
            return ResourceExhausted("the target's ring is full; send after its poll()")
        return super()._failure(result)

    def _finish(self, result: int) -> None:
        return None
