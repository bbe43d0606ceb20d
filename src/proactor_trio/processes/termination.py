"""What a cancelled run_process() does to its child, unless it is told otherwise.

It is asked to end, given time, and then made to end. The function is cancelled as soon as the child is gone. A warning
comes after the deed: it may be an error here, and must not keep the child alive.
"""

from __future__ import annotations

import warnings
from typing import Final

from proactor_trio.processes.process import Process
from proactor_trio.timeouts import sleep

#: How long a child has for ending by itself.
PATIENCE_SECONDS: Final = 5


async def terminate_then_kill(process: Process) -> None:
    """SIGTERM, five seconds, SIGKILL with a RuntimeWarning. What the system refuses is a RuntimeWarning, too."""
    try:
        process.terminate()
        await sleep(PATIENCE_SECONDS)
        process.kill()
    except OSError as error:
        warnings.warn(RuntimeWarning(f"{process!r} was to be ended, which failed: {error!r}"), stacklevel=1)
        return
    warnings.warn(
        RuntimeWarning(
            f"{process!r} did not end within {PATIENCE_SECONDS} seconds of SIGTERM and was killed; "
            "deliver_cancel= can end it in another way"
        ),
        stacklevel=1,
    )
