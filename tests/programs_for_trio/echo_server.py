"""A program for Trio: an echo server, and three clients that talk to it."""

import trio


async def echo(stream):
    async for data in stream:
        await stream.send_all(data)


async def client(number, port, answers):
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(f"client {number}".encode())
        answers[number] = bytes(await stream.receive_some()).decode()


async def main():
    answers = {}
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(10):
            async with trio.open_nursery() as clients:
                for number in range(3):
                    clients.start_soon(client, number, port, answers)
        nursery.cancel_scope.cancel()
    for number, answer in sorted(answers.items()):
        print(number, answer)


trio.run(main)
