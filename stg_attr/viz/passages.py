"""Text: tokens shaded by active probability, as HTML for notebooks and pages, and as a figure for papers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError

from .colours import KEPT, shade
from .markup import render
from .picture import Picture, page
from .source import Array, Example, Source, as_array, evidence_line, read_example, replace_invisible
from .typeset import typeset
from .words import Word, is_right_to_left, words_from_tokens

__all__ = ["Passage", "Text", "own_tokens", "text"]

_LISTED = 20  # words in the table of numbers


@dataclass(frozen=True)
class Passage:
    """One row of a text picture.

    Attributes:
        name: what is written before it; may be empty.
        words: of the text.
        claim: the evidence; empty for plain attributions.
    """

    name: str
    words: tuple[Word, ...]
    claim: str

    @property
    def right_to_left(self) -> bool:
        """Whether its script runs from right to left."""
        return is_right_to_left("".join(word.text for word in self.words if not word.muted))

    @property
    def alt(self) -> str:
        """The selected words, and the evidence."""
        kept = " ".join(word.text for word in self.words if word.selected)
        return (
            f"{self.name + ': ' if self.name else ''}selected words: {kept or 'none'}. {self.claim}".strip()
        )

    def most_active(self, count: int) -> list[Word]:
        """The words with the highest active probability, the highest first."""
        gated = (word for word in self.words if word.gated)
        return sorted(gated, key=lambda word: -word.probability)[:count]


@dataclass(frozen=True)
class Text:
    """A text with shaded words; a notebook shows it as it is.

    The HTML needs no script, no style sheet and no network, keeps its colours in untrusted notebooks, and
    takes the text colour of the page, light or dark.

    Attributes:
        passages: one per row.
    """

    passages: tuple[Passage, ...]

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        return " ".join(passage.alt for passage in self.passages)

    def markup(self) -> str:
        """The text as HTML."""
        return render(
            "viz/templates/text.html", passages=self.passages, shade=shade, kept=KEPT, listed=_LISTED
        )

    def _repr_html_(self) -> str:
        return self.markup()

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a whole page that needs no other file and no network."""
        Path(path).write_text(page(self.markup(), title="Words by active probability"), encoding="utf-8")

    def draw(self, ax: Axes | None = None, *, width: float = 7.0) -> Picture:
        """Draw the text as a figure.

        Args:
            ax: where to draw; a new figure by default.
            width: of a new figure, inches.
        """
        rows = [(p.name, p.words, p.claim, p.right_to_left) for p in self.passages]
        return typeset(rows, ax, width, self.alt)


def text(
    source: Source,
    tokens: Sequence[str] | Sequence[Sequence[str]] | None = None,
    *,
    examples: Sequence[int] | None = None,
    which: int | None = None,
    names: Sequence[str] | None = None,
    special: Collection[str] | None = None,
    whole_words: bool = True,
) -> Text:
    """Words shaded by active probability; selected ones are underlined, special tokens are muted.

    Args:
        source: an explanation, or attributions, [batch, tokens] or [batch, tokens, dimensions], of which the
            largest is taken.
        tokens: of every example drawn, one list each; or one list for all, where rows are classes of a text.
            None for those of an explanation of strings.
        examples: their places in the batch; all by default.
        which: the input to draw, where an explanation has several; None for the first, and of an explanation
            of strings for all texts.
        names: what to write before each row, for example the class.
        special: tokens to mute; by default those that look like `[CLS]`, `<s>` or `<|end|>`.
        whole_words: shade words by their most active token; False shades tokens.

    Raises:
        ArgumentError: token counts do not match, or the attributions are no probabilities.

    Example:
        >>> import torch
        >>> picture = text(torch.tensor([[0.1, 0.9, 0.2]]), ["a", "great", "film"])
        >>> picture.alt
        'selected words: great.'
    """
    chosen = list(range(len(source) if _is_batch(source) else 1)) if examples is None else list(examples)
    own_text = tokens is None
    lists = _token_lists(_own_tokens(source, chosen, which) if tokens is None else tokens, len(chosen))
    labels = _checked_names(names, len(chosen))
    passages = []
    for example, own, name in zip(chosen, lists, labels, strict=True):
        parts = range(_n_parts(source)) if own_text and which is None else [which or 0]
        values, selected, gated, claim = _per_token(source, example, parts, len(own))
        there = [i for i, token in enumerate(own) if token or not own_text]  # a shorter text is filled up
        words = words_from_tokens(
            [own[i] for i in there],
            values[there],
            selected[there],
            gated[there],
            special=special,
            whole=whole_words,
            with_spaces=own_text,
        )
        passages.append(Passage(name, tuple(words), claim))
    return Text(tuple(passages))


