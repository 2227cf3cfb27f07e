"""Proposals: the sets that a net proposes for rows, measured on the model before they are taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stg_attr.attribution.certificate import Certifier
from stg_attr.attribution.evidence import untested
from stg_attr.attribution.question import Question
from stg_attr.attribution.reading import Reading
from stg_attr.explanation import Curve, Explanation, Scores, Settings, Status, in_words, lay_out
from stg_attr.gates import Blend
from stg_attr.model import Allowance, GatedModel
from stg_attr.select import Ranking, Sweep
from stg_attr.solve import Learned, Solver

from .search import Found, found_near
from .settings import AmortizedSettings

__all__ = ["Proposal", "as_start", "merged", "solved"]


@dataclass(frozen=True)
class Proposal:
    """How gates that a net proposes are read.

    Attributes:
        solver: how rows that need it are solved.
        sparsity: what is claimed.
        reading: the numbers that decide the result.
        settings: the numbers that decide what is taken.
        typical: features that rows need on average; the size that is measured first.
        gradient: mean square of the gradients of a row.
    """

    solver: Solver
    sparsity: Sweep
    reading: Settings
    settings: AmortizedSettings
    typical: float
    gradient: float

    def read(self, model: GatedModel, parameter: Tensor, asked: Blend) -> tuple[Explanation, Tensor]:
        """The explanation of rows by what was proposed, and whether it is taken, bool [batch].

        Args:
            model: the model as a function of the gates of these rows.
            parameter: proposed gate parameters, [batch, gates].
            asked: what the explanation names as inputs and baselines.
        """
        groups, gates, allowance = model.groups, self.solver.gates, Allowance()
        exists = groups.exists.expand_as(parameter)
        ranking = Ranking.of(parameter, exists & model.differs & model.explainable.unsqueeze(1))
        slopes, most = self.solver.estimator.proves_slopes, self.settings.most_measured
        found = found_near(model, ranking, self.sparsity.retain, self.typical, most, slopes, self.settings)
        ranking, count, certificate = found.ranking, found.count, None
        if model.n_held_out:
            certifier = Certifier(model, self.sparsity, self.reading.certificate, allowance)
            ranking, count, certificate = certifier.certified(ranking, count)
        selected = ranking.top(count.unsqueeze(1))[0]
        scores, curve = _evidence(model, found, selected, count)
        certificate = certificate or untested(model, self.sparsity, curve, count)
        enough = found.share >= self.sparsity.retain if certificate is None else certificate.holds
        taken = enough & (count <= self.settings.largest * self.typical) & model.explainable
        log_alpha = ranking.at(selected, gates.half).masked_fill(~exists, -torch.inf)
        probabilities = gates.active_probability(log_alpha)
        nothing, unknown = torch.zeros_like(parameter), torch.full_like(parameter, torch.nan)
        points = self.reading.reading.curve_points + 1  # as many as others have, so that they can be joined
        curve = Curve(**{name: value.expand(-1, points).clone() for name, value in vars(curve).items()})
        explanation = Explanation(
            attributions=lay_out(probabilities, groups, model.blend.inputs),
            log_alpha=log_alpha,
            active_probabilities=probabilities,
            selected=selected,
            influence=nothing,
            effect=nothing.clone(),
            feature_ids=groups.feature_ids.expand_as(exists),
            feature_mask=asked.groups.index,
            target=model.target,
            scores=scores,
            curve=curve,
            loss_trace=parameter.new_zeros(0, len(parameter)),
            status=tuple(
                Status.PROPOSED if there else Status.NOTHING_TO_EXPLAIN
                for there in model.explainable.tolist()
            ),
            n_evaluations=model.evaluations,
            seed=self.solver.seed,
            gates=gates,
            inputs=asked.inputs,
            baselines=asked.mean_references(model.rows_per_selection),
            settings=self.reading,
            certificate=certificate,
            contributions=unknown,
            averaged=unknown.clone(),
            learned=as_start(parameter, self.solver, self.settings.weight_of_start, self.gradient),
            objective=in_words(model.objective),
        )
        return explanation, taken


def as_start(parameter: Tensor, solver: Solver, weight: int, gradient: float) -> Learned:
    """A proposal, [batch, gates], as what a solve has learned in some updates.

    Args:
        parameter: proposed gate parameters.
        solver: the solve.
        weight: so many updates.
        gradient: mean square of the gradients of a row.
    """
    batch, gates = parameter.shape
    nothing = Learned.nothing(batch, gates, parameter.dtype, parameter.device)
    # the weights of gradients in the scale are 1, 2, 3, ...; see `DualAveraging`
    scale = max(gradient, torch.finfo(parameter.dtype).tiny) * weight * (weight + 1) / 2
    known = vars(nothing) | {
        "total": (parameter - solver.gates.start) * scale**0.5,
        "scale": torch.full_like(nothing.scale, scale),
    }
    return Learned(**known)


def _evidence(model: GatedModel, found: Found, selected: Tensor, count: Tensor) -> tuple[Scores, Curve]:
    """Scores with and without what is selected, and a curve of this one point.

    What the search has measured is not measured again; with references that are held out, all is.
    """
    one, fresh = selected.unsqueeze(0), model.n_held_out > 0
    own, share = found.score.clone(), found.share.clone()
    left = torch.ones_like(count, dtype=torch.bool) if fresh else own.isnan()
    index = left.nonzero().squeeze(1)
    if len(index):
        measured = model.measure(one[:, index], index.cpu(), fresh=True)
        own[index], share[index] = measured.score[0], measured.share[0]
    other = model.measure(one, other_view=True, fresh=True).score[0]
    anchors = model.fresh_anchors if fresh else model.anchors
    kept, removed = (own, other) if model.objective.keeps else (other, own)
    points = (count, kept, removed, share)
    return Scores(anchors.full, anchors.baseline, kept, removed), Curve(*(p.unsqueeze(1) for p in points))


def solved(question: Question, places: Tensor, proposal: Proposal, start: Learned) -> Explanation:
    """The explanation of rows, long [rows], by a solve from a start; what the model raises is raised."""
    model = question.model(places)
    reading = Reading.begin(model, proposal.solver, proposal.reading, None)
    solution = proposal.solver.fit(model, past=(start, start.scale.new_zeros(0, len(places))))
    found, failure = reading.read(solution, True, question.named.rows(places).to(model.device))
    failure = solution.failure or failure
    if failure is not None:
        raise failure
    return found


def merged(found: Explanation, learned: Explanation, left: Tensor) -> Explanation:
    """The explanations of all rows, with those that were solved at the places `left`, long [rows]."""
    spent = found.n_evaluations[left.to(found.n_evaluations.device)].to(learned.n_evaluations.device)
    unknown = torch.full_like(learned.log_alpha, torch.nan)
    filled = replace(
        learned,
        n_evaluations=learned.n_evaluations + spent,
        contributions=unknown if learned.contributions is None else learned.contributions,
        averaged=unknown if learned.averaged is None else learned.averaged,
    )
    both = Explanation.joined([found, filled])
    order = torch.arange(len(found), device="cpu")
    order[left] = len(found) + torch.arange(len(left), device="cpu")
    return both.rows(order)
