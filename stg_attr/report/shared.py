"""The features that the whole population needs, by gates that all rows share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Explanation, takes_away
from stg_attr.population import SharedStochasticGates

from .measured import Live
from .statistics import Array

__all__ = ["shared"]


def shared(live: Live, labels: Array | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which features suffice for all rows together, with the evidence.

    Args:
        live: the explainer.
        labels: the right class of each row, whole numbers [rows]; None where they are not known.

    Returns:
        The section, and the columns of its rows.
    """
    rows = np.flatnonzero(~live.explained.failed)
    generator = torch.Generator().manual_seed(live.settings.seed)
    order = torch.randperm(len(rows), generator=generator, device="cpu").numpy()
    index = rows[order[: live.settings.shared]]  # in no order: half of them are kept for the test
    passed = ("target", "additional_forward_args", "feature_mask", "feature_names")
    given = {name: live.arguments[name] for name in passed if name in live.arguments}
    if callable(given.get("feature_mask")):
        given["feature_mask"] = given["feature_mask"](live.rows(index))
    whole = labels is not None and labels.dtype.kind in "iu"
    try:
        found = SharedStochasticGates(live.method).explain(
            live.rows(index),
            baselines=live.arguments.get("baselines"),
            labels=torch.from_numpy(labels[index].astype(np.int64)) if labels is not None and whole else None,
            seed=int(live.arguments.get("seed", 0)),
            **given,
        )
    except ArgumentError as error:
        return {"measured": False, "why": f"Shared gates cannot answer this question: {error}"}, {}
    return _section(found, live, len(index)), {"id": [live.explained.ids[i] for i in index]}


def _section(found: Explanation, live: Live, n: int) -> dict[str, Any]:
    names, certificate, evidence = live.explained.names, found.certificate, found.population
    order = found.log_alpha[0].argsort(descending=True, stable=True).tolist()
    contributions = None if found.contributions is None else found.contributions[0].tolist()
    assert evidence is not None
    points = zip(
        found.curve.n_open[0].tolist(),
        found.curve.retained[0].tolist(),
        evidence.same_class[0].tolist(),
        evidence.accuracy[0].tolist(),
        strict=True,
    )
    held = certificate is not None and bool(certificate.holds[0])
    return {
        "measured": True,
        "rows": n,
        "tested_on": int(evidence.n_rows[0]),
        "features": [
            {
                "feature": names[i],
                "needed": bool(found.selected[0, i]),
                "contribution": None if contributions is None else contributions[i],
            }
            for i in order
        ],
        "n_needed": int(found.selected.sum()),
        "certified": held,
        "sentence": "" if certificate is None else certificate.sentence(0, takes_away(found)),
        "status": str(found.status[0].value),
        "full_accuracy": _known(float(evidence.full_accuracy[0])),
        "curve": list(
            {
                k: {
                    "features": k,
                    "kept": _known(kept),
                    "same_class": _known(same),
                    "accuracy": _known(right),
                }
                for k, kept, same, right in points
            }.values()
        ),
        "evaluations": int(found.n_evaluations[0]),
    }


def _known(x: float) -> float | None:
    return x if x == x else None
