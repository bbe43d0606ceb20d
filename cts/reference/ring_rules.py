"""The rules of rings and chains: what measurements of real kernels taught, in short. Each has a test that bears it.

`@pytest.mark.ring_rule(2)` on a test says that it would fail if the rule were broken. What cannot be shown by a test of
this suite stands in `EXPLAINED`, with the reason and with what takes care of it instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Number to the rule.
RING_RULES: Final[Mapping[int, str]] = {
    1: "whoever waits for a ring from outside waits for a registered eventfd, emptied before the last look",
    2: "cancelling a chain cancels every unfinished step and is repeated until the chain's last completion is in",
    3: "a wait at the head of a chain loses no signal, and lets nothing happen when it is cancelled or fails",
    4: "a chain with skipped completions reports where it broke; a linked timeout is told apart from a cancellation",
    5: "a short transfer breaks its chain on every backend, and a timer that is over does not",
    6: "open, read and close as one chain leak no file when the file is shorter than the buffer",
    7: "bytes that were moved before a cancellation or a deadline are named, and never lost without a word",
    8: "a receive into an empty pool pauses, loses no byte, and goes on when somebody gives a buffer back",
    9: "signals go through Python's handlers and a wake-up descriptor: no blocked mask, nothing that a child inherits",
    10: "closing waits for every final completion: addresses are free at once, no memory is freed under the kernel",
    11: "a turn with nothing to submit and a silent doorbell makes no system call",
    12: "a chain goes on inside the owner's poll() and nowhere else",
    13: "a zero-copy send holds its memory until the kernel gives it back; neither close nor cancel waits for that",
    14: "registering belongs to the thread that polls, and is refused to others with words",
    15: "large reads and writes of files do not hold up the loop",
    16: "waiting for a child does not reap it",
    17: "poll() and submit() survive an exception at any place: nothing is lost and nothing happens twice",
    18: "a relay that minds errors does not fire for a hang-up alone",
    19: "deadlines that are not needed any more do not pile up",
    20: "a call that finds its result at once is still a checkpoint",
    21: "set-up flags are tried in steps, since they depend on each other; each step makes a ring that works",
    22: "nothing depends on the Python frame of a hot function, so that these can be compiled",
    23: "every descriptor is made non-inheritable by the call that makes it",
    24: "a dma-buf whose pages cannot be pinned is mapped only, and says so",
    25: "other loops and libraries get their own world, made of operations, and not the internals of a foreign loop",
}

#: Number to why no test here bears it, and what does instead.
EXPLAINED: Final[Mapping[int, str]] = {
    22: "there is no compiled build yet that a test could run; the marks on code are tested with interrupts",
    25: "about the integrations, which have tests of their own",
}
