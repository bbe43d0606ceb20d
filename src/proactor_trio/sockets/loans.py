"""What sockets and streams lend to the operations of a graph.

A receive is given first what the stream has received and nobody has taken; what the stream has armed is ended before,
and stays so until the loan is given back. What a receive that failed had got becomes the first bytes of the stream
again, so that a graph that is cancelled in the middle of a message loses nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proactor_trio._kernel.errors import BusyResourceError
from proactor_trio.proactor.arguments import writable_view
from proactor_trio.proactor.lending import NOTHING, Loan
from proactor_trio.proactor.operation import Operation
from proactor_trio.proactor.operations.net import Recv, RecvBytes
from proactor_trio.sockets.received import StreamReceive


class ReceiveLoan(Loan):
    """The receiving side of a stream. Raises BusyResourceError while a task receives."""

    __slots__ = ("_buffer", "_ended", "_received")
    can_be_shared = True

    def __init__(self, received: StreamReceive, ended: Callable[[], None] | None = None) -> None:
        super().__init__()
        if received.is_busy:
            raise BusyResourceError("another task is already receiving from this stream")
        received.end_now()
        received.is_busy = True
        self._received = received
        self._ended = ended
        self._buffer: Any = None  # what the operation was made with, while it has only the rest of it

    @property
    def has_something(self) -> bool:
        """See Loan."""
        return bool(self._received.head) or self._received.end is not None

    def begin(self, operation: Operation) -> Any:
        """See Loan. Raises the failure of the connection that the stream has seen."""
        received = self._received
        if not received.head:
            return self._end_of_stream(operation)
        if isinstance(operation, RecvBytes):
            return received.take(operation.length)
        assert isinstance(operation, Recv)
        views = _views(operation.buffer)
        rest = self._fill(views)
        if not rest or not operation.is_asked_whole:
            return self.taken
        self._buffer = operation.buffer
        operation.buffer = rest
        return NOTHING

    def _end_of_stream(self, operation: Operation) -> Any:
        end = self._received.take_end()
        if isinstance(end, BaseException):
            raise end
        if end is None:
            return NOTHING
        return b"" if isinstance(operation, RecvBytes) else 0

    def _fill(self, views: list[memoryview]) -> list[memoryview]:
        """Put what is there into these views, in order; returns what is left of them."""
        received = self._received
        rest: list[memoryview] = []
        for view in views:
            filled = 0
            while filled < view.nbytes and received.head:
                piece = received.take(view.nbytes - filled)
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
            self.taken += filled
            if filled < view.nbytes:
                rest.append(view[filled:])
        return rest

    def return_unread(self, operation: Operation, unread: int) -> None:
        """See Loan."""
        if unread and isinstance(operation, Recv):
            self._received.put_back(b"".join(_views(operation.buffer))[:unread])

    def give_back(self, operation: Operation, unread: int) -> None:
        """See Loan."""
        if self._buffer is not None:
            assert isinstance(operation, Recv)
            operation.buffer = self._buffer
            self._buffer = None
        self.return_unread(operation, unread)
        self._received.is_busy = False
        if self._ended is not None:
            self._ended()


def _views(buffer: Any) -> list[memoryview]:
    pieces = buffer if type(buffer) in (list, tuple) else (buffer,)
    return [writable_view(piece, "buffer") for piece in pieces]
