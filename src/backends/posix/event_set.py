"""Who tells us that a descriptor is ready: epoll(7), edge-triggered, or poll(2), level-triggered.

Some facts about edge-triggered epoll
=====================================

A registration with EPOLLET is reported when something *happens* on the descriptor: bytes arrive, the peer closes, room
appears in a send buffer that was full. It is not reported again because the state still holds. So a loop that misses
an edge, or that believes "not ready" while bytes lie in the buffer, waits for ever.

1. EPOLL_CTL_ADD and EPOLL_CTL_MOD look at the state. What is ready at that moment is reported by the next wait, as if
   it had just happened. There is no gap between registering and waiting.
2. Each arrival after that is an edge, also when bytes were there already. Between two waits edges of one descriptor
   are merged into one report, whose mask is the state at the time of the wait.
3. A call that ended with EAGAIN proves that nothing was there; whatever comes later is an edge.
4. On a stream, a read that returned less than it asked for proves the same (epoll(7), questions and answers), with
   exceptions that the manual does not name. A read of TCP stops short at an urgent byte although more lies behind
   it. A read of an AF_UNIX stream stops short where descriptors were passed or credentials change. And behind the last
   byte there may be the end of the stream or an error, for which no second edge comes once its edge was seen.
5. Room in a send buffer is an edge only after somebody met a full buffer. On AF_UNIX sockets it is one each time the
   peer reads, wanted or not.
6. The registration belongs to the *open file*, under the number it was registered with. Closing the number removes it
   only if no duplicate of the descriptor is left (dup, or a forked child). Then reports for a number that is
   closed, or means something else by now, go on arriving.
7. Regular files and directories are refused (EPERM); they are always ready.

What that means for us
======================

Each descriptor has a record with two flags, `readable` and `writable`. A flag that is set means "an attempt may
succeed", a flag that is clear means "there will be an edge". The flag may be set for no reason: that costs one call.
It must never be clear without one of the proofs above.

* A new record has both flags set and is not registered. The first attempts are made at once; in a short conversation
  they all succeed and epoll never hears of the socket. On EAGAIN the descriptor is registered (fact 1 closes the gap
  between the two calls) and then the flag is cleared.
* `readable` is cleared by EAGAIN, or by a short read of a TCP socket (fact 4) on which no urgent data, end, hang-up or
  error was ever reported; once one was, it is cleared by EAGAIN only. If such a thing arrives *after* the last
  wait, then it is an edge that the next wait brings.
* `writable` is cleared by EAGAIN only. Interest in EPOLLOUT is added when the first send meets a full buffer, and
  stays; so sockets that never fill a buffer get no reports about room (fact 5).
* A report sets flags, after all attempts that came before it in time, and never clears one. To handle the same report
  twice does no harm, which is how an interrupted `poll()` is taken up again.
* A registration is removed before its descriptor is closed. A report for a number without a record is answered by
  removing the registration (fact 6), and costs no more, since an edge does not repeat.

poll(2) looks at the state each time. There the same flags are kept, which saves the same calls, but a flag that is
clear only counts as long as interest is on: so interest is put on when an operation must wait and taken off as soon
as none does, for a ready descriptor in which nobody is interested would be reported without end.
"""

from __future__ import annotations

import select
import sys
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, Final

# The same numbers in poll(2) everywhere and in epoll(7).
IN: Final = 0x001
PRI: Final = 0x002
OUT: Final = 0x004
ERR: Final = 0x008
HUP: Final = 0x010
NVAL: Final = 0x020
RDHUP: Final = 0x2000

#: An attempt to read or to write may succeed, or fail for good.
READ_READY: Final = IN | PRI | RDHUP | HUP | ERR | NVAL
WRITE_READY: Final = OUT | HUP | ERR | NVAL
#: After one of these a short read proves nothing any more.
SHORT_READ_PROVES_NOTHING: Final = PRI | RDHUP | HUP | ERR


class EventSet(ABC):
    """The descriptors that are watched, and what was last reported of them.

    `ready` holds lists of (descriptor, mask) that have not been handled; `wait()` appends to it in one step, so that no
    report is lost when a signal handler raises.
    """

    __slots__ = ("ready",)

    #: Whether interest must be taken off when no operation waits.
    level_triggered: ClassVar[bool]
    #: What to be interested in for operations that read, and for those that write.
    read_interest: ClassVar[int]
    write_interest: ClassVar[int]

    ready: deque[list[tuple[int, int]]]

    @abstractmethod
    def watch(self, descriptor: int, interest: int, *, known: bool) -> None:
        """Be interested in exactly this. known: the descriptor should be registered already. Raises OSError."""

    @abstractmethod
    def forget(self, descriptor: int) -> None:
        """Remove a registration, if there is one."""

    @abstractmethod
    def wait(self, timeout: float | None) -> None:
        """Wait at most `timeout` seconds, None for ever, and append what is ready to `ready`.

        A signal handler that returns does not end it: whoever wants that uses `signal.set_wakeup_fd`.
        """

    def handle(self) -> int | None:
        """A descriptor that is readable as long as `wait(0)` would report something; None: there is none."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Free the kernel's object; also right in a forked child."""


if sys.platform == "linux":

    class EpollSet(EventSet):
        """epoll(7), edge-triggered: one registration per descriptor, no system call per operation."""

        __slots__ = ("_epoll", "_wake_descriptor")

        level_triggered = False
        read_interest = IN | PRI | RDHUP
        write_interest = OUT

        def __init__(self, wake_descriptor: int) -> None:
            self._epoll = select.epoll()
            # The one level-triggered registration: a byte for us is there until somebody has read it.
            self._epoll.register(wake_descriptor, IN)
            self._wake_descriptor = wake_descriptor
            self.ready = deque()

        def watch(self, descriptor: int, interest: int, *, known: bool) -> None:
            interest |= select.EPOLLET
            try:
                if known:
                    self._epoll.modify(descriptor, interest)
                else:
                    self._epoll.register(descriptor, interest)
            except FileExistsError:
                self._epoll.modify(descriptor, interest)
            except FileNotFoundError:
                self._epoll.register(descriptor, interest)

        def forget(self, descriptor: int) -> None:
            try:
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closed, or never registered: there is nothing to remove

        def wait(self, timeout: float | None) -> None:
            self.ready.extend(map(self._epoll.poll, (timeout,)))

        def handle(self) -> int:
            # To look at it from outside takes no edge away: only a wait of our own does.
            return self._epoll.fileno()

        def close(self) -> None:
            self._epoll.close()


class PollSet(EventSet):
    """poll(2), level-triggered: the interest lies on our side, each wait passes it on."""

    __slots__ = ("_poll",)

    level_triggered = True
    read_interest = IN
    write_interest = OUT

    def __init__(self, wake_descriptor: int) -> None:
        self._poll = select.poll()
        self._poll.register(wake_descriptor, IN)
        self.ready = deque()

    def watch(self, descriptor: int, interest: int, *, known: bool) -> None:
        self._poll.register(descriptor, interest)

    def forget(self, descriptor: int) -> None:
        try:
            self._poll.unregister(descriptor)
        except KeyError:
            pass

    def wait(self, timeout: float | None) -> None:
        self.ready.extend(map(self._poll.poll, (None if timeout is None else timeout * 1000,)))

    def close(self) -> None:
        pass


def look(descriptor: int, interest: int) -> int:
    """The state of one descriptor now, as a mask; 0 when nothing of the interest holds."""
    asker = select.poll()
    try:
        asker.register(descriptor, interest)
    except OverflowError:
        return NVAL
    answers = asker.poll(0)
    return answers[0][1] if answers else 0
