"""ProactorPool: proactors for the parts of a machine, each made when it is first asked for.

On a machine with several NUMA nodes, work that stays on the node of its memory is faster. So each proactor of a pool
belongs to a node and is polled by a runner there: by default a ProactorThread that binds itself to the node's
processors. A runner of another kind is plugged in as a factory.

The end of a pool tells all runners to stop before it waits for any, so that they end at the same time.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final

from proactor_trio.proactor.affinity import Affinity, query_affinities
from proactor_trio.proactor.arguments import check_integer
from proactor_trio.proactor.errors import ClosedResourceError
from proactor_trio.proactor.options import ProactorOptions
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.thread import ErrorCallback, ProactorRunner, ProactorThread

_MOST_PROACTORS: Final = 1 << 16

#: Called as `factory(affinity, name)`; returns a runner whose proactor is being polled, or raises.
RunnerFactory = Callable[[Affinity, str], ProactorRunner]


class ProactorPool:
    """Proactors of the machine's NUMA nodes, each with a runner. All methods from any thread, except where they wait.

    node_ids: the nodes, one proactor for each in this order, several for a node that is named several times; or a
        number of proactors, which are spread over the nodes in turn; None: one for each node that this process may use.
    backend, options, error_callback: what the threads are made with; see ProactorThread.
    runner_factory: makes other runners than ProactorThread; not together with the three above.
    sysfs_root: where the nodes are looked up; see `query_affinities()`.

    Raises ValueError for no node at all, a number below 1, and a node that this machine has not.
    """

    def __init__(
        self,
        node_ids: Sequence[int] | int | None = None,
        *,
        backend: str | None = None,
        options: ProactorOptions | None = None,
        error_callback: ErrorCallback | None = None,
        runner_factory: RunnerFactory | None = None,
        sysfs_root: str | os.PathLike[str] = "/sys",
    ) -> None:
        self._runners: list[ProactorRunner | None] = []
        if runner_factory is not None and (backend, options, error_callback) != (None, None, None):
            raise TypeError("backend, options and error_callback are for the threads that runner_factory replaces")

        def make_thread(affinity: Affinity, name: str) -> ProactorThread:
            return ProactorThread(
                backend=backend,
                options=options,
                affinity=affinity,
                error_callback=error_callback,
                debug_name=name,
            )

        self._factory: RunnerFactory = make_thread if runner_factory is None else runner_factory
        self._affinities = _places(node_ids, query_affinities(sysfs_root))
        self._runners = [None] * len(self._affinities)
        self._lock = threading.Lock()
        self._closed = False

    def __len__(self) -> int:
        """How many proactors there are, made or not."""
        return len(self._affinities)

    def affinity(self, index: int) -> Affinity:
        """Where the proactor of this index runs."""
        check_integer(index, "index", 0, len(self) - 1)
        return self._affinities[index]

    def node_id(self, index: int) -> int | None:
        """The NUMA node of the proactor of this index; None: this machine does not name any."""
        return self.affinity(index).numa_node

    def get(self, index: int) -> Proactor:
        """The proactor of this index; made, and its runner started, when it is first asked for.

        It is the pool's: it is closed with it. Raises what the factory raises, and the next call tries again;
        ClosedResourceError after `close()`; ValueError for an index that does not exist.
        """
        affinity = self.affinity(index)
        runner = self._runners[index]
        if runner is None or self._closed:
            with self._lock:
                if self._closed:
                    raise ClosedResourceError("this proactor pool was closed")
                runner = self._runners[index]
                if runner is None:
                    runner = self._factory(affinity, _name_for(index, affinity))
                    self._runners[index] = runner
        return runner.proactor

    def get_for_node(self, node: int | None) -> Proactor:
        """The first proactor of a NUMA node; of a node that the pool does not have, the first of all."""
        for index, affinity in enumerate(self._affinities):
            if affinity.numa_node == node:
                return self.get(index)
        return self.get(0)

    def close(self) -> None:
        """Stop all runners, then wait for each. Idempotent. Not on a thread of the pool's own.

        Raises what the runners raise when they are joined, several as an ExceptionGroup, after all have ended.
        """
        with self._lock:
            self._closed = True
        runners = [runner for runner in self._runners if runner is not None]
        for runner in runners:
            runner.request_stop()
        errors: list[BaseException] = []
        for runner in runners:
            try:
                runner.join()
            except Exception as error:  # the others are waited for all the same
                errors.append(error)
        if errors:
            raise errors[0] if len(errors) == 1 else BaseExceptionGroup("runners of a proactor pool failed", errors)

    def __enter__(self) -> ProactorPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{sum(runner is not None for runner in self._runners)} made"
        return f"<ProactorPool of {len(self)}, {state}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if any(self._runners) and not self._closed:
            try:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # where warnings are errors, too
                for runner in filter(None, self._runners):
                    runner.request_stop()


def _name_for(index: int, affinity: Affinity) -> str:
    return f"proactor-{index}" if affinity.numa_node is None else f"proactor-{index} of node {affinity.numa_node}"


def _places(node_ids: Sequence[int] | int | None, affinities: list[Affinity]) -> list[Affinity]:
    if node_ids is None:
        return _usable(affinities)
    if isinstance(node_ids, int):
        check_integer(node_ids, "node_ids", 1, _MOST_PROACTORS)
        usable = _usable(affinities)
        return [usable[index % len(usable)] for index in range(node_ids)]
    if not isinstance(node_ids, Iterable) or isinstance(node_ids, (str, bytes)):
        raise TypeError(f"node_ids must be node numbers, a number of proactors or None, not {node_ids!r}")
    by_node = {affinity.numa_node: affinity for affinity in affinities}
    places = []
    for node in node_ids:
        if node not in by_node:
            raise ValueError(f"node_ids: this machine has no processors of a node {node!r}")
        places.append(by_node[node])
    if not places:
        raise ValueError("node_ids must name a node")
    return places


def _usable(affinities: list[Affinity]) -> list[Affinity]:
    """Those where this process may run at all, which in a container may be few."""
    if not hasattr(os, "sched_getaffinity"):
        return affinities
    allowed = os.sched_getaffinity(0)
    return [affinity for affinity in affinities if affinity.is_any or affinity.processors & allowed] or affinities
