"""The pytest plugin, by pytest inside of pytest: each test is a small suite of a user and what becomes of it."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

import proactor_trio
from proactor_trio.backends.select import ENVIRONMENT_VARIABLE, backend_names
from proactor_trio.integrations import pytest_plugin

ROOT = Path(__file__).resolve().parents[2]

INI = """
[pytest]
proactor_trio_mode = true
filterwarnings = error
"""


@pytest.fixture(autouse=True)
def only_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source folder is taken off the path: a build leaves metadata in it that pytest would take for a plugin's."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).resolve() != ROOT])


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with the one ini line."""
    pytester.makeini(INI)
    return pytester


def outcomes(suite: pytest.Pytester, *arguments: str, **expected: int) -> pytest.RunResult:
    """Run the suite and compare how many tests passed, failed, ..."""
    result = suite.runpytest(*arguments)
    result.assert_outcomes(**expected)
    return result


# ---- tests ------------------------------------------------------------------------------------------------------


def test_an_async_test_runs_in_a_run_of_this_library(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sniffio
        from proactor_trio import current_time, sleep
        from proactor_trio.lowlevel import current_proactor

        async def test_it():
            assert sniffio.current_async_library() == "proactor_trio"
            assert current_proactor().statistics()["in_flight"] == 0
            await sleep(0)
            assert current_time() > 0
        """
    )
    outcomes(suite, passed=1)


def test_a_failing_async_test_fails_with_its_own_error(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from proactor_trio import sleep

        async def test_it():
            await sleep(0)
            assert 6 * 7 == 41
        """
    )
    outcomes(suite, failed=1).stdout.fnmatch_lines(["*assert (6 * 7) == 41*"])


def test_a_skip_inside_an_async_test_is_a_skip(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        async def test_it():
            pytest.skip("not today")
        """
    )
    outcomes(suite, skipped=1)


def test_it_begins_in_a_process_whose_garbage_collector_was_told_to_leave_everything_alone(
    suite: pytest.Pytester,
) -> None:
    """As by a suite around this one."""
    suite.makepyfile("async def test_one(): pass")
    gc.freeze()
    try:
        outcomes(suite, passed=1)
    finally:
        gc.unfreeze()


def test_methods_and_parametrised_tests_are_taken_too(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        from proactor_trio.lowlevel import checkpoint

        class TestGroup:
            async def test_method(self):
                await checkpoint()

        @pytest.mark.parametrize("number", [1, 2])
        async def test_numbers(number):
            await checkpoint()
        """
    )
    outcomes(suite, passed=3)


def test_ordinary_tests_are_left_alone(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        from proactor_trio import run, sleep
        from proactor_trio.lowlevel import in_trio_run

        def test_it(request):
            assert not in_trio_run()
            assert request.node.get_closest_marker("trio") is None
            run(sleep, 0)
        """
    )
    outcomes(suite, passed=1)


def test_a_test_that_is_marked_already_runs_here_too(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, sniffio

        @pytest.mark.trio
        async def test_it():
            assert sniffio.current_async_library() == "proactor_trio"
        """
    )
    outcomes(suite, passed=1)


def test_a_property_of_hypothesis_may_be_async(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from hypothesis import given, settings
        from hypothesis import strategies as st
        from proactor_trio import open_nursery
        from proactor_trio.lowlevel import checkpoint

        orders = set()

        @settings(max_examples=10, database=None)
        @given(st.integers())
        async def test_it(number):
            order = []

            async def note(name):
                order.append(name)
                await checkpoint()
                order.append(name)

            async with open_nursery() as nursery:
                for name in range(10):
                    nursery.start_soon(note, name)
            orders.add(tuple(order))
            assert len(orders) == 1, "the order of the tasks is not repeatable"
        """
    )
    outcomes(suite, passed=1)


# ---- fixtures ---------------------------------------------------------------------------------------------------


def test_async_fixtures_are_set_up_and_torn_down_around_the_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        from proactor_trio.lowlevel import checkpoint

        log = []

        @pytest.fixture
        async def value():
            await checkpoint()
            return 7

        @pytest.fixture
        async def resource(value):
            log.append("set up")
            await checkpoint()
            yield value * 6
            await checkpoint()
            log.append("torn down")

        async def test_first(resource):
            log.append("test")
            assert resource == 42

        def test_second():
            assert log == ["set up", "test", "torn down"]
        """
    )
    outcomes(suite, passed=2)


