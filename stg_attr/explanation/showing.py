"""How explanations show themselves in notebooks: by the picture that is registered here."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

__all__ = ["show", "show_with"]


def _as_text(explanation: Any) -> str:
    return f"<pre>{html.escape(repr(explanation))}</pre>"


_pictures: list[Callable[[Any], str]] = [_as_text]


def show_with(picture: Callable[[Any], str]) -> None:
    """Let explanations show themselves in notebooks by a function that returns HTML.

    Pictures stand above explanations and register themselves here, since nothing below may import them.

    Args:
        picture: called with an explanation; where it raises `ImportError`, the evidence is shown as text.
    """
    _pictures[:] = [picture]


def show(explanation: Any) -> str:
    """The HTML of an explanation."""
    try:
        return _pictures[0](explanation)
    except ImportError:
        return _as_text(explanation)
