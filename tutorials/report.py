# %% [markdown]
# # A report for those who must decide
#
# A model decides on loans. Somebody has to say what it needs for its decisions, how sure that is, and where it is not known.
# `report` puts this on one page, for all rows of a population. The table here is generated, so that we know what is true.
# It needs `pip install ".[report]" pandas` in a clone.

# %%
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from stg_attr import OutputMatch, Preserve, StochasticGates
from stg_attr.report import diff, reason_codes, report
from stg_attr.scale import explain_dataset

# %% [markdown]
# ## Applications for loans
#
# Seven columns of numbers, and the kind of work. Whether a loan is repaid depends on income, debt, work, and, of people with
# a high debt, on late payments and defaults. Age, the months at the address and the distance to the branch change nothing.

# %%
WORK = ["employed", "self-employed", "retired", "student"]
NUMBERS = ["income", "debt", "late payments", "defaults", "age", "months at address", "distance to branch"]


def applications(n, seed):
    """Applications, and whether they were repaid."""
    drawn = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "income": drawn.lognormal(10.3, 0.4, n),
        "debt": drawn.lognormal(9, 0.6, n),
        "late payments": drawn.poisson(1.0, n),
        "defaults": drawn.binomial(1, 0.15, n),
        "age": drawn.integers(18, 75, n),
        "months at address": drawn.integers(1, 200, n),
        "distance to branch": drawn.exponential(5, n),
    })
    work = drawn.choice(WORK, n, p=[0.6, 0.15, 0.15, 0.1])
    score = 2.5 * np.log(frame["income"] / 30_000) - 1.5 * np.log(frame["debt"] / 8_000)
    score += 1.0 - 1.5 * (work == "student")
    score -= (0.8 * frame["late payments"] + 1.2 * frame["defaults"]) * (frame["debt"] > 8_000)
    repaid = score + 0.5 * drawn.logistic(size=n) > 0
    return frame.assign(work=work), repaid.to_numpy().astype(int)


train, repaid = applications(20_000, seed=0)
rows, outcome = applications(400, seed=1)
fresh, _ = applications(500, seed=2)
rows["number"] = [f"loan {i}" for i in range(len(rows))]
rows.head()

# %% [markdown]
# ## A model
#
# The net gets a flag for each kind of work, and logarithms of amounts of money. Both happen inside of the model, or on the
# way to it: what is explained are the columns that people know.


# %%
def as_numbers(frame):
    """What the model gets: [rows, 11]."""
    flags = pd.DataFrame({f"work: {kind}": (frame["work"] == kind).astype(float) for kind in WORK})
    return pd.concat([frame[NUMBERS].astype(float), flags.set_index(frame.index)], axis=1)


class Net(nn.Module):
    def __init__(self, x):
        super().__init__()
        x = self.prepared(x)
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("unit", x.std(0))
        self.layers = nn.Sequential(nn.Linear(11, 32), nn.ReLU(), nn.Linear(32, 2))

    def prepared(self, x):
        return torch.cat([x[:, :2].log(), x[:, 2:]], 1)

    def forward(self, x):
        return self.layers((self.prepared(x) - self.mean) / self.unit)


def trained(x, y, seed=0, weight_decay=0.1):
    torch.manual_seed(seed)
    net = Net(x)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3, weight_decay=weight_decay)
    for _ in range(15):
        for some in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[some]), y[some]).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


x = torch.tensor(as_numbers(train).to_numpy(), dtype=torch.float32)
net = trained(x, torch.tensor(repaid))
given = as_numbers(rows).assign(number=rows["number"])
right = net(torch.tensor(as_numbers(rows).to_numpy(), dtype=torch.float32)).argmax(1).numpy() == outcome
usual = max(outcome.mean(), 1 - outcome.mean())
print(f"{right.mean():.1%} of new applications right; {usual:.1%} by the most frequent answer")
assert right.mean() > usual + 0.1

# %% [markdown]
# ## Explain every row
#
# `feature_mask` makes one feature of columns that the business names as one: the four flags are "work", late payments and
# defaults are "credit history". For many thousands of rows, pass an `AmortizedStochasticGates`: it takes a tenth of the time, and its
# sets are larger.

# %%
names = ["income", "debt", "credit history", "age", "months at address", "distance to branch", "work"]
arguments = {
    "baselines": x[:400],
    "feature_mask": torch.tensor([[0, 1, 2, 2, 3, 4, 5, 6, 6, 6, 6]]),
    "feature_names": names,
}
stg = StochasticGates(net, objective=Preserve(OutputMatch()))
done = explain_dataset(stg, given, "run", id_column="number", **arguments)
print(f"{done.explained} rows explained, {done.failed} failed")

