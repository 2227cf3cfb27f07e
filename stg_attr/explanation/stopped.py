"""What is said of explanations that the model's error or Ctrl-C has stopped, or whose scores change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stg_attr.errors import Interrupted, ModelFailure, warn
from stg_attr.model import disturbing_layers

from .records import Status

__all__ = ["stopped_by", "warn_about"]


def stopped_by(failure: BaseException | None) -> Status:
    """The status of an example whose solve was stopped by a failure."""
    return Status.INTERRUPTED if isinstance(failure, KeyboardInterrupt) else Status.FAILED


def warn_about(
    failures: Sequence[BaseException], status: Sequence[Status], forward: Callable[..., Any]
) -> None:
    """Warn of what the model raised, of Ctrl-C, and of scores that depend on more than their row.

    Args:
        failures: in the order in which they came.
        status: of all examples.
        forward: the model.
    """
    errors = [failure for failure in failures if isinstance(failure, Exception)]
    if errors:
        warn(ModelFailure(errors[0]))
    if len(errors) < len(failures):
        warn(Interrupted(sum(one is Status.INTERRUPTED for one in status), len(status)))
    n = sum(one is Status.NOT_REPRODUCIBLE for one in status)
    if n and not disturbing_layers(forward):  # of which there was a warning at the start
        warn(f"{n} of {len(status)} examples: {Status.NOT_REPRODUCIBLE.value}")
