"""A program for Trio: connecting to several addresses at once, each a little after the one before; the first wins."""

import socket as stdlib_socket

import trio


async def attempt(which, targets, failures, winner, nursery):
    if which > 0:
        with trio.move_on_after(0.05):
            await failures[which - 1].wait()
    if which + 1 < len(targets):
        nursery.start_soon(attempt, which + 1, targets, failures, winner, nursery)
    sock = trio.socket.socket()
    try:
        await sock.connect(targets[which])
    except OSError:
        sock.close()
        failures[which].set()
    else:
        winner.append((which, sock))
        nursery.cancel_scope.cancel()


async def connect(targets):
    failures = [trio.Event() for _ in targets]
    winner = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, 0, targets, failures, winner, nursery)
    if not winner:
        raise OSError("nobody answers")
    which, sock = winner[0]
    return which, trio.SocketStream(sock)


def refusing_address():
    with stdlib_socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()


async def main():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        which, stream = await connect([refusing_address(), refusing_address(), listener.socket.getsockname()])
        async with stream, await listener.accept() as accepted:
            await accepted.send_all(b"hello")
            print("address", which, bytes(await stream.receive_some()).decode())
    try:
        await connect([refusing_address()])
    except OSError as error:
        print(error)


trio.run(main)
