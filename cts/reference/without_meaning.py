"""Cases of the reference that have no meaning in Python: why, and which tests cover what they were written for.

There is no empty test for them. Each name of `covered_by` is the name of a test function of this repository, and
`python -m cts --against-reference` fails for one that does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a case has no test of its own here.

    reason: what it is about that Python does not have.
    covered_by: names of the tests that cover its intent.
    """

    reason: str
    covered_by: tuple[str, ...]


WITHOUT_MEANING: Final[Mapping[str, Explanation]] = {}
