"""Calls of functions that may fail: what the first call was given, and whether gradients are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from stg_attr.errors import ArgumentError

from .chunks import is_out_of_memory
from .signals import raised_by_handler

__all__ = ["FirstCall", "WithoutGradients", "answers"]


class FirstCall:
    """A function whose failure in its first call is one of its argument: it takes something else.

    A later failure is raised as it is.

    Args:
        forward: the function.
        what: the argument that it is.
        takes: what it should take, in words.
        mend: what to do where it does not.
    """

    def __init__(self, forward: Callable[..., Any], what: str, takes: str, mend: str) -> None:
        self._forward, self._what, self._takes, self._mend = forward, what, takes, mend
        self._has_answered = False

    def __call__(self, *values: Any, **named: Any) -> Any:
        """The answer of the function.

        Raises:
            ArgumentError: the first call fails.
        """
        try:
            output = self._forward(*values, **named)
        except Exception as error:
            mine = isinstance(error, ArgumentError) or is_out_of_memory(error) or raised_by_handler(error)
            if self._has_answered or mine:
                raise
            raise ArgumentError(
                self._what,
                expected=self._takes,
                found=f"{type(error).__name__} in its first call: {error}",
                mend=self._mend,
            ) from error
        self._has_answered = True
        return output


def answers(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a function returns something and raises nothing."""
    try:
        function(*arguments)
    except Exception:
        return False
    return True


class WithoutGradients:
    """A model where gradients are off; from the call on that fails for want of them, they are on inside.

    Models of forces and of physical laws differentiate inside.

    Args:
        forward: the model.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward, self._needs_them = forward, False

    def __call__(self, *arguments: Any) -> Any:
        """What the model returns."""
        if not self._needs_them:
            try:
                return self._forward(*arguments)
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
            self._needs_them = True
        with torch.enable_grad():
            return self._forward(*arguments)
