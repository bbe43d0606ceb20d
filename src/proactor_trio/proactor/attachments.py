"""Resources that live with a proactor: relays, event sources, registered regions, subscriptions of signals.

They are kept by the proactor while they are active, and told in two steps when it closes, the newest first.
"""

from __future__ import annotations

from typing import Protocol


class Attachment(Protocol):
    """A resource that lives with a proactor (a relay, a registered region, a subscription)."""

    def proactor_closing(self) -> None:
        """The proactor is about to cancel everything: begin nothing new. Owner thread."""
        ...

    def proactor_closed(self) -> None:
        """Nothing is in flight any more, and the kernel's side is still there: give back what it holds."""
        ...


class Attachments:
    """The resources of one proactor. Owner thread only."""

    __slots__ = ("_resources",)

    def __init__(self) -> None:
        self._resources: dict[Attachment, None] = {}

    def add(self, resource: Attachment) -> None:
        """Keep it."""
        self._resources[resource] = None

    def remove(self, resource: Attachment) -> None:
        """It has ended; idempotent."""
        self._resources.pop(resource, None)

    def closing(self) -> None:
        """The proactor begins to close."""
        for resource in reversed(list(self._resources)):
            resource.proactor_closing()

    def closed(self) -> None:
        """Nothing is in flight any more."""
        for resource in reversed(list(self._resources)):
            resource.proactor_closed()
        self._resources.clear()
