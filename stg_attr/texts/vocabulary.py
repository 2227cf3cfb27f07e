"""Vocabulary: whether an embedding looks as if it was learned with the tokens of this tokenizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stg_attr.errors import warn

__all__ = ["likeness_of_plurals", "warn_of_other_vocabulary"]

# numbers of a warning, which decide no result: fewer pairs say nothing, and more than enough cost time
_LEAST, _MOST = 100, 2000
# In units of the spread of unrelated pairs. all-MiniLM-L6-v2 has 4.0, with its tokens in another order 0.1.
_ALIKE = 0.3
_LETTERS = 4  # shorter words and their plurals are often unrelated pieces


def warn_of_other_vocabulary(vocabulary: Mapping[str, int], embedding: nn.Module) -> None:
    """Warn if words and their plurals are no more alike to an embedding than unrelated tokens.

    A tokenizer with another vocabulary of the same size cannot be told by its numbers, and the model runs.
    But every embedding that was learned from texts has similar vectors for a word and its plural.

    Args:
        vocabulary: the id of each token.
        embedding: of the model.
    """
    found = likeness_of_plurals(vocabulary, embedding)
    if found is not None and found < _ALIKE:
        warn(
            "To the embedding of the model, words and their plurals are no more alike than unrelated tokens "
            f"({found:.2f} standard deviations). So the tokenizer may be that of another model, whose words "
            "have other ids. Load both from one name. If the model is not trained, this is as it should be."
        )


def likeness_of_plurals(vocabulary: Mapping[str, int], embedding: nn.Module) -> float | None:
    """How much more alike a word and its plural are than a word and the plural of another one.

        (mean cos(word, own plural) - mean cos(word, other plural)) / standard deviation of the latter

    Args:
        vocabulary: the id of each token.
        embedding: of the model.

    Returns:
        The number; None where there are fewer than 100 words with a plural, or no weights to read.
    """
    weight = getattr(embedding, "weight", None)
    if (
        not isinstance(weight, Tensor)
        or not weight.is_floating_point()
        or weight.is_meta
        or weight.dim() != 2
    ):
        return None
    found = [
        (i, vocabulary[token + "s"])
        for token, i in sorted(vocabulary.items(), key=lambda entry: entry[1])
        if sum(letter.isalpha() for letter in token) >= _LETTERS and token + "s" in vocabulary
    ]
    pairs = [pair for pair in found if max(pair) < len(weight)][:_MOST]
    if len(pairs) < _LEAST:
        return None
    ids = torch.tensor(pairs, device=weight.device)
    vectors = nn.functional.normalize(weight.detach()[ids].float(), dim=2)
    own = (vectors[:, 0] * vectors[:, 1]).sum(1)
    other = (vectors[:, 0] * vectors[:, 1].roll(1, 0)).sum(1)
    return float((own.mean() - other.mean()) / other.std())
