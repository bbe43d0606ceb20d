"""Names: what needs no thread, what a resolver and a socket factory of one's own are asked, and wrong names."""

from __future__ import annotations

import socket as stdlib_socket
from typing import Any

import pytest

from cts.semantics.support import LOOPBACK, cancelled_block, is_cancel_point, is_schedule_point, port_of

STREAM = stdlib_socket.SOCK_STREAM


@pytest.fixture
def no_threads(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's blocking calls are not made."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"asked the system about {arguments}")

    resolve = stdlib_socket.getaddrinfo

    def numeric_only(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        assert flags & stdlib_socket.AI_NUMERICHOST, f"asked the system about {host!r}"
        return resolve(host, port, family, type, proto, flags)

    monkeypatch.setattr(stdlib_socket, "getaddrinfo", numeric_only)


class Resolver:
    """Answers everything with one address, and keeps what it was asked."""

    def __init__(self, lib: Any, address: tuple[Any, ...] = ("127.0.0.1", 80)) -> None:
        self.asked: list[Any] = []
        self._address = address

    async def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        self.asked.append((host, port, family, type, proto, flags))
        return [(stdlib_socket.AF_INET, type or STREAM, proto, "", self._address)]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        self.asked.append((sockaddr, flags))
        return "name.example", "80"


def make_resolver(lib: Any, **options: Any) -> Any:
    return type("Derived", (Resolver, lib.abc.HostnameResolver), {})(lib, **options)


# ---- without a thread -------------------------------------------------------------------------------------------


@pytest.mark.semantics(32)
@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", "::1", None, ""])
async def test_numeric_names_need_no_thread(lib: Any, no_threads: None, host: Any) -> None:
    if host == "":
        with pytest.raises((stdlib_socket.gaierror, AssertionError)):
            await lib.socket.getaddrinfo(host, 80, type=STREAM)
        return
    answer = await lib.socket.getaddrinfo(host, 80, type=STREAM)
    assert all(entry[1] == STREAM and entry[4][1] == 80 for entry in answer)


@pytest.mark.semantics(32)
async def test_the_answer_is_that_of_the_stdlib(lib: Any) -> None:
    for arguments in (("127.0.0.1", 80), ("::1", "80"), ("localhost", 80), (None, 80)):
        assert await lib.socket.getaddrinfo(*arguments) == stdlib_socket.getaddrinfo(*arguments)


@pytest.mark.semantics(1, 32)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_getaddrinfo_is_a_checkpoint(lib: Any, host: str) -> None:
    assert await is_schedule_point(lib, lib.socket.getaddrinfo, host, 80)
    assert await is_cancel_point(lib, lib.socket.getaddrinfo, host, 80)


@pytest.mark.semantics(32)
async def test_a_name_that_must_be_numeric_and_is_not_is_an_error(lib: Any, no_threads: None) -> None:
    with pytest.raises(stdlib_socket.gaierror) as caught:
        await lib.socket.getaddrinfo("localhost", 80, flags=stdlib_socket.AI_NUMERICHOST)
    assert caught.value.errno == stdlib_socket.EAI_NONAME


@pytest.mark.semantics(32)
async def test_what_no_name_can_mend_is_an_error_at_once(lib: Any, no_threads: None) -> None:
    with pytest.raises(stdlib_socket.gaierror) as caught:
        await lib.socket.getaddrinfo("::1", 12345, type=-1)
    assert caught.value.errno == stdlib_socket.EAI_SOCKTYPE


@pytest.mark.semantics(32)
async def test_a_name_that_nobody_has_is_an_error(lib: Any) -> None:
    with pytest.raises(stdlib_socket.gaierror):
        await lib.socket.getaddrinfo("name.invalid", 80)
    assert lib.socket.gaierror is stdlib_socket.gaierror


# ---- names that are not ASCII -----------------------------------------------------------------------------------


@pytest.mark.semantics(32)
@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("example.org", b"example.org"),
        ("EXAMPLE.org", b"EXAMPLE.org"),
        ("bücher.example", b"xn--bcher-kva.example"),
        ("faß.example", b"xn--fa-hia.example"),  # IDNA 2003 would say fass.example
        ("BÜCHER.example", b"xn--bcher-kva.example"),
    ],
)
async def test_names_are_encoded_by_idna_2008(lib: Any, name: str, encoded: bytes) -> None:
    resolver = make_resolver(lib)
    lib.socket.set_custom_hostname_resolver(resolver)
    await lib.socket.getaddrinfo(name, 80)
    assert resolver.asked[0][0] == encoded


