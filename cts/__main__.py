"""`python -m cts`: the table of configurations, usable or the reason why not."""

from __future__ import annotations

from cts.configurations import CONFIGURATIONS, reason_against, variant


def main() -> None:
    """Print one line a configuration."""
    for configuration in CONFIGURATIONS:
        reason = reason_against(configuration)
        verdict = f"usable: {variant(configuration)}" if reason is None else f"not here: {reason}"
        print(f"{configuration.name:<14} {verdict}")


if __name__ == "__main__":
    main()
