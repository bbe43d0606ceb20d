"""Relays: when a source speaks, a sink is told, without any code of the user's in between.

A source is a descriptor that becomes readable, or a notification whose epoch advances. A sink is a descriptor to which
a 64-bit number is written (an eventfd, a pipe), or a notification that is signalled.

Facts: a POLL_ADD linked to a WRITE is done by the kernel alone, but the link goes on when the descriptor only reports
an error or that its other end is gone, and nothing in it can read the source empty. So a one-shot relay from descriptor
to descriptor without ERROR_SENSITIVE is such a chain; every other relay is continued by the proactor inside `poll()`.

States: ACTIVE until it has fired (one-shot), until `close()`, or until something fails: then FAULTED, after the error
callback was told. A relay is kept by its proactor, not by who made it; a relay that is not ACTIVE holds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum, IntFlag
from typing import Any, Final

from proactor_trio.backends.contract import CompletionFlags, OperationFlags, PollEvents
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import OperationCancelled
from proactor_trio.proactor.notification import ALL_WAITERS, NotificationSource
from proactor_trio.proactor.operation import Continuation, Operation, OperationState
from proactor_trio.proactor.operations.descriptor import StreamWrite
from proactor_trio.proactor.operations.notification import NotificationWait
from proactor_trio.proactor.operations.scheduling import HandlePoll
from proactor_trio.proactor.proactor import Proactor

_VALUE_BYTES: Final = 8
_LARGEST_VALUE: Final = (1 << 64) - 2  # an eventfd takes no more
_LARGEST_DESCRIPTOR: Final = (1 << 31) - 1
_DRAIN_BYTES: Final = 8


class RelayFlags(IntFlag):
    """How a relay behaves.

    PERSISTENT: it fires again and again; a source descriptor is read (8 bytes) each time, so that it can speak anew.
    OWN_SOURCE_PRIMITIVE: the source descriptor is the relay's and is closed when it ends.
    ERROR_SENSITIVE: a source descriptor that reports only an error or a hang-up does not fire, and ends the relay.
    """

    NONE = 0
    PERSISTENT = 1
    OWN_SOURCE_PRIMITIVE = 2
    ERROR_SENSITIVE = 4


class RelayState(Enum):
    """Where a relay is in its life."""

    ACTIVE = "active"
    FIRED = "fired"
    CLOSED = "closed"
    FAULTED = "faulted"


class _Step(Enum):
    """How far a firing has got."""

    SPOKEN = "the source has spoken"
    DRAINED = "the source can speak again"
    TOLD = "the sink was told"


class SignalHandle:
    """A sink: write `value` to a non-blocking descriptor that the caller keeps open."""

    __slots__ = ("descriptor", "payload")

    def __init__(self, handle: Any, value: int = 1) -> None:
        self.descriptor = _descriptor_of(handle, "handle")
        check_integer(value, "value", 1, _LARGEST_VALUE)
        self.payload = value.to_bytes(_VALUE_BYTES, "little")

    def fire(self) -> None:
        """Write. Raises OSError; a full eventfd is set already."""
        try:
            os.write(self.descriptor, self.payload)
        except BlockingIOError:
            return


class SignalNotification:
    """A sink: signal a notification, waking at most `wake_count` blocked threads."""

    __slots__ = ("notification", "wake_count")

    def __init__(self, notification: NotificationSource, wake_count: int = ALL_WAITERS) -> None:
        if not isinstance(notification, NotificationSource):
            raise TypeError(f"notification must be a Notification, not {type(notification).__name__}")
        check_integer(wake_count, "wake_count", 1, ALL_WAITERS)
        self.notification = notification
        self.wake_count = wake_count

    def fire(self) -> None:
        """Signal."""
        self.notification.signal(self.wake_count)


_IDLE: Final = (OperationState.NEW, OperationState.DONE)

RelaySink = SignalHandle | SignalNotification
RelayErrorCallback = Callable[["Relay", BaseException], object]


class Relay:
    """Tells a sink when a source speaks, from its creation on. Owner thread of the proactor only.

    source: a Notification, or a descriptor or an object with `fileno()`.
    sink: SignalHandle or SignalNotification.
    flags: RelayFlags. ERROR_SENSITIVE is for descriptors.
    on_error: called as `on_error(relay, error)` inside `poll()` when watching, reading the source or telling the sink
        failed; the relay has ended by then. Without it the error is in `error` only.

    Its firings are not counted by `poll()`.
    """

    __slots__ = (
        "__weakref__",
        "_descriptor",
        "_flags",
        "_on_error",
        "_operation",
        "_proactor",
        "_sink",
        "_step",
        "_write",
        "error",
        "fired",
        "state",
    )

    def __init__(
        self,
        proactor: Proactor,
        source: Any,
        sink: RelaySink,
        flags: RelayFlags = RelayFlags.NONE,
        on_error: RelayErrorCallback | None = None,
    ) -> None:
        if not isinstance(sink, (SignalHandle, SignalNotification)):
            raise TypeError(f"sink must be a SignalHandle or a SignalNotification, not {type(sink).__name__}")
        if on_error is not None and not callable(on_error):
            raise TypeError(f"on_error must be callable or None, not {type(on_error).__name__}")
        proactor.check_owner("Relay")
        self._proactor = proactor
        self._sink = sink
        self._flags = flags
        self._on_error = on_error
        self._write: StreamWrite | None = None
        self._step = _Step.SPOKEN
        self._descriptor = -1
        #: How often the sink was told.
        self.fired = 0
        self.state = RelayState.ACTIVE
        self.error: BaseException | None = None
        self._operation = self._make_operation(source)
        self._start()
        proactor.attach(self)

    def _make_operation(self, source: Any) -> HandlePoll | NotificationWait:
        if isinstance(source, NotificationSource):
            if self._flags & (RelayFlags.ERROR_SENSITIVE | RelayFlags.OWN_SOURCE_PRIMITIVE):
                raise ValueError("flags: ERROR_SENSITIVE and OWN_SOURCE_PRIMITIVE are for descriptors")
            return NotificationWait(source, source.query_epoch(), Continuation(self._spoken))
        self._descriptor = _descriptor_of(source, "source")
        os.fstat(self._descriptor)
        return HandlePoll(self._descriptor, PollEvents.IN, Continuation(self._spoken))

    def _start(self) -> None:
        kernel_does_it = (
            self._descriptor >= 0
            and isinstance(self._sink, SignalHandle)
            and not self._flags & (RelayFlags.PERSISTENT | RelayFlags.ERROR_SENSITIVE)
        )
        if not kernel_does_it:
            self._proactor.submit(self._operation)
            return
        assert isinstance(self._sink, SignalHandle)
        self._operation.completion_fn = _uncounted
        self._operation.flags = OperationFlags.LINKED | OperationFlags.SILENT
        self._write = StreamWrite(self._sink.descriptor, self._sink.payload, Continuation(self._written))
        self._proactor.submit(self._operation, self._write)

    # Firing ------------------------------------------------------------------------------------------------------

    def _written(self, operation: Operation, flags: CompletionFlags) -> None:
        """The kernel's chain is over."""
        self._proactor.uncount()
        error = self._operation.error if isinstance(operation.error, OperationCancelled) else operation.error
        if self.state is not RelayState.ACTIVE:
            self._close_source()
        elif error is None:
            self.fired += 1
            self._end(RelayState.FIRED)
        else:
            self._fault(error)

    def _spoken(self, operation: Operation, flags: CompletionFlags) -> None:
        self._proactor.uncount()
        if self.state is not RelayState.ACTIVE:
            self._close_source()
        elif operation.error is not None:
            self._fault(operation.error)
        elif isinstance(operation, HandlePoll) and self._is_only_an_error(operation.result):
            self._fault(BrokenPipeError("the source reports only an error or a hang-up"))
        else:
            try:
                self._fire(operation)
            except OSError as error:
                self._fault(error)

    def _is_only_an_error(self, events: PollEvents) -> bool:
        return bool(self._flags & RelayFlags.ERROR_SENSITIVE) and not events & PollEvents.IN

    def _fire(self, operation: Operation) -> None:
        """May be called again after an interruption: `_step` knows how far it had got."""
        is_persistent = bool(self._flags & RelayFlags.PERSISTENT)
        if self._step is _Step.SPOKEN:
            if is_persistent and isinstance(operation, HandlePoll):
                self._drain(operation.result)
            if is_persistent and isinstance(operation, NotificationWait):
                operation.wait_token = operation.notification.query_epoch()
            self._step = _Step.DRAINED
        if self._step is _Step.DRAINED:
            self._sink.fire()
            self.fired += 1
            self._step = _Step.TOLD
        if not is_persistent:
            self._end(RelayState.FIRED)
        elif operation.state in _IDLE:
            self._step = _Step.SPOKEN
            self._proactor.submit(operation)

    def _drain(self, events: PollEvents) -> None:
        """One read. Raises BrokenPipeError when nothing can come any more: the state would never go away."""
        if events & PollEvents.IN and os.read(self._descriptor, _DRAIN_BYTES):
            return
        raise BrokenPipeError("the source has ended")

    # Ending ------------------------------------------------------------------------------------------------------

    def _fault(self, error: BaseException) -> None:
        self.error = error
        self._end(RelayState.FAULTED)
        if self._on_error is not None:
            self._on_error(self, error)

    def _end(self, state: RelayState) -> None:
        self.state = state
        self._proactor.detach(self)
        if self._operation.state in _IDLE:
            self._close_source()

    def _close_source(self) -> None:
        """Nothing watches the source any more."""
        descriptor = self._descriptor
        self._descriptor = -1
        if self._flags & RelayFlags.OWN_SOURCE_PRIMITIVE and descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """End it; idempotent. After this the sink is not told any more, unless the kernel is just doing it.

        A source that the relay owns is closed when the kernel has let it go: inside the next `poll()`.
        """
        if self.state is not RelayState.ACTIVE:
            return
        self._proactor.check_owner("Relay.close()")
        self._end(RelayState.CLOSED)
        for operation in (self._operation, self._write):
            if operation is not None and operation.state is OperationState.SUBMITTED:
                self._proactor.cancel(operation)

    def proactor_closing(self) -> None:
        """See Attachment."""
        self.close()

    def proactor_closed(self) -> None:
        """See Attachment."""

    def __repr__(self) -> str:
        return f"<Relay {self.state.value}, fired {self.fired} times>"


def _uncounted(operation: Operation, flags: CompletionFlags) -> None:
    assert operation._proactor is not None
    operation._proactor.uncount()


def _descriptor_of(handle: Any, argument: str) -> int:
    if not isinstance(handle, int) and not hasattr(handle, "fileno"):
        raise TypeError(f"{argument} must be a descriptor or have fileno(), not {type(handle).__name__}")
    descriptor: int = handle if isinstance(handle, int) else handle.fileno()
    check_integer(descriptor, argument, 0, _LARGEST_DESCRIPTOR)
    return descriptor
