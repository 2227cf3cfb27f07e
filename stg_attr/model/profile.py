"""Profile: how each feature changes the score, signed and in either direction, in the units of the score."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example

from .allowance import Allowance
from .enumeration import coalitions, every_pair, n_every_pair, shapley_values
from .gated import GatedModel
from .reference_effects import ReferenceEffects
from .regression import adjusted

__all__ = ["Profile", "ProfileSettings"]

_GOLDEN = 0.6180339887498949  # fractional parts of its multiples fill [0, 1] evenly, however many are taken
_MOST_NUMBERS = 2**22  # samples x examples x gates that are in memory at once


@dataclass(frozen=True)
class ProfileSettings:
    """What a profile costs, and where it looks.

    Attributes:
        evaluations: model evaluations for each example.
        forwards: the same for a model without slopes, where each says less.
        near: share of the evaluations that are spent near the input.
        hidden: largest share of the features that is hidden there.
        thresholds: for a model without slopes and several references, at most so many values of each feature
            at which its effect may jump.
        share: largest share of `max_evals` that it takes. A larger share makes contributions more exact,
            and sets larger, since fewer evaluations are left for the solve.
        least: where `max_evals` leaves fewer evaluations than this number for it, nothing is measured.
    """

    evaluations: int = 64
    forwards: int = 256
    near: float = 1 / 3
    hidden: float = 0.1
    thresholds: int = 15
    share: float = 0.25
    least: int = 8

    def rows(self, slopes: bool) -> int:
        """Model rows for each example, for a model with slopes or without."""
        return self.evaluations if slopes else self.forwards


@dataclass(frozen=True)
class Profile(Batch):
    """How each feature changes the score.

    Attributes:
        contributions: signed, in the units of the score; they add up to the score of the input less the mean
            score of the references that were used, [batch, gates]; None where they were not measured.
        influence: mean size of the slope of the score, [batch, gates]; None where that was not measured, and
            for a model without slopes.
        mean_slopes: the contributions before they are corrected by pairs, which differ between seeds; None as
            for influence, [batch, gates].
    """

    contributions: Tensor | None = field(default=None, metadata=per_example())
    influence: Tensor | None = field(default=None, metadata=per_example())
    mean_slopes: Tensor | None = field(default=None, metadata=per_example())

    def order(self, model: GatedModel, index: Tensor | None = None) -> Tensor | None:
        """How much each feature matters to the objective, [examples, gates].

        None where that was not measured.

        Args:
            model: the model as a function of gates.
            index: the examples that were measured, long [examples] on the CPU; None for all.
        """
        if model.objective.fidelity.either_direction:
            return self.influence
        direction = model.direction if index is None else model.direction[index.to(model.device)]
        return None if self.contributions is None else self.contributions * direction

    def worth(self, model: GatedModel) -> Tensor | None:
        """How much each feature matters to the objective, at least 0, alike for all seeds; [batch, gates]."""
        either = model.objective.fidelity.either_direction
        found = self.influence if either else self.mean_slopes
        found = self.contributions if found is None else found
        if found is None:
            return None
        return found.abs() if either else (found * model.direction).clamp_min(0)

    @classmethod
    def unknown(cls, like: Tensor) -> Profile:
        """What is known of a model that failed: nothing."""
        return cls(torch.full_like(like, torch.nan))

    @classmethod
    def measure(
        cls,
        model: GatedModel,
        reacts: Tensor,
        blind: Tensor,
        slopes: bool,
        seed: int,
        settings: ProfileSettings,
        allowance: Allowance,
        index: Tensor | None = None,
    ) -> Profile:
        r"""Measure it.

        With slopes, the contributions begin as expected gradients, with z = t for all gates:

            c_i = E_{t, b}[ ds(x_z) / dz_i ],  t ~ U(0, 1),  x_z = t x + (1 - t) b

        Improving performance of deep learning models with axiomatic attribution priors and expected gradients
        (Erion et al., 2021), https://arxiv.org/abs/1906.10670. With one baseline, and for a model without
        slopes, pairs of complementary sets of features then correct them towards Shapley values; see
        `regression.adjusted`. Where all pairs are no more than these, they are the Shapley values of the
        references that are used; see `enumeration.shapley_values`.

        The influence is the mean of the sizes of these slopes, and of those near the input, where each
        feature is hidden with a small probability: it is large for features that matter in either direction.

        Args:
            model: the model as a function of gates.
            reacts: gates that the model reacts to, bool [batch, gates]; the others contribute 0.
            blind: for those of them that slopes do not show, how much each is expected to contribute, in
                proportion, above 0; 0 for the others, [batch, gates].
            slopes: whether slopes show what the model does with the others.
            seed: of the sets of features.
            settings: what it costs.
            allowance: notes a failure of the model.
            index: the examples that are measured, long [examples] on the CPU; None for all.

        Returns:
            The profile of these examples.
        """
        on = slice(None) if index is None else index.to(reacts.device)
        reacts, blind, full = reacts[on], blind[on], model.anchors.full[on]
        unknown = full.unsqueeze(1).expand(reacts.shape)
        if allowance.failure is not None:
            return cls.unknown(unknown)
        try:
            if allowance.max_evals is not None:  # which counts with no more than this
                settings = replace(settings, forwards=settings.rows(slopes))
            everyone = torch.arange(len(reacts), device="cpu") if index is None else index
            some = (blind > 0).any(1).cpu() & slopes
            parts = [group.nonzero().squeeze(1) for group in (some, ~some) if bool(group.any())]
            found = []
            for part in parts:
                on = part.to(reacts.device)
                found.append(
                    _Measuring(model, everyone[part], reacts[on], blind[on], seed, settings).run(slopes)
                )
            return cls.joined(found).rows(torch.cat(parts).argsort())
        except (Exception, KeyboardInterrupt) as failure:
            if not model.scorer.may_stop(failure):
                raise
            allowance.failure = failure
            return cls.unknown(unknown)


@dataclass
class _Measuring:
    """One measurement of a profile; see `Profile.measure` for the arguments."""

    model: GatedModel
    index: Tensor
    reacts: Tensor
    blind: Tensor
    seed: int
    settings: ProfileSettings

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed % 2**63)
        self._on = self.index.to(self.reacts.device)
        self._full = self.model.anchors.full[self._on]
        self._order = self.model.blend.reference_order  # held out or not: nothing is selected here

    def run(self, slopes: bool) -> Profile:
        """Spend the evaluations: as many as forwards take where slopes do not show some of the features."""
        blind, n_references = slopes and bool((self.blind > 0).any()), len(self._order)
        n, near = self.settings.rows(slopes and not blind), 0
        if slopes:
            near = round(self.settings.evaluations * self.settings.near)
        n_baselines = self._n_baselines(n - near, slopes and not blind)
        baselines = self._baselines(n_baselines)
        span = (self._full - baselines.mean(0)).unsqueeze(1)
        if not slopes:
            return Profile(self._corrected(span * self._even, self._even, (n - n_baselines) // 2, baselines))
        # each reference as often as any other, so that the slopes add up to the difference from their mean
        path = n_baselines if blind else (n - near - n_baselines) // n_baselines * n_baselines
        path = near if n_references == 1 else path
        mean, size = self._slopes(self._levels(path).reshape(-1, 1, 1), n_baselines)
        hidden = self.settings.hidden * self._levels(near).reshape(-1, 1, 1)
        influence = (size + self._slopes(self._uniform(near) < 1 - hidden, n_references)[1]) / 2
        # What the mean slopes miss of the difference is split in proportion to the mean sizes. Where there
        # are features that slopes do not show, it is theirs.
        missing = span - mean.sum(1, keepdim=True)
        start = mean + missing * _shares(self.blind if blind else influence * self.reacts)
        # The solve has seen a slope of all features that react. Of those that had none here, and of those
        # that slopes do not show, the pairs decide.
        unseen = (self.blind > 0) | (self.reacts & (influence == 0))
        most = influence.amax(1, keepdim=True).maximum(missing.abs())
        typical = torch.where(self.blind > 0, most, influence.mean(1, keepdim=True))
        scale = torch.where(unseen, typical, influence)
        spent = near + path + (n_baselines if n_references > 1 else 0)
        n_pairs = (n - spent) // 2 if blind or n_references == 1 else 0
        found = self._corrected(start, scale, n_pairs, baselines)
        more = (self.settings.forwards - n) // 2  # 0 with `max_evals`
        if n_references > 1 and not blind and more > 0:
            on = unseen.any(1).nonzero().squeeze(1)
            if len(on):
                index = self.index[on.cpu()]
                some = replace(self, index=index, reacts=self.reacts[on], blind=self.blind[on])
                found[on] = some._corrected(start[on], scale[on], more, baselines[:, on])
        return Profile(found, torch.where(unseen, found.abs(), influence), found if blind else start)

    def _n_baselines(self, n: int, slopes: bool) -> int:
        """How many references are scored, with n evaluations for that and for what is done with them."""
        return max(1, min(len(self._order), n // (2 if slopes else 4)))

    @property
    def _even(self) -> Tensor:
        """The same share for each feature that the model reacts to, [batch, gates]."""
        return _shares(self.reacts.to(self._full.dtype))

    def _levels(self, n: int) -> Tensor:
        """Evenly spread numbers in (0, 1), [n]."""
        return (torch.arange(n, device="cpu") + 0.5) * _GOLDEN % 1

    def _shown(self, n: int, among: int) -> Tensor:
        """The references of n samples, the first few in turns, long [n]."""
        return self._order[torch.arange(n, device="cpu") % among]

    def _baselines(self, n: int) -> Tensor:
        """Scores of the first n references, [n, batch]; that of a single one is known."""
        if len(self._order) == 1:
            return self.model.anchors.baseline[self._on].unsqueeze(0)
        closed = torch.zeros(n, *self.reacts.shape, device=self.reacts.device, dtype=self.model.dtype)
        return self.model.scores(closed, self._shown(n, n), self.model.named(self.index))

    def _uniform(self, n: int) -> Tensor:
        """Noise of each gate, [n, 1 or batch, gates]."""
        groups = self.model.groups
        drawn = torch.rand(groups.n_gates, n, generator=self._generator, device="cpu", dtype=torch.float32).T
        noise = groups.noise(drawn.unsqueeze(1).to(groups.exists.device))
        return noise if noise.shape[1] == 1 else noise[:, self._on]

    def _slopes(self, gates: Tensor, among: int) -> tuple[Tensor, Tensor]:
        """Mean and mean size of the slopes at gate values [samples, 1 or batch, 1 or gates]."""
        references = self._shown(len(gates), among)
        model, total, size = self.model, torch.zeros_like(self._even), torch.zeros_like(self._even)
        step = max(1, _MOST_NUMBERS // self.reacts.numel())
        for i in range(0, len(gates), step):
            some = gates[i : i + step].to(self.reacts.device, model.dtype)
            some = some.expand(-1, *self.reacts.shape)
            _, slopes = model.score_slopes(some, references[i : i + step], self.index)
            total, size = total + slopes.sum(0), size + slopes.abs().sum(0)
        return total / len(gates), size / len(gates)

    def _corrected(self, start: Tensor, scale: Tensor, n_pairs: int, baselines: Tensor) -> Tensor:
        """Contributions corrected by pairs of sets, some examples at a time.

        Of few features all sets cost no more than the pairs would, and give the Shapley values themselves.
        """
        if not n_pairs:
            return start
        found, counts = start.clone(), self.reacts.sum(1).cpu()
        every = torch.tensor([n_every_pair(n) for n in counts.tolist()], device="cpu") * len(baselines)
        for n in sorted(set(counts[every <= n_pairs].tolist())):
            for rows in self._parts((counts == n).nonzero().squeeze(1), n_every_pair(n) * len(baselines)):
                found[rows.to(found.device)] = self._enumerated(rows, baselines)
        if bool((every <= n_pairs).all()):
            return found
        noise, level = self._uniform(n_pairs), self._levels(n_pairs)
        effects = ReferenceEffects.of(
            self.model.blend, self._order[: len(baselines)], self.settings.thresholds
        )
        columns = 0 if effects is None else len(effects.gate)
        for rows in self._parts((every > n_pairs).nonzero().squeeze(1), n_pairs, columns):
            found[rows.to(found.device)] = self._corrected_rows(
                rows, start, scale, noise, level, baselines, effects
            )
        return found

    def _parts(self, rows: Tensor, n_pairs: int, columns: int = 0) -> tuple[Tensor, ...]:
        """Examples, long [examples], in parts whose pairs fit in memory."""
        numbers = max(1, n_pairs) * max(self.reacts.shape[1], columns)
        return torch.split(rows, max(1, _MOST_NUMBERS // numbers))

    def _difference(self, gates: Tensor, others: Tensor, n_baselines: int, rows: Tensor) -> Tensor:
        """Scores of sets less those of the others, each pair with the next reference, [pairs, rows]."""
        examples, shown = self.model.named(self.index[rows]), self._shown(len(gates), n_baselines)
        return self.model.scores(gates, shown, examples) - self.model.scores(others, shown, examples)

    def _enumerated(self, rows: Tensor, baselines: Tensor) -> Tensor:
        """Shapley values of examples, long [examples], with equally many features, mean over references."""
        model, on = self.model, rows.to(self.reacts.device)
        reacts, n = self.reacts[on], len(baselines)
        pairs = every_pair(reacts).repeat_interleave(n, 0)  # each with every reference
        if not len(pairs):
            return (self._full - baselines.mean(0))[on].unsqueeze(1) * reacts
        gates, others = pairs.to(model.dtype), (reacts & ~pairs).to(model.dtype)
        difference = self._difference(gates, others, n, rows)
        mean = difference.reshape(-1, n, len(rows)).mean(1)
        return shapley_values(reacts, pairs[::n], mean, (self._full - baselines.mean(0))[on])

    def _corrected_rows(
        self,
        rows: Tensor,
        start: Tensor,
        scale: Tensor,
        noise: Tensor,
        level: Tensor,
        baselines: Tensor,
        effects: ReferenceEffects | None,
    ) -> Tensor:
        """The same of some examples, long [examples]."""
        model, on, n_pairs = self.model, rows.to(start.device), len(level)
        reacts, baselines = self.reacts[on], baselines[:, on]
        pairs = coalitions(noise if noise.shape[1] == 1 else noise[:, on], reacts, level)
        gates, others = pairs.to(model.dtype), (reacts & ~pairs).to(model.dtype)
        difference = self._difference(gates, others, len(baselines), rows)
        # a reference whose own score differs from the mean moves all contributions together
        which = torch.arange(n_pairs, device="cpu") % len(baselines)
        off = (baselines - baselines.mean(0))[which]
        balance = (gates - others).sum(2) / reacts.sum(1).clamp_min(1)
        of_pairs = None if effects is None else effects.shown(which)
        return adjusted(start[on], scale[on] * reacts, pairs, difference + off * balance, of_pairs)


def _shares(values: Tensor) -> Tensor:
    """Values over their sum, [batch, gates]; 0 where that is 0."""
    total = values.sum(1, keepdim=True)
    return values / torch.where(total > 0, total, 1.0)
