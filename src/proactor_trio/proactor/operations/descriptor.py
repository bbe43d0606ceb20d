"""Reads and writes on descriptors that have no positions and are no sockets: StreamRead and StreamWrite.

For pipes, eventfds, terminals and devices. The descriptor is the caller's: it is not owned, and stays open until the
final completion.
"""

from __future__ import annotations

from typing import Any, Final, Unpack

from proactor_trio.backends.contract import Kind, OperationFlags
from proactor_trio.proactor.arguments import check_integer, readable_view, writable_view
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.lending import Lender
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation

_LARGEST_DESCRIPTOR: Final = (1 << 31) - 1


class DescriptorTransfer(Operation):
    """Base: a descriptor and memory."""

    __slots__ = ("buffer", "handle")

    def __init__(
        self,
        handle: Any,
        buffer: Any,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.handle = handle
        if isinstance(handle, Lender):
            resource = handle.lent_resource()
            self.handle = self._borrow(handle, type(resource), "handle")
        self.buffer = buffer

    def _prepare(self) -> None:
        if self._resource_is_closed():
            raise ClosedResourceError(f"{type(self).__name__}: handle was closed")
        descriptor = self.handle if isinstance(self.handle, int) else self.handle.fileno()
        check_integer(descriptor, "handle", 0, _LARGEST_DESCRIPTOR)
        self.descriptor = descriptor

    def _resource_is_closed(self) -> bool:
        return getattr(self.handle, "closed", False)

    def _is_short(self, result: int) -> bool:
        return bool(result < self.view.nbytes)


class StreamRead(DescriptorTransfer):
    """Reads what is there, and waits until there is something. Result: the number of bytes, 0 at the end.

    handle: a descriptor or an object with `fileno()`. buffer: writable memory.
    In a chain fewer bytes than the buffer's length end the chain. Cancelling it loses no byte.
    """

    __slots__ = ()
    kind = Kind.STREAM_READ

    def _prepare(self) -> None:
        super()._prepare()
        self.view = writable_view(self.buffer, "buffer")


class StreamWrite(DescriptorTransfer):
    """Writes what there is room for, and waits until there is some. Result: the number of bytes.

    handle: a descriptor or an object with `fileno()`. buffer: a bytes-like object.
    In a chain fewer bytes than the memory's length end the chain.
    """

    __slots__ = ()
    kind = Kind.STREAM_WRITE

    def _prepare(self) -> None:
        super()._prepare()
        self.view = readable_view(self.buffer, "buffer")
