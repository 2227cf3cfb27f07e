"""The exception for arguments that cannot be used, the checks that raise it most often, and warnings."""

from __future__ import annotations

import functools
import operator
import sys
import warnings
from typing import Any

__all__ = [
    "ArgumentError",
    "Interrupted",
    "ModelFailure",
    "check_count",
    "check_number",
    "check_share",
    "is_number",
    "warn",
]

_LARGEST = 3.4028234663852886e38  # of single precision, into which numbers are converted
_LARGEST_COUNT = 2**63 - 1
_NOT_THE_CALLER = ("stg_attr", "captum", "torch", "contextlib")


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
        """Pickle the four parts: by default, only the message is passed to `__init__`, which would fail."""
        return functools.partial(type(self), **self._parts), ()


class Interrupted(UserWarning):
    """The user pressed Ctrl-C after something was learned.

    Args:
        n: number of examples that are not finished.
        batch: number of all.
        what: what they are, if not examples, which can be continued.
    """

    def __init__(self, n: int, batch: int, what: str = "examples") -> None:
        mend = " explain(..., resume=...) continues from it." if what == "examples" else ""
        super().__init__(
            f"{n} of {batch} {what} are returned as far as they were learned, and as 0 where nothing was, "
            f"since the solve was interrupted.{mend}"
        )


class ModelFailure(UserWarning):
    """The model raised an error after something was learned.

    Args:
        error: what it raised.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"forward_func raised {type(error).__name__}: {error}. What was learned before is returned; the "
            "status of each example says how far it came."
        )
        self.error = error


def is_number(value: object) -> bool:
    """Whether a value is an int or float that single precision can hold; True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def check_count(what: str, value: Any, *, mend: str, least: int | None = 1) -> None:
    """Check a whole number of at least `least` that a tensor can hold; None allows any whole number.

    Raises:
        ArgumentError: it is none, or less.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or (least is not None and not least <= value <= _LARGEST_COUNT):
        expected = "a whole number" if least is None else f"a whole number of at least {least}"
        expected += ", and at most 2**63 - 1" if whole and value > _LARGEST_COUNT else ""
        raise ArgumentError(what, expected=expected, found=repr(value), mend=mend)


def check_number(what: str, value: Any, *, mend: str, least: float | None = None, above: float = 0) -> None:
    """Check a finite number of at least `least`, or, without it, above `above`.

    Raises:
        ArgumentError: it is none, or outside the range.
    """
    if least is not None:
        fits, expected = operator.ge, f"a number of at least {least:g}"
    else:
        fits, expected = operator.gt, f"a number above {above:g}"
    if not is_number(value) or not fits(value, above if least is None else least):
        large = isinstance(value, (int, float)) and value > _LARGEST
        expected += f", and at most {_LARGEST:.2g}" if large else ""
        raise ArgumentError(what, expected=expected, found=repr(value), mend=mend)


def check_share(what: str, value: Any, *, mend: str, zero: bool = False, one: bool = True) -> None:
    """Check a share: a number from 0 (included only with `zero`) to 1 (included unless `one` is False).

    Raises:
        ArgumentError: it is none, or outside the range.
    """
    fits = is_number(value) and 0 <= value <= 1 and (zero or value > 0) and (one or value < 1)
    if not fits:
        expected = f"a number in {'[' if zero else '('}0, 1{']' if one else ')'}"
        raise ArgumentError(what, expected=expected, found=repr(value), mend=mend)


def warn(message: str | Warning) -> None:
    """Warn the user, at the line of the user's code that called the package."""
    # Walk up to the first frame outside these packages: the warning then shows the line of the user. Python
    # shows a warning once for each line, so each place in the user's code gets its own.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_internal(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_internal(module: str) -> bool:
    return module.partition(".")[0] in _NOT_THE_CALLER
