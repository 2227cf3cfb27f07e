# %% [markdown]
# # Black boxes
#
# Trees, rules, a model behind a service: there is no gradient, only an output for each input. `ScoreFunction` learns
# gates from values of the score alone. It needs `pip install ".[demo]"` in a clone.
#
# ## Gradient-boosted trees

# %%
import numpy as np
import torch
from captum.attr import KernelShap
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

from stg_attr import OutputMatch, Preserve, ScoreFunction, StochasticGates, column_mask, references, viz
from stg_attr.metrics import budget_curves

data = load_breast_cancer()
names = [str(name) for name in data.feature_names]
x, y = data.data.astype(np.float32), data.target
order = np.random.default_rng(0).permutation(len(x))
train, test = order[:400], order[400:]
trees = GradientBoostingClassifier(n_estimators=30, max_depth=2, random_state=0).fit(x[train], y[train])
accuracy = trees.score(x[test], y[test])
print(f"{accuracy:.1%} of unseen rows are right")
assert accuracy > 0.9

# %% [markdown]
# The model is a function: rows in, one answer per row out. It may return arrays, lists or numbers; torch is not needed
# inside.


# %%
def log_odds(rows):
    return trees.decision_function(rows.numpy())


rows = torch.tensor(x[test][:24])
mean = references.mean(torch.tensor(x[train]))

# %% [markdown]
# ## Explain it
#
# `max_evals` limits the number of rows on which the model is run for each example, all measurements included. This is
# what you pay a service for. A closed gate shows the mean of its column. `OutputMatch` selects the columns that keep
# the output as it is, whether it is high or low.

# %%
stg = StochasticGates(log_odds, objective=Preserve(OutputMatch()), estimator=ScoreFunction())
explanation = stg.explain(rows, baselines=mean, max_evals=600)
print(explanation)
assert int(explanation.n_evaluations.max()) <= 600

# %%
viz.bars(explanation, 0, names=names)

# %%
viz.importance(explanation, names=names)

# %% [markdown]
# ## What the trees cannot see
#
# The thirty small trees do not use all thirty columns. The trees themselves say which columns they use. No unused
# column may be selected.

# %%
unused = torch.tensor(trees.feature_importances_ == 0)
print(f"{int(unused.sum())} columns are in no tree")
assert bool(unused.any())
assert not bool(explanation.selected[:, unused].any())

# %% [markdown]
# ## Compared with KernelSHAP, at the same number of evaluations
#
# Both rank the columns; the model says how many of the first columns suffice to keep 90 % of its score.

# %%
few = stg.attribute(rows, baselines=mean, max_evals=300)
as_tensor = lambda batch: torch.as_tensor(log_odds(batch))  # noqa: E731  # captum wants tensors
kernel = KernelShap(as_tensor)
shap = torch.cat(
    [
        kernel.attribute(row[None], baselines=mean, n_samples=300, perturbations_per_eval=300).float()
        for row in rows
    ]
)
direction = (as_tensor(rows) - as_tensor(mean)).sign().unsqueeze(1)  # what a low score needs lowers it
measured = {}
for name, attributions in {"stochastic gates": few, "kernel SHAP": shap * direction}.items():
    curves = budget_curves(as_tensor, rows, attributions, baselines=mean)
    measured[name] = curves.smallest_sufficient().float().mean().item()
    print(f"{name:18s} needs {measured[name]:.2f} columns for 90 %")
assert measured["stochastic gates"] < 1.1 * measured["kernel SHAP"]

# %% [markdown]
# ## A rule, and integers
#
# Without a gradient, inputs need not be numbers that can be blended: a closed gate shows the baseline, an open one the
# input. Here is a rule on five categories.


# %%
def rule(rows):
    return [float(a == 2 and c == 1) for a, _, c, *_ in rows.tolist()]


categories = torch.tensor([[2, 0, 1, 3, 1], [2, 4, 1, 0, 0]])
other = torch.tensor([[0, 1, 0, 2, 3]])
found = StochasticGates(rule, estimator=ScoreFunction()).explain(categories, baselines=other)
print(found.selected.int().tolist())
assert found.selected.tolist() == [[True, False, True, False, False]] * 2
assert column_mask(categories).tolist() == [[0, 1, 2, 3, 4]]  # one gate for each column, which is the default

# %% [markdown]
# ## When the gradient is there, use it
#
# A gradient contains more information than a value. As a rule of thumb, give `ScoreFunction` ten evaluations or more
# for each feature, and read the status. Rows of the data as baselines need even more evaluations, because every
# selection is then measured with several rows.
