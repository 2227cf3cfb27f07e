# %% [markdown]
# # When to trust an explanation
#
# "Eight of thirty features keep 90 % of the score." Is it true? This tutorial first shows how such a sentence can be false
# although every number in it was measured, and what a certificate does about it. Then it measures maps of several methods on
# the same net, and makes each of the cases in which a map should *not* be trusted. It needs `pip install ".[demo]"` in a clone.

# %%
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, KernelShap
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn

from stg_attr import OnMost, Preserve, ReferenceSet, Status, StochasticGates, Sweep, viz
from stg_attr.metrics import agreement, budget_curves


def fit(net, rows, labels, rate, epochs, batch, decay=0.0):
    optimizer = torch.optim.Adam(net.parameters(), rate, weight_decay=decay)
    for _ in range(epochs):
        for some in torch.randperm(len(rows)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(rows[some]), labels[some]).backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


# %% [markdown]
# ## A false statement
#
# A small net tells benign from malignant tumours by 30 measurements (breast cancer, scikit-learn). What are the features
# behind its output for 100 patients? A hidden feature shows the value of another patient, a *reference row*. `draw` draws
# such rows, with a little noise. So we can draw as many rows as we like, and find out what is true.

# %%
table, diagnosis = load_breast_cancer(return_X_y=True)
order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
table, diagnosis = torch.tensor(table, dtype=torch.float32)[order], torch.tensor(diagnosis)[order]
table = (table - table.mean(0)) / table.std(0)
known, patients = table[:300], table[300:400]

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))
fit(net, known, diagnosis[:300], rate=1e-2, epochs=200, batch=300, decay=1e-3)
classes = net(patients).argmax(1)


