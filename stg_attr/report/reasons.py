"""Reason codes: for each row the few features that moved its score most."""

from __future__ import annotations

from dataclasses import dataclass

from stg_attr.errors import ArgumentError, check_count
from stg_attr.explanation import Explanation, texts_of_features, value_texts

__all__ = ["Reason", "reason_codes"]


@dataclass(frozen=True)
class Reason:
    """One feature of one row.

    Attributes:
        row: place of the row in the explanation, from 0.
        rank: 1 for the feature with the largest contribution of the row, in either direction.
        feature: id of the feature in the `feature_mask`.
        name: of the feature as given to `explain`, or its text; "feature 3" where there is neither.
        value: of the row, as text; empty where the feature has no single value, such as a group of pixels.
        contribution: what the feature adds to the score, in the units of the score.
        certified: whether the feature is of a set whose claim was tested and holds.
    """

    row: int
    rank: int
    feature: int
    name: str
    value: str
    contribution: float
    certified: bool

    @property
    def direction(self) -> str:
        """What the feature does to the score: "raises" or "lowers"; see `contribution`."""
        return "raises" if self.contribution > 0 else "lowers"


def reason_codes(explanation: Explanation, n: int = 3) -> list[Reason]:
    """For each row, the selected features with the largest contributions, in either direction.

    Features are those of the `feature_mask` given to `explain`: columns that share an id are one reason. A
    row has fewer than `n` where fewer features were selected, or where contributions are 0 or not known;
    it has none where the solve failed.

    Args:
        explanation: of rows, with contributions.
        n: the most reasons for a row, at least 1.

    Returns:
        The reasons, row by row, the largest contribution first. `pandas.DataFrame(reasons)` is the table.

    Raises:
        ArgumentError: `n` is no count, or the explanation has no contributions.
    """
    check_count("n", n, mend="3 is usual.")
    if explanation.contributions is None:
        raise ArgumentError(
            "explanation",
            expected="contributions of the features",
            found="none",
            mend="Explain the rows with a larger max_evals.",
        )
    known = explanation.selected & (explanation.contributions.nan_to_num() != 0)
    sizes = explanation.contributions.abs().masked_fill(~known, 0.0)
    order = sizes.sort(dim=1, descending=True, stable=True).indices[:, :n].tolist()
    return [
        reason
        for row, gates in enumerate(order)
        for reason in _of_row(explanation, row, [gate for gate in gates if known[row, gate]])
    ]


def _of_row(explanation: Explanation, row: int, gates: list[int]) -> list[Reason]:
    """The reasons of one row, from its gates in their order."""
    names, values = explanation.feature_names, value_texts(explanation, row)
    texts = texts_of_features(explanation, row) if names is None and explanation.tokens is not None else None
    ids, contributions = explanation.feature_ids[row], explanation.contributions
    assert contributions is not None
    certified = explanation.certificate is not None and bool(explanation.certificate.holds[row])
    given = names if names is not None else texts
    return [
        Reason(
            row=row,
            rank=rank,
            feature=int(ids[gate]),
            name=f"feature {int(ids[gate])}" if given is None else given[gate],
            value=values.get(gate, ""),
            contribution=float(contributions[row, gate]),
            certified=certified,
        )
        for rank, gate in enumerate(gates, 1)
    ]
