"""The recipe of the page on text: a masked language model fills in the words that are hidden."""

from __future__ import annotations

import pytest
import torch

from stg_attr import StochasticGates

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from tests.texts.reviews import bert_tokenizer  # noqa: E402

TEXT = "film great was lovely it"


class Knows:
    """A masked model that knows that what is great is lovely, what is awful is boring, and nothing else."""

    def __init__(self, tokenizer):
        self.great, self.lovely, self.awful, self.boring = tokenizer.convert_tokens_to_ids(
            ["great", "lovely", "awful", "boring"]
        )
        self.config = transformers.BertConfig(vocab_size=len(tokenizer))

    def __call__(self, input_ids, **_):
        logits = torch.zeros(*input_ids.shape, self.config.vocab_size)
        great, awful = ((input_ids == word).any(1, keepdim=True) for word in (self.great, self.awful))
        logits[:, :, self.lovely], logits[:, :, self.boring] = 20.0 * great, 20.0 * awful
        return transformers.modeling_outputs.MaskedLMOutput(logits=logits)


@pytest.fixture(scope="module")
def masked_model():
    tokenizer = bert_tokenizer()
    return Knows(tokenizer), tokenizer


def filler(model, tokenizer, draws=8):
    noise = torch.Generator().manual_seed(0)
    noise = -torch.empty(draws, 40, model.config.vocab_size).exponential_(generator=noise).log()

    def filled(texts):
        """Each text with its masks filled in, once for each draw."""
        encoding = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            likely = model(**encoding).logits
        is_mask = encoding["input_ids"] == tokenizer.mask_token_id
        found = []
        for one in noise[:, : likely.shape[1]]:
            ids = (likely + one).argmax(2)  # a draw from the probabilities of the model
            for text, row, here in zip(texts, ids, is_mask, strict=True):
                for word in tokenizer.convert_ids_to_tokens(row[here]):
                    text = text.replace(tokenizer.mask_token, word, 1)
                found.append(text)
        return found

    return filled


def test_a_hidden_word_that_the_others_tell_is_not_needed(masked_model):
    filled = filler(*masked_model)

    def score(texts):
        return torch.tensor([float("lovely" in text) for text in texts])

    def of_filled(texts):
        return score(filled(texts)).reshape(-1, len(texts)).mean(0)

    alone = torch.eye(5, dtype=torch.bool)[None, 1:2]  # of "great"
    left_out = StochasticGates(score).explain([TEXT])
    found = StochasticGates(of_filled).explain([TEXT], baselines="[MASK]")
    assert left_out.selected.tolist() == [[False, False, False, True, False]]
    assert float(left_out.score_of(alone)) == 0
    assert float(found.scores.full) == 1
    assert float(found.scores.baseline) < 0.4
    assert float(found.score_of(alone)) > 0.9
    assert found.selected[0, 1] or found.selected[0, 3]
    assert int(found.selected.sum()) == 1
    assert bool(found.contributions[0, 1] > 0.1 * found.contributions[0, 3] > 0)


def test_what_is_shown_stays_as_it_is(masked_model):
    filled = filler(*masked_model, draws=1)
    assert filled(["Film  great,\nwas [MASK]."])[0].startswith("Film  great,\nwas ")
    assert "[MASK]" not in "".join(filled(["[MASK] [MASK]", "was [MASK] it"]))
