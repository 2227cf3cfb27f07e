"""Prefixes: an answer to many prompts, of which those that begin alike share the work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Prefixes"]


class Prefixes:
    """The log-probability of an answer after each of some prompts, by a causal language model.

        log P(answer_t | prompt, answer_<t)

    Keys and values of tokens that two prompts have in common at their beginning are computed once: prompts
    are run in alphabetical order of their tokens, and what a prompt shares with the one before it is kept.
    Where the model keeps something else (a window, the state of a recurrence), each prompt is run whole.

    Args:
        model: of transformers, which takes `input_ids` and the keys and values of tokens before them.

    Attributes:
        n_tokens: tokens that the model was run on.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self.n_tokens = 0
        self._model = model
        named = inspect.signature(getattr(model, "forward", model)).parameters
        self._name = "cache" if "cache" in named else "past_key_values"  # before transformers 5.24
        self._cache: Any = None
        self._before: list[int] = []  # the tokens that the cache is of

    @torch.no_grad()
    def log_probabilities(self, prompts: Sequence[Tensor], answer: Tensor) -> Tensor:
        """The log-probability of each token of the answer, [prompts, tokens].

        Args:
            prompts: tokens, each long [positions]; at least one.
            answer: tokens, long [tokens].
        """
        tokens = [prompt.tolist() for prompt in prompts]
        found: list[Tensor] = [answer.new_zeros(0)] * len(tokens)
        for i in sorted(range(len(tokens)), key=tokens.__getitem__):
            found[i] = self._one(tokens[i], answer)
        return torch.stack(found)

    def _one(self, prompt: list[int], answer: Tensor) -> Tensor:
        """The log-probabilities after one prompt, [tokens]."""
        ids = prompt + answer.tolist()[:-1]
        shared = self._shared(ids, len(prompt) - 1)  # the last token of the prompt is run for its logits
        rest = torch.tensor([ids[shared:]], device=answer.device)
        given = {} if self._cache is None else {self._name: self._cache}
        self._cache, self._before = None, []  # if the model fails, nothing is known of what it was given
        output = self._model(input_ids=rest, use_cache=True, **given)
        self.n_tokens += rest.shape[1]
        cache = output.get(self._name)
        if _can_be_cut(cache):
            self._cache, self._before = cache, ids
        logits: Tensor = output.logits[0, len(prompt) - 1 - shared :]
        return logits.log_softmax(1).gather(1, answer.unsqueeze(1)).squeeze(1)

    def _shared(self, ids: list[int], most: int) -> int:
        """Cut the cache to the tokens that it has in common with others; their number."""
        pairs = zip(self._before, ids, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(self._before), len(ids)))
        shared = min(shared, most)
        surplus = len(self._before) - shared
        if shared == 0:
            self._cache = None
        elif surplus:  # a negative number of tokens is taken from the end
            self._cache.crop(-surplus)
        return shared


def _can_be_cut(cache: Any) -> bool:
    """Whether a cache holds keys and values of every token, so that the last ones can be taken away."""
    layers = getattr(cache, "layers", ())  # since transformers 4.56; before, this class held all tokens
    full = type(cache).__name__ == "DynamicCache" and hasattr(cache, "crop")
    return full and all(type(layer).__name__ == "DynamicLayer" for layer in layers)
