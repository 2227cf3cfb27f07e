"""Calls of `viz` as text: what *Copy as code* writes."""

from __future__ import annotations

from stg_attr.viz.parts import as_array

__all__ = ["Variable", "call_text"]


class Variable:
    """A variable of the user; its name is written, not its value."""

    def __init__(self, name: str) -> None:
        self.name = name


def call_text(name: str, first: int | str, **settings: object) -> str:
    """A call of a function of `viz` that draws the variable `view`.

    Args:
        name: of the function.
        first: what follows `view`.
        settings: keyword arguments; those that are None are left out.

    Example:
        >>> call_text("series", 2, which=1, names=Variable("names"), mean=None)
        'viz.series(view, 2, which=1, names=names)'
    """
    given = [f"{key}={_written(value)}" for key, value in settings.items() if value is not None]
    return f"viz.{name}({', '.join(['view', str(first), *given])})"


def _written(value: object) -> str:
    if isinstance(value, Variable):
        return value.name
    if isinstance(value, int):  # True and False too
        return repr(value)
    numbers = as_array(value).ravel().tolist()  # type: ignore[arg-type]  # what Numbers are
    return repr(numbers[0] if len(numbers) == 1 else numbers)
