"""The exception for a run that stops although no argument is wrong."""

from __future__ import annotations

import functools
from typing import Any

from stg_attr.errors import ArgumentError

__all__ = ["RunError"]


class RunError(ArgumentError):
    """A run stopped because a GPU, a worker or the cluster failed.

    It is an `ArgumentError`, so that code which catches the errors of `explain_dataset` needs one type only.

    Args:
        sentence: what happened.
        mend: what the user can do.
    """

    def __init__(self, sentence: str, *, mend: str) -> None:
        # The constructor of ArgumentError is not called, because no argument is wrong: nothing is "expected".
        ValueError.__init__(self, f"{sentence} {mend}")
        self._sentence, self._mend = sentence, mend

    def __reduce__(self) -> tuple[functools.partial[Any], tuple[()]]:
        """Pickle the two texts: workers send this exception to the process that started them."""
        return functools.partial(type(self), self._sentence, mend=self._mend), ()
