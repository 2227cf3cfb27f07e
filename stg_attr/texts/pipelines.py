"""Pipelines of transformers: what they say of texts, as one row of scores for each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError

__all__ = ["as_scores"]

_TASK = "text-classification"
_TEXTS_PER_BATCH = 32  # where the user has set no batch size: a pipeline takes one text after the other


def as_scores(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A function of texts that returns numbers: the function itself, unless it is a pipeline.

    A pipeline for text classification returns names and scores of classes in the order of the scores; they
    are put into the order of the model's classes, in which the probability of a class is a column.

    Raises:
        ArgumentError: it is a pipeline for another task.
    """
    task = getattr(forward, "task", None)
    is_pipeline = isinstance(task, str) and hasattr(forward, "model") and hasattr(forward, "tokenizer")
    if not is_pipeline:
        return forward
    if task != _TASK:
        raise ArgumentError(
            "forward_func",
            expected=f"a pipeline for {_TASK}, or any function of a list of texts",
            found=f"a pipeline for {task}",
            mend="Wrap it in a function that returns one row of scores for each text.",
        )
    return _Classification(forward)


class _Classification:
    """A pipeline for text classification as a function that returns a row of scores for each text."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        names = pipeline.model.config.id2label
        self._classes = [names[i] for i in sorted(names)]
        can_pad = getattr(pipeline.tokenizer, "pad_token_id", None) is not None
        given = getattr(pipeline, "_batch_size", None)
        self._settings = {"batch_size": _TEXTS_PER_BATCH} if given is None and can_pad else {}

    def __call__(self, texts: Sequence[str | tuple[str, ...]], *arguments: Any) -> Tensor:
        given = [text if isinstance(text, str) else _as_pair(text) for text in texts]
        found = self._pipeline(given, *arguments, top_k=None, **self._settings)
        rows = [{entry["label"]: entry["score"] for entry in row} for row in found]
        return torch.tensor([[row[name] for name in self._classes] for row in rows], device="cpu")


def _as_pair(texts: tuple[str, ...]) -> dict[str, str]:
    return {"text": texts[0], "text_pair": texts[1]} if len(texts) > 1 else {"text": texts[0]}