# %% [markdown]
# ## The report
#
# Besides the results it gets the rows, the explainer, and reference rows that nobody has used yet. Cohorts are columns, or
# values for each row.

# %%
made = report(
    "run",
    given,
    explainer=stg,
    fresh=torch.tensor(as_numbers(fresh).to_numpy(), dtype=torch.float32),
    id_column="number",
    labels=outcome,
    cohorts={"kind of work": rows["work"], "debt": rows["debt"]},
    model_name="Loans, March",
    date="2026-03-31",
    **arguments,
)
page = made.save("march")
print(made)
print()
print(f"{page.stat().st_size / 1000:.0f} kB, and the rows behind it:")
print(*sorted(path.name for path in Path("march/rows").iterdir()))

# %% [markdown]
# Open `march/report.html` in a browser: light or dark, on a phone, or print it to PDF. It needs no network. Here are some of
# its numbers. The model was trained without knowing which columns matter; those that do nothing are hardly needed.

# %%
needs = pd.DataFrame(made.content["sets"]["needs"]).set_index("feature")
print(needs.round(3))
assert needs.loc[["income", "debt", "credit history"], "share"].min() > 0.5
assert needs.loc[["age", "months at address", "distance to branch"], "share"].max() < 0.5

# %% [markdown]
# Were the claims true on reference rows that nothing has seen? Do the same rows get the same sets again?

# %%
coverage, stability = made.content["coverage"], made.content["stability"]
print("true claims:", coverage["true"])
print("overlap between seeds:", round(stability["over_seeds"]["mean"], 3))
print("overlap under noise:", round(stability["under_noise"]["mean"], 3))
assert coverage["true"]["share"] >= 0.95

# %% [markdown]
# Where do cohorts differ? The credit history matters to people with a high debt. The report finds this, with intervals that hold
# together for all comparisons of the column.

# %%
by_debt = next(one for one in made.content["cohorts"]["columns"] if one["column"] == "debt")
differences = pd.DataFrame(by_debt["differences"])[["cohort", "feature", "share", "others", "low", "high"]]
print(differences.round(2).to_string(index=False))
history = differences[differences["feature"] == "credit history"].set_index("cohort")
lowest, highest = by_debt["cohorts"][0]["cohort"], by_debt["cohorts"][-1]["cohort"]
assert history.loc[lowest, "high"] < 0 < history.loc[highest, "low"]

# %% [markdown]
# Each figure of the page links to the rows behind it. A validator can count again:

# %%
sets = pd.read_parquet("march/rows/sets.parquet")
again = sets[sets["counted"]]["features"].map(lambda features: "income" in features).mean()
assert abs(again - needs.loc["income", "share"]) < 1e-12
sets[["id", "certified", "size", "features", "score"]].head()

# %% [markdown]
# ## Another model, another month
#
# In April the model is trained again, without the history of late payments and defaults. `diff` says for how many rows each
# feature entered or left.

# %%
without = x.clone()
without[:, 2:4] = 0
april = trained(without + 1e-3 * torch.randn_like(without), torch.tensor(repaid))
april.layers[0].weight.data[:, 2:4] = 0
later = StochasticGates(april, objective=Preserve(OutputMatch()))
explain_dataset(later, given, "run_april", id_column="number", **arguments)
new = report(
    "run_april", given, explainer=later, id_column="number", model_name="Loans, April", date="2026-04-30", **arguments
)
change = diff(made, new)
change.save("change")
print(change)
changed = {one["feature"]: one for one in change.content["features"]}
assert changed["credit history"]["left"] > 100
assert changed["credit history"]["after"] < 0.01

# %% [markdown]
# ## Reasons for one application
#
# For a letter to an applicant, `reason_codes` gives the few features with the largest contributions, under the names that
# the business uses. Below 0 is what lowers the score of "repaid".

# %%
refused = given[(net(torch.tensor(as_numbers(rows).to_numpy(), dtype=torch.float32)).argmax(1) == 0).numpy()].iloc[:3]
found = stg.explain(
    torch.tensor(refused.drop(columns="number").to_numpy(), dtype=torch.float32), target=1, **arguments
)
reasons = pd.DataFrame(reason_codes(found)).drop(columns=["feature", "certified"])
assert (reasons.groupby("row")["contribution"].min() < 0).all()
reasons.round(2)

# %% [markdown]
# The same without Python, from the folder of a run: `python -m stg_attr report run --data rows.parquet --out march`, and
# `python -m stg_attr diff march april --out change`. The JSON of the page is there for machines:

# %%
content = json.loads(Path("march/report.json").read_text())
print(content["model"]["name"], content["model"]["hash"], content["certified"]["certified"])
