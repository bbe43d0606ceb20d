"""Nobody pays for a library that he does not use: which import brings which."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "brings", "leaves"),
    [
        ("proactor_trio", set(), {"trio", "asyncio"}),
        ("proactor_trio.integrations.trio_bridge", {"trio"}, {"asyncio"}),
        ("proactor_trio.integrations.asyncio_bridge", {"asyncio"}, {"trio"}),
    ],
)
def test_an_import_brings_its_own_host_only(module: str, brings: set[str], leaves: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    imported = set(output.stdout.split())
    assert (imported & brings, imported & leaves) == (brings, set())
