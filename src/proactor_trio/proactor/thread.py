"""ProactorThread: a thread that does nothing but poll a proactor.

A chain in the kernel goes on only when the owner of its ring enters, so work that must not wait for a busy program gets
a proactor, and a thread, of its own. Everybody else hands it operations by `submit()`, which is for any thread; what
belongs to the owner thread is handed over by `Proactor.post()`.

Its life: start, bind itself to its affinity, make the proactor (then the ring's memory is made there too) or take the
one that was given, poll. When it is stopped it closes the proactor, which cancels what is pending and delivers every
final completion, all on this thread.

Errors of completion functions go to the error callback, and the thread goes on; one that the callback raises, and every
error where there is no callback, stops the thread and is raised by `join()`: no error stays unseen, and none is met by
operations that are begun after it.

The thread's own code holds no reference to the ProactorThread, so that one that is dropped while it runs is noticed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from proactor_trio.proactor.affinity import Affinity, bind_thread
from proactor_trio.proactor.errors import FailedPrecondition
from proactor_trio.proactor.options import ProactorOptions, ThreadingMode
from proactor_trio.proactor.proactor import Proactor

ErrorCallback = Callable[[Exception], object]


class ProactorRunner(Protocol):
    """What polls a proactor on behalf of others: a ProactorThread, or something of the caller's (for ProactorPool)."""

    @property
    def proactor(self) -> Proactor:
        """The proactor that it polls."""
        ...

    def request_stop(self) -> None:
        """Ask it to end. Any thread; does not wait."""
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False: the time was over first. Raises what nobody has been told of."""
        ...


class ProactorThread:
    """Polls a proactor on a thread of its own, from its creation on, until `request_stop()`.

    proactor: one with ThreadingMode.CROSS_THREAD that nobody has polled; it belongs to the thread from now on and is
        closed by it. None: the thread makes one from `backend` and `options`, as `Proactor()` does.
    affinity: an Affinity or processor numbers to which the thread binds itself, its threads for files too; None: none.
    poll_timeout: seconds that one poll waits at most; None: until something happens. `request_stop()` ends it anyway.
    error_callback: called on the thread as `error_callback(error)` with each error that completion functions raise.
        Without it the first one stops the thread and is raised by `join()`.
    debug_name: the name of the thread, and of the proactor that it makes where its options give none.

    Raises ValueError for an affinity that this machine lacks, FailedPrecondition for a proactor that has an owner,
    BackendUnavailable and whatever else making a proactor raises; then no thread is left, and a proactor that was given
    is as it was. The program does not end before the thread has: stop it, or use it as a context manager.
    """

    __slots__ = ("__weakref__", "_polling", "_thread", "affinity")

    def __init__(
        self,
        proactor: Proactor | None = None,
        *,
        backend: str | None = None,
        options: ProactorOptions | None = None,
        affinity: Affinity | Collection[int] | None = None,
        poll_timeout: float | None = None,
        error_callback: ErrorCallback | None = None,
        debug_name: str = "",
    ) -> None:
        if proactor is not None:
            _check_can_be_taken(proactor, backend, options)
        if not isinstance(poll_timeout, int | float | None):
            raise TypeError(f"poll_timeout must be seconds or None, not {type(poll_timeout).__name__}")
        if poll_timeout is not None and not poll_timeout > 0:
            raise ValueError(f"poll_timeout must be positive seconds or None, not {poll_timeout}")
        if error_callback is not None and not callable(error_callback):
            raise TypeError(f"error_callback must be callable or None, not {type(error_callback).__name__}")
        #: Where it runs; None: anywhere.
        self.affinity = affinity
        processors = affinity.processors if isinstance(affinity, Affinity) else affinity
        self._polling = _Polling(proactor, backend, options, processors, poll_timeout, error_callback, debug_name)
        self._thread = threading.Thread(target=self._polling.run, name=debug_name or "proactor", daemon=False)
        try:
            self._thread.start()
            self._polling.begun.wait()
        except BaseException:
            self._polling.request_stop()
            raise
        if self._polling.refusal is not None:
            self._thread.join()
            refusal = self._polling.refusal
            self._polling.refusal = None
            try:
                raise refusal
            finally:
                del refusal  # its traceback holds this frame: no cycle

    @property
    def proactor(self) -> Proactor:
        """The proactor that it polls, and that it has closed when it has ended."""
        proactor = self._polling.proactor
        assert proactor is not None
        return proactor

    @property
    def name(self) -> str:
        """The name of the thread."""
        return self._thread.name

    @property
    def identifier(self) -> int:
        """What `threading.get_ident()` says on the thread."""
        identifier = self._thread.ident
        assert identifier is not None
        return identifier

    @property
    def is_running(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def request_stop(self) -> None:
        """Ask the thread to end. Any thread, also a signal handler; does not wait; idempotent."""
        self._polling.request_stop()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended, for `timeout` seconds at most. Returns whether it has.

        Raises, once, the error that stopped it and those of completion functions that were delivered while it ended,
        several as an ExceptionGroup. Any thread but its own, which gets FailedPrecondition.
        """
        if self._thread is threading.current_thread():
            raise FailedPrecondition("join() was called on the ProactorThread's own thread")
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self._polling.raise_kept()
        return True

    def close(self) -> None:
        """`request_stop()` and `join()`. Idempotent."""
        self.request_stop()
        self.join()

    def __enter__(self) -> ProactorThread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "ended"
        return f"<ProactorThread {self.name}, {state}, {self._polling.proactor!r}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        thread: threading.Thread | None = getattr(self, "_thread", None)
        if thread is not None and thread.is_alive() and not self._polling.stop_requested:
            try:
                _warn(f"dropped while running: {self!r}", ResourceWarning, source=self)
            finally:  # where warnings are errors, too
                self._polling.request_stop()


