"""Signals: an exception that a signal handler raises inside the model is not the model's own."""

from __future__ import annotations

import functools
import signal
import traceback
from types import CodeType
from typing import Any

__all__ = ["raised_by_handler"]


def raised_by_handler(error: BaseException) -> bool:
    """Whether a signal handler raised an exception, as that of an alarm does when a time limit is over.

    Python runs a handler between two lines of the code that it interrupts, so the handler is among the frames
    of the traceback.
    """
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__))


def _code(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler):  # SIG_DFL, SIG_IGN, or a handler that was not set in Python
        return None
    function = handler if hasattr(handler, "__code__") else type(handler).__call__
    return getattr(function, "__code__", None)
