"""Choosing a backend, without creating one: names, the environment, reasons, what others register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from proactor_trio.backends import select
from proactor_trio.backends.contract import Backend, BackendUnavailable


class Stub:
    """Stands for a created backend."""

    def __init__(self, backend_class: type[Backend]) -> None:
        self.backend_class = backend_class


def creating(**refusals: BackendUnavailable) -> Callable[[type[Backend]], Any]:
    """A creator that refuses the backends of these names."""

    def create(backend_class: type[Backend]) -> Any:
        if backend_class.name in refusals:
            raise refusals[backend_class.name]
        return Stub(backend_class)

    return create


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(select.ENVIRONMENT_VARIABLE, raising=False)


def name_taken(selection: select.Selection) -> str:
    taken: Any = selection.backend
    return str(taken.backend_class.name)


def test_the_best_is_taken_and_the_reason_says_so() -> None:
    selection = select.select_backend(None, creating())
    assert name_taken(selection) == "io_uring"
    assert selection.refused == {}
    assert "best" in selection.reason


def test_what_is_refused_is_passed_over_with_its_reason() -> None:
    selection = select.select_backend(None, creating(io_uring=BackendUnavailable("forbidden here", 1)))
    assert name_taken(selection) == "epoll"
    assert "io_uring: forbidden here" in selection.reason
    assert selection.refused["io_uring"].errno_value == 1


def test_all_reasons_are_kept_when_only_the_last_works() -> None:
    create = creating(io_uring=BackendUnavailable("no ring"), epoll=BackendUnavailable("no epoll"))
    selection = select.select_backend("auto", create)
    assert name_taken(selection) == "poll"
    assert "no ring" in selection.reason and "no epoll" in selection.reason


def test_when_nothing_works_the_error_has_every_reason() -> None:
    create = creating(**{name: BackendUnavailable(f"no {name} here") for name in select.PREFERENCE})
    with pytest.raises(BackendUnavailable, match=r"no io_uring here.*no epoll here.*no poll here"):
        select.select_backend(None, create)


@pytest.mark.parametrize("name", ["io_uring", "io_uring_abi", "epoll", "poll"])
def test_a_named_backend_is_taken(name: str) -> None:
    selection = select.select_backend(name, creating())
    assert name_taken(selection) in name
    assert name in selection.reason


def test_a_named_backend_that_is_refused_is_not_replaced() -> None:
    with pytest.raises(BackendUnavailable, match=r"epoll.*argument.*no epoll") as failure:
        select.select_backend("epoll", creating(epoll=BackendUnavailable("no epoll", 38)))
    assert failure.value.errno_value == 38


def test_the_environment_decides_where_there_is_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(select.ENVIRONMENT_VARIABLE, "poll")
    selection = select.select_backend(None, creating())
    assert name_taken(selection) == "poll"
    assert select.ENVIRONMENT_VARIABLE in selection.reason


def test_a_backend_that_the_environment_names_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(select.ENVIRONMENT_VARIABLE, "poll")
    with pytest.raises(BackendUnavailable, match=select.ENVIRONMENT_VARIABLE):
        select.select_backend(None, creating(poll=BackendUnavailable("no poll")))


def test_the_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(select.ENVIRONMENT_VARIABLE, "poll")
    assert name_taken(select.select_backend("epoll", creating())) == "epoll"
    assert name_taken(select.select_backend("auto", creating())) == "io_uring"


@pytest.mark.parametrize("name", ["kqueue", "", "EPOLL", "epoll "])
def test_an_unknown_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(ValueError, match="auto, io_uring, io_uring_abi, epoll, poll"):
        select.select_backend(name, creating())


@pytest.mark.parametrize("name", [5, b"epoll"])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="backend"):
        select.select_backend(name, creating())


def test_an_error_that_is_none_of_availability_is_not_swallowed() -> None:
    def create(_: type[Backend]) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        select.select_backend(None, create)


# What others register ------------------------------------------------------------------------------------------------


@dataclass
class FakeEntryPoint:
    """What importlib.metadata gives for one line of the group."""

    name: str
    load: Callable[[], Any]


class ExternalBackend(select.load_backend_class("poll")):  # type: ignore[misc]
    """A backend of another distribution."""

    name = "external"


def register(monkeypatch: pytest.MonkeyPatch, *entry_points: FakeEntryPoint) -> None:
    def found(*, group: str) -> tuple[FakeEntryPoint, ...]:
        return entry_points if group == "proactor_trio.backends" else ()

    monkeypatch.setattr(select, "entry_points", found)


def test_a_registered_backend_is_known_and_loaded_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, FakeEntryPoint("external", lambda: ExternalBackend))
    assert "external" in select.backend_names()
    assert name_taken(select.select_backend("external", creating())) == "external"


def test_a_registered_backend_is_not_loaded_when_it_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise AssertionError("it was loaded")

    register(monkeypatch, FakeEntryPoint("external", load))
    assert name_taken(select.select_backend("auto", creating())) == "io_uring"


def test_a_registered_backend_that_cannot_be_imported_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise ImportError("it is broken")

    register(monkeypatch, FakeEntryPoint("external", load))
    with pytest.raises(BackendUnavailable, match=r"external.*it is broken"):
        select.select_backend("external", creating())


def test_something_registered_that_is_no_backend_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, FakeEntryPoint("external", lambda: dict))
    with pytest.raises(BackendUnavailable, match="external"):
        select.select_backend("external", creating())
