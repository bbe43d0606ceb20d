"""What run() is given: a backend by name, options of the proactor; and what it says about its choice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import proactor_trio
from cts.configurations import Configuration, variant
from cts.support import Files, Sockets
from proactor_trio.backends import select
from proactor_trio.lowlevel import current_proactor, current_statistics
from proactor_trio.proactor import (
    BackendUnavailable,
    Capability,
    FileRead,
    FileWrite,
    Nop,
    OperationFlags,
    Proactor,
    ProactorOptions,
    RecvBytes,
    Send,
    Support,
    ThreadingMode,
    Timer,
)

VARIABLE = "PROACTOR_TRIO_BACKEND"


async def name_of_backend() -> str:
    return current_proactor().backend_name


# The choice -------------------------------------------------------------------------------------------------------


def test_the_argument_names_the_backend(configuration: Configuration) -> None:
    name = proactor_trio.run(name_of_backend, backend=configuration.backend)
    assert configuration.backend.startswith(name)


def test_the_environment_names_the_backend(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, configuration.backend)
    assert configuration.backend.startswith(proactor_trio.run(name_of_backend))


@pytest.mark.parametrize("in_environment", ["epoll", "poll", "no such backend"])
def test_the_argument_wins_over_the_environment(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch, in_environment: str
) -> None:
    monkeypatch.setenv(VARIABLE, in_environment)
    name = proactor_trio.run(name_of_backend, backend=configuration.backend)
    assert configuration.backend.startswith(name)


def test_the_argument_auto_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "no such backend")
    assert proactor_trio.run(name_of_backend, backend="auto") in select.PREFERENCE


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert proactor_trio.run(name_of_backend) in select.PREFERENCE


@pytest.mark.parametrize("name", ["kqueue", "IO_URING", "", " epoll"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown.*auto, io_uring") as failure:
        proactor_trio.run(name_of_backend, backend=name)
    assert repr(name) in str(failure.value)


def test_an_unknown_name_in_the_environment_is_refused_and_says_that_it_came_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "no such backend")
    with pytest.raises(ValueError, match=VARIABLE):
        proactor_trio.run(name_of_backend)


def test_a_run_that_was_refused_leaves_the_thread_free_for_another(run_with: Callable[..., Any]) -> None:
    with pytest.raises(ValueError):
        proactor_trio.run(name_of_backend, backend="no such backend")
    assert run_with(name_of_backend)


def test_statistics_name_the_backend_its_variant_and_the_reason(configuration: Configuration) -> None:
    async def main() -> Any:
        return current_statistics().io_statistics

    statistics = proactor_trio.run(main, backend=configuration.backend)
    assert configuration.backend.startswith(statistics.backend)
    assert statistics.variant == variant(configuration)
    assert configuration.backend in statistics.reason and "argument" in statistics.reason
    assert statistics.counters["in_flight"] == 0


def test_the_reason_names_the_environment_where_that_decided(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> str:
        return current_statistics().io_statistics.reason

    monkeypatch.setenv(VARIABLE, configuration.backend)
    assert VARIABLE in proactor_trio.run(main)


# Backends of others -----------------------------------------------------------------------------------------------


@dataclass
class FakeEntryPoint:
    """What importlib.metadata gives for a line in the group `proactor_trio.backends`."""

    name: str
    load: Callable[[], Any]


def register(monkeypatch: pytest.MonkeyPatch, *entry_points: FakeEntryPoint) -> None:
    def found(*, group: str) -> tuple[FakeEntryPoint, ...]:
        assert group == "proactor_trio.backends"
        return entry_points

    monkeypatch.setattr(select, "entry_points", found)


@pytest.fixture
def external(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """A backend of another distribution, registered as "external"."""

    class ExternalBackend(select.load_backend_class(configuration.backend)):  # type: ignore[misc]
        name = "external"

    register(monkeypatch, FakeEntryPoint("external", lambda: ExternalBackend))
    return ExternalBackend


def test_an_external_backend_can_be_named(external: type[Any]) -> None:
    async def main() -> str:
        await Nop()
        return current_statistics().io_statistics.backend

    assert proactor_trio.run(main, backend="external") == "external"


def test_an_external_backend_can_be_named_in_the_environment(
    external: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "external")
    assert proactor_trio.run(name_of_backend) == "external"


def test_an_external_backend_is_not_taken_unless_it_is_named(external: type[Any]) -> None:
    assert proactor_trio.run(name_of_backend, backend="auto") != "external"


def test_an_external_backend_is_among_the_known_ones(external: type[Any]) -> None:
    with pytest.raises(ValueError, match="external"):
        proactor_trio.run(name_of_backend, backend="no such backend")


def test_a_built_in_name_cannot_be_taken_over(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise AssertionError("the built-in one was to be used")

    register(monkeypatch, FakeEntryPoint(configuration.backend, load))
    assert proactor_trio.run(name_of_backend, backend=configuration.backend)


def test_an_external_backend_that_cannot_run_here_says_so(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unavailable(select.load_backend_class(configuration.backend)):  # type: ignore[misc]
        def __init__(self, *_: object) -> None:
            raise BackendUnavailable("it needs another machine")

    register(monkeypatch, FakeEntryPoint("external", lambda: Unavailable))
    with pytest.raises(BackendUnavailable, match=r"external.*it needs another machine"):
        proactor_trio.run(name_of_backend, backend="external")


def test_an_external_backend_that_cannot_be_imported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise ImportError("no such module")

    register(monkeypatch, FakeEntryPoint("external", load))
    with pytest.raises(BackendUnavailable, match=r"external.*no such module"):
        proactor_trio.run(name_of_backend, backend="external")


# Options of the proactor ------------------------------------------------------------------------------------------


def test_the_options_are_those_of_the_runs_proactor(run_with: Callable[..., Any]) -> None:
    options = ProactorOptions(debug_name="of a test")

    async def main() -> Proactor:
        return current_proactor()

    proactor = run_with(main, proactor_options=options)
    assert proactor.options is options
    assert "of a test" in repr(proactor)


def test_a_small_hint_for_the_number_of_operations_is_no_limit(run_with: Callable[..., Any]) -> None:
    async def main() -> int:
        timers = [Timer(0) for _ in range(500)]
        current_proactor().submit(*timers)
        for timer in timers:
            await timer
        return len(timers)

    assert run_with(main, proactor_options=ProactorOptions(max_concurrent_operations=1)) == 500


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_concurrent_operations", 0),
        ("max_concurrent_operations", "many"),
        ("message_pool_capacity", -1),
        ("allowed_capabilities", "all"),
        ("threading_mode", "same"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(run_with: Callable[..., Any], field: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=field):
        run_with(name_of_backend, proactor_options=ProactorOptions(**{field: value}))


@pytest.mark.parametrize("affinity", [(), (-1,), ("0",), 5, (1 << 14,)])
def test_a_wrong_affinity_is_refused_by_its_name(run_with: Callable[..., Any], affinity: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="affinity"):
        run_with(name_of_backend, proactor_options=ProactorOptions(affinity=affinity))


def test_a_run_whose_thread_polls_first_may_be_of_any_threading_mode(run_with: Callable[..., Any]) -> None:
    async def main() -> None:
        await Timer(0)

    run_with(main, proactor_options=ProactorOptions(threading_mode=ThreadingMode.CROSS_THREAD))


def test_affinity_binds_the_thread_of_the_run(run_with: Callable[..., Any]) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    bound: list[set[int]] = []

    async def main() -> None:
        bound.append(os.sched_getaffinity(0))

    def in_thread() -> None:
        for processor in allowed:
            run_with(main, proactor_options=ProactorOptions(affinity={processor}))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert bound == [{processor} for processor in allowed]
    assert os.sched_getaffinity(0) == set(allowed)


@pytest.mark.parametrize(
    "capability", [Capability.LINKED_OPERATIONS, Capability.MULTISHOT, Capability.ABSOLUTE_TIMEOUT]
)
def test_a_capability_that_is_masked_is_not_native_and_everything_works(
    run_with: Callable[..., Any], sockets: Sockets, files: Files, capability: Capability
) -> None:
    near, far = sockets.unix_pair()
    file = files.holding(bytes(10))

    async def main() -> Support:
        buffer = bytearray(5)
        read = FileRead(file, buffer, 0)
        current_proactor().submit(FileWrite(file, b"01234", 0, flags=OperationFlags.LINKED), read)
        assert await read == 5
        await Send(near, bytes(buffer))
        assert await RecvBytes(far, 10) == b"01234"
        await Timer(proactor_trio.current_time() + 0.001)
        return current_proactor().capability_reports[capability].support

    options = ProactorOptions(allowed_capabilities=Capability.ALL & ~capability)
    assert run_with(main, proactor_options=options) is not Support.NATIVE


def test_no_capability_at_all_is_enough(run_with: Callable[..., Any], sockets: Sockets) -> None:
    near, far = sockets.unix_pair()

    async def main() -> bytes:
        proactor = current_proactor()
        assert all(report.support is not Support.NATIVE for report in proactor.capability_reports.values())
        first = Nop(flags=OperationFlags.LINKED)
        second = Send(far, b"x")
        proactor.submit(first, second)
        data: bytes = await RecvBytes(near, 10)
        await second
        return data

    assert run_with(main, proactor_options=ProactorOptions(allowed_capabilities=Capability.NONE)) == b"x"


def test_every_capability_is_reported_with_a_reason(run_with: Callable[..., Any]) -> None:
    async def main() -> None:
        reports = current_proactor().capability_reports
        assert set(reports) == set(Capability) - {Capability.ALL}
        assert all(report.reason for report in reports.values())

    run_with(main)


@pytest.mark.parametrize("wrong", [{"clock": 5}, {"instruments": 5}])
def test_a_run_that_cannot_begin_leaves_no_descriptor_open(run_with: Callable[..., Any], wrong: dict[str, Any]) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises((TypeError, AttributeError)):
        run_with(name_of_backend, **wrong)
    assert os.listdir("/proc/self/fd") == before
