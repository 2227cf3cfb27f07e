"""NamedInputs: models that take their inputs by name, as Captum calls models: by position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from stg_attr.errors import ArgumentError

from .first_call import FirstCall

__all__ = ["NamedInputs"]

_MEND = (
    "Give it the inputs that it takes, under their names. A tokenizer returns those of "
    "tokenizer.model_input_names; explain texts that are too long in parts."
)


class NamedInputs(nn.Module):
    """A model that takes keyword arguments, a dict or a dataclass, as a function of positional inputs.

        forward(*values) = score(model(**dict(zip(names, values))))

    Arguments after those with names go to `score`, so that what depends on the example can reach it through
    `additional_forward_args`.

    Args:
        model: takes the inputs by name.
        names: of the inputs, in order; a mapping such as a tokenizer's output gives its keys.
        pack: makes one argument of the named inputs: `dict` for a model that takes a dict, or a dataclass.
            None for a model that takes keyword arguments.
        score: makes a tensor [rows, ...] of the model's output. None for a tensor, or the `logits` of an
            output that has them.

    Raises:
        ArgumentError: when called: a different number of inputs, a model that does not take them, or an
            output without a tensor.

    Example:
        >>> import torch
        >>> model = lambda *, x, scale: {"logits": scale * x}
        >>> forward = NamedInputs(model, ["x", "scale"])
        >>> forward(torch.ones(1, 2), torch.tensor([[3.0]]))
        tensor([[3., 3.]])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        names: Iterable[str],
        *,
        pack: Callable[..., Any] | None = None,
        score: Callable[..., Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.names = _checked_names(names)
        self.pack = pack
        self.score = score
        takes = f"a model that takes {', '.join(self.names)}" + (" by name" if pack is None else "")
        self._run = FirstCall(model, "forward_func", takes, _MEND)

    def forward(self, *values: Any) -> Tensor:
        """The model's score; see the class."""
        n = len(self.names)
        if len(values) < n or (len(values) > n and self.score is None):
            raise ArgumentError(
                "inputs",
                expected=f"one for each name in {list(self.names)}",
                found=f"{len(values)} arguments",
                mend="Pass tuple(encoding.values()), say, as inputs; arguments after the names need a score.",
            )
        named = dict(zip(self.names, values, strict=False))
        output = self._run(**named) if self.pack is None else self._run(self.pack(**named))
        return _logits(output) if self.score is None else self.score(output, *values[n:])


def _checked_names(names: Any) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else ()
    if not found or len(set(found)) < len(found) or not all(isinstance(name, str) for name in found):
        raise ArgumentError(
            "names",
            expected="different names of arguments of the model",
            found=repr(names),
            mend='Pass one for each input, such as ["input_ids", "attention_mask"].',
        )
    return found


def _logits(output: Any) -> Tensor:
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not isinstance(found, Tensor):
        names = list(output) if isinstance(output, Mapping) else type(output).__name__
        raise ArgumentError(
            "forward_func",
            expected="an output that is a tensor or has logits",
            found=str(names),
            mend="Say what is explained: NamedInputs(model, names, score=lambda output: ...).",
        )
    return found
