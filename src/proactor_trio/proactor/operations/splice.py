"""Splice and SendFile: bytes that move between descriptors inside the kernel, without passing through this process.

Splice is one splice(2), of which at least one end is a pipe. Facts: io_uring makes it in the kernel's workers, where it
may wait for disks and pipes, but a descriptor that is non-blocking ends it with EAGAIN instead of a wait. So it is left
to io_uring where both ends are blocking; otherwise it is made here, without blocking, when both ends are ready.

SendFile sends a part of a file to a socket, all of it. On io_uring that is two splices at a time, through a pipe of its
own, so that no disk is waited for here; elsewhere sendfile(2), whenever the socket has room. What was sent counts:
bytes that are in the pipe when it ends early are still in the file.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final, Unpack

from proactor_trio.backends.contract import CompletionFlags, Kind, OperationFlags, PollEvents
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import CANCELED, Aborted, ClosedResourceError, OperationCancelled, Unimplemented
from proactor_trio.proactor.file import File
from proactor_trio.proactor.operation import (
    CompletionFunction,
    Continuation,
    Limits,
    Operation,
    OperationState,
    SoftwareOperation,
)
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.socket import Socket

_LARGEST_OFFSET: Final = (1 << 63) - 1
_LARGEST_DESCRIPTOR: Final = (1 << 31) - 1
_NO_OFFSET: Final = -1
#: What goes through the pipe of a SendFile at a time; the usual size of a pipe.
_PIPE_BYTES: Final = 64 * 1024
_IDLE: Final = (OperationState.NEW, OperationState.DONE)
#: What one sendfile(2) moves at most, so that others have their turn.
_SENDFILE_BYTES: Final = 1024 * 1024


class SteppingOperation(SoftwareOperation):
    """Base of operations that consist of others, one after the other, each begun when the one before has completed."""

    __slots__ = ("_cancel_requested", "_step")

    def _begin(self, proactor: Proactor) -> None:
        step = self._step
        if step is not None and step.state not in _IDLE:
            return  # begun before an interruption
        try:
            self._start_step(self._first_step())
        except Exception as error:  # no descriptor is left for a pipe, the file was closed before its turn, ...
            self._fail(proactor, error)

    @abstractmethod
    def _first_step(self) -> Operation:
        """What it begins with."""

    def _start_step(self, step: Operation) -> None:
        """Begin the next step."""
        assert self._proactor is not None
        step.completion_fn = Continuation(self._step_done)
        self._step: Operation | None = step
        self._proactor.submit(step)

    @abstractmethod
    def _after(self, step: Operation) -> int | None:
        """A step has succeeded: begin the next one and return None, or return the result."""

    def _note(self, step: Operation) -> None:
        """A step has succeeded although the operation was cancelled meanwhile: keep account of what it moved."""

    def _moved(self) -> int:
        """How many bytes have been moved: what a cancelled operation reports if there are any."""
        return 0

    def _step_done(self, step: Operation, flags: CompletionFlags) -> None:
        proactor = self._proactor
        assert proactor is not None
        proactor.uncount()
        interrupted = Aborted(f"{type(self).__name__} was interrupted between two steps")
        if self._step is not step:  # this is called again: what it did before may have been enough
            self._fail(proactor, interrupted)
            return
        self._step = None
        try:
            result = self._judge(step)
            if result is not None:
                self._end(proactor, result)
        except Exception as error:
            self._fail(proactor, error)
        except BaseException:
            self._fail(proactor, interrupted)
            raise

    def _fail(self, proactor: Proactor, error: BaseException) -> None:
        following = self._step
        if following is None or following.state in _IDLE:
            self._end(proactor, error)
        else:
            self._cancel(proactor)  # a signal handler raised when the next step had begun: its completion is the end

    def _judge(self, step: Operation) -> int | BaseException | None:
        if step.error is None:
            if not self._cancel_requested:
                return self._after(step)
            self._note(step)
        if self._moved():
            return self._moved()
        if step.error is None or isinstance(step.error, OperationCancelled):
            return CANCELED
        return step.error

    def _end(self, proactor: Proactor, result: int | BaseException) -> None:
        self._step = None
        proactor.finish(self, self.identifier, result)

    def _cancel(self, proactor: Proactor) -> None:
        self._cancel_requested = True
        if self._step is not None and self._step.state is OperationState.SUBMITTED:
            proactor.cancel(self._step)


class Splice(SteppingOperation):
    """Moves bytes from one descriptor to another; one of them is a pipe. Result: how many, 0 at the end of the source.

    source, destination: descriptors or objects with `fileno()` (a File, a Socket), open until the final completion.
    count: the most to move, at least 1. source_offset, destination_offset: positions in what has positions, else None.
    In a chain fewer bytes than `count` end the chain.
    """

    __slots__ = ("count", "destination", "destination_offset", "kind", "source", "source_offset")

    def __init__(
        self,
        source: Any,
        destination: Any,
        count: int,
        source_offset: int | None = None,
        destination_offset: int | None = None,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        super().__init__(completion_fn, user_data, flags, **limits)
        self.source = source
        self.destination = destination
        self.count = count
        self.source_offset = source_offset
        self.destination_offset = destination_offset
        self.kind = Kind.SOFTWARE  # type: ignore[misc]  # each submission chooses
        self._step = None
        self._cancel_requested = False

    def _prepare(self) -> None:
        check_integer(self.count, "count", 1, _LARGEST_OFFSET)
        self.offset = _offset(self.source_offset, "source_offset")
        self.second_offset = _offset(self.destination_offset, "destination_offset")
        self.descriptor = _descriptor(self.source, "source")
        self.second_descriptor = _descriptor(self.destination, "destination")
        self.length = self.count
        assert self._proactor is not None
        ends = self.descriptor, self.second_descriptor
        is_native = self._proactor.has_native(Kind.SPLICE) and all(map(os.get_blocking, ends))
        if not is_native and not hasattr(os, "splice"):
            raise Unimplemented("this system has no splice(2)")
        self.kind = Kind.SPLICE if is_native else Kind.SOFTWARE  # type: ignore[misc]
        self._cancel_requested = False
        for end in (self.source, self.destination):
            if isinstance(end, File):
                end.users.add(self)

    def _first_step(self) -> Operation:
        return HandlePoll(self.descriptor, PollEvents.IN)

    def _after(self, step: Operation) -> int | None:
        assert isinstance(step, HandlePoll)
        if self._resource_is_closed():
            return CANCELED
        if step.poll_events is PollEvents.IN:
            self._start_step(HandlePoll(self.second_descriptor, PollEvents.OUT))
            return None
        try:
            return os.splice(
                self.descriptor,
                self.second_descriptor,
                self.count,
                self.source_offset,
                self.destination_offset,
                os.SPLICE_F_NONBLOCK,
            )
        except BlockingIOError:
            self._start_step(HandlePoll(self.descriptor, PollEvents.IN))
            return None

    def _release(self) -> None:
        for end in (self.source, self.destination):
            if isinstance(end, File):
                end.users.discard(self)

    def _withdraw(self) -> None:
        super()._withdraw()
        self._release()

    def _finish(self, result: int) -> int:
        self._release()
        return result

    def _failure(self, result: int) -> BaseException:
        self._release()
        return super()._failure(result)

    def _cancellation(self) -> OperationCancelled:
        self._release()
        return super()._cancellation()

    def _resource_is_closed(self) -> bool:
        return any(getattr(end, "closed", False) for end in (self.source, self.destination))

    def _is_short(self, result: int) -> bool:
        return result < self.count


class SendFile(SteppingOperation):
    """Sends a part of a file to a stream socket, without copying it through this process. Result: the bytes sent.

    offset: where in the file. count: how many bytes, at least 1; fewer are sent only if the file ends there, or if it
    is cancelled or fails after some were sent.
    """

    __slots__ = ("_in_pipe", "_pipe", "_sent", "count", "file", "file_offset", "socket_to_fill")

    def __init__(
        self,
        socket: Socket,
        file: File,
        offset: int,
        count: int,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a proactor_trio.proactor.Socket, not {type(socket).__name__}")
        if not isinstance(file, File):
            raise TypeError(f"file must be a proactor_trio.proactor.File, not {type(file).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.socket_to_fill = socket
        self.file = file
        self.file_offset = offset
        self.count = count
        self._step = None
        self._cancel_requested = False
        self._sent = 0
        self._in_pipe = 0
        self._pipe: tuple[int, int] | None = None

    def _prepare(self) -> None:
        check_integer(self.file_offset, "offset", 0, _LARGEST_OFFSET)
        check_integer(self.count, "count", 1, _LARGEST_OFFSET)
        _descriptor(self.socket_to_fill, "socket")
        _descriptor(self.file, "file")
        self._sent = self._in_pipe = 0
        self._cancel_requested = False

    def _first_step(self) -> Operation:
        assert self._proactor is not None
        if self._proactor.has_native(Kind.SPLICE) and self._pipe is None:
            (self._pipe,) = map(os.pipe2, (os.O_CLOEXEC,))  # made and kept in one step
        return self._next_step()

    def _next_step(self) -> Operation:
        if self._pipe is None:
            return HandlePoll(self.socket_to_fill, PollEvents.OUT)
        reader, writer = self._pipe
        if self._in_pipe:
            return Splice(reader, self.socket_to_fill, self._in_pipe)
        count = min(_PIPE_BYTES, self.count - self._sent)
        return Splice(self.file, writer, count, self.file_offset + self._sent)

    def _after(self, step: Operation) -> int | None:
        moved = self._send_directly() if self._pipe is None else self._note_splice(step)
        if not moved or self._sent == self.count:
            return self._sent
        self._start_step(self._next_step())
        return None

    def _send_directly(self) -> bool:
        """Whether the file goes on."""
        count = min(_SENDFILE_BYTES, self.count - self._sent)
        position = self.file_offset + self._sent
        try:
            sent = os.sendfile(self.socket_to_fill.fileno(), self.file.fileno(), position, count)
        except BlockingIOError:
            return True
        self._sent += sent
        return sent > 0

    def _note(self, step: Operation) -> None:
        if self._pipe is not None:
            self._note_splice(step)

    def _note_splice(self, step: Operation) -> bool:
        moved: int = step.result
        if self._in_pipe:
            self._in_pipe -= moved
            self._sent += moved
        else:
            self._in_pipe = moved
        return moved > 0

    def _moved(self) -> int:
        return self._sent

    def _end(self, proactor: Proactor, result: int | BaseException) -> None:
        pipe = self._pipe
        self._pipe = None
        for descriptor in pipe or ():
            os.close(descriptor)
        super()._end(proactor, result)

    def resource(self) -> Socket:
        return self.socket_to_fill

    def _resource_is_closed(self) -> bool:
        return self.socket_to_fill.closed

    def _is_short(self, result: int) -> bool:
        return result < self.count


def _offset(offset: int | None, argument: str) -> int:
    if offset is None:
        return _NO_OFFSET
    check_integer(offset, argument, 0, _LARGEST_OFFSET)
    return offset


def _descriptor(end: Any, argument: str) -> int:
    if getattr(end, "closed", False):
        raise ClosedResourceError(f"{argument} was closed")
    fileno: Callable[[], int] | None = getattr(end, "fileno", None)
    descriptor = end if fileno is None else fileno()
    check_integer(descriptor, argument, 0, _LARGEST_DESCRIPTOR)
    return int(descriptor)
