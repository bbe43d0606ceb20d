"""Signals of the process, delivered as callbacks inside `poll()`.

Facts: a blocked signal mask is inherited by threads and children, so a program that reads its signals from a signalfd
starts children that ignore SIGTERM, and its older threads still take signals that it waits for. Python runs signal
handlers on its main thread only, between two bytecodes. A wait in the kernel is interrupted only if the kernel gave the
signal to that very thread; and a signal that comes just before the wait interrupts nothing.

So while somebody is subscribed to a signal its handler is one of Python's, which posts the callbacks to the proactor,
and the wakeup descriptor of Python is the proactor's, which ends its wait in every case. Nothing is ever blocked here.
With the last subscription of a signal what was there before is back, and the signal may be subscribed to again.

Rules:

* One proactor of the process owns the signals, from its first subscription until its last one ends or it is closed.
* It is polled by the main thread. Another thread's proactor could be told of signals as well, but its end on that
  thread could not put the handlers back. `ProactorThread.request_stop()` and `Proactor.post()` may be called by a
  handler that the program installs itself.
* What the program has blocked (`signal_block_default()`) is unblocked on the main thread while it is subscribed to.
"""

from __future__ import annotations

import signal as stdlib_signal
import threading
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Final

from proactor_trio.proactor import forking
from proactor_trio.proactor.errors import FailedPrecondition, Unimplemented
from proactor_trio.proactor.incoming import Repeatable
from proactor_trio.proactor.signal_layers import HandlerLayer, WakeupLayer

if TYPE_CHECKING:
    from proactor_trio.proactor.proactor import Proactor


class Signal(Enum):
    """The signals that can be subscribed to; Windows has the first two."""

    INTERRUPT = 1
    TERMINATE = 2
    HANGUP = 3
    QUIT = 4
    USER1 = 5
    USER2 = 6

    @property
    def number(self) -> int:
        """What the operating system calls it. Raises Unimplemented where there is no such signal."""
        number = getattr(stdlib_signal, _SYSTEM_NAMES[self], None)
        if number is None:
            raise Unimplemented(f"signal {self.name}: this system has no {_SYSTEM_NAMES[self]}")
        return int(number)


_SYSTEM_NAMES: Final = {
    Signal.INTERRUPT: "SIGINT",
    Signal.TERMINATE: "SIGTERM",
    Signal.HANGUP: "SIGHUP",
    Signal.QUIT: "SIGQUIT",
    Signal.USER1: "SIGUSR1",
    Signal.USER2: "SIGUSR2",
}

SignalCallback = Callable[["SignalSubscription", Signal], object]


def signal_name(signal: Signal | int) -> str:
    """ "INTERRUPT" and so on for a Signal or its value, "UNKNOWN" for anything else. Any thread."""
    try:
        return Signal(signal).name
    except ValueError:
        return "UNKNOWN"


class SignalSubscription:
    """A callback for each time that a signal arrives, until `close()`. Main thread only, which has to poll `proactor`.

    callback: called as `callback(subscription, signal)` inside `poll()`, not counted by it. Several subscriptions of
        one signal are called in the order in which they were made. Signals that arrive before a callback was called are
        one. What it raises is raised by that `poll()` after everything else. It may close any subscription.

    Raises FailedPrecondition on another thread, for a proactor that another thread polls, while another proactor owns
    the signals, and for a signal whose handler was not installed by Python; Unimplemented for a signal that the system
    lacks; TypeError for what is no Signal. An open subscription keeps its proactor alive.
    """

    __slots__ = ("__weakref__", "_callback", "_is_due", "_owner", "signal")

    def __init__(self, proactor: Proactor, signal: Signal, callback: SignalCallback) -> None:
        if not isinstance(signal, Signal):
            raise TypeError(f"signal must be a Signal, not {signal!r}")
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        self.signal = signal
        self._callback = callback
        self._is_due = False
        self._owner: _Owner | None = None
        owner = _owner_for(proactor, signal)
        try:
            self._owner = owner  # a signal may come while it is being added
            owner.add(self)
            proactor.attach(self)
        except BaseException:
            owner.remove(self)
            self._owner = None
            raise

    @property
    def is_active(self) -> bool:
        """Whether it is called when the signal arrives."""
        return self._owner is not None

    def notify(self) -> None:
        """The signal has arrived. Called by the signal handler."""
        owner = self._owner
        if owner is None or self._is_due:
            return
        try:
            self._is_due = True
            owner.proactor.post(Repeatable(self._deliver))
        except BaseException:  # another handler raised: the flag must not stand for a call that was not posted
            self._is_due = False
            raise

    def _deliver(self) -> None:
        if not self._is_due:
            return  # made again after an interruption: the callback was called
        self._is_due = False
        if self._owner is not None:
            self._callback(self, self.signal)

    def close(self) -> None:
        """Call it no more, from now on; idempotent. With the last one of a signal its former handling is back."""
        owner = self._owner
        if owner is None:
            return
        owner.proactor.check_owner("SignalSubscription.close()")
        owner.remove(self)
        self._owner = None
        owner.proactor.detach(self)

    def proactor_closing(self) -> None:
        """See Attachment."""
        self.close()

    def proactor_closed(self) -> None:
        """See Attachment."""

    def abandon(self) -> None:
        """In a forked child: it is the parent's."""
        self._owner = None

    def __repr__(self) -> str:
        return f"<SignalSubscription to {self.signal.name}, {'active' if self.is_active else 'closed'}>"


