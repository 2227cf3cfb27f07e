"""The one exception that the package raises for arguments it cannot use."""

from __future__ import annotations

import functools

__all__ = ["ArgumentError"]


class ArgumentError(ValueError, AssertionError):
    """An argument cannot be used; the message says what, expected, found and how to mend it.

    It is a `ValueError`, and an `AssertionError` too, because that is what Captum raises for bad
    arguments and what code written for Captum catches.

    Example:
        >>> issubclass(ArgumentError, ValueError) and issubclass(ArgumentError, AssertionError)
        True
    """

    def __init__(self, what: str, *, expected: str, found: str, mend: str) -> None:
        super().__init__(f"{what}: expected {expected}; found {found}. {mend}")
        self._parts = {"what": what, "expected": expected, "found": found, "mend": mend}

    def __reduce__(self) -> tuple[functools.partial[ArgumentError], tuple[()]]:
        """So that it can travel between processes, where an exception is made anew from its text alone."""
        return functools.partial(type(self), **self._parts), ()
