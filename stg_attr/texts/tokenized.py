"""Tokenized: a model of token ids and its tokenizer, as a function of strings whose embeddings have gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stg_attr.errors import ArgumentError
from stg_attr.gates import word_mask
from stg_attr.model import NamedInputs, solve_device, undisturbed

from . import fits
from .answers import Answers
from .given import Example, as_texts, is_texts, mask_of
from .outputs import Similarity, answer_index, scores, spans
from .strings import AsTensors

__all__ = ["Tokenized"]


@dataclass(frozen=True, eq=False)
class Tokenized:
    """A model of transformers and its tokenizer.

    Attributes:
        model: takes what the tokenizer returns, by name.
        tokenizer: a fast one.
        embedding: of the model, from token ids to vectors.
    """

    model: nn.Module
    tokenizer: Any
    embedding: nn.Module

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> Tokenized:
        """Find the embedding.

        Raises:
            ArgumentError: there is none, or the tokenizer does not fit the model.
        """
        found = cls(
            model, tokenizer, fits.embedding_of(model.get_encoder() if _has_decoder(model) else model)
        )
        if not callable(tokenizer) or not getattr(tokenizer, "is_fast", False):
            raise ArgumentError(
                "tokenizer",
                expected="a fast tokenizer of transformers, which says which word a token is of",
                found=type(tokenizer).__name__,
                mend="Load it with transformers.AutoTokenizer.from_pretrained(name). Where there is no fast "
                "one, explain a function of strings, such as its pipeline: StochasticGates(pipeline).",
            )
        fits.check_vocabulary(found)
        return found

    @property
    def config(self) -> Any:
        """The settings of the model, if it has any."""
        return next((m.config for m in self.model.modules() if hasattr(m, "config")), None)

    @property
    def is_headless(self) -> bool:
        """Whether the model returns the states of tokens, or an embedding of the text, and no scores."""
        is_base = getattr(self.model, "base_model", None) is self.model
        return self._packs or (is_base and not _has_decoder(self.model))

    @property
    def _packs(self) -> bool:
        """Whether the model takes a dict, as those of sentence_transformers do."""
        return hasattr(self.model, "encode") and not hasattr(self.model, "get_input_embeddings")

    def over_tokens(
        self, inputs: Any, baselines: Any, target: Any, arguments: tuple[Any, ...], feature_mask: Any
    ) -> AsTensors:
        """A question about strings as one about token ids, whose embeddings have gates.

        The arguments are those of `LayerStochasticGates.explain`.

        Raises:
            ArgumentError: an argument cannot be used.
        """
        if not is_texts(inputs):
            raise ArgumentError(
                "inputs",
                expected="texts, for which this was made",
                found=type(inputs).__name__,
                mend="Pass a list of strings; LayerStochasticGates(model, layer) takes tensors.",
            )
        examples = as_texts(inputs)
        fits.check_pairs(examples)
        alone = self.is_headless and len(examples[0]) > 1
        writes = _has_decoder(self.model) and not self._rereads
        texts = [examples]
        if alone or writes:
            texts = [[(e[k],) for e in examples] for k in range(1 if writes else len(examples[0]))]
        encoded = [_Encoded(self, part, feature_mask) for part in texts]
        hidden = self._hidden(baselines)
        values = [value for one in encoded for value in one.values]
        masks = self._masks(encoded)
        shows: Any = hidden
        if self._rereads and hidden is not None:  # a head that looks for the last token needs it
            shows = torch.where(masks[0] >= 0, hidden, encoded[0].ids)
        per_name = [shows if name == "input_ids" else None for one in encoded for name in one.names]
        more: tuple[Any, ...] = ()
        if self._answers_questions:
            more = (encoded[0].of_second_text,)
            target = answer_index(target, encoded[0].mask.shape[1])
        elif not alone and not writes:
            target = fits.own_positions(target, encoded[0].attention)
        forward = self._forward(encoded, alone)
        if isinstance(forward, Similarity):
            more = self._whole(forward, values)
        over = AsTensors(
            forward=forward,
            inputs=tuple(values),
            baselines=None if hidden is None else tuple(per_name),
            target=target,
            arguments=(*more, *arguments),
            feature_mask=tuple(masks),
            tokens=self._tokens(encoded, len(examples)),
            spent=int(alone),
        )
        if writes:
            answers = self._answers(encoded[0], examples)
            over = answers.after(over, self.model, self.tokenizer, encoded[0].names, self._decoder_embeds)
        return over

    def _masks(self, encoded: Sequence[_Encoded]) -> list[Tensor]:
        """The feature of each position of each text, -1 for none; each text has features of its own."""
        masks, first = [], 0
        for one in encoded:
            masks.append(torch.where(one.mask >= 0, one.mask + first, -1))
            first = int(masks[-1].max()) + 1
        if self._rereads:  # the decoder is given the text again, one position later
            masks.append(nn.functional.pad(masks[0][:, :-1], (1, 0), value=-1))
        return masks

    def _tokens(self, encoded: Sequence[_Encoded], n_examples: int) -> tuple[tuple[str, ...], ...]:
        """The text of each position of each example; none for those that the decoder is given again."""
        again = [""] * (encoded[0].mask.shape[1] if self._rereads else 0)
        return tuple(
            (*(token for k, one in enumerate(encoded) for token in one.tokens(i, new_line=k > 0)), *again)
            for i in range(n_examples)
        )

    def _answers(self, encoded: _Encoded, examples: Sequence[Example]) -> Answers:
        """The second texts of pairs, else what the model writes."""
        if len(examples[0]) > 1:
            return Answers.written_before(self.model, self.tokenizer, examples)
        device = solve_device(self.model, encoded.values[0], None)
        with undisturbed(self.model, device, 0), torch.no_grad():
            return Answers.own(self.model, encoded.names, [v.to(device) for v in encoded.values])

    @property
    def _decoder_embeds(self) -> bool:
        """Whether the embedding is that of the decoder, too, so that it runs twice."""
        model: Any = self.model
        return bool(model.get_decoder().get_input_embeddings() is self.embedding)

    def _whole(self, similarity: Similarity, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The embeddings of whole texts, for each example by itself, as a solve has it in any batch."""
        device = solve_device(self.model, values[0], None)
        with undisturbed(similarity, device, 0), torch.no_grad():
            rows = [
                similarity.embedded(*(v[i : i + 1].to(device) for v in values)) for i in range(len(values[0]))
            ]
        one, other = (torch.cat(column) for column in zip(*rows, strict=True))
        return one, other

    @property
    def _answers_questions(self) -> bool:
        return "QuestionAnswering" in type(self.model).__name__

    @property
    def _rereads(self) -> bool:
        """Whether a decoder is given the same text as the encoder, as in BART for classification."""
        name = type(self.model).__name__
        return _has_decoder(self.model) and ("SequenceClassification" in name or self._answers_questions)

    @property
    def layers(self) -> nn.Module | list[nn.Module]:
        """Where the gates are."""
        model: Any = self.model
        other = model.get_decoder().get_input_embeddings() if self._rereads else self.embedding
        return self.embedding if other is self.embedding else [self.embedding, other]

    def padded(self, columns: Sequence[list[str]]) -> Any:
        """The output of the tokenizer, padded at the end.

        With padding before a text, models that count positions from the first token would score it
        otherwise than alone. The one kind that reads the last position is padded as its tokenizer says.
        """
        tokenizer, config = self.tokenizer, self.config
        window = getattr(config, "attention_window", None)  # Longformer takes multiples of it
        multiple = max(window) if isinstance(window, list) else window
        before = tokenizer.padding_side
        if getattr(config, "summary_type", None) != "last":
            tokenizer.padding_side = "right"
        try:
            return tokenizer(
                *columns,
                return_tensors="pt",
                padding=tokenizer.pad_token_id is not None,
                pad_to_multiple_of=multiple,
                verbose=False,
            )
        finally:
            tokenizer.padding_side = before

    def _forward(self, encoded: Sequence[_Encoded], alone: bool) -> nn.Module:
        names, pack = encoded[0].names, dict if self._packs else None
        if alone:
            return Similarity(self.model, names, pack)
        return NamedInputs(self.model, names, pack=pack, score=spans if self._answers_questions else scores)

    def _hidden(self, baselines: Any) -> int | None:
        """The id of the token that a closed gate shows; None for a vector of zeros.

        Raises:
            ArgumentError: it is no single token.
        """
        if baselines is None:
            return self._default()
        ids = [baselines]
        if isinstance(baselines, str):
            ids = self.tokenizer(baselines, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and isinstance(ids[0], int) and not isinstance(ids[0], bool):
            if 0 <= ids[0] < fits.n_known(self):
                return ids[0]
            raise ArgumentError(
                "baselines",
                expected=f"a token that the model knows, from 0 to {fits.n_known(self) - 1}",
                found=str(ids[0]),
                mend="Pass it as a text, or leave it out for the mask token.",
            )
        raise ArgumentError(
            "baselines",
            expected="one token, as a text such as tokenizer.mask_token",
            found=repr(baselines) if len(ids) == 1 else f"{baselines!r}, which is {len(ids)} tokens",
            mend="Leave it out for the mask token, or the one for unknown words.",
        )

    def _default(self) -> int | None:
        """The token that stands for a hidden word: of those that the model has met in the place of words.

        It has met the mask token in training, and the one for unknown words; padding is hidden from it, and
        its embedding is often not learned. Many language models have one token for all of these and for the
        end of a text; they get zeros instead. Encoders of sentences are trained without masks, which would
        draw the mean of the states to themselves; there, padding stands for a place without a word.
        """
        tokenizer = self.tokenizer
        ends = {tokenizer.eos_token_id, tokenizer.bos_token_id} - {
            tokenizer.cls_token_id,
            tokenizer.sep_token_id,
        }
        tokens = (tokenizer.mask_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id)
        for token in tokens[::-1] if self.is_headless else tokens:
            if token is not None and token not in ends:
                return int(token)
        return None


class _Encoded:
    """Texts, or pairs that are read together, as the tokenizer returns them.

    Args:
        owner: the model and its tokenizer.
        examples: the texts.
        feature_mask: as the user gave it.

    Attributes:
        names: of what the model is given.
        values: for each name, [batch, positions].
        mask: the features, [batch, positions].

    Raises:
        ArgumentError: the texts are too long, or there is no padding, or the tokenizer is of another model.
    """

    def __init__(self, owner: Tokenized, examples: Sequence[Example], feature_mask: Any) -> None:
        self._examples = examples
        tokenizer = owner.tokenizer
        columns = [list(texts) for texts in zip(*examples, strict=True)]
        plain = tokenizer(*columns, verbose=False)["input_ids"]
        fits.check_ids(plain, owner)
        fits.check_padding({len(ids) for ids in plain}, owner)
        self._encoding = owner.padded(columns)
        self.names = tuple(self._encoding)
        self.values = tuple(self._encoding.values())
        self.mask = mask_of(feature_mask, self._encoding, word_mask, self.values[0].shape[1])
        empty = (self.mask.amax(1) < 0).expand(len(examples)).nonzero().flatten().tolist()
        if empty:
            raise ArgumentError(
                "inputs",
                expected="texts with a token that has a gate",
                found=f"none in examples {empty[:8]}",
                mend="Leave these examples out: the tokenizer sees no word in them.",
            )

    @property
    def ids(self) -> Tensor:
        """The tokens, [batch, positions]."""
        ids: Tensor = self._encoding["input_ids"]
        return ids

    @property
    def attention(self) -> Tensor | None:
        """1 for tokens, 0 for padding, [batch, positions]; None where the tokenizer does not say."""
        attention: Tensor | None = self._encoding.get("attention_mask")
        return attention

    @property
    def of_second_text(self) -> Tensor:
        """Whether a token belongs to the second text of a pair, bool [batch, positions]."""
        if len(self._examples[0]) < 2:
            raise ArgumentError(
                "inputs",
                expected="pairs of a question and the text with its answer",
                found="single texts",
                mend="Pass [(question, text)].",
            )
        return torch.tensor(
            [[s == 1 for s in one.sequence_ids] for one in self._encoding.encodings], device="cpu"
        )

    def tokens(self, example: int, new_line: bool) -> list[str]:
        """The text of each position with the white space before it; empty for padding."""
        one, texts = self._encoding.encodings[example], self._examples[example]
        ends, last, found = [0] * len(texts), [-1] * len(texts), [""] * len(one.tokens)
        for i, (token, (_, end), k) in enumerate(zip(one.tokens, one.offsets, one.sequence_ids, strict=True)):
            if k is not None:
                found[i] = texts[k][ends[k] : max(end, ends[k])]
                ends[k], last[k] = max(end, ends[k]), i
            elif one.attention_mask[i]:
                found[i] = token
        for k, i in enumerate(last):
            if i >= 0:
                found[i] += texts[k][ends[k] :]
        first = next(i for i, is_there in enumerate(one.attention_mask) if is_there)
        found[first] = "\n" * new_line + found[first]
        return found


def _has_decoder(model: Any) -> bool:
    """Whether a model has an encoder and a decoder, such as T5."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
