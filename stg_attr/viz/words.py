"""Words: the tokens of a model joined to the words that people read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stg_attr.texts.letters import is_unspaced

from .source import Array, replace_invisible
from .tokens import LINE_BREAK, texts_of_tokens, texts_with_spaces

__all__ = ["Word", "is_right_to_left", "words_from_tokens"]

_SPECIAL = re.compile(r"\[[A-Z][A-Z0-9_]*\]|<[/A-Za-z_][^<>\s]*>|<\|.*\|>")
_FAINT_BELOW = 0.1  # probability below which the shade behind pale letters leaves them readable


@dataclass(frozen=True)
class Word:
    """One word, of one or more tokens.

    Attributes:
        text: as people read it.
        probability: active probability, the largest of its tokens.
        selected: whether any of its tokens is selected.
        spaced: a space stands before it.
        broken: a line break stands before it.
        muted: it is a special token, or none of its tokens has a gate; it is drawn small and in italics.
        gated: any of its tokens has a gate.
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
        """Whether it is drawn in pale letters: it is muted, and the shade behind it is weak."""
        return self.muted and self.probability < _FAINT_BELOW

    @property
    def numbers(self) -> str:
        """The probability, and those of its tokens where there are several."""
        if not self.gated:
            return "no gate"
        own = f"{self.probability:.2f}"
        if len(set(self.parts)) == 1:
            return own
        return own + " (" + ", ".join(f"{text} {p:.2f}" for text, p in self.parts) + ")"

    def __add__(self, other: Word) -> Word:
        """Join two words that follow each other."""
        return replace(
            self,
            text=self.text + other.text,
            probability=max(self.probability, other.probability),
            selected=self.selected or other.selected,
            muted=self.muted and other.muted,
            gated=self.gated or other.gated,
            parts=self.parts + other.parts,
        )


def words_from_tokens(
    tokens: Sequence[str],
    probabilities: Array,
    selected: NDArray[np.bool_],
    gated: NDArray[np.bool_],
    *,
    special: Collection[str] | None = None,
    whole: bool = True,
    with_spaces: bool = False,
) -> list[Word]:
    """Words from tokens.

    Reads the marks of WordPiece (`##ing`), SentencePiece (`▁the`), byte-level BPE (`Ġthe`), subword-nmt
    (`un@@`), GPT-1 and CLIP (`the</w>`), tokens with leading spaces, and whole words. Punctuation, and
    scripts that put no spaces between words, are not joined.

    Args:
        tokens: as the tokenizer writes them.
        probabilities: of each token, [tokens].
        selected: of each token, [tokens].
        gated: whether a token has a gate, [tokens].
        special: tokens to mute; by default those that look like `[CLS]`, `<s>` or `<|end|>`.
        whole: False leaves every token on its own, without added spaces.
        with_spaces: each token holds the white space before it, and no marks.
    """
    is_special = [_is_special(token, special) for token in tokens]
    words: list[Word] = []
    texts = texts_with_spaces(tokens) if with_spaces else texts_of_tokens(tokens, is_special)
    for i, read in enumerate(texts):
        own_break = with_spaces and "\n" in tokens[i].split(read.text)[0]
        after_break = i > 0 and (words[-1].text.endswith(LINE_BREAK) or own_break)
        word = Word(
            text=replace_invisible(read.text),
            probability=float(probabilities[i]),
            selected=bool(selected[i]),
            spaced=read.spaced or is_special[i] or (with_spaces and i > 0 and is_special[i - 1]),
            broken=after_break,
            muted=is_special[i] or not bool(gated[i]),
            gated=bool(gated[i]),
            parts=((replace_invisible(read.text or tokens[i]), float(probabilities[i])),),
        )
        between = i == 0 or word.spaced or after_break or is_special[i - 1]
        if i and is_special[i] and tokens[i] == tokens[i - 1]:
            words[-1] = _repeated(words[-1], word)
        elif not whole or between or not _continues(words[-1], word):
            words.append(word)
        else:
            words[-1] += word
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


def _continues(last: Word, word: Word) -> bool:
    """Whether two words without a space between them are one: letters, marks or digits meet."""
    if not word.text or not last.text:  # some bytes of a letter that is not complete
        return True
    edges = last.text[-1], word.text[0]
    return all(unicodedata.category(letter)[0] in "LMN" and not is_unspaced(letter) for letter in edges)


def _repeated(last: Word, word: Word) -> Word:
    """A run of one special token, such as padding, as one word with a count."""
    joined = last + word
    return replace(joined, text=f"{word.text} \u00d7{len(joined.parts)}")