def test_a_fixture_may_keep_a_server_running_in_a_nursery(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        from functools import partial
        from proactor_trio import open_nursery, open_tcp_stream, serve_tcp

        async def echo(stream):
            async for data in stream:
                await stream.send_all(data)

        @pytest.fixture
        async def port():
            async with open_nursery() as nursery:
                (listener,) = await nursery.start(partial(serve_tcp, host="127.0.0.1"), echo, 0)
                yield listener.socket.getsockname()[1]
                nursery.cancel_scope.cancel()

        async def test_it(port):
            async with await open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
        """
    )
    outcomes(suite, passed=1)


def test_the_nursery_fixture_is_cancelled_after_the_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from proactor_trio import Cancelled, Nursery, sleep_forever
        from proactor_trio.testing import wait_all_tasks_blocked

        log = []

        async def background():
            try:
                await sleep_forever()
            except Cancelled:
                log.append("cancelled")
                raise

        async def test_first(nursery):
            assert isinstance(nursery, Nursery)
            nursery.start_soon(background)
            await wait_all_tasks_blocked()

        def test_second():
            assert log == ["cancelled"]
        """
    )
    outcomes(suite, passed=2)


def test_a_crash_in_the_background_fails_the_test_at_once(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from proactor_trio import sleep_forever

        async def crash():
            raise KeyError("in the background")

        async def test_it(nursery):
            nursery.start_soon(crash)
            await sleep_forever()
        """
    )
    outcomes(suite, failed=1).stdout.fnmatch_lines(["*KeyError: 'in the background'*"])


def test_a_fixture_that_fails_fails_the_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.fixture
        async def broken():
            raise LookupError("no such thing")

        async def test_it(broken):
            raise AssertionError("never reached")
        """
    )
    outcomes(suite, failed=1).stdout.fnmatch_lines(["*LookupError: no such thing*"])


def test_an_async_fixture_of_an_ordinary_test_is_an_error(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.fixture
        async def value():
            return 7

        def test_it(value):
            pass
        """
    )
    outcomes(suite, errors=1)


# ---- clocks and instruments -------------------------------------------------------------------------------------


def test_the_clocks_are_those_of_this_library(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import time
        from proactor_trio import current_time, sleep
        from proactor_trio.testing import MockClock

        async def test_by_hand(mock_clock):
            assert isinstance(mock_clock, MockClock)
            assert current_time() == 0
            mock_clock.jump(10)
            assert current_time() == 10

        async def test_by_itself(autojump_clock):
            begun = time.monotonic()
            await sleep(1000)
            assert current_time() == 1000
            assert time.monotonic() - begun < 100
        """
    )
    outcomes(suite, passed=2)


def test_a_fixture_that_is_an_instrument_watches_the_run(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        from proactor_trio.abc import Instrument
        from proactor_trio.lowlevel import checkpoint

        class Counter(Instrument):
            steps = 0

            def before_task_step(self, task):
                self.steps += 1

        @pytest.fixture
        def counter():
            return Counter()

        async def test_it(counter):
            before = counter.steps
            await checkpoint()
            assert counter.steps > before
        """
    )
    outcomes(suite, passed=1)


# ---- the backend ------------------------------------------------------------------------------------------------

NAMES_ITS_BACKEND = """
    from proactor_trio import run
    from proactor_trio.lowlevel import current_proactor

    async def name():
        return current_proactor().backend_name

    def test_in_a_run_of_its_own():
        assert run(name) == "poll"
"""


def test_the_backend_option_chooses_for_async_tests(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        from proactor_trio.lowlevel import current_proactor

        async def test_it():
            assert current_proactor().backend_name == "poll"
        """
    )
    outcomes(suite, "--proactor-backend", "poll", passed=1).stdout.fnmatch_lines(["proactor_trio: backend poll*"])


