"""Fits: whether texts, tokenizer and model go together, checked before a solve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from stg_attr.errors import ArgumentError, warn

from .given import Example
from .vocabulary import warn_of_other_vocabulary

__all__ = [
    "Tokens",
    "check_ids",
    "check_padding",
    "check_pairs",
    "check_vocabulary",
    "embedding_of",
    "n_known",
    "own_positions",
]

_NO_LIMIT = 10**9  # tokenizers without a limit say a number above


class Tokens(Protocol):
    """A model and its tokenizer: see `Tokenized`."""

    @property
    def model(self) -> nn.Module:
        """It takes what the tokenizer returns."""

    @property
    def tokenizer(self) -> Any:
        """Of the model."""

    @property
    def embedding(self) -> nn.Module:
        """From token ids to vectors."""

    @property
    def config(self) -> Any:
        """The settings of the model, if it has any."""


def check_pairs(examples: Sequence[Example]) -> None:
    """Check that examples have one text or two."""
    if len(examples[0]) > 2:
        raise ArgumentError(
            "inputs",
            expected="single texts or pairs",
            found=f"{len(examples[0])} texts for each example",
            mend="Join some of them to one text.",
        )


def n_known(owner: Tokens) -> int:
    """How many tokens a model has an embedding of."""
    weight = owner.embedding.weight
    assert isinstance(weight, Tensor)
    return len(weight)


def check_vocabulary(owner: Tokens) -> None:
    """Check that a model has an embedding of each token, but for those that were added to the tokenizer.

    Added tokens, such as one for padding, may never be used. Warns if the embedding looks as if it was
    learned with other tokens.
    """
    if (known := n_known(owner)) < owner.tokenizer.vocab_size:
        raise _too_many_tokens(known, f"{owner.tokenizer.vocab_size} tokens")
    warn_of_other_vocabulary(owner.tokenizer.get_vocab(), owner.embedding)


def check_ids(ids: Sequence[Sequence[int]], owner: Tokens) -> None:
    """Check that a model knows the tokens of each text, and has places for all of them."""
    largest = max((max(row) for row in ids if row), default=0)
    if largest >= (known := n_known(owner)):
        raise _too_many_tokens(known, f"the id {largest}")
    _warn_of_unknown_words(ids, owner.tokenizer)
    limit, longest = _most_tokens(owner), max(range(len(ids)), key=lambda i: len(ids[i]))
    if limit is not None and len(ids[longest]) > limit:
        raise ArgumentError(
            "inputs",
            expected=f"texts of at most {limit} tokens, special ones included, which the model allows",
            found=f"{len(ids[longest])} in example {longest}",
            mend="Cut the text to the part in question, or explain its parts one by one.",
        )


def _too_many_tokens(known: int, found: str) -> ArgumentError:
    return ArgumentError(
        "tokenizer",
        expected=f"token ids below {known}, the rows of the embedding of the model",
        found=found,
        mend="Load both from one name, or call model.resize_token_embeddings(len(tokenizer)).",
    )


def _warn_of_unknown_words(ids: Sequence[Sequence[int]], tokenizer: Any) -> None:
    """Warn of texts of which the tokenizer knows no word: to the model, all their words are the same."""
    unknown, special = tokenizer.unk_token_id, set(tokenizer.all_special_ids)
    words = [[i for i in row if i == unknown or i not in special] for row in ids]
    found = [i for i, row in enumerate(words) if row and set(row) == {unknown}]
    if found:
        warn(
            f"The tokenizer knows no word of the texts in examples {found[:8]}: to the model, all of their "
            "words are the same. It may be that of another model; load both from one name."
        )


def check_padding(lengths: set[int], owner: Tokens) -> None:
    """Check that texts of different lengths can be padded, and that a model takes several rows.

    A causal model for classification reads the last token that is no padding, and must know it.
    """
    if len(lengths) > 1 and owner.tokenizer.pad_token_id is None:
        raise ArgumentError(
            "tokenizer",
            expected="a padding token, since the texts have different numbers of tokens",
            found="none",
            mend="Set tokenizer.pad_token = tokenizer.eos_token, or explain one text at a time.",
        )
    is_classifier = type(owner.model).__name__.endswith("ForSequenceClassification")
    reads_last = is_classifier and owner.tokenizer.cls_token_id is None
    known, pad = getattr(owner.config, "pad_token_id", 0), owner.tokenizer.pad_token_id
    if reads_last and known is None:
        raise ArgumentError(
            "model",
            expected="one that knows its padding token, without which it takes one row at a time",
            found="config.pad_token_id is None",
            mend="Set model.config.pad_token_id = tokenizer.pad_token_id, or that of tokenizer.eos_token_id.",
        )
    if reads_last and len(lengths) > 1 and known != pad:
        raise ArgumentError(
            "model",
            expected=f"one whose padding token is that of the tokenizer, {pad}, which it looks for",
            found=f"config.pad_token_id = {known}",
            mend="Set model.config.pad_token_id = tokenizer.pad_token_id, or explain one text at a time.",
        )


def _most_tokens(owner: Tokens) -> int | None:
    """The largest number of tokens that tokenizer and model allow; None for any number."""
    limits = [owner.tokenizer.model_max_length, getattr(owner.config, "max_position_embeddings", None)]
    for name, layer in owner.model.named_modules():
        places = isinstance(layer, nn.Embedding) and name.endswith("position_embeddings")
        if places and layer.padding_idx is not None:  # RoBERTa counts positions from the place of padding on
            limits.append(layer.num_embeddings - layer.padding_idx - 1)
    known = [int(limit) for limit in limits if isinstance(limit, int) and 0 < limit < _NO_LIMIT]
    return min(known, default=None)


def own_positions(target: Any, attention: Tensor | None) -> Any:
    """A target (position, label) as one for each text, whose positions are those of its own tokens.

    Args:
        target: as the user gave it; what is no such pair is returned as it is.
        attention: 1 for tokens, 0 for padding, [batch, positions]; None where it is not known.

    Raises:
        ArgumentError: a text has no such position.
    """
    if attention is None or bool(attention.all()):
        return target
    entries = target if isinstance(target, list) else [target] * len(attention)
    is_pair = all(isinstance(e, tuple) and len(e) == 2 and isinstance(e[0], int) for e in entries)
    if not is_pair or len(entries) != len(attention):
        return target
    places = [row.nonzero().flatten().tolist() for row in attention]
    for i, (entry, own) in enumerate(zip(entries, places, strict=True)):
        if not -len(own) <= entry[0] < len(own):
            raise ArgumentError(
                "target",
                expected=f"a position of example {i}, which has {len(own)} tokens, special ones included",
                found=str(entry[0]),
                mend="Positions count from 0, and from -1 at the end; pass one target for each text.",
            )
    return [(own[entry[0]], *entry[1:]) for entry, own in zip(entries, places, strict=True)]


def embedding_of(model: Any) -> nn.Module:
    """The embedding of a model.

    Raises:
        ArgumentError: there is none.
    """
    owners = model.modules() if isinstance(model, nn.Module) else ()
    for owner in owners:
        find = getattr(owner, "get_input_embeddings", None)
        try:
            found = find() if callable(find) else None
        except NotImplementedError:
            found = None
        if isinstance(found, nn.Module):
            return _that_runs(owner, found)
    raise ArgumentError(
        "model",
        expected="a model of transformers, whose get_input_embeddings returns its embedding",
        found=type(model).__name__,
        mend="Explain token ids with LayerStochasticGates(model, embedding), or a function of strings with "
        "StochasticGates(function).",
    )


def _that_runs(owner: Any, embedding: nn.Module) -> nn.Module:
    """The embedding that an encoder runs, which in T5EncoderModel is another module with the same weight."""
    find = getattr(owner, "get_encoder", None)
    inner = getattr(find() if callable(find) else None, "get_input_embeddings", None)
    found = inner() if callable(inner) else None
    same = isinstance(found, nn.Module) and getattr(found, "weight", None) is embedding.weight
    return found if isinstance(found, nn.Module) and same else embedding
