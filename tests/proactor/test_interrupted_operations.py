"""An interruption at any place of `submit()`, `poll()` or a signal: operations of several steps end all the same."""

from __future__ import annotations

import gc
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from proactor_trio.proactor import (
    Aborted,
    Event,
    EventWait,
    File,
    Frontier,
    FrontierAdvance,
    FrontierTracker,
    FrontierWait,
    FrontierWaitAny,
    Nop,
    Notification,
    NotificationWait,
    Operation,
    OperationCancelled,
    OperationFlags,
    OperationState,
    Proactor,
    ProactorOptions,
    Recv,
    Relay,
    RelayFlags,
    SemaphoreSignal,
    SemaphoreWait,
    SendFile,
    Sequence,
    SignalNotification,
    Socket,
    SocketClose,
    Splice,
    TimelineSemaphore,
    Timer,
)
from tests.proactor.interruptions import interrupt_at

LINKED = OperationFlags.LINKED
MOST_POINTS = 1000
#: So many points in a row that do not come are the end; single ones lie where Python drops what is raised.
LAST_POINTS = 3
#: How an operation may end that was interrupted.
ENDS = (OperationCancelled, Aborted)


class Scene:
    """Operations, and what lets them go on."""

    def __init__(self, folder: Path, resources: ExitStack) -> None:
        self.folder = folder
        self.resources = resources
        self.kick: Callable[[], object] = lambda: None
        self.operations: list[Operation] = []

    def pipe(self, contents: bytes = b"") -> tuple[int, int]:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.resources.callback(os.close, reader)
        self.resources.callback(os.close, writer)
        os.write(writer, contents)
        return reader, writer

    def pair(self) -> tuple[Socket, socket.socket]:
        near, far = socket.socketpair()
        self.resources.callback(far.close)
        opened = Socket.from_stdlib(near)
        self.resources.callback(opened.close)
        return opened, far


def sequence(scene: Scene) -> None:
    scene.operations = [Sequence([Nop(), Nop(), Nop()])]


def sequence_with_step_fn(scene: Scene) -> None:
    scene.operations = [Sequence([Nop(), Nop(), Nop()], lambda *_: None)]


def splice(scene: Scene) -> None:
    scene.operations = [Splice(scene.pipe(b"hello")[0], scene.pipe()[1], 5)]


def send_file(scene: Scene) -> None:
    path = scene.folder / "file"
    path.write_bytes(b"hello")
    file = File(os.open(path, os.O_RDONLY))
    scene.resources.callback(file.close)
    scene.operations = [SendFile(scene.pair()[0], file, 0, 5)]


def notification(scene: Scene) -> None:
    notification = Notification()
    scene.operations = [NotificationWait(notification)]
    scene.kick = notification.signal


def event(scene: Scene) -> None:
    event = Event()
    scene.resources.callback(event.close)
    scene.operations = [EventWait(event, timeout=10)]
    scene.kick = event.set


def semaphore(scene: Scene) -> None:
    semaphore = TimelineSemaphore()
    scene.operations = [SemaphoreWait([semaphore], [1], flags=LINKED), Nop()]

    def kick() -> None:
        if not semaphore.query():
            semaphore.signal(1)

    scene.kick = kick


def frontier(scene: Scene) -> None:
    tracker = FrontierTracker()
    tracker.register_axis(1)
    wanted = Frontier([(1, 1)])
    scene.operations = [
        FrontierWait(tracker, wanted, flags=LINKED),
        FrontierAdvance(tracker, 1, 2),
        FrontierWaitAny(tracker, [wanted, Frontier([(1, 2)])]),
    ]
    scene.kick = lambda: tracker.advance(1, 1)


def signal(scene: Scene) -> None:
    semaphore = TimelineSemaphore()
    scene.operations = [Nop(flags=LINKED), SemaphoreSignal([semaphore], [1])]


def deadline(scene: Scene) -> None:
    scene.operations = [Recv(scene.pair()[0], bytearray(3), timeout=0.002)]


def closing(scene: Scene) -> None:
    near, _far = scene.pair()
    scene.operations = [Timer(time.monotonic(), flags=LINKED), Recv(near, bytearray(3)), SocketClose(near)]


SCENES = (
    sequence,
    sequence_with_step_fn,
    splice,
    send_file,
    notification,
    event,
    semaphore,
    frontier,
    signal,
    deadline,
    closing,
)


