"""Files of explanations: tensors and text in the safetensors format, never code."""

from __future__ import annotations

import dataclasses
import json
from os import PathLike
from typing import Any

from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import Bernoulli, BinaryConcrete, Gaussian
from stg_attr.solve import Learned

from ._consistency import check_consistent
from .explanation import Explanation
from .records import Curve, Restarts, Scores, Status

_VERSION = 2
_GATES = {gate.__name__: gate for gate in (Bernoulli, BinaryConcrete, Gaussian)}
_TUPLES = ("attributions", "feature_mask", "inputs", "baselines")
_RECORDS: dict[str, type[Scores] | type[Curve] | type[Restarts] | type[Learned]] = {
    "scores": Scores,
    "curve": Curve,
    "restarts": Restarts,
    "learned": Learned,
}
_OPTIONAL = {
    "target": "target",
    "restarts": "restarts.selected",
    "learned": "learned.total",
}  # and the tensor they need
_ELSEWHERE = ("status", "seed", "gates", "probe")  # text, or never written


def save(explanation: Explanation, path: str | PathLike[str]) -> None:
    """Write an explanation; see `Explanation.save`."""
    from safetensors.torch import save_file

    gates = explanation.gates
    if type(gates).__name__ not in _GATES:
        raise ArgumentError(
            "gates",
            expected=f"one of {sorted(_GATES)}, since a file holds no code",
            found=type(gates).__name__,
            mend="Save its tensors with torch.save, or explain with one of these gates.",
        )
    text = {
        "version": _VERSION,
        "status": [status.name for status in explanation.status],
        "seed": explanation.seed,
        "gates": [type(gates).__name__, dataclasses.asdict(gates)],  # type: ignore[call-overload]
        "single": isinstance(explanation.attributions, Tensor),
    }
    save_file(_tensors(explanation), path, {"stg_attr": json.dumps(text)})


def _tensors(explanation: Explanation) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for field in dataclasses.fields(explanation):
        value = getattr(explanation, field.name)
        if isinstance(value, (Scores, Curve, Restarts, Learned)):
            tensors |= {f"{field.name}.{name}": part for name, part in vars(value).items()}
        elif isinstance(value, Tensor):
            tensors[field.name if field.name not in _TUPLES else f"{field.name}.0"] = value
        elif field.name in _TUPLES:
            tensors |= {f"{field.name}.{i}": part for i, part in enumerate(value)}
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def load(path: str | PathLike[str]) -> Explanation:
    """Read an explanation; see `Explanation.load`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            text: dict[str, Any] = json.loads((file.metadata() or {})["stg_attr"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        return _assembled(text, tensors)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ArgumentError(
            "path",
            expected=f"a file written by Explanation.save, version {_VERSION}",
            found=f"{path}: {error}",
            mend="Save it again with this version of stg_attr.",
        ) from error


def _assembled(text: dict[str, Any], tensors: dict[str, Tensor]) -> Explanation:
    if text["version"] != _VERSION:
        raise ValueError(f"version {text['version']}")
    name, settings = text["gates"]
    values: dict[str, Any] = {
        "status": tuple(Status[status] for status in text["status"]),
        "seed": int(text["seed"]),
        "gates": _GATES[name](**settings),
    }
    for field in dataclasses.fields(Explanation):
        if field.name in _ELSEWHERE:
            continue
        if _OPTIONAL.get(field.name, next(iter(tensors))) not in tensors:
            values[field.name] = None
        elif field.name in _RECORDS:
            record = _RECORDS[field.name]
            parts = {f.name: tensors[f"{field.name}.{f.name}"] for f in dataclasses.fields(record)}
            values[field.name] = record(**parts)
        elif field.name in _TUPLES:
            n = sum(key.startswith(f"{field.name}.") for key in tensors)
            values[field.name] = tuple(tensors[f"{field.name}.{i}"] for i in range(n))
        else:
            values[field.name] = tensors[field.name]
    if text["single"]:
        (values["attributions"],) = values["attributions"]
    explanation = Explanation(**values)
    check_consistent(explanation)
    return explanation
