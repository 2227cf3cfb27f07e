"""Tokens as text: the marks that tokenizers put on tokens become letters and spaces.

`tokenizers.decoders` knows the same marks, but returns one text for all tokens; given one token at a
time, it loses spaces, and letters whose bytes are spread over several tokens. A picture needs the text of
each token, also where no tokenizer is installed, so the marks are read here. The tests compare with them.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stg_attr.texts.letters import is_unspaced

__all__ = ["LINE_BREAK", "TokenText", "texts_of_tokens", "texts_with_spaces"]

LINE_BREAK = "\u21b5"  # what is shown for a token that is only a line break
_SPACE = "\u2423"  # what is shown for a token that is only spaces
_EITHER_SIDE = set("\"'#@&*/\\")  # punctuation that can open a word as well as end one


class TokenText(NamedTuple):
    """A token without its marks, and whether a space stands before it."""

    text: str
    spaced: bool


def texts_of_tokens(tokens: Sequence[str], special: Sequence[bool]) -> list[TokenText]:
    """The text of each token; the first kind of mark that any ordinary token has decides for all.

    Args:
        tokens: as the tokenizer writes them.
        special: whether a token is a special one, such as `[CLS]`, which has no marks, [tokens].
    """
    ordinary = [token for token, is_special in zip(tokens, special, strict=True) if not is_special]
    for has_mark, read in _KINDS:
        if any(has_mark(token) for token in ordinary):
            return read(tokens, special)
    return _from_continuations(tokens)


def texts_with_spaces(tokens: Sequence[str]) -> list[TokenText]:
    """The text of each token, where a token holds the white space before it."""
    return [_spaced_text(token) for token in tokens]


def _spaced_text(token: str) -> TokenText:
    """A token that holds the space before it."""
    text = token.strip() or (LINE_BREAK if "\n" in token else _SPACE if token else "")
    return TokenText(text, token[:1].isspace())


def _from_word_ends(tokens: Sequence[str]) -> list[TokenText]:
    """Tokens that are marked with `</w>` where a word ends."""
    after = [True, *(token.endswith("</w>") for token in tokens)]
    texts = [token.removesuffix("</w>") for token in tokens]
    return [TokenText(text, ended and _takes_space(text)) for text, ended in zip(texts, after, strict=False)]


def _from_continuations(tokens: Sequence[str], before: str = "", after: str = "") -> list[TokenText]:
    """Tokens that are marked where a word continues, and whole words.

    Args:
        tokens: as the tokenizer writes them.
        before: the mark at the start of a token that continues the word before it.
        after: the mark at the end of a token that the next token continues.
    """
    found: list[TokenText] = []
    last = ""
    for token in tokens:
        continued = (bool(before) and token.startswith(before)) or (bool(after) and last.endswith(after))
        text = token.removeprefix(before).removesuffix(after)
        spaced = not continued and _takes_space(text) and not _opens(last)
        found.append(TokenText(text, spaced and not (is_unspaced(text[:1]) and is_unspaced(last[-1:]))))
        last = token
    return found


def _from_bytes(tokens: Sequence[str], special: Sequence[bool]) -> list[TokenText]:
    """Tokens of byte-level BPE, which write each byte as a letter.

    A letter of several bytes can be spread over several tokens; it is shown with the token of its last byte.
    """
    bytes_of = _byte_letters()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found = []
    for token, is_special in zip(tokens, special, strict=True):
        if is_special or not all(letter in bytes_of for letter in token):
            found.append(TokenText(token, True))
            continue
        own = bytes(bytes_of[letter] for letter in token)
        text = decoder.decode(own)
        complete = text.strip() or own.isspace()
        found.append(_spaced_text(text) if complete else TokenText("", text[:1].isspace()))
    return found


def _byte_letters() -> dict[str, int]:
    """The byte of each letter: printable bytes are their own letters, the others follow from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _takes_space(text: str) -> bool:
    """Whether a space belongs before it: not before closing punctuation, nor before 's and n't."""
    if text == "n't" or (text[:1] in ("'", "\u2019") and text[1:].isalpha()):
        return False
    ends = ("Pe", "Pf", "Po")  # Unicode's categories of closing and other punctuation
    return not text or not all(unicodedata.category(c) in ends and c not in _EITHER_SIDE for c in text)


def _opens(text: str) -> bool:
    """Whether it ends in an opening bracket or quote."""
    return bool(text) and unicodedata.category(text[-1]) in ("Ps", "Pi")


_Read = Callable[[Sequence[str], Sequence[bool]], list[TokenText]]
# Each kind of mark: whether a token has it, and how tokens of that kind are read. The order matters, because
# the ordinary text of an earlier kind can hold a later mark.
_KINDS: tuple[tuple[Callable[[str], bool], _Read], ...] = (
    (lambda token: "Ġ" in token or "Ċ" in token, _from_bytes),  # byte-level BPE: GPT-2, RoBERTa, Llama 3
    (  # SentencePiece: T5, XLNet, Llama 2
        lambda token: token.startswith("▁"),
        lambda tokens, _: texts_with_spaces([token.replace("▁", " ") for token in tokens]),
    ),
    (
        lambda token: token.startswith("##"),
        lambda tokens, _: _from_continuations(tokens, before="##"),
    ),  # BERT
    (
        lambda token: token.endswith("@@"),
        lambda tokens, _: _from_continuations(tokens, after="@@"),
    ),  # subword-nmt
    (lambda token: token.endswith("</w>"), lambda tokens, _: _from_word_ends(tokens)),  # GPT-1, CLIP
    (
        lambda token: token[:1].isspace(),
        lambda tokens, _: texts_with_spaces(tokens),
    ),  # tokens with their spaces
)
