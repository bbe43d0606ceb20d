"""The suites of operation graphs run like the other task-level suites: each test in a run of its own."""

from cts.runtime.conftest import on_each_configuration, path, pytest_pyfunc_call

__all__ = ["on_each_configuration", "path", "pytest_pyfunc_call"]
