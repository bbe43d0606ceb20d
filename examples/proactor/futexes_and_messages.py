"""Words in shared memory that can be waited for, and 64-bit messages from one proactor to another.

1. A futex: the kernel compares a 32-bit word and wakes us when somebody says so. It needs io_uring and Linux 6.7.
2. Messages between two proactors, each on a thread of its own. Between two io_uring proactors the kernel carries them
   from ring to ring; otherwise they go through a queue and a wake-up.
"""

from __future__ import annotations

import threading
from array import array

from proactor_trio.proactor import (
    Capability,
    FutexWait,
    FutexWake,
    Message,
    Operation,
    OperationState,
    Proactor,
    Support,
)

READY = 1
STOP = 0  # messages are numbers; what they mean is up to the two sides


def wait_for(proactor: Proactor, operation: Operation) -> None:
    while operation.state is not OperationState.DONE:
        proactor.poll(timeout=10)


def a_futex(proactor: Proactor) -> None:
    report = proactor.capability_reports[Capability.FUTEX_OPERATIONS]
    if report.support is Support.MISSING:
        print(f"  not on {proactor.backend_name}: {report.reason}")
        return
    word = array("I", [0])
    # A word that has changed already does not let us sleep, so nothing is lost between looking and waiting.
    wait = FutexWait(word, expected=0)
    proactor.submit(wait)

    def change_and_wake() -> None:
        word[0] = READY
        with Proactor() as own:
            wake = FutexWake(word)
            own.submit(wake)
            wait_for(own, wake)

    thread = threading.Thread(target=change_and_wake)
    thread.start()
    wait_for(proactor, wait)
    thread.join()
    print(f"  another thread has changed the word to {word[0]}")


class Squarer:
    """A proactor on a thread of its own that squares what it is sent and sends it back."""

    def __init__(self, client: Proactor) -> None:
        self.client = client
        self.proactor: Proactor | None = None
        self.is_over = False
        self.started = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        self.started.wait()

    def run(self) -> None:
        with Proactor() as self.proactor:
            self.proactor.set_message_callback(self.received)
            self.started.set()
            while not self.is_over:
                self.proactor.poll()

    def received(self, proactor: Proactor, number: int) -> None:
        if number == STOP:
            self.is_over = True
        else:
            proactor.submit(Message(self.client, number * number))  # an operation: it may also stand in a chain


def messages(proactor: Proactor) -> None:
    answers: list[int] = []
    proactor.set_message_callback(lambda proactor, number: answers.append(number))
    squarer = Squarer(proactor)
    assert squarer.proactor is not None
    for number in (3, 4, 5):
        squarer.proactor.send_message(number)  # from any thread, and nobody waits for it
    while len(answers) < 3:
        proactor.poll(timeout=10)
    squarer.proactor.send_message(STOP)
    squarer.thread.join()
    report = proactor.capability_reports[Capability.PROACTOR_MESSAGING]
    print(f"  the squares of 3, 4 and 5 are {answers}")
    print(f"  on {proactor.backend_name} messages are {report.support.value}: {report.reason}")


def main() -> None:
    with Proactor() as proactor:
        print("a futex")
        a_futex(proactor)
        print("messages")
        messages(proactor)


if __name__ == "__main__":
    main()
