"""The suites of operation graphs run like the other task-level suites: each test in a run of its own."""

from cts.runtime.conftest import make_pair, on_each_configuration, pair, path, pytest_pyfunc_call, tcp_pair

__all__ = ["make_pair", "on_each_configuration", "pair", "path", "pytest_pyfunc_call", "tcp_pair"]