def own_tokens(explanation: Explanation, example: int, which: int | None) -> list[str]:
    """The tokens that an explanation holds of one of its inputs, or of all; none where it is not of texts."""
    if explanation.tokens is None:
        return []
    if which is None:
        return list(explanation.tokens[example])
    given = explanation.attributions
    sizes = [part.shape[1] for part in ((given,) if isinstance(given, Tensor) else given)]
    start = sum(sizes[:which])
    return list(explanation.tokens[example][start : start + sizes[which]])


def _is_batch(source: Source) -> bool:
    return isinstance(source, Explanation) or source.ndim > 1


def _own_tokens(source: Source, chosen: Sequence[int], which: int | None) -> list[list[str]]:
    """The tokens of an explanation of texts."""
    if not isinstance(source, Explanation) or source.tokens is None:
        raise ArgumentError(
            "tokens",
            expected="the tokens of each example, which only an explanation of strings holds",
            found="None",
            mend="Pass them, such as [encoding.tokens(i) for i in range(len(texts))].",
        )
    return [own_tokens(source, example, which) for example in chosen]


def _token_lists(tokens: Sequence[str] | Sequence[Sequence[str]], count: int) -> list[list[str]]:
    if all(isinstance(token, str) for token in tokens):
        return [[str(token) for token in tokens]] * count
    lists = [list(row) for row in tokens if not isinstance(row, str)]
    if len(lists) != count:
        raise ArgumentError(
            "tokens",
            expected=f"one list for each of {count} examples, or one list for all",
            found=f"{len(lists)} lists",
            mend="Choose the rows with examples=[...].",
        )
    return lists


def _checked_names(names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        return [""] * count
    if len(names) != count:
        raise ArgumentError(
            "names", expected=f"one for each of {count} rows", found=str(len(names)), mend="Name every row."
        )
    return [replace_invisible(str(name)) for name in names]


def _n_parts(source: Source) -> int:
    given = source.attributions if isinstance(source, Explanation) else source
    return len(given) if isinstance(given, tuple) else 1


def _per_token(
    source: Source, example: int, parts: Sequence[int], count: int
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_], str]:
    """Active probability, selection and existence of each token's gate, [tokens], and the evidence."""
    if not isinstance(source, Explanation):
        source = as_array(source)
        source = source.max(-1) if source.ndim == 3 else source
    read = [read_example(source, example, dims=(1,), which=part) for part in parts]
    one = read[0]
    claim = "" if one.explanation is None else evidence_line(one.explanation, one.number) + "."
    if sum(len(part.attribution) for part in read) != count:
        return *_per_gate(one, count), claim
    flat = [_per_position(part) for part in read]
    values, selected, gated = (np.concatenate(column) for column in zip(*flat, strict=True))
    return values, selected, gated, claim


def _per_position(one: Example) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    flat = (len(one.attribution), -1)
    selected, gated = one.selected.reshape(flat).max(1), (one.columns >= 0).reshape(flat).max(1)
    return one.attribution.reshape(flat).max(1), selected, gated


def _per_gate(one: Example, count: int) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    ids, first = np.unique(one.columns, return_index=True)
    first = first[ids >= 0]
    if len(first) != count:
        raise ArgumentError(
            "tokens",
            expected=f"{len(one.attribution)}, one per position, or {len(first)}, one per gate",
            found=str(count),
            mend="Pass what the model was given, special and padding tokens too.",
        )
    return one.attribution.ravel()[first], one.selected.ravel()[first], np.ones(count, dtype=bool)
