# %% [markdown]
# # Widgets
#
# Explore an explanation in the notebook: the slider moves along the measured curve, and no kernel is needed for it. The
# outputs below work on pages and in notebooks that are opened again. It needs `pip install ".[demo,widgets]"` in a clone.

# %%
import torch
from captum.attr import IntegratedGradients
from sklearn.datasets import load_digits
from torch import nn

from stg_attr import StochasticGates, widgets

torch.manual_seed(0)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(data.target)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(2048, 10),
)
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(12):
    for rows in torch.randperm(1400).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
model = nn.Sequential(net.eval().requires_grad_(False), nn.Softmax(1))
inputs = images[1400:1404]
classes = [str(digit) for digit in range(10)]

# %% [markdown]
# ## Explore
#
# Move the slider, or press the arrow keys: at every stop the model was run with this number of pixels.

# %%
explanation = StochasticGates(model).explain(inputs)
explorer = widgets.explore(explanation, classes=classes)
explorer

# %% [markdown]
# In Python the explorer is a widget with traits. `reading` is the explanation at the budget that is shown.

# %%
explorer.budget = 3  # pixels at most
assert int(explorer.reading.n_selected[0]) <= 3
print(explorer.reading.describe(0))

# %% [markdown]
# ## Compare methods
#
# Attributions of other methods are ranked, and the model is run with their best pixels, as many as the explanation was
# measured with: so all columns mean the same.

# %%
gradients = IntegratedGradients(model).attribute(inputs, target=model(inputs).argmax(1)).float()
widgets.compare(
    {"stochastic gates": explanation, "integrated gradients": gradients}, forward_func=model, classes=classes
)

# %% [markdown]
# ## Watch a solve
#
# `watch` draws picture, curve and loss while a long solve runs. **Interrupt the kernel** to stop it: what was learned
# until then is returned. This one is short.

# %%
watched = widgets.watch(StochasticGates(model), inputs[:1], n_steps=6)
assert len(watched) == 1

# %% [markdown]
# ## Workbench
#
# Pick an example, a class, a baseline and a budget, and explain, without code. It needs a kernel, so there is nothing to
# see on a page: run this cell in JupyterLab.

# %%
bench = widgets.Workbench(model, inputs, classes=classes)
assert len(bench.history) == 0

# %% [markdown]
# ## A page that stands alone

# %%
explorer.to_html("digits.html")
with open("digits.html", encoding="utf-8") as file:
    page = file.read()
assert "http://" not in page.replace("http://www.w3.org", "")
print(f"{len(page) / 1000:.0f} kB, nothing fetched from anywhere")
