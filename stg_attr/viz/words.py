"""Words: the tokens of a model put together again as people read them."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .source import Array, replace_invisible

__all__ = ["Word", "is_right_to_left", "words_from_tokens"]

_SPECIAL = re.compile(r"\[[A-Z][A-Z0-9_]*\]|<[/A-Za-z_][^<>\s]*>|<\|.*\|>")
_EITHER_SIDE = set("\"'#@&*/\\")  # punctuation that may open a word as well as end one
_UNSPACED = (  # scripts that put no space between words, with their punctuation: Thai to ideographs
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3000, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFF9D), (0x20000, 0x323AF),
)  # fmt: skip
_FAINT = 0.1
_BREAK, _SPACE = "\u21b5", "\u2423"  # how tokens of nothing but white space show


@dataclass(frozen=True)
class Word:
    """One word, of one or more tokens.

    Attributes:
        text: as people read it.
        probability: active probability, the largest of its tokens.
        selected: whether any of its tokens is.
        spaced: a space stands before it.
        broken: a line break stands before it.
        muted: a special token, or never gated.
        gated: it has a gate.
        parts: its tokens and their probabilities.
    """

    text: str
    probability: float
    selected: bool
    spaced: bool
    broken: bool
    muted: bool
    gated: bool
    parts: tuple[tuple[str, float], ...]

    @property
    def faint(self) -> bool:
        """Muted, and not shaded so much that pale letters could not be read."""
        return self.muted and self.probability < _FAINT

    @property
    def numbers(self) -> str:
        """The probability, and those of its tokens where there are several."""
        if not self.gated:
            return "no gate"
        own = f"{self.probability:.2f}"
        if len(set(self.parts)) == 1:
            return own
        return own + " (" + ", ".join(f"{text} {p:.2f}" for text, p in self.parts) + ")"


def words_from_tokens(
    tokens: Sequence[str],
    probabilities: Array,
    selected: NDArray[np.bool_],
    gated: NDArray[np.bool_],
    *,
    special: Collection[str] | None = None,
    whole: bool = True,
) -> list[Word]:
    """Words from tokens.

    Understands the marks of WordPiece (`##ing`), SentencePiece (`▁the`), byte-level BPE (`Ġthe`),
    subword-nmt (`un@@`), GPT-1 and CLIP (`the</w>`), leading spaces, and whole words. Punctuation, and
    scripts that put no spaces between words, are not joined.

    Args:
        tokens: as the tokenizer writes them.
        probabilities: of each token, [tokens].
        selected: of each token, [tokens].
        gated: whether a token has a gate, [tokens].
        special: tokens to mute; by default those that look like `[CLS]`, `<s>` or `<|end|>`.
        whole: False leaves every token on its own, without spaces that are not there.
    """
    muted = [_is_special(token, special) for token in tokens]
    words: list[Word] = []
    for i, piece in enumerate(_pieces(tokens, muted)):
        after_break = i > 0 and words[-1].text.endswith(_BREAK)
        apart = not words or not whole or piece.spaced or after_break or muted[i] or muted[i - 1]
        word = Word(
            text=replace_invisible(piece.text),
            probability=float(probabilities[i]),
            selected=bool(selected[i]),
            spaced=piece.spaced or muted[i],
            broken=after_break,
            muted=muted[i] or not bool(gated[i]),
            gated=bool(gated[i]),
            parts=((replace_invisible(piece.text or tokens[i]), float(probabilities[i])),),
        )
        if i and muted[i] and tokens[i] == tokens[i - 1]:
            words[-1] = _repeated(words[-1], word)
        elif apart or not _continues(words[-1], word):
            words.append(word)
        else:
            words[-1] = _joined(words[-1], word)
    return words


def is_right_to_left(text: str) -> bool:
    """Whether the first letter with a direction runs from right to left.

    Example:
        >>> is_right_to_left("(שלום"), is_right_to_left("peace")
        (True, False)
    """
    directions = (unicodedata.bidirectional(letter) for letter in text)
    return next((direction != "L" for direction in directions if direction in ("L", "R", "AL")), False)


def _is_special(token: str, special: Collection[str] | None) -> bool:
    return bool(_SPECIAL.fullmatch(token.strip())) if special is None else token in special


class _Piece(NamedTuple):
    """A token as it reads, and whether a space stands before it."""

    text: str
    spaced: bool


def _pieces(tokens: Sequence[str], muted: Sequence[bool]) -> list[_Piece]:
    ordinary = [token for token, is_special in zip(tokens, muted, strict=True) if not is_special]
    if any("Ġ" in token or "Ċ" in token for token in ordinary):
        return _from_bytes(tokens, muted)
    if any(token.startswith("▁") for token in ordinary):
        return [_from_spaces(token.replace("▁", " ")) for token in tokens]
    if any(token.startswith("##") for token in ordinary):
        return _from_continuations(tokens, "##", "")
    if any(token.endswith("@@") for token in ordinary):
        return _from_continuations(tokens, "", "@@")
    if any(token.endswith("</w>") for token in ordinary):
        return _from_ends(tokens)
    if any(token[:1].isspace() for token in ordinary):
        return [_from_spaces(token) for token in tokens]
    return _from_continuations(tokens, "", "")


def _from_spaces(token: str) -> _Piece:
    """Tokens that carry the space before them."""
    text = token.strip() or (_BREAK if "\n" in token else _SPACE if token else "")
    return _Piece(text, token[:1].isspace())


def _from_ends(tokens: Sequence[str]) -> list[_Piece]:
    """Tokens that say when they end a word."""
    after = [True, *(token.endswith("</w>") for token in tokens)]
    texts = [token.removesuffix("</w>") for token in tokens]
    return [_Piece(text, ended and _takes_space(text)) for text, ended in zip(texts, after, strict=False)]


def _from_continuations(tokens: Sequence[str], before: str, after: str) -> list[_Piece]:
    """Tokens that say so continue the last word; spaces are put where the language has them."""
    pieces: list[_Piece] = []
    last = ""
    for token in tokens:
        continued = (bool(before) and token.startswith(before)) or (bool(after) and last.endswith(after))
        text = token.removeprefix(before).removesuffix(after)
        spaced = not continued and _takes_space(text) and not _opens(last)
        pieces.append(_Piece(text, spaced and not (_is_unspaced(text[:1]) and _is_unspaced(last[-1:]))))
        last = token
    return pieces


def _from_bytes(tokens: Sequence[str], muted: Sequence[bool]) -> list[_Piece]:
    """Byte-level BPE writes bytes as letters; a letter of several bytes shows with its last one."""
    letters = _byte_letters()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = []
    for token, is_special in zip(tokens, muted, strict=True):
        if is_special or not all(letter in letters for letter in token):
            pieces.append(_Piece(token, True))
            continue
        own = bytes(letters[letter] for letter in token)
        text = decoder.decode(own)
        pieces.append(_from_spaces(text) if text.strip() or own.isspace() else _Piece("", text[:1].isspace()))
    return pieces


def _byte_letters() -> dict[str, int]:
    """The letters of byte-level BPE: printable bytes stand for themselves, the others follow from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _takes_space(text: str) -> bool:
    """Whether a space belongs before it: not before closing punctuation, nor before 's and n't."""
    if text == "n't" or (text[:1] in ("'", "\u2019") and text[1:].isalpha()):
        return False
    ends = ("Pe", "Pf", "Po")
    return not text or not all(unicodedata.category(c) in ends and c not in _EITHER_SIDE for c in text)


def _opens(text: str) -> bool:
    """Whether it ends in an opening bracket or quote."""
    return bool(text) and unicodedata.category(text[-1]) in ("Ps", "Pi")


def _continues(last: Word, word: Word) -> bool:
    if not word.text or not last.text:  # bytes of one letter
        return True
    edges = last.text[-1], word.text[0]
    return all(unicodedata.category(letter)[0] in "LMN" and not _is_unspaced(letter) for letter in edges)


def _joined(last: Word, word: Word) -> Word:
    return replace(
        last,
        text=last.text + word.text,
        probability=max(last.probability, word.probability),
        selected=last.selected or word.selected,
        muted=last.muted and word.muted,
        gated=last.gated or word.gated,
        parts=last.parts + word.parts,
    )


def _repeated(last: Word, word: Word) -> Word:
    """A run of one special token, such as padding."""
    joined = _joined(last, word)
    return replace(joined, text=f"{word.text} \u00d7{len(joined.parts)}")


def _is_unspaced(letter: str) -> bool:
    return bool(letter) and any(low <= ord(letter) <= high for low, high in _UNSPACED)
