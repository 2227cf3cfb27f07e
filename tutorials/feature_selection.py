# %% [markdown]
# # Feature selection while a net is trained
#
# Attribution explains a net that is there. The same gates can be trained *with* a net, so that it learns from few
# columns in the first place: `BinaryConcreteStochasticGates` is a layer, and a drop-in for the class of that name in
# `captum.module`. It needs `pip install ".[demo]"` in a clone.
#
# ## A table in which half of the columns are known to be useless
#
# Thirty real measurements of tumours, and a shuffled copy of each: a column with the same values, and no relation
# to the answer.

# %%
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from stg_attr import viz
from stg_attr.gates import BinaryConcreteStochasticGates, GaussianStochasticGates

torch.manual_seed(0)
data = load_breast_cancer()
real = torch.tensor(data.data, dtype=torch.float32)
real = (real - real.mean(0)) / real.std(0)
shuffled = real.gather(0, torch.rand(real.shape).argsort(0))
x, y = torch.cat([real, shuffled], 1), torch.tensor(data.target).float()
order = torch.randperm(len(x))
train, test = order[:400], order[400:]

# %% [markdown]
# ## Train the gates with the net
#
# In training mode every row draws gate values; the layer returns the gated input and a price, the expected number of
# open gates times `reg_weight`. Add it to the loss. In eval mode the gates have no noise.


# %%
def trained(gates, epochs=150):
    net = nn.Sequential(nn.Linear(60, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(
        [{"params": net.parameters(), "lr": 5e-3}, {"params": gates.parameters(), "lr": 5e-2}]
    )
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train))].split(100):
            shown, price = gates(x[rows])
            loss = nn.functional.binary_cross_entropy_with_logits(net(shown).squeeze(1), y[rows])
            optimizer.zero_grad()
            (loss + price).backward()
            optimizer.step()
    gates.eval()
    right = (net(gates(x[test])[0]).squeeze(1) > 0) == (y[test] > 0)
    return right.float().mean().item()


gates = BinaryConcreteStochasticGates(n_gates=60, reg_weight=0.01)
accuracy = trained(gates)
is_open = gates.get_gate_values() > 0
print(f"{int(is_open.sum())} of 60 gates are open, {accuracy:.1%} of unseen rows are right")
print("open:", [str(data.feature_names[i]) for i in is_open[:30].nonzero().flatten().tolist()])
assert accuracy > 0.92

# %% [markdown]
# The shuffled columns are closed, all of them.

# %%
assert int(is_open[30:].sum()) == 0
assert 1 <= int(is_open[:30].sum()) <= 20
names = [*data.feature_names, *(f"shuffled {name}" for name in data.feature_names)]
viz.bars(gates.get_gate_active_probs(), names=names, values=[""] * 60, top=12)

# %% [markdown]
# ## How many columns?
#
# `reg_weight` is the price of an open gate, in units of the loss. With a larger one, fewer columns are selected and
# the accuracy is a little lower. Look at the curve, and do not tune it on the test rows.

# %%
counts = []
for weight in (0.003, 0.01, 0.03, 0.1):
    torch.manual_seed(1)
    layer = BinaryConcreteStochasticGates(n_gates=60, reg_weight=weight)
    right = trained(layer, epochs=80)
    counts.append(int((layer.get_gate_values() > 0).sum()))
    print(f"reg_weight {weight:<6} {counts[-1]:3d} columns {right:.1%}")
assert counts[0] > counts[-1] >= 1

# %% [markdown]
# ## Columns that share a gate
#
# A `mask` lets columns share a gate: mean, error and worst value of a measure stay or go as one. Ids run from 0 without
# gaps.

# %%
measures = torch.cat([torch.arange(30) % 10, 10 + torch.arange(30) % 10])
torch.manual_seed(2)
grouped = BinaryConcreteStochasticGates(n_gates=20, mask=measures, reg_weight=0.02)
print(f"{trained(grouped):.1%} right with measures", (grouped.get_gate_values() > 0).nonzero().flatten().tolist())
assert int((grouped.get_gate_values()[10:] > 0).sum()) == 0

# %% [markdown]
# ## Gaussian gates
#
# `GaussianStochasticGates` is the layer of *Feature Selection using Stochastic Gates* (Yamada et al., 2020): the noise
# is normal, and the parameter is the mean of the gate.

# %%
torch.manual_seed(3)
gaussian = GaussianStochasticGates(n_gates=60, reg_weight=0.02)
print(f"{trained(gaussian):.1%} right with {int((gaussian.get_gate_values() > 0).sum())} columns")
chosen = gaussian.get_gate_values() > 0
assert int(chosen[:30].sum()) > int(chosen[30:].sum())

# %% [markdown]
# ## Keep the selection
#
# The parameters are in the state dict. Afterwards a plain net on the chosen columns needs no gates.

# %%
again = BinaryConcreteStochasticGates(n_gates=60, reg_weight=0.01)
again.load_state_dict(gates.state_dict())
assert torch.equal(again.get_gate_values(), gates.get_gate_values())
small = x[:, is_open]
print("columns that are left:", small.shape[1])
