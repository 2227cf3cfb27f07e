"""How many examples a property is tried on: fewer in the quick tests."""

from __future__ import annotations

from hypothesis import settings

_WHOLE = 40  # of the profile that all tests run with; the profile of the quick tests has fewer


def examples(number: int) -> settings:
    """Try a property on so many examples; in the quick tests on fewer, in the proportion of the profiles."""
    return settings(max_examples=max(1, number * settings.default.max_examples // _WHOLE))
