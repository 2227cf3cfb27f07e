"""Progress: a bar where one is asked for, and nothing else where none is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeAlias

from tqdm.auto import tqdm

__all__ = ["Bar", "progress"]


class _NoBar:
    """Takes what a progress bar is told, and shows nothing."""

    def update(self, n: float = 1) -> None:
        """Count n more."""

    def set_postfix(self, *, refresh: bool, **shown: object) -> None:
        """Show numbers beside the bar."""


Bar: TypeAlias = "_NoBar | tqdm[Any]"


@contextlib.contextmanager
def progress(shown: bool, **settings: Any) -> Iterator[Bar]:
    """A progress bar with the settings of `tqdm`.

    Where none is shown, tqdm is not used at all: also a disabled bar starts a thread that stays.
    """
    if not shown:
        yield _NoBar()
        return
    with tqdm(**settings) as bar:
        yield bar
