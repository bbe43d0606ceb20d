"""What the block of a graph raises: each cause once, also where an `await node` has raised it into the block before."""

from __future__ import annotations

from collections.abc import Collection


def without(error: BaseException, known: Collection[BaseException]) -> BaseException | None:
    """An exception without what is known already, which may stand in groups; None: nothing is left."""
    if any(error is other for other in known):
        return None
    if not isinstance(error, BaseExceptionGroup):
        return error
    _, rest = error.split(lambda leaf: any(leaf is other for other in known))
    return rest
