"""Where the reference's documents and its code disagree, or its code is probably wrong: none of it is to be repeated.

Each has at least one test here that bears its name: `@pytest.mark.regression("cancel-is-never-refused")`. What cannot
happen in Python, or is left out on purpose, stands in `NOT_REPEATABLE` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Name to what happens there.
DIVERGENCES: Final[Mapping[str, str]] = {
    # Documents and code disagree.
    "regions-not-retained": "the regions of spans in flight are promised to be retained; nothing does it",
    "multishot-accepted-everywhere": "MULTISHOT on an operation that has none is ignored instead of refused",
    "cancel-is-never-refused": "cancelling what is not pending is documented as NOT_FOUND and returns OK",
    "fixed-files-unused": "the capability is reported, and nothing uses it",
    "relays-not-in-the-kernel": "chains of POLL_ADD and WRITE are promised; user space does both",
    "semaphore-chains-not-in-the-kernel": "SEMAPHORE_WAIT linked to SEND is promised; user space does both",
    "affinities-cannot-be-queried": "query_affinities() is declared and exists nowhere",
    "one-read-slab": "a second READ slab is refused by some backends",
    "bare-wake-is-a-timeout": "a wake without completions is OK here and DEADLINE_EXCEEDED there",
    "sticky-failure-not-enforced": "operations on a failed socket are promised to fail; few look at it",
    "cancelled-marks-the-socket": "a cancelled operation counts as a failure of its socket on some backends",
    "bind-conflict-code": "a port in use is ALREADY_EXISTS in the header and FAILED_PRECONDITION in code",
    "open-flags-not-checked": "contradicting open flags are promised to be refused; no backend looks",
    "signal-ownership": "documented to last for ever; it ends with its proactor",
    "signal-names": "documented as the platform's names; the code has names of its own",
    "oldest-kernel": "documented 5.1; the code needs 5.7",
    "error-sensitive": "documented as reporting; the code suppresses the sink, on IN or not by backend",
    "timepoints-do-not-retain": "the README says that pending timepoints keep their semaphore; they do not",
    "link-behind-its-target": "a link whose target is further already is ignored (header) or fails it (code)",
    "empty-pool-does-not-pause": "an empty receive pool is promised to pause; the receive fails",
    "too-many-buffers": "more than 8 buffers overflow on one backend and are cut off on another",
    "imported-sockets-are-changed": "an imported socket is documented to stay as it is and is made non-blocking",
    "lease-threads": "releasing a lease is thread-safe by the header and not by the table",
    "notification-modes": "a futex mode is documented; every backend makes event mode",
    "emulated-capabilities-hidden": "capabilities that work emulated (messages, absolute timeouts) are not reported",
    "listener-close-is-a-cancel": "the case named for a listener's close ends the accept by a cancel",
    # Probable defects.
    "batch-split": "what stands behind a split chain in the same batch is never begun",
    "eager-accept": "a multishot accept that succeeds inside submit() is not armed again",
    "late-cancel-of-notification-waits": "a cancelled notification wait ends only with the next signal",
    "kinds-without-cancel": "receives and sends of datagrams and file operations cannot be cancelled",
    "close-without-final-callbacks": "operations on a closed descriptor get no final callback",
    "zero-copy-error-hidden": "an error of a zero-copy send's first completion is reported as success",
    "signals-after-the-last-unsubscribe": "a signal that is subscribed again is not delivered any more",
    "signal-before-its-turn": "a notification's signal inside a chain happens when the entry is filled",
    "message-before-its-turn": "a message inside a chain that fails is delivered all the same",
    "multishot-receive-into-a-buffer": "the kernel refuses it; the operation ends at once",
    "semaphore-wait-ends-twice": "a wait that is satisfied and cancelled before it was delivered is queued twice",
    "failed-axis-behind-a-pending-one": "a wait on a failed axis is queued if an earlier axis is pending",
    "bridge-failed-under-the-lock": "a failed axis runs the callbacks of its semaphore under the tracker's lock",
    "table-failure-is-fatal": "a refused table of buffers makes creating the proactor fail",
    "value-before-failure": "a wait on a failed semaphore succeeds if its value was reached",
    "timed-wait-not-probed": "the timed wait is used without asking whether the kernel has it",
}

#: Name to why there is nothing to test.
NOT_REPEATABLE: Final[Mapping[str, str]] = {
    "device-memory-tcp": "declared and not implemented there; left out here, since no machine at hand could run it",
    "rdma-regions": "declared and not implemented there; left out here: nothing would use them",
}
