"""Records: the parts of an explanation, and what a search for several sets returns."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import nan
from statistics import NormalDist

import torch
from torch import Tensor

from stg_attr.batch import AsText, Batch, Holds, by_name, per_example
from stg_attr.errors import check_share
from stg_attr.select import Claim, OnAverage, OnMost

__all__ = [
    "Certificate",
    "Curve",
    "Restarts",
    "Scores",
    "Status",
    "SufficientSets",
    "counted",
    "telling_share",
]

_EACH = Holds(("batch",), may_be_nan=True)
_POINTS = Holds(("batch", "points"), may_be_nan=True)

CLAIM = by_name(
    "claim",
    (OnAverage, OnMost),
    "Save the tensors of the certificate with torch.save, or claim one of these.",
)


_SHARES = (-0.005, 1.5)  # what shares of a score are said in percent: others, small differences blow up


def telling_share(share: float) -> bool:
    """Whether a share of a score says more in percent than the scores themselves do."""
    return _SHARES[0] <= share <= _SHARES[1]


def counted(n: int, what: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"1 {what}" if n == 1 else f"{n} {what}s"


class Status(enum.Enum):
    """How far an example's explanation can be trusted; the value is the sentence that says so."""

    CONVERGED = "Converged: the selected features did not change in the last third of the steps."
    PROPOSED = "Proposed: a net chose the features, and they were measured on the model. No solve was run."
    NOT_SUFFICIENT = (
        "Not sufficient: the selected features keep less of the score than was asked for. A model has no "
        "slopes where it rounds, compares or looks up ids: use estimator=ScoreFunction() there."
    )
    UNSEEN = (
        "Not settled: the model has no slopes in some features, and there were too few steps or evaluations "
        "to learn which of them matter; raise n_steps or max_evals, or use estimator=ScoreFunction()."
    )
    NOT_CONVERGED = "Not converged: the selected features still changed in the last third; raise n_steps."
    NOT_REPRODUCIBLE = (
        "Not reproducible: the same row got another score when it was measured again. The score depends on "
        "chance, on earlier calls or on other rows: call model.eval(), take out noise, and normalise each "
        "row by itself."
    )
    NOTHING_TO_EXPLAIN = "Nothing to explain: the baseline scores the same as the input; choose another one."
    SMALL_DIFFERENCE = (
        "Small difference: input and baseline score nearly the same, compared with masked inputs; choose "
        "another baseline."
    )
    BASELINE_HIGHER = "Score below the baseline: what is explained is what lowers it."
    REFERENCE_DEPENDENT = (
        "Depends on the reference: the selected features keep the score on average, but nothing of it with "
        "some reference; a fixed baseline, or Preserve(OutputMatch()), asks a clearer question."
    )
    NOT_FINITE = "Not finite: the model returned NaN or inf for some blended inputs, which were left out."
    FAILED = "Failed: the model raised an error before the end; this is what was learned until then."
    INTERRUPTED = (
        "Interrupted before the end: this is what was learned until then; nothing was measured after it."
    )

    @property
    def doubtful(self) -> bool:
        """Whether the explanation must be read with care, or not at all."""
        return self not in (Status.CONVERGED, Status.PROPOSED, Status.BASELINE_HIGHER)

    @property
    def tells_shares(self) -> bool:
        """Whether a share of the difference between the scores of input and baseline says anything."""
        return self not in (Status.NOTHING_TO_EXPLAIN, Status.SMALL_DIFFERENCE)

    @property
    def short(self) -> str:
        """The words before the colon, for titles."""
        return str(self.value).split(":")[0]


@dataclass(frozen=True)
class Scores(Batch):
    """Measured scores of each example, all [batch], in the units of the model's output.

    Attributes:
        full: of the input, s(x).
        baseline: of the baseline, or the mean over references, s(b).
        kept: with only the selected features shown.
        removed: with the selected features hidden.
    """

    full: Tensor = field(metadata=per_example(blank=nan, holds=Holds(("batch",))))
    baseline: Tensor = field(metadata=per_example(blank=nan, holds=Holds(("batch",))))
    kept: Tensor = field(metadata=per_example(blank=nan, holds=Holds(("batch",), may_be_nan=True)))
    removed: Tensor = field(metadata=per_example(blank=nan, holds=Holds(("batch",), may_be_nan=True)))


