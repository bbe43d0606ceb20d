"""Signals and children: a process whose signals were subscribed to starts children, and dies, like any other."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from cts.configurations import Configuration
from cts.runtime.support import fork_and_report, in_main_thread_only
from cts.suites.test_signals import Calls, not_to_be_called, send, the_process_is_as_it_was
from cts.support import poll_until
from proactor_trio.proactor import Proactor, Signal, SignalSubscription

__all__ = ["the_process_is_as_it_was"]  # a fixture, for every test here

pytestmark = [in_main_thread_only, pytest.mark.needs("signals", "fork")]

SECONDS = 30


def program(configuration: Configuration, text: str) -> list[str]:
    head = f"""
import os, signal, subprocess, sys
from proactor_trio.proactor import Proactor
from proactor_trio.proactor.signals import *
proactor = Proactor({configuration.backend!r})
"""
    return [sys.executable, "-W", "error", "-c", head + textwrap.dedent(text)]


def end_of(configuration: Configuration, text: str) -> subprocess.CompletedProcess[str]:
    command = program(configuration, text)
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


# Programs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["TERMINATE", "HANGUP", "USER1", "QUIT"])
def test_after_the_last_subscription_a_signal_kills_as_by_default(
    configuration: Configuration, which: str, tmp_path: Path
) -> None:
    ended = end_of(
        configuration,
        f"""
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(Signal.{which}.number, signal.SIG_DFL)  # a shell may start its children otherwise
        SignalSubscription(proactor, Signal.{which}, print).close()
        os.kill(os.getpid(), Signal.{which}.number)
        print("survived")
        """,
    )
    assert (ended.returncode, ended.stdout) == (-Signal[which].number, "")


def test_after_the_last_subscription_ctrl_c_is_keyboard_interrupt(configuration: Configuration) -> None:
    ended = end_of(
        configuration,
        """
        SignalSubscription(proactor, Signal.INTERRUPT, print).close()
        try:
            os.kill(os.getpid(), signal.SIGINT)
            proactor.poll(10)
        except KeyboardInterrupt:
            proactor.close()
            print("as ever")
            raise
        """,
    )
    assert ended.stdout == "as ever\n"
    assert ended.returncode == -signal.SIGINT


def test_then_it_can_be_subscribed_to_again(configuration: Configuration) -> None:
    ended = end_of(
        configuration,
        """
        for turn in range(3):
            calls = []
            subscription = SignalSubscription(proactor, Signal.TERMINATE, lambda _, which: calls.append(which))
            os.kill(os.getpid(), signal.SIGTERM)
            while not calls:
                proactor.poll(10)
            subscription.close()
            print(turn)
        proactor.close()
        os.kill(os.getpid(), signal.SIGTERM)
        print("survived")
        """,
    )
    assert ended.returncode == -signal.SIGTERM


def test_a_program_that_waits_hears_sigterm(configuration: Configuration) -> None:
    command = program(
        configuration,
        """
        calls = []
        with proactor:
            SignalSubscription(proactor, Signal.TERMINATE, lambda _, which: calls.append(which))
            print("ready", flush=True)
            while not calls:
                proactor.poll(None)
        print(calls[0].name)
        """,
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.terminate()
        assert child.communicate(timeout=SECONDS)[0] == "TERMINATE\n"
    assert child.returncode == 0


def test_a_child_that_is_started_while_subscribed_dies_of_sigterm(proactor: Proactor) -> None:
    subscriptions = [SignalSubscription(proactor, which, not_to_be_called) for which in Signal]
    with subprocess.Popen(["sleep", "1000"]) as child:
        child.terminate()
        child.wait(SECONDS)
    for subscription in subscriptions:
        subscription.close()
    assert child.returncode == -signal.SIGTERM


@pytest.mark.ring_rule(9)
def test_a_child_that_is_started_while_subscribed_has_default_handlers_and_no_blocked_mask(proactor: Proactor) -> None:
    subscriptions = [SignalSubscription(proactor, which, not_to_be_called) for which in Signal]
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    for subscription in subscriptions:
        subscription.close()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    six = functools.reduce(int.__or__, (1 << each.number - 1 for each in Signal))
    assert [int(masks[name], 16) & six for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


def test_a_forked_child_has_the_former_handlers(proactor: Proactor) -> None:
    subscription = SignalSubscription(proactor, Signal.TERMINATE, not_to_be_called)

    def look() -> str:
        descriptor = signal.set_wakeup_fd(-1)
        subscription.close()
        return f"{signal.getsignal(signal.SIGTERM)!r} {descriptor} {subscription.is_active}"

    in_child = fork_and_report(look)
    subscription.close()
    assert in_child == f"{signal.SIG_DFL!r} -1 False"


def test_a_child_that_another_thread_forks_has_the_former_handlers(proactor: Proactor) -> None:
    subscription = SignalSubscription(proactor, Signal.TERMINATE, not_to_be_called)
    seen: list[str] = []
    thread = threading.Thread(
        target=lambda: seen.append(fork_and_report(lambda: repr(signal.getsignal(signal.SIGTERM))))
    )
    thread.start()
    thread.join()
    subscription.close()
    assert seen == [repr(signal.SIG_DFL)]


def test_a_forked_child_may_subscribe_with_a_proactor_of_its_own(
    proactor: Proactor, configuration: Configuration
) -> None:
    subscription = SignalSubscription(proactor, Signal.USER1, not_to_be_called)

    def subscribe() -> str:
        calls = Calls()
        with Proactor(configuration.backend) as own:
            SignalSubscription(own, Signal.USER1, calls)
            send(Signal.USER1)
            poll_until(own, lambda: calls.signals)
        return calls.signals[0].name

    in_child = fork_and_report(subscribe)
    subscription.close()
    assert in_child == "USER1"
