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


_NO_COUNT: Final = Explanation(
    "counts references by hand; here an object lives as long as somebody names it, and close() ends it",
    (
        "test_a_proactor_is_made_of_the_backend_that_was_named",
        "test_a_proactor_that_is_dropped_warns_and_is_closed",
        "test_closing_twice_is_harmless",
    ),
)

WITHOUT_MEANING: Final[Mapping[str, Explanation]] = {
    "LifecycleTest.RetainRelease": _NO_COUNT,
    "LifecycleTest.MultipleRetainRelease": _NO_COUNT,
    "RelayTest.NotificationToNotificationFutexMode": Explanation(
        "always skipped there: notifications have no second mode, there or here",
        ("test_notification_to_notification", "test_one_signal_wakes_threads_and_operations_alike"),
    ),
}
