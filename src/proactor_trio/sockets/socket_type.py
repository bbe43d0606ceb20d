"""SocketType: what a socket of this library can do. The class to ask for by isinstance(), and to derive test doubles
from, which a socket factory then hands out (set_custom_socket_factory)."""

from __future__ import annotations

import builtins
import socket as stdlib_socket
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Address = Any
AncillaryData = Iterable[tuple[int, int, Any]]


class SocketType:
    """A socket whose blocking methods are async. Made by socket(), socketpair(), from_stdlib_socket(), fromfd().

    Its methods are those of socket.socket, and mean the same; see there. Left out are makefile() (wrap it in a
    SocketStream), settimeout() and its like (use cancel scopes), and sendall() (SocketStream.send_all).

    A blocking method that is cancelled had no effect. One that another task closes the socket under raises
    ClosedResourceError, one of a socket that is closed already OSError (EBADF).
    """

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        super().__init__()
        if type(self) is SocketType:
            raise TypeError("SocketType is abstract: make a socket by proactor_trio.socket.socket()")

    def _missing(self) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} does not have this method")

    # What a socket is --------------------------------------------------------------------------------------------

    @property
    def family(self) -> stdlib_socket.AddressFamily:
        """Its family of addresses."""
        self._missing()

    @property
    def type(self) -> stdlib_socket.SocketKind:
        """Stream, datagram, ..."""
        self._missing()

    @property
    def proto(self) -> int:
        """Its protocol."""
        self._missing()

    @property
    def did_shutdown_SHUT_WR(self) -> bool:
        """Whether shutdown() with SHUT_WR or SHUT_RDWR was called."""
        self._missing()

    def fileno(self) -> int:
        """Its descriptor, -1 once it is closed."""
        self._missing()

    def getpeername(self) -> Address:
        """The address of the peer."""
        self._missing()

    def getsockname(self) -> Address:
        """Its own address."""
        self._missing()

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> int | bytes:
        """An option of the socket."""
        self._missing()

    def setsockopt(
        self, level: int, optname: int, value: int | ReadableBuffer | None, optlen: int | None = None
    ) -> None:
        """Set an option of the socket."""
        self._missing()

    def get_inheritable(self) -> bool:
        """Whether child processes inherit it."""
        self._missing()

    def set_inheritable(self, inheritable: bool) -> None:
        """Say whether child processes inherit it."""
        self._missing()

    # What does not block -----------------------------------------------------------------------------------------

    def detach(self) -> int:
        """Give up the descriptor and return it; the object counts as closed."""
        self._missing()

    def dup(self) -> SocketType:
        """A second socket for the same connection."""
        self._missing()

    def listen(self, backlog: int = min(stdlib_socket.SOMAXCONN, 128)) -> None:
        """Accept connections from now on."""
        self._missing()

    def shutdown(self, flag: int) -> None:
        """End one direction or both."""
        self._missing()

    def close(self) -> None:
        """Close it. What is pending on it ends with ClosedResourceError."""
        self._missing()

    def is_readable(self) -> bool:
        """Whether a receive would return at once."""
        self._missing()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: builtins.type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What blocks -------------------------------------------------------------------------------------------------

    async def bind(self, address: Address) -> None:
        """Bind it to an address; names are resolved."""
        self._missing()

    async def connect(self, address: Address) -> None:
        """Connect it. Cancelled: it is closed, since nobody knows what became of the attempt."""
        self._missing()

    async def accept(self) -> tuple[SocketType, Address]:
        """Take a connection: its socket and the address of the peer."""
        self._missing()

    async def wait_writable(self) -> None:
        """Wait until a send would return at once."""
        self._missing()

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        """Receive at most so many bytes; b"" at the end of the stream."""
        self._missing()

    async def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into writable memory."""
        self._missing()

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Address]:
        """Receive, and say from whom."""
        self._missing()

    async def recvfrom_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Address]:
        """Receive into writable memory, and say from whom."""
        self._missing()

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Address]:
        """Receive with ancillary data."""
        self._missing()

    async def recvmsg_into(
        self, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Address]:
        """Receive into several buffers, with ancillary data."""
        self._missing()

    async def send(self, bytes: ReadableBuffer, flags: int = 0, /) -> int:
        """Send what there is room for; the number of bytes."""
        self._missing()

    async def sendto(self, *args: Any) -> int:
        """sendto(data, address) or sendto(data, flags, address): send a datagram; names are resolved."""
        self._missing()

    async def sendmsg(
        self, buffers: Iterable[ReadableBuffer], ancdata: AncillaryData = (), flags: int = 0, address: Address = None, /
    ) -> int:
        """Send several buffers with ancillary data."""
        self._missing()
