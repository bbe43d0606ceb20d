"""fork(): the proactor stays the parent's; the child is told so when it touches it, and disturbs nothing."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Callable

import pytest

from cts.configurations import Configuration
from cts.support import Sockets, finish, perform, settle, start
from proactor_trio.proactor import Nop, Proactor, RecvBytes, Send, Timer

pytestmark = pytest.mark.needs("fork")


def in_child(function: Callable[[], object]) -> str:
    """Run the function in a forked child; returns "" or what went wrong there."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the backend live on in the parent only
        child = os.fork()
    if child == 0:
        text = "the child did not come to its end"
        try:
            function()
            text = ""
        except BaseException:
            text = traceback.format_exc()
        finally:
            os.write(writer, text.encode()[-4000:])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if status:
        return f"the child ended with status {status} (signal {status & 0x7F}) {said}"
    return said


CALLS: dict[str, Callable[[Proactor, Timer], object]] = {
    "submit": lambda proactor, timer: proactor.submit(Nop()),
    "poll": lambda proactor, timer: proactor.poll(0),
    "cancel": lambda proactor, timer: proactor.cancel(timer),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_inherited_proactor_says_so_when_it_is_used(
    proactor: Proactor, call: Callable[[Proactor, Timer], object]
) -> None:
    timer = Timer(time.monotonic() + 3600)
    start(proactor, timer)

    def child() -> None:
        with pytest.raises(RuntimeError, match=r"inherited by fork\(\)"):
            call(proactor, timer)

    assert in_child(child) == ""
    proactor.cancel(timer)
    settle(proactor, timer)


@pytest.mark.parametrize(
    "call",
    [Proactor.close, Proactor.wake, Proactor.statistics, repr, Proactor.is_quiet],
    ids=["close", "wake", "statistics", "repr", "is_quiet"],
)
def test_what_cannot_harm_does_not_crash_in_the_child(proactor: Proactor, call: Callable[[Proactor], object]) -> None:
    def child() -> None:
        try:
            call(proactor)
        except RuntimeError as error:
            assert "inherited by fork()" in str(error)

    assert in_child(child) == ""


@pytest.mark.ring_rule(10)
def test_the_parent_goes_on(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    timer = Timer(time.monotonic() + 0.01)
    start(proactor, receive, timer)
    assert in_child(proactor.close) == ""
    perform(proactor, Send(far, b"x"))
    settle(proactor, receive, timer)
    assert receive.result == b"x"


def test_the_child_can_make_a_proactor_of_its_own(proactor: Proactor, configuration: Configuration) -> None:
    def child() -> None:
        with Proactor(backend=configuration.backend) as own:
            assert finish(own, Nop()).error is None

    finish(proactor, Nop())
    assert in_child(child) == ""
    finish(proactor, Nop())


def test_a_child_that_ends_takes_nothing_from_the_parent(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    for _ in range(5):
        receive = RecvBytes(near, 1)
        start(proactor, receive)
        assert in_child(lambda: None) == ""
        far.stdlib.send(b"x")
        settle(proactor, receive)
        assert receive.result == b"x"
