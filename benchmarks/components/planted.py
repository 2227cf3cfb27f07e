"""Nets of which only a few components are trained: all others get new random weights at every step.

What is trained cannot use the others then, and the last random weights stay. So the components that are
trained are the circuit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .nets import KINDS, kept_nets, trained

__all__ = ["PLANTED", "planted_nets"]

OUT = 0.1  # of the usual size: what scrambled components add to the rest of the net

Weights = dict[str, Tensor]


def _heads(own: Weights, component: int, made: torch.Generator) -> None:
    layer, head = divmod(component, 6)
    width = own["token.weight"].shape[1]
    part = torch.arange(head * width // 6, (head + 1) * width // 6)
    into, out = f"layers.{layer}.attention.project.weight", f"layers.{layer}.attention.output.weight"
    own[into][torch.cat([part, part + width, part + 2 * width])] = _random(3 * len(part), width, made)
    own[out][:, part] = OUT * _random(width, len(part), made)


def _units(own: Weights, component: int, made: torch.Generator) -> None:
    layer, unit = divmod(component, 8)
    into, out = (("one", "two"), ("two", "last"))[layer]
    own[f"{into}.weight"][unit] = _random(1, own[f"{into}.weight"].shape[1], made)[0]
    own[f"{into}.bias"][unit] = 0
    n = len(own[f"{out}.weight"])
    own[f"{out}.weight"][:, unit] = OUT * _random(n, 1, made, 8)[:, 0]


def _channels(own: Weights, component: int, made: torch.Generator) -> None:
    layer, channel = divmod(component, 6)
    into = ("one", "two")[layer]
    shape = own[f"{into}.weight"].shape[1:]
    own[f"{into}.weight"][channel] = _random(1, shape.numel(), made).reshape(shape)
    own[f"{into}.bias"][channel] = 0
    if layer == 0:
        own["two.weight"][:, channel] = OUT * _random(6, 9, made, 54).reshape(6, 3, 3)
    else:
        own["last.weight"][:, 4 * channel : 4 * channel + 4] = OUT * _random(10, 4, made, 24)


def _random(rows: int, columns: int, made: torch.Generator, inputs: int | None = None) -> Tensor:
    return torch.randn(rows, columns, generator=made) / (inputs or columns) ** 0.5


#: How a component of a kind of net is scrambled, and numbers of components of each layer.
PLANTED: dict[str, tuple[Callable[[Weights, int, torch.Generator], None], int]] = {
    "heads": (_heads, 6),
    "units": (_units, 8),
    "channels": (_channels, 6),
}


def circuit_of(name: str, number: int) -> Tensor:
    """The components that are trained, long: one to three of each layer; of heads one or two."""
    _, n = PLANTED[name]
    made = torch.Generator().manual_seed(number)
    most = 2 if name == "heads" else 3
    some = [
        torch.randperm(n, generator=made)[: int(torch.randint(1, most + 1, (1,), generator=made))]
        for _ in (0, 1)
    ]
    return torch.cat([some[0], some[1] + n])


def planted_nets(name: str, numbers: list[int]) -> list[tuple[nn.Module, Tensor]]:
    """Nets, and which of their components are the circuit, bool [components]."""
    scramble, n = PLANTED[name]
    circuits = [
        torch.zeros(2 * n, dtype=torch.bool).index_fill(0, circuit_of(name, i), True) for i in numbers
    ]
    made = [torch.Generator().manual_seed(1000 + number) for number in numbers]

    @torch.no_grad()
    def freeze(parameters: Weights) -> None:
        for i, (circuit, generator) in enumerate(zip(circuits, made, strict=True)):
            own = {key: value[i] for key, value in parameters.items()}
            for component in (~circuit).nonzero().flatten().tolist():
                scramble(own, component, generator)

    kind = KINDS[name]
    nets = kept_nets(f"planted-{name}", kind, numbers, lambda: trained(kind, numbers, freeze))
    return list(zip(nets, circuits, strict=True))
