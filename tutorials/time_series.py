# %% [markdown]
# # Time series
#
# When did it happen, and in which channel? The data are real: the daily price and volume of a share, which come with
# matplotlib. The net answers a question whose answer we know, so that the explanation can be checked. It needs
# `pip install ".[demo]"` in a clone.

# %%
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import nn

from stg_attr import StochasticGates, column_mask, position_mask, viz

torch.manual_seed(0)
days = np.load(Path(matplotlib.get_data_path()) / "sample_data" / "goog.npz")["price_data"]
close = np.log(days["close"])
channels = {
    "return": np.diff(close),
    "overnight": np.log(days["open"][1:]) - close[:-1],
    "range": np.log(days["high"][1:] / days["low"][1:]),
    "volume": np.diff(np.log(days["volume"])),
}
large = np.abs(channels["return"]) > 0.06  # days on which the price moved by 6 % or more
series = torch.tensor(np.stack(list(channels.values()))).float()  # [channels, days]
series = (series - series.mean(1, keepdim=True)) / series.std(1, keepdim=True)

LENGTH = 60
windows = series.unfold(1, LENGTH, 1).movedim(1, 0)  # [windows, channels, 60 days]
moved = torch.tensor(large).unfold(0, LENGTH, 1)  # [windows, 60 days]: what the explanation should find
labels = moved.any(1).long()
print(f"{len(windows)} windows of {LENGTH} days, {labels.float().mean():.0%} with a large move")

# %% [markdown]
# ## A net to explain: is there a large move in these sixty days?

# %%
net = nn.Sequential(
    nn.Conv1d(4, 16, 1),
    nn.ReLU(),
    nn.Conv1d(16, 16, 1),
    nn.ReLU(),
    nn.AdaptiveMaxPool1d(1),
    nn.Flatten(),
    nn.Linear(16, 2),
)
optimizer = torch.optim.Adam(net.parameters(), 1e-2)
for _ in range(60):
    for rows in torch.randperm(len(windows)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(windows[rows]), labels[rows]).backward()
        optimizer.step()
net.eval().requires_grad_(False)
model = nn.Sequential(net, nn.Softmax(1))
accuracy = (net(windows).argmax(1) == labels).float().mean().item()
print(f"{accuracy:.0%} of the windows are right")  # those that it was trained on: this is about reading it
assert accuracy > 0.9

# %% [markdown]
# ## When?
#
# One gate for each day, shared by the four channels. Columns of the last dimension are time steps here, as the windows
# are [batch, channels, time]. For [batch, time, channels], it would be `position_mask`. A closed gate shows an
# average day: zero, as the series are standardised.

# %%
once = (moved.sum(1) == 1) & (net(windows).argmax(1) == 1)  # windows with exactly one such day
inputs, truth = windows[once][::7][:12], moved[once][::7][:12]
stg = StochasticGates(model)
by_day = stg.explain(inputs, target=1, feature_mask=column_mask(inputs))
viz.series(by_day, 0, names=list(channels))

# %%
first = by_day.active_probabilities.argmax(1)
hits = truth.gather(1, first.unsqueeze(1)).float().mean().item()
print(f"the most active day is the day of the move in {hits:.0%} of {len(inputs)} windows")
print("days selected:", by_day.n_selected.tolist())
assert hits > 0.9

# %% [markdown]
# ## In which channel?
#
# One gate for each day and channel, 240 of them: no mask. The net could have used the range or the volume, which are
# large on the same day.

# %%
by_cell = stg.explain(inputs, target=1)
selected = by_cell.selected.reshape(-1, 4, LENGTH)
for name, share in zip(channels, selected.any(2).float().mean(0).tolist(), strict=True):
    print(f"{name:10s} selected in {share:.0%} of the windows")
assert bool(selected.any(1)[truth].float().mean() > 0.9)
viz.series(by_cell, 0, names=list(channels))

# %% [markdown]
# ## In which weeks?
#
# Spans of days are features like any other: ids that say which elements go together. Here each channel has its own
# twelve weeks of five days.

# %%
weeks = torch.arange(LENGTH) // 5 + 12 * torch.arange(4)[:, None]
by_week = stg.explain(inputs, target=1, feature_mask=weeks[None])
assert by_week.active_probabilities.shape == (len(inputs), 48)
viz.series(by_week, 0, names=list(channels))

# %% [markdown]
# ## A shorter series per row
#
# Rows of different lengths are padded; the id -1 says that the padding is no feature, and then it has no gate.

# %%
padded = inputs.clone()
padded[0, :, 40:] = 0
mask = position_mask(padded.movedim(1, 2)).movedim(1, 2).expand(len(padded), 1, LENGTH).clone()
mask[0, :, 40:] = -1
short = stg.explain(padded, target=1, feature_mask=mask)
assert bool((short.attributions[0, :, 40:] == 0).all())
assert int((short.feature_ids[0] >= 0).sum()) == 40
