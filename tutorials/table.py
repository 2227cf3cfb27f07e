# %% [markdown]
# # Tables
#
# Which columns does a net use for one row, and which over a whole table? The data are 569 tumours with 30 measurements
# each, which come with scikit-learn. It needs `pip install ".[demo]" pandas` in a clone.

# %%
import torch
from captum.attr import ShapleyValueSampling
from sklearn.datasets import load_breast_cancer
from sklearn.inspection import permutation_importance
from torch import nn

from stg_attr import OutputMatch, Preserve, SharedStochasticGates, StochasticGates, references, viz

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

# %% [markdown]
# ## One set for all rows
#
# The mean over rows says how often each column is needed. Another question is which columns the net needs *altogether*.
# `SharedStochasticGates` learns one set of gates for all rows. Here the score of a row is the probability of its own class,
# and closed gates show other rows.

# %%
def probabilities(rows):
    return net(rows).softmax(1)


shared = SharedStochasticGates(StochasticGates(probabilities))
altogether = shared.explain(x[train], baselines=x[train], labels=y[train], feature_names=tuple(table.data.columns))
print(altogether)
viz.curve(altogether)

# %% [markdown]
# Beside it, two usual measures of global importance: permutation importance, and the mean absolute Shapley value. Each
# gets about as many evaluations of the net. Which of them puts the columns in the best order? The first k columns show
# their values, the others those of random rows; `k` is the smallest number from which on 90 % of the mean score is kept, on
# rows that none of the methods saw.


# %%
class Classifier:
    def fit(self, *rows):  # scikit-learn asks for it, and does not call it
        return self

    def score(self, rows, labels):
        found = net(torch.tensor(rows, dtype=torch.float32))
        return -nn.functional.cross_entropy(found, torch.tensor(labels)).item()


evaluations = int(altogether.n_evaluations)
repeats = max(1, round(evaluations / (30 * len(train))))
permuted = permutation_importance(Classifier(), x[train].numpy(), y[train].numpy(), n_repeats=repeats, random_state=0)

some = x[train][: evaluations // (5 * 31)]  # five permutations of 30 columns each
own = probabilities(some).argmax(1)
values = ShapleyValueSampling(probabilities).attribute(some, x[train].flip(0)[: len(some)], target=own, n_samples=5)


def smallest(order):
    """The smallest k from which on the first k columns keep 90 % of the mean score of unseen rows."""
    place = order.argsort(descending=True).argsort()
    target = probabilities(rows).argmax(1)

    def score(shown):
        mixed = torch.where(shown, rows, rows[:16].unsqueeze(1))  # [references, rows, columns]
        found = probabilities(mixed.flatten(0, 1)).gather(1, target.repeat(len(mixed)).unsqueeze(1))
        return found.mean().item()

    nothing, everything = score(torch.zeros(30, dtype=torch.bool)), score(torch.ones(30, dtype=torch.bool))
    kept = [(score(place < k) - nothing) / (everything - nothing) for k in range(31)]
    return max(k for k in range(31) if kept[k] < 0.9) + 1


orders = {
    "shared gates": altogether.log_alpha[0],
    "permutation importance": torch.tensor(permuted.importances_mean),
    "mean absolute Shapley value": values.abs().mean(0),
}
sizes = {name: smallest(order) for name, order in orders.items()}
print(f"certified: {int(altogether.n_selected)} columns, {bool(altogether.certificate.holds)}", sizes, sep="\n")
assert sizes["shared gates"] < 30

# %% [markdown]
# This is one net, and one split of the rows. The page on populations has more of both, and says where another method has the
# smaller set. The certified set is larger than `k`: a test on some 200 rows must be sure.
