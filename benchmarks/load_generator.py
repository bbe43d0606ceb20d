"""The load of the servers: plain non-blocking sockets and epoll, the same for all servers.

``python -m benchmarks.load_generator <workload> <parameters>`` connects to 127.0.0.1, warms the server
up, lets it fall asleep, reads its CPU clock, makes the measured units, lets it fall asleep again, reads
the clock again, and writes one JSON line. Rules:
1. A connection never has more than one request under way, and sends the next one as soon as its reply is
   complete.
2. Every reply is compared with what was sent; a wrong one ends the measurement with an error.
3. Exactly `units` units are made between the two readings; the server is idle at both.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from .child_processes import begin_child, describe, send_message
from .processor_time import settled_processor_time

SILENCE_LIMIT_S = 10.0
"""A server that gives no sign of life for so long has failed."""


class WrongReply(Exception):
    """The server sent back something else than it was sent, or closed too early or too late."""


class Load(Protocol):
    """A kind of load, in phases of a given number of units."""

    def make(self, units: int) -> None:
        """Make exactly so many units, and return when the last one is complete."""

    def close(self) -> None:
        """Close all sockets."""


def check_progress(events: list[tuple[int, int]]) -> None:
    """Raise if `epoll` waited in vain."""
    if not events:
        raise TimeoutError(f"the server was silent for {SILENCE_LIMIT_S:.0f} s")


class EchoConnection:
    """One connection of `EchoLoad`, and how much of its reply has come."""

    def __init__(self, number: int, message_bytes: int, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SILENCE_LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        # Two messages that no other connection has, taken in turn, so that a reply to an earlier request
        # or to another connection is noticed.
        first = f"<{number}:first>".encode() * message_bytes
        second = f"<{number}:second>".encode() * message_bytes
        self.message, self.next_message = first[:message_bytes], second[:message_bytes]
        self.received = b""

    def send_next(self) -> None:
        """Send the next message. It fits the socket's buffer: nothing else is under way."""
        self.message, self.next_message = self.next_message, self.message
        self.received = b""
        if self.socket.send(self.message) != len(self.message):
            raise WrongReply("the socket's buffer is smaller than one message")

    def reply_complete(self) -> bool:
        """Take what has arrived; true once all of the reply has, and is right."""
        data = self.socket.recv(len(self.message))
        if data == self.message:
            return True
        self.received += data
        if not data or not self.message.startswith(self.received):
            raise WrongReply(f"expected {self.message[:40]!r}..., got {self.received[:40]!r}...")
        return len(self.received) == len(self.message)


class EchoLoad:
    """A fixed set of connections that each send a message and wait for it to come back."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, EchoConnection] = {}
        for number in range(parameters["connections"]):
            connection = EchoConnection(number, parameters["message_bytes"], parameters["port"])
            self._connections[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket, select.EPOLLIN)

    def make(self, units: int) -> None:
        """Make exactly so many requests, and return when the last reply is complete."""
        connections = self._connections
        to_send = units
        to_complete = units
        for connection in list(connections.values())[:units]:
            connection.send_next()
            to_send -= 1
        while to_complete:
            events = self._epoll.poll(SILENCE_LIMIT_S, len(connections))
            check_progress(events)
            for descriptor, _ in events:
                connection = connections[descriptor]
                if connection.reply_complete():
                    to_complete -= 1
                    if to_send:
                        connection.send_next()
                        to_send -= 1

    def close(self) -> None:
        """Close all sockets."""
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()


class AcceptLoad:
    """Connections that send one byte, read it back, and end when the server closes."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._epoll = select.epoll()
        self._port: int = parameters["port"]
        self._at_once: int = parameters["connections"]
        self._under_way: dict[int, tuple[socket.socket, bytes]] = {}
        self._received: dict[int, bytes] = {}
        self._opened = 0

    def make(self, units: int) -> None:
        """Make exactly so many connections, and return when the server has closed the last one."""
        to_open = units
        to_complete = units
        while to_complete:
            while to_open and len(self._under_way) < self._at_once:
                self._open_next()
                to_open -= 1
            events = self._epoll.poll(SILENCE_LIMIT_S, self._at_once)
            check_progress(events)
            for descriptor, _ in events:
                if self._closed_by_server(descriptor):
                    to_complete -= 1

    def _open_next(self) -> None:
        # On the loopback the connection is made, and waits to be accepted, when connect returns.
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=SILENCE_LIMIT_S)
        connection.setblocking(False)
        byte = bytes([self._opened % 256])
        self._opened += 1
        descriptor = connection.fileno()
        self._under_way[descriptor] = (connection, byte)
        self._received[descriptor] = b""
        self._epoll.register(descriptor, select.EPOLLIN)
        connection.send(byte)

    def _closed_by_server(self, descriptor: int) -> bool:
        connection, byte = self._under_way[descriptor]
        data = connection.recv(16)
        if data:
            self._received[descriptor] += data
            return False
        received = self._received.pop(descriptor)
        if received != byte:
            raise WrongReply(f"expected {byte!r}, got {received!r}")
        del self._under_way[descriptor]
        connection.close()
        return True

    def close(self) -> None:
        """Close all sockets."""
        for connection, _ in self._under_way.values():
            connection.close()
        self._epoll.close()