def _check_can_be_taken(proactor: Proactor, backend: str | None, options: ProactorOptions | None) -> None:
    if not isinstance(proactor, Proactor):
        raise TypeError(f"proactor must be a Proactor or None, not {type(proactor).__name__}")
    if backend is not None or options is not None:
        raise TypeError("backend and options are for a proactor that the thread makes itself")
    if proactor.options.threading_mode is not ThreadingMode.CROSS_THREAD:
        raise FailedPrecondition("proactor: only one with ThreadingMode.CROSS_THREAD can be polled by another thread")
    if proactor.is_closed:
        raise FailedPrecondition("proactor: it is closed")
    if proactor._owner is not None:
        raise FailedPrecondition(f"proactor: it belongs to thread {proactor._owner} already")


class _Polling:
    """What the thread does. `begun`: it polls, or has failed to: then `refusal` says why."""

    def __init__(
        self,
        proactor: Proactor | None,
        backend: str | None,
        options: ProactorOptions | None,
        processors: Collection[int] | None,
        poll_timeout: float | None,
        error_callback: ErrorCallback | None,
        debug_name: str,
    ) -> None:
        self.proactor = proactor
        self.begun = threading.Event()
        self.refusal: BaseException | None = None
        self.stop_requested = False
        self._backend = backend
        self._options = ProactorOptions() if options is None else options
        if not self._options.debug_name:
            self._options = replace(self._options, debug_name=debug_name)
        self._processors = processors
        self._poll_timeout = poll_timeout
        self._error_callback = error_callback
        self._kept: list[BaseException] = []

    def request_stop(self) -> None:
        self.stop_requested = True
        if self.proactor is not None:
            self.proactor.wake()

    def run(self) -> None:
        """The thread."""
        try:
            proactor = self._begin()
        except BaseException as error:
            self.refusal = error
            return
        finally:
            self.begun.set()
        try:
            poll = partial(proactor.poll, self._poll_timeout)
            while True:
                if self.stop_requested:
                    break
                self._do(poll)
        except BaseException as error:
            self._kept.append(error)
        self.stop_requested = True
        self._close(proactor)

    def _begin(self) -> Proactor:
        if self._processors:
            bind_thread(self._processors)
        if self.proactor is None:
            self.proactor = Proactor(self._backend, self._options)
        self.proactor.own("ProactorThread")
        return self.proactor

    def _do(self, work: Callable[[], object]) -> None:
        """Raises what nobody is told of."""
        try:
            work()
        except Exception as error:
            if self._error_callback is None:
                raise
            self._error_callback(error)

    def _close(self, proactor: Proactor) -> None:
        try:
            self._do(proactor.close)
        except BaseException as error:
            self._kept.append(error)

    def raise_kept(self) -> None:
        kept = self._kept
        self._kept = []
        if not kept:
            return
        error = kept[0] if len(kept) == 1 else BaseExceptionGroup("a ProactorThread was stopped by errors", kept)
        del kept
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: no cycle
