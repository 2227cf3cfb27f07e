# %% [markdown]
# # Quick start
#
# Which pixels does a net need to recognise a digit? Everything here runs in seconds and downloads nothing; it
# needs `pip install stg_attr[demo]`.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

from stg_attr import StochasticGates, viz

torch.manual_seed(0)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16  # [1797, 1, 8, 8]
labels = torch.tensor(data.target)

# %% [markdown]
# ## A net to explain

# %%
net = nn.Sequential(
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
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(15):
    for rows in torch.randperm(1400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
net.eval()
accuracy = (net(images[1400:]).argmax(1) == labels[1400:]).float().mean().item()
assert accuracy > 0.9

# %% [markdown]
# ## Explain it
#
# The score that is explained is what the model returns for the predicted class: here its probability. A
# closed gate shows a black pixel.

# %%
model = nn.Sequential(net, nn.Softmax(dim=1))
inputs = images[1400:1408]
stg = StochasticGates(model)
explanation = stg.explain(inputs)
print(explanation)

# %% [markdown]
# An attribution is the probability that a pixel's gate is active. Those above one half were measured to keep
# at least 90 % of the score on their own.

# %%
assert explanation.attributions.shape == inputs.shape
assert bool((explanation.retained >= 0.9).all())
assert torch.equal(explanation.attributions.flatten(1) > 0.5, explanation.selected)
viz.panel(explanation, 0)

# %% [markdown]
# Nothing has to be believed: show the model only these pixels, and it says the same.

# %%
kept = torch.where(explanation.selected.reshape(inputs.shape), inputs, 0.0)
scores = model(kept).gather(1, explanation.target).squeeze(1)
assert torch.allclose(scores, explanation.scores.kept, atol=1e-5)

# %% [markdown]
# ## Another sparsity, without solving again

# %%
smaller = explanation.at(retain=0.5)
assert bool((smaller.n_selected <= explanation.n_selected).all())
print(smaller.describe(0))
viz.curve(explanation, 0)

# %% [markdown]
# ## When not to trust it
#
# `status` has a sentence for every example: not converged, nothing to explain, a baseline that scores higher.

# %%
for i, status in enumerate(explanation.status):
    print(i, status.value)
