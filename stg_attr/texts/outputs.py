"""Outputs: what models of texts return, as one row of scores for each text or pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stg_attr.errors import ArgumentError
from stg_attr.model import NamedInputs

__all__ = ["LONGEST_ANSWER", "Similarity", "answer_index", "scores", "spans"]

LONGEST_ANSWER = (
    16  # tokens of the answers that are scored, as many as pipelines of transformers allow, and one
)
_NEVER = -1e4  # log-probability of what is no answer


def scores(output: Any) -> Tensor:
    """The logits of an output, or a tensor as it is.

    Raises:
        ArgumentError: there are none.
    """
    found = part(output, "logits")
    found = output if found is None else found
    if isinstance(found, Tensor):
        return found
    raise ArgumentError(
        "model",
        expected="an output with logits, or a tensor",
        found=", ".join(output) if isinstance(output, Mapping) else type(output).__name__,
        mend="Load the model with its head, such as AutoModelForSequenceClassification; or pass pairs of "
        "texts, whose similarity is explained.",
    )


def part(output: Any, name: str) -> Any:
    """A part of what a model returns; None where it has none of this name."""
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def spans(output: Any, may_answer: Tensor) -> Tensor:
    """Log-probability of each answer in a text, [rows, positions * longest answer].

        score(start, length) = log P(start) + log P(start + length - 1)

    Args:
        output: with `start_logits` and `end_logits`, both [rows, positions].
        may_answer: whether a token can be part of an answer, [rows, positions].
    """
    start, end = (part(output, name).log_softmax(1) for name in ("start_logits", "end_logits"))
    rows = []
    for more in range(LONGEST_ANSWER):  # tokens after the first
        last = functional.pad(end[:, more:], (0, min(more, end.shape[1])), value=_NEVER)
        there = functional.pad(may_answer[:, more:], (0, min(more, end.shape[1])), value=False)
        rows.append(torch.where(may_answer & there, start + last, _NEVER))
    return torch.stack(rows, dim=2).flatten(1)


def answer_index(target: Any, positions: int) -> Any:
    """The place of an answer, (start, end) or one for each example, among the scores of `spans`.

    Raises:
        ArgumentError: there is no such answer.
    """
    if target is None:
        return None
    answers = target if isinstance(target, list) else [target]
    for answer in answers:
        fits = isinstance(answer, tuple) and len(answer) == 2
        if not fits or not 0 <= answer[0] <= answer[1] < min(positions, answer[0] + LONGEST_ANSWER):
            raise ArgumentError(
                "target",
                expected=f"the first and the last token of an answer of at most {LONGEST_ANSWER} tokens",
                found=repr(answer),
                mend="Leave it out for the answer of the model; tokens count from 0, special ones too.",
            )
    places = [start * LONGEST_ANSWER + end - start for start, end in answers]
    return places if isinstance(target, list) else places[0]


class Similarity(nn.Module):
    """How similar two texts are, each encoded by itself and compared with the whole of the other.

        score(a_z, b_z) = (cos(e(a_z), e(b)) + cos(e(a), e(b_z))) / 2

    With all words shown, it is the cosine of the two embeddings. The cosine of two texts that are both hidden
    would be near 1, since they are alike. A text is embedded as the model says (`sentence_embedding`), else
    as the mean of the states of its tokens.

    Args:
        encoder: takes the inputs of one text by name, returns its output.
        names: of these inputs, in order; those of the second text follow.
        pack: see `NamedInputs`.
    """

    def __init__(self, encoder: nn.Module, names: Sequence[str], pack: Any) -> None:
        super().__init__()
        self.names = tuple(names)
        self.encode = NamedInputs(encoder, self.names, pack=pack, score=self._embedded)

    def forward(self, *values: Any) -> Tensor:
        """The score, [rows]; the last two values are the embeddings of the whole texts, [rows, width]."""
        one, other = self.embedded(*values[:-2])
        whole, whole_other = values[-2:]
        cosine = functional.cosine_similarity
        return (cosine(one, whole_other) + cosine(whole, other)) / 2

    def embedded(self, *values: Any) -> tuple[Tensor, Tensor]:
        """The embeddings of both texts, each [rows, width]."""
        n, attention = len(self.names), self.names.index("attention_mask")
        one, other = (self.encode(*texts, texts[attention]) for texts in (values[:n], values[n:]))
        return one, other

    @staticmethod
    def _embedded(output: Any, attention: Tensor) -> Tensor:
        whole = part(output, "sentence_embedding")
        if isinstance(whole, Tensor):
            return whole
        states: Tensor = part(output, "last_hidden_state")
        weights = attention.unsqueeze(2).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)
