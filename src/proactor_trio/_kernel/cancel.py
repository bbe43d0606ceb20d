"""Cancel scopes and the exception that carries a cancellation.

The tree is made of pointers upward only: a scope knows its parent, a task its innermost scope, a nursery its own scope
and its tasks. Entering and leaving a scope is a few assignments; a cancellation, which is rare, walks down through the
tasks that can be inside.

Rules:

1. `effective` of a scope says whether code directly inside it is to be cancelled: it was cancelled itself, or its
   parent is effective and it is no shield. It is kept up to date by `_spread()`, never computed when it is asked for.
2. `task.cancel_pending` is `effective` of its innermost scope (or a KeyboardInterrupt that waits). Each checkpoint
   looks at this one flag.
3. Cancellation is level-triggered: it is raised again at each checkpoint until the scope is left.
4. A scope absorbs Cancelled when it is effective and would not be by its parent alone.
5. Scopes are left in the reverse order of their entering, by the task that entered them. Leaving them otherwise (a
   scope around the `yield` of a generator) is found out, repaired as far as possible, and reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, final

from proactor_trio._kernel.context import CONTEXT, current_task, running_task
from proactor_trio._kernel.interrupts import enable_ki_protection

if TYPE_CHECKING:
    from proactor_trio._kernel.deadlines import Entry
    from proactor_trio._kernel.task import Task

CancelSource = Literal["deadline", "explicit", "nursery", "shutdown", "KeyboardInterrupt", "unknown"]

_inf: Final = math.inf

MISNESTING_ADVICE: Final = (
    "This is probably a bug in your code that left a scope or nursery in another order, or by another task, than it "
    "was entered. The usual cause is a `yield` inside of one, in a generator that is no context manager or fixture."
)


def scope_misnested(what_happened: str) -> RuntimeError:
    """The error for cancel scopes that were not left in the reverse order of their entering."""
    return RuntimeError(f"Cancel scope stack corrupted: {what_happened}\n{MISNESTING_ADVICE}")


def nursery_misnested(what_happened: str) -> RuntimeError:
    """The error for nurseries that were not left in the reverse order of their opening."""
    return RuntimeError(f"Nursery stack corrupted: {what_happened}\n{MISNESTING_ADVICE}")


class _NoPublicConstructor(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        if any(isinstance(base, _NoPublicConstructor) for base in bases):
            raise TypeError(f"{bases[0].__name__} does not support subclassing")
        return super().__new__(mcs, name, bases, namespace)

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(f"{cls.__module__}.{cls.__qualname__} has no public constructor")

    def _create(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


@final
class Cancelled(BaseException, metaclass=_NoPublicConstructor):
    """Raised in a task at a checkpoint when a scope around it was cancelled. Let it pass.

    source: "deadline", "explicit", "nursery", "shutdown", "KeyboardInterrupt" or "unknown".
    source_task: a description of the task that caused it, where there is one.
    reason: words given to `CancelScope.cancel()`.
    """

    source: CancelSource
    source_task: str | None
    reason: str | None

    def __init__(self, *, source: CancelSource, source_task: str | None = None, reason: str | None = None) -> None:
        super().__init__()
        self.source = source
        self.source_task = source_task
        self.reason = reason

    def __str__(self) -> str:
        text = f"cancelled due to {self.source}"
        if self.reason is not None:
            text += f" with reason {self.reason!r}"
        if self.source_task is not None:
            text += f" from task {self.source_task}"
        return text

    def __repr__(self) -> str:
        return f"Cancelled(source={self.source!r}, source_task={self.source_task!r}, reason={self.reason!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _recreate_cancelled, (self.source, self.source_task, self.reason)


def _recreate_cancelled(source: CancelSource, source_task: str | None, reason: str | None) -> Cancelled:
    cancelled: Cancelled = Cancelled._create(source=source, source_task=source_task, reason=reason)
    return cancelled


class CancelReason:
    """Why a scope was cancelled; makes the Cancelled that says so."""

    __slots__ = ("reason", "source", "source_task")

    def __init__(self, source: CancelSource, source_task: str | None = None, reason: str | None = None) -> None:
        self.source: CancelSource = source
        self.source_task = source_task
        self.reason = reason

    def exception(self) -> Cancelled:
        return _recreate_cancelled(self.source, self.source_task, self.reason)


DEADLINE_REASON: Final = CancelReason("deadline")
UNKNOWN_REASON: Final = CancelReason("unknown")


class CancelScope:
    """A block of code that can be cancelled, by a deadline or by a call.

    deadline: the time of `current_time()` at which the block is cancelled.
    relative_deadline: the same in seconds from the entering of the block; give one of the two.
    shield: keep cancellations of outer scopes out; its own still work.

    Used in one `with` block, once. May be made, cancelled and changed before it is entered and from other tasks of the
    same run. Not thread-safe.
    """

    __slots__ = (
        "__weakref__",
        "_abandoned",
        "_cancel_called",
        "_deadline",
        "_entry",
        "_exited",
        "_parent",
        "_reason",
        "_relative_deadline",
        "_shield",
        "_task",
        "cancelled_caught",
        "effective",
    )

    def __init__(self, *, relative_deadline: float = _inf, deadline: float = _inf, shield: bool = False) -> None:
        if deadline != deadline or relative_deadline != relative_deadline:
            raise ValueError(f"{'deadline' if deadline != deadline else 'relative_deadline'} must not be NaN")
        if relative_deadline < 0:
            raise ValueError("relative_deadline must be non-negative")
        if relative_deadline != _inf and deadline != _inf:
            raise ValueError("both deadline and relative_deadline given; give one of them")
        if shield is not True and shield is not False:
            raise TypeError(f"shield must be a bool, not {type(shield).__name__}")
        self._deadline = deadline
        self._relative_deadline = relative_deadline
        self._shield = shield
        self._cancel_called = False
        self._reason: CancelReason | None = None
        self._parent: CancelScope | None = None
        self._task: Task | None = None
        self._entry: Entry | None = None
        self._exited = False
        self._abandoned = False
        self.effective = False
        self.cancelled_caught = False

    # Entering and leaving ----------------------------------------------------------------------------------------

    @enable_ki_protection
    def __enter__(self) -> CancelScope:
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        if self._task is not None:
            raise RuntimeError("Each CancelScope may only be used for a single 'with' block")
        task = self._task = run.task
        parent = self._parent = task.scope
        assert parent is not None
        task.scope = self
        if self._relative_deadline != _inf:
            self._deadline = run.current_time() + self._relative_deadline
            if self._relative_deadline == 0:
                self._mark_cancelled(DEADLINE_REASON)
            self._relative_deadline = _inf
        elif self._deadline != _inf and self._deadline <= run.current_time():
            self._mark_cancelled(DEADLINE_REASON)
        if self._cancel_called:
            self.effective = True
        elif self._deadline != _inf:
            self._entry = run.deadlines.add(self._deadline, self)
        if parent.effective and not self._shield:
            self.effective = True
            if self._reason is None:
                self._reason = parent._reason
        if self.effective != parent.effective:
            task.update_cancel_pending()
        return self

    @enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        remaining = self.close(error)
        if remaining is None:
            return True
        if remaining is error:
            return False
        _raise_with_own_context(remaining)

    @enable_ki_protection
    def close(self, error: BaseException | None) -> BaseException | None:
        """Leave the scope with `error`; return what is left of it instead of raising. For nurseries."""
        run = CONTEXT.run
        task = None if run is None else run.task
        if task is None or task is not self._task or task.scope is not self:
            error = self._leave_misnested(task, error)
            task = self._task
            assert task is not None
        else:
            task.scope = self._parent
        self._exited = True
        if self._entry is not None:
            task.run.deadlines.discard(self._entry)
            self._entry = None
        if self.effective or self._shield:
            task.update_cancel_pending()
        parent = self._parent
        if error is None or not self.effective or parent is None or (parent.effective and not self._shield):
            return error
        remaining = remove_cancelled(error)
        if remaining is not error:
            self.cancelled_caught = True
        return remaining

    def _leave_misnested(self, task: Task | None, error: BaseException | None) -> BaseException | None:
        """Repair as far as possible: the scopes inside this one are given up; return what is to be raised."""
        if self._abandoned and not self._exited:
            return error  # it was reported when the scope around it was left
        if self._task is None:
            complaint = scope_misnested(f"attempted to exit {self!r}, which was never entered")
        elif self._exited:
            complaint = scope_misnested(f"attempted to exit {self!r}, which had already been exited")
        elif task is None or self not in task.scopes():
            complaint = scope_misnested(f"attempted to exit {self!r} from unrelated {task!r}")
        else:
            complaint = scope_misnested(f"{task!r} attempted to exit {self!r} still within its child {task.scope!r}")
            complaint.__context__ = error
            for scope in task.scopes_up_to(self):
                scope._abandoned = scope is not self
            if task is self._task:
                task.scope = self._parent
            return complaint
        complaint.__context__ = error
        raise complaint

    # Cancelling --------------------------------------------------------------------------------------------------

    @enable_ki_protection
    def cancel(self, reason: str | None = None) -> None:
        """Cancel the block: at once, for good. Idempotent; of several reasons the first counts."""
        if self._cancel_called:
            return
        task = running_task()
        self._mark_cancelled(CancelReason("explicit", None if task is None else repr(task), reason))
        self._spread()

    def expire(self) -> None:
        """For the heap of deadlines: the deadline has come."""
        self.cancel_because(DEADLINE_REASON)

    def is_over(self) -> bool:
        """For the heap of deadlines: a scope that is left takes its entry with it."""
        return False

    def cancel_because(self, reason: CancelReason) -> None:
        """`cancel()` with a reason that the library makes."""
        if not self._cancel_called:
            self._mark_cancelled(reason)
            self._spread()

    def _mark_cancelled(self, reason: CancelReason) -> None:
        self._cancel_called = True
        if self._reason is None:
            self._reason = reason
        if self._entry is not None:
            assert self._task is not None
            self._task.run.deadlines.discard(self._entry)
            self._entry = None

    @property
    def deadline_passed(self) -> bool:
        """Whether its own deadline, before anything else, has cancelled it."""
        return self._reason is DEADLINE_REASON

    @property
    def cancel_called(self) -> bool:
        """Whether it was cancelled, by a call or because its deadline has passed (which is looked at now)."""
        if not (self._cancel_called or self._exited or self._deadline == _inf):
            run = CONTEXT.run if self._task is None else self._task.run
            if run is not None and self._deadline <= run.current_time():
                self.cancel_because(DEADLINE_REASON)
        return self._cancel_called

    def _spread(self) -> None:
        """Bring `effective` of this scope and of everything inside up to date, and deliver what became due."""
        if self._task is None or self._exited:
            return
        to_visit: list[tuple[Task, CancelScope]] = [(self._task, self)]
        while to_visit:
            task, top = to_visit.pop()
            chain = list(task.scopes_up_to(top))
            if chain[-1] is not top:
                chain = [top]  # an abandoned scope: the task is not inside any more, others may be
            for scope in reversed(chain):
                scope._update_effective()
            task.update_cancel_pending()
            if task.cancel_pending:
                task.deliver_cancellation()
            inside = set(chain)
            for nursery in task.nurseries:
                if nursery.cancel_scope in inside:
                    to_visit.extend((child, nursery.cancel_scope) for child in nursery.children)

    def _update_effective(self) -> None:
        parent = self._parent
        if self._cancel_called:
            self.effective = True
        elif parent is not None:
            self.effective = parent.effective and not self._shield
            if not self.effective:
                self._reason = None
        if self.effective and self._reason is None and parent is not None:
            self._reason = parent._reason

    def reason_or_unknown(self) -> CancelReason:
        """Why code inside is cancelled."""
        return self._reason or UNKNOWN_REASON

    def adopt(self, parent: CancelScope) -> None:
        """Hang this scope below another one: its task moves to another nursery."""
        self._parent = parent
        self._spread()

    # Properties --------------------------------------------------------------------------------------------------

    @property
    def exited(self) -> bool:
        """Whether its block has ended."""
        return self._exited

    @property
    def parent(self) -> CancelScope | None:
        """The scope around this one."""
        return self._parent

    @property
    def deadline(self) -> float:
        """The time at which it is cancelled, infinite for never. May be set at any time, also while tasks wait.

        Raises RuntimeError while the scope has a relative deadline and is not entered.
        """
        if self._relative_deadline != _inf:
            raise RuntimeError("this scope has no absolute deadline before it is entered: it was given a relative one")
        return self._deadline

    @deadline.setter
    def deadline(self, new_deadline: float) -> None:
        if new_deadline != new_deadline:
            raise ValueError("deadline must not be NaN")
        if self._relative_deadline != _inf:
            raise RuntimeError(
                "an absolute deadline cannot be set before this scope is entered: it was given a relative one"
            )
        self._set_deadline(float(new_deadline))

    @property
    def relative_deadline(self) -> float:
        """Seconds until the deadline; before the scope is entered, counted from then."""
        if self._task is not None:
            return self._deadline - self._task.run.current_time()
        if self._deadline != _inf:
            raise RuntimeError("this scope has no relative deadline before it is entered: it was given an absolute one")
        return self._relative_deadline

    @relative_deadline.setter
    def relative_deadline(self, seconds: float) -> None:
        if seconds != seconds:
            raise ValueError("relative_deadline must not be NaN")
        if seconds < 0:
            raise ValueError("relative_deadline must be non-negative")
        if self._task is not None:
            self._set_deadline(self._task.run.current_time() + seconds)
        elif self._deadline != _inf:
            raise RuntimeError(
                "a relative deadline cannot be set before this scope is entered: it was given an absolute one"
            )
        else:
            self._relative_deadline = seconds

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        task = self._task
        if task is None or self._exited or self._cancel_called:
            return
        if self._entry is not None:
            task.run.deadlines.discard(self._entry)
            self._entry = None
        if deadline != _inf:
            self._entry = task.run.deadlines.add(deadline, self)

    @property
    def is_relative(self) -> bool | None:
        """Whether the deadline is relative; None once the scope was entered, since then it is absolute."""
        return None if self._task is not None else self._relative_deadline != _inf

    @property
    def shield(self) -> bool:
        """Whether cancellations of outer scopes are kept out. May be set at any time, with effect at once."""
        return self._shield

    @shield.setter
    @enable_ki_protection
    def shield(self, new_shield: bool) -> None:
        if new_shield is not True and new_shield is not False:
            raise TypeError(f"shield must be a bool, not {type(new_shield).__name__}")
        self._shield = new_shield
        self._spread()

    def __repr__(self) -> str:
        if self._task is None:
            state = "unbound"
        elif self._exited:
            state = "exited"
        else:
            state = "active"
        if self._cancel_called:
            state += ", cancelled"
        elif self._deadline != _inf:
            state += f", deadline is {self._describe_deadline()}"
        elif self._relative_deadline != _inf:
            state += f", relative deadline is {self._relative_deadline:.2f} seconds"
        return f"<proactor_trio.CancelScope at {id(self):#x}, {state}>"

    def _describe_deadline(self) -> str:
        run = CONTEXT.run
        if run is None:
            return f"{self._deadline:.2f}"
        left = self._deadline - run.current_time()
        return f"{abs(left):.2f} seconds {'from now' if left >= 0 else 'ago'}"

    def __init_subclass__(cls) -> None:
        raise TypeError("CancelScope does not support subclassing")


def remove_cancelled(error: BaseException) -> BaseException | None:
    """What is left of an exception without the Cancelled in it; the same object if there is none in it."""
    if isinstance(error, Cancelled):
        return None
    if not isinstance(error, BaseExceptionGroup):
        return error
    cancelled, rest = error.split(Cancelled)
    if cancelled is None:
        return error
    return None if rest is None else unwrap_loose_group(rest)


LOOSE_GROUP_NOTE: Final = "This group is loose (strict_exception_groups=False): it vanishes when one exception is left."


def unwrap_loose_group(error: BaseException) -> BaseException:
    """Replace groups of one exception by that exception, as far as they are marked as loose."""
    while (
        isinstance(error, BaseExceptionGroup)
        and len(error.exceptions) == 1
        and LOOSE_GROUP_NOTE in getattr(error, "__notes__", ())
    ):
        error = error.exceptions[0]
    return error


def _raise_with_own_context(error: BaseException) -> NoReturn:
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context


def current_effective_deadline() -> float:
    """The earliest deadline that holds for the code that calls: -inf if it is cancelled, inf if there is none."""
    task = current_task()
    assert task.scope is not None
    if task.scope.effective:
        return -_inf
    return min(_visible_deadlines(task.scope), default=_inf)


def _visible_deadlines(scope: CancelScope | None) -> Iterator[float]:
    while scope is not None:
        yield scope._deadline
        if scope._shield:
            return
        scope = scope._parent
