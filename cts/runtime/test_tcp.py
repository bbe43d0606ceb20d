"""TCP: opening listeners and streams."""

from __future__ import annotations

import errno
import socket as stdlib_socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from cts.runtime.support import (
    OTHER_LOOPBACK,
    Outcome,
    cancelled_scope,
    ipv6_works,
    needs_ipv6,
    open_listener,
    port_of,
)
from cts.support import LOOPBACK, Sockets, open_descriptors
from proactor_trio import (
    SocketListener,
    move_on_after,
    open_nursery,
    open_tcp_listeners,
    open_tcp_stream,
)
from proactor_trio.testing import wait_all_tasks_blocked

# Opening listeners ------------------------------------------------------------------------------------------------


async def test_port_zero_lets_the_system_choose() -> None:
    async with await open_listener() as listener:
        assert port_of(listener) > 0


async def test_a_given_port_is_used() -> None:
    async with await open_listener() as listener:
        port = port_of(listener)
    async with await open_listener(port=port) as again:
        assert port_of(again) == port


async def test_no_host_listens_on_every_family() -> None:
    listeners = await open_tcp_listeners(0)
    families = {listener.socket.family for listener in listeners}
    for listener in listeners:
        await listener.aclose()
    assert stdlib_socket.AF_INET in families
    assert len(families) == len(listeners) == (2 if ipv6_works() else 1)


async def test_no_host_can_be_reached_by_loopback() -> None:
    listeners = await open_tcp_listeners(0, host=None)
    (listener,) = (listener for listener in listeners if listener.socket.family == stdlib_socket.AF_INET)
    async with await open_tcp_stream(LOOPBACK, port_of(listener)), await listener.accept():
        pass
    for listener in listeners:
        await listener.aclose()


@needs_ipv6
async def test_an_address_of_version_six_is_listened_on_and_connected_to() -> None:
    async with await open_listener("::1") as listener:
        async with await open_tcp_stream("::1", port_of(listener)) as near, await listener.accept() as far:
            await near.send_all(b"x")
            assert await far.receive_some() == b"x"
            assert near.socket.getpeername()[0] == "::1"


async def test_a_name_can_be_listened_on() -> None:
    listeners = await open_tcp_listeners(0, host="localhost")
    addresses = {listener.socket.getsockname()[0] for listener in listeners}
    for listener in listeners:
        await listener.aclose()
    assert addresses <= {LOOPBACK, "::1"} and addresses


async def test_a_host_may_be_given_as_bytes() -> None:
    (listener,) = await open_tcp_listeners(0, host=b"127.0.0.1")
    async with listener:
        async with await open_tcp_stream(b"127.0.0.1", port_of(listener)), await listener.accept():
            pass


async def test_the_backlog_is_what_was_asked_for(sockets: Sockets) -> None:
    (listener,) = await open_tcp_listeners(0, host=LOOPBACK, backlog=3)
    async with listener:
        statistics = listener.socket.getsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_INFO, 104)
        assert int.from_bytes(statistics[28:32], "little") == 3  # tcpi_sacked: the backlog of a listener


async def test_an_address_in_use_is_an_error_that_leaves_nothing_open() -> None:
    async with await open_listener() as listener:
        before = open_descriptors()
        with pytest.raises(OSError) as failure:
            await open_listener(port=port_of(listener))
        assert failure.value.errno == errno.EADDRINUSE
        assert open_descriptors() == before


async def test_a_second_address_that_cannot_be_used_closes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async with await open_listener(OTHER_LOOPBACK) as taken:
        port = port_of(taken)
        answers = [(LOOPBACK, port), (OTHER_LOOPBACK, port)]
        monkeypatch.setattr(stdlib_socket, "getaddrinfo", resolver({"both.test": answers}))
        before = open_descriptors()
        with pytest.raises(OSError):
            await open_tcp_listeners(port, host="both.test")
        assert open_descriptors() == before


@pytest.mark.parametrize("port", ["80", 1.5, None])
async def test_a_port_that_is_no_integer_is_refused(port: int) -> None:
    with pytest.raises(TypeError, match="port"):
        await open_tcp_listeners(port)
    with pytest.raises(TypeError, match="port"):
        await open_tcp_stream(LOOPBACK, port)


