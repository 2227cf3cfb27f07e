"""Texts: how the parts of an explanation that are no tensors are written to a file, which holds no code."""

from __future__ import annotations

import dataclasses
from typing import Any

from stg_attr.batch import AsText
from stg_attr.errors import ArgumentError
from stg_attr.gates import Bernoulli, BinaryConcrete, GateDistribution, Gaussian

from .records import Status
from .settings import Settings

__all__ = ["GATES", "SETTINGS", "STATUS"]

_KNOWN = {gate.__name__: gate for gate in (Bernoulli, BinaryConcrete, Gaussian)}


def _write_gates(gates: GateDistribution) -> Any:
    if type(gates).__name__ not in _KNOWN:
        raise ArgumentError(
            "gates",
            expected=f"one of {sorted(_KNOWN)}, since a file holds no code",
            found=type(gates).__name__,
            mend="Save its tensors with torch.save, or explain with one of these gates.",
        )
    return [type(gates).__name__, dataclasses.asdict(gates)]  # type: ignore[call-overload]  # the known ones are


def _read_gates(text: Any) -> GateDistribution:
    name, settings = text
    found: GateDistribution = _KNOWN[name](**settings)
    return found


def _read_settings(text: Any) -> Settings:
    defaults = Settings()
    parts = {name: type(getattr(defaults, name))(**_with_tuples(values)) for name, values in text.items()}
    return Settings(**parts)


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists in place of tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


GATES = AsText(_write_gates, _read_gates)
SETTINGS = AsText(dataclasses.asdict, _read_settings)
STATUS = AsText(
    lambda statuses: [status.name for status in statuses],
    lambda names: tuple(Status[name] for name in names),
)
