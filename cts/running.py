"""pytest inside a process of our own, for the commands of `python -m cts`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

#: The checkout.
ROOT: Final = Path(__file__).parents[1]

#: The library was imported before pytest came, and its own asserts need no rewriting.
_FILTER: Final = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"


def run_pytest(arguments: Sequence[str], plugin: object) -> int:
    """Run it with the settings of this checkout and one more plugin. Returns its exit status."""
    settings = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-W", _FILTER]
    return int(pytest.main([*settings, *arguments], [plugin]))
