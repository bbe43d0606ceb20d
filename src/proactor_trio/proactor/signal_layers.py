"""What a process has one of and several of ours use above each other: a signal's handler, the wakeup descriptor.

A run takes both when it begins, signal subscriptions take both when somebody subscribes, and they end in any order. Who
only remembers what was there before him, and puts it back, gives the process a handler of a run that is over or a
descriptor that is closed, which may be somebody else's file by then.

So each of them is a layer that knows what is beneath it. Taking the uppermost one off uncovers what is beneath; taking
another one off hands what is beneath it to the one above. What others have put on top since stays where it is.

Facts: Python sets both on the main thread only (signal.signal, signal.set_wakeup_fd). A forked child inherits both, and
its only thread is its main thread; there all layers are taken off, since what they lead to is the parent's.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final, Generic, TypeVar

ValueT = TypeVar("ValueT")
SignalHandler = Callable[[int, FrameType | None], object]

#: What `signal.set_wakeup_fd()` calls none.
NO_DESCRIPTOR: Final = -1
_exchange_descriptor: Final = partial(signal.set_wakeup_fd, warn_on_full_buffer=False)


class _Layer(ABC, Generic[ValueT]):
    """One value on a stack of them; `put()` and `take()` on the main thread only. Not there before `put()`."""

    __slots__ = ("_stack", "beneath", "value")

    def __init__(self, stack: list[_Layer[ValueT]], value: ValueT) -> None:
        self.value = value
        #: What is beneath it: one value, none as long as nothing was put.
        self.beneath: list[Any] = []
        self._stack = stack

    def put(self) -> None:
        """Lay it on top. Whoever is interrupted in here takes it off again."""
        self._stack.append(self)
        self._install()

    def take(self) -> None:
        """Take it off, wherever it lies. Idempotent; may be repeated after an interruption."""
        if self not in self._stack:
            return
        above = self._stack.index(self) + 1
        if above < len(self._stack):
            self._stack[above].beneath = self.beneath
        elif self.beneath:
            self._uncover(self.beneath[0])
        self._stack.remove(self)

    @abstractmethod
    def _install(self) -> None:
        """Make `value` the process's, and remember what it was before."""

    @abstractmethod
    def _uncover(self, beneath: Any) -> None:
        """Put back what was there before, unless it is somebody else's already."""


class HandlerLayer(_Layer[SignalHandler]):
    """A handler of ours for one signal."""

    __slots__ = ("_number",)

    def __init__(self, number: int, handler: SignalHandler) -> None:
        super().__init__(_handlers.setdefault(number, []), handler)
        self._number = number

    def _install(self) -> None:
        self.beneath.append(signal.getsignal(self._number))
        signal.signal(self._number, self.value)

    def _uncover(self, beneath: Any) -> None:
        if signal.getsignal(self._number) == self.value:
            signal.signal(self._number, beneath)


class WakeupLayer(_Layer[int]):
    """A descriptor to which Python writes a byte when a signal arrives, whichever thread the kernel gives it to."""

    __slots__ = ()

    def __init__(self, descriptor: int) -> None:
        super().__init__(_descriptors, descriptor)

    def _install(self) -> None:
        # One C call exchanges and remembers, so that no handler comes in between.
        self.beneath.extend(map(_exchange_descriptor, (self.value,)))

    def hides_foreign(self) -> bool:
        """Whether a descriptor that is not ours lies directly beneath it."""
        return self._stack[0] is self and self.beneath[0] != NO_DESCRIPTOR

    def _uncover(self, beneath: Any) -> None:
        try:
            current = _exchange_descriptor(beneath)
        except (OSError, ValueError):  # its owner has closed it, and the number may be another file's
            current = _exchange_descriptor(NO_DESCRIPTOR)
        if current != self.value:
            _exchange_descriptor(current)


_handlers: Final[dict[int, list[_Layer[SignalHandler]]]] = {}
_descriptors: Final[list[_Layer[int]]] = []


def _take_all() -> None:
    """In a forked child."""
    stacks: list[list[Any]] = [_descriptors, *_handlers.values()]
    for stack in stacks:
        for layer in stack[::-1]:
            layer.take()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_take_all)
