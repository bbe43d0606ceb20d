"""The suite is tested itself: a broken backend, a leak and a hang must be seen."""
