"""The score function: a gradient of an expected loss from values of the loss alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stg_attr.batch import Batch, per_example
from stg_attr.gates import Bernoulli, GateDistribution

from .estimators import Estimate, Estimator, LossFunction
from .noise import partners

__all__ = ["ControlVariate", "ScoreFunction"]


@dataclass(frozen=True)
class ScoreFunction(Estimator):
    r"""The score-function gradient, for models without gradients: it needs only values of the loss.

        dE[L]/da = E[ (L(z) - c(z)) (z - p) ] + p (1 - p) b,   c(z) = sum_j w_j m^j + b.(z - p)

    Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning (Williams,
    1992), https://doi.org/10.1007/BF00992696. The control variate c predicts the loss of a sample from its
    mean active probability m, by a cubic polynomial, and from its gate values, by a slope b for each gate.
    Its coefficients are fitted by least squares to the samples of earlier steps. From the residual of a
    sample, the mean residual of the other samples of the step is subtracted (Buy 4 REINFORCE Samples, Get a
    Baseline for Free!, Kool, van Hoof, Welling, 2019, https://openreview.net/forum?id=r1lgTGL5DE). Its
    antithetic partner, which has the same noise, is left out of this mean. So nothing that is subtracted from
    the loss of a sample depends on this sample, and the estimate is unbiased.

    With more than `most_slopes` gates, b is the mean of the slopes that earlier steps found, times a fitted
    factor.

    Gate values are 0 or 1: the model sees each feature either as it is or as the baseline.

    Args:
        n_powers: number of powers of the mean active probability in the control variate; 4 for a cubic.
        most_slopes: up to this number of gates, a slope is fitted for each. The cost grows with the square of
            their number.
        ridge: added to the diagonal of the normal equations for each power.
        least_ridge: smallest number on this diagonal for slopes, so that the equations can be solved where
            gates are always open or always closed.
        least_variance: the slope of a gate is divided by its variance, or by this number if that is smaller.
        most_fitted: numbers in the normal equations of all examples that are solved together, at most. More
            examples are solved one part after the other.

    Example:
        >>> from stg_attr import StochasticGates
        >>> black_box = lambda x: [float(row[0] > 0 and row[1] > 0) for row in x]
        >>> stg = StochasticGates(black_box, estimator=ScoreFunction())
        >>> (stg.attribute(torch.tensor([[1.0, 1.0, 1.0]])) > 0.5).tolist()
        [[True, True, False]]
    """

    n_powers: int = 4
    most_slopes: int = 256
    ridge: float = 1e-3
    least_ridge: float = 1e-9
    least_variance: float = 0.02
    most_fitted: int = 2**22

    @property
    def gates(self) -> GateDistribution:
        return Bernoulli()

    def fits(self, gates: GateDistribution) -> bool:
        return isinstance(gates, Bernoulli)

    def most_together(self, n_gates: int) -> int | None:
        return max(1, self.most_fitted // self._n_terms(n_gates) ** 2)

    def _n_terms(self, n_gates: int) -> int:
        """Number of terms that are fitted for an example."""
        return self.n_powers + (n_gates if n_gates <= self.most_slopes else 1)

    def begin(self, exists: Tensor) -> ControlVariate:
        n_terms = self._n_terms(exists.shape[1])
        zeros = torch.zeros(1, n_terms, dtype=torch.float64, device=exists.device)
        slopes = torch.zeros_like(exists, dtype=zeros.dtype)
        return ControlVariate(self, exists, slopes, torch.diag_embed(zeros), zeros)

    def estimate(
        self, gates: GateDistribution, parameter: Tensor, uniform: Tensor, loss_of: LossFunction
    ) -> Estimate:
        state = self.begin(torch.ones_like(parameter[0], dtype=torch.bool))
        return state.estimate(gates, parameter, uniform, loss_of)


@dataclass
class ControlVariate(Batch):
    """The state of the estimator during one solve: what its control variate is fitted from.

    Attributes:
        settings: the estimator.
        exists: which gates there are, bool [1 or batch, gates].
        slopes: mean of the slopes that the steps found, [1 or batch, gates].
        gram: sum of the outer products of the terms of c over samples, [1 or batch, terms, terms].
        moment: sum of the terms of c times the loss over samples, [1 or batch, terms].
        n_steps: steps so far.
    """

    settings: ScoreFunction
    exists: Tensor = field(metadata=per_example(shared=True))
    slopes: Tensor = field(metadata=per_example(shared=True))
    gram: Tensor = field(metadata=per_example(shared=True))
    moment: Tensor = field(metadata=per_example(shared=True))
    n_steps: int = 0
    samples_alone = False

    @torch.no_grad()
    def estimate(
        self, gates: GateDistribution, parameter: Tensor, uniform: Tensor, loss_of: LossFunction
    ) -> Estimate:
        """One estimate from every sample; see `Estimator.estimate`."""
        probability = gates.active_probability(parameter)
        z = gates.sample(parameter, uniform)
        loss = loss_of(z)
        gradient, found = self.learned(probability, z, loss)
        return Estimate(gradient, found.expand_as(gradient), loss)

    def learned(self, probability: Tensor, z: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient from every sample, with respect to the log-odds of each gate, and the mean slopes.

        Args:
            probability: of each gate in each sample, [samples, batch, gates].
            z: gate values, [samples, batch, gates].
            loss: [samples, batch].
        """
        valid = loss.isfinite()  # samples for which the model returns NaN or inf are left out
        score = (z - probability) * self.exists * valid.unsqueeze(2)
        variance = probability * (1 - probability) * self.exists
        left, slopes = self._fitted(self._powers(probability, valid), score, variance, loss.where(valid, 0.0))
        # slopes * variance is the expectation of what the slopes of the control variate took away
        gradient = (left.unsqueeze(2) * score + slopes * variance) * valid.unsqueeze(2)
        # dp/da is the variance p (1 - p), so this is the slope in the gate's value
        found = gradient.mean(0) / variance.mean(0).clamp_min(self.settings.least_variance)
        self.n_steps += 1
        self.slopes = self.slopes + (found - self.slopes) / self.n_steps
        return gradient, found

    def _powers(self, probability: Tensor, valid: Tensor) -> Tensor:
        """Powers of the mean active probability of each sample, [samples, batch, powers]."""
        mean = (probability * self.exists).sum(2, keepdim=True) / self.exists.sum(1, keepdim=True)
        return mean ** torch.arange(self.settings.n_powers, device=mean.device) * valid.unsqueeze(2)

    def _fitted(self, powers: Tensor, score: Tensor, variance: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Fit the control variate to earlier steps, then add this step's samples.

        Rows of samples with a non-finite loss must be 0.

        Returns:
            Residuals of the losses, [samples, batch], and the slopes b, [batch, gates].
        """
        # With more gates than `most_slopes`, all slopes together are one term: known slopes times a factor.
        dtype, n_powers, settings = score.dtype, self.settings.n_powers, self.settings
        own = self.moment.shape[1] > n_powers + 1 or score.shape[2] == 1  # a slope is fitted for each gate
        steps = score if own else (score * self.slopes).sum(2, keepdim=True)
        spread = variance if own else (variance * self.slopes.square()).sum(2, keepdim=True)
        # The ridge acts like samples that show no effect: as many as there are gates, or one for the factor.
        prior = self.exists.sum(1, keepdim=True) if own else 1
        # double precision, since the normal equations square the condition number
        terms, loss = torch.cat([powers, steps], 2).double(), loss.double()
        ridge = torch.cat([torch.full_like(powers[0], settings.ridge), prior * spread.mean(0)], 1).double()
        gram = self.gram + torch.diag_embed(ridge.clamp_min(settings.least_ridge))
        # Solved before the samples of this step are added: they must not influence their own control variate.
        weights = torch.linalg.solve(gram, self.moment.expand_as(ridge))
        self.gram = self.gram + torch.einsum("sbi,sbj->bij", terms, terms)
        self.moment = self.moment + torch.einsum("sbi,sb->bi", terms, loss)
        left = loss - (terms * weights).sum(2)
        # minus the mean residual of the other samples, without the partner
        left = left - (left.sum(0) - partners(left)) / max(1, len(left) - 2)
        followed = weights[:, n_powers:] * (1.0 if own else self.slopes)
        return left.to(dtype), followed.to(dtype)
