"""Small nets, many trained at once, and the tasks that they are trained on.

The parameters of the nets of a kind are stacked, and one optimizer trains all of them. Every net has its own
task, its own data and its own initial values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from benchmarks.quality.nets import CACHE, keep
from stg_attr.components import Site, channel_sites, head_sites, mlp_sites, named_sites

__all__ = ["KINDS", "Attention", "Kind", "Task", "Transformer", "kept_nets", "nets_of", "trained"]

TOKENS, LENGTH = 10, 8


class Attention(nn.Module):
    """Causal attention."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        query, key, value = (
            t.reshape(n, length, self.num_heads, -1).transpose(1, 2) for t in self.project(x).chunk(3, -1)
        )
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        found = scores.masked_fill(later, -torch.inf).softmax(-1) @ value
        return self.output(found.transpose(1, 2).reshape(n, length, -1))


class Layer(nn.Module):
    """Attention, and an MLP block if it is asked for, each added to the residual stream."""

    def __init__(self, width: int, num_heads: int, mlp: bool) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, num_heads)
        block = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.mlp = block if mlp else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x if self.mlp is None else x + self.mlp(x)


class Transformer(nn.Module):
    """Tokens [batch, length] -> scores of the token that comes after the last one, [batch, tokens]."""

    def __init__(
        self,
        layers: int,
        num_heads: int,
        width: int,
        mlp: bool = False,
        tokens: int = TOKENS,
        length: int = LENGTH,
    ) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList([Layer(width, num_heads, mlp) for _ in range(layers)])
        self.last = nn.Linear(width, tokens)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token(ids) + self.place.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.last(x[:, -1])


class Units(nn.Module):
    """Rows of six numbers -> one number, by two layers of eight units."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.two(torch.relu(self.one(x)))))


class Channels(nn.Module):
    """Images of 8 x 8 pixels -> scores of ten classes, by two convolutions of six channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Linear(6 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.one(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.two(x)), 2)
        return self.last(x.flatten(1))


@dataclass(frozen=True)
class Task:
    """What a net learns.

    Attributes:
        draw: a number of rows and a generator -> inputs, and the right answers, [rows].
        classes: whether answers are classes.
    """

    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
    classes: bool = True


def look_up(number: int) -> Task:
    """The answer is the token a fixed way back, or the one that came after the last token before."""
    back = number // 2 % 4 + 1

    def draw(n: int, made: torch.Generator) -> tuple[Tensor, Tensor]:
        ids = torch.rand(n, TOKENS, generator=made).argsort(1)[:, :LENGTH]
        if number % 2:
            return ids, ids[:, LENGTH - 1 - back]
        place = torch.randint(LENGTH - 3, (n, 1), generator=made)
        ids[:, -1:] = ids.gather(1, place)  # the last token came before, at this place
        return ids, ids.gather(1, place + 1).squeeze(1)

    return Task(draw)


