"""Frontiers: how far several timelines have come, as one value that can be compared, merged and sent.

Two queues of a device and a host each have an axis. A tracker knows how far each has come and tells who waits for a
frontier. What is known on one machine goes to another as bytes and is merged there.
"""

from __future__ import annotations

from proactor_trio.proactor import Axis, AxisDomain, Frontier, FrontierTracker, TimelineSemaphore

COPY = Axis.make_queue(session_epoch=1, machine_index=3, device_index=1, queue_index=0)
COMPUTE = Axis.make_queue(session_epoch=1, machine_index=3, device_index=1, queue_index=1)
HOST = Axis.make(1, 3, AxisDomain.HOST, 7)


def compare_and_merge() -> None:
    copied = Frontier.from_epochs({COPY: 5})
    computed = Frontier.from_epochs({COPY: 5, COMPUTE: 2})
    elsewhere = Frontier.from_epochs({HOST: 1})
    print(f"  what was copied is {copied.compare(computed).name} what was computed")
    print(f"  what was computed is {computed.compare(elsewhere).name} to what the host did")
    data = elsewhere.to_bytes()
    known = computed.merge(Frontier.from_bytes(data))
    print(f"  {len(data)} bytes came; now {len(known)} axes are known, new is {known.find_undominated(computed)}")


def track() -> None:
    finished = TimelineSemaphore()
    with FrontierTracker(session_epoch=1, machine_index=3) as tracker:
        tracker.register_axis(COPY)
        tracker.register_axis(COMPUTE, finished)
        wanted = Frontier.from_epochs({COPY: 2, COMPUTE: 1})
        tracker.acquire_timepoint(wanted, lambda error: print(f"  reached, the semaphore is at {finished.query()}"))
        for axis, epoch in [(COPY, 1), (COMPUTE, 1), (COPY, 2)]:
            print(f"  {axis} reaches {epoch}: {tracker.advance(axis, epoch)} waits end")
        tracker.acquire_timepoint(
            Frontier.from_epochs({COPY: 9, COMPUTE: 9}), lambda error: print(f"  failed: {error}")
        )
        tracker.fail_axis(COMPUTE, OSError("the queue was lost"))


def main() -> None:
    print("frontiers")
    compare_and_merge()
    print("a tracker")
    track()


if __name__ == "__main__":
    main()
