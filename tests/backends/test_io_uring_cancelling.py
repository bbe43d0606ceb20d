"""io_uring: a cancel that finds nothing is tried again, and the loop sleeps meanwhile."""

from __future__ import annotations

import time

import pytest

from cts.configurations import find, reason_against
from cts.support import Completions, settle, start
from proactor_trio.proactor import Event, EventWait, Nop, OperationFlags, Proactor

IO_URING = find("io_uring")
SILENT_LINK = OperationFlags.LINKED | OperationFlags.SILENT

pytestmark = pytest.mark.skipif(
    reason_against(IO_URING) is not None, reason=f"no io_uring here: {reason_against(IO_URING)}"
)


def test_a_link_behind_a_silent_step_is_cancelled_without_spinning() -> None:
    completions = Completions()
    with Proactor("io_uring") as proactor, Event() as event:
        steps = EventWait(event, completions, "waits", SILENT_LINK), Nop(completions, "link")
        start(proactor, *steps)
        proactor.cancel(steps[1])
        polls, end = 0, time.monotonic() + 0.1
        while (left := end - time.monotonic()) > 0:
            proactor.poll(left)
            polls += 1
        event.set()
        settle(proactor, *steps)
        assert completions.outcomes[0] == ("waits", "ok")
    assert polls < 30