@pytest.mark.parametrize("port", [-1, 65536, 70000])
async def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    before = open_descriptors()
    with pytest.raises((OSError, OverflowError, ValueError)):
        for listener in await open_tcp_listeners(port, host=LOOPBACK):
            await listener.aclose()
    with pytest.raises((OSError, OverflowError, ValueError)) as failure:
        await open_tcp_stream(LOOPBACK, port)
    assert "refused" not in repr(failure.value.__cause__), "it connected to another port"
    assert open_descriptors() == before


@pytest.mark.parametrize("backlog", ["5", 1.5])
async def test_a_backlog_that_is_no_integer_is_refused(backlog: int) -> None:
    with pytest.raises(TypeError, match="backlog"):
        await open_tcp_listeners(0, backlog=backlog)


async def test_a_listener_needs_a_listening_socket(sockets: Sockets) -> None:
    with pytest.raises(ValueError, match="listening"):
        SocketListener(sockets.tcp())


async def test_a_listener_that_is_closed_frees_its_port_at_once() -> None:
    listener = await open_listener()
    port = port_of(listener)
    for _ in range(20):
        await listener.aclose()
        listener = await open_listener(port=port)
    await listener.aclose()


# Opening streams --------------------------------------------------------------------------------------------------


def resolver(answers: dict[str, list[tuple[str, int]]]) -> Callable[..., list[Any]]:
    """A getaddrinfo() that knows these names, and numeric addresses, and nothing else."""
    genuine = stdlib_socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in answers:
            return list(genuine(host, port, *arguments))
        if len(arguments) > 3 and arguments[3] & stdlib_socket.AI_NUMERICHOST:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "not numeric")
        return [
            (stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM, stdlib_socket.IPPROTO_TCP, "", address)
            for address in answers[name]
        ]

    return getaddrinfo


