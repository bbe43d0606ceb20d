"""An operation: what is asked of the proactor, who owns it when, and how it ends.

The life of an operation is the table `TRANSITIONS`. The caller owns it in NEW and DONE and may change its fields and
submit it (again); in between it is the proactor's, and all that it names is kept alive until its final completion.

There is one final completion, always from inside `Proactor.poll()`: `result` or `error` is set, then `completion_fn` is
called, or the task that awaits it goes on. A MULTISHOT operation is delivered with `CompletionFlags.MORE` before that.

`await operation` works in a task. The seam to the tasks is `Operation.__await__`: the scheduler above sets
`set_performer()` once; this layer knows no task.
"""

from __future__ import annotations

import errno
import math
from abc import abstractmethod
from collections.abc import Callable, Generator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Protocol, TypedDict, Unpack

from proactor_trio.backends.contract import CompletionFlags, Kind, OperationFields, OperationFlags, TablePlace
from proactor_trio.proactor.errors import (
    CancelCause,
    DeadlineExceeded,
    FailedPrecondition,
    OperationCancelled,
    system_error,
)
from proactor_trio.proactor.lending import Lender

if TYPE_CHECKING:
    from proactor_trio.proactor.chain import Chain
    from proactor_trio.proactor.proactor import Proactor


class OperationState(Enum):
    """Where an operation is in its life; see `TRANSITIONS`. BORROWING: made for a stream or file; for graphs only."""

    BORROWING = "borrowing"
    NEW = "new"
    SUBMITTED = "submitted"
    CANCELLING = "cancelling"
    DONE = "done"


TRANSITIONS: Final[dict[OperationState, dict[str, OperationState]]] = {
    OperationState.BORROWING: {"lend": OperationState.NEW},
    OperationState.NEW: {"submit": OperationState.SUBMITTED},
    OperationState.SUBMITTED: {
        "completion with MORE": OperationState.SUBMITTED,
        "cancel": OperationState.CANCELLING,
        "final completion": OperationState.DONE,
    },
    OperationState.CANCELLING: {
        "completion with MORE": OperationState.CANCELLING,
        "cancel": OperationState.CANCELLING,
        "final completion": OperationState.DONE,
    },
    OperationState.DONE: {"submit": OperationState.SUBMITTED, "give back": OperationState.BORROWING},
}

#: A deadline that is so many seconds away is none: the kernel counts nanoseconds in 63 bits.
_NEVER: Final = 8e9

CompletionFunction = Callable[["Operation", CompletionFlags], None]


class Continuation:
    """A completion function of our own, which something else depends on: if it is interrupted, it is called again.

    function: has to notice by itself how far it had got.
    """

    __slots__ = ("_function",)

    def __init__(self, function: CompletionFunction) -> None:
        self._function = function

    def __call__(self, operation: Operation, flags: CompletionFlags) -> None:
        self._function(operation, flags)


Performer = Callable[["Operation"], Generator[Any, None, Any]]


class Limits(TypedDict, total=False):
    """How long an operation may take; at most one of the two.

    deadline: the time at which it has to end, on the clock of `time.monotonic()`; in a task on that of the run.
    timeout: seconds from its submission.
    """

    deadline: float
    timeout: float


class Waiter(Protocol):
    """Who waits for an operation, beside its completion_fn: a task."""

    def operation_completed(self, operation: Operation) -> None:
        """The final completion of `operation` is in. Called inside `poll()`; must not raise."""
        ...


class Supply(Protocol):
    """What operations need, and others give back: the buffers of a pool.

    queue: the operations that have found nothing, in order; each stays in it until it got something, or ended.
    """

    queue: dict[Operation, None]

    def is_there(self) -> bool:
        """Whether there is something left. If not, whoever gives something back wakes the proactor. Owner thread."""
        ...


def _no_performer(operation: Operation) -> NoReturn:
    raise RuntimeError("an operation can be awaited only in a task: import proactor_trio and use proactor_trio.run()")


_performer: Performer = _no_performer


def set_performer(performer: Performer) -> None:
    """Say how a task waits for an operation; called once by the scheduler when it is imported."""
    global _performer
    _performer = performer