def formula(number: int) -> Task:
    """The sum of two random products and three other terms of random columns."""
    made = torch.Generator().manual_seed(number)
    column = torch.randint(6, (7,), generator=made).tolist()
    weight = torch.randn(5, generator=made)

    def draw(n: int, made: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(n, 6, generator=made)
        a, b, c, d, e, f, g = (x[:, i] for i in column)
        terms = torch.stack([a * b, c * d, e.abs(), f.relu(), g], 1)
        return x, terms @ weight

    return Task(draw, classes=False)


def digits(number: int) -> Task:
    """The digits of scikit-learn, half of them, another half for each net."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(data.target)
    own = torch.randperm(len(labels), generator=torch.Generator().manual_seed(number))[: len(labels) // 2]

    def draw(n: int, made: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = own[torch.randint(len(own), (n,), generator=made)]
        return images[rows], labels[rows]

    return Task(draw)


def comparison(number: int) -> Task:
    """Which of two tokens comes more often, or came first, among others; nobody tuned anything on it."""
    made = torch.Generator().manual_seed(number)
    one, other = torch.randperm(TOKENS, generator=made)[:2].tolist()

    def draw(n: int, made: torch.Generator) -> tuple[Tensor, Tensor]:
        ids = torch.randint(TOKENS, (n, LENGTH), generator=made)
        chosen = torch.rand(n, LENGTH, generator=made)
        ids = ids.where(chosen > 0.4, torch.where(chosen > 0.2, one, other))
        if number % 2:
            return ids, ((ids == one).sum(1) > (ids == other).sum(1)).long()
        first = [(ids == t).long().argmax(1) + LENGTH * ~(ids == t).any(1) for t in (one, other)]
        return ids, (first[0] < first[1]).long()

    return Task(draw)


@dataclass(frozen=True)
class Kind:
    """Nets of one shape.

    Attributes:
        make: makes one.
        sites: where its components are.
        task: the task of a net, by its number.
        steps: of the optimizer.
        rate: its step size.
        shown: what closed components show: "others" for counterfactual inputs, or "zero".
    """

    make: Callable[[], nn.Module]
    sites: Callable[[nn.Module], list[Site]]
    task: Callable[[int], Task]
    steps: int
    rate: float = 3e-3
    shown: str = "others"
    rows: int = field(default=32, kw_only=True)


def _heads_and_blocks(net: nn.Module) -> list[Site]:
    return [*head_sites(net), *mlp_sites(net)]


KINDS = {
    "heads": Kind(lambda: Transformer(2, 6, 24), head_sites, look_up, 1000, 5e-3),
    "units": Kind(Units, lambda net: named_sites(net, "one", "two", n_parts=8), formula, 1500),
    "channels": Kind(Channels, channel_sites, digits, 600, shown="zero"),
    "heads and blocks": Kind(
        lambda: Transformer(2, 4, 16, mlp=True), _heads_and_blocks, comparison, 500, 5e-3
    ),
}


def trained(
    kind: Kind, numbers: list[int], freeze: Callable[[dict[str, Tensor]], None] | None = None
) -> list[nn.Module]:
    """Nets of a kind, one for each number, which decides its task, its data and its initial values.

    Args:
        kind: of net.
        numbers: of the nets.
        freeze: called with the stacked parameters before each step; it may overwrite some.
    """
    nets, tasks = [], [kind.task(number) for number in numbers]
    with torch.random.fork_rng():
        for number in numbers:
            torch.manual_seed(number)
            nets.append(kind.make())
    parameters, _ = stack_module_state(nets)
    optimizer = torch.optim.Adam(parameters.values(), kind.rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, kind.steps)
    made = [torch.Generator().manual_seed(number) for number in numbers]

    def forward(own: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(nets[0], own, (x,))

    for _ in range(kind.steps):
        x, y = map(
            torch.stack, zip(*[t.draw(kind.rows, g) for t, g in zip(tasks, made, strict=True)], strict=True)
        )
        if freeze is not None:
            freeze(parameters)
        output = torch.vmap(forward)(parameters, x)
        if tasks[0].classes:
            loss = nn.functional.cross_entropy(output.flatten(0, 1), y.flatten(), reduction="sum")
        else:
            loss = (output.squeeze(2) - y).square().sum()
        optimizer.zero_grad()
        (loss / kind.rows).backward()
        optimizer.step()
        schedule.step()
    if freeze is not None:
        freeze(parameters)
    for i, net in enumerate(nets):
        net.load_state_dict({name: value[i].detach() for name, value in parameters.items()})
        net.eval().requires_grad_(False)
    return nets


def nets_of(name: str, numbers: list[int]) -> list[nn.Module]:
    """Trained nets of a kind, from the cache if they are there."""
    kind = KINDS[name]
    return kept_nets(name, kind, numbers, lambda: trained(kind, numbers))


def kept_nets(
    name: str, kind: Kind, numbers: list[int], train: Callable[[], list[nn.Module]]
) -> list[nn.Module]:
    """Nets from the cache, or trained and put there."""
    recipe = f"{numbers[0]}-{len(numbers)}-{kind.steps}-{kind.rate}"
    path = CACHE / f"components-{name.replace(' ', '-')}-{recipe}.pt"
    if not path.exists():
        keep([net.state_dict() for net in train()], path)
    nets = []
    for state in torch.load(path, weights_only=True):
        net = kind.make()
        net.load_state_dict(state)
        nets.append(net.eval().requires_grad_(False))
    return nets
