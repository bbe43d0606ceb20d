"""Events: a signal from any thread, a pool of them, and a callback for a descriptor of somebody else's.

1. An event is set by a thread and taken by one waiting operation. A signal that comes early is kept.
2. A pool lends events that are used again: one wait for each `acquire()`.
3. An event source calls a function whenever a descriptor is readable, until it is closed.
"""

from __future__ import annotations

import os
import threading

from proactor_trio.proactor import (
    Event,
    EventPool,
    EventSource,
    EventWait,
    Operation,
    OperationState,
    PollEvents,
    Proactor,
)


def wait_for(proactor: Proactor, *operations: Operation) -> None:
    while any(operation.state is not OperationState.DONE for operation in operations):
        proactor.poll(timeout=10)


def an_event(proactor: Proactor) -> None:
    with Event() as event:
        event.set()
        event.set()  # not taken yet: the two are one
        wait = EventWait(event)
        proactor.submit(wait)
        wait_for(proactor, wait)
        print("  a signal from before the wait was kept")

        proactor.submit(wait)  # the wait before has taken the signal: this one waits for the next
        thread = threading.Thread(target=event.set)
        thread.start()
        wait_for(proactor, wait)
        thread.join()
        print("  a signal from another thread ended a poll that was waiting")


def a_pool(proactor: Proactor) -> None:
    """Three rounds of work for threads, each with an event of the pool to say that it is done."""
    with EventPool(initial_capacity=2) as pool:
        for count in (1, 2, 3):
            events = [pool.acquire() for _ in range(count)]
            waits = [EventWait(event) for event in events]
            proactor.submit(*waits)
            threads = [threading.Thread(target=event.set) for event in events]
            for thread in threads:
                thread.start()
            wait_for(proactor, *waits)
            for thread in threads:
                thread.join()
            for event in events:
                pool.release(event)  # its one wait is over
            print(f"  {count} in use at a time, the pool has {pool.capacity}")


def a_source(proactor: Proactor) -> None:
    """A library that only gives us a descriptor. Here it is a pipe."""
    reader, writer = os.pipe()
    messages: list[bytes] = []

    def readable(source: EventSource, events: PollEvents) -> None:
        messages.append(os.read(reader, 6))  # what is left in the pipe is reported again by the next poll
        print(f"  {events!r}: {messages[-1]!r}")
        if len(messages) == 3:
            source.close()

    source = EventSource(proactor, reader, readable)
    os.write(writer, b"first.second")
    while len(messages) < 2:
        proactor.poll(timeout=10)
    os.write(writer, b"third.")
    while source.is_active:
        proactor.poll(timeout=10)
    while proactor.statistics()["in_flight"]:  # the source lets go of the descriptor inside poll()
        proactor.poll(timeout=10)
    os.close(reader)
    os.close(writer)


def main() -> None:
    with Proactor() as proactor:
        for scene in (an_event, a_pool, a_source):
            print(scene.__name__.replace("_", " "))
            scene(proactor)


if __name__ == "__main__":
    main()