def is_done(scene: Scene) -> bool:
    for operation in scene.operations:  # noqa: SIM110  # an interrupted generator would swallow the interruption
        if operation.state is not OperationState.DONE:
            return False
    return True


def poll_to_the_end(proactor: Proactor, scene: Scene) -> None:
    end = time.monotonic() + 3
    while not is_done(scene):
        assert time.monotonic() < end, f"stuck: {scene.operations}"
        proactor.poll(0.05)


def submit_interrupted(proactor: Proactor, scene: Scene, point: int) -> bool:
    came = interrupt_at(point, lambda: proactor.submit(*scene.operations))
    if scene.operations[0].state is OperationState.NEW:
        proactor.submit(*scene.operations)
    scene.kick()
    return came


def poll_interrupted(proactor: Proactor, scene: Scene, point: int) -> bool:
    proactor.submit(*scene.operations)
    scene.kick()
    return interrupt_at(point, lambda: poll_to_the_end(proactor, scene))


def kick_interrupted(proactor: Proactor, scene: Scene, point: int) -> bool:
    proactor.submit(*scene.operations)
    proactor.poll(0)
    came = interrupt_at(point, scene.kick)
    if came:
        scene.kick()
    return came


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Callable[[Callable[[Scene], None]], Scene]]:
    with ExitStack() as resources:

        def make(set_up: Callable[[Scene], None]) -> Scene:
            resources.close()
            scene = Scene(tmp_path, resources)
            set_up(scene)
            return scene

        yield make
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of what was made and not kept when an interruption came
        gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("backend", ["auto", "epoll"])
@pytest.mark.parametrize("interrupted", [submit_interrupted, poll_interrupted, kick_interrupted])
@pytest.mark.parametrize("set_up", SCENES)
def test_it_ends_wherever_it_is_interrupted(
    scenes: Callable[[Callable[[Scene], None]], Scene],
    set_up: Callable[[Scene], None],
    interrupted: Callable[[Proactor, Scene, int], bool],
    backend: str,
) -> None:
    missed = 0
    for point in range(1, MOST_POINTS):
        with Proactor(backend, ProactorOptions(max_concurrent_operations=4)) as proactor:
            scene = scenes(set_up)
            came = interrupted(proactor, scene, point)
            poll_to_the_end(proactor, scene)
            errors = [operation.error for operation in scene.operations if operation.error is not None]
        if set_up is not deadline:
            assert all(isinstance(error, ENDS) for error in errors), (point, errors)
        missed = 0 if came else missed + 1
        if missed == LAST_POINTS:
            return
    raise AssertionError("more points than were tried")


@pytest.mark.parametrize("backend", ["auto", "epoll"])
def test_a_persistent_relay_goes_on_after_an_interruption_anywhere_in_poll(backend: str) -> None:
    point = 0
    came = True
    while came:
        point += 1
        source, sink = Notification(), Notification()
        with Proactor(backend) as proactor:
            relay = Relay(proactor, source, SignalNotification(sink), RelayFlags.PERSISTENT)
            source.signal()
            came = interrupt_at(point, partial(poll_until_fired, proactor, relay, 1))
            fired = relay.fired
            source.signal()
            poll_until_fired(proactor, relay, fired + 1)


def poll_until_fired(proactor: Proactor, relay: Relay, times: int) -> None:
    end = time.monotonic() + 3
    while relay.fired < times:
        assert time.monotonic() < end, f"stuck: {relay}"
        proactor.poll(0.05)


@pytest.mark.parametrize("backend", ["auto", "epoll"])
def test_an_imported_fence_signals_after_an_interruption_anywhere_in_poll(backend: str) -> None:
    point = 0
    came = True
    while came:
        point += 1
        semaphore = TimelineSemaphore()
        fence = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with Proactor(backend) as proactor:
            semaphore.import_fence(proactor, fence, 1)
            came = interrupt_at(point, partial(poll_until_reached, proactor, semaphore))
            poll_until_reached(proactor, semaphore)
            assert semaphore.error is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fence)


def poll_until_reached(proactor: Proactor, semaphore: TimelineSemaphore) -> None:
    end = time.monotonic() + 3
    while not semaphore.query() or proactor.statistics()["in_flight"]:
        assert time.monotonic() < end, f"stuck: {semaphore}"
        proactor.poll(0.05)
