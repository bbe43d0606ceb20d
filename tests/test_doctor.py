"""The doctor: its JSON form has the keys that docs/doctor.md names, and wrong words on the command line are refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proactor_trio.backends.contract import Backend, BackendUnavailable
from proactor_trio.backends.select import backend_names
from proactor_trio.command import diagnosis
from proactor_trio.command.arguments import main
from proactor_trio.proactor import Capability

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "doctor.md"


@pytest.fixture(autouse=True)
def no_backend_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROACTOR_TRIO_BACKEND", raising=False)


def json_of(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    status = main(["doctor", "--json", *words])
    return status, json.loads(capsys.readouterr().out)


def paths_of(value: object, prefix: str = "") -> set[str]:
    """The keys of nested dictionaries as `outer.inner`; `[]` for the elements of lists."""
    if isinstance(value, list):
        return {prefix}.union(*(paths_of(element, f"{prefix}[]") for element in value))
    if not isinstance(value, dict):
        return {prefix}
    inner = (paths_of(element, f"{prefix}.{key}" if prefix else key) for key, element in value.items())
    return {prefix, *set().union(*inner)} - {""}


def test_json_has_the_documented_keys_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = json_of(capsys)
    capabilities = found.pop("capabilities")
    assert set(capabilities) == {capability.name for capability in Capability}
    paths = paths_of(found) | {"capabilities"} | {f"capabilities.NAME.{key}" for key in capabilities["MULTISHOT"]}
    documented = set(re.findall(r"^\| `([^`]+)`", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert paths - {"requested", "chosen", "memlock", "backends[]", "data_paths[]"} == documented


def test_what_works_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = json_of(capsys)
    assert status == 0
    ranked = sorted((entry for entry in found["backends"] if entry["rank"]), key=lambda entry: entry["rank"])
    best = next(entry for entry in ranked if entry["works"])
    assert [entry["name"] for entry in found["backends"] if entry["chosen"]] == [best["name"]]
    assert found["chosen"]["name"] == best["name"]
    assert found["requested"] == {"name": "auto", "by": "the default"}
    for entry in found["backends"]:
        assert entry["works"] == (entry["reason"] is None) == (entry["variant"] is not None)


def test_capabilities_say_how_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("epoll", "poll"):
        _, found = json_of(capsys, "--backend", name)
        for capability in found["capabilities"].values():
            assert capability["support"] in ("native", "emulated", "missing")
            assert capability["reason"]


def test_text_shows_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    for word in ("chosen", "kernel", "python", "compiled helper", "memlock", "kernel.io_uring_disabled"):
        assert re.search(rf"^ *{re.escape(word)}", output, re.MULTILINE), word
    for capability in Capability:
        assert re.search(rf"^ +{capability.name} +(native|emulated|missing) +\S", output, re.MULTILINE), capability
    for name in backend_names()[1:]:
        assert re.search(rf"^ +\*? +{name} +(works|no) +\S", output, re.MULTILINE), name


def test_the_backend_can_be_named_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--backend", "poll", "doctor"], ["doctor", "--backend", "poll"]):
        assert main(words) == 0
        assert re.search(r"^  backend +poll$", capsys.readouterr().out, re.MULTILINE)


def test_the_argument_wins_over_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROACTOR_TRIO_BACKEND", "epoll")
    _, found = json_of(capsys)
    assert found["requested"] == {"name": "epoll", "by": "PROACTOR_TRIO_BACKEND in the environment"}
    _, found = json_of(capsys, "--backend", "poll")
    assert found["requested"]["name"] == found["chosen"]["name"] == "poll"


@pytest.mark.parametrize("words", [["--backend", "iouring"], ["doctor", "--backend", "iouring"]])
def test_an_unknown_backend_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert "--backend: there is no backend 'iouring'; known are auto, io_uring, " in capsys.readouterr().err


def test_an_unknown_backend_in_the_environment_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROACTOR_TRIO_BACKEND", "kqeue")
    with pytest.raises(SystemExit) as exit_:
        main(["doctor"])
    assert exit_.value.code == 2
    assert "PROACTOR_TRIO_BACKEND in the environment: there is no backend 'kqeue'" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is a mechanism of Linux")
def test_a_named_backend_that_does_not_run_is_explained(tmp_path: Path) -> None:
    words = ("ENOSYS", "-m", "proactor_trio", "doctor", "--json", "--backend", "io_uring")
    child = subprocess.run(
        [sys.executable, str(HERE / "without_io_uring.py"), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert child.stderr == ""
    assert child.returncode == 1
    found = json.loads(child.stdout)
    assert found["chosen"] is None
    assert found["capabilities"] == {}
    assert "io_uring was named by the backend argument but cannot run here: ENOSYS" in found["failure"]
    entry = next(entry for entry in found["backends"] if entry["name"] == "io_uring")
    assert not entry["works"]
    assert entry["reason"].startswith("ENOSYS: ")


def test_nothing_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> type[Backend]:
        raise BackendUnavailable(f"{name} is not for today")

    monkeypatch.setattr("proactor_trio.backends.select.load_backend_class", refuse)
    status, found = json_of(capsys)
    assert status == 1
    assert found["chosen"] is None
    assert found["failure"] == "; ".join(f"{name}: {name} is not for today" for name in ("io_uring", "epoll", "poll"))
    assert {entry["reason"] for entry in found["backends"]} == {
        f"{name} is not for today" for name in backend_names()[1:]
    }
    assert main(["doctor"]) == 1
    assert re.search(r"^  backend +none$", capsys.readouterr().out, re.MULTILINE)


def test_a_broken_external_backend_is_listed_with_its_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from proactor_trio.backends import select

    load = select.load_backend_class

    def load_or_break(name: str) -> type[Backend]:
        if name == "external":
            raise ModuleNotFoundError("No module named 'external_backend'")
        return load(name)

    monkeypatch.setattr(select, "load_backend_class", load_or_break)
    monkeypatch.setattr(diagnosis, "backend_names", lambda: (*backend_names(), "external"))
    status, found = json_of(capsys)
    assert status == 0
    entry = found["backends"][-1]
    assert (entry["name"], entry["works"], entry["rank"]) == ("external", False, None)
    assert entry["reason"] == "ModuleNotFoundError: No module named 'external_backend'"
