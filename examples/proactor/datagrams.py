"""Datagrams: a sensor sends readings in pieces, a station takes them apart and answers to where they came from.

One operation is one datagram: gathered from several buffers, scattered into several, and cut, with word of it, if the
buffers are too small.
"""

from __future__ import annotations

import struct

import proactor_trio
from proactor_trio.proactor import Address, RecvFrom, SendTo, Socket, SocketType

HEADER = struct.Struct("!HI")


def bound() -> Socket:
    socket = Socket.of_type(SocketType.UDP)
    socket.bind(Address.from_ipv4("127.0.0.1", 0))
    return socket


async def sensor(socket: Socket, station: Address) -> None:
    for number, reading in enumerate([b"12.5 degrees", b"13.0 degrees", b"far too many words about the weather"]):
        await SendTo(socket, [HEADER.pack(number, len(reading)), reading], station)
        answer = bytearray(20)
        count, _ = await RecvFrom(socket, answer)
        print(f"sensor: reading {number} was {answer[:count].decode()}")


async def station(socket: Socket) -> None:
    header, body = bytearray(HEADER.size), bytearray(16)
    receive = RecvFrom(socket, [header, body])
    for _ in range(3):
        count, sender = await receive
        number, length = HEADER.unpack(header)
        text = bytes(body[: count - HEADER.size]).decode()
        print(f"station: reading {number}: {text!r}{f', cut from {length} bytes' if receive.truncated else ''}")
        await SendTo(socket, b"cut" if receive.truncated else b"taken", sender)


async def main() -> None:
    ours, theirs = bound(), bound()
    async with proactor_trio.open_nursery() as nursery:
        nursery.start_soon(station, theirs)
        nursery.start_soon(sensor, ours, Address(theirs.family, theirs.getsockname()))
    ours.close()
    theirs.close()


if __name__ == "__main__":
    proactor_trio.run(main)
