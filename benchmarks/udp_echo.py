"""Workload udp_echo: 64 sockets, each sends a datagram of 512 bytes and waits for it; server CPU time per datagram.

Trio and proactor_trio receive by `recvfrom()` and answer by `sendto()` of one socket, asyncio and uvloop by a protocol.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from .child_processes import send_message
from .measuring import Contender, Mark, Workload
from .serving import measure_server

MAXIMUM_RECEIVE = 2048


def serve_structured(library_name: str, run_options: dict[str, str], parameters: Mapping[str, Any]) -> None:
    """Run Trio's or proactor_trio's server, in the child."""
    library: Any = importlib.import_module(library_name)

    async def main() -> None:
        with library.socket.socket(type=socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            send_message({"port": sock.getsockname()[1]})
            while True:
                data, sender = await sock.recvfrom(MAXIMUM_RECEIVE)
                await sock.sendto(data, sender)

    library.run(main, **run_options)


class EchoProtocol(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send it back."""
        self._transport.sendto(data, addr)


async def _serve_protocol() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(EchoProtocol, local_addr=("127.0.0.1", 0))
    send_message({"port": transport.get_extra_info("sockname")[1]})
    await asyncio.Event().wait()


def serve_asyncio(parameters: Mapping[str, Any]) -> None:
    """Run asyncio's server, in the child."""
    asyncio.run(_serve_protocol())


def serve_uvloop(parameters: Mapping[str, Any]) -> None:
    """Run asyncio's server on uvloop, in the child."""
    uvloop: Any = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_protocol())


WORKLOAD = Workload(
    name="udp_echo",
    title="64 sockets, datagrams of 512 bytes there and back; CPU time of the server process",
    unit="datagram",
    rows=("udp_echo",),
    contenders=(
        Contender("trio", "trio", partial(serve_structured, "trio", {})),
        Contender("asyncio protocol", "asyncio", serve_asyncio),
        Contender("uvloop protocol", "uvloop", serve_uvloop),
        *(
            Contender(
                f"proactor_trio {backend}",
                "proactor_trio",
                partial(serve_structured, "proactor_trio", {"backend": backend}),
            )
            for backend in ("io_uring", "epoll", "poll")
        ),
    ),
    baselines=("trio",),
    marks=(Mark("proactor_trio io_uring", "trio", 0.5),),
    sizes={"connections": 64, "message_bytes": 512, "warm_up_units": 3_200, "units": 20_000},
    quick_sizes={"warm_up_units": 1280, "units": 8_000},
    measure=measure_server,
)
