"""Pipelines of transformers around a small net of our own, as functions of strings."""

import pytest
import torch

from stg_attr import ArgumentError, StochasticGates, viz

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from tests.texts.reviews import learned_reviews, random_model, written  # noqa: E402


@pytest.fixture(scope="module")
def pipe():
    model, tokenizer = learned_reviews()
    model.config.id2label = {0: "bad", 1: "good"}
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")


def test_its_columns_are_the_probabilities_of_the_classes_in_their_order(pipe):
    texts = ["The film was great.", "It was an awful plot, quite boring!"]
    encoding = pipe.tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = pipe.model(**encoding).logits.softmax(1)
    for target in (0, 1):
        found = StochasticGates(pipe).explain(texts, target=target)
        torch.testing.assert_close(found.scores.full, expected[:, target], rtol=0, atol=1e-5)
    own = StochasticGates(pipe).explain(texts)
    assert own.target.tolist() == [[1], [0]]
    assert "selected words: great." in viz.text(own, examples=[0]).alt


def test_the_numbers_are_those_of_a_function_by_hand(pipe):
    def by_hand(texts):
        with torch.no_grad():
            rows = [pipe.model(**pipe.tokenizer(text, return_tensors="pt")).logits for text in texts]
        return torch.cat(rows).softmax(1)

    texts = written(2, seed=3)[0]
    found, expected = (StochasticGates(score).explain(texts, target=1) for score in (pipe, by_hand))
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=1e-4)
    assert torch.equal(found.selected, expected.selected)


def test_the_deciding_word_is_found_by_leaving_words_out_and_by_the_mask_token(pipe):
    texts, labels, places = written(6, seed=1)
    for hidden in (None, "[MASK]"):
        found = StochasticGates(pipe).explain(texts, hidden, target=labels)
        best = found.contributions.nan_to_num().argmax(1).tolist()
        assert sum(a == b for a, b in zip(best, places, strict=True)) >= 5, hidden


def test_pairs_are_handed_on_as_the_texts_of_a_pair(pipe):
    pair = ("the film was great", "it was poor")
    found = StochasticGates(pipe).explain([pair], target=1)
    with torch.no_grad():
        logits = pipe.model(**pipe.tokenizer(*pair, return_tensors="pt")).logits
    torch.testing.assert_close(found.scores.full, logits.softmax(1)[:, 1], rtol=0, atol=1e-5)


def test_a_pipeline_for_another_task_is_refused(pipe):
    model = random_model("BertForTokenClassification", transformers.BertConfig, num_labels=5)
    other = transformers.pipeline("token-classification", model=model, tokenizer=pipe.tokenizer, device="cpu")
    with pytest.raises(ArgumentError, match=r"found a pipeline for token-classification.*Wrap it"):
        StochasticGates(other).explain("the film")
