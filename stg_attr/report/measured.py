"""What a report measures on the model itself: coverage, stability, and the features of the population."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stg_attr.amortized import AmortizedStochasticGates
from stg_attr.amortized.rows import Ask
from stg_attr.attribution import StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.explanation import Explanation, Restarts
from stg_attr.model import Allowance, GatedModel, undisturbed
from stg_attr.scale.explaining import as_row_references
from stg_attr.scale.tables import is_table
from stg_attr.scale.worker import Make, input_dtype, load_explainer
from stg_attr.select import OnMost

from .cohorts import share_of
from .explained import Explained
from .given import Given
from .settings import ReportSettings
from .statistics import Array, mean_interval

__all__ = ["Live"]

_TOGETHER = 64  # rows that are explained in one call


@dataclass(frozen=True, eq=False)
class Live:
    """The explainer of the rows, which can be asked again.

    Attributes:
        explainer: what explained the rows.
        explained: the rows.
        given: the data.
        arguments: of `explain`, as in the run.
        settings: how much is measured.
    """

    explainer: StochasticGates | AmortizedStochasticGates
    explained: Explained
    given: Given
    arguments: Mapping[str, Any]
    settings: ReportSettings

    @classmethod
    def of(
        cls,
        make: Make,
        explained: Explained,
        given: Given,
        arguments: Mapping[str, Any],
        settings: ReportSettings,
    ) -> Live:
        """Load the explainer.

        Raises:
            ArgumentError: it is for gates on a layer.
        """
        explainer = load_explainer(make)
        method = explainer.method if isinstance(explainer, AmortizedStochasticGates) else explainer
        if type(method) is not StochasticGates:
            raise ArgumentError(
                "explainer",
                expected="StochasticGates, or AmortizedStochasticGates of such",
                found=type(method).__name__,
                mend="Leave it out: the report then says what was not measured.",
            )
        return cls(explainer, explained, given, arguments, settings)

    @property
    def method(self) -> StochasticGates:
        """The explainer of single rows."""
        found = self.explainer
        return found.method if isinstance(found, AmortizedStochasticGates) else found

    @property
    def baselines(self) -> Any:
        """What removed features show; several rows of a tensor as references."""
        return as_row_references(self.arguments.get("baselines"))

    def drawn(self, among: Array) -> Array:
        """Some rows at random, long [rows], in their order.

        Args:
            among: the rows that can be drawn, bool [rows].
        """
        rows = np.flatnonzero(among)
        generator = torch.Generator().manual_seed(self.settings.seed)
        order = torch.randperm(len(rows), generator=generator, device="cpu").numpy()
        return np.sort(rows[order[: self.settings.sample]])

    def rows(self, index: Array) -> Any:
        """What the model gets for some rows."""
        as_table = is_table(self.arguments.get("baselines"))
        return self.given.rows(index, as_table, None if as_table else input_dtype(self.explainer))

    def targets(self, index: Array) -> list[int] | list[tuple[int, ...]] | None:
        """The outputs that were explained; None where the model returns one number for a row."""
        found = [
            tuple(map(int, self.explained.target[i].split(", "))) for i in index if self.explained.target[i]
        ]
        if len(found) < len(index):
            return None
        return [one[0] for one in found] if all(len(one) == 1 for one in found) else found

    def explain(self, index: Array, rows: Any, seed: int, alone: bool = False) -> Explanation:
        """Explain some rows again, with the targets that they had.

        Args:
            index: numbers of the rows, long [rows].
            rows: what the model gets for them.
            seed: of the noise.
            alone: solve each row, without a net that proposes gates.
        """
        explainer = self.method if alone else self.explainer
        accepted = inspect.signature(explainer.explain).parameters
        arguments = {name: value for name, value in self.arguments.items() if name in accepted}
        arguments |= {"baselines": self.baselines, "seed": seed}
        mask, parts = arguments.get("feature_mask"), []
        for first in range(0, len(index), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            part = _cut(rows, some)
            if callable(mask):
                arguments["feature_mask"] = mask(part)
            arguments["target"] = self.targets(index[some])
            found = explainer.explain(part, **arguments)
            parts.append(replace(found, question=None, columns=None))
        return Explanation.joined(parts)

    def coverage(self, fresh: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """How often a certified claim is true on reference rows that nothing has seen.

        Args:
            fresh: reference rows, a tensor or a DataFrame.

        Returns:
            The section, and the columns of its rows.
        """
        index = self.drawn(self.explained.certified == 1)
        if not len(index):
            return {"measured": False, "why": "No row is certified."}, {}
        claim = self.method.sparsity.claim
        fresh = _cut(fresh, slice(0, self.settings.fresh))
        rows, kept, often = self.rows(index), [], []
        for first in range(0, len(index), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            found = self._kept(index[some], _cut(rows, some), fresh)
            kept.append(found[0])
            often.append(found[1])
        share, fraction = torch.cat(kept).numpy(), torch.cat(often).numpy()
        most = isinstance(claim, OnMost)
        true = fraction >= claim.share if isinstance(claim, OnMost) else share >= self.method.sparsity.retain
        section = {
            "measured": True,
            "references": len(fresh),
            "true": share_of(int(true.sum()), len(true), self.settings.confidence),
            # no mean: shares are large in rows that have little to explain
            "kept": {"median": float(np.median(share)), "low": float(np.quantile(share, 0.05))},
        }
        ids, status = [self.explained.ids[i] for i in index], self.explained.status[index].tolist()
        columns: dict[str, Any] = {"id": ids, "status": status, "kept": share, "claim_is_true": true}
        return section, columns | ({"references_that_keep": fraction} if most else {})

    def _kept(self, index: Array, rows: Any, fresh: Any) -> tuple[Tensor, Tensor]:
        """What sets keep on average over fresh references, and with which share of them, both [rows]."""
        method, given = self.method, self.arguments
        ask = Ask(
            method, as_row_references(fresh), self.targets(index), given.get("additional_forward_args"),
            given.get("feature_mask"), None,
        )  # fmt: skip
        given_rows = ask.of(rows)
        asked = given_rows.asked
        device, claim = method.solve_device(asked.first_input), method.sparsity.claim
        selected = torch.from_numpy(self.explained.selected[index]).to(device)
        with undisturbed(asked.forward, device, self.settings.seed) as forward:
            again = replace(given_rows, asked=replace(asked, forward=forward))
            model = again.model(len(fresh), device)
            _check_features(model, self.explained)
            keeps = model.objective.keeps
            everyone, shown = torch.arange(len(index), device="cpu"), model.reference_order
            sets = selected if keeps else ~selected
            scores = model.outcomes(sets, everyone, shown, False, Allowance())
            share = model.objective.fidelity.achieved(scores, model.anchors, keeps)
            often = share >= method.sparsity.retain
            if isinstance(claim, OnMost) and claim.same_class:
                often = model.outcomes(sets, everyone, shown, True, Allowance()) > 0
        return share.mean(0).cpu().double(), often.double().mean(0).cpu()

    def stability(self) -> tuple[dict[str, Any], dict[str, Any], Explanation, Array]:
        """How far the sets of some rows agree between seeds, and under small noise.

        Returns:
            The section, the columns of its rows, the explanation with the first seed, and its rows.
        """
        index, settings = self.drawn(~self.explained.failed), self.settings
        rows = self.rows(index)
        first_seed = int(self.arguments.get("seed", 0))
        runs = [self.explain(index, rows, first_seed + i) for i in range(settings.n_seeds)]
        over_seeds = _agreement(runs)
        ids = [self.explained.ids[i] for i in index]
        section = {
            "measured": True,
            "rows": len(index),
            "seeds": [first_seed + i for i in range(settings.n_seeds)],
            "over_seeds": self._overlap(over_seeds),
            "noise": settings.noise,
            "under_noise": None,
        }
        columns: dict[str, Any] = {"id": ids, "overlap_of_seeds": over_seeds}
        noisy = _noisy(rows, settings)
        if noisy is not None:
            under_noise = _agreement([runs[0], self.explain(index, noisy, first_seed)])
            section["under_noise"] = self._overlap(under_noise)
            columns["overlap_under_noise"] = under_noise
        return section, columns, runs[0], index

    def _overlap(self, overlap: Array) -> dict[str, Any]:
        mean, low, high = mean_interval(overlap, self.settings.confidence)
        same = share_of(int((overlap == 1).sum()), len(overlap), self.settings.confidence)
        return {"mean": mean, "low": low, "high": high, "same": same}

    def signed(self, found: Explanation, index: Array) -> Explanation | None:
        """An explanation of the same rows with contributions; None where there is none."""
        known = found.contributions
        if isinstance(self.explainer, AmortizedStochasticGates) or known is None:
            found = self.explain(index, self.rows(index), int(self.arguments.get("seed", 0)), alone=True)
        return None if found.contributions is None else found


def _cut(rows: Any, some: slice) -> Any:
    return rows.iloc[some] if hasattr(rows, "iloc") else rows[some]


def _agreement(runs: list[Explanation]) -> Array:
    """Mean overlap of the sets of each row, [rows]."""
    agreement: Array = Restarts(torch.stack([run.selected.cpu() for run in runs])).agreement.numpy()
    return agreement


def _noisy(rows: Any, settings: ReportSettings) -> Any:
    """Rows with normal noise in their columns of measured numbers; None where there is no such column.

    Columns of few values, such as flags, stay: a small change of a flag is no row that there could be.
    """
    drawn = np.random.default_rng(settings.seed)
    if isinstance(rows, Tensor):
        if not rows.is_floating_point():
            return None
        flat = rows.detach().cpu().double().numpy().reshape(len(rows), -1)
        noise = np.stack([_noise(flat[:, i], drawn, settings) for i in range(flat.shape[1])], 1)
        return rows + torch.from_numpy(noise).reshape(rows.shape).to(rows) if noise.any() else None
    if not hasattr(rows, "assign"):
        return None
    changed = {
        name: rows[name] + _noise(rows[name].to_numpy(np.float64, na_value=np.nan), drawn, settings)
        for name in rows.columns
        if getattr(rows[name].dtype, "kind", "") == "f"
    }
    return rows.assign(**changed) if changed else None


def _noise(values: Array, drawn: np.random.Generator, settings: ReportSettings) -> Array:
    known = values[np.isfinite(values)]
    size = settings.noise * known.std() if len(np.unique(known)) > settings.values else 0.0
    return size * drawn.normal(size=len(values))


def _check_features(model: GatedModel, explained: Explained) -> None:
    ids = model.groups.feature_ids
    if ids.shape[-1] == len(explained.feature_ids) and ids.reshape(-1, ids.shape[-1])[0].tolist() == list(
        explained.feature_ids
    ):
        return
    raise ArgumentError(
        "feature_mask",
        expected=f"the features that were explained: {len(explained.feature_ids)}",
        found=f"{ids.shape[-1]} features, or other ids",
        mend="Pass the arguments of the run: baselines, feature_mask, feature_names, ...",
    )
