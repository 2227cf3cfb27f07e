"""A search near proposed sets: each set that is measured tells, by its slopes, which one to measure next."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stg_attr.model import GatedModel
from stg_attr.select import Ranking
from stg_attr.select.selections import first_of

from .settings import AmortizedSettings

__all__ = ["Found", "found_near"]


@dataclass(frozen=True)
class Found:
    """The smallest sets that were measured to suffice.

    Attributes:
        ranking: the features in order; those of the set come first.
        count: features of the set, long [batch].
        share: of the output that it keeps, mean over references, [batch].
        score: mean over references, [batch]; NaN where all features are needed, which is not measured.
    """

    ranking: Ranking
    count: Tensor
    share: Tensor
    score: Tensor


def found_near(
    model: GatedModel,
    ranking: Ranking,
    retain: float,
    first: float,
    most: int,
    slopes: bool,
    settings: AmortizedSettings,
) -> Found:
    """The smallest sets that were measured to suffice, beginning with the first features of a ranking.

    Args:
        model: the model.
        ranking: the features in the order that was proposed.
        retain: share of the output that a set must keep.
        first: number of features of the set that is measured first.
        most: sets that are measured for a row, at most.
        slopes: whether the model has slopes. Without them only the size of the set is searched.
        settings: how the next set is chosen.
    """
    begun = Found(
        ranking,
        ranking.n_visible,
        torch.ones_like(model.anchors.full).to(model.dtype),
        torch.full_like(model.anchors.full, torch.nan),
    )
    count = torch.full_like(begun.count, max(1, round(first))).minimum(begun.count - 1).clamp_min(0)
    if not slopes:
        return _along(model, begun, count, retain, most)
    return _Near(model, ranking, retain, settings).found(begun, count, most)


def _along(model: GatedModel, begun: Found, count: Tensor, retain: float, most: int) -> Found:
    """The smallest number of first features that suffices, by halving what is unknown."""
    ranking, suffices, fails = begun.ranking, begun.count.clone(), torch.zeros_like(begun.count)
    share, score = begun.share.clone(), begun.score.clone()
    for _ in range(most):
        index = ((suffices - fails > 1) & (count > fails) & (count < suffices)).nonzero().squeeze(1)
        if not len(index):
            break
        selected = ranking.rows(index.cpu()).top(count[index].unsqueeze(1))
        measured = model.measure(selected, index.cpu())
        found = measured.share[0].nan_to_num(-torch.inf)
        enough = found >= retain
        good, bad = index[enough], index[~enough]
        suffices[good], share[good], fails[bad] = count[good], found[enough], count[bad]
        score[good] = measured.score[0][enough].to(score)
        larger = (2 * fails + 1).where(suffices == ranking.n_visible, (fails + suffices) // 2)
        count = larger.clamp_min(1).minimum((suffices - 1).clamp_min(0))
    return replace(begun, count=suffices, share=share, score=score)


@dataclass(frozen=True)
class _Near:
    """The search among sets, by slopes; see `found_near` for the fields."""

    model: GatedModel
    ranking: Ranking
    retain: float
    settings: AmortizedSettings

    def found(self, begun: Found, count: Tensor, most: int) -> Found:
        """The smallest set: from one that suffices, the features that add least are dropped, as many as the
        slopes allow; to one that does not, those that add most are added, or exchanged for the others.

        Args:
            begun: all features.
            count: features of the first set, long [batch].
            most: sets that are measured.
        """
        visible, size = self.ranking.visible, begun.count.clone()
        selected, best = self.ranking.top(count.unsqueeze(1))[0], visible.clone()
        share, score = begun.share.clone(), begun.score.clone()
        worth, failed = torch.zeros_like(self.ranking.parameter), torch.zeros_like(size)
        for turn in range(most):
            index = ((size > 1) & (failed < self.settings.failures)).nonzero().squeeze(1)
            if not len(index):
                break
            some, n = selected[index], selected[index].sum(1)
            kept, scored, now = self._measured(some, index)
            worth[index] = now if not turn else worth[index].lerp(now, self.settings.newest)
            enough, close = kept >= self.retain, n >= size[index] - 1
            smaller = index[enough & (n < size[index])]
            failed[index] = torch.where(enough, 0, failed[index] + close.long())
            taken = torch.isin(index, smaller)
            best[smaller], size[smaller] = some[taken], n[taken]
            share[smaller], score[smaller] = kept[taken], scored[taken]
            fewer = self._fewer(some, worth[index], kept)
            more = self._more(some, worth[index], kept, index, size[index] - 1 - n)
            selected[index] = torch.where(enough.unsqueeze(1), fewer, more)
        return Found(self.ranking.promoted(best), size, share, score)

    def _measured(self, selected: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What sets keep, [rows], their mean score, [rows], and what each feature adds to it, [rows, gates].

        The slopes of the score say what it would be with a feature more, or without one.

        Args:
            selected: bool [rows, gates].
            index: the rows, long [rows].
        """
        model, objective = self.model, self.model.objective
        shown = (selected if objective.keeps else ~selected).to(model.dtype)
        references = model.reference_order[: model.rows_per_selection]
        scores, slopes = model.score_slopes(shown.expand(len(references), -1, -1), references, index.cpu())
        anchors = model.anchors.rows(index.cpu())

        def share(some: Tensor) -> Tensor:
            kept = objective.fidelity.achieved(some, anchors, objective.keeps)
            return kept.nan_to_num(-torch.inf, -torch.inf, -torch.inf).to(model.dtype)

        kept = share(scores)  # [references, rows]
        change = slopes.to(scores.dtype) * (1 - 2 * (selected == objective.keeps).to(scores.dtype))
        switched = (scores.unsqueeze(2) + change).movedim(2, 0)  # [gates, references, rows]
        other = share(switched.flatten(0, 1)).reshape(switched.shape)
        added = (kept - other).mean(1).T.nan_to_num(0.0, 0.0, 0.0)
        return kept.mean(0), scores.mean(0), torch.where(selected, added, -added)

    def _fewer(self, selected: Tensor, worth: Tensor, kept: Tensor) -> Tensor:
        """Sets without the members that add least, one at least, as many as may be missed by their slopes."""
        size = selected.sum(1)
        added, order = worth.masked_fill(~selected, torch.inf).sort(dim=1, stable=True)
        missed = added.clamp_min(0).cumsum(1)
        n = (kept.unsqueeze(1) - missed >= self.retain).sum(1)
        n = n.minimum((size * self.settings.dropped).long()).clamp_min(1).minimum(size - 1)
        return selected & ~first_of(order, n, selected.shape[1])

    def _more(self, selected: Tensor, worth: Tensor, kept: Tensor, index: Tensor, room: Tensor) -> Tensor:
        """Sets with the features that add most, as many as are needed by their slopes; without room for
        these, one of them in the place of the member that adds least.

        Args:
            selected: bool [rows, gates].
            worth: what each feature adds, [rows, gates].
            kept: what the sets keep, [rows].
            index: the rows, long [rows].
            room: how many more features a set may have, long [rows].
        """
        outside = self.ranking.visible[index] & ~selected
        parameter = self.ranking.parameter[index]
        expected = worth + self.settings.proposed * (parameter - parameter.mean(1, keepdim=True))
        added, order = expected.masked_fill(~outside, -torch.inf).sort(dim=1, descending=True, stable=True)
        gained = kept.unsqueeze(1) + self.settings.trusted * added.clamp_min(0).cumsum(1)
        n = (gained < self.retain).sum(1) + 1
        n = n.minimum(room).minimum(selected.sum(1)).clamp_min(1)
        least = worth.masked_fill(~selected, torch.inf).argmin(1, keepdim=True)
        exchanged = torch.where((room < 1).unsqueeze(1), selected.scatter(1, least, False), selected)
        return exchanged | (first_of(order, n, selected.shape[1]) & outside)
