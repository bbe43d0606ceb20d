"""Lease: the right to one buffer of a pool, until it is given back.

The rule: whoever keeps using a buffer that is no longer his gets an error, and never another's bytes. A lease has a
view of its own (views.py says why that takes two levels), made when somebody asks for it. Giving it back releases that
view, so its use raises ValueError. A slice of it, an array made from it, or an operation in flight on it would live on:
then giving back is refused with BufferError, and the buffer stays out of the pool. The object that was `view` is over
in this case too, since the refusal is found out by releasing it; the lease has a new one.

Giving back twice is giving back once, also by two threads at a time, and also while a third makes the view: whatever
decides is done by statements that make no call, between which the interpreter switches no thread and runs no signal
handler.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pickle import PickleBuffer
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from proactor_trio.proactor.memory.span import Span

if TYPE_CHECKING:
    from proactor_trio.proactor.memory.region import Region

LeaseT = TypeVar("LeaseT", bound="Lease")


class Lease(ABC):
    """One buffer of a pool. Use it as a context manager, or call `release()`. Any thread.

    index: its number in the slab.
    """

    __slots__ = ("__weakref__", "_held", "_inner", "_view", "index")

    index: int
    _held: bool
    #: The view, once somebody has asked for it, and the first-level view by which it is taken back.
    _view: memoryview | None
    _inner: memoryview

    @property
    @abstractmethod
    def region(self) -> Region | None:
        """The region that the pool lends from."""

    @abstractmethod
    def _buffer(self) -> memoryview:
        """A new first-level view of the buffer."""

    @abstractmethod
    def _offset(self) -> int:
        """Where in the region the buffer begins."""

    @property
    def view(self) -> memoryview:
        """Its memory, until it is released; then ValueError, from here or from the use of what was got before."""
        view = self._view
        return self._make_view() if view is None else view

    def _make_view(self) -> memoryview:
        if self._held:
            inner = self._buffer()
            view = memoryview(PickleBuffer(inner))
            if self._held and self._view is None:
                # One step: see above.
                self._inner = inner
                self._view = view
                return view
            view.release()
            inner.release()
            if self._view is not None:  # another thread was faster
                return self._view
        raise ValueError(f"{self!r} has no memory any more")

    @property
    def released(self) -> bool:
        """Whether it was given back."""
        return not self._held

    @property
    def span(self) -> Span:
        """The buffer, to be given to operations."""
        return self.span_of(0, None)

    def span_of(self, offset: int, length: int | None = None) -> Span:
        """A part of the buffer, to be given to operations. Raises ValueError after release and outside of it."""
        return Span.within(self, self.region, 0, self._offset(), self.view.nbytes).sub(offset, length)

    @abstractmethod
    def release(self) -> None:
        """Give the buffer back. Idempotent; after the first time it does nothing.

        Raises BufferError, and the buffer stays leased, while slices or other uses of `view` exist or an operation in
        flight uses it: release them, then call it again.
        """

    def _end_views(self) -> None:
        """Release the views, so that nobody can reach the buffer any more. May be done again after an interruption."""
        view = self._view
        if view is None:
            return
        try:
            view.release()
        except BufferError:
            raise BufferError(f"{self!r} is not given back: objects that were made from its view exist") from None
        try:
            self._inner.release()
        except BufferError:
            self._view = memoryview(PickleBuffer(self._inner))
            raise BufferError(
                f"{self!r} is not given back: slices of its view exist, or an operation in flight uses it"
            ) from None

    def __enter__(self: LeaseT) -> LeaseT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.release()
        except BufferError:
            if error is None:  # else it is not hidden behind this one; the dropped lease gives the buffer back
                raise

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of buffer {self.index}{'' if self._held else ', released'}>"

    def _warn_dropped(self, _warn: Any = warnings.warn) -> None:
        _warn(f"unreleased {self!r}", ResourceWarning, source=self)
