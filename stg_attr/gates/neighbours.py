"""Neighbours: the regions of an image that lie side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .layout import Layout

__all__ = ["image_neighbours"]


def image_neighbours(index: Sequence[Tensor], n_gates: int, *, most: int = 8) -> Tensor:
    """Find, for each gate, the gates whose regions share a border with its region.

    Inputs with at least four dimensions, [batch, channels, height, width] or [batch, channels, depth,
    height, width], are treated as images; `Layout` says which dimension holds the channels. Elements one
    step apart in space lie side by side. A gate that covers a single pixel has no neighbours, since pixels
    side by side may mean very different things.

    Args:
        index: column of each element's gate, -1 where never gated, one [1 or batch, ...] per input.
        n_gates: number of columns.
        most: the most neighbours of one gate; of more, those with the longest common borders are kept.

    Returns:
        Columns, longest common border first, long [1 or batch, gates, degree] with degree at most `most`;
        -1 where a gate has fewer.

    Example:
        >>> image_neighbours([torch.tensor([[[[0, 0, 1], [0, 0, 1], [2, 2, 2]]]])], 3).tolist()
        [[[1, 2], [0, 2], [0, 1]]]
    """
    n_rows = max(part.shape[0] for part in index)
    images = [part.movedim(Layout.of(part.shape).channel, 1) for part in index if part.dim() >= 4]
    borders = [_borders(part.expand(n_rows, *part.shape[1:])) for part in images]
    if not borders:
        return torch.empty(1, n_gates, 0, dtype=torch.long, device=index[0].device)
    # each border is counted from both of its sides
    row, one, other = torch.cat([*borders, *[part[[0, 2, 1]] for part in borders]], dim=1)
    wide = torch.stack([_is_region(part, n_rows, n_gates) for part in images]).any(0)
    row, one, other = torch.stack([row, one, other])[:, wide[row, one] & wide[row, other]]
    # one integer for each pair of gates in an example, so that one call of unique counts their borders
    key, length = torch.unique((row * n_gates + one) * n_gates + other, return_counts=True)
    key = key[length.argsort(descending=True, stable=True)]
    key = key[(key // n_gates).argsort(stable=True)]  # by gate, the longest border first
    gate = key // n_gates
    size = torch.bincount(gate, minlength=n_rows * n_gates)
    # the place of each pair in the list of its gate: its position less the number of pairs before the gate
    place = torch.arange(len(gate), device=gate.device) - (size.cumsum(0) - size)[gate]
    kept = place < most
    degree = min(most, int(size.max()) if len(size) else 0)
    found = torch.full((n_rows * n_gates, degree), -1, device=gate.device)
    found[gate[kept], place[kept]] = key[kept] % n_gates
    return found.reshape(n_rows, n_gates, degree)


def _is_region(index: Tensor, n_rows: int, n_gates: int) -> Tensor:
    """Whether a gate covers more than one position in some channel, bool [rows, gates]."""
    channels = index.shape[1]
    plane = torch.arange(n_rows * channels, device=index.device).reshape(n_rows, channels, 1)
    column = index.expand(n_rows, *index.shape[1:]).flatten(2)
    inside = column >= 0
    size = torch.bincount((plane * n_gates + column)[inside], minlength=n_rows * channels * n_gates)
    return (size.reshape(n_rows, channels, n_gates) > 1).any(1)


def _borders(index: Tensor) -> Tensor:
    """Return the row and the two columns of each border between two elements, long [3, borders]."""
    row = torch.arange(len(index), device=index.device).reshape(-1, *[1] * (index.dim() - 1)).expand_as(index)
    pairs = []
    for dim in range(2, index.dim()):
        n = index.shape[dim] - 1
        one, other = index.narrow(dim, 0, n).flatten(), index.narrow(dim, 1, n).flatten()
        apart = (one != other) & (one >= 0) & (other >= 0)
        pairs.append(torch.stack([row.narrow(dim, 0, n).flatten(), one, other])[:, apart])
    return torch.cat(pairs, dim=1)
