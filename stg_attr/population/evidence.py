"""Evidence for shared gates: what sets of features keep of the answers of the model, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stg_attr.explanation import Explanation, Population
from stg_attr.gates import PairedBlend
from stg_attr.select import Ranking

from .scores import ROWS_OF_A_CALL, RowScores

__all__ = ["Answers", "measured"]


@dataclass(frozen=True)
class Answers:
    """The right answers of rows, and what a wrong one costs.

    Attributes:
        labels: one for each row, [rows, ...]; None where they are not known.
        loss: takes outputs and labels of rows, returns a loss for each row, [rows]; None for no loss.
    """

    labels: Tensor | None
    loss: Callable[[Tensor, Tensor], Tensor] | None

    def of(self, output: Tensor, rows: Tensor, classes: bool) -> Tensor:
        """Whether answers are right, and their losses, [2, rows]; NaN where they are not known."""
        found = torch.full((2, len(output)), torch.nan, dtype=torch.float64, device="cpu")
        if self.labels is None:
            return found
        labels = self.labels[rows.to(self.labels.device)].to(output.device)
        whole = not (labels.is_floating_point() or labels.is_complex())
        if classes and whole and labels.dim() == 1:
            found[0] = (output.argmax(1) == labels).cpu().double()
        if self.loss is not None:
            found[1] = self.loss(output, labels).detach().reshape(len(output), -1).mean(1).cpu().double()
        return found


@torch.no_grad()
def measured(
    explanation: Explanation, scores: RowScores, blend: PairedBlend, draws: Tensor, answers: Answers
) -> Population:
    """Measure the sets of the curve of an explanation on some draws.

    Args:
        explanation: of the example that stands for all rows.
        scores: the model as a function of rows.
        blend: makes blended rows.
        draws: long [draws].
        answers: the right answers.
    """
    ranking = Ranking.of(explanation.log_alpha, explanation.visible)
    sets = ranking.top(explanation.curve.n_open)[:, 0].to(blend.inputs[0].device)  # [points, gates]
    everything = torch.ones_like(sets[:1])
    found = torch.stack([_means(one, scores, blend, draws, answers) for one in torch.cat([sets, everything])])
    same, right, loss = found.to(explanation.log_alpha.device).T.unsqueeze(1)
    return Population(
        n_open=explanation.curve.n_open,
        same_class=same[:, :-1],
        accuracy=right[:, :-1],
        loss=loss[:, :-1],
        full_accuracy=right[:, -1],
        full_loss=loss[:, -1],
        n_rows=torch.full_like(explanation.n_evaluations, len(draws)),
    )


def _means(
    selected: Tensor, scores: RowScores, blend: PairedBlend, draws: Tensor, answers: Answers
) -> Tensor:
    """Of one set, bool [gates]: the share of rows whose class stays, that of right answers, and the loss."""
    parts = []
    for some in torch.split(draws, ROWS_OF_A_CALL):
        gates = selected.to(blend.dtype).expand(len(some), 1, -1)
        *values, rows = blend(gates, some)
        output, _ = scores.output(values, rows)
        same = torch.full((len(some),), torch.nan, dtype=torch.float64, device="cpu")
        if scores.own is not None:
            same = (output.argmax(1).cpu() == scores.own[rows.cpu()]).double()
        parts.append(torch.cat([same.unsqueeze(0), answers.of(output, rows, scores.classes)]))
    return torch.cat(parts, 1).mean(1)
