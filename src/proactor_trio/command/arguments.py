"""The command line: which command, which backend. Wrong words end with exit status 2 and say what would be right."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from proactor_trio import __version__
from proactor_trio.backends.select import ENVIRONMENT_VARIABLE, backend_names, requested_name
from proactor_trio.command.compat import run_compat
from proactor_trio.command.doctor import run_doctor
from proactor_trio.command.main_job import run_main_job
from proactor_trio.command.tree import run_tree


def _parser() -> argparse.ArgumentParser:
    backend_help = (
        f"one of {', '.join(backend_names())}; a named one runs or nothing does "
        f"(default: {ENVIRONMENT_VARIABLE} in the environment, else auto)"
    )
    parser = argparse.ArgumentParser(
        prog="python -m proactor_trio",
        description="Without a command: real work on real sockets and files, checked; ends in `ok`.",
    )
    parser.add_argument("--version", action="version", version=f"proactor_trio {__version__}")
    parser.add_argument("--backend", metavar="NAME", default=None, help=backend_help)
    commands = parser.add_subparsers(dest="command", title="commands")
    doctor = commands.add_parser(
        "doctor",
        help="say which backend runs here, why each other one does not, and what it can do",
        description="Exit status 0 if a backend runs here (with --backend: that one), else 1.",
    )
    # Without SUPPRESS the default here would win over what was given before the command.
    doctor.add_argument("--backend", metavar="NAME", default=argparse.SUPPRESS, help=backend_help)
    doctor.add_argument("--json", action="store_true", help="the same for programs; the keys stand in docs/doctor.md")
    commands.add_parser(
        "compat",
        help="compare the public names with those of the Trio that is installed",
        description="Exit status 0 if nothing is missing, 1 if something is, 2 without Trio.",
    )
    tree = commands.add_parser(
        "tree",
        help="print the tasks of a process that runs, and what each of them waits for",
        description="The process has to be started with PROACTOR_TRIO_INSPECT=1 in its environment, by the same user.",
    )
    tree.add_argument("process", metavar="PID", type=int, help="the number of the process")
    tree.add_argument("--json", action="store_true", help="the same for programs")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status. words: by default those of the process."""
    parser = _parser()
    arguments = parser.parse_args(words)
    name, origin = requested_name(arguments.backend)
    if name not in backend_names():
        origin = "--backend" if arguments.backend is not None else origin
        parser.error(f"{origin}: there is no backend {name!r}; known are {', '.join(backend_names())}")
    if arguments.command == "doctor":
        return run_doctor(arguments.backend, as_json=arguments.json)
    if arguments.command == "compat":
        return run_compat()
    if arguments.command == "tree":
        return run_tree(arguments.process, as_json=arguments.json)
    return run_main_job(arguments.backend)
