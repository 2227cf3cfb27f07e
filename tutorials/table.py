# %% [markdown]
# # Tables
#
# Which columns does a net use for one row, and which over a whole table? The data are 569 tumours with 30 measurements
# each, which come with scikit-learn. It needs `pip install ".[demo]" pandas` in a clone.

# %%
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from stg_attr import OutputMatch, Preserve, StochasticGates, references, viz

torch.manual_seed(0)
table = load_breast_cancer(as_frame=True)
values = torch.tensor(table.data.to_numpy(), dtype=torch.float32)
order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
train, test = order[:400], order[400:]
mean, std = values[train].mean(0), values[train].std(0)
x = (values - mean) / std
y = torch.tensor(table.target.to_numpy())

net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-3)
for _ in range(25):
    for rows in train[torch.randperm(len(train))].split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
net.eval().requires_grad_(False)


def model(rows):
    return net(rows)[:, 0] - net(rows)[:, 1]  # log-odds of a malignant tumour, [rows]


def accuracy(rows):
    return ((model(rows) < 0).long() == y[test]).float().mean().item()


full = accuracy(x[test])
assert full > 0.92
print(f"{full:.1%} of {len(test)} unseen rows are right")

# %% [markdown]
# ## Which columns does the net use?
#
# A closed gate has to show something. Zero is the mean of a standardised column. But if the net multiplies two
# columns, a zero in one hides the other. Rows of the data do not have this problem: each sample of the gates shows
# another row. `OutputMatch` asks for the columns that *move* the output, up or down.

# %%
stg = StochasticGates(model, objective=Preserve(OutputMatch()))
rows = x[test]
explanation = stg.explain(rows, baselines=references.sample(x[train]))
print(explanation.describe(0))
viz.bars(explanation, 0, names=table.data.columns, values=table.data.iloc[test[0].item()])

# %% [markdown]
# Filled bars are the selected columns: with them alone the output stays nearly the same, whatever the other columns
# show.
#
# ## For or against
#
# The active probability says whether a column is needed. It does not say whether the column raises or lowers the
# score. `signed` does.

# %%
evidence = StochasticGates(model).explain(rows[:1], baselines=references.mean(x[train]))
print(evidence)
signed = evidence.signed[0]
assert float(signed.abs().max()) == 1
for i in signed.abs().argsort(descending=True)[:5].tolist():
    print(f"{table.data.columns[i]:25s}{signed[i].item():+.2f}   value {rows[0, i].item():+.1f} standard deviations")

# %% [markdown]
# ## Columns that belong together
#
# The 30 columns are ten measures, each with its mean, its error and its worst value. Usually you want to know about
# the measure, not about one of the three columns. If the three columns have the same id, the measure has one gate.

# %%
measures = [name.removeprefix("mean ") for name in table.data.columns[:10]]
groups = torch.arange(30)[None] % 10  # the columns are ten means, ten errors, ten worst values
grouped = stg.explain(rows, baselines=references.sample(x[train]), feature_mask=groups)
assert grouped.active_probabilities.shape == (len(rows), 10)
viz.bars(grouped, 0, names=measures)

# %% [markdown]
# ## Global importance
#
# The mean over all rows is a global importance. Each row is still visible: as a dot, or as a column of the matrix.

# %%
viz.importance(grouped, names=measures)

# %%
viz.beeswarm(explanation, names=table.data.columns, inputs=rows)

# %%
viz.matrix(grouped, names=measures)

# %% [markdown]
# ## Check it on the model
#
# If the importance is right, the net must do well with the five measures at the top and poorly with the five at the
# bottom. The others show shuffled values, as permutation importance does.

# %%
importance = grouped.active_probabilities.mean(0)
ranking = importance.argsort(descending=True)
shuffled = references.permuted(rows, n=len(rows)).rows


def accuracy_with(measures_kept):
    kept = torch.isin(groups, measures_kept)
    return accuracy(torch.where(kept, rows, shuffled))


best, worst = accuracy_with(ranking[:5]), accuracy_with(ranking[5:])
print(f"the first five: {best:.1%}; the last five: {worst:.1%}; all ten: {full:.1%}")
print("first five:", [measures[int(i)] for i in ranking[:5]])
assert best > worst + 0.05

# %% [markdown]
# ## As a data frame

# %%
frame = grouped.to_frame()
frame["measure"] = [measures[i] for i in frame.feature]
frame.groupby("measure").active_probability.mean().sort_values(ascending=False).round(2)
