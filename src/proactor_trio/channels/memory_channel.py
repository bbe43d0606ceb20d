"""Memory channels: objects handed from task to task, through a buffer of limited size or none.

1. First come, first served: objects come out in the order in which they were sent, and tasks get them in the order in
   which they asked, over all clones of an end.
2. Tasks wait on one side at most: senders only while the buffer is full, receivers only while it is empty. An object
   that arrives while a task waits for one goes to that task, and not through the buffer.
3. A task waits in the end that it called, which is its `WaitingPlace`; so closing one clone wakes only the tasks that
   wait in this clone. What a sender offers lies in `Task.value` meanwhile.
4. A task that was handed an object, or whose object was taken, goes on with that, also when it is cancelled before its
   turn comes. So a cancelled call had no effect.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

from proactor_trio._kernel.context import CONTEXT
from proactor_trio._kernel.errors import BrokenResourceError, EndOfChannel, WouldBlock
from proactor_trio._kernel.interrupts import enable_ki_protection
from proactor_trio._kernel.task import Task
from proactor_trio._kernel.traps import PARK, PASS, YIELD
from proactor_trio._kernel.waiting_place import WaitingPlace
from proactor_trio.abc import ReceiveChannel, ReceiveType, SendChannel, SendType
from proactor_trio.proactor.errors import ClosedResourceError

T = TypeVar("T")


class _Nothing:
    __slots__ = ()


_NOTHING: Final = _Nothing()


@dataclass(frozen=True, slots=True)
class MemoryChannelStatistics:
    """What both ends say about their channel.

    current_buffer_used: how many objects lie in the buffer. max_buffer_size: how many may.
    open_send_channels, open_receive_channels: how many ends are open, with clones.
    tasks_waiting_send, tasks_waiting_receive: how many tasks wait, over all clones.
    peak_buffer_used: the most objects that ever lay in the buffer at a time.
    """

    current_buffer_used: int
    max_buffer_size: int | float
    open_send_channels: int
    open_receive_channels: int
    tasks_waiting_send: int
    tasks_waiting_receive: int
    peak_buffer_used: int


class _Middle(Generic[T]):
    """What all ends of one channel share. senders, receivers: the tasks that wait, each with the end it waits in."""

    __slots__ = ("buffer", "open_receivers", "open_senders", "peak", "receivers", "senders", "size")

    def __init__(self, size: int | float) -> None:
        self.size = size
        self.buffer: deque[T] = deque()
        self.peak = 0
        self.senders: OrderedDict[Task, MemorySendChannel[T]] = OrderedDict()
        self.receivers: OrderedDict[Task, MemoryReceiveChannel[T]] = OrderedDict()
        self.open_senders = 0
        self.open_receivers = 0

    def statistics(self) -> MemoryChannelStatistics:
        return MemoryChannelStatistics(
            current_buffer_used=len(self.buffer),
            max_buffer_size=self.size,
            open_send_channels=self.open_senders,
            open_receive_channels=self.open_receivers,
            tasks_waiting_send=len(self.senders),
            tasks_waiting_receive=len(self.receivers),
            peak_buffer_used=self.peak,
        )


class MemorySendChannel(SendChannel[SendType], WaitingPlace):
    """The sending end of a memory channel; made by open_memory_channel() and clone(). Any number of tasks may send."""

    __slots__ = ("__weakref__", "_closed", "_middle", "waiting_tasks")

    _middle: _Middle[Any]
    _closed: bool
    #: How many tasks wait in this end.
    waiting_tasks: int

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("MemorySendChannel has no public constructor: use open_memory_channel() or clone()")

    def __init_subclass__(cls) -> None:
        raise TypeError("MemorySendChannel does not support subclassing")

    @classmethod
    def _of(cls, middle: _Middle[Any]) -> Self:
        end = cls.__new__(cls)
        end._middle = middle
        end._closed = False
        end.waiting_tasks = 0
        middle.open_senders += 1
        return end

    def __repr__(self) -> str:
        return f"<MemorySendChannel at {id(self):#x}{_state_of(self._closed, self._middle)}>"

    @enable_ki_protection
    def send_nowait(self, value: SendType) -> None:
        """Send an object at once. Raises WouldBlock if no task waits for one and the buffer is full; else as send()."""
        if not self._offer(value):
            raise WouldBlock

    @enable_ki_protection
    async def send(self, value: SendType) -> None:
        """Send an object; wait until there is room for it in the buffer, or a task that takes it.

        Raises BrokenResourceError when all receiving ends are closed, also while this waits, and ClosedResourceError
        when this end is. Cancelled: nothing was sent.
        """
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        task = run.task
        if task.cancel_pending:
            await YIELD
        if self._offer(value):
            await PASS
            return
        self._middle.senders[task] = self
        self.waiting_tasks += 1
        task.value = value
        task.waiting = self
        await PARK

    def _offer(self, value: SendType) -> bool:
        """Give the object to who waits for it, or to the buffer; False if there is no room."""
        if self._closed:
            raise ClosedResourceError("this end of the channel was closed")
        middle = self._middle
        if middle.receivers:
            task, end = middle.receivers.popitem(last=False)
            end.waiting_tasks -= 1
            task.resume(value)
            return True
        if not middle.open_receivers:
            raise BrokenResourceError("nobody can receive from this channel any more")
        buffer = middle.buffer
        used = len(buffer)
        if used >= middle.size:
            return False
        buffer.append(value)
        if used >= middle.peak:
            middle.peak = used + 1
        return True

    def withdraw(self, task: Task) -> None:
        """A task that waits in this end was cancelled."""
        del self._middle.senders[task]
        self.waiting_tasks -= 1

    @enable_ki_protection
    def clone(self) -> MemorySendChannel[SendType]:
        """Another sending end of the same channel, to be closed on its own. Raises ClosedResourceError."""
        if self._closed:
            raise ClosedResourceError("this end of the channel was closed")
        return MemorySendChannel._of(self._middle)

    @enable_ki_protection
    def close(self) -> None:
        """Close this end; no checkpoint. Tasks that send by it get ClosedResourceError.

        With the last sending end the channel comes to its end: who waits for an object gets EndOfChannel, and who
        comes later as soon as the buffer is empty.
        """
        if self._closed:
            return
        self._closed = True
        middle = self._middle
        if self.waiting_tasks:
            _interrupt_tasks_in(self, middle.senders)
        middle.open_senders -= 1
        if not middle.open_senders:
            receivers, middle.receivers = middle.receivers, OrderedDict()
            for task, end in receivers.items():
                end.waiting_tasks -= 1
                task.interrupt(EndOfChannel())

    @enable_ki_protection
    async def aclose(self) -> None:
        """close(), and a checkpoint. Closed also when cancelled."""
        self.close()
        await YIELD

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> MemoryChannelStatistics:
        """How full the channel is, who waits, and how many ends are open."""
        return self._middle.statistics()


class MemoryReceiveChannel(ReceiveChannel[ReceiveType], WaitingPlace):
    """The receiving end of a memory channel; made by open_memory_channel() and clone().

    Any number of tasks may receive; each object goes to one of them. Iterating over it ends at the end of the channel.
    """

    __slots__ = ("__weakref__", "_closed", "_middle", "waiting_tasks")

    _middle: _Middle[Any]
    _closed: bool
    #: How many tasks wait in this end.
    waiting_tasks: int

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("MemoryReceiveChannel has no public constructor: use open_memory_channel() or clone()")

    def __init_subclass__(cls) -> None:
        raise TypeError("MemoryReceiveChannel does not support subclassing")

    @classmethod
    def _of(cls, middle: _Middle[Any]) -> Self:
        end = cls.__new__(cls)
        end._middle = middle
        end._closed = False
        end.waiting_tasks = 0
        middle.open_receivers += 1
        return end

    def __repr__(self) -> str:
        return f"<MemoryReceiveChannel at {id(self):#x}{_state_of(self._closed, self._middle)}>"

    @enable_ki_protection
    def receive_nowait(self) -> ReceiveType:
        """Take an object at once. Raises WouldBlock if there is none; else as receive()."""
        value = self._take()
        if value is _NOTHING:
            raise WouldBlock
        return cast(ReceiveType, value)

    @enable_ki_protection
    async def receive(self) -> ReceiveType:
        """Take an object; wait for one if need be.

        Raises EndOfChannel when there is none left and all sending ends are closed, also while this waits, and
        ClosedResourceError when this end is. Cancelled: nothing was taken.
        """
        run = CONTEXT.run
        if run is None or run.task is None:
            raise RuntimeError("must be called from async context")
        task = run.task
        if task.cancel_pending:
            await YIELD
        value = self._take()
        if value is not _NOTHING:
            await PASS
            return cast(ReceiveType, value)
        self._middle.receivers[task] = self
        self.waiting_tasks += 1
        task.waiting = self
        await PARK
        value, task.value = task.value, None
        return cast(ReceiveType, value)

    def _take(self) -> object:
        """The object that is next, and room in the buffer for the one whose sender has waited longest."""
        if self._closed:
            raise ClosedResourceError("this end of the channel was closed")
        middle = self._middle
        buffer = middle.buffer
        if middle.senders:
            task, end = middle.senders.popitem(last=False)
            end.waiting_tasks -= 1
            buffer.append(task.value)
            task.resume()
            return buffer.popleft()
        if buffer:
            return buffer.popleft()
        if not middle.open_senders:
            raise EndOfChannel
        return _NOTHING

    def withdraw(self, task: Task) -> None:
        """A task that waits in this end was cancelled."""
        del self._middle.receivers[task]
        self.waiting_tasks -= 1

    @enable_ki_protection
    def clone(self) -> MemoryReceiveChannel[ReceiveType]:
        """Another receiving end of the same channel, to be closed on its own. Raises ClosedResourceError.

        The ends share the objects: each goes to one of them, whoever asks first.
        """
        if self._closed:
            raise ClosedResourceError("this end of the channel was closed")
        return MemoryReceiveChannel._of(self._middle)

    @enable_ki_protection
    def close(self) -> None:
        """Close this end; no checkpoint. Tasks that receive by it get ClosedResourceError.

        With the last receiving end the channel is broken: who sends gets BrokenResourceError, and what lies in the
        buffer is dropped.
        """
        if self._closed:
            return
        self._closed = True
        middle = self._middle
        if self.waiting_tasks:
            _interrupt_tasks_in(self, middle.receivers)
        middle.open_receivers -= 1
        if not middle.open_receivers:
            senders, middle.senders = middle.senders, OrderedDict()
            for task, end in senders.items():
                end.waiting_tasks -= 1
                task.interrupt(BrokenResourceError("nobody can receive from this channel any more"))
            middle.buffer.clear()

    @enable_ki_protection
    async def aclose(self) -> None:
        """close(), and a checkpoint. Closed also when cancelled."""
        self.close()
        await YIELD

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> MemoryChannelStatistics:
        """How full the channel is, who waits, and how many ends are open."""
        return self._middle.statistics()


def _interrupt_tasks_in(
    end: MemorySendChannel[Any] | MemoryReceiveChannel[Any], waiting: OrderedDict[Task, Any]
) -> None:
    """This end is being closed: the tasks that wait in it get ClosedResourceError; those in other ends stay."""
    for task in [task for task, its_end in waiting.items() if its_end is end]:
        end.withdraw(task)
        task.interrupt(ClosedResourceError("another task closed this end of the channel"))


def _state_of(closed: bool, middle: _Middle[Any]) -> str:
    return f"{', closed' if closed else ''}, {len(middle.buffer)} of {middle.size} in the buffer at {id(middle):#x}>"


# A class, so that `open_memory_channel[int](5)` works at run time and for type checkers.
class open_memory_channel(tuple[MemorySendChannel[T], MemoryReceiveChannel[T]]):
    """Make a channel: `send_channel, receive_channel = open_memory_channel(size)`; objects go from left to right.

    max_buffer_size: how many objects may lie in between; an integer of at least 0, or math.inf. With 0 a send waits
        until a task takes the object. A buffer without limit never makes a sender wait, and may fill the memory.

    Closing the ends tells the other side that nothing more will come, or go; nothing else depends on it. Not
    thread-safe, but usable outside of a run as long as nobody waits.
    """

    def __new__(  # type: ignore[misc]  # a plain tuple, and no subclass of it
        cls, max_buffer_size: int | float
    ) -> tuple[MemorySendChannel[T], MemoryReceiveChannel[T]]:
        if not isinstance(max_buffer_size, int) and max_buffer_size != math.inf:
            raise TypeError("max_buffer_size must be an int or math.inf")
        if max_buffer_size < 0:
            raise ValueError("max_buffer_size must be >= 0")
        middle: _Middle[T] = _Middle(max_buffer_size)
        return MemorySendChannel._of(middle), MemoryReceiveChannel._of(middle)

    def __init__(self, max_buffer_size: int | float) -> None: ...

    def __init_subclass__(cls) -> None:
        raise TypeError("open_memory_channel does not support subclassing")
