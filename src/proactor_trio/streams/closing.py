"""aclose_forcefully(): closing without the patience that a graceful close may need."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from proactor_trio._kernel.cancel import CancelScope
from proactor_trio.abc import AsyncResource


async def aclose_forcefully(resource: AsyncResource | AsyncGenerator[Any, Any]) -> None:
    """Close a resource, or an async generator, without waiting for a peer: its `aclose()` is cancelled from the start.

    For clean-up that cannot wait, or whose grace is of no use any more. It is a checkpoint, and does not block if the
    resource keeps the promise of AsyncResource.aclose().
    """
    with CancelScope() as scope:
        scope.cancel("aclose_forcefully() was called")
        await resource.aclose()