def draw(n, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = known[torch.randint(len(known), (n,), generator=generator)]
    return rows + 0.1 * torch.randn(rows.shape, generator=generator)


few = StochasticGates(net, objective=Preserve()).explain(patients, ReferenceSet(draw(5, seed=1)))
print(f"kept with the five rows of the search: {few.retained.median():.0%} in the median")
print(f"at least 90 % is kept for {(few.retained >= 0.9).float().mean():.0%} of the patients")

# %% [markdown]
# Now with 4,000 new rows:

# %%
unseen = draw(4000, seed=2)


def truly_kept(explanation):
    """The share of the score that the selected features keep, on average over the unseen rows."""
    shares = []
    for x, selected, k in zip(patients, explanation.selected, classes, strict=True):
        full, baseline = net(x[None])[0, k], net(unseen)[:, k].mean()
        shares.append((net(torch.where(selected, x, unseen))[:, k].mean() - baseline) / (full - baseline))
    return torch.stack(shares)


true = truly_kept(few)
print(f"kept with unseen rows: {true.median():.0%} in the median")
print(f"at least 90 % is kept for {(true >= 0.9).float().mean():.0%} of the patients")
assert bool((few.retained >= 0.9).all())
assert float((true >= 0.9).float().mean()) < 0.5

# %% [markdown]
# Nothing was measured wrongly. The sets were *chosen* because they did well with these five rows, so with these rows
# they do better than with others. "Exactly, on average over these 5 baselines" is what the explanation says, and of
# these five it is true. More rows alone do not help: without a claim, all 256 references are used by the solve, and
# each set is searched with five of them.

# %%
print(few.describe(0))
uncertified = StochasticGates(net, objective=Preserve(), sparsity=Sweep(claim=None))
searched = uncertified.explain(patients, ReferenceSet(draw(256, seed=1)))
true = truly_kept(searched)
print(f"256 rows, no claim: seems true for {(searched.retained >= 0.9).float().mean():.0%}", end=", ")
print(f"is true for {(true >= 0.9).float().mean():.0%}")
assert float((true >= 0.9).float().mean()) < 0.5

# %% [markdown]
# ## A tested statement
#
# By default there is a claim, and with 47 references or more it is tested. Most of the references are held out: neither the
# solve nor the search sees them. The selected features are tested on them, row after row, until it is clear that they keep
# 90 % on average over *all* rows of this kind. If it does not become clear, a few more features are taken.

# %%
stg = StochasticGates(net, objective=Preserve())
tested = stg.explain(patients, ReferenceSet(draw(256, seed=1)))
certificate, true = tested.certificate, truly_kept(tested)
print(tested.describe(1))
n_certified, n_true = int(certificate.holds.sum()), int((true >= 0.9)[certificate.holds].sum())
print(f"\n{n_certified} of {len(patients)} are certified; of these, {n_true} are true")
print(f"features: {tested.n_selected.float().mean():.1f} instead of {searched.n_selected.float().mean():.1f}")
print(
    f"evaluations: {tested.n_evaluations.float().mean():.0f} instead of {searched.n_evaluations.float().mean():.0f}"
)
assert n_certified >= 85
assert n_true >= 0.95 * n_certified

# %% [markdown]
# A true statement needs more features. At 95 % confidence, up to five of 100 examples may be certified falsely, in the mean
# over many such tables; here it is fewer. What is *not* claimed is as important: nothing about other patients, nothing about
# rows of another hospital, not that the set is the smallest, and not that a feature causes a tumour. The page
# *Certificate* of the documentation (`docs/concepts/certificate.md`) has the statistics.
#
# ## What is not certified
#
# "Not certified" means that the claim was not established. It may be true. The last column is the difference between the
# score of the patient and the mean score of the rows, in standard deviations of the score over the rows.

# %%
scores = net(unseen)[:, classes]
own = net(patients).gather(1, classes[:, None]).squeeze(1)
difference = (own - scores.mean(0)).abs() / scores.std(0)
for i in (~certificate.holds).nonzero().flatten().tolist():
    tried = certificate.sentence(i).split("(")[1].rstrip(")")
    print(
        f"patient {i:2d}: {int(tested.n_selected[i]):2d} features, {tried}; truly {true[i]:4.0%}; {difference[i]:.1f}"
    )
print(f"median of the certified patients: {difference[certificate.holds].median():.1f}")
assert int((true >= 0.9)[~certificate.holds].sum()) > 0
assert difference[~certificate.holds].median() < 0.5 * difference[certificate.holds].median()

# %% [markdown]
# For these patients the net is in doubt: the score is not far from the mean score of the rows, compared with how much
# the rows differ. Where all features are selected, 100 % is kept for certain. But *of what?* The test cannot tell
# which of the two scores is higher, so a share of their difference has no meaning. For the others, the kept share
# changes so much from row to row that the test stopped: the rows that were left would probably not have been enough.
# More references can help, or a fixed baseline. With one baseline nothing has to be estimated: what is kept is exact,
# for this baseline and for no other. Too few rows, or too few evaluations, never give a certificate.

# %%
fixed = stg.explain(patients, baselines=0)
print(fixed.describe(1))
assert fixed.certificate.exact
twenty = stg.explain(patients, ReferenceSet(draw(20, seed=1)))
print(twenty.certificate.sentence(1))
assert not bool(twenty.certificate.holds.any())

# %% [markdown]
# You can choose another claim: with at least 95 % of the rows, the net predicts the same class. Its truth can be
# measured in the same way.

# %%
same_class = Sweep(claim=OnMost(share=0.95, same_class=True))
most = StochasticGates(net, objective=Preserve(), sparsity=same_class)
most = most.explain(patients, ReferenceSet(draw(256, seed=1)))
share = torch.stack(
    [
        (net(torch.where(selected, x, unseen)).argmax(1) == k).float().mean()
        for x, selected, k in zip(patients, most.selected, classes, strict=True)
    ]
)
holds = most.certificate.holds
print(most.describe(1))
print(f"{int(holds.sum())} are certified; of these, {int((share >= 0.95)[holds].sum())} are true")
print(f"features: {most.n_selected.float().mean():.1f}")
assert int(holds.sum()) >= 50
assert float((share >= 0.95)[holds].float().mean()) >= 0.95

# %% [markdown]
# The rest of this tutorial has a fixed baseline, black, and images. What is measured is then exact, and there are other
# reasons for doubt.

# %%
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


net = fit(digit_net(), images[:1400], labels[:1400], rate=3e-3, epochs=15, batch=64)
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
# The maps look different, and you cannot see which one is right. So measure it with the model: show the pixels in the
# order of each map, and measure the score on the way (insertion; higher is better); hide them in that order
# (deletion; lower is better); and count how many of the first pixels suffice for 90 % of the score.

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
# Gates search for the smallest set that suffices, so they should be best in that column. Read every column before you
# say that a method is better: no method is best in every measure on every net. `benchmarks/README.md` says where
# gates are worse.
#
# ## A question that gates do not answer
#
# How do features *share out* the score? For a linear model, input times gradient is the exact answer, after one
# evaluation, and it adds up. The sum of active probabilities has no meaning: each says whether its feature is needed.

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
print(
    f"overlap of the sets of five seeds: {overlap.mean():.0%} in the mean, {overlap.min():.0%} at the least"
)
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
# 0.5 there, and one shows -2. On average over these rows, the first column alone keeps the score. But with that one
# row nothing is kept, because the second column lowers the score by more. The status says so.


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
# 1. Read `certificate`, then `status`, then `scores.baseline`, then `retained` and `remaining`; look at the picture last.
# 2. With reference rows, give at least 100, better 256: a set that was measured on the rows of its search proves little.
# 3. If much of the score is left without the selection, other features can do the same: it is one answer of several.
# 4. Compare methods by measuring, on the same question and the same baseline.
# 5. If you need numbers that add up to the score, read `contributions`, not `attributions`.