@pytest.mark.semantics(32)
async def test_a_name_that_cannot_be_encoded_is_an_error_of_unicode(lib: Any) -> None:
    for name in ("ü" * 70 + ".example", "a..ü", "\ud800"):
        with pytest.raises(UnicodeError):
            await lib.socket.getaddrinfo(name, 80)


# ---- a resolver of one's own ------------------------------------------------------------------------------------


@pytest.mark.semantics(32)
async def test_a_resolver_is_asked_about_names_and_not_about_numbers(lib: Any) -> None:
    resolver = make_resolver(lib)
    assert lib.socket.set_custom_hostname_resolver(resolver) is None
    answer = await lib.socket.getaddrinfo("host.example", "http", stdlib_socket.AF_INET, STREAM, 6, 2)
    assert answer == [(stdlib_socket.AF_INET, STREAM, 6, "", ("127.0.0.1", 80))]
    assert resolver.asked == [(b"host.example", "http", stdlib_socket.AF_INET, STREAM, 6, 2)]
    assert (await lib.socket.getaddrinfo("::1", 1))[0][4][:2] == ("::1", 1)
    assert len(resolver.asked) == 1
    assert lib.socket.set_custom_hostname_resolver(None) is resolver
    assert (await lib.socket.getaddrinfo("localhost", 1, stdlib_socket.AF_INET))[0][4] == ("127.0.0.1", 1)


@pytest.mark.semantics(28, 32)
def test_a_resolver_is_for_one_run(lib: Any) -> None:
    async def set_it() -> None:
        lib.socket.set_custom_hostname_resolver(make_resolver(lib))

    async def is_none() -> bool:
        return lib.socket.set_custom_hostname_resolver(None) is None

    lib.run(set_it)
    assert lib.run(is_none)
    with pytest.raises(RuntimeError):
        lib.socket.set_custom_hostname_resolver(None)


@pytest.mark.semantics(32)
async def test_sockets_and_streams_ask_the_resolver(lib: Any) -> None:
    with lib.socket.socket() as listening:
        await listening.bind((LOOPBACK, 0))
        listening.listen()
        lib.socket.set_custom_hostname_resolver(make_resolver(lib, address=listening.getsockname()))
        with lib.socket.socket() as sock:
            await sock.connect(("host.example", 1))
            assert sock.getpeername() == listening.getsockname()
        async with await lib.open_tcp_stream("host.example", 1) as stream:
            assert stream.socket.getpeername() == listening.getsockname()


@pytest.mark.semantics(32)
async def test_what_a_resolver_raises_is_raised(lib: Any) -> None:
    class Failing(lib.abc.HostnameResolver):  # type: ignore[misc, name-defined]
        async def getaddrinfo(self, *arguments: Any) -> Any:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_AGAIN, "not now")

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    lib.socket.set_custom_hostname_resolver(Failing())
    with lib.socket.socket() as sock:
        with pytest.raises(stdlib_socket.gaierror):
            await sock.connect(("host.example", 80))
        assert sock.fileno() >= 0
    with pytest.raises(NotImplementedError):
        await lib.socket.getnameinfo(("127.0.0.1", 80), 0)


