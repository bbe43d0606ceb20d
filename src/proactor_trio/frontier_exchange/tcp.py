"""TcpTransport: hosts that are connected to each other by TCP, with TLS if they are given contexts for it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence

from proactor_trio._kernel.nursery import TASK_STATUS_IGNORED, TaskStatus
from proactor_trio.abc import Listener, Stream
from proactor_trio.frontier_exchange.stream_transport import Dial, StreamTransport
from proactor_trio.frontier_exchange.transport import LocalHost, Transport
from proactor_trio.proactor.address import check_port
from proactor_trio.streams.socket_listener import SocketListener
from proactor_trio.streams.tcp_connecting import open_tcp_stream
from proactor_trio.streams.tcp_listening import open_tcp_listeners
from proactor_trio.streams.tls.listener import SSLListener
from proactor_trio.streams.tls.over_tcp import open_ssl_over_tcp_stream


class TcpTransport(Transport):
    """Plain TCP between peers, or TLS over it.

    peers: host name or address, and port, of each host that this one connects to, by its machine index. Of two hosts
        one is enough to name the other.
    port: where others connect to this host; 0 lets the system choose one, None: they do not.
    host: on which of its addresses; None: all of them. See open_tcp_listeners().
    client_ssl_context: for the connections that are made; the other side must prove to have the name in `peers`.
    server_ssl_context: for those that are accepted, with a certificate. To know who connects, let it ask for one
        (`verify_mode = ssl.CERT_REQUIRED`) and give the others' client_ssl_context one.

    Raises ValueError if connections of one direction would be encrypted and those of the other not.
    """

    def __init__(
        self,
        peers: Mapping[int, tuple[str, int]] | None = None,
        *,
        port: int | None = None,
        host: str | bytes | None = None,
        client_ssl_context: ssl.SSLContext | None = None,
        server_ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._peers = dict(peers or {})
        for _, port_of_peer in self._peers.values():
            check_port(port_of_peer)
        if port is not None:
            check_port(port)
        if self._peers and port is not None and (client_ssl_context is None) != (server_ssl_context is None):
            raise ValueError("TLS needs both client_ssl_context and server_ssl_context where a host does both")
        self._port = port
        self._host = host
        self._client_ssl_context = client_ssl_context
        self._server_ssl_context = server_ssl_context
        self._ports: tuple[int, ...] = ()

    @property
    def port(self) -> int:
        """Where this host listens. Raises RuntimeError while it does not."""
        if not self._ports:
            raise RuntimeError("this transport does not listen")
        return self._ports[0]

    async def run(self, host: LocalHost, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """See Transport. Raises OSError if it cannot listen."""
        dials = {machine_index: self._dial(*address) for machine_index, address in self._peers.items()}
        opened = [] if self._port is None else await open_tcp_listeners(self._port, host=self._host)
        self._ports = tuple(listener.socket.getsockname()[1] for listener in opened)
        try:
            await StreamTransport(dials, self._encrypted(opened)).run(host, task_status=task_status)
        finally:
            self._ports = ()

    def _dial(self, host: str, port: int) -> Dial:
        async def dial() -> Stream:
            if self._client_ssl_context is None:
                return await open_tcp_stream(host, port)
            return await open_ssl_over_tcp_stream(host, port, ssl_context=self._client_ssl_context)

        return dial

    def _encrypted(self, listeners: Sequence[SocketListener]) -> Sequence[Listener[Stream]]:
        if self._server_ssl_context is None:
            return listeners
        return [SSLListener(listener, self._server_ssl_context) for listener in listeners]
