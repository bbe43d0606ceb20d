"""Fences: a semaphore meets somebody who only knows descriptors, here another process.

We export a fence for a value and give it to the child, which sleeps until it becomes readable, does its work and
makes a fence of its own readable. That one we imported before: it signals a second semaphore, on which the proactor
waits. The child knows nothing of semaphores; a graphics driver with its sync files would not either.
"""

from __future__ import annotations

import os
import subprocess
import sys

from proactor_trio.proactor import OperationState, Proactor, SemaphoreWait, TimelineSemaphore

CHILD = """
import os, select, sys
begin, done = map(int, sys.argv[1:])
select.select([begin], [], [])
print("  child: the fence is readable, I work", flush=True)
os.write(done, (1).to_bytes(8, sys.byteorder))
"""


def main() -> None:
    prepared, finished = TimelineSemaphore(), TimelineSemaphore()
    begin = prepared.export_fence(3)
    done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    command = [sys.executable, "-c", CHILD, str(begin), str(done)]
    with Proactor() as proactor, subprocess.Popen(command, pass_fds=(begin, done)) as child:
        os.close(begin)  # ours; the child has its own
        finished.import_fence(proactor, done, 1)  # the proactor's from now on
        for value in (1, 2, 3):
            print(f"parent: signal {value}", flush=True)
            prepared.signal(value)
        wait = SemaphoreWait([finished], [1])
        proactor.submit(wait)
        while wait.state is not OperationState.DONE:
            proactor.poll(timeout=10)
        print(f"parent: the child is done, the semaphore is at {finished.query()}")
        child.wait()


if __name__ == "__main__":
    main()