class Operation(OperationFields):
    """Base of all operations.

    completion_fn: called as `completion_fn(operation, flags)` inside `poll()`, once without MORE. What it raises is
        raised by that `poll()`, after everything else was delivered.
    user_data: anything; never looked at.
    flags: MULTISHOT and LINKED, where the kind of operation has them.
    deadline, timeout: see Limits. What has not ended by then is cancelled and ends with DeadlineExceeded, or with the
        result that came first. A step of a chain is ended when its turn comes, if its time is over by then.

    After the final completion exactly one of `result` and `error` is not None, unless the result is None by nature.
    """

    __slots__ = (
        "__weakref__",
        "_cancel_cause",
        "_chain",
        "_limits",
        "_proactor",
        "completion_fn",
        "error",
        "lender",
        "result",
        "state",
        "unclaimed",
        "user_data",
        "waiter",
    )

    #: Who lends what it works on; missing where that is its own.
    lender: Lender
    #: Whether the kind has a MULTISHOT form.
    can_be_multishot: ClassVar[bool] = False
    #: Whether it closes its resource.
    is_close: ClassVar[bool] = False
    #: Whether it may have to end without having begun; see `_refusal()`.
    can_be_refused: ClassVar[bool] = False
    #: Whether a backend makes several steps of one of it, so that its kernel neither links it nor keeps its deadline.
    has_inner_steps: ClassVar[bool] = False
    #: Whether the kind can have a successor in a chain.
    can_be_linked: ClassVar[bool] = True

    def __init__(
        self,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        self.identifier = 0
        self.flags = flags
        self.descriptor = -1
        self.deliveries = 0
        self.after = 0
        self.started = False
        self.expires = None
        self.data = None
        self.view = None
        self.buffer_slot = -1
        self.backend_state = None
        self.completion_fn = completion_fn
        self.user_data = user_data
        self.state = OperationState.NEW
        self.result: Any = None
        self.error: BaseException | None = None
        self._chain: Chain | None = None
        self._cancel_cause = CancelCause.REQUESTED
        self._proactor: Proactor | None = None
        self.waiter: Waiter | None = None
        self.unclaimed = False  # submitted by submit() without a completion_fn: a task may still come for the result
        self._limits: Limits | None = None
        if limits:
            self.set_limits(**limits)

    def __await__(self) -> Generator[Any, None, Any]:
        return _performer(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.value}>"

    def set_limits(self, **limits: Unpack[Limits]) -> None:
        """Set or, without arguments, remove `deadline=` or `timeout=` for the next submission.

        Raises TypeError for both at once, ValueError for a timeout below 0 and for NaN, FailedPrecondition while it is
        in flight.
        """
        if self.state not in (OperationState.NEW, OperationState.DONE):
            raise FailedPrecondition(f"{self!r} is in flight: its limits stay as they were submitted")
        if len(limits) > 1:
            raise TypeError(f"{type(self).__name__}: deadline= and timeout= exclude each other")
        for name, seconds in limits.items():
            if not isinstance(seconds, (int, float)):
                raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
            if math.isnan(seconds) or (name == "timeout" and seconds < 0):
                raise ValueError(f"{name} must not be NaN or negative, not {seconds}")
        self._limits = limits or None
        self.expires = None
        self._cancel_cause = CancelCause.REQUESTED

    def _borrow(self, owner: Any, kind: type, argument: str) -> Any:
        """What an owner lends to this operation, which is just being made; it can run in a graph only."""
        if not isinstance(owner, Lender):
            raise TypeError(f"{argument} must be a proactor_trio.proactor.{kind.__name__}, not {type(owner).__name__}")
        resource = owner.lent_resource()
        if not isinstance(resource, kind):
            name = type(self).__name__
            raise TypeError(f"{argument} must be a {kind.__name__}, which {type(owner).__name__} does not have: {name}")
        self.lender = owner
        self.state = OperationState.BORROWING
        return resource

    @property
    def is_borrowing(self) -> bool:
        """Whether it was made for an owner who has to lend what it works on."""
        return hasattr(self, "lender")

    def lent(self) -> None:
        """Its owner has lent what it works on: it may be submitted. For graphs."""
        self.state = OperationState.NEW

    def given_back(self) -> None:
        """What it works on is its owner's again. For graphs."""
        self.state = OperationState.BORROWING

    # What kinds of operations override ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Check and fill the backend's fields, just before submission. Raises for what cannot be submitted."""

    def _finish(self, result: int) -> Any:
        """Turn a raw result (>= 0) into what the caller sees. May be called twice for one completion."""
        return result

    def _withdraw(self) -> None:
        """Undo `_prepare()`: it is not submitted after all."""
        self.view = None

    def resource(self) -> Any:
        """The Socket or File that it works on, if there is one."""
        return None

    def table_place(self) -> TablePlace | None:
        registration = getattr(self.resource(), "registration", None)
        return None if registration is None else registration.place_for(self._proactor)

    def _is_short(self, result: int) -> bool:
        """Whether a successful result moved less than asked, which breaks a chain."""
        return False

    def _resource_is_closed(self) -> bool:
        return False

    def _refusal(self) -> int:
        """A `-errno` with which it is to end, in the next poll, instead of being begun; 0: it may begin.

        -EAGAIN: it waits behind others for its supply. Owner thread; may be asked again.
        """
        return 0

    def _note_zero_copy(self) -> None:
        """The final report is going to say that nothing was copied."""

    def _is_last(self, result: int) -> bool:
        """Whether a successful result (>= 0) is the last of a MULTISHOT operation."""
        return False

    def _retry_delay(self, result: int) -> float | None:
        """After how many seconds it is begun again because of a failure of `-errno`; None: it ends by it.

        Infinite: when there is something of its `_supply()`. Asked for MULTISHOT operations, and for others about
        EAGAIN.
        """
        return None

    def _supply(self) -> Supply | None:
        """Of what it needs something to go on, and there may be nothing left."""
        return None

    # For the proactor --------------------------------------------------------------------------------------------

    def _failure(self, result: int) -> BaseException:
        """The exception for a raw result of `-errno` other than ECANCELED."""
        error = system_error(result, type(self).__name__)
        return error

    def _set_expiry(self, now: float) -> None:
        """At submission: from when on it is to be ended, on the clock that says `now`."""
        limits = self._limits
        assert limits is not None
        expires = limits["deadline"] if "deadline" in limits else now + limits["timeout"]
        self.expires = expires if expires - now < _NEVER else None
        self.partial_bytes = 0

    def _judge_expired(self, result: int) -> int:
        """A transfer that was to be completed, and whose deadline ended it half-way, has failed: -ETIME."""
        was_ended = self._cancel_cause is CancelCause.DEADLINE_PASSED and getattr(self, "whole", False)
        if not was_ended or not self._is_short(result):
            return result
        self.partial_bytes = result
        return -errno.ETIME

    def _expiry(self) -> DeadlineExceeded:
        partial = getattr(self, "partial_bytes", 0)
        moved = f" after {partial} bytes" if partial else ""
        return DeadlineExceeded(f"{type(self).__name__} was ended by its deadline{moved}", partial)

    def _cancellation(self) -> OperationCancelled:
        cause = CancelCause.RESOURCE_CLOSED if self._resource_is_closed() else self._cancel_cause
        return OperationCancelled(f"{type(self).__name__} was cancelled: {cause.value}", cause)


#: The raw result of a software operation that failed with an exception of its own.
SOFTWARE_FAILURE: Final = -errno.EIO


class SoftwareOperation(Operation):
    """Base of the operations that our own code performs; a backend never sees one.

    What performs it calls `Proactor.finish()` with the identifier that the operation had when it began, on any thread;
    doing so twice does no harm. Everything else (exactly one completion, inside `poll()`, chains, cancellation by
    tasks) is as for all operations.
    """

    __slots__ = ("failure",)
    kind = Kind.SOFTWARE

    #: Whether the kernel can wait for it at the head of a chain (`_begin_ahead_of()`).
    leads_in_kernel: ClassVar[bool] = False
    #: The exception with which it was finished.
    failure: BaseException

    @abstractmethod
    def _begin(self, proactor: Proactor) -> None:
        """Its turn has come. Owner thread. May be called again after an interruption, for the same identifier."""

    def _begin_ahead_of(self, proactor: Proactor, following: Sequence[Operation]) -> int:
        """Begin it together with native steps behind it in a chain, so that the kernel goes on from it by itself.

        Returns how many of them were begun; 0: none, and this was not begun either. May be called again.
        """
        return 0

    def _kernel_part(self, proactor: Proactor) -> Sequence[Operation]:
        """What the kernel can do for it as soon as the native step before it has succeeded, before it begins itself.

        Prepared operations of its own, the same ones when it is asked again for one submission.
        """
        return ()

    @abstractmethod
    def _cancel(self, proactor: Proactor) -> None:
        """Withdraw it and finish it with CANCELED; if it is too late for that, do nothing. Owner thread."""

    def _failure(self, result: int) -> BaseException:
        return self.failure if result == SOFTWARE_FAILURE else super()._failure(result)