@dataclass(frozen=True)
class Curve(Batch):
    """The measured budget curve: scores when only the top k features are kept, and when they are removed.

    Attributes:
        n_open: k, ascending, long [batch, points].
        kept: score of what is kept (insertion), [batch, points].
        removed: score of what is left (deletion), [batch, points].
        retained: share of the output that the top k keep (with `Delete`: take away), as the objective reads
            it, [batch, points].
    """

    n_open: Tensor = field(metadata=per_example(holds=Holds(("batch", "points"), int)))
    kept: Tensor = field(metadata=per_example(blank=nan, holds=_POINTS))
    removed: Tensor = field(metadata=per_example(blank=nan, holds=_POINTS))
    retained: Tensor = field(metadata=per_example(blank=nan, holds=_POINTS))

    def smallest(self, retain: float) -> Tensor:
        """The first point that was measured to keep a share, else the last measured point, long [batch]."""
        enough = (self.retained >= retain) & self.retained.isfinite()
        return torch.where(enough.any(1), enough.long().argmax(1), self.largest(self.n_open[:, -1:]))

    def largest(self, most: Tensor) -> Tensor:
        """The last measured point with at most so many features, [batch, 1]; long [batch].

        It is 0, the point without features, where none was measured.
        """
        fits = self.retained.isfinite() & (self.n_open <= most)
        place = torch.arange(fits.shape[1], device=fits.device).expand_as(fits)
        return place.masked_fill(~fits, 0).amax(1)


@dataclass(frozen=True)
class Certificate(Batch):
    """What is certified of the selected features of each example, on references that the search did not use.

    Attributes:
        holds: whether the claim is certified, bool [batch].
        lower: lower confidence bound of what is claimed: of the mean share of the score that is kept, or of
            the share of the references with which it is, [batch]; NaN where nothing was measured.
        mean: its mean over the fresh references, [batch]; NaN where there are none.
        n_references: fresh references that it rests on, long [batch].
        claim: what is claimed, and at which confidence.
        retain: share of the score that the claim is about.
        exact: the references are all there are, as with one fixed baseline: what is measured is no estimate.
    """

    holds: Tensor = field(metadata=per_example(holds=Holds(("batch",), bool)))
    lower: Tensor = field(metadata=per_example(blank=nan, holds=_EACH))
    mean: Tensor = field(metadata=per_example(blank=nan, holds=_EACH))
    n_references: Tensor = field(metadata=per_example(holds=Holds(("batch",), int, low=0)))
    claim: Claim = field(metadata={"as_text": CLAIM})
    retain: float = field(metadata={"as_text": AsText(float, float)})
    exact: bool = field(default=False, metadata={"as_text": AsText(bool, bool)})

    def short(self, example: int = 0) -> str:
        """Two or three words for captions; nothing where what is measured is exact."""
        if self.exact and not bool(self.mean[example].isnan()):
            return ""
        return "certified on fresh rows" if bool(self.holds[example]) else "not certified on fresh rows"

    def sentence(self, example: int = 0, takes: bool = False) -> str:
        """What is certified of an example, or why nothing is; `takes` as for `Claim.sentence`."""
        n, mean = int(self.n_references[example]), float(self.mean[example])
        words, telling = self.claim.sentence(self.retain, takes), telling_share(mean)
        if self.exact and not math.isnan(mean):
            given = "for this baseline" if n == 1 else f"on average over these {n} baselines"
            beyond = "further than the whole input does" if mean > 0 else "away from that of the input"
            verb = "take away" if takes else "keep"
            share = f"{verb} {mean:.0%} of the score" if telling else f"move the score {beyond}"
            return f"{share}, exactly, {given}"
        rows = f"{n} fresh rows" + (f", mean {mean:.0%}" if telling else "")
        if not n:
            rows = "not tested, for want of references or evaluations"
        if n and math.isnan(mean):
            rows = "its scores are not known, or not reproducible"
        if bool(self.holds[example]):
            return f"{words}, at {self.claim.confidence:.0%} confidence ({rows})"
        return f"are not certified to {words} ({rows})"

    def withheld(self, statuses: Sequence[Status]) -> Certificate:
        """The same, without what it says of examples whose scores, or shares of them, mean nothing.

        A small difference makes shares noisy. A test on fresh references allows for that: its claim stays.
        """
        meaningless = {Status.NOT_REPRODUCIBLE} | ({Status.SMALL_DIFFERENCE} if self.exact else set())
        unlike = [status in meaningless for status in statuses]
        rows = torch.tensor(unlike, dtype=torch.bool, device=self.holds.device)
        lower, mean = (value.masked_fill(rows, nan) for value in (self.lower, self.mean))
        return replace(self, holds=self.holds & ~rows, lower=lower, mean=mean)


