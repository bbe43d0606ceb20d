"""Deadlines: how long something may take is said around it, by the caller, and not by each call inside.

A server that is sometimes slow, and a client with three kinds of patience:

* `move_on_after(seconds)`: if the time is over, go on after the block; the scope says whether that happened;
* `fail_after(seconds)`: if the time is over, raise TooSlowError;
* a deadline around many calls: whichever of them is under way then is cancelled.

A receive that was cancelled has lost nothing: what the server sends later is there for the next receive, on the same
stream. The program checks that.
"""

from __future__ import annotations

from functools import partial

import proactor_trio

HOST = "127.0.0.1"


async def slow_server(stream: proactor_trio.SocketStream) -> None:
    """Answers each request after the number of seconds that it names."""
    async for request in stream:
        await proactor_trio.sleep(float(request))
        await stream.send_all(b"slept for " + request)


async def ask(stream: proactor_trio.SocketStream, seconds: str) -> bytes:
    await stream.send_all(seconds.encode())
    return await stream.receive_some()


def check(condition: bool, what: str) -> None:
    if not condition:
        raise SystemExit(f"not so: {what}")
    print(what)


async def client(port: int) -> None:
    async with await proactor_trio.open_tcp_stream(HOST, port) as stream:
        with proactor_trio.move_on_after(5) as scope:
            answer = await ask(stream, "0.01")
        check(not scope.cancelled_caught and answer == b"slept for 0.01", "a quick answer comes in time")

        begin = proactor_trio.current_time()
        with proactor_trio.move_on_after(0.05) as scope:
            await ask(stream, "0.20")
        waited = proactor_trio.current_time() - begin
        check(scope.cancelled_caught and waited >= 0.05, "a slow answer is not waited for")

        answer = await stream.receive_some()
        check(answer == b"slept for 0.20", "the stream is as good as before: the slow answer comes after all")

        try:
            with proactor_trio.fail_after(0.05):
                for _ in range(1000):
                    await ask(stream, "0.01")
        except proactor_trio.TooSlowError:
            check(True, "a deadline around a thousand requests ends the one that is under way")
        else:
            check(False, "a thousand requests of 10 ms take longer than 50 ms")


async def main() -> None:
    async with proactor_trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(proactor_trio.serve_tcp, slow_server, 0, host=HOST))
        await client(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    proactor_trio.run(main)
