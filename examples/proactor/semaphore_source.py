"""A timeline semaphore whose value belongs to a device, and the driver that brings it to us.

A device runtime keeps its own timelines: the device counts in a word of memory when it has finished something, and
wakes a thread of the driver. `SemaphoreSource` makes such a timeline a semaphore like any other: operations wait for
it, it can be linked, failed, exported as a fence. The driver says how the value is read (`query`), how the host moves
it (`signal`), and tells of what the device has written already (`advance_timeline`, `dispatch_timepoints`).

Here the device is a thread. It finishes three pieces of work; an operation waits for the last one. Then it breaks.
"""

from __future__ import annotations

import queue
import threading
from array import array

from proactor_trio.proactor import Frontier, OperationState, Proactor, SemaphoreSource, SemaphoreWait


class DeviceSemaphore(SemaphoreSource):
    """A timeline in the memory of a device. `memory[0]`: its value."""

    def __init__(self, initial_value: int = 0, frontier_capacity: int = 16) -> None:
        super().__init__(initial_value, frontier_capacity)
        self.memory = array("Q", [initial_value])
        self.failures: list[BaseException] = []
        self._writing = threading.Lock()

    def query(self) -> int:
        return self.memory[0]

    def signal(self, value: int, frontier: Frontier | None = None) -> None:
        """The host's way: refused or written to the device, then told to whoever waits."""
        with self._writing:
            if value <= self.memory[0]:
                raise ValueError(f"value must be greater than what the device has, {self.memory[0]}, not {value}")
            self.advance_timeline(value, frontier)
            self.memory[0] = value
        self.dispatch_timepoints(value)

    def completed(self, value: int, frontier: Frontier | None = None) -> None:
        """The device's way: it has written the value already, and the thread of the driver has just learned of it."""
        self.advance_timeline(value, frontier)
        self.dispatch_timepoints(value)

    def on_fail(self, error: BaseException) -> None:
        """A driver would reset the device here."""
        self.failures.append(error)


class Device:
    """Finishes its work in order, on a thread of its own: `submit(name)` returns the value that says it is done."""

    def __init__(self, semaphore: DeviceSemaphore) -> None:
        self.semaphore = semaphore
        self._work: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._submitted = semaphore.query()
        self._thread = threading.Thread(target=self._run, name="device")
        self._thread.start()

    def submit(self, name: str) -> int:
        self._submitted += 1
        self._work.put((name, self._submitted))
        return self._submitted

    def stop(self) -> None:
        self._work.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            name, value = work
            if name == "impossible":
                self.semaphore.fail(OSError(f"the device cannot do {name!r}"))
            else:
                print(f"device: {name} is done")
                self.semaphore.memory[0] = value
                self.semaphore.completed(value)


def wait_for(proactor: Proactor, semaphore: DeviceSemaphore, value: int) -> None:
    wait = SemaphoreWait([semaphore], [value])
    proactor.submit(wait)
    while wait.state is not OperationState.DONE:
        proactor.poll(timeout=10)
    print(f"host: the semaphore is at {semaphore.query()}, the wait for {value} ended with {wait.error}")


def main() -> None:
    semaphore = DeviceSemaphore()
    device = Device(semaphore)
    with Proactor() as proactor:
        for name in ("upload", "multiply", "download"):
            last = device.submit(name)
        wait_for(proactor, semaphore, last)
        wait_for(proactor, semaphore, device.submit("impossible"))
    device.stop()


if __name__ == "__main__":
    main()