@pytest.mark.semantics(32)
async def test_a_connect_that_is_cancelled_at_the_name_closes_the_socket(lib: Any) -> None:
    class Slow(lib.abc.HostnameResolver):  # type: ignore[misc, name-defined]
        async def getaddrinfo(self, *arguments: Any) -> Any:
            await lib.sleep_forever()

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            raise NotImplementedError

    lib.socket.set_custom_hostname_resolver(Slow())
    with lib.socket.socket() as sock:
        with cancelled_block(lib):
            await sock.connect(("host.example", 80))
        assert sock.fileno() == -1


# ---- names of addresses -----------------------------------------------------------------------------------------


@pytest.mark.semantics(32)
async def test_getnameinfo_says_the_name_of_an_address(lib: Any) -> None:
    numeric = stdlib_socket.NI_NUMERICHOST | stdlib_socket.NI_NUMERICSERV
    assert await lib.socket.getnameinfo(("127.0.0.1", 80), numeric) == ("127.0.0.1", "80")
    assert await lib.socket.getnameinfo(("127.0.0.1", 80), 0) == stdlib_socket.getnameinfo(("127.0.0.1", 80), 0)
    with pytest.raises(stdlib_socket.gaierror):
        await lib.socket.getnameinfo(("localhost", 80), numeric)


@pytest.mark.semantics(1, 32)
async def test_getnameinfo_is_a_checkpoint_and_asks_the_resolver(lib: Any) -> None:
    numeric = stdlib_socket.NI_NUMERICHOST | stdlib_socket.NI_NUMERICSERV
    assert await is_schedule_point(lib, lib.socket.getnameinfo, ("127.0.0.1", 80), numeric)
    assert await is_cancel_point(lib, lib.socket.getnameinfo, ("127.0.0.1", 80), numeric)
    resolver = make_resolver(lib)
    lib.socket.set_custom_hostname_resolver(resolver)
    assert await lib.socket.getnameinfo(("127.0.0.1", 80), 0) == ("name.example", "80")


@pytest.mark.semantics(32)
async def test_getprotobyname_knows_protocols(lib: Any) -> None:
    assert await lib.socket.getprotobyname("tcp") == stdlib_socket.IPPROTO_TCP
    assert await is_cancel_point(lib, lib.socket.getprotobyname, "udp")


# ---- sockets of somebody else's making --------------------------------------------------------------------------


@pytest.mark.semantics(32)
async def test_a_factory_makes_the_sockets(lib: Any) -> None:
    asked = []

    class Factory(lib.abc.SocketFactory):  # type: ignore[misc, name-defined]
        def socket(self, family: int, type: int, proto: int) -> Any:
            asked.append((family, type, proto))
            raise LookupError("no socket today")

    factory = Factory()
    assert lib.socket.set_custom_socket_factory(factory) is None
    with pytest.raises(LookupError):
        lib.socket.socket()
    with pytest.raises(LookupError):
        lib.socket.socket(stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM, 17)
    assert asked == [
        (stdlib_socket.AF_INET, STREAM, 0),
        (stdlib_socket.AF_INET6, stdlib_socket.SOCK_DGRAM, 17),
    ]
    assert lib.socket.set_custom_socket_factory(None) is factory
    lib.socket.socket().close()


class Wire:
    """One direction of a simulated connection."""

    def __init__(self, lib: Any) -> None:
        self.send, self.receive = lib.testing.memory_stream_one_way_pair()


