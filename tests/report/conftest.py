"""A credit-like table whose model is known, explained once, and a report on it."""

import numpy as np
import pandas as pd
import pytest
import torch

from stg_attr import OutputMatch, Preserve, StochasticGates
from stg_attr.report import ReportSettings, report
from stg_attr.scale import explain_dataset

NAMES = ["income", "debt", "<script>alert(1)</script>", "age"]
WEIGHTS = torch.tensor([2.0, -1.0, 0.0, 0.0])
SMALL = ReportSettings(sample=20, n_seeds=2, fresh=200, shared=150, least=10)


class Scores(torch.nn.Module):
    """Scores of two classes: income raises class 1, debt lowers it, the other columns do nothing."""

    def forward(self, x):
        score = x @ WEIGHTS
        return torch.stack([-score, score], 1)


def table(n, seed):
    values = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    return pd.DataFrame(values.numpy(), columns=NAMES)


@pytest.fixture(scope="session")
def frame():
    """160 rows, of which the fourth cannot be explained; with a cohort and the right class."""
    rows = table(160, 1)
    classes = (rows["income"] * 2 - rows["debt"] > 0).astype(int).to_numpy()
    rows.loc[3, "age"] = np.nan
    wrong = np.arange(160) % 8 == 0
    return rows.assign(
        town=np.where(rows["income"] > 0, "<img src=x>", "south"), label=np.where(wrong, 1 - classes, classes)
    )


@pytest.fixture(scope="session")
def stg():
    return StochasticGates(Scores(), objective=Preserve(OutputMatch()))


@pytest.fixture(scope="session")
def arguments():
    references = torch.tensor(table(128, 2).to_numpy())
    return {"baselines": references, "n_steps": 8, "feature_names": NAMES}


@pytest.fixture(scope="session")
def run(tmp_path_factory, frame, stg, arguments):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("run")
    explain_dataset(stg, frame, folder, columns=NAMES, **arguments)
    return folder


@pytest.fixture(scope="session")
def made(run, frame, stg, arguments):
    """A report with all that can be measured."""
    return whole(run, frame, stg, arguments)


def whole(run, frame, stg, arguments, date="2026-01-01"):
    fresh = torch.tensor(table(200, 3).to_numpy())
    return report(
        run, frame, explainer=stg, fresh=fresh, columns=NAMES, labels="label", cohorts=["town", "age"],
        model_name="Credit", date=date, settings=SMALL, **arguments,
    )  # fmt: skip
