"""The explained rows of a run or of an explanation: what a report reads, and no tensor of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_attr.errors import ArgumentError
from stg_attr.explanation import Explanation
from stg_attr.scale.explaining import FAILED
from stg_attr.scale.results import finished_tables, no_shard

from .statistics import Array

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Explained"]

_NO_CLAIM = -1  # in `certified`, beside 0 and 1


@dataclass(frozen=True, eq=False)
class Explained:
    """The rows of a run or of an explanation, with the same features in every row.

    Attributes:
        ids: of the rows.
        status: name of each, `FAILED` for rows without an explanation.
        message: of each row; empty for none.
        feature_ids: of the features, [features].
        names: of the features.
        selected: the features reported as needed, bool [rows, features].
        certified: 1 where the claim was tested and holds, 0 where it does not, -1 where nothing is claimed.
        mean: share of the score that is kept on average over fresh references, [rows]; NaN where unknown.
        target: the explained output of each row; empty where the model returns one number.
        full: score of each row, [rows].
        baseline: score of its baseline, [rows].
        contributions: what each feature adds to the score, [rows, features]; NaN where it was not measured.
        evaluations: of the model, [rows].
        seeds: of the noise, without repetition.
    """

    ids: tuple[int | str | None, ...]
    status: Array
    message: tuple[str, ...]
    feature_ids: tuple[int, ...]
    names: tuple[str, ...]
    selected: Array
    certified: Array
    mean: Array
    target: tuple[str, ...]
    full: Array
    baseline: Array
    contributions: Array
    evaluations: Array
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def failed(self) -> Array:
        """Rows without an explanation, bool [rows]."""
        failed: Array = self.status == FAILED
        return failed

    @cached_property
    def has_claim(self) -> bool:
        """Whether something was claimed, of any row."""
        return bool((self.certified != _NO_CLAIM).any())

    @cached_property
    def basis(self) -> Array:
        """The rows whose sets are counted: certified ones, or all explained ones where nothing is claimed."""
        return (self.certified == 1) if self.has_claim else ~self.failed

    @cached_property
    def sizes(self) -> Array:
        """Number of selected features, [rows]."""
        sizes: Array = self.selected.sum(1)
        return sizes

    def names_of(self, row: int) -> list[str]:
        """The selected features of a row."""
        return [name for name, chosen in zip(self.names, self.selected[row], strict=True) if chosen]

    @classmethod
    def of(cls, results: str | Path | Explanation) -> Explained:
        """Read the folder of a run, one shard at a time, or an explanation.

        Raises:
            ArgumentError: there is nothing to read, or rows have different features.
        """
        if isinstance(results, Explanation):
            return _of_explanation(results)
        parts = [_Part.of(table) for table in finished_tables(results)]
        if not parts:
            raise no_shard(results)
        return _joined(parts)


@dataclass(frozen=True, eq=False)
class _Part:
    """One shard: its columns, of which those of features are [rows, features], and its features."""

    columns: Mapping[str, Any]
    features: tuple[tuple[int, ...], tuple[str, ...]] | None
    seeds: frozenset[int]

    @classmethod
    def of(cls, table: pa.Table) -> _Part:
        import pyarrow.compute as pc

        there = pc.is_valid(table["feature_ids"]).to_numpy()
        features = _features(table, there)
        width = 0 if features is None else len(features[0])
        claimed = table["certified"].to_numpy(zero_copy_only=False) if _has(table, "certified") else None
        n = len(table)
        found: dict[str, Any] = {
            "ids": table["id"].to_pylist(),
            "status": table["status"].to_numpy(zero_copy_only=False).astype(str),
            "message": [text or "" for text in table["message"].to_pylist()],
            "selected": _wide(table, "selected", there, width, False),
            "contributions": _wide(table, "contributions", there, width, np.nan),
            "certified": np.array([_claimed(x) for x in claimed] if claimed is not None else [_NO_CLAIM] * n),
            "target": [_target(t) for t in table["target"].to_pylist()],
            "evaluations": table["evaluations"].fill_null(0).to_numpy(),
        }
        for name, of in (("mean", "certified_mean"), ("full", "full"), ("baseline", "baseline")):
            known = _has(table, of)
            found[name] = table[of].to_numpy(zero_copy_only=False) if known else np.full(n, np.nan)
            found[name] = found[name].astype(np.float64)
        seeds = frozenset(seed for seed in table["seed"].to_pylist() if seed is not None)
        return cls(found, features, seeds)


def _has(table: pa.Table, name: str) -> bool:
    return name in table.column_names


def _claimed(value: bool | None) -> int:
    return _NO_CLAIM if value is None else int(value)


def _target(indices: Sequence[int] | None) -> str:
    return ", ".join(map(str, indices or ()))


def _features(table: pa.Table, there: Array) -> tuple[tuple[int, ...], tuple[str, ...]] | None:
    """Ids and names of the features of a shard; None where no row was explained.

    Raises:
        ArgumentError: rows have different features.
    """
    rows = table["feature_ids"].filter(there)
    if not len(rows):
        return None
    ids = rows[0].as_py()
    every = rows.combine_chunks().flatten().to_numpy()
    if every.size != len(rows) * len(ids) or not bool((every.reshape(len(rows), -1) == ids).all()):
        raise _different()
    names = table["feature_names"].filter(there)[0].as_py() if _has(table, "feature_names") else None
    return tuple(ids), tuple(names or (f"feature {i}" for i in ids))


def _different() -> ArgumentError:
    return ArgumentError(
        "results",
        expected="rows that all have the same features",
        found="rows with different features, as superpixels make them",
        mend="Report on tables, or on one feature_mask for all rows.",
    )


def _wide(table: pa.Table, name: str, there: Array, width: int, filler: Any) -> Array:
    """A column of lists as [rows, features]; the filler where a row has no list."""
    import pyarrow.compute as pc

    wide = np.full((len(table), width), filler, dtype=bool if filler is False else np.float32)
    if not _has(table, name):
        return wide
    known = pc.is_valid(table[name]).to_numpy() & there
    values = table[name].filter(known).combine_chunks().flatten().to_numpy(zero_copy_only=False)
    wide[known] = values.reshape(-1, width)
    return wide


def _joined(parts: Sequence[_Part]) -> Explained:
    known = [part.features for part in parts if part.features is not None]
    if len(set(known)) > 1:
        raise _different()
    ids, names = known[0] if known else ((), ())
    width = len(ids)

    def every(name: str) -> Any:
        return [value for part in parts for value in part.columns[name]]

    def stacked(name: str) -> Array:
        arrays = [part.columns[name] for part in parts]
        blank = False if name == "selected" else np.nan
        wide = name in ("selected", "contributions")
        fitting = [_widened(a, width, blank) if wide else a for a in arrays]
        return np.concatenate(fitting)

    arrays = ("status", "selected", "certified", "mean", "full", "baseline", "contributions", "evaluations")
    return Explained(
        ids=tuple(every("ids")),
        message=tuple(every("message")),
        target=tuple(every("target")),
        feature_ids=ids,
        names=names,
        seeds=tuple(sorted(frozenset().union(*(part.seeds for part in parts)))),
        **{name: stacked(name) for name in arrays},
    )


def _widened(values: Array, width: int, blank: Any) -> Array:
    """A shard of which every row failed has no features: all of them are blank."""
    same = values.shape[1] == width
    return values if same else np.full((len(values), width), blank, dtype=values.dtype)


def _of_explanation(found: Explanation) -> Explained:
    ids = found.feature_ids[0]
    if not bool((found.feature_ids == ids).all()) or bool((ids < 0).any()):
        raise _different()
    n, certificate = len(found), found.certificate
    unknown = np.full(n, np.nan)
    names = found.feature_names or tuple(f"feature {i}" for i in ids.tolist())
    contributions = np.full(tuple(found.selected.shape), np.nan, dtype=np.float32)
    if found.contributions is not None:
        contributions = found.contributions.cpu().float().numpy()
    claimed, mean = np.full(n, _NO_CLAIM), unknown
    if certificate is not None:
        claimed, mean = certificate.holds.cpu().long().numpy(), certificate.mean.cpu().double().numpy()
    return Explained(
        ids=tuple(range(n)),
        status=np.array([status.name for status in found.status]),
        message=("",) * n,
        feature_ids=tuple(ids.tolist()),
        names=tuple(names),
        selected=found.selected.cpu().numpy(),
        certified=claimed,
        mean=mean,
        target=tuple(_target(None if found.target is None else found.target[i].tolist()) for i in range(n)),
        full=found.scores.full.cpu().double().numpy(),
        baseline=found.scores.baseline.cpu().double().numpy(),
        contributions=contributions,
        evaluations=found.n_evaluations.cpu().numpy(),
        seeds=(found.seed,),
    )
