"""A table of customers as people have them: numbers, strings, categories, flags, dates, and missing cells."""

from __future__ import annotations

import numpy as np
import pandas as pd

N = 400


def customers(n: int = N, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Customers, and whether each of them left."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "calls": rng.poisson(2, n),
            "charge": rng.normal(60, 15, n).round(2),
            "contract": rng.choice(["monthly", "yearly"], n),
            "plan": pd.Categorical(rng.choice(["basic", "plus", "max"], n), ["basic", "plus", "max", "old"]),
            "paperless": rng.random(n) < 0.5,
            "since": pd.Timestamp("2024-01-01") - pd.to_timedelta(rng.integers(1, 1500, n), "D"),
        },
    )
    risk = 0.8 * frame.calls + 2.0 * (frame.contract == "monthly") + 1.5 * (frame.plan == "max")
    risk = risk + (pd.Timestamp("2024-01-01") - frame.since).dt.days / -700
    left = (risk + rng.logistic(size=n) > 1.5).to_numpy()
    frame.loc[rng.random(n) < 0.15, "charge"] = np.nan
    frame.loc[rng.random(n) < 0.10, "contract"] = None
    return frame, left
