"""Gates without slopes: whether the model makes something else of an example without them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from stg_attr.gates import Blend
from stg_attr.objective import Objective

from .examples import Examples
from .spread import ScoreSpread

__all__ = ["looks", "moving"]


class Model(Protocol):
    """What is needed of a `GatedModel`; see there."""

    objective: Objective
    reference_scores: Tensor
    rounding_unit: float
    spread: ScoreSpread

    @property
    def differs(self) -> Tensor:
        """Features whose value is not that of every reference, bool [batch, gates]."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of gates."""

    @property
    def reference_order(self) -> Tensor:
        """The order in which references are shown, long [references]."""

    @property
    def rows_per_selection(self) -> int:
        """How many of them are shown."""

    def scores(self, gates: Tensor, references: Tensor, examples: Examples | None = None) -> Tensor:
        """Scores [samples, examples] of gate values [samples, examples, gates]."""


def looks(references: int) -> int:
    """Model rows of one example that `moving` takes, at most."""
    return min(2, references)


def moving(model: Model, examples: Examples, seen: Tensor, unseen: Tensor, least: float) -> Tensor:
    """Whether the gates that were not seen change the score together, bool [examples].

    Those that were seen are measured as one selection, and compared with all gates. With several references,
    this is done with two, see `_two_references`: where a score is a step of a feature, and any of the
    references is on the other side of it, one of the two is.

    Args:
        model: the model.
        examples: whose gates they are; with their anchors.
        seen: gates in which the model was seen to have slopes, bool [examples, gates].
        unseen: other gates of examples that have something to explain, bool [examples, gates].
        least: share of the output by which they must change it.
    """
    found = torch.zeros_like(unseen[:, 0])
    unseen = unseen & model.differs[examples.index.to(unseen.device)]
    some = unseen.any(1).nonzero().squeeze(1)
    if not len(some):
        return found
    shown = model.reference_order[: model.rows_per_selection]
    chosen, differ = _two_references(examples.rows(some.cpu()).blend, unseen[some], shown)
    for which in range(len(shown)):
        rows = some[((chosen == which) & differ).any(0)]
        if len(rows):
            found[rows] |= _moved(model, examples.rows(rows.cpu()), seen[rows], which, least)
    return found


def _moved(model: Model, examples: Examples, seen: Tensor, which: int, least: float) -> Tensor:
    """Whether gates that were seen keep, or take away, another share than all gates do, bool [examples].

    Args:
        model: the model.
        examples: whose gates they are.
        seen: bool [examples, gates].
        which: the reference that is shown, by its place in their order.
        least: share of the output by which it must differ, besides rounding.
    """
    objective, anchors = model.objective, examples.anchors
    assert anchors is not None  # which are measured before a solve begins
    opened = (seen if objective.keeps else ~seen).to(model.dtype).unsqueeze(0)
    scores = model.scores(opened, model.reference_order[which : which + 1], examples)
    model.spread.add(examples.index, scores - anchors.baseline)
    share = objective.fidelity.retained if objective.keeps else objective.fidelity.remaining
    whole = anchors.full if objective.keeps else model.reference_scores[which][examples.index]
    found, expected = share(scores, anchors)[0], share(whole.unsqueeze(0), anchors)[0]
    rounding = 8 * model.rounding_unit * anchors.full.abs() / anchors.scale
    return ~((found - expected).abs() <= least + rounding)  # NaN is another share


def _two_references(blend: Blend, unseen: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """For each example the reference that differs most in its unseen gates, and the one most unlike that.

    Args:
        blend: some examples.
        unseen: gates that differ from some reference, bool [examples, gates].
        references: long [references].

    Returns:
        Places in `references`, long [1 or 2, examples], and whether they differ in these gates at all, from
        the input and from each other, bool [1 or 2, examples].
    """
    n = len(unseen)
    if len(references) == 1:
        return torch.zeros(1, n, dtype=torch.long, device=unseen.device), unseen.any(1).unsqueeze(0)
    closed = torch.zeros(len(references), *unseen.shape, dtype=blend.dtype, device=unseen.device)
    parts = blend(closed, references.to(unseen.device))[: len(blend.inputs)]
    shown = [part.reshape(-1, n, *part.shape[1:]) for part in parts]
    point, chosen, differ = list(blend.inputs), [], []
    for _ in range(looks(len(references))):
        far = torch.stack([
            blend.groups.reduce([_distance(x, part[k]) for x, part in zip(point, shown, strict=True)])
            for k in range(len(references))
        ])  # fmt: skip
        largest = far.amax(0)  # each gate has its own unit, so that all of them count
        far = (far / largest.where(largest > 0, 1.0)).masked_fill(~unseen, 0.0).sum(2)
        best, place = far.max(0)
        chosen.append(place)
        differ.append(best > 0)
        point = [part[place, torch.arange(n, device=place.device)] for part in shown]
    return torch.stack(chosen), torch.stack(differ)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    if one.is_complex():
        return (one - other).abs().double()
    return (one.double() - other.double()).abs()
