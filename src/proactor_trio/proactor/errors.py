"""The proactor's own errors; everything that the operating system reports is an OSError with its errno.

Each ProactorError carries the status code by which callers of every backend can compare.
"""

from __future__ import annotations

import errno
import os
from enum import Enum, IntEnum
from typing import ClassVar, Final, NoReturn


class StatusCode(IntEnum):
    """What went wrong, in the numbers of the wire and of the conformance suite; see `status_of()`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16
    DEFERRED = 17
    INCOMPATIBLE = 18


class ProactorError(Exception):
    """Base of the proactor's own errors. `status`: its StatusCode."""

    status: ClassVar[StatusCode] = StatusCode.UNKNOWN


class CancelCause(Enum):
    """Who ended an operation that completed as cancelled."""

    REQUESTED = "cancel() was called on it"
    RESOURCE_CLOSED = "its socket or file was closed"
    EARLIER_STEP_FAILED = "an earlier step of its chain did not succeed"
    PROACTOR_CLOSED = "its proactor was closed"
    DEADLINE_PASSED = "its deadline passed"


class OperationCancelled(ProactorError):
    """An operation ended without effect because somebody cancelled it. `cause`: a CancelCause."""

    status = StatusCode.CANCELLED

    def __init__(self, text: str, cause: CancelCause) -> None:
        super().__init__(text)
        self.cause = cause

    def __reduce__(self) -> tuple[type[OperationCancelled], tuple[str, CancelCause]]:
        return type(self), (str(self), self.cause)


class FailedPrecondition(ProactorError):
    """The object is not in the state that the call needs (in flight already, closed proactor, wrong thread)."""

    status = StatusCode.FAILED_PRECONDITION


class TooSlowError(Exception):
    """Raised when a deadline that was set for a whole (a block, a graph, a group of operations) has passed."""


class DeadlineExceeded(ProactorError, TooSlowError):
    """An operation, or a wait, was ended by its `deadline=` or `timeout=`.

    partial_bytes: what a transfer that was to be completed had moved by then; these bytes are gone.
    """

    status = StatusCode.DEADLINE_EXCEEDED

    def __init__(self, text: str, partial_bytes: int = 0) -> None:
        super().__init__(text)
        self.partial_bytes = partial_bytes

    def __reduce__(self) -> tuple[type[DeadlineExceeded], tuple[str, int]]:
        return type(self), (str(self), self.partial_bytes)


class ShortTransfer(ProactorError):
    """A transfer ended with fewer bytes than what comes after it relies on. `partial_bytes`: how many it moved."""

    status = StatusCode.OUT_OF_RANGE

    def __init__(self, text: str, partial_bytes: int) -> None:
        super().__init__(text)
        self.partial_bytes = partial_bytes

    def __reduce__(self) -> tuple[type[ShortTransfer], tuple[str, int]]:
        return type(self), (str(self), self.partial_bytes)


class NotFound(ProactorError):
    """What was named does not exist: an axis, an interface."""

    status = StatusCode.NOT_FOUND


class AlreadyExists(ProactorError):
    """There is one already, and there can be only one."""

    status = StatusCode.ALREADY_EXISTS


class ResourceExhausted(ProactorError):
    """All of a bounded supply (buffers, table entries, messages) is in use; try again when some of it is back."""

    status = StatusCode.RESOURCE_EXHAUSTED


class Aborted(ProactorError):
    """Whoever decides about the next step decided against it."""

    status = StatusCode.ABORTED


class OutOfRange(ProactorError, ValueError):
    """A number is beyond what the format or the kernel can hold."""

    status = StatusCode.OUT_OF_RANGE


class Unimplemented(ProactorError):
    """This backend or kernel does not have it; the text names what is missing."""

    status = StatusCode.UNIMPLEMENTED


class Unavailable(ProactorError):
    """This machine or backend cannot do it now; the text says what is missing."""

    status = StatusCode.UNAVAILABLE


class DataLoss(ProactorError):
    """The other side vanished, and what it would have said is not known."""

    status = StatusCode.DATA_LOSS


class ClosedResourceError(Exception):
    """The socket, file or stream was closed on our own side."""


def system_error(result: int, operation_name: str) -> OSError:
    """The OSError (of the subclass that fits its errno) for a raw result of `-errno`."""
    code = -result
    return OSError(code, f"{operation_name}: {os.strerror(code)}")


CANCELED = -errno.ECANCELED


_STATUS_OF_ERRNO: Final = {
    getattr(errno, name): status
    for status, names in {
        StatusCode.CANCELLED: "ECANCELED",
        StatusCode.INVALID_ARGUMENT: ("EINVAL ENAMETOOLONG EFAULT ENOTSOCK ESPIPE EDESTADDRREQ ENOPROTOOPT EPROTOTYPE"),
        StatusCode.DEADLINE_EXCEEDED: "ETIMEDOUT ETIME",
        StatusCode.NOT_FOUND: "ENOENT ENODEV ENXIO ESRCH",
        StatusCode.ALREADY_EXISTS: "EEXIST EADDRNOTAVAIL EALREADY",
        StatusCode.PERMISSION_DENIED: "EPERM EACCES EROFS",
        StatusCode.FAILED_PRECONDITION: "EADDRINUSE EPIPE ENOTCONN EISCONN ESHUTDOWN EBADF EBUSY EISDIR ENOTDIR",
        StatusCode.RESOURCE_EXHAUSTED: "ENOSPC EMFILE ENFILE ENOBUFS ENOMEM EDQUOT",
        StatusCode.OUT_OF_RANGE: "EFBIG EOVERFLOW ERANGE",
        StatusCode.UNIMPLEMENTED: (
            "ENOSYS ENOTSUP EOPNOTSUPP EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT EPFNOSUPPORT"
        ),
        StatusCode.UNAVAILABLE: (
            "ECONNREFUSED ECONNRESET ECONNABORTED EHOSTUNREACH ENETUNREACH ENETDOWN EAGAIN EWOULDBLOCK EINTR"
        ),
        StatusCode.ABORTED: "EDEADLK ESTALE",
    }.items()
    for name in names.split()
    if hasattr(errno, name)  # a system lacks some of them
}


def status_of(error: BaseException | None) -> StatusCode:
    """The status code that stands for an error: OK for None.

    An OSError is judged by its errno, a ProactorError by its class; a wrong argument (ValueError, TypeError) is
    INVALID_ARGUMENT, a closed resource FAILED_PRECONDITION, anything else UNKNOWN.
    """
    if error is None:
        return StatusCode.OK
    if isinstance(error, ProactorError):
        return error.status
    if isinstance(error, OSError) and error.errno is not None:
        return _STATUS_OF_ERRNO.get(error.errno, StatusCode.UNKNOWN)
    if isinstance(error, (ValueError, TypeError)):
        return StatusCode.INVALID_ARGUMENT
    if isinstance(error, ClosedResourceError):
        return StatusCode.FAILED_PRECONDITION
    return StatusCode.UNKNOWN


class CompletionErrors:
    """What completion functions raised in one poll(), until everything has been delivered."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept: list[Exception] = []

    def keep(self, error: Exception, operation: object) -> None:
        error.add_note(f"raised by the completion function of {operation!r}")
        self.kept.append(error)

    def keep_of_call(self, error: Exception, call: object) -> None:
        error.add_note(f"raised by {call!r}, which was to be called in poll()")
        self.kept.append(error)

    def raise_kept(self) -> NoReturn:
        """Raise the one error, or several as an ExceptionGroup, and forget them."""
        errors = self.kept
        self.kept = []
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup("completion functions raised", errors)
