"""LLMStochasticGates: which parts of a prompt an answer needs, through Captum's LLMAttribution."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from captum.attr import LLMAttribution
from torch import Tensor

from stg_attr.errors import ArgumentError, Interrupted, warn
from stg_attr.model import Prefixes

from .input import StochasticGates
from .layer import LayerStochasticGates

__all__ = ["LLMStochasticGates"]


class LLMStochasticGates(LLMAttribution):  # type: ignore[misc]  # captum ships no types
    """Captum's `LLMAttribution`, driven by stochastic gates.

    There are two ways; the class of `attr_method` decides between them:

    - `StochasticGates(model, estimator=ScoreFunction())` runs the model on prompts in which some parts are
      replaced, once for each different prompt. It takes `TextTokenInput` and `TextTemplateInput`, and needs
      no gradient.
    - `LayerStochasticGates(model, model.get_input_embeddings())` differentiates through the embedding of an
      open model; it takes `TextTokenInput`, and works on all tokens of the answer at once.

    Either gives one solve for the whole answer and one for each of its tokens. Attributions are active
    probabilities: `seq_attr` of the parts that the whole answer needs, `token_attr` of those that each token
    does.

    Args:
        attr_method: the gates, made with a causal language model of transformers.
        tokenizer: of the model.
        attr_target: "log_prob" or "prob" of the answer, as in captum.
        per_token: whether to explain every token of the answer too.

    Raises:
        AssertionError: the method is none of the two (captum's own check).
    """

    SUPPORTED_METHODS = (StochasticGates, LayerStochasticGates)

    def __init__(
        self,
        attr_method: StochasticGates | LayerStochasticGates,
        tokenizer: Any,
        attr_target: str = "log_prob",
        per_token: bool = True,
    ) -> None:
        super().__init__(attr_method, tokenizer, attr_target)
        self.include_per_token_attr = per_token
        self._prefixes: Prefixes | None = None  # during a solve without gradients
        solve = _in_ids if isinstance(attr_method, LayerStochasticGates) else _in_parts
        connected: Any = self.attr_method  # captum's copy, whose forward_func is the method below
        self.attr_method: Any = _EveryTarget(connected, solve, self)

    def _forward_func(
        self, perturbed_tensor: Tensor, inp: Any, target_tokens: Tensor, *settings: Any
    ) -> Tensor:
        """Scores of the answer to every row of a perturbed prompt, [rows, 1 or 1 + tokens]."""
        rows = torch.split(perturbed_tensor, 1)
        if self._prefixes is not None and settings[:2] == (True, None):  # use_cached_outputs, and no hook
            prompts = [_only_tokens(self._format_model_input(inp.to_model_input(row))) for row in rows]
            whole = [prompt for prompt in prompts if prompt is not None]
            if len(whole) == len(rows):
                tokens = self._prefixes.log_probabilities(whole, target_tokens.to(whole[0].device))
                return _scores(tokens, self.include_per_token_attr, self.attr_target)
        shape = (1, 1 + len(target_tokens) if self.include_per_token_attr else 1)
        call = super()._forward_func
        return torch.cat([call(row, inp, target_tokens, *settings).reshape(shape) for row in rows])


class _EveryTarget:
    """What captum's `LLMAttribution` takes for its method: explains the answer, then each of its tokens."""

    def __init__(
        self,
        method: StochasticGates | LayerStochasticGates,
        solve: Callable[..., Tensor],
        owner: LLMStochasticGates,
    ) -> None:
        self._method, self._solve, self._owner = method, solve, owner

    def attribute(self, inputs: Tensor, additional_forward_args: tuple[Any, ...], **kwargs: Any) -> Tensor:
        """Active probabilities, [1 or 1 + tokens, features]."""
        self._owner._prefixes = Prefixes(self._owner.model)
        try:
            return self._solve(self._method, self._owner, inputs, additional_forward_args, kwargs)
        finally:
            self._owner._prefixes = None


def _in_parts(
    method: StochasticGates,
    owner: LLMStochasticGates,
    parts: Tensor,
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
) -> Tensor:
    """Gates on the parts of a prompt: present or replaced."""
    forward = method.forward_func
    known: dict[tuple[int, ...], Tensor] = {}

    def remembered(shown: Tensor) -> Tensor:
        keys = [tuple(row) for row in shown.long().tolist()]
        missing = {key: i for i, key in enumerate(keys) if key not in known}
        if missing:  # in one call, so that prompts that begin alike can share work
            found = forward(shown[list(missing.values())], *arguments)
            known.update(zip(missing, torch.split(found, 1), strict=True))
        return torch.cat([known[key] for key in keys])

    solver = copy(method)
    solver.forward_func = remembered
    n_targets = remembered(parts).shape[1]
    found: list[Tensor] = []
    for i in range(n_targets):
        row, stopped = _one_target(solver, parts, i, settings)
        if row is None and not found:
            raise KeyboardInterrupt
        found += [] if row is None else [row]
        if stopped:  # else Ctrl-C would end one target after the other
            finished = i if row is None else len(found) - 1
            warn(Interrupted(n_targets - finished, n_targets, "scores of the answer"))
            return torch.cat([*found, *[torch.zeros_like(found[0])] * (n_targets - len(found))])
    return torch.cat(found)


def _one_target(
    solver: StochasticGates, parts: Tensor, target: int, settings: dict[str, Any]
) -> tuple[Tensor | None, bool]:
    """Attributions of one score, None if nothing was learned before Ctrl-C; and whether Ctrl-C came."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            row = solver.attribute(parts, target=target, **settings)
    except KeyboardInterrupt:
        return None, True
    others = [one.message for one in said if not issubclass(one.category, Interrupted)]
    for message in others:
        warn(message)
    assert isinstance(row, Tensor)
    return row, len(others) < len(said)


def _in_ids(
    method: LayerStochasticGates,
    owner: LLMStochasticGates,
    parts: Tensor,
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
) -> Tensor:
    """Gates on the embedding of the prompt's tokens; the answer's tokens stay as they are."""
    inp, answer = arguments[0], arguments[1].to(parts.device)
    prompt = inp.to_model_input()
    if not isinstance(prompt, Tensor):
        raise ArgumentError(
            "inp",
            expected="TextTokenInput, whose parts are tokens",
            found=type(inp).__name__,
            mend="Explain a template with StochasticGates(model, estimator=ScoreFunction()).",
        )
    prompt = prompt.to(parts.device)
    gated = (
        torch.ones_like(prompt, dtype=torch.bool) if inp.itp_mask is None else inp.itp_mask.to(prompt.device)
    )
    column = torch.where(gated, gated.long().cumsum(1) - 1, -1)
    mask = torch.nn.functional.pad(column, (0, len(answer)), value=-1)
    n_targets = 1 + len(answer) if owner.include_per_token_attr else 1
    solver = copy(method)
    solver.forward_func = _AnswerScores(owner.model, prompt.shape[1], owner.attr_target)
    ids = torch.cat([prompt[0], answer]).expand(n_targets, -1)
    found = solver.attribute(
        ids, target=list(range(n_targets)), feature_mask=mask, return_input_shape=False, **settings
    )
    assert isinstance(found, Tensor)
    return found


def _only_tokens(inputs: Any) -> Tensor | None:
    """The tokens of a prompt, long [positions]; None where the model is given more, such as an image."""
    if isinstance(inputs, Tensor):
        return inputs[0]
    attention = inputs.get("attention_mask")
    others = set(inputs) - {"input_ids", "attention_mask"}
    hides = attention is not None and not bool(attention.all())
    ids = inputs["input_ids"]
    return None if others or hides or not ids.shape[1] else ids[0]


def _scores(tokens: Tensor, per_token: bool, attr_target: str) -> Tensor:
    """Scores of an answer, and of its tokens, from log-probabilities [rows, tokens]."""
    whole = tokens.sum(1, keepdim=True)
    scores = torch.cat([whole, tokens], 1) if per_token else whole
    return scores if attr_target == "log_prob" else scores.exp()


class _AnswerScores:
    """Log-probability (or probability) of an answer and of each of its tokens, given all before."""

    def __init__(self, model: Callable[..., Any], prompt_length: int, attr_target: str) -> None:
        self.__wrapped__ = model  # where functools.wraps would say it
        self._start = prompt_length
        self._attr_target = attr_target

    def __call__(self, ids: Tensor) -> Tensor:
        """[rows, 1 + tokens]."""
        logits = self.__wrapped__(ids).logits[:, self._start - 1 : -1].log_softmax(2)
        tokens = logits.gather(2, ids[:, self._start :].unsqueeze(2)).squeeze(2)
        return _scores(tokens, True, self._attr_target)