class DatagramLoad:
    """Sockets that each send a datagram and wait for it to come back. On the loopback none is lost."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._epoll = select.epoll()
        self._message_bytes: int = parameters["message_bytes"]
        self._sockets: dict[int, socket.socket] = {}
        self._expected: dict[int, bytes] = {}
        self._sent = 0
        for _ in range(parameters["connections"]):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(("127.0.0.1", parameters["port"]))
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock, select.EPOLLIN)

    def make(self, units: int) -> None:
        """Make exactly so many requests, and return when the last reply has come."""
        to_send = units
        to_complete = units
        for descriptor in list(self._sockets)[:units]:
            self._send_next(descriptor)
            to_send -= 1
        while to_complete:
            events = self._epoll.poll(SILENCE_LIMIT_S, len(self._sockets))
            check_progress(events)
            for descriptor, _ in events:
                reply = self._sockets[descriptor].recv(self._message_bytes + 1)
                if reply != self._expected[descriptor]:
                    raise WrongReply(f"expected {self._expected[descriptor][:40]!r}..., got {reply[:40]!r}...")
                to_complete -= 1
                if to_send:
                    self._send_next(descriptor)
                    to_send -= 1

    def _send_next(self, descriptor: int) -> None:
        self._sent += 1
        message = (f"<{self._sent}>".encode() * self._message_bytes)[: self._message_bytes]
        self._expected[descriptor] = message
        self._sockets[descriptor].send(message)

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._epoll.close()


LOADS: dict[str, type[EchoLoad] | type[AcceptLoad] | type[DatagramLoad]] = {
    "echo": EchoLoad,
    "echo_many": EchoLoad,
    "echo_large": EchoLoad,
    "accept": AcceptLoad,
    "udp_echo": DatagramLoad,
}


def measure(load: Load, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Warm up, then make the measured units between two readings of the idle server's CPU clock."""
    server_process_id = parameters["server_process_id"]
    load.make(parameters["warm_up_units"])
    start = settled_processor_time(server_process_id)
    load.make(parameters["units"])
    end = settled_processor_time(server_process_id)
    return {"units": parameters["units"], **end.used_since(start)}


def main() -> None:
    """Make the load that the command line names."""
    workload_name, parameters_text = sys.argv[1:]
    parameters = json.loads(parameters_text)
    begin_child(parameters)
    try:
        load = LOADS[workload_name](parameters)
        try:
            message = measure(load, parameters)
        finally:
            load.close()
    except Exception as error:
        send_message({"failed": f"load generator: {describe(error)}"})
        sys.exit(1)
    send_message(message)


if __name__ == "__main__":
    main()