def test_the_backend_option_needs_no_ini_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(NAMES_ITS_BACKEND)
    outcomes(pytester, "--proactor-backend", "poll", passed=1)


@pytest.mark.parametrize("before", [None, "epoll"])
def test_the_environment_is_as_before_when_the_session_is_over(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, before)
    suite.makepyfile(NAMES_ITS_BACKEND)
    outcomes(suite, "--proactor-backend", "poll", passed=1)
    assert os.environ.get(ENVIRONMENT_VARIABLE) == before


def test_an_unknown_backend_is_refused_with_those_that_are_known(suite: pytest.Pytester) -> None:
    suite.makepyfile(NAMES_ITS_BACKEND)
    result = suite.runpytest("--proactor-backend", "kqueue9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    known = ", ".join(backend_names())
    result.stderr.fnmatch_lines([f"*--proactor-backend: there is no backend 'kqueue9'; known are {known}*"])


def test_a_backend_that_cannot_run_here_is_said_once(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unavailable:
        def __init__(self, name: str) -> None:
            raise proactor_trio.proactor.BackendUnavailable(f"{name} is switched off")

    monkeypatch.setattr(pytest_plugin, "Proactor", Unavailable)
    suite.makepyfile(NAMES_ITS_BACKEND)
    result = suite.runpytest("--proactor-backend", "io_uring")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--proactor-backend: *io_uring is switched off*"])


# ---- other people's suites --------------------------------------------------------------------------------------


def test_without_the_line_a_suite_of_trio_runs_on_trio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest, sniffio, trio
        from trio.testing import MockClock

        @pytest.mark.trio
        async def test_it(autojump_clock, nursery):
            assert sniffio.current_async_library() == "trio"
            assert isinstance(autojump_clock, MockClock)
            assert isinstance(nursery, trio.Nursery)
        """
    )
    result = outcomes(pytester, passed=1)
    result.stdout.no_fnmatch_line("proactor_trio:*")


def test_a_session_with_the_line_leaves_nothing_behind(suite: pytest.Pytester) -> None:
    engine = pytest.importorskip("pytest_trio.plugin")
    before = dict(vars(engine))
    suite.makepyfile("async def test_it(): pass")
    outcomes(suite, passed=1)
    assert vars(engine) == before


def test_tests_of_anyio_are_left_to_anyio(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, sniffio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def library(anyio_backend):
            return sniffio.current_async_library()

        @pytest.mark.anyio
        async def test_of_anyio(library):
            assert library == sniffio.current_async_library() == "asyncio"

        async def test_of_ours():
            assert sniffio.current_async_library() == "proactor_trio"
        """
    )
    outcomes(suite, passed=2)


def test_without_pytest_trio_the_plugin_is_loaded_all_the_same(pytester: pytest.Pytester) -> None:
    hide_pytest_trio(pytester)
    pytester.makepyfile(NAMES_ITS_BACKEND)
    result = pytester.runpytest_subprocess("-p", "no:trio", "--proactor-backend", "poll")
    result.assert_outcomes(passed=1)


def test_without_pytest_trio_the_line_says_what_is_missing(suite: pytest.Pytester) -> None:
    hide_pytest_trio(suite)
    suite.makepyfile("async def test_it(): pass")
    result = suite.runpytest_subprocess("-p", "no:trio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*proactor_trio_mode is set, but pytest-trio*pip install pytest-trio*"])


def test_when_pytest_trio_is_switched_off_the_line_says_so(suite: pytest.Pytester) -> None:
    suite.makepyfile("async def test_it(): pass")
    result = suite.runpytest("-p", "no:trio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*proactor_trio_mode is set, but pytest did not load the plugin of pytest-trio*"])


def hide_pytest_trio(suite: pytest.Pytester) -> None:
    """Where this stands in a conftest, importing it fails as if it were not installed."""
    suite.makeconftest("import sys; sys.modules['pytest_trio'] = sys.modules['pytest_trio.plugin'] = None")
