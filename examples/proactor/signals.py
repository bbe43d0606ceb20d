"""Signals as callbacks inside poll(): a service that reloads on SIGHUP and ends on SIGTERM or Ctrl-C.

Here it sends the signals to itself, from another thread. While it is subscribed, children are started with nothing
blocked; afterwards every signal does what it did before.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading

from proactor_trio.proactor import Proactor, Signal, SignalSubscription, signal_name


def main() -> None:
    is_over = False

    def reload(subscription: SignalSubscription, which: Signal) -> None:
        print(f"  {signal_name(which)}: reading the configuration again")

    def end(subscription: SignalSubscription, which: Signal) -> None:
        nonlocal is_over
        is_over = True
        print(f"  {signal_name(which)}: this is the end")

    with Proactor() as proactor:
        subscriptions = [
            SignalSubscription(proactor, Signal.HANGUP, reload),
            SignalSubscription(proactor, Signal.TERMINATE, end),
            SignalSubscription(proactor, Signal.INTERRUPT, end),
        ]
        print("while subscribed")
        os.kill(os.getpid(), signal.SIGHUP)
        terminator = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM])
        terminator.start()
        while not is_over:
            proactor.poll()
        terminator.join()

        with subprocess.Popen(["sleep", "60"]) as child:
            child.terminate()
        print(f"  a child that was told to terminate: {signal.Signals(-child.returncode).name}")

        for subscription in subscriptions:
            subscription.close()
    print(f"afterwards SIGTERM is {signal.getsignal(signal.SIGTERM)!r}")


if __name__ == "__main__":
    main()
