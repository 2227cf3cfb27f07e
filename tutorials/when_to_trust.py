# %% [markdown]
# # When to trust an explanation
#
# Every method returns a map, whether there is something to see or not. This tutorial measures maps of several
# methods on the same net, and then makes each of the cases in which a map should *not* be trusted. It needs
# `pip install stg_attr[demo]`.

# %%
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, KernelShap
from sklearn.datasets import load_digits
from torch import nn

from stg_attr import ReferenceSet, Status, StochasticGates, viz
from stg_attr.metrics import agreement, budget_curves

data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(data.target)


def digit_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


net = digit_net()
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(15):
    for rows in torch.randperm(1400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
net.eval().requires_grad_(False)
model = nn.Sequential(net, nn.Softmax(1))
inputs = images[1400:1416]
target = model(inputs).argmax(1)

# %% [markdown]
# ## Four methods on the same images
#
# Each sees the same images, the same classes and the same baseline, black.

# %%
stg = StochasticGates(model)
explanation = stg.explain(inputs, target=target)
kernel = KernelShap(model)
shap = [
    kernel.attribute(x[None], target=int(t), n_samples=300, perturbations_per_eval=300)
    for x, t in zip(inputs, target, strict=True)
]
maps = {
    "stochastic gates": explanation,
    "integrated gradients": IntegratedGradients(model).attribute(inputs, target=target),
    "feature ablation": FeatureAblation(model).attribute(inputs, target=target, perturbations_per_eval=64),
    "kernel SHAP": torch.cat(shap).detach(),
}
viz.comparison(maps, 2)

# %% [markdown]
# The maps look different, and looking does not say which one to believe. Ask the model: show the pixels in the order of
# each map, and measure the score on the way (insertion; higher is better); hide them in that order (deletion; lower is
# better); and count how many of the first pixels suffice for 90 % of the score.

# %%
measured = {}
for name, attributions in maps.items():
    values = attributions.attributions if name == "stochastic gates" else attributions
    curves = budget_curves(model, inputs, values, target=target)
    measured[name] = {
        "insertion": curves.insertion.mean().item(),
        "deletion": curves.deletion.mean().item(),
        "pixels that suffice": curves.smallest_sufficient().float().mean().item(),
    }
    print(f"{name:22s}", "  ".join(f"{measure} {value:6.3f}" for measure, value in measured[name].items()))
for measure, best in (("insertion", max), ("deletion", min), ("pixels that suffice", min)):
    print(f"best {measure}: {best(measured, key=lambda name: measured[name][measure])}")
gates = measured.pop("stochastic gates")
assert all(gates["insertion"] > other["insertion"] for other in measured.values())
assert all(gates["pixels that suffice"] < other["pixels that suffice"] for other in measured.values())

# %% [markdown]
# Gates look for the smallest set that suffices, so they had better win that. Read every column before you say that a
# method is better: none of them wins every measure on every net, and `benchmarks/README.md` says where gates lose.
#
# ## A question that gates do not answer
#
# How do features *share out* the score? For a linear model, input times gradient is the exact answer, after one
# evaluation, and it adds up. Active probabilities do not add up to anything: they say what is needed.

# %%
weights = torch.tensor([4.0, 2.0, 1.0, 0.5, -1.0])
x = torch.ones(1, 5)


def linear(rows):
    return rows @ weights


shares = InputXGradient(linear).attribute(x.clone().requires_grad_()).detach()
gates = StochasticGates(linear).explain(x)
assert torch.equal(shares[0], weights)
assert float(shares.sum()) == float(linear(x))
print("input times gradient  ", shares[0].tolist())
print("active probabilities  ", [round(p, 2) for p in gates.attributions[0].tolist()])
print("rows evaluated by gates", gates.n_evaluations.item())

# %% [markdown]
# ## Status: nothing to explain
#
# A black image over a black baseline: kept or removed, it looks the same. The attributions are zero, and the status
# says why. A method that normalises its map would show something here.

# %%
black = stg.explain(torch.zeros(1, 1, 8, 8))
print(black)
assert black.status == (Status.NOTHING_TO_EXPLAIN,)
assert not bool(black.attributions.any())

# %% [markdown]
# ## Status: not converged
#
# Too few samples, and the selection still changes at the end. More steps settle it. Both solves can be compared by how
# many of their first pixels they share.

# %%
hasty = stg.explain(inputs, target=target, n_steps=3, n_samples=1)
patient = stg.explain(inputs, target=target, n_steps=36)
unsure = [i for i, status in enumerate(hasty.status) if status is Status.NOT_CONVERGED]
print(f"{len(unsure)} of {len(inputs)} are not converged after 3 samples")
print(f"{int((~patient.converged).sum())} after {36 * 16}")
assert len(unsure) > 0
assert int((~patient.converged).sum()) < len(unsure)
viz.trace(hasty, unsure[0])

# %% [markdown]
# Restarts ask the same with several seeds, solved in one batch: which pixels does every seed select?

# %%
restarted = stg.explain(inputs, target=target, n_restarts=5)
overlap = restarted.restarts.agreement
print(f"overlap of the sets of five seeds: {overlap.mean():.0%} in the mean, {overlap.min():.0%} at the least")
assert float(overlap.mean()) > 0.7

# %% [markdown]
# ## Status: baseline higher
#
# Ask for a class that the model does not see, and black scores higher than the image. The map shows what *lowers* the
# score, which is worth knowing, but it is not the evidence for the class.

# %%
black_score = model(torch.zeros(1, 1, 8, 8))[0]
favoured = int(black_score.argmax())
others = inputs[target != favoured][:1]
against = stg.explain(others, target=favoured)
print(f"black scores {black_score[favoured]:.2f} for class {favoured}")
print(against)
assert against.status == (Status.BASELINE_HIGHER,)

# %% [markdown]
# ## Status: reference dependent
#
# The score is the sum of two columns, of which the second is 0 in this row. Behind its gate, most reference rows show
# 0.5 there, and one shows -2. On average over these rows the first column alone keeps the score, but with that one row
# it is outweighed, and nothing is kept. The status says so.


# %%
def total(rows):
    return rows.sum(1)


row = torch.tensor([[1.0, 0.0]])
behind = torch.tensor([[0.0, 0.5], [0.0, 0.5], [0.0, 0.5], [0.0, 0.5], [0.0, -2.0]])
mixed = StochasticGates(total).explain(row, baselines=ReferenceSet(behind))
print(mixed)
assert mixed.status == (Status.REFERENCE_DEPENDENT,)

# %% [markdown]
# ## More than one answer
#
# Two columns carry the same signal and each one suffices. One set is reported, because it *is* sufficient; that it is not
# the only one can be seen from what is left without it. `sufficient_sets` searches for others.


# %%
def either(rows):
    return torch.maximum(rows[:, 0], rows[:, 1]) + 0.01 * rows[:, 2]


twice = StochasticGates(either).explain(torch.ones(1, 3))
print(twice)
sets = twice.sufficient_sets()
print("sets that suffice:", sets.ids(0))
assert bool(twice.redundant[0])
assert sorted(sets.ids(0)) == [[0], [1]]

# %% [markdown]
# ## A net that has learned nothing
#
# An explanation of the model must change when the model does (Sanity Checks for Saliency Maps, Adebayo et al., 2018,
# https://arxiv.org/abs/1810.03292). Here are the maps of the trained net beside those of a net with random weights,
# for the same images and classes, compared on the pixels that are not black: black ones change nothing for either net.

# %%
random_model = nn.Sequential(digit_net().eval().requires_grad_(False), nn.Softmax(1))
random = StochasticGates(random_model).explain(inputs, target=target)
visible = inputs.flatten(1) > 0
same = agreement([explanation.attributions, random.attributions], among=visible)
again = agreement([explanation.attributions, stg.attribute(inputs, target=target, seed=1)], among=visible)
print(f"rank correlation with the random net: {same.rank_correlation.mean():.2f}")
print(f"rank correlation with another seed:   {again.rank_correlation.mean():.2f}")
assert float(again.rank_correlation.mean()) > float(same.rank_correlation.mean()) + 0.3

# %% [markdown]
# ## In short
#
# 1. Read `status`, then `scores.baseline`, then `retained` and `remaining`; look at the picture last.
# 2. What is left without the selection tells whether it is *the* answer or *an* answer.
# 3. Compare methods by measuring, on the same question and the same baseline.
# 4. Where contributions must add up, use a method that is made for it.
