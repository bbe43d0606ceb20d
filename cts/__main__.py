"""`python -m cts`: the tables of configurations, usable or the reason why not."""

from __future__ import annotations

from cts.configurations import ALL_CONFIGURATIONS, reason_against, variant
from proactor_trio.proactor import Capability


def main() -> None:
    """Print one line a configuration."""
    for configuration in ALL_CONFIGURATIONS:
        reason = reason_against(configuration)
        verdict = f"usable: {variant(configuration)}" if reason is None else f"not here: {reason}"
        if configuration.is_masked:
            verdict += f", without {(Capability.ALL & ~configuration.allowed).name}"
        print(f"{configuration.name:<22} {verdict}")


if __name__ == "__main__":
    main()
