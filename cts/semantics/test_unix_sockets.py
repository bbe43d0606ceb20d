"""Unix sockets: paths in each form, abstract names, streams and listeners over them."""

from __future__ import annotations

import os
import socket as stdlib_socket
from pathlib import Path
from typing import Any

import pytest

from cts.semantics.support import MORE_THAN_FITS, blocked, cancelled_block, receive_exactly

UNIX = stdlib_socket.AF_UNIX
FORMS = {"str": str, "bytes": os.fsencode, "path": Path}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A short path where there is no socket yet."""
    return tmp_path / "s"


async def listen_at(lib: Any, address: Any) -> Any:
    listening = lib.socket.socket(UNIX)
    await listening.bind(address)
    listening.listen()
    return listening


@pytest.mark.semantics(32)
@pytest.mark.parametrize("form", FORMS)
async def test_a_path_may_be_text_bytes_or_a_path(lib: Any, path: Path, form: str) -> None:
    with await listen_at(lib, FORMS[form](path)) as listening, lib.socket.socket(UNIX) as sock:
        assert path.is_socket()
        await sock.connect(FORMS[form](path))
        accepted, address = await listening.accept()
        with accepted:
            assert (address, sock.getpeername(), listening.getsockname()) == ("", str(path), str(path))


@pytest.mark.semantics(32)
async def test_an_abstract_name_makes_no_file(lib: Any, path: Path) -> None:
    name = b"\0" + os.fsencode(path)
    with await listen_at(lib, name) as listening, lib.socket.socket(UNIX) as sock:
        await sock.connect(name)
        assert (listening.getsockname(), sock.getpeername()) == (name, name)
        assert not path.exists()


@pytest.mark.semantics(32)
async def test_no_name_is_one_that_the_system_chooses(lib: Any) -> None:
    if lib.is_trio:
        with lib.socket.socket(UNIX) as sock, pytest.raises(IndexError):
            await sock.bind("")
        return
    with await listen_at(lib, "") as listening, lib.socket.socket(UNIX) as sock:
        assert listening.getsockname()[:1] == b"\0"
        await sock.connect(listening.getsockname())


@pytest.mark.semantics(32)
@pytest.mark.parametrize("address", [None, 5, ("127.0.0.1", 80), ["x"]])
async def test_an_address_of_another_form_is_refused(lib: Any, address: Any) -> None:
    with lib.socket.socket(UNIX) as sock:
        for call in (sock.bind, sock.connect):
            with pytest.raises(AssertionError if lib.is_trio else (TypeError, ValueError)):
                await call(address)
        assert sock.fileno() >= 0


@pytest.mark.semantics(32)
async def test_a_path_that_is_too_long_is_an_error_of_the_system(lib: Any) -> None:
    with lib.socket.socket(UNIX) as sock:
        for call in (sock.bind, sock.connect):
            with pytest.raises((OSError, ValueError)):
                await call("/" + 200 * "x")


@pytest.mark.semantics(32)
async def test_a_path_without_a_socket_is_an_error_of_the_system(lib: Any, path: Path) -> None:
    with lib.socket.socket(UNIX) as sock:
        with pytest.raises(FileNotFoundError):
            await sock.connect(str(path))
    with await listen_at(lib, path):
        pass
    with lib.socket.socket(UNIX) as sock:
        with pytest.raises(ConnectionRefusedError):
            await sock.connect(str(path))


@pytest.mark.semantics(32)
async def test_a_path_that_is_taken_is_an_error_of_the_system(lib: Any, path: Path) -> None:
    path.touch()
    with lib.socket.socket(UNIX) as sock:
        with pytest.raises(OSError, match=r"[Aa]ddress"):
            await sock.bind(path)


@pytest.mark.semantics(31)
async def test_datagrams_have_paths_as_senders(lib: Any, path: Path) -> None:
    with (
        lib.socket.socket(UNIX, stdlib_socket.SOCK_DGRAM) as near,
        lib.socket.socket(UNIX, stdlib_socket.SOCK_DGRAM) as far,
    ):
        await near.bind(path)
        await far.bind(f"{path}2")
        for form in FORMS.values():
            await far.sendto(b"hello", form(path))
            assert await near.recvfrom(10) == (b"hello", f"{path}2")
        await far.sendmsg([b"hel", b"lo"], [], 0, str(path))
        assert (await near.recvmsg(10))[::3] == (b"hello", f"{path}2")


@pytest.mark.semantics(31)
async def test_a_long_datagram_is_received_whole(lib: Any) -> None:
    near, far = lib.socket.socketpair(type=stdlib_socket.SOCK_DGRAM)
    data = bytes(range(256)) * 500
    with near, far:
        for receive in (near.recv, near.recvfrom):
            await far.send(data)
            received = await receive(200_000)
            assert data in (received, received[0])


@pytest.mark.semantics(31)
async def test_a_send_to_a_receiver_without_room_waits(lib: Any) -> None:
    near, far = lib.socket.socketpair(type=stdlib_socket.SOCK_DGRAM)
    with near, far:
        sent = 0
        with lib.move_on_after(5):
            while True:
                with lib.CancelScope() as scope:
                    async with lib.open_nursery() as nursery:

                        async def give_up(scope: Any = scope) -> None:
                            await lib.testing.wait_all_tasks_blocked(0.05)
                            scope.cancel()

                        nursery.start_soon(give_up)
                        await near.send(b"%d" % sent)
                        nursery.cancel_scope.cancel()
                if scope.cancelled_caught:
                    break
                sent += 1
        assert sent > 0
        async with lib.open_nursery() as nursery:
            nursery.start_soon(near.send, b"%d" % sent)
            received = [await far.recv(10) for _ in range(sent + 1)]
    assert received == [b"%d" % number for number in range(sent + 1)]


# ---- streams ----------------------------------------------------------------------------------------------------


@pytest.mark.semantics(32)
@pytest.mark.parametrize("form", FORMS)
async def test_open_unix_socket_connects_a_stream(lib: Any, path: Path, form: str) -> None:
    with await listen_at(lib, path) as listening:
        async with await lib.open_unix_socket(FORMS[form](path)) as near:
            accepted, _ = await listening.accept()
            async with lib.SocketStream(accepted) as far:
                await near.send_all(b"hello")
                assert await receive_exactly(far, 5) == b"hello"


@pytest.mark.semantics(32)
async def test_open_unix_socket_knows_abstract_names(lib: Any, path: Path) -> None:
    name = b"\0" + os.fsencode(path)
    with await listen_at(lib, name):
        async with await lib.open_unix_socket(name) as stream:
            assert stream.socket.getpeername() == name


@pytest.mark.semantics(32)
async def test_open_unix_socket_leaves_nothing_open_when_it_fails(lib: Any, path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        await lib.open_unix_socket(path)
    with pytest.raises(TypeError):
        await lib.open_unix_socket(None)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.semantics(32)
async def test_a_cancelled_open_unix_socket_leaves_nothing_open(lib: Any, path: Path) -> None:
    with await listen_at(lib, path):
        before = len(os.listdir("/proc/self/fd"))
        with cancelled_block(lib):
            await lib.open_unix_socket(path)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.semantics(31)
async def test_a_listener_over_a_unix_socket_serves(lib: Any, path: Path) -> None:
    async def echo(stream: Any) -> None:
        async for data in stream:
            await stream.send_all(data)

    listener = lib.SocketListener(await listen_at(lib, path))
    async with lib.open_nursery() as nursery:
        await nursery.start(lib.serve_listeners, echo, [listener])
        for number in range(3):
            async with await lib.open_unix_socket(path) as stream:
                await stream.send_all(b"hello %d" % number)
                assert await receive_exactly(stream, 7) == b"hello %d" % number
                await stream.send_eof()
                assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()


@pytest.mark.semantics(31)
async def test_a_large_transfer_arrives_whole(lib: Any) -> None:
    near, far = (lib.SocketStream(sock) for sock in lib.socket.socketpair())
    data = bytes(range(256)) * (MORE_THAN_FITS // 256)
    async with near, far, lib.open_nursery() as nursery:
        nursery.start_soon(near.send_all, data)
        assert await receive_exactly(far, len(data)) == data


@pytest.mark.semantics(31)
async def test_closing_ends_a_receive_of_a_stream(lib: Any) -> None:
    near, far = (lib.SocketStream(sock) for sock in lib.socket.socketpair())
    async with near, far, lib.open_nursery() as nursery:
        waiting = await blocked(lib, nursery, near.receive_some)
        await near.aclose()
        assert await far.receive_some() == b""
    assert isinstance(waiting.error, lib.ClosedResourceError)


@pytest.mark.semantics(31)
async def test_streams_are_made_of_connected_stream_sockets_only(lib: Any) -> None:
    with lib.socket.socket(UNIX) as unconnected, lib.socket.socket(UNIX, stdlib_socket.SOCK_DGRAM) as datagrams:
        if not lib.is_trio:  # which notices that when it is used
            with pytest.raises(OSError, match=r"[Nn]ot connected|endpoint"):
                lib.SocketStream(unconnected)
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            lib.SocketStream(datagrams)
        with pytest.raises(ValueError, match="listen"):
            lib.SocketListener(unconnected)
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            lib.SocketListener(datagrams)
        for wrong in (None, 3, stdlib_socket):
            with pytest.raises(TypeError):
                lib.SocketStream(wrong)
            with pytest.raises(TypeError):
                lib.SocketListener(wrong)
