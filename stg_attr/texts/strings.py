"""Strings: a function of texts as one of a tensor that says which words are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError
from stg_attr.gates import word_mask
from stg_attr.model import FirstCall, is_out_of_memory, module_of, raised_by_handler

from .given import Example, as_texts, is_texts, mask_of
from .pieces import PlainText
from .pipelines import as_scores

__all__ = ["AsTensors", "over_words"]

_FOR_FUNCTIONS = (
    "Pass a function that returns one row of scores for each entry of the list, such as "
    "pipeline.predict_proba; texts that are too long for it can be explained in parts."
)
_FOR_NETS = (
    "A net takes no strings: LayerStochasticGates.for_text(model, tokenizer) explains it with its tokenizer."
)


@dataclass(frozen=True, eq=False)
class AsTensors:
    """What a question about texts is as one about tensors.

    Attributes:
        forward: the model as a function of these tensors.
        inputs: one tensor for each input, [batch, ...].
        baselines: what closed gates show.
        target: the output to explain.
        arguments: for the model, those that the user gave last.
        feature_mask: the features.
        tokens: the text of each position of each example, with the white space before it.
        spent: model rows for each example that it took to make the question.
    """

    forward: Callable[..., Any]
    inputs: Any
    baselines: Any
    target: Any
    arguments: tuple[Any, ...]
    feature_mask: Any
    tokens: tuple[tuple[str, ...], ...]
    spent: int = 0


def over_words(
    forward: Callable[..., Any],
    inputs: Any,
    baselines: Any,
    target: Any,
    arguments: tuple[Any, ...],
    feature_mask: Any,
) -> AsTensors | None:
    """A question about a function of strings, as one about a tensor; None where the inputs are no texts.

    The tensor is 1 for each piece (word, punctuation mark) of a text that is shown, and 0 for a hidden one.
    The arguments are those of `StochasticGates.explain`.

    Raises:
        ArgumentError: an argument cannot be used.
    """
    if not is_texts(inputs):
        return None
    examples = as_texts(inputs)
    split = [tuple(PlainText.of(text) for text in example) for example in examples]
    counts = [sum(len(text.places) for text in example) for example in split]
    positions = max(counts)
    shown = (torch.arange(positions, device="cpu") < torch.tensor(counts, device="cpu")[:, None]).long()
    mask = mask_of(feature_mask, _Encodings([_encoding(e, positions) for e in split]), word_mask, positions)
    number = torch.arange(len(examples), device="cpu")
    as_pairs = not isinstance(inputs, str) and not isinstance(next(iter(inputs)), str)
    return AsTensors(
        OverStrings(forward, split, _hidden_word(baselines), as_pairs),
        shown,
        0,
        target,
        (number, *arguments),
        mask,
        tuple(_tokens(example, positions) for example in split),
    )


class OverStrings:
    """A function of strings as one of the words that are shown.

    Args:
        forward: takes a list of strings (or of tuples of strings), returns one row of scores for each.
        examples: the texts of each example.
        hidden: the word that takes the place of a hidden one; empty to leave it out.
        as_pairs: whether the function takes tuples.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        examples: Sequence[tuple[PlainText, ...]],
        hidden: str,
        as_pairs: bool,
    ) -> None:
        self.__wrapped__ = forward  # inspect.unwrap finds the model by this name, as after functools.wraps
        takes = (
            f"a function of a list of {'tuples of texts' if as_pairs else 'strings'}, which the inputs are"
        )
        mend = _FOR_NETS if module_of(forward) is forward else _FOR_FUNCTIONS
        self._score = FirstCall(as_scores(forward), "forward_func", takes, mend)
        self._examples, self._hidden, self._as_pairs = examples, hidden, as_pairs

    def __call__(self, shown: Tensor, examples: Tensor, *arguments: Any) -> Any:
        """The scores of some rows.

        Args:
            shown: 1 for each word that is shown, [rows, positions].
            examples: which example each row belongs to, long [rows].
            arguments: further ones of the function.
        """
        rows = zip((shown > 0).tolist(), examples.tolist(), strict=True)
        texts = [self.text(keep, example) for keep, example in rows]
        try:
            return self._score(texts if self._as_pairs else [text for (text,) in texts], *arguments)
        except ArgumentError:
            raise
        except Exception as error:
            if self._hidden or any(map(any, texts)) or raised_by_handler(error) or is_out_of_memory(error):
                raise
            raise ArgumentError(
                "forward_func",
                expected="a function that takes a text without words, too, since hidden words are left out",
                found=f"{type(error).__name__} for an empty text: {error}",
                mend="Return a score for it, or pass a word for hidden ones, such as baselines='[MASK]'.",
            ) from error

    def text(self, keep: Sequence[bool], example: int) -> Example:
        """The texts of one example with some of their words."""
        found, start = [], 0
        for text in self._examples[example]:
            end = start + len(text.places)
            found.append(text.shown(keep[start:end], self._hidden))
            start = end
        return tuple(found)


def _hidden_word(baselines: Any) -> str:
    if baselines is None:
        return ""
    if not isinstance(baselines, str):
        raise ArgumentError(
            "baselines",
            expected="the word that takes the place of a hidden one, such as '[MASK]'",
            found=repr(baselines),
            mend="Leave it out, and hidden words are left out.",
        )
    return baselines.strip()


@dataclass(frozen=True)
class _Encoding:
    """The pieces of one example, as `tokenizers.Encoding` has the tokens; see `stg_attr.gates.text_masks`."""

    tokens: list[str]
    word_ids: list[int | None]
    sequence_ids: list[int | None]
    attention_mask: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class _Encodings:
    """The pieces of all examples."""

    encodings: list[_Encoding]


def _encoding(example: tuple[PlainText, ...], positions: int) -> _Encoding:
    places: list[tuple[str, int | None, int | None, tuple[int, int]]] = [
        (text.text[s:e], i, k, (s, e))
        for k, text in enumerate(example)
        for i, (s, e) in enumerate(text.places)
    ]
    rest = positions - len(places)
    places += [("", None, None, (0, 0))] * rest
    tokens, words, sequences, offsets = (list(column) for column in zip(*places, strict=True))
    return _Encoding(tokens, words, sequences, [1] * (positions - rest) + [0] * rest, offsets)


def _tokens(example: tuple[PlainText, ...], positions: int) -> tuple[str, ...]:
    """The pieces of an example; the second text of a pair begins on a line of its own."""
    found: list[str] = []
    for k, text in enumerate(example):
        pieces = text.pieces
        if k and pieces:
            pieces[0] = "\n" + pieces[0]
        found += pieces
    return (*found, *[""] * (positions - len(found)))
