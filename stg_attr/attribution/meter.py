"""Meter: measures selections for the reading of a solve, while the budget lasts and the model answers."""

from __future__ import annotations

import torch
from torch import Tensor

from .case import Case, Measured

__all__ = ["Meter"]

_ROUNDING = 64  # units in the last place by which two scores differ beyond rounding


class Meter:
    """Measures hard selections of a case; where it cannot, it answers NaN, and what was known stands.

    Args:
        case: the examples.
        max_evals: rows the model may be run on for each example, all in all; None for any number.
        reserved: rows of them that are kept for the evidence.

    Attributes:
        failure: what the model raised, or Ctrl-C; None while it answers.
    """

    def __init__(self, case: Case, max_evals: int | None = None, reserved: int = 0) -> None:
        self.case = case
        self.failure: BaseException | None = None
        self._reserved = reserved
        self._max_evals = max_evals

    def affords(self, examples: Tensor, n: Tensor) -> Tensor:
        """Whether n more selections of each example may be measured, long [examples] -> bool [examples]."""
        if self.failure is not None or self._max_evals is None:
            return torch.full_like(n, self.failure is None, dtype=torch.bool)
        left = self._max_evals - self._reserved - self.case.evaluations[examples]
        return n * self.case.rows_per_selection <= left

    def shares(self, selections: Tensor, examples: Tensor) -> Tensor:
        """What selections achieve, [k, examples]: see `Case.measure`."""
        return self._measured(selections, examples).share

    def other_shares(self, selections: Tensor, examples: Tensor) -> Tensor:
        """What they achieve in the other view, [k, examples]: see `Case.measure`."""
        return self._measured(selections, examples, other_view=True).share

    def evidence(self, selections: Tensor) -> tuple[Measured, Tensor]:
        """What selections achieve, and the scores of the other view, [k, batch]: see `Case.measure`."""
        return self._measured(selections), self._measured(selections, other_view=True).score

    def unseen(self, selected: Tensor, known: Tensor) -> Tensor:
        """Selected gates that the model does not react to, bool [batch, gates].

        Each is switched alone, among the selected gates, among all, and among none; it counts as unseen where
        no score moves beyond rounding.

        Args:
            selected: bool [batch, gates].
            known: gates that the model is known to react to, bool [batch, gates].
        """
        unseen = selected & ~known
        for context in (selected, torch.ones_like(selected), torch.zeros_like(selected)):
            examples = unseen.any(1).nonzero().squeeze(1)
            affordable = self.affords(examples.cpu(), unseen[examples].sum(1).cpu() + 1)
            unseen[examples[~affordable.to(examples.device)]] = False  # for want of a proof
            unseen &= ~self._moves(unseen, context)
        return unseen

    def _moves(self, gates: Tensor, context: Tensor) -> Tensor:
        """The gates, of those asked for, that alone change a score when switched, bool [batch, gates]."""
        examples = gates.any(1).nonzero().squeeze(1)
        row, gate = gates.nonzero(as_tuple=True)
        if not len(row):
            return gates
        switched = context[row]
        switched[torch.arange(len(row), device=gate.device), gate] ^= True
        selections = torch.cat([context[examples], switched]).unsqueeze(0)
        owners = torch.cat([examples, row])
        measured = self._measured(selections, owners.cpu())
        found = torch.stack([measured.score, measured.share]).squeeze(1)  # [2, selections]
        place = torch.zeros(len(gates), dtype=torch.long, device=gates.device)
        place[examples] = torch.arange(len(examples), device=gates.device)
        before, after = found[:, place[row]], found[:, len(examples) :]
        size = torch.maximum(before.abs(), after.abs())
        still = ((before - after).abs() <= _ROUNDING * torch.finfo(found.dtype).eps * size).all(0)
        moves = gates.clone()
        moves[row[still], gate[still]] = False
        return moves

    def _measured(
        self, selections: Tensor, examples: Tensor | None = None, other_view: bool = False
    ) -> Measured:
        try:
            if self.failure is None:
                return self.case.measure(selections, examples, other_view)
        except (Exception, KeyboardInterrupt) as failure:
            self._note(failure)
        nothing = self._nothing(selections)
        return Measured(nothing, nothing, nothing)

    def _note(self, failure: BaseException) -> None:
        if not self.case.may_stop(failure):
            raise failure
        self.failure = failure

    def _nothing(self, selections: Tensor) -> Tensor:
        """NaN for every selection, [k, examples]."""
        nothing = torch.full(selections.shape[:2], torch.nan, device=selections.device)
        return nothing.to(self.case.blend.dtype)
