"""What each run asks at its beginning: whether it is to be inspected. It costs one look into the environment."""

from __future__ import annotations

import os
from typing import Final

from proactor_trio._kernel.context import current_run

ENVIRONMENT_VARIABLE: Final = "PROACTOR_TRIO_INSPECT"


def begin_if_asked_for() -> None:
    """Have the run that begins answer questions about itself, where the environment says so."""
    if os.environ.get(ENVIRONMENT_VARIABLE) and hasattr(os, "getuid"):
        from proactor_trio.inspection.server import answer

        current_run().spawn_system_task(answer)
