"""Worker threads that are used again: starting one costs ten times as much as waking one.

The thread that became free last is used first, so that the others can end: one that was idle for ten seconds does.
Threads are daemons: the end of the process does not wait for a blocking call that nobody waits for.

The hand-over is a lock per worker: the worker waits for its own, whoever gives it a job releases it. A worker that
gives up must not take a job along: it leaves only if it finds itself still among the idle, which is one atomic step.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from outcome import Outcome, capture

from proactor_trio._kernel.thread_names import name_current_thread

IDLE_SECONDS: Final = 10.0

Job = tuple[Callable[[], Any], Callable[[Outcome[Any]], object], str]

_names: Final = count()


class _Worker:
    __slots__ = ("_cache", "_default_name", "_ready", "_thread", "job")

    def __init__(self, cache: ThreadCache) -> None:
        self._cache = cache
        self.job: Job | None = None
        self._ready = threading.Lock()
        self._ready.acquire()
        self._default_name = f"proactor_trio thread {next(_names)}"
        self._thread = threading.Thread(target=self._work, name=self._default_name, daemon=True)
        self._thread.start()

    def give(self, job: Job) -> None:
        self.job = job
        self._ready.release()

    def _work(self) -> None:
        while True:
            if self._ready.acquire(timeout=IDLE_SECONDS):
                self._do_job()
            elif self._cache.retire(self):
                return

    def _do_job(self) -> None:
        job, self.job = self.job, None
        assert job is not None
        function, deliver, name = job
        del job
        if name:
            name_current_thread(self._thread, name)
        result = capture(function)
        del function
        if name:
            name_current_thread(self._thread, self._default_name)
        self._cache.add_idle(self)
        try:
            deliver(result)
            del deliver, result
        except BaseException:
            sys.excepthook(*sys.exc_info())


class ThreadCache:
    """The idle workers of the process. Any thread."""

    __slots__ = ("_idle",)

    def __init__(self) -> None:
        self._idle: dict[_Worker, None] = {}

    def start_thread_soon(
        self, function: Callable[[], Any], deliver: Callable[[Outcome[Any]], object], name: str | None = None
    ) -> None:
        """Call `function()` in a worker thread and then, in the same thread, `deliver(outcome)`."""
        try:
            worker, _ = self._idle.popitem()
        except KeyError:
            worker = _Worker(self)
        worker.give((function, deliver, name or ""))

    def add_idle(self, worker: _Worker) -> None:
        self._idle[worker] = None

    def retire(self, worker: _Worker) -> bool:
        """Take an idle worker out; False if somebody has taken it and a job is on its way."""
        try:
            del self._idle[worker]
        except KeyError:
            return False
        return True

    def forget_all(self) -> None:
        """In a forked child, where these threads do not exist."""
        self._idle.clear()


THREAD_CACHE: Final = ThreadCache()
os.register_at_fork(after_in_child=THREAD_CACHE.forget_all)


def start_thread_soon(
    fn: Callable[[], Any], deliver: Callable[[Outcome[Any]], object], name: str | None = None
) -> None:
    """Call `fn()` in a thread soon, then `deliver(outcome)` in that thread.

    deliver: gets an outcome.Outcome; it should be quick and not raise.
    name: of the thread while it does this. Any thread may call; works without a run.
    """
    THREAD_CACHE.start_thread_soon(fn, deliver, name)