class _Route:
    """One signal that is subscribed to: what the process does with it, and who is told. Main thread."""

    __slots__ = ("_handler", "_number", "_was_blocked", "subscriptions")

    def __init__(self, signal: Signal) -> None:
        self.subscriptions: list[SignalSubscription] = []
        self._number = signal.number
        self._handler = HandlerLayer(self._number, self._handle)
        self._was_blocked = False

    def open(self) -> None:
        self._handler.put()
        if hasattr(stdlib_signal, "pthread_sigmask"):
            self._was_blocked = self._number in stdlib_signal.pthread_sigmask(stdlib_signal.SIG_BLOCK, ())
            if self._was_blocked:
                stdlib_signal.pthread_sigmask(stdlib_signal.SIG_UNBLOCK, (self._number,))

    def close(self) -> None:
        if self._was_blocked:
            stdlib_signal.pthread_sigmask(stdlib_signal.SIG_BLOCK, (self._number,))
        self._handler.take()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        subscriptions = self.subscriptions
        if subscriptions:
            for subscription in subscriptions[:]:
                subscription.notify()
        else:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """Somebody has put back a handler that he found while there were subscriptions. A signal is never swallowed."""
        stdlib_signal.signal(number, self._handler.beneath[0])
        stdlib_signal.raise_signal(number)


class _Owner:
    """The proactor that owns the signals of the process, and its subscriptions. Main thread."""

    __slots__ = ("_routes", "_wakeup", "proactor")

    def __init__(self, proactor: Proactor) -> None:
        self.proactor = proactor
        self._routes: dict[Signal, _Route] = {}
        self._wakeup = WakeupLayer(proactor.wakeup_descriptor())

    def add(self, subscription: SignalSubscription) -> None:
        """Undone by `remove()`, also when it was interrupted."""
        global _current
        if _current is None:
            _current = self
            self._wakeup.put()
            if self._wakeup.hides_foreign():
                warnings.warn(
                    "signal.set_wakeup_fd() was in use already; it does not work while signals are subscribed to",
                    RuntimeWarning,
                    stacklevel=3,
                )
        route = self._routes.get(subscription.signal)
        if route is None:
            route = self._routes[subscription.signal] = _Route(subscription.signal)
        route.subscriptions.append(subscription)
        if len(route.subscriptions) == 1:
            route.open()

    def remove(self, subscription: SignalSubscription) -> None:
        """May be repeated."""
        global _current
        route = self._routes.get(subscription.signal)
        if route is not None and not any(other is not subscription for other in route.subscriptions):
            route.close()  # before it has none: a signal that comes meanwhile is this subscription's
            del self._routes[subscription.signal]
        if route is not None and subscription in route.subscriptions:
            route.subscriptions.remove(subscription)
        if not self._routes:
            self._wakeup.take()
            if _current is self:
                _current = None

    def abandon(self) -> None:
        """In a forked child, where the layers were taken off already."""
        global _current
        for route in self._routes.values():
            for subscription in route.subscriptions:
                subscription.abandon()
        _current = None


_current: _Owner | None = None


def _owner_for(proactor: Proactor, signal: Signal) -> _Owner:
    """The ownership of the signals, for this proactor. Raises FailedPrecondition if it cannot have it."""
    number = signal.number
    if threading.current_thread() is not threading.main_thread():
        raise FailedPrecondition(
            "SignalSubscription: signals can be subscribed to on the main thread only, where Python handles them"
        )
    proactor.check_owner("SignalSubscription")
    if _current is not None and _current.proactor is not proactor:
        raise FailedPrecondition(f"SignalSubscription: {_current.proactor!r} owns the signals of this process")
    if stdlib_signal.getsignal(number) is None:
        raise FailedPrecondition(f"SignalSubscription: {signal.name} has a handler that Python cannot put back")
    return _Owner(proactor) if _current is None else _current


class _Inherited:
    """What happens to the ownership in a forked child."""

    def abandon(self) -> None:
        if _current is not None:
            _current.abandon()


_inherited: Final = _Inherited()
forking.watch(_inherited)


# At the start of a program ------------------------------------------------------------------------------------------


def _numbers(signals: Iterable[Signal]) -> set[int]:
    return {signal.number for signal in signals if hasattr(stdlib_signal, _SYSTEM_NAMES[signal])}


def signal_block_default() -> None:
    """Block the six signals for the calling thread, and for threads and children that it starts from now on.

    For programs that call it first of all: a signal that arrives before somebody has subscribed to it waits until then,
    and does not end the program half-way; and no other thread is interrupted by signals. A subscription unblocks its
    signal on the main thread as long as it lasts.

    A child inherits what is blocked at its start and keeps it over exec(): it can be ended by SIGKILL only, unless it
    unblocks SIGTERM itself. Ctrl-C does not end this program any more. So do not call it in a program that starts
    children, or let them unblock with `signal.pthread_sigmask()` before exec(). Nothing else in this package calls it.
    Source: pthread_sigmask(3), signal(7). Raises Unimplemented where there is no such mask.
    """
    if not hasattr(stdlib_signal, "pthread_sigmask"):
        raise Unimplemented("signal_block_default(): this system has no signal masks")
    stdlib_signal.pthread_sigmask(stdlib_signal.SIG_BLOCK, _numbers(Signal))


def signal_ignore_broken_pipe() -> None:
    """Ignore SIGPIPE for the process: a write that nobody can read fails with EPIPE. Main thread only.

    Python does so when it starts; this is for programs in which somebody has undone it. Children that are started by
    exec() inherit it, unless `subprocess` restores the default, as it does by itself. Does nothing where there is no
    such signal. Raises FailedPrecondition on another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise FailedPrecondition("signal_ignore_broken_pipe(): handlers can be set on the main thread only")
    if hasattr(stdlib_signal, "SIGPIPE"):
        stdlib_signal.signal(stdlib_signal.SIGPIPE, stdlib_signal.SIG_IGN)
