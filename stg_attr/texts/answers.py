"""Answers: what a model with encoder and decoder writes, or might write, to a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stg_attr.errors import ArgumentError
from stg_attr.model import NamedInputs

from .given import Example
from .outputs import scores
from .strings import AsTensors

__all__ = ["MOST_TOKENS", "Answers", "log_probability"]

MOST_TOKENS = 128  # of an answer that the model writes itself
_NOTHING = -100  # the label of a place after the end of an answer, as in transformers


@dataclass(frozen=True, eq=False)
class Answers:
    """The answer to each text.

        score = log P(answer | text) = sum_t log P(token_t | text, earlier tokens)

    Attributes:
        labels: the tokens of each answer, long [batch, tokens]; -100 after its end.
        given: what the decoder is given, long [batch, tokens].
    """

    labels: Tensor
    given: Tensor

    @classmethod
    def of(cls, model: nn.Module, labels: Tensor) -> Answers:
        """The answers with given tokens.

        Raises:
            ArgumentError: the model does not say what its decoder is given for them.
        """
        shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
        if shift is None:
            raise ArgumentError(
                "model",
                expected="one with a head that writes, such as those of AutoModelForSeq2SeqLM",
                found=type(model).__name__,
                mend="Load it with its head, or explain its tokens with LayerStochasticGates(model, layer).",
            )
        return cls(labels, shift(labels=labels))

    @classmethod
    def written_before(cls, model: nn.Module, tokenizer: Any, examples: Sequence[Example]) -> Answers:
        """The second text of each example as the answer to the first."""
        texts = [example[1] for example in examples]
        ids = [torch.tensor(row) for row in tokenizer(text_target=texts, verbose=False)["input_ids"]]
        return cls.of(model, nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=_NOTHING))

    @classmethod
    def own(cls, model: Any, names: Sequence[str], values: Sequence[Tensor]) -> Answers:
        """What the model writes to each text: the most likely token, one after the other."""
        places = getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS + 1
        most = min(MOST_TOKENS, places - 1)  # beside the token that begins the answer
        encoding = dict(zip(names, values, strict=True))
        written = model.generate(**encoding, max_new_tokens=most, do_sample=False, num_beams=1)
        rows = written[:, 1:].cpu()  # the first token begins every answer
        is_end = torch.isin(rows, _end_tokens(model))
        after = is_end.long().cumsum(1) - is_end.long() > 0
        return cls.of(model, rows.masked_fill(after, _NOTHING))

    def after(
        self, over: AsTensors, model: nn.Module, tokenizer: Any, names: Sequence[str], embeds: bool
    ) -> AsTensors:
        """A question about texts as one about their answers.

        Args:
            over: the question about the texts.
            model: which reads and answers them.
            tokenizer: of the model.
            names: of the inputs of the encoder.
            embeds: whether the layer with gates runs on the answers, too, which have none.
        """
        no_gates = torch.full_like(self.given, -1)
        return replace(
            over,
            forward=NamedInputs(model, (*names, "decoder_input_ids"), score=log_probability),
            inputs=(*over.inputs, self.given),
            baselines=None if over.baselines is None else (*over.baselines, None),
            arguments=(self.labels, *over.arguments),
            feature_mask=(*over.feature_mask, no_gates) if embeds else over.feature_mask,
            tokens=tuple(
                (*tokens, *self.tokens(tokenizer, i)) if embeds else tokens
                for i, tokens in enumerate(over.tokens)
            ),
            spent=over.spent + 1,
        )

    def tokens(self, tokenizer: Any, example: int) -> list[str]:
        """The text of each token of an answer, which begins on a line of its own; empty after its end."""
        found: list[str] = []
        for token in self.labels[example].tolist():
            found.append("" if token == _NOTHING else tokenizer.decode([token]))
        return [f"\n{found[0]}", *(text and f" {text}" for text in found[1:])]


def _end_tokens(model: Any) -> Tensor:
    """The tokens that end an answer, long [tokens]."""
    ends = model.generation_config.eos_token_id
    given = [] if ends is None else ends if isinstance(ends, list) else [ends]
    return torch.tensor(given, dtype=torch.long, device="cpu")


def log_probability(output: Any, labels: Tensor) -> Tensor:
    """The log-probability of each answer, [rows].

    Args:
        output: of the model, with `logits` [rows, tokens, vocabulary].
        labels: long [rows, tokens]; see `Answers`.
    """
    tokens = scores(output).log_softmax(2).gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
    return (tokens * (labels != _NOTHING)).sum(1)
