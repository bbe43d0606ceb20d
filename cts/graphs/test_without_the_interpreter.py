"""A chain that the kernel links needs no Python: it goes on while another thread keeps the interpreter to itself.

The thread of the loop is blocked in the kernel. Another one signals the semaphore, and then makes a call that does not
let go of the interpreter for a second. The peer is a process of its own; it says when it has received the bytes.

A signal writes to an eventfd, and os.write() lets go of the interpreter for that moment, in which the loop's
thread may take it. So here the write, too, is made by a call that does not, and who asks for the interpreter is made to
wait: else a busy machine decides.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import pytest

from cts.support import Sockets, until_asleep
from proactor_trio import open_graph
from proactor_trio.proactor import SemaphoreWait, Send, TimelineSemaphore

HELD_SECONDS: Final = 1.0
#: How long a thread that wants the interpreter waits before it insists.
PATIENCE_SECONDS: Final = 30.0

#: A call of such a library keeps the interpreter, however long it takes.
_library: Final = ctypes.PyDLL(None)
_library.write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
_library.write.restype = ctypes.c_ssize_t

PEER: Final = """
import socket, sys, time
connection = socket.socket(fileno=int(sys.argv[1]))
print("ready", flush=True)
while data := connection.recv(100):
    print(time.monotonic_ns(), data.decode(), flush=True)
"""


def keep_the_interpreter(seconds: float) -> None:
    """No other thread runs Python for so long."""
    _library.usleep(int(seconds * 1e6) - 1)


def write_keeping_the_interpreter(descriptor: int, data: bytes) -> int:
    """os.write() for a test in which nothing goes wrong."""
    written: int = _library.write(descriptor, data, len(data))
    assert written == len(data)
    return written


class Signaller(threading.Thread):
    """Signals when another thread is asleep, and keeps the interpreter from then on."""

    def __init__(self, semaphore: TimelineSemaphore) -> None:
        super().__init__()
        self._semaphore = semaphore
        self._loop = threading.current_thread()
        #: On the monotonic clock.
        self.began = self.ended = 0

    def run(self) -> None:
        until_asleep(self._loop)
        self.began = time.monotonic_ns()
        self._semaphore.signal(1)
        keep_the_interpreter(HELD_SECONDS)
        self.ended = time.monotonic_ns()


class Peer:
    """A process that receives from the other end of a connection."""

    def __init__(self, sockets: Sockets) -> None:
        self.near, far = sockets.tcp_pair()
        far.stdlib.setblocking(True)
        descriptor = far.fileno()
        command = [sys.executable, "-S", "-c", PEER, str(descriptor)]
        self.process = subprocess.Popen(command, pass_fds=[descriptor], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self._output = self.process.stdout
        assert self._output.readline() == "ready\n"

    def received(self) -> tuple[int, str]:
        """When, on the monotonic clock, and what."""
        moment, data = self._output.readline().split()
        return int(moment), data

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()


@pytest.fixture
def peer(sockets: Sockets) -> Iterator[Peer]:
    peer = Peer(sockets)
    yield peer
    peer.close()


@pytest.fixture
def patient_threads() -> Iterator[None]:
    """A thread that wants the interpreter gets it when another one lets go of it, and does not insist."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE_SECONDS)
    yield
    sys.setswitchinterval(before)


async def send_when_signalled(peer: Peer) -> tuple[Signaller, int]:
    """One round: the thread that signalled, and when the thread of the loop went on, on the monotonic clock."""
    semaphore = TimelineSemaphore()
    signaller = Signaller(semaphore)
    async with open_graph() as graph:
        graph.add(Send(peer.near, b"token"), after=graph.add(SemaphoreWait(semaphore, 1)))
        await graph.submit()
        signaller.start()
    moment = time.monotonic_ns()
    signaller.join()
    return signaller, moment


@pytest.mark.needs("native_links")
@pytest.mark.usefixtures("patient_threads")
async def test_the_peer_receives_while_the_thread_that_has_signalled_keeps_the_interpreter(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", write_keeping_the_interpreter)
    signaller, went_on = await send_when_signalled(peer)
    moment, data = peer.received()
    assert data == "token"
    assert signaller.began < moment < signaller.ended < went_on


def test_the_interpreter_is_really_kept() -> None:
    stamps = [0.0]
    gaps = []
    over = threading.Event()

    def watch() -> None:
        stamps[0] = time.monotonic()
        while not over.is_set():
            now = time.monotonic()
            gaps.append(now - stamps[0])
            stamps[0] = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    keep_the_interpreter(0.1)
    over.set()
    watcher.join()
    assert max(gaps) >= 0.09