@dataclass(frozen=True)
class Restarts(Batch):
    """What several solves of the same examples selected, each with noise of its own.

    Attributes:
        selected: bool [restarts, batch, gates]; the first is what the explanation reports.
    """

    selected: Tensor = field(metadata=per_example(axis=1, holds=Holds(("restarts", "batch", "gates"), bool)))

    def __len__(self) -> int:
        return len(self.selected)

    @property
    def frequency(self) -> Tensor:
        """Share of the restarts that selected each feature, [batch, gates]."""
        return self.selected.double().mean(0)

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Wilson's score interval of the frequency over all possible restarts, twice [batch, gates].

            (k + q^2 / 2 -+ q sqrt(k (n - k) / n + q^2 / 4)) / (n + q^2)

        with k of n restarts and q the normal quantile. Probable Inference, the Law of Succession, and
        Statistical Inference (Wilson, 1927), https://doi.org/10.1080/01621459.1927.10502953. It says how far
        the solve's own chance goes; that the model or the data are right, it does not say.

        Args:
            confidence: in (0, 1).

        Raises:
            ArgumentError: the confidence is outside its range.
        """
        check_share("confidence", confidence, one=False, mend="0.95 is usual.")
        n, q = len(self), NormalDist().inv_cdf((1 + confidence) / 2)
        k = self.selected.double().sum(0)
        centre, width = k + q * q / 2, q * (k * (n - k) / n + q * q / 4).sqrt()
        low, high = ((centre + sign * width) / (n + q * q) for sign in (-1, 1))
        return low.clamp(0, 1), high.clamp(0, 1)

    @property
    def agreement(self) -> Tensor:
        """Mean overlap (Jaccard) of the sets that two restarts select, [batch]; 1 for a single restart."""
        pairs = list(combinations(self.selected, 2))
        if not pairs:
            return torch.ones(self.selected.shape[1], dtype=torch.float64, device=self.selected.device)
        return torch.stack([_jaccard(a, b) for a, b in pairs]).mean(0)


def _jaccard(a: Tensor, b: Tensor) -> Tensor:
    """Common members of two sets over all of theirs, [batch]; 1 where both are empty."""
    both, either = (a & b).sum(1).double(), (a | b).sum(1)
    return torch.where(either == 0, 1.0, both / either.clamp_min(1))


@dataclass(frozen=True, eq=False)
class SufficientSets(Batch):
    """Different sets of features that each suffice, and of which none can spare a member.

    What sufficient input subsets makes safe to say: Carter, Mueller, Jain, Gifford, 2019,
    https://arxiv.org/abs/1810.03805. Further sets are searched as in A Theory of Diagnosis from First
    Principles (Reiter, 1987), https://doi.org/10.1016/0004-3702(87)90062-2: each leaves out something that
    an earlier one has.

    Attributes:
        selected: members of each set, bool [sets, batch, gates]; all False where fewer were found.
        kept: score of each set alone (with `Delete`: of all but it), [sets, batch]; NaN where there is none.
        retained: share of the output that it achieves, as the objective reads it, [sets, batch]; or NaN.
        feature_ids: id of each gate, long [batch, gates].
        n_evaluations: rows the model was run on for each example in the search, long [batch].
    """

    selected: Tensor = field(metadata=per_example(axis=1))
    kept: Tensor = field(metadata=per_example(axis=1, blank=nan))
    retained: Tensor = field(metadata=per_example(axis=1, blank=nan))
    feature_ids: Tensor = field(metadata=per_example())
    n_evaluations: Tensor = field(metadata=per_example())

    @property
    def n_sets(self) -> Tensor:
        """Number of sets of each example, long [batch]."""
        return self.selected.any(2).sum(0)

    @property
    def shared(self) -> Tensor:
        """Features that are in every set, bool [batch, gates]."""
        found = self.selected.any(2, keepdim=True)
        return (self.selected | ~found).all(0) & found.any(0)

    def ids(self, example: int = 0) -> list[list[int]]:
        """The feature ids of each set of one example."""
        rows = self.selected[:, example]
        return [self.feature_ids[example][row].tolist() for row in rows if bool(row.any())]

    def __repr__(self) -> str:
        n = self.selected.shape[1]
        shown = range(min(n, 8))
        lines = [f"  {i}: " + (" or ".join(map(str, self.ids(i))) or "none") for i in shown]
        return "\n".join(
            [f"Sufficient sets of {counted(n, 'example')}", *lines, *(["  ..."] if n > 8 else [])]
        )
