"""The proactor's own errors; everything that the operating system reports is an OSError with its errno.

Each ProactorError carries the status code by which callers of every backend can compare.
"""

from __future__ import annotations

import errno
import os
from enum import Enum, IntEnum
from typing import ClassVar, NoReturn


class StatusCode(IntEnum):
    """What went wrong, in the numbers of the wire and of the conformance suite."""

    CANCELLED = 1
    FAILED_PRECONDITION = 9


class ProactorError(Exception):
    """Base of the proactor's own errors. `status`: its StatusCode."""

    status: ClassVar[StatusCode]


class CancelCause(Enum):
    """Who ended an operation that completed as cancelled."""

    REQUESTED = "cancel() was called on it"
    RESOURCE_CLOSED = "its socket or file was closed"
    EARLIER_STEP_FAILED = "an earlier step of its chain did not succeed"
    PROACTOR_CLOSED = "its proactor was closed"


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


class ClosedResourceError(Exception):
    """The socket, file or stream was closed on our own side."""


def system_error(result: int, operation_name: str) -> OSError:
    """The OSError (of the subclass that fits its errno) for a raw result of `-errno`."""
    code = -result
    return OSError(code, f"{operation_name}: {os.strerror(code)}")


CANCELED = -errno.ECANCELED


class CompletionErrors:
    """What completion functions raised in one poll(), until everything has been delivered."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept: list[Exception] = []

    def keep(self, error: Exception, operation: object) -> None:
        error.add_note(f"raised by the completion function of {operation!r}")
        self.kept.append(error)

    def raise_kept(self) -> NoReturn:
        """Raise the one error, or several as an ExceptionGroup, and forget them."""
        errors = self.kept
        self.kept = []
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup("completion functions raised", errors)