@contextmanager
def blackhole(port: int = 0) -> Iterator[tuple[str, int]]:
    """An address that answers no attempt to connect: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(stdlib_socket.socket())
        listener.bind((OTHER_LOOPBACK, port))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(stdlib_socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


async def test_a_stream_is_connected_to_the_address() -> None:
    async with await open_listener() as listener:
        async with await open_tcp_stream(LOOPBACK, port_of(listener)) as near, await listener.accept() as far:
            assert near.socket.getpeername() == far.socket.getsockname()
            assert far.socket.getpeername() == near.socket.getsockname()


async def test_a_name_is_resolved() -> None:
    async with await open_listener() as listener:
        async with await open_tcp_stream("localhost", port_of(listener)), await listener.accept():
            pass


async def test_a_name_that_does_not_exist_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object) -> list[Any]:
        raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(stdlib_socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(stdlib_socket.gaierror):
        await open_tcp_stream("nowhere.test", 80)


async def test_a_refused_connection_is_an_error_with_its_cause(sockets: Sockets) -> None:
    host, port = sockets.refusing_address()
    before = open_descriptors()
    with pytest.raises(OSError, match=f"{host}:{port}") as failure:
        await open_tcp_stream(host, port)
    cause = failure.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [type(error) for error in cause.exceptions] == [ConnectionRefusedError]
    assert open_descriptors() == before


async def test_when_all_addresses_fail_the_cause_is_all_their_errors(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = [sockets.refusing_address() for _ in range(3)]
    monkeypatch.setattr(stdlib_socket, "getaddrinfo", resolver({"dead.test": refusing}))
    with pytest.raises(OSError) as failure:
        await open_tcp_stream("dead.test", 80)
    cause = failure.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [type(error) for error in cause.exceptions] == [ConnectionRefusedError] * 3


async def test_an_address_that_refuses_is_followed_by_the_next_at_once(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_listener() as listener:
        answers = [sockets.refusing_address(), (LOOPBACK, port_of(listener))]
        monkeypatch.setattr(stdlib_socket, "getaddrinfo", resolver({"half.test": answers}))
        with move_on_after(1) as scope:
            async with await open_tcp_stream("half.test", 80, happy_eyeballs_delay=1000), await listener.accept():
                pass
        assert not scope.cancelled_caught


async def test_an_address_that_does_not_answer_is_overtaken_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with await open_listener() as listener:
        with blackhole() as silent:
            answers = [silent, (LOOPBACK, port_of(listener))]
            monkeypatch.setattr(stdlib_socket, "getaddrinfo", resolver({"slow.test": answers}))
            before = open_descriptors()
            with move_on_after(0.9) as scope:
                async with await open_tcp_stream("slow.test", 80, happy_eyeballs_delay=0.01) as near:
                    async with await listener.accept():
                        assert near.socket.getpeername() == (LOOPBACK, port_of(listener))
            assert not scope.cancelled_caught
            assert open_descriptors() == before


@pytest.mark.parametrize("delay", [None, float("inf")])
async def test_without_a_delay_the_next_address_waits_for_a_failure(
    delay: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_listener() as listener:
        with blackhole() as silent:
            answers = [silent, (LOOPBACK, port_of(listener))]
            monkeypatch.setattr(stdlib_socket, "getaddrinfo", resolver({"slow.test": answers}))
            with move_on_after(0.05) as scope:
                await open_tcp_stream("slow.test", 80, happy_eyeballs_delay=delay)
            assert scope.cancelled_caught


@pytest.mark.parametrize("delay", [-1, float("nan")])
async def test_a_delay_that_is_no_span_of_time_is_refused_before_anything_runs(delay: float) -> None:
    async with await open_listener() as listener:
        with pytest.raises(ValueError, match="happy_eyeballs_delay"):
            await open_tcp_stream(LOOPBACK, port_of(listener), happy_eyeballs_delay=delay)


async def test_a_cancelled_attempt_leaves_no_descriptor_open() -> None:
    with blackhole() as (host, port):
        before = open_descriptors()
        with move_on_after(0.02) as scope:
            await open_tcp_stream(host, port)
        assert scope.cancelled_caught
        assert open_descriptors() == before


async def test_several_cancelled_attempts_leave_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with blackhole() as silent:
        monkeypatch.setattr(stdlib_socket, "getaddrinfo", resolver({"slow.test": [silent] * 5}))
        before = open_descriptors()
        with move_on_after(0.03) as scope:
            await open_tcp_stream("slow.test", 80, happy_eyeballs_delay=0.001)
        assert scope.cancelled_caught
        assert open_descriptors() == before


async def test_connecting_in_a_cancelled_scope_connects_to_nobody() -> None:
    async with await open_listener() as listener:
        with cancelled_scope():
            await open_tcp_stream(LOOPBACK, port_of(listener))
        with move_on_after(0.01) as scope:
            await listener.accept()
        assert scope.cancelled_caught


async def test_a_cancelled_name_resolution_does_not_wait_for_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def getaddrinfo(host: str, port: int, *arguments: int) -> list[Any]:
        if arguments[3] & stdlib_socket.AI_NUMERICHOST:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "not numeric")
        release.wait(10)
        return []

    monkeypatch.setattr(stdlib_socket, "getaddrinfo", getaddrinfo)
    with move_on_after(0.01) as scope:
        await open_tcp_stream("hangs.test", 80)
    release.set()
    assert scope.cancelled_caught


async def test_names_are_resolved_while_other_tasks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def getaddrinfo(host: str, port: int, *arguments: int) -> list[Any]:
        if arguments[3] & stdlib_socket.AI_NUMERICHOST:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "not numeric")
        assert release.wait(10), "nobody else ran"
        raise stdlib_socket.gaierror(stdlib_socket.EAI_AGAIN, "later")

    monkeypatch.setattr(stdlib_socket, "getaddrinfo", getaddrinfo)
    outcome = Outcome()
    async with open_nursery() as nursery:
        nursery.start_soon(outcome.of, open_tcp_stream, "slow.test", 80)
        await wait_all_tasks_blocked()
        release.set()
    assert isinstance(outcome.error, stdlib_socket.gaierror)


async def test_a_local_address_is_what_the_peer_sees() -> None:
    async with await open_listener() as listener:
        async with await open_tcp_stream(LOOPBACK, port_of(listener), local_address=OTHER_LOOPBACK):
            async with await listener.accept() as far:
                assert far.socket.getpeername()[0] == OTHER_LOOPBACK


async def test_a_local_address_of_another_family_is_refused() -> None:
    with pytest.raises(OSError, match="local_address"):
        await open_tcp_stream(LOOPBACK, 80, local_address="::1")


async def test_a_local_address_that_is_not_ours_is_an_error_that_leaves_nothing_open() -> None:
    async with await open_listener() as listener:
        before = open_descriptors()
        with pytest.raises(OSError) as failure:
            await open_tcp_stream(LOOPBACK, port_of(listener), local_address="192.0.2.1")
        assert isinstance(failure.value.__cause__, ExceptionGroup)
        assert open_descriptors() == before


async def test_no_host_is_refused() -> None:
    with pytest.raises(ValueError, match="host"):
        await open_tcp_stream(None, 80)  # type: ignore[arg-type]
