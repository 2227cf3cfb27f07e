# %% [markdown]
# # Photographs
#
# Single pixels of a photograph are poor features: a mask over them finds adversarial noise as easily as an
# explanation. So photographs get larger ones: square cells by default, or superpixels. The pictures here come with
# scikit-learn and scikit-image, and the net is trained in seconds; the last section has the same code for a ResNet.
# It needs `pip install ".[demo]" scikit-image` in a clone.

# %%
import numpy as np
import torch
from skimage import data
from sklearn.datasets import load_sample_images
from torch import nn

from stg_attr import Status, StochasticGates, references, superpixel_mask, viz

torch.manual_seed(0)
MEAN, STD = 0.5, 0.25


def photograph(image):
    x = torch.tensor(np.asarray(image)).movedim(-1, 0)[None] / 255
    x = nn.functional.interpolate(x, scale_factor=160 / min(x.shape[2:]), mode="area")
    return (x[:, :, :160, :224] - MEAN) / STD


classes = ["temple", "flower", "coffee"]
photographs = torch.cat([photograph(image) for image in [*load_sample_images().images, data.coffee()]])
photographs.shape

# %% [markdown]
# ## A net to explain
#
# It is trained on pieces of the three photographs, and its score for a whole one is the mean over all places: the
# share of the photograph that looks like a flower.

# %%
SIZE = 40
net = nn.Sequential(
    nn.Conv2d(3, 12, 5, stride=2),
    nn.ReLU(),
    nn.Conv2d(12, 24, 5, stride=2),
    nn.ReLU(),
    nn.AvgPool2d(7, stride=1),
    nn.Conv2d(24, len(classes), 1),
)


def pieces(n):
    label = torch.randint(0, len(classes), (n,))
    top, left = torch.randint(0, 160 - SIZE, (n,)), torch.randint(0, 224 - SIZE, (n,))
    places = zip(label.tolist(), top.tolist(), left.tolist(), strict=True)
    return torch.stack([photographs[k, :, t : t + SIZE, s : s + SIZE] for k, t, s in places]), label


optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(150):
    x, y = pieces(64)
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x).flatten(1), y).backward()
    optimizer.step()
net.eval().requires_grad_(False)


def model(x):
    return net(x).softmax(1).mean((2, 3))


x, y = pieces(500)
accuracy = (net(x).flatten(1).argmax(1) == y).float().mean().item()
assert accuracy > 0.85
assert model(photographs).argmax(1).tolist() == [0, 1, 2]
print(f"{accuracy:.0%} of the pieces are right")

# %% [markdown]
# ## The features: cells
#
# Without a `feature_mask`, a photograph gets square cells, about 14 by 14. A closed gate shows a blurred photograph: a
# blur hides detail, and keeps the brightness that surrounds it.

# %%
stg = StochasticGates(model)
blur = references.blur(10.0)
cells = stg.explain(photographs, baselines=blur)
print(cells)
viz.panel(cells, 1, mean=MEAN, std=STD)

# %% [markdown]
# ## The features: superpixels
#
# Superpixels follow the edges of what is in the photograph, so that a gate switches a visible part of the picture.

# %%
masks = superpixel_mask(photographs, n_segments=60)
superpixels = stg.explain(photographs, baselines=blur, feature_mask=masks)
assert bool((superpixels.retained >= 0.9).all())
viz.grid(superpixels, mean=MEAN, std=STD, names=classes)

# %% [markdown]
# The same solve read at several budgets: which superpixels come first?

# %%
viz.strip(superpixels, 1, budgets=(0.03, 0.1, 0.2, 0.4, 0.8), mean=MEAN, std=STD)

# %% [markdown]
# ## A photograph whose answer is known
#
# How far can you trust such a map? Put a piece of the flower into the picture of the temple, and explain the score of
# the flower. The selected regions should be in the piece, which covers 22 % of the photograph.

# %%
both = photographs[0:1].clone()
both[:, :, 60:140, 110:210] = photographs[1:2, :, 40:120, 60:160]
inside = torch.zeros(160, 224, dtype=torch.bool)
inside[60:140, 110:210] = True
found = stg.explain(both, target=1, baselines=blur)
selected = (found.attributions[0] > 0.5).any(0)
share = (selected & inside).sum() / selected.sum()
print(f"{share:.0%} of what is selected lies in the piece, which is {inside.float().mean():.0%} of the area")
assert share > 2.5 * inside.float().mean()
viz.panel(found, mean=MEAN, std=STD)

# %% [markdown]
# The selected regions outside the piece are mistakes of the net: it was trained for seconds, and takes some trees for
# a flower.
#
# ## The baseline is part of the question
#
# Plain grey seems to be a neutral choice. But this net never saw grey in training, and gives it a higher flower score
# than the photograph. The status says so. The map then has another meaning: the selected regions *lower* the score.

# %%
grey = stg.explain(both, target=1, baselines=0)
print(grey)
assert grey.status == (Status.BASELINE_HIGHER,)
assert float(grey.scores.baseline) > float(grey.scores.full)

# %% [markdown]
# Look at `scores.baseline` before you look at a map. A blur, a mean photograph or noise
# (`references.blur`, `references.mean`, `references.noise`) are other choices to try.
#
# ## A real ResNet
#
# The same lines explain a pretrained net. This block needs a download of about 100 MB and `pip install torchvision`,
# so it is not run here.
#
# ```python
# # needs a download
# from torchvision.models import ResNet50_Weights, resnet50
#
# weights = ResNet50_Weights.DEFAULT
# resnet = nn.Sequential(resnet50(weights=weights), nn.Softmax(1)).eval()
# image = weights.transforms()(torch.tensor(data.coffee()).movedim(-1, 0))[None]
#
# stg = StochasticGates(resnet)
# explanation = stg.explain(image, baselines=references.blur(10.0), feature_mask=superpixel_mask(image))
# print(weights.meta["categories"][int(explanation.target)], explanation)
# viz.panel(explanation, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# ```
