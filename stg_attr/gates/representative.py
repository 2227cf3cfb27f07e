"""Representative references: an order of reference rows whose first few stand for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["representative_order"]

_MOST_ROWS = 256  # compared with each other; further rows stay in their order
_MOST_ELEMENTS = 4096  # of a row that are compared, evenly spread


def representative_order(references: Sequence[Tensor], amounts: Sequence[Tensor | None] = ()) -> Tensor:
    """An order of reference rows in which every beginning stands for all of them, long [references].

    Each next row is the one for which the rows taken so far have the smallest energy distance to all rows:
    means over few such rows differ about half as much from the mean over all rows as those over rows at
    random. No model is run.

    Super-samples from kernel herding (Chen, Welling, Smola, 2010), https://arxiv.org/abs/1203.3472, with the
    kernel of support points (Mak, Joseph, 2018), https://arxiv.org/abs/1609.01811.

    Args:
        references: rows for each input, each [references, 1, ...]; an input that has one row for all does not
            count. Numbers are compared in units of their standard deviation, ids are equal or not.
        amounts: for each input amounts that its ids stand for, [references, ...], NaN for none; or None.
    """
    n = max(len(rows) for rows in references)
    known = list(amounts) or [None] * len(references)
    several = [(b, a) for b, a in zip(references, known, strict=True) if len(b) == n]
    first = min(n, _MOST_ROWS)
    distance = sum(_squared(b[:first], None if a is None else a[:first]) for b, a in several)
    assert isinstance(distance, Tensor)
    order = _herded(-distance.clamp_min(0).sqrt())
    return torch.cat([order, torch.arange(first, n, device=order.device)])


def _herded(kernel: Tensor) -> Tensor:
    """Rows in the order in which each next one brings the taken rows closest to all, long [rows]."""
    kernel = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    own, total, order = kernel.diagonal().clone(), torch.zeros_like(kernel[0]), []
    for _ in range(len(kernel)):
        order.append(int((2 * total + own).argmin()))
        own[order[-1]] = torch.inf
        total = total + kernel[order[-1]]
    return torch.tensor(order, device="cpu")


def _squared(rows: Tensor, amounts: Tensor | None) -> Tensor:
    """Squared distances of rows from each other, on the CPU in single precision, [rows, rows]."""
    flat = _some(torch.view_as_real(rows) if rows.is_complex() else rows)
    if flat.is_floating_point():
        return _of_numbers(flat)
    if amounts is None:
        return _of_ids(flat)
    values = _some(amounts)
    numbers = values.isfinite().all(0)
    return _of_numbers(values[:, numbers]) + _of_ids(flat[:, ~numbers])


def _some(rows: Tensor) -> Tensor:
    """Elements of rows, at most so many of each, on the CPU, [rows, elements]."""
    flat = rows.flatten(1)
    return flat[:, :: -(-flat.shape[1] // _MOST_ELEMENTS)].cpu()


def _of_numbers(values: Tensor) -> Tensor:
    values = values if values.dtype == torch.float64 else values.float()
    spread, centred = values.std(0, correction=0), values - values.mean(0)
    # in units of their spread, numbers are told apart in single precision, too
    scaled = (centred / torch.where(spread > 0, spread, 1.0)).float()
    return torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist").square()


def _of_ids(ids: Tensor) -> Tensor:
    """Twice the number of ids that differ, as numbers differ by 2 in the mean of their units squared."""
    found = torch.zeros(len(ids), len(ids), dtype=torch.float32, device="cpu")
    for column in ids.unbind(1):
        found += column.unsqueeze(1) != column
    return 2 * found
