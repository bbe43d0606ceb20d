"""The same checks as `.ci/run`, one at a time: `nox -s lint`, `nox -s tests-3.12`, ..."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "types", "tests", "cts"]
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def group(name: str) -> list[str]:
    return nox.project.dependency_groups(PYPROJECT, name)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, its formatter, and the layers."""
    session.install(".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run(".ci/stage", external=True)
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "build/typecheck"})


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on the package as it is laid out once installed."""
    session.install(".", *group("types"))
    session.run(".ci/stage", external=True)
    session.run("mypy", "-p", "proactor_trio")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """What needs no backend matrix. Further words go to pytest: `nox -s tests-3.13 -- -k nursery`."""
    session.install(".[test]")
    session.run("pytest", "tests", "-n", "auto", *session.posargs)


@nox.session(python=PYTHONS)
def cts(session: nox.Session) -> None:
    """The conformance test suite, over every backend that runs here."""
    session.install(".[test]")
    session.run("pytest", "cts", "-n", "auto", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, in build/docs; a warning is an error."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-n", "docs", "build/docs", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios against Trio, asyncio and uvloop: `nox -s bench -- echo scheduler files`."""
    session.install(".", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)
