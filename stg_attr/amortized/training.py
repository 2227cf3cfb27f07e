"""Training: a net learns gates of many rows by the gradients by which a solve learns those of one."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stg_attr.attribution.parts import Parts
from stg_attr.model import GatedModel
from stg_attr.progress import Bar
from stg_attr.solve.shift import BudgetShift

from .nets import GateNet
from .settings import AmortizedSettings

__all__ = ["Trained", "Trainer"]


@dataclass
class Trained:
    """How a training went.

    Attributes:
        held_out_losses: median loss of rows that were not learned from, after each pass.
        losses: mean loss of the rows of each pass.
        n_evaluations: rows that the model was run on altogether.
        n_rows: rows that were learned from, each counted as often as it was seen.
        gradient: mean square of the gradients of a row, the unit of a start.
    """

    held_out_losses: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    n_evaluations: int = 0
    n_rows: int = 0
    gradient: float = 0.0


@dataclass
class Trainer:
    """Trains a net on batches of rows.

    Args:
        net: proposes gate parameters.
        method: the question.
        settings: how it learns.
        seed: of gate samples and budgets.
    """

    net: GateNet
    method: Parts
    settings: AmortizedSettings
    seed: int

    def __post_init__(self) -> None:
        self._drawn = torch.Generator().manual_seed(self.seed)
        self._step = 0

    def fit(
        self,
        batches: Callable[[], Iterator[GatedModel]],
        held_out: Callable[[], Iterator[GatedModel]],
        n_epochs: int,
        n_batches: int | None,
        bar: Bar,
    ) -> Trained:
        """Pass over the rows until the held-out loss falls no more, and keep the best net.

        Args:
            batches: a pass over the rows.
            held_out: a pass over other rows.
            n_epochs: passes, at most.
            n_batches: batches of a pass, if it is known.
            bar: shows the progress.
        """
        trained, best, kept, since = Trained(), math.inf, copy.deepcopy(self.net.state_dict()), 0
        learned = [p for p in self.net.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(learned, self.settings.learning_rate)
        total = None if n_batches is None else n_epochs * n_batches
        for _ in range(n_epochs):
            losses = []
            for model in batches():
                rate = 1.0 if total is None else 0.5 * (1 + math.cos(math.pi * min(self._step / total, 1.0)))
                optimizer.param_groups[0]["lr"] = self.settings.learning_rate * max(rate, 0.02)
                losses.append(self._update(model, optimizer, trained))
                bar.update()
            trained.losses.append(float(torch.tensor(losses).mean()))
            loss = self._held_out_loss(held_out, trained)
            trained.held_out_losses.append(loss)
            since += 1
            if loss < best:
                best, kept, since = loss, copy.deepcopy(self.net.state_dict()), 0
            if since >= self.settings.patience:
                break
        self.net.load_state_dict(kept)
        return trained

    def _update(self, model: GatedModel, optimizer: torch.optim.Optimizer, trained: Trained) -> float:
        """One update of the net by the gates of some rows; the mean loss."""
        self.net.train()
        parameter = self.net.of(model)
        gradient, loss = self._gradient(model, parameter.detach().to(model.dtype), self._drawn)
        self._step += 1
        optimizer.zero_grad()
        torch.autograd.backward(parameter, gradient.to(parameter.dtype) / len(parameter))
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        optimizer.step()
        trained.n_evaluations += int(model.evaluations.sum())
        trained.n_rows += model.batch
        square = float(gradient.square().mean())
        trained.gradient = square if not trained.gradient else 0.99 * trained.gradient + 0.01 * square
        return float(loss.mean())

    @torch.no_grad()
    def _held_out_loss(self, held_out: Callable[[], Iterator[GatedModel]], trained: Trained) -> float:
        """The median loss of rows that are not learned from, with the same samples after every pass.

        The mean would be that of the few rows that have little to explain, whose shares are large.
        """
        self.net.eval()
        drawn, losses = torch.Generator().manual_seed(self.seed + 1), []
        for model in held_out():
            parameter = self.net.of(model).to(model.dtype)
            with torch.enable_grad():
                losses += [self._gradient(model, parameter, drawn)[1] for _ in range(2)]
            trained.n_evaluations += int(model.evaluations.sum())
        return float(torch.cat(losses).median()) if losses else -float(len(trained.losses))

    def _gradient(
        self, model: GatedModel, parameter: Tensor, drawn: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the expected loss in the parameters, [batch, gates], and the mean loss, [batch].

        It is that of an update of a solve at budgets: see `Solver`. A net that learned from samples without a
        budget, too, would open all gates of all rows first, and then hardly learn their order. Each row has
        noise of its own.
        """
        gates, exists = self.method.gates, model.groups.exists
        state = self.method.estimator.begin(exists.expand_as(parameter))
        half = max(1, (self._samples + 1) // 2)
        uniform = torch.rand(half, *parameter.shape, generator=drawn, device="cpu")
        uniform = torch.cat([uniform, 1 - uniform]).clamp(1e-6, 1 - 1e-6).to(parameter)
        # as many budgets of one to two gates as of two to four, since it is small sets that are looked for
        level = torch.rand(half, model.batch, generator=drawn, device="cpu").repeat(2, 1).to(parameter)
        budgets = exists.sum(1).to(level).reciprocal() ** level
        order = model.reference_order
        references = order[torch.randint(len(order), (2 * half,), generator=drawn, device="cpu")]
        shift = BudgetShift.of(gates, exists, model.dtype)
        levels = parameter + shift(parameter, budgets)
        loss_of = model.loss(model.everyone, references.to(parameter.device))
        found = state.estimate(gates, levels, uniform, loss_of)
        level = found.gradient.sum(2, keepdim=True) / exists.sum(1).reshape(1, -1, 1)
        gradient = (found.gradient - level).mean(0)
        return _alike(gradient.masked_fill(~exists, 0.0)), found.loss.mean(0)

    @property
    def _samples(self) -> int:
        slopes = self.method.estimator.proves_slopes
        return self.settings.samples if slopes else self.settings.samples_without_slopes


def _alike(gradient: Tensor) -> Tensor:
    """Gradients of rows, [batch, gates], of which none is longer than the median one.

    A loss is a share of what a row has to explain. Without this, rows where that is little would decide alone
    what the net learns; a solve divides the gradients of each row by their own size.
    """
    size = gradient.norm(dim=1, keepdim=True)
    share: Tensor = (size.median() / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max(1)
    return gradient * share
