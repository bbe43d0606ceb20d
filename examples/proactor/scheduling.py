"""What happens when: nops, timers, sequences, deadlines, and progress callbacks.

1. A nop and two timers. They complete inside `poll()`, the timers in the order of their times.
2. A sequence of steps that are known beforehand. It is one chain, which the kernel walks by itself where it can.
3. A sequence with a step function, which sees each step that succeeded and decides about the next one.
4. `timeout=` and `deadline=`: the same operation, but it has to be done by then.
5. A progress callback: something that does not tell when it is ready, and has to be asked in every poll.
"""

from __future__ import annotations

import os
import time

from proactor_trio.proactor import (
    CompletionFlags,
    HandlePoll,
    Nop,
    Operation,
    OperationState,
    Proactor,
    ProgressCallback,
    Sequence,
    Timer,
)


def report(operation: Operation, flags: CompletionFlags) -> None:
    """The completion function of everything here."""
    print(f"  {operation.user_data}: {'done' if operation.error is None else operation.error}")


def wait_for(proactor: Proactor, *operations: Operation) -> None:
    while any(operation.state is not OperationState.DONE for operation in operations):
        proactor.poll(timeout=10)


def nop_and_timers(proactor: Proactor) -> None:
    now = time.monotonic()  # the clock of every time here
    operations = (
        Timer(now + 0.02, report, "the later timer"),
        Timer(now + 0.01, report, "the earlier timer"),
        Nop(report, "the nop"),
    )
    proactor.submit(*operations)  # returns at once: nothing completes in here
    wait_for(proactor, *operations)


def known_steps(proactor: Proactor) -> None:
    now = time.monotonic()
    steps = [Timer(now + 0.01), Nop(), Timer(now + 0.02)]
    sequence = Sequence(steps, None, report, "three steps")
    proactor.submit(sequence)
    wait_for(proactor, sequence)


def steps_one_by_one(proactor: Proactor) -> None:
    """Each pause is twice as long as the one before, and enough is enough."""

    def after(sequence: Sequence, completed: Operation, following: Operation | None) -> None:
        print(f"  pause {sequence.current_step} is over")
        if sequence.current_step == 3:
            raise InterruptedError("three pauses are enough")  # ends the sequence; the other steps never begin
        if isinstance(following, Timer):
            following.deadline = time.monotonic() + 0.005 * 2**sequence.current_step

    pauses = [Timer(0.0) for _ in range(10)]
    sequence = Sequence(pauses, after, report, "at most ten pauses")
    proactor.submit(sequence)
    wait_for(proactor, sequence)


def deadlines(proactor: Proactor) -> None:
    reader, writer = os.pipe()  # nobody writes: it never becomes readable
    by_timeout = HandlePoll(reader, completion_fn=report, user_data="with a timeout", timeout=0.01)
    by_deadline = HandlePoll(reader, completion_fn=report, user_data="with a deadline", deadline=time.monotonic())
    proactor.submit(by_timeout, by_deadline)  # each ends with DeadlineExceeded
    wait_for(proactor, by_timeout, by_deadline)
    os.close(reader)
    os.close(writer)


def progress(proactor: Proactor) -> None:
    """While one is registered, `poll()` calls it instead of waiting."""
    work = ["first", "second", "third"]

    def ask() -> int:
        print(f"  the device has finished its {work.pop(0)} piece of work")
        if not work:
            callback.remove()
        return 1  # how much has happened: it counts as completions of this poll

    callback = ProgressCallback(proactor, ask)
    while work:
        proactor.poll()


def main() -> None:
    with Proactor() as proactor:
        for scene in (nop_and_timers, known_steps, steps_one_by_one, deadlines, progress):
            print(scene.__name__.replace("_", " "))
            scene(proactor)


if __name__ == "__main__":
    main()
