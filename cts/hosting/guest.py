"""Real Trio as a guest of our loop, and the way from its tasks to ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import outcome
import trio
from trio.lowlevel import Abort

import proactor_trio
from cts.configurations import Configuration
from cts.hosting.support import MOST_SECONDS

AsyncFunction = Callable[..., Awaitable[Any]]


class Guest:
    """One run of Trio inside one run of ours: `Guest(configuration).run(async_fn)`."""

    def __init__(self, configuration: Configuration, **options: Any) -> None:
        self._configuration = configuration
        self._options = options
        self._host_nursery: proactor_trio.Nursery
        self._token: trio.lowlevel.TrioToken

    def run(self, async_fn: AsyncFunction, *args: Any) -> Any:
        """What `async_fn(*args)`, the main task of the guest, returns or raises."""
        return proactor_trio.run(
            self._host_main,
            async_fn,
            args,
            backend=self._configuration.backend,
            proactor_options=self._configuration.restrict(),
        )

    async def _host_main(self, async_fn: AsyncFunction, args: tuple[Any, ...]) -> Any:
        token = proactor_trio.lowlevel.current_trio_token()
        has_ended = proactor_trio.Event()
        ended: list[outcome.Outcome[Any]] = []

        def done(result: outcome.Outcome[Any]) -> None:
            ended.append(result)
            has_ended.set()

        async def guest_main() -> Any:
            self._token = trio.lowlevel.current_trio_token()
            return await async_fn(*args)

        async with proactor_trio.open_nursery() as self._host_nursery:
            trio.lowlevel.start_guest_run(
                guest_main,
                run_sync_soon_threadsafe=token.run_sync_soon,
                done_callback=done,
                host_uses_signal_set_wakeup_fd=True,
                **self._options,
            )
            with proactor_trio.fail_after(MOST_SECONDS):
                await has_ended.wait()
        return ended[0].unwrap()

    async def on_host(self, async_fn: AsyncFunction, *args: Any) -> Any:
        """In a task of the guest: what `async_fn(*args)`, in a task of the host, returns or raises.

        A cancellation by Trio cancels the task of the host, whose end decides: a result that came first is returned.
        """
        scope = proactor_trio.CancelScope()
        guest_task = trio.lowlevel.current_task()
        cancelling: list[Callable[[], object]] = []

        async def host_task() -> None:
            result: outcome.Outcome[Any] = outcome.Value(None)
            with scope:
                try:
                    result = outcome.Value(await async_fn(*args))
                except Exception as error:
                    result = outcome.Error(error)
            if scope.cancelled_caught:
                result = outcome.capture(cancelling[0])
            self._token.run_sync_soon(trio.lowlevel.reschedule, guest_task, result)

        def abort(raise_cancel: Callable[[], object]) -> Abort:
            cancelling.append(raise_cancel)
            scope.cancel()
            return Abort.FAILED

        await trio.lowlevel.checkpoint_if_cancelled()
        self._host_nursery.start_soon(host_task)
        return await trio.lowlevel.wait_task_rescheduled(abort)