def simulated_network(lib: Any) -> Any:
    """A factory whose sockets know nothing but each other: port to the listener's queue."""
    listeners: dict[int, Any] = {}

    class Simulated(lib.socket.SocketType):  # type: ignore[misc, name-defined]
        def __init__(self, family: int, type: int, proto: int) -> None:
            self._kind = (family, type, proto)
            self._port = 0
            self._incoming: Any = None
            self._out: Any = None
            self._in: Any = None
            self._is_closed = False
            self._shut_down = False

        family = property(lambda self: self._kind[0])
        type = property(lambda self: self._kind[1])
        proto = property(lambda self: self._kind[2])
        did_shutdown_SHUT_WR = property(lambda self: self._shut_down)

        def fileno(self) -> int:
            return -1 if self._is_closed else 5

        def setsockopt(self, *arguments: Any) -> None:
            pass

        def getsockopt(self, level: int, option: int, *arguments: Any) -> int:
            return int(self._incoming is not None)

        def getsockname(self) -> Any:
            return ("10.0.0.1", self._port)

        def getpeername(self) -> Any:
            if self._in is None:
                raise OSError(107, "not connected")
            return ("10.0.0.2", 1)

        async def bind(self, address: Any) -> None:
            await lib.lowlevel.checkpoint()
            self._port = address[1] or 4242

        def listen(self, backlog: int = 5) -> None:
            self._put, self._incoming = lib.open_memory_channel(100)
            listeners[self._port] = self._put

        async def connect(self, address: Any) -> None:
            await lib.lowlevel.checkpoint()
            there, back = Wire(lib), Wire(lib)
            self._out, self._in = there.send, back.receive
            accepted = Simulated(*self._kind)
            accepted._out, accepted._in = back.send, there.receive
            listeners[address[1]].send_nowait(accepted)

        async def accept(self) -> Any:
            try:
                accepted = await self._incoming.receive()
            except lib.EndOfChannel:
                raise OSError(9, "closed") from None
            return accepted, accepted.getpeername()

        async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
            data: bytes = await self._in.receive_some(buflen)
            return data

        async def send(self, data: Any, flags: int = 0, /) -> int:
            await self._out.send_all(bytes(data[:3]))  # a little at a time
            return min(3, len(data))

        async def wait_writable(self) -> None:
            await lib.lowlevel.checkpoint()

        def shutdown(self, flag: int) -> None:
            self._shut_down = True
            self._out.close()

        def close(self) -> None:
            self._is_closed = True
            for end in (self._out, self._in):
                if end is not None:
                    end.close()
            if self._incoming is not None:
                self._put.close()

    class Factory(lib.abc.SocketFactory):  # type: ignore[misc, name-defined]
        def socket(self, family: int, type: int, proto: int) -> Any:
            return Simulated(family, type, proto)

    return Factory()


@pytest.mark.semantics(31, 32)
async def test_streams_and_listeners_work_over_sockets_of_a_factory(lib: Any) -> None:
    lib.socket.set_custom_socket_factory(simulated_network(lib))
    lib.socket.set_custom_hostname_resolver(make_resolver(lib, address=("10.0.0.1", 4242)))
    (listener,) = await lib.open_tcp_listeners(0, host="host.example")
    assert isinstance(listener, lib.SocketListener) and port_of(listener) == 4242
    near = await lib.open_tcp_stream("host.example", 4242)
    far = await listener.accept()
    assert isinstance(near, lib.SocketStream) and isinstance(far, lib.SocketStream)
    await near.send_all(b"over no network at all")
    await near.send_eof()
    received = b""
    async for data in far:
        received += data
    assert received == b"over no network at all"
    with pytest.raises(lib.ClosedResourceError):
        await near.send_all(b"too late")
    await far.wait_send_all_might_not_block()
    await far.aclose()
    await near.aclose()
    await listener.aclose()


@pytest.mark.semantics(31, 32)
async def test_streams_over_sockets_of_a_factory_know_conflicts_and_closing(lib: Any) -> None:
    lib.socket.set_custom_socket_factory(simulated_network(lib))
    (listener,) = await lib.open_tcp_listeners(4242, host="127.0.0.1")
    near = await lib.open_tcp_stream("127.0.0.1", 4242)
    far = await listener.accept()
    with pytest.raises(ValueError):
        await near.receive_some(0)
    with pytest.raises(TypeError):
        await near.receive_some(1.5)
    async with lib.open_nursery() as nursery:
        for stream in (near, far):
            nursery.start_soon(stream.aclose)
    await listener.aclose()
