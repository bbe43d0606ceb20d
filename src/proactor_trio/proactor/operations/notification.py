"""Operations on notifications: NotificationWait and NotificationSignal."""

from __future__ import annotations

from typing import Unpack

from proactor_trio.backends.contract import OperationFlags
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import CANCELED, ClosedResourceError
from proactor_trio.proactor.notification import ALL_WAITERS, EPOCH_MASK, NotificationSource
from proactor_trio.proactor.operation import CompletionFunction, Limits, SoftwareOperation
from proactor_trio.proactor.proactor import Proactor


class NotificationWait(SoftwareOperation):
    """Waits until a notification's epoch is not its token. Result: the epoch.

    wait_token: the epoch to wait past, from `begin_observe()` or `query_epoch()`; a signal since then completes it.
        None: the epoch at submission.
    Cancelling it leaves the notification as it is.
    """

    __slots__ = ("notification", "token", "wait_token")

    def __init__(
        self,
        notification: NotificationSource,
        wait_token: int | None = None,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(notification, NotificationSource):
            raise TypeError(f"notification must be a Notification, not {type(notification).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.notification = notification
        self.wait_token = wait_token
        #: The epoch that the submission in flight waits past.
        self.token = 0

    def _prepare(self) -> None:
        self.notification.check_can_wait()
        if self.wait_token is None:
            self.token = self.notification.query_epoch()
        else:
            check_integer(self.wait_token, "wait_token", 0, EPOCH_MASK)
            self.token = self.wait_token

    def _begin(self, proactor: Proactor) -> None:
        try:
            self.notification.add_waiter(self, self.identifier, proactor)
        except ClosedResourceError as error:  # a SharedNotification, before its turn
            proactor.finish(self, self.identifier, error)

    def _cancel(self, proactor: Proactor) -> None:
        self.notification.remove_waiter(self, self.identifier, proactor)
        proactor.finish(self, self.identifier, CANCELED)

    def _finish(self, result: int) -> int:
        return result


class NotificationSignal(SoftwareOperation):
    """Signals a notification when its turn comes. Result: how many waiters were woken.

    wake_count: how many blocked threads are woken at most; waiting operations all go on.
    """

    __slots__ = ("notification", "wake_count")

    def __init__(
        self,
        notification: NotificationSource,
        wake_count: int = ALL_WAITERS,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(notification, NotificationSource):
            raise TypeError(f"notification must be a Notification, not {type(notification).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.notification = notification
        self.wake_count = wake_count

    def _prepare(self) -> None:
        check_integer(self.wake_count, "wake_count", 1, ALL_WAITERS)

    def _begin(self, proactor: Proactor) -> None:
        try:
            result: int | BaseException = self.notification.signal(self.wake_count)
        except ClosedResourceError as error:  # a SharedNotification, before its turn
            result = error
        proactor.finish(self, self.identifier, result)

    def _cancel(self, proactor: Proactor) -> None:
        return  # it has happened
