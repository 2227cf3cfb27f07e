"""Population: what a set of features that many rows share is worth over these rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan

from torch import Tensor

from stg_attr.batch import Batch, Holds, per_example

__all__ = ["Population"]

_POINTS = Holds(("batch", "points"), may_be_nan=True)
_EACH = Holds(("batch",), may_be_nan=True)


@dataclass(frozen=True)
class Population(Batch):
    """What the first k features keep of the model's answers, over rows that no search has seen.

    Where there are too few rows for some to be kept from the search, it is measured on those of the search.
    Each row is measured with a reference at random. NaN stands for what has no meaning: classes, where the
    model returns no scores of classes; accuracy, without labels; loss, without a loss.

    Attributes:
        n_open: k, ascending, long [1, points].
        same_class: share of the rows whose class, the one with the highest output, stays, [1, points].
        accuracy: share of the rows whose class is their label, [1, points].
        loss: mean loss, [1, points].
        full_accuracy: that of the model on the whole rows, [1].
        full_loss: that of the model on the whole rows, [1].
        n_rows: rows that this was measured on, long [1].
    """

    n_open: Tensor = field(metadata=per_example(holds=Holds(("batch", "points"), int)))
    same_class: Tensor = field(metadata=per_example(blank=nan, holds=_POINTS))
    accuracy: Tensor = field(metadata=per_example(blank=nan, holds=_POINTS))
    loss: Tensor = field(metadata=per_example(blank=nan, holds=_POINTS))
    full_accuracy: Tensor = field(metadata=per_example(blank=nan, holds=_EACH))
    full_loss: Tensor = field(metadata=per_example(blank=nan, holds=_EACH))
    n_rows: Tensor = field(metadata=per_example(holds=Holds(("batch",), int, low=0)))

    def sentence(self, n_open: int) -> str:
        """What the first `n_open` features keep, in words, after "They"; empty where it is not known."""
        at = (self.n_open[0] == n_open).nonzero().flatten()
        if not len(at):
            return ""
        place, rows = int(at[0]), f"of {int(self.n_rows)} rows"
        same, right = float(self.same_class[0, place]), float(self.accuracy[0, place])
        loss = float(self.loss[0, place])
        said = [
            f"keep the class of {same:.0%} {rows}" if same == same else "",
            f"have an accuracy of {right:.1%} (model: {float(self.full_accuracy):.1%})"
            if right == right
            else "",
            f"have a loss of {loss:.3g} (model: {float(self.full_loss):.3g})" if loss == loss else "",
        ]
        return ", ".join(part for part in said if part)
