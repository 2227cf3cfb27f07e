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

from .settings import AmortizedSettings

__all__ = ["Proposal", "as_start", "merged", "sizes", "solved"]


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
        ranking = Ranking.of(parameter, exists & model.differs & model.anchors.explainable.unsqueeze(1))
        count, share = sizes(model, ranking, self.sparsity.retain, self.typical, self.settings.most_measured)
        certificate = None
        if model.n_held_out:
            certifier = Certifier(model, self.sparsity, self.reading.certificate, allowance)
            ranking, count, certificate = certifier.certified(ranking, count)
        selected = ranking.top(count.unsqueeze(1))[0]
        scores, curve = _evidence(model, selected, count)
        certificate = certificate or untested(model, self.sparsity, curve, count)
        enough = share >= self.sparsity.retain if certificate is None else certificate.holds
        taken = enough & (count <= self.settings.largest * self.typical) & model.anchors.explainable
        log_alpha = ranking.at(selected, gates.half).masked_fill(~exists, -torch.inf)
        probabilities = gates.active_probability(log_alpha)
        nothing, unknown = torch.zeros_like(parameter), torch.full_like(parameter, torch.nan)
        points = self.reading.reading.curve_points + 1  # as many as others have, so that they can be joined
        curve = Curve(**{name: value.expand(-1, points).clone() for name, value in vars(curve).items()})
        found = Explanation(
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
                for there in model.anchors.explainable.tolist()
            ),
            n_evaluations=model.evaluations,
            seed=self.solver.seed,
            gates=gates,
            inputs=asked.inputs,
            baselines=asked.mean_references(model.rows_per_selection, model.n_held_out),
            settings=self.reading,
            certificate=certificate,
            contributions=unknown,
            averaged=unknown.clone(),
            learned=as_start(parameter, self.solver, self.settings.weight_of_start, self.gradient),
            objective=in_words(model.objective),
        )
        return found, taken


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


def sizes(
    model: GatedModel, ranking: Ranking, retain: float, first: float, most: int
) -> tuple[Tensor, Tensor]:
    """The smallest number of first features that was measured to suffice, long [batch], and what it keeps.

    Args:
        model: the model.
        ranking: the features in order.
        retain: share of the output that they must keep.
        first: the number that is measured first.
        most: numbers that are measured for a row.
    """
    suffices, fails = ranking.n_visible.clone(), torch.zeros_like(ranking.n_visible)
    share = torch.ones_like(model.anchors.full).to(model.dtype)
    count = torch.full_like(suffices, max(1, round(first))).minimum(suffices - 1)
    for _ in range(most):
        index = ((suffices - fails > 1) & (count > fails) & (count < suffices)).nonzero().squeeze(1)
        if not len(index):
            break
        selected = ranking.rows(index.cpu()).top(count[index].unsqueeze(1))
        found = model.measure(selected, index.cpu()).share[0].nan_to_num(-torch.inf)
        enough = found >= retain
        good, bad = index[enough], index[~enough]
        suffices[good], share[good], fails[bad] = count[good], found[enough], count[bad]
        larger = (2 * fails + 1).where(suffices == ranking.n_visible, (fails + suffices) // 2)
        count = larger.clamp_min(1).minimum((suffices - 1).clamp_min(0))
    return suffices, share


def _evidence(model: GatedModel, selected: Tensor, count: Tensor) -> tuple[Scores, Curve]:
    """Measured scores with and without what is selected, and a curve of this one point."""
    one, fresh = selected.unsqueeze(0), model.n_held_out > 0
    measured = model.measure(one, fresh=True)
    other = model.measure(one, other_view=True, fresh=True).score[0]
    anchors = model.fresh_anchors if fresh else model.anchors
    kept, removed = (measured.score[0], other) if model.objective.keeps else (other, measured.score[0])
    points = (count, kept, removed, measured.share[0])
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
