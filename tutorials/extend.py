# %% [markdown]
# # Write your own objective, gate or estimator
#
# Three parts of the method are objects that go to the constructor: what is asked (a fidelity), what is learned (a
# family of gates) and how (an estimator). Each is one small class. This tutorial writes one of each. It needs
# `pip install ".[demo]"` in a clone.

# %%
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import nn

from stg_attr import Bernoulli, BinaryConcrete, Hybrid, StochasticGates, Sweep, viz
from stg_attr.gates import GateDistribution
from stg_attr.objective import Fidelity
from stg_attr.solve import Estimate, Estimator

torch.manual_seed(0)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).flatten(1) / 16
labels = torch.tensor(data.target)
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(20):
    for rows in torch.randperm(1400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
net.eval().requires_grad_(False)
model = nn.Sequential(net, nn.Softmax(1))
inputs = images[1400:1408]
usual = StochasticGates(model).explain(inputs)

# %% [markdown]
# ## A fidelity: what keeps the decision?
#
# The default asks for 90 % of the score. If you only use the decision, you need less: which features keep the class
# above one half? A fidelity says how much of an output is still there (`retained`) and how much survives a removal
# (`remaining`), from scores of shape [samples, batch] and the scores of the input and its baseline.
#
#     retained(s) = min(s / threshold, 1)


# %%
@dataclass(frozen=True)
class Decision(Fidelity):
    """Share of the score that the decision needs: 1 as soon as it is taken."""

    threshold: float = 0.5

    def retained(self, scores, anchors):
        return (scores / self.threshold).clamp(max=1)

    def remaining(self, scores, anchors):
        return (scores / self.threshold).clamp(max=1)


stg = StochasticGates(model, objective=Hybrid(Decision()), sparsity=Sweep(retain=1.0))
decided = stg.explain(inputs)
print("pixels for 90 % of the score:", usual.n_selected.tolist())
print("pixels for the decision:     ", decided.n_selected.tolist())
assert bool((decided.scores.kept >= 0.5 - 1e-5).all())
assert int(decided.n_selected.sum()) <= int(usual.n_selected.sum())

# %% [markdown]
# Nothing else had to be written: the search for the smallest sufficient set, the curve, the status and the pictures all
# read the new fidelity. Check it on the model: it still decides for the same class.

# %%
kept = torch.where(decided.selected, inputs, 0.0)
assert torch.equal(model(kept).argmax(1), model(inputs).argmax(1))
image = (1, 8, 8)
viz.panel(decided.attributions[0].reshape(image), inputs=inputs[0].reshape(image))

# %% [markdown]
# ## A family of gates: Laplace noise
#
# A gate has one real parameter; the larger it is, the more often the gate is open. A family says how noise becomes a
# value in [0, 1], how likely the gate is open, what it is without noise, and the inverse of the probability.
#
#     z = clamp(a + b eps, 0, 1),  eps ~ Laplace(0, 1),  P(z > 0) = F(a / b)
#
# with the distribution function F of the Laplace distribution. Derivatives come from autograd.


# %%
@dataclass(frozen=True)
class Laplace(GateDistribution):
    """Gates with Laplace noise of scale b."""

    scale: float = 0.35
    start = 0.75

    def sample(self, parameter, uniform):
        return (parameter + self.scale * self._noise(uniform)).clamp(0, 1)

    def active_probability(self, parameter):
        tail = 0.5 * torch.exp(-parameter.abs() / self.scale)
        return torch.where(parameter > 0, 1 - tail, tail)

    def value(self, parameter, clamp=True):
        return parameter.clamp(0, 1) if clamp else parameter.clone()

    def parameter_at(self, probability):
        return self.scale * self._noise(probability)

    @staticmethod
    def _noise(uniform):
        centred = uniform - 0.5
        return -centred.sign() * torch.log1p(-2 * centred.abs())


family = Laplace()
probability = torch.tensor([0.01, 0.3, 0.5, 0.99])
assert torch.allclose(family.active_probability(family.parameter_at(probability)), probability)

uniform = torch.rand(100_000, 1)
drawn = (family.sample(torch.tensor([0.2]), uniform) > 0).float().mean()
assert abs(float(drawn - family.active_probability(torch.tensor(0.2)))) < 0.01

laplace = StochasticGates(model, gates=family).explain(inputs)
assert bool((laplace.retained >= 0.9).all())
print("pixels with Laplace gates:   ", laplace.n_selected.tolist())

# %% [markdown]
# ## An estimator: no gradient, two evaluations
#
# An estimator turns samples of the gates into slopes of the loss. This one is *simultaneous perturbation* (Spall, 1992,
# https://doi.org/10.1109/9.119632): change all gates at once by plus or minus c, and take the difference.
#
#     dL/dz_g ~ (L(z + c h) - L(z - c h)) / (2 c h_g),  h_g = +1 or -1
#
# It never calls autograd, so the model may be anything.


# %%
@dataclass(frozen=True)
class SimultaneousPerturbation(Estimator):
    """Slopes from two evaluations of the loss per sample."""

    size: float = 0.1
    gates = BinaryConcrete(temperature=1.3)  # those that go with it

    def fits(self, gates):
        return not isinstance(gates, Bernoulli)  # any that have a slope

    def estimate(self, gates, parameter, uniform, loss_of):
        z, dz = gates.sample_with_slope(parameter, uniform)
        signs = torch.where(uniform.mul(977).frac() < 0.5, -1.0, 1.0)  # from the same noise: one seed, one result
        above = loss_of((z + self.size * signs).clamp(0, 1))
        below = loss_of((z - self.size * signs).clamp(0, 1))
        slope = ((above - below) / (2 * self.size)).unsqueeze(2) * signs
        return Estimate(slope * dz, slope, (above + below) / 2)


def black_box(rows):
    return torch.tensor(model(rows).numpy())  # leaves torch, as a model behind a service does


without = StochasticGates(black_box, estimator=SimultaneousPerturbation())
shaken = without.explain(inputs, target=model(inputs).argmax(1), n_steps=48)
print("pixels without gradients:    ", shaken.n_selected.tolist())
print("evaluations:", int(shaken.n_evaluations[0]), "instead of", int(usual.n_evaluations[0]))
assert bool((shaken.retained >= 0.9).all())

# %% [markdown]
# It finds sets that suffice and are about as small, but needs more evaluations. An explanation reports measured
# scores, whichever estimator is used. So you can try a part of your own safely.

# %%
assert float(shaken.n_selected.float().mean()) <= 1.5 * float(usual.n_selected.float().mean())
viz.curve(shaken, 0)
