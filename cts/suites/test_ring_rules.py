"""Rules of rings and chains (cts/reference/ring_rules.py), as far as no suite of an area shows them."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import proactor_trio
from cts.support import Completions, Files, Sockets, finish, open_descriptors, perform, settle, start
from proactor_trio._kernel.context import current_run
from proactor_trio.backends.io_uring import constants as c
from proactor_trio.backends.io_uring import ring
from proactor_trio.proactor import (
    Accept,
    Access,
    Connect,
    Event,
    EventPool,
    FileOpen,
    FileRead,
    HandlePoll,
    Nop,
    Notification,
    NotificationWait,
    OperationFlags,
    Proactor,
    Recv,
    RecvBytes,
    SemaphoreWait,
    Send,
    Slab,
    TimelineSemaphore,
    Timer,
    register_dmabuf,
    register_slab,
)

LINKED = OperationFlags.LINKED
SILENT = OperationFlags.SILENT
MEBIBYTE = 1 << 20


# 2, 3. Heads of chains ---------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(3)
@pytest.mark.needs("fork")
def test_a_forked_child_does_not_move_the_chains_of_its_parent(
    proactor: Proactor, sockets: Sockets, completions: Completions
) -> None:
    near, far = sockets.tcp_pair()
    semaphore = TimelineSemaphore()
    chain = (SemaphoreWait([semaphore], [1], flags=LINKED | SILENT), Send(near, b"moved", completions))
    start(proactor, *chain)
    child = os.fork()
    if not child:
        semaphore.signal(1)
        os._exit(0)
    os.waitpid(child, 0)
    proactor.poll(0)
    assert (semaphore.query(), len(completions)) == (0, 0)
    with pytest.raises(BlockingIOError):
        far.stdlib.recv(10)
    proactor.cancel(chain[0])
    settle(proactor, *chain)


# 11. The doorbell --------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(11)
@pytest.mark.needs("native_links")
def test_a_turn_in_which_nothing_happens_makes_no_system_call(proactor: Proactor, sockets: Sockets) -> None:
    near, far = sockets.tcp_pair()
    receive = RecvBytes(near, 10)
    start(proactor, receive)
    proactor.poll(0)
    before = proactor.statistics()["system_calls"]
    for _ in range(1000):
        assert proactor.poll(0) == 0
    assert proactor.statistics()["system_calls"] == before
    far.stdlib.send(b"x")
    settle(proactor, receive)


# 12. Chains and the owner's thread ---------------------------------------------------------------------------------


@pytest.mark.ring_rule(12)
def test_a_chain_goes_on_when_its_owner_polls_and_not_before(proactor: Proactor, sockets: Sockets) -> None:
    if "COOP_TASKRUN" in proactor.backend_variant or "plain" in proactor.backend_variant:
        pytest.skip("this kernel works for a ring inside any system call of its thread")
    near, far = sockets.tcp_pair()
    semaphore = TimelineSemaphore()
    chain = (SemaphoreWait([semaphore], [1], flags=LINKED | SILENT), Send(near, b"now"))
    start(proactor, *chain)
    semaphore.signal(1)
    for _ in range(100):
        os.sched_yield()
        with pytest.raises(BlockingIOError):
            far.stdlib.recv(10)
    settle(proactor, *chain)
    assert far.stdlib.recv(10) == b"now"


# 15. Large transfers of files --------------------------------------------------------------------------------------


@pytest.mark.needs("files")
@pytest.mark.ring_rule(15)
def test_what_is_submitted_behind_a_large_read_does_not_wait_for_it(
    proactor: Proactor, files: Files, completions: Completions
) -> None:
    file = files.holding()
    os.truncate(file.fileno(), 64 * MEBIBYTE)
    with mmap.mmap(-1, 64 * MEBIBYTE) as memory:
        read, nop = FileRead(file, memory, 0, completions, "read"), Nop(completions, "nop")
        proactor.submit(read)
        proactor.submit(nop)
        settle(proactor, read, nop)
    assert (completions.labels, read.result) == (["nop", "read"], 64 * MEBIBYTE)


# 16. Children ------------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(16)
@pytest.mark.needs("descriptors", "fork")
@pytest.mark.parametrize("has_ended", [False, True], ids=["while it waits", "before"])
def test_waiting_for_a_child_does_not_reap_it(proactor: Proactor, has_ended: bool) -> None:
    child = subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    with open(os.pidfd_open(child.pid), closefd=True) as pidfd:
        if has_ended:
            child.stdin.close()
            os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED | os.WNOWAIT)
        polls = [HandlePoll(pidfd) for _ in range(3)]
        proactor.submit(*polls)
        child.stdin.close()
        settle(proactor, *polls)
        perform(proactor, HandlePoll(pidfd))  # it stays so
        assert child.wait() == 7


# 19. Deadlines that are over ---------------------------------------------------------------------------------------


@pytest.mark.ring_rule(19)
def test_scopes_that_were_left_do_not_pile_up(run: Callable[..., Any]) -> None:
    lengths: list[int] = []

    async def main() -> None:
        with proactor_trio.move_on_after(2000), proactor_trio.move_on_after(3000):
            for _ in range(20_000):
                with proactor_trio.move_on_after(1000):
                    pass
            lengths.append(len(current_run().deadlines.heap))

    run(main)
    assert lengths[0] < 4000


@pytest.mark.ring_rule(19)
def test_deadlines_of_operations_that_are_done_do_not_pile_up(proactor: Proactor) -> None:
    notification = Notification()
    wait = NotificationWait(notification, timeout=1000)
    for _ in range(5000):
        proactor.submit(wait)
        notification.signal()
        settle(proactor, wait)
    assert len(proactor._beginning.expiries.heap) < 2000


# 20. Fast paths ----------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(20)
@pytest.mark.parametrize("call", ["send_all", "receive_some"])
def test_calls_of_a_stream_that_need_not_wait_let_others_run(
    run: Callable[..., Any], sockets: Sockets, call: str
) -> None:
    async def main() -> None:
        near, far = (proactor_trio.SocketStream(end) for end in sockets.tcp_pair())
        ran: list[str] = []

        async def other() -> None:
            ran.append("other")

        async with near, far, proactor_trio.open_nursery() as nursery:
            await far.send_all(b"there already")
            nursery.start_soon(other)
            for _ in range(5):
                await (near.send_all(b"x") if call == "send_all" else near.receive_some(1))
            ran.append("the calls")
        assert ran == ["other", "the calls"]

    run(main)


@pytest.mark.ring_rule(20)
@pytest.mark.parametrize("call", ["send_all", "receive_some"])
def test_a_call_of_a_stream_in_a_cancelled_scope_moves_nothing(
    run: Callable[..., Any], sockets: Sockets, call: str
) -> None:
    async def main() -> None:
        near, far = (proactor_trio.SocketStream(end) for end in sockets.tcp_pair())
        async with near, far:
            await far.send_all(b"there already")
            with proactor_trio.CancelScope() as scope:
                scope.cancel()
                await (near.send_all(b"never") if call == "send_all" else near.receive_some(5))
            assert scope.cancelled_caught
            assert await near.receive_some(100) == b"there already"
            await near.send_eof()
            assert await far.receive_some(100) == b""

    run(main)


# 21. Set-up flags --------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(21)
@pytest.mark.needs("native_links")
@pytest.mark.parametrize("refused", range(len(ring._LADDER)))
def test_a_ring_works_whichever_flags_the_kernel_refuses(
    make_proactor: Callable[..., Proactor], sockets: Sockets, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ring, "_LADDER", ring._LADDER[refused:])
        proactor = make_proactor()
    assert ring._LADDER[refused][1] in proactor.backend_variant
    listener, client = sockets.listener(), sockets.tcp()
    accept, connect = Accept(listener), Connect(client, listener.getsockname(), flags=LINKED)
    send = Send(client, b"through any ring")
    proactor.submit(accept, connect, send)
    settle(proactor, accept, connect, send)
    buffer = bytearray(16)
    assert perform(proactor, Recv(sockets.keep(accept.result), buffer, whole=True)) == 16
    deadline = time.monotonic() + 0.01
    perform(proactor, Timer(deadline))
    assert buffer == b"through any ring" and time.monotonic() >= deadline


# 23. Descriptors ---------------------------------------------------------------------------------------------------


@pytest.mark.ring_rule(23)
def test_nothing_that_a_proactor_opens_is_inherited(
    make_proactor: Callable[..., Proactor], sockets: Sockets, tmp_path: Path
) -> None:
    before = open_descriptors().keys()
    proactor = make_proactor()
    listener, client = sockets.listener(), sockets.tcp()
    accept, connect = Accept(listener), Connect(client, listener.getsockname())
    proactor.submit(accept, connect)
    settle(proactor, accept, connect)
    sockets.keep(accept.result)
    semaphore = TimelineSemaphore()
    chain = (SemaphoreWait([semaphore], [1], flags=LINKED | SILENT), Nop())
    start(proactor, *chain)
    with Event(), EventPool(2), Slab.allocate(64, 4) as slab, register_slab(proactor, slab, Access.READ):
        file = perform(proactor, FileOpen(tmp_path / "new", os.O_CREAT | os.O_RDWR))
        fence = semaphore.export_fence(9)
        opened = open_descriptors().keys() - before
        inherited = [descriptor for descriptor in opened if os.get_inheritable(descriptor)]
        os.close(fence)
        file.close()
    semaphore.close()
    settle(proactor, *chain)
    assert (inherited, len(opened) > 8) == ([], True)


# 24. dma-bufs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def memfd() -> Iterator[int]:
    """Shared memory that stands in for a dma-buf."""
    descriptor = os.memfd_create("stand-in", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    yield descriptor
    os.close(descriptor)


@pytest.mark.ring_rule(24)
@pytest.mark.needs("dmabuf", "files")
def test_a_dmabuf_that_cannot_be_pinned_is_mapped_only_and_says_so(
    proactor: Proactor, memfd: int, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = ring.Ring.register
    refusals = iter([-errno.EFAULT])  # of the first page that it is asked to pin

    def cannot_pin(of: ring.Ring, opcode: int, argument: Any, count: int) -> int:
        refusal = next(refusals, None) if opcode == c.REGISTER_BUFFERS_UPDATE else None
        return register(of, opcode, argument, count) if refusal is None else refusal

    with monkeypatch.context() as patched:
        patched.setattr(ring.Ring, "register", cannot_pin)
        region = register_dmabuf(proactor, memfd, 0, mmap.PAGESIZE, Access.READ | Access.WRITE)
    with region:
        assert (region.pinned, "cannot pin these pages" in region.reason) == (False, True)
        finish(proactor, FileRead(files.holding(b"still usable"), region.span(), 0))
        assert os.pread(memfd, 12, 0) == b"still usable"
