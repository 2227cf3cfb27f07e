"""Heads, MLP blocks and channels of known kinds of models."""

import pytest
import torch
from torch import nn

from stg_attr import ArgumentError
from stg_attr.components import (
    ComponentStochasticGates,
    channel_sites,
    head_sites,
    mlp_sites,
    named_sites,
)

transformers = pytest.importorskip("transformers")

COMMON = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16, "vocab_size": 20}
IDS = torch.randint(0, 20, (3, 6), generator=torch.Generator().manual_seed(0))
OTHER = torch.randint(0, 20, (3, 6), generator=torch.Generator().manual_seed(1))


def small(name, **settings):
    """A small model of a kind, with random weights."""
    config = getattr(transformers, f"{name}Config")(
        **settings, pad_token_id=0, bos_token_id=0, eos_token_id=0
    )
    kind = {"GPT2": "GPT2LMHeadModel", "Bert": "BertModel", "Llama": "LlamaForCausalLM"}.get(
        name, f"{name}Model"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, kind)(config).eval()


KINDS = {
    "GPT2": {"n_layer": 2, "n_head": 4, "n_embd": 16, "vocab_size": 20},
    "Bert": COMMON | {"intermediate_size": 8},
    "Llama": COMMON | {"intermediate_size": 8, "num_key_value_heads": 2},
    "DistilBert": {"n_layers": 2, "n_heads": 4, "dim": 16, "hidden_dim": 8, "vocab_size": 20},
    "OPT": COMMON | {"ffn_dim": 8, "word_embed_proj_dim": 16},
    "GPTNeoX": COMMON | {"intermediate_size": 8},
    "Albert": COMMON | {"intermediate_size": 8, "embedding_size": 8},
}


@pytest.mark.parametrize("name", KINDS)
def test_closing_all_heads_and_blocks_leaves_the_embedding(name):
    """Without the residual branches, what the output depends on is the embedding, position by position."""
    model = small(name, **KINDS[name])
    sites = [*head_sites(model), *mlp_sites(model)]
    n_layers = 1 if name == "Albert" else 2
    assert [site.n_parts for site in sites] == [4] * n_layers + [1] * n_layers

    def forward(ids):
        return model(ids)[0][:, -1]

    found = ComponentStochasticGates(forward, sites).explain(IDS, target=3, n_steps=2, n_samples=2)
    last = IDS[:, -1:].expand(-1, 6)  # the same token everywhere: no head can bring anything else
    alone = ComponentStochasticGates(forward, sites).explain(last, target=3, n_steps=2, n_samples=2)
    torch.testing.assert_close(found.scores.baseline, alone.scores.baseline)
    everything = torch.ones(3, len(found.feature_names), dtype=torch.bool)
    torch.testing.assert_close(found.score_of(everything), forward(IDS)[:, 3].detach())


def test_heads_of_gpt2_beside_a_hook_by_hand():
    model = small("GPT2", **KINDS["GPT2"])
    keep = torch.tensor([True, False, True, True, False, True, False, True])

    def forward(ids):
        return model(ids).logits[:, -1]

    found = ComponentStochasticGates(forward, head_sites(model)).explain(
        IDS, OTHER, target=3, n_steps=2, n_samples=2
    )
    score = found.score_of(keep.expand(3, 8))
    projections = [block.attn.c_proj for block in model.transformer.h]
    shown = []
    hooks = [p.register_forward_pre_hook(lambda _, args: shown.append(args[0])) for p in projections]
    forward(OTHER)
    [hook.remove() for hook in hooks]

    def replaced(layer):
        mask = keep[4 * layer : 4 * layer + 4].repeat_interleave(4)
        return lambda _, args: (torch.where(mask, args[0], shown[layer]),)

    hooks = [p.register_forward_pre_hook(replaced(i)) for i, p in enumerate(projections)]
    torch.testing.assert_close(score, forward(IDS)[:, 3].detach())
    [hook.remove() for hook in hooks]


def test_an_encoder_and_a_decoder_have_heads_of_both_kinds():
    model = small("T5", num_layers=2, num_heads=4, d_model=16, d_kv=4, d_ff=8, vocab_size=20)
    assert len(head_sites(model)) == 6
    assert mlp_sites(model)[0].name == "encoder.block.0.layer.1.DenseReluDense.wo"


def test_names_of_components_are_those_of_the_blocks():
    model = small("GPT2", **KINDS["GPT2"])
    stg = ComponentStochasticGates(model, [*head_sites(model), *mlp_sites(model)])
    assert stg.components[:2] == ("transformer.h.0.attn[0]", "transformer.h.0.attn[1]")
    assert stg.components[-1] == "transformer.h.1.mlp.c_proj"


def test_models_without_such_parts_are_refused():
    net = nn.Sequential(nn.Linear(2, 3))
    for helper in (head_sites, mlp_sites, channel_sites):
        with pytest.raises(ArgumentError, match="named_sites"):
            helper(net)
    with pytest.raises(ArgumentError, match="'1'"):
        named_sites(net, "1")
    with pytest.raises(ArgumentError, match="found none"):
        named_sites(net)


def test_a_number_of_heads_that_is_not_known_is_refused():
    class OwnAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.out = nn.Linear(4, 4), nn.Linear(4, 4)

    with pytest.raises(ArgumentError, match="number of heads that divides 4"):
        head_sites(nn.Sequential(OwnAttention()))
