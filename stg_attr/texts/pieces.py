"""Pieces of a text: its words and punctuation marks, and what the text is without some of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .letters import is_unspaced

__all__ = ["PlainText", "split"]

_WITHIN_WORDS = frozenset("'\u2019-")  # an apostrophe or hyphen between two letters is part of the word
_WITHIN_NUMBERS = frozenset(".,:/")  # as in 3.14, 1,000, 12:30 and 1/2
_JOINER = "\u200d"  # makes one emoji of two
_OPENING, _CLOSING = ("Ps", "Pi"), ("Pe", "Pf", "Po")  # Unicode's categories of marks that touch a word
_FLAGS = range(0x1F1E6, 0x1F200)  # two such letters make a flag
_SKINS = range(0x1F3FB, 0x1F400)  # colours of the emoji before them


def split(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, number, punctuation mark and symbol of a text.

    White space is between the pieces. A mark that is repeated is one piece. In scripts that put no spaces
    between words, each letter is one.

    Example:
        >>> text = "Don't pay 3.50 for it..."
        >>> [text[start:end] for start, end in split(text)]
        ["Don't", 'pay', '3.50', 'for', 'it', '...']
    """
    found: list[tuple[int, int]] = []
    for i, letter in enumerate(text):
        if letter.isspace():
            continue
        if found and found[-1][1] == i and _continues(text, i):
            found[-1] = found[-1][0], i + 1
        else:
            found.append((i, i + 1))
    return found


def _continues(text: str, i: int) -> bool:
    """Whether letter i belongs to the piece of the letter before it, which is no white space."""
    last, letter, after = text[i - 1], text[i], text[i + 1 : i + 2]
    kind = unicodedata.category(letter)
    if kind[0] == "M" or kind == "Cf" or last == _JOINER or ord(letter) in _SKINS:
        return True
    if _in_word(letter):
        inside = i > 1 and _in_word(text[i - 2]) and last in _WITHIN_WORDS | _WITHIN_NUMBERS
        joined = inside and _continues(text, i - 1)
        return (_in_word(last) or joined) and not (is_unspaced(letter) or is_unspaced(last))
    if letter in _WITHIN_WORDS:
        return _in_word(last) and bool(after) and _in_word(after) and not is_unspaced(last)
    if letter in _WITHIN_NUMBERS and last.isdigit() and after.isdigit():
        return True
    return letter == last or (ord(letter) in _FLAGS and ord(last) in _FLAGS)


def _in_word(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return letter == "_" or kind[0] in "LMN" or kind == "Cf"  # such as the soft hyphen


@dataclass(frozen=True)
class PlainText:
    """A text and its pieces.

    Attributes:
        text: as the user gave it.
        places: start and end of each piece.
    """

    text: str
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str) -> PlainText:
        """A text, split as `split` does."""
        return cls(text, tuple(split(text)))

    @property
    def pieces(self) -> list[str]:
        """Each piece with the white space before it, the last also with that after it: joined, the text."""
        if not self.places:
            return []
        starts = [0, *(end for _, end in self.places[:-1])]
        ends = [*(end for _, end in self.places[:-1]), len(self.text)]
        return [self.text[start:end] for start, end in zip(starts, ends, strict=True)]

    def shown(self, keep: Sequence[bool], hidden: str = "") -> str:
        """The text with only some of its pieces.

        White space goes with the piece after it; line breaks stay. Two words do not become one.

        Args:
            keep: whether each piece is shown, [pieces].
            hidden: a word that takes the place of each other piece; empty to leave them out.

        Example:
            >>> PlainText.of("A great, long film").shown([True, False, True, True, True])
            'A, long film'
        """
        words = [
            self.text[start:end] if kept else hidden
            for (start, end), kept in zip(self.places, keep, strict=True)
        ]
        there = [i for i, word in enumerate(words) if word]
        if not there:
            return ""
        parts = [self.text[: self.places[0][0]], words[there[0]]]
        for i, j in pairwise(there):
            # what replaces a piece is a word, also where the piece is a mark that touches the word before it
            meet = self._may_join(i, -1, keep[i]) and self._may_join(j, 0, keep[j])
            parts += [self._between(i, j, meet), words[j]]
        return "".join([*parts, self.text[self.places[-1][1] :]])

    def _edge(self, i: int, side: int) -> str:
        """The first (side 0) or last (side -1) letter of piece i."""
        start, end = self.places[i]
        return self.text[start:end][side]

    def _may_join(self, i: int, side: int, kept: bool) -> bool:
        """Whether a word that touches piece i, or what replaces it, becomes one word with it."""
        letter = self._edge(i, side)
        return (_in_word(letter) or not kept) and not is_unspaced(letter)

    def _between(self, i: int, j: int, meet: bool) -> str:
        """What stands between pieces i and j where those between them are left out.

        Args:
            i: of one piece.
            j: of a later one.
            meet: whether the two would be one word without a space.
        """
        gaps = [self.text[self.places[k - 1][1] : self.places[k][0]] for k in range(i + 1, j + 1)]
        gap = next((gap for gap in gaps if "\n" in gap), gaps[-1])
        if gap or meet:
            return gap or next(filter(None, gaps), " ")
        opens = unicodedata.category(self._edge(i, -1)) in _OPENING
        closes = unicodedata.category(self._edge(j, 0)) in _CLOSING and not self._stands_before_word(j)
        return "" if opens or closes else next(filter(None, gaps), "")

    def _stands_before_word(self, i: int) -> bool:
        """Whether a word follows piece i without white space, as in .5 after a hidden x."""
        end = self.places[i][1]
        return any(map(_in_word, self.text[end : end + 1]))
