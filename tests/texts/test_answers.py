"""Models with encoder and decoder: which words of a text its answer needs."""

from __future__ import annotations

import pytest
import torch

from stg_attr import ArgumentError, LayerStochasticGates, NamedInputs, word_mask

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from tests.texts.reviews import bert_tokenizer, random_model  # noqa: E402

TEXTS, ANSWERS = ["a great film", "poor plot"], ["lovely music", "boring"]
TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
LAYERS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32}
LAYERS |= {"decoder_ffn_dim": 32, "encoder_layers": 1, "decoder_layers": 1, "d_model": 32}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def tokenizer():
    made = bert_tokenizer()
    made.model_input_names = ["input_ids", "attention_mask"]
    return made


def made(name):
    more = LAYERS if name == "Bart" else T5
    config = getattr(transformers, f"{name}Config")
    return random_model(f"{name}ForConditionalGeneration", config, **TOKENS, **more)


@pytest.mark.parametrize("name", ["Bart", "T5"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_the_score_is_the_log_probability_of_the_answer(name, is_shared, tokenizer, untouched):
    model = made(name)
    if is_shared:  # as before transformers 5, where encoder and decoder have one module
        model.get_decoder().set_input_embeddings(model.get_encoder().get_input_embeddings())
    stg = LayerStochasticGates.for_text(model, tokenizer)
    with untouched(model):
        found = stg.explain(list(zip(TEXTS, ANSWERS, strict=True)), n_steps=3)
    for i, (text, answer) in enumerate(zip(TEXTS, ANSWERS, strict=True)):
        labels = tokenizer(answer, return_tensors="pt")["input_ids"]
        loss = model(**tokenizer(text, return_tensors="pt"), labels=labels).loss * labels.shape[1]
        torch.testing.assert_close(float(found.scores.full[i]), -loss.item(), rtol=1e-5, atol=1e-5)
    assert "".join(found.tokens[0][:5]) == "[CLS]a great film[SEP]"
    assert "".join(found.tokens[0][5:]).split() == (
        ["[CLS]", "lovely", "music", "[SEP]"] if is_shared else []
    )
    assert found.selected.shape == (2, 3)


def test_it_is_what_the_encoding_by_hand_gives(tokenizer):
    model = made("T5")
    found = LayerStochasticGates.for_text(model, tokenizer).explain([(TEXTS[0], ANSWERS[0])])
    encoding = dict(tokenizer(TEXTS[:1], return_tensors="pt"))
    labels = tokenizer(ANSWERS[:1], return_tensors="pt")["input_ids"]
    encoding["decoder_input_ids"] = torch.cat([torch.tensor([[2]]), labels[:, :-1]], 1)

    def answer(output, labels):
        return output.logits.log_softmax(2).gather(2, labels[:, :, None]).sum((1, 2))

    by_hand = LayerStochasticGates(
        NamedInputs(model, encoding, score=answer), model.get_encoder().get_input_embeddings()
    ).explain(
        tuple(encoding.values()),
        baselines=(tokenizer.mask_token_id, None, None),
        additional_forward_args=labels,
        feature_mask=word_mask(tokenizer(TEXTS[:1], return_tensors="pt")),
    )
    assert found.log_alpha.equal(by_hand.log_alpha)
    assert found.scores.full.equal(by_hand.scores.full)


@pytest.mark.parametrize("name", ["Bart", "T5"])
def test_without_an_answer_that_of_the_model_is_explained(name, tokenizer):
    model = made(name)
    stg = LayerStochasticGates.for_text(model, tokenizer)
    found = stg.explain(TEXTS, n_steps=2)
    ids = tokenizer(TEXTS[0], return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=39, do_sample=False)[:, 1:]
    loss = model(**ids, labels=written).loss * written.shape[1]
    torch.testing.assert_close(float(found.scores.full[0]), -loss.item(), rtol=1e-4, atol=1e-4)


def test_nothing_after_the_end_of_an_answer_counts(tokenizer):
    model = made("Bart")
    model.generation_config.eos_token_id = [3, 55]
    model.generation_config.forced_eos_token_id = None
    model.final_logits_bias[0, 55] = 1e4  # the first token ends every answer
    found = LayerStochasticGates.for_text(model, tokenizer).explain(TEXTS, n_steps=1, baselines="[UNK]")
    torch.testing.assert_close(found.scores.full, torch.zeros(2), rtol=0, atol=1e-5)


def test_what_has_no_answer_is_refused(tokenizer):
    bare = random_model("BartModel", transformers.BartConfig, **TOKENS, **LAYERS)
    with pytest.raises(ArgumentError, match=r"model: expected one with a head.*found BartModel"):
        LayerStochasticGates.for_text(bare, tokenizer).explain([("a film", "lovely")])
    with pytest.raises(ArgumentError, match=r"inputs: .*pairs; found 3 texts"):
        LayerStochasticGates.for_text(made("Bart"), tokenizer).explain([("a", "film", "lovely")])
