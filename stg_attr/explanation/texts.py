"""Texts: how the parts of an explanation that are no tensors are written to a file, which holds no code."""

from __future__ import annotations

import dataclasses
from typing import Any

from stg_attr.batch import AsText, by_name
from stg_attr.gates import Bernoulli, BinaryConcrete, Gaussian

from .records import Status
from .settings import Settings

__all__ = ["AS_IT_IS", "GATES", "SETTINGS", "STATUS"]


def _read_settings(text: Any) -> Settings:
    defaults = Settings()
    parts = {name: type(getattr(defaults, name))(**_with_tuples(values)) for name, values in text.items()}
    return Settings(**parts)


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists in place of tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _same(text: Any) -> Any:
    return text


AS_IT_IS = AsText(_same, _same)
GATES = by_name(
    "gates",
    (Bernoulli, BinaryConcrete, Gaussian),
    "Save its tensors with torch.save, or explain with one of these gates.",
)
SETTINGS = AsText(dataclasses.asdict, _read_settings)
STATUS = AsText(
    lambda statuses: [status.name for status in statuses],
    lambda names: tuple(Status[name] for name in names),
)
