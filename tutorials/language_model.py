# %% [markdown]
# # Language models
#
# Which part of a prompt does an answer need, and which part does each of its words need? `LLMStochasticGates` is
# Captum's `LLMAttribution` for gates. The model here is a small Llama with random weights, trained in the notebook on
# questions whose answers are known; a pretrained one is used in the same way. It needs
# `pip install ".[viz,text]"` in a clone.

# %%
import torch
from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stg_attr import LayerStochasticGates, LLMStochasticGates, viz

# %% [markdown]
# ## A language whose right answers are known
#
# Seven words and a colon. Among them are a colour and an animal; the answer is a fruit of that colour, then the food of
# that animal. So the first word of the answer needs one word of the prompt, and the second another one.

# %%
FRUIT = {"red": "apple", "yellow": "banana", "green": "pear"}
FOOD = {"cat": "milk", "dog": "bone", "horse": "hay"}
FILLERS = ["the", "a", "one", "saw", "and", "was", "very", "near", "house", "street"]
words = ["<pad>", "<eos>", ":", *FILLERS, *FRUIT, *FRUIT.values(), *FOOD, *FOOD.values()]
raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=raw, pad_token="<pad>", unk_token="<pad>", eos_token="<eos>"
)


def example():
    """Prompt, answer, and the places of the colour and of the animal."""
    prompt = [FILLERS[int(i)] for i in torch.randint(len(FILLERS), (7,))]
    first, second = torch.randperm(7)[:2].tolist()
    prompt[first] = list(FRUIT)[int(torch.randint(3, ()))]
    prompt[second] = list(FOOD)[int(torch.randint(3, ()))]
    return " ".join([*prompt, ":"]), f"{FRUIT[prompt[first]]} {FOOD[prompt[second]]}", first, second


torch.manual_seed(0)
examples = [example() for _ in range(800)]
print(examples[0][0], examples[0][1])

# %% [markdown]
# ## The model
#
# While it is trained, some words of the prompt are missing, as they will be in an explanation.

# %%
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
)
ids = tokenizer([f"{prompt} {answer}" for prompt, answer, *_ in examples], return_tensors="pt")["input_ids"]
optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
for _ in range(250):
    rows = ids[torch.randint(len(ids), (64,))]
    missing = (torch.rand(rows.shape) < 0.15) & (torch.arange(rows.shape[1]) < 7)
    logits = model(torch.where(missing, 0, rows), attention_mask=torch.ones_like(rows)).logits[:, -3:-1]
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, -2:].flatten()).backward()
    optimizer.step()
model.eval().requires_grad_(False)

torch.manual_seed(1)
unseen = [example() for _ in range(100)]
asked = tokenizer([f"{prompt} {answer}" for prompt, answer, *_ in unseen], return_tensors="pt")["input_ids"]
answers = model(asked, attention_mask=torch.ones_like(asked)).logits[:, -3:-1].argmax(2)
accuracy = (answers == asked[:, -2:]).all(1).float().mean().item()
print(f"{accuracy:.0%} of unseen questions are answered in full")
assert accuracy > 0.8

# %% [markdown]
# ## What does the answer need?
#
# Gates on the embedding of the prompt, one per token, all tokens of the answer at once. `seq_attr` is for the whole
# answer, `token_attr` has a row for each of its tokens. The colon ends every question, so it is no feature:
# `skip_tokens`, as for Captum.

# %%
prompt, answer, first, second = unseen[0]
gates = LayerStochasticGates(model, model.get_input_embeddings())
llm = LLMStochasticGates(gates, tokenizer)


def question(prompt):
    return TextTokenInput(prompt, tokenizer, skip_tokens=[tokenizer.convert_tokens_to_ids(":")])


result = llm.attribute(question(prompt), target=answer)
print("prompt:", prompt, "  answer:", answer)
print("answer", [round(p, 2) for p in result.seq_attr.tolist()])
for token, row in zip(result.output_tokens, result.token_attr, strict=True):
    print(f"{token:6s}", [round(p, 2) for p in row.tolist()])
assert set(result.seq_attr.topk(2).indices.tolist()) == {first, second}
assert int(result.token_attr[0].argmax()) == first
assert int(result.token_attr[1].argmax()) == second

# %%
rows = torch.cat([result.seq_attr[None], result.token_attr])
viz.text(rows, [result.input_tokens] * len(rows), names=[answer, *result.output_tokens])

# %% [markdown]
# One prompt proves little. Over many prompts, how often does the word that a token needs have the highest
# attribution?

# %%
hits = 0
for prompt, answer, first, second in unseen[:8]:
    found = llm.attribute(question(prompt), target=answer).token_attr
    hits += int(found[0].argmax() == first) + int(found[1].argmax() == second)
print(f"{hits} of 16 tokens have their word at the top")
assert hits >= 14

# %% [markdown]
# ## Beside Captum's own method
#
# The result is Captum's `LLMAttributionResult`, so that everything made for it works here. Feature ablation leaves out one
# token at a time. Its numbers are changes of the log-probability: they have signs and no upper end, and where two words
# say the same, leaving out either changes nothing.

# %%
prompt, answer, *_ = unseen[0]
ablation = LLMAttribution(FeatureAblation(model), tokenizer)
theirs = ablation.attribute(question(prompt), target=answer)
print("feature ablation", [round(v, 2) for v in theirs.seq_attr.tolist()])
assert type(result).__name__ == type(theirs).__name__

# %% [markdown]
# ## A pretrained model
#
# Only the first two lines change. This needs a download of about 3 GB, so it is not run here.
#
# ```python
# # needs a download
# from transformers import AutoModelForCausalLM, AutoTokenizer
#
# name = "Qwen/Qwen2.5-1.5B-Instruct"
# model, tokenizer = AutoModelForCausalLM.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
#
# gates = LayerStochasticGates(model, model.get_input_embeddings())
# llm = LLMStochasticGates(gates, tokenizer)
# result = llm.attribute(
#     TextTokenInput("Dave lives in Palm Coast and is a lawyer. He is", tokenizer),
#     target="working in Florida",
# )
# ```
