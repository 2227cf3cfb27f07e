"""Small models that many tests explain, with the same weights every time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Layers that are made inside have the same weights every time; torch's generators stay as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def mlp(*widths: int, seed: int = 0, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Linear layers of these widths with an activation between each two, in evaluation mode."""
    layers: list[nn.Module] = []
    with seeded(seed):
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.Linear(wide, narrow), activation()]
    return nn.Sequential(*layers[:-1]).eval()


class TanhNet(nn.Module):
    """Three classes from any number of inputs of any shape and precision, with `n` elements in all."""

    def __init__(self, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.into = nn.Parameter((2 * torch.randn(n, 6, generator=generator) / n**0.5).to(dtype))
        self.bias = nn.Parameter((0.5 * torch.randn(6, generator=generator)).to(dtype))
        self.out = nn.Parameter(torch.randn(6, 3, generator=generator).to(dtype))

    def forward(self, *inputs: Tensor) -> Tensor:
        flat = torch.cat([x.flatten(1).to(self.into.dtype) for x in inputs], 1)
        return torch.tanh(flat @ self.into + self.bias) @ self.out


class Counted:
    """A model that notes its calls, and can fail at one of them.

    Args:
        forward: the model.
        failure: the error that it raises.
        fail_at: the call that raises it; 0 is the first, -1 none.

    Attributes:
        rows: the number of rows of each call.
        differentiated: for each call, whether a gradient was asked for.
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        failure: BaseException | None = None,
        fail_at: int = -1,
    ) -> None:
        self.forward, self.failure, self.fail_at = forward, failure, fail_at
        self.rows: list[int] = []
        self.differentiated: list[bool] = []

    @property
    def calls(self) -> int:
        return len(self.rows)

    def __call__(self, *arguments: Tensor) -> Tensor:
        self.rows.append(len(arguments[0]))
        self.differentiated.append(arguments[0].requires_grad)
        if self.failure is not None and self.calls - 1 == self.fail_at:
            raise self.failure
        return self.forward(*arguments)


class CountedByExample:
    """A model that counts the rows of each example; its last argument is the number of each row's example."""

    def __init__(self, forward: Callable[..., Tensor], n_examples: int) -> None:
        self.forward, self.rows = forward, torch.zeros(n_examples, dtype=torch.long)

    def __call__(self, *arguments: Tensor) -> Tensor:
        *arguments, example = arguments
        self.rows += torch.bincount(example, minlength=len(self.rows))
        return self.forward(*arguments)
