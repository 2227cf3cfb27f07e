# %% [markdown]
# # Quick start
#
# Which pixels does a net need to recognise a digit? Everything here runs in seconds and downloads nothing; it
# needs `pip install ".[demo]"` in a clone. To explain a model of your own, only the cell under *Explain it* changes.

# %%
import torch
from sklearn.datasets import load_digits
from torch import nn

from stg_attr import Status, StochasticGates, viz

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
# The score that is explained is what the model returns for the predicted class: here its probability. Every
# pixel gets a gate, and a closed gate shows a black pixel.

# %%
model = nn.Sequential(net, nn.Softmax(dim=1))
inputs = images[1400:1408]
stg = StochasticGates(model)
explanation = stg.explain(inputs)
explanation

# %% [markdown]
# Every line was measured on the model itself. The first number is the share of the score that is left if the model
# sees only the selected pixels, with all others black. The second is the share that is left if it sees only the other
# pixels. The same as numbers:

# %%
print(explanation.describe(0))
print("pixels selected:", explanation.n_selected.tolist(), "of", explanation.selected.shape[1])
print("rows that the model was run on, for each image:", explanation.n_evaluations.tolist())
assert bool((explanation.retained >= 0.9).all())

# %% [markdown]
# ## What the numbers are
#
# An attribution is the probability that a pixel's gate is active: in [0, 1], shaped like the input. Those above one
# half are the selected ones, and they were measured to keep at least 90 % of the score on their own.

# %%
assert explanation.attributions.shape == inputs.shape
assert torch.equal(explanation.attributions.flatten(1) > 0.5, explanation.selected)
viz.grid(explanation, [0, 1, 2], names=[f"class {int(explanation.target[i])}" for i in range(3)])

# %% [markdown]
# You can check this: show the model only these pixels, and it predicts the same.

# %%
kept = torch.where(explanation.selected.reshape(inputs.shape), inputs, 0.0)
scores = model(kept).gather(1, explanation.target).squeeze(1)
assert torch.allclose(scores, explanation.scores.kept, atol=1e-5)

# %% [markdown]
# ## Another class
#
# `target` names the output to explain. The second most likely class has other needed pixels. Read its status first:
# if its score is nearly 0, there is little to explain.

# %%
second = model(inputs).topk(2).indices[:, 1]
other = stg.explain(inputs, target=second)
print("score of the second class:", [round(score, 4) for score in other.scores.full.tolist()])
print("status:", sorted({status.name for status in other.status}))
assert bool((other.target.squeeze(1) == second).all())

# %% [markdown]
# ## Another sparsity, without solving again
#
# One solve covers every number of pixels. The curve was measured: the score with only the best *k* pixels shown, and
# with these *k* hidden. `at` reads another point of it, and does not run the model.

# %%
smaller = explanation.at(retain=0.5)
assert bool((smaller.n_selected <= explanation.n_selected).all())
assert torch.equal(smaller.n_evaluations, explanation.n_evaluations)
print(smaller.describe(0))
viz.curve(explanation, 0)

# %% [markdown]
# ## When not to trust it
#
# `status` has a sentence for every example: converged or not, nothing to explain, a baseline that scores higher. The
# tutorial *when to trust an explanation* shows each of them.

# %%
for i, status in enumerate(explanation.status):
    print(i, status.value)
assert Status.NOTHING_TO_EXPLAIN not in explanation.status

# %% [markdown]
# ## Keep it
#
# A file holds tensors and text, and no code. `to_frame` gives a table for pandas, and every picture has `save`.

# %%
explanation.save("digits.safetensors")
again = type(explanation).load("digits.safetensors")
assert torch.equal(again.attributions, explanation.attributions)
explanation.to_frame().head()
