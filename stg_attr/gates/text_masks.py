"""Feature masks for text: they say which tokens of a tokenizer's output share a gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["sentence_mask", "token_mask", "word_mask"]

_SPACES = ("Ġ", "▁", "Ċ", " ")  # first characters of tokens that stand for white space before the token
_CLOSING = set("\"'»”’)]")  # noqa: RUF001  # characters that can follow the full stop within a sentence


class _Encoding(Protocol):
    """The part of `tokenizers.Encoding`, the tokens of one text, that is used here."""

    tokens: list[str]
    word_ids: list[int | None]
    sequence_ids: list[int | None]
    attention_mask: list[int]
    offsets: list[tuple[int, int]]


#: Says whether token i begins a new unit (a word, say), or belongs to the unit of token i - 1.
_Begins = Callable[[_Encoding, int], bool]


def token_mask(encoding: Any, special: bool = False) -> Tensor:
    """Give each token a gate.

    Args:
        encoding: the output of a fast tokenizer of transformers, called with `return_tensors` and `padding`.
        special: whether tokens that the tokenizer added, such as [CLS], get gates. Padding never does.

    Returns:
        Ids from 0 for every text, -1 for tokens without a gate, long [batch, positions].

    Raises:
        ArgumentError: the tokenizer does not say which word a token belongs to, or the texts have different
            lengths.
    """
    return _units(encoding, lambda one, i: True, special)


def word_mask(encoding: Any, special: bool = False) -> Tensor:
    """Give each word a gate, which its tokens share. Arguments, result and errors are those of `token_mask`.

    The tokenizer says what a word is (`word_ids`). Usually each punctuation mark is a word of its own.

    Example:
        >>> from types import SimpleNamespace as Encoding
        >>> tokens = Encoding(
        ...     ids=[101, 17, 18, 19, 102],
        ...     tokens=["[CLS]", "play", "##ing", "chess", "[SEP]"],
        ...     word_ids=[None, 0, 0, 1, None],
        ...     sequence_ids=[None, 0, 0, 0, None],
        ...     attention_mask=[1, 1, 1, 1, 1],
        ... )
        >>> word_mask(Encoding(encodings=[tokens]))
        tensor([[-1,  0,  0,  1, -1]])
    """
    return _units(encoding, _begins_word, special)


def sentence_mask(
    encoding: Any,
    special: bool = False,
    *,
    ends: str = ".!?…",
    unspaced_ends: str = "。！？",  # noqa: RUF001
) -> Tensor:
    """Give each sentence a gate, which its tokens share. Result and errors are those of `token_mask`.

    A sentence ends at a full stop, question mark or exclamation mark if white space follows. The texts of a
    pair have no sentence in common.

    Args:
        encoding: as for `token_mask`.
        special: as for `token_mask`.
        ends: characters that end a sentence if white space follows.
        unspaced_ends: characters that end a sentence also without white space, as in Chinese and Japanese.
    """

    def begins(one: _Encoding, i: int) -> bool:
        return _begins_sentence(one, i, tuple(ends), tuple(unspaced_ends))

    return _units(encoding, begins, special)


def _units(encoding: Any, begins: _Begins, special: bool) -> Tensor:
    encodings = getattr(encoding, "encodings", None)
    if not encodings:
        raise ArgumentError(
            "encoding",
            expected="the output of a fast tokenizer, which says which word a token is of",
            found=type(encoding).__name__,
            mend="Use transformers.AutoTokenizer, and pass what calling it returned as it is.",
        )
    rows = [_row(one, begins, special) for one in encodings]
    if len({len(row) for row in rows}) > 1:
        raise ArgumentError(
            "encoding",
            expected="texts of one length",
            found=f"lengths {sorted({len(row) for row in rows})}",
            mend="Call the tokenizer with padding=True.",
        )
    return torch.tensor(rows)


def _row(one: _Encoding, begins: _Begins, special: bool) -> list[int]:
    row, unit, within = [], -1, False  # within: whether the token before belongs to a unit that may continue
    for i, word in enumerate(one.word_ids):
        if not one.attention_mask[i] or (word is None and not special):
            row.append(-1)
            within = within and bool(one.attention_mask[i])
            continue
        if word is None or not within or begins(one, i):
            unit += 1
        within = word is not None
        row.append(unit)
    return row


def _begins_word(one: _Encoding, i: int) -> bool:
    # some tokenizers call a whole text one word; there only the first character shows where a word begins
    apart = one.word_ids[i] != one.word_ids[i - 1] or one.sequence_ids[i] != one.sequence_ids[i - 1]
    return apart or one.tokens[i].startswith(_SPACES)


def _begins_sentence(one: _Encoding, i: int, ends: tuple[str, ...], unspaced_ends: tuple[str, ...]) -> bool:
    if one.sequence_ids[i] != one.sequence_ids[i - 1]:
        return True
    spaced = one.offsets[i][0] > one.offsets[i - 1][1] or one.tokens[i].startswith(_SPACES)
    last = i - 1  # the token that may end a sentence: the last one that is not a closing quote or bracket
    while last > 0 and set(one.tokens[last]) <= _CLOSING:
        last -= 1
    return one.tokens[last].endswith(unspaced_ends) or (spaced and one.tokens[last].endswith(ends))
