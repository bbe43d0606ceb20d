"""Accept: single and MULTISHOT, and what it does without descriptors."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cts.net_support import no_descriptors_left
from cts.support import (
    Completions,
    Sockets,
    cause_of,
    finish,
    perform,
    poll_until,
    settle,
    start,
)
from proactor_trio.proactor import (
    Accept,
    CancelCause,
    CompletionFlags,
    Connect,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    RecvBytes,
    Socket,
    SocketClose,
)

MULTISHOT = OperationFlags.MULTISHOT


def test_accept_takes_a_connection_that_waits(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    assert accepted.getpeername() == client.getsockname()


def test_accept_takes_a_connection_that_comes_later(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accept = Accept(listener)
    start(proactor, accept)
    client = sockets.client_of(listener)
    settle(proactor, accept)
    assert sockets.keep(accept.result).getpeername() == client.getsockname()


@pytest.mark.ring_rule(23)
def test_an_accepted_socket_is_non_blocking_and_not_inherited(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    sockets.client_of(listener)
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    assert not os.get_blocking(accepted.fileno())
    assert fcntl.fcntl(accepted.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_several_accepts_share_the_connections(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accepts = [Accept(listener) for _ in range(3)]
    start(proactor, *accepts)
    clients = [sockets.client_of(listener) for _ in range(3)]
    settle(proactor, *accepts)
    peers = {sockets.keep(accept.result).getpeername() for accept in accepts}
    assert peers == {client.getsockname() for client in clients}


@pytest.mark.needs("unix_sockets")
def test_an_accept_of_a_unix_listener_works(proactor: Proactor, sockets: Sockets, tmp_path: Path) -> None:
    listener = sockets.unix()
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    client = sockets.unix()
    proactor.submit(connecting := Connect(client, str(tmp_path / "socket")))
    accepted = sockets.keep(perform(proactor, Accept(listener)))
    settle(proactor, connecting)
    accepted.stdlib.send(b"hello")
    assert perform(proactor, RecvBytes(client, 100)) == b"hello"


def test_accept_on_a_socket_that_does_not_listen_is_einval(proactor: Proactor, sockets: Sockets) -> None:
    with pytest.raises(OSError, match="Accept") as failure:
        perform(proactor, Accept(sockets.tcp()))
    assert failure.value.errno == errno.EINVAL


@pytest.mark.reference("MultishotTest.MultishotAccept_MultipleConnections")
def test_multishot_accept_delivers_each_connection_with_more(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    start(proactor, accept)
    clients = [sockets.client_of(listener) for _ in range(5)]
    poll_until(proactor, lambda: len(completions) == 5)
    peers = [sockets.keep(result).getpeername() for result in completions.results]
    assert peers == [client.getsockname() for client in clients]
    proactor.cancel(accept)
    settle(proactor, accept)
    assert [record.flags for record in completions.records] == [CompletionFlags.MORE] * 5 + [CompletionFlags.NONE]
    assert completions.outcomes[5:] == [(None, "cancelled")]


@pytest.mark.regression("eager-accept")
def test_multishot_accept_goes_on_behind_what_waited_before(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    clients = [sockets.client_of(listener)]
    accept = Accept(listener, completions, flags=MULTISHOT)
    proactor.submit(accept)
    poll_until(proactor, lambda: len(completions) == 1)
    clients.append(sockets.client_of(listener))
    poll_until(proactor, lambda: len(completions) == 2)
    peers = [sockets.keep(result).getpeername() for result in completions.results]
    assert peers == [client.getsockname() for client in clients]
    proactor.cancel(accept)
    settle(proactor, accept)


def test_multishot_accept_takes_what_waited_before(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    for _ in range(40):
        sockets.client_of(listener)
    accept = Accept(listener, completions, flags=MULTISHOT)
    proactor.submit(accept)
    poll_until(proactor, lambda: len(completions) == 40)
    for result in completions.results:
        result.close()
    proactor.cancel(accept)
    settle(proactor, accept)


def test_multishot_accept_ends_with_one_completion_without_more(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    start(proactor, accept)
    proactor.cancel(accept)
    settle(proactor, accept)
    assert [type(error) for error in completions.errors] == [OperationCancelled]
    assert completions.records[0].is_final


def test_a_listener_stays_usable_after_its_accept_was_cancelled(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    accept = Accept(listener)
    start(proactor, accept)
    proactor.cancel(accept)
    settle(proactor, accept)
    sockets.client_of(listener)
    assert isinstance(sockets.keep(perform(proactor, Accept(listener))), Socket)


@pytest.mark.ring_rule(23)
def test_sockets_accepted_by_a_multishot_are_non_blocking_and_not_inherited(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    accept = Accept(listener, completions, flags=MULTISHOT)
    start(proactor, accept)
    sockets.client_of(listener)
    poll_until(proactor, lambda: completions.records)
    accepted = sockets.keep(completions.results[0])
    assert not os.get_blocking(accepted.fileno())
    assert fcntl.fcntl(accepted.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    proactor.cancel(accept)
    settle(proactor, accept)


def test_accept_without_descriptors_fails_with_emfile_and_the_listener_survives(
    proactor: Proactor, sockets: Sockets
) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    with no_descriptors_left(client.fileno()):
        accept = finish(proactor, Accept(listener))
    assert isinstance(accept.error, OSError) and accept.error.errno == errno.EMFILE
    sockets.keep(perform(proactor, Accept(listener)))


def test_the_peer_of_a_connection_is_known(proactor: Proactor, sockets: Sockets) -> None:
    listener = sockets.listener()
    client = sockets.client_of(listener)
    accept = finish(proactor, Accept(listener))
    sockets.keep(accept.result)
    assert accept.peer_address == client.getsockname()


# A multishot accept without descriptors -------------------------------------------------------------------------------


def test_it_pauses_and_goes_on_when_there_are_some(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    clients = [sockets.client_of(listener) for _ in range(2)]
    accept = Accept(listener, completions, flags=MULTISHOT)
    with no_descriptors_left(listener.fileno()):
        start(proactor, accept)
        proactor.poll(0.02)
        assert accept.state is OperationState.SUBMITTED and len(completions) == 0
    poll_until(proactor, lambda: len(completions) == 2)
    peers = [sockets.keep(result).getpeername() for result in completions.results]
    assert peers == [client.getsockname() for client in clients]
    proactor.cancel(accept)
    settle(proactor, accept)


def test_it_does_not_spin_meanwhile(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    listener = sockets.listener()
    sockets.client_of(listener)
    accept = Accept(listener, completions, flags=MULTISHOT)
    with no_descriptors_left(listener.fileno()):
        start(proactor, accept)
        before = kernel_calls(proactor)
        while proactor.poll(0.03):
            pass
        assert kernel_calls(proactor) - before <= 2
        proactor.cancel(accept)
        settle(proactor, accept)


def kernel_calls(proactor: Proactor) -> int:
    """How often the backend has asked its kernel for completions or events."""
    statistics = proactor.statistics()
    return statistics["system_calls"] if "system_calls" in statistics else statistics["system_waits"]


def test_while_it_pauses_it_can_be_cancelled(proactor: Proactor, sockets: Sockets, completions: Completions) -> None:
    listener = sockets.listener()
    sockets.client_of(listener)
    accept = Accept(listener, completions, flags=MULTISHOT)
    with no_descriptors_left(listener.fileno()):
        start(proactor, accept)
        proactor.poll(0)
        proactor.cancel(accept)
        settle(proactor, accept)
    assert completions.outcomes == [(None, "cancelled")]
    sockets.keep(perform(proactor, Accept(listener)))


def test_closing_the_listener_ends_it_while_it_pauses(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    listener = sockets.listener()
    sockets.client_of(listener)
    accept = Accept(listener, completions, "accept", MULTISHOT)
    close = SocketClose(listener, completions, "close")
    with no_descriptors_left(listener.fileno()):
        start(proactor, accept)
        proactor.poll(0)
        proactor.submit(close)
        settle(proactor, accept, close)
    assert completions.outcomes == [("accept", "cancelled"), ("close", "ok")]
    assert cause_of(accept) is CancelCause.RESOURCE_CLOSED


def test_closing_the_proactor_ends_it_while_it_pauses(
    make_proactor: Callable[..., Proactor], sockets: Sockets, completions: Completions
) -> None:
    proactor = make_proactor()
    listener = sockets.listener()
    sockets.client_of(listener)
    accept = Accept(listener, completions, flags=MULTISHOT)
    with no_descriptors_left(listener.fileno()):
        start(proactor, accept)
        proactor.poll(0)
        proactor.close()
    assert cause_of(accept) is CancelCause.PROACTOR_CLOSED
