"""KeyboardInterrupt: raised where that is safe, kept until it is where it is not.

Some facts: Python runs signal handlers between two bytecodes of the main thread. An exception raised by one inside the
scheduler, or inside a library function half-way through its bookkeeping, would leave that in pieces.

So: while a run is on the main thread and SIGINT has its default handler, the handler is ours. It raises only when the
code that was interrupted is known to be fit for it, and otherwise asks the run to deliver KeyboardInterrupt to the
main task at its next checkpoint. What is fit is a flag of the task (user tasks are, system tasks are not), and for
single functions a mark on their code: `enable_ki_protection` and `disable_ki_protection`. The handler looks for the
nearest mark between the interrupted frame and the frame of the task's own function; nothing looks for marks at any
other time, so they cost nothing. Code without Python frames needs no mark: no handler runs inside it.

Marks are kept by the identity of code objects: two functions of equal text have equal code objects.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from proactor_trio._kernel.context import CONTEXT, running_task
from proactor_trio.proactor.signal_layers import HandlerLayer

if TYPE_CHECKING:
    from proactor_trio._kernel.run import Run


FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_marks: dict[int, tuple[weakref.ref[CodeType], bool]] = {}


def _mark(function: FunctionT, protected: bool) -> FunctionT:
    target: Any = function
    while hasattr(target, "__wrapped__"):
        target = target.__wrapped__
    if not hasattr(target, "__code__"):
        raise TypeError(f"function must be a Python function, not {type(function).__name__}")
    # Of its own, so that the mark does not reach other functions made from the same `def`.
    code = target.__code__ = target.__code__.replace()
    identity = id(code)
    _marks[identity] = (weakref.ref(code, lambda _: _marks.pop(identity, None)), protected)
    return function


def enable_ki_protection(function: FunctionT, /) -> FunctionT:
    """Decorate a function (plain, async or generator) so that KeyboardInterrupt is never raised inside it."""
    return _mark(function, True)


def disable_ki_protection(function: FunctionT, /) -> FunctionT:
    """Decorate a function so that KeyboardInterrupt may be raised inside it, also below a protected caller."""
    return _mark(function, False)


def _protection_of(code: CodeType) -> bool | None:
    entry = _marks.get(id(code))
    return None if entry is None or entry[0]() is not code else entry[1]


def is_protected(frame: FrameType | None) -> bool:
    """Whether KeyboardInterrupt must not be raised in code that runs in `frame` now."""
    task = running_task()
    if task is None:
        run = CONTEXT.run
        mark = _nearest_mark(frame, None)
        return bool(mark) if run is None or run.host_has_thread else mark is not False
    mark = _nearest_mark(frame, getattr(task.coro, "cr_frame", None))
    return task.ki_protected if mark is None else mark


def _nearest_mark(frame: FrameType | None, last: FrameType | None) -> bool | None:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True  # a finaliser runs at any place, and what it raises is lost
        mark = _protection_of(frame.f_code)
        if mark is not None or frame is last:
            return mark
        frame = frame.f_back
    return None


def currently_ki_protected() -> bool:
    """Whether KeyboardInterrupt would be kept back if SIGINT arrived in the calling code now."""
    import sys

    frame = sys._getframe(1)
    if CONTEXT.run is None:
        mark = _nearest_mark(frame, None)
        return bool(mark)
    return is_protected(frame)


class InterruptHandler:
    """Our SIGINT handler for the length of a run on the main thread."""

    __slots__ = ("_layer", "_only_at_checkpoints", "_run")

    def __init__(self, run: Run, only_at_checkpoints: bool) -> None:
        self._run = run
        self._only_at_checkpoints = only_at_checkpoints
        self._layer: HandlerLayer | None = None

    def install(self) -> None:
        """Take SIGINT over, if this is the main thread and nobody else has a handler of their own."""
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._layer = HandlerLayer(signal.SIGINT, self._handle)
            self._layer.put()

    def remove(self) -> None:
        """Give SIGINT back, unless somebody has taken it since."""
        if self._layer is not None:
            self._layer.take()
            self._layer = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if CONTEXT.run is not self._run:
            raise KeyboardInterrupt  # between two runs, or in a nested one that keeps no handler
        if self._only_at_checkpoints or is_protected(frame):
            self._run.deliver_interrupt()
        else:
            raise KeyboardInterrupt
