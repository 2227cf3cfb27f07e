"""Other ways to find a set of components that suffices: attribution patching, and pruning.

All look up what a set keeps in the table of all subsets. A set that is looked up counts as one evaluation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stg_attr.components import Site
from stg_attr.components.runs import SiteRuns

from .cases import RETAIN, Case, Truth

__all__ = ["Found", "greedy", "patching", "random_orders"]

#: Sets, bool [rows, components], and evaluations of each, long [rows].
Found = tuple[Tensor, Tensor]


def slopes_times_difference(one: Case) -> Tensor:
    """Slope of the score times difference of activations, of each component, [rows, components].

    Attribution patching (Nanda, 2023); evaluated by Syed, Rager, Conmy (2023),
    https://arxiv.org/abs/2310.10348.
    """
    runs = SiteRuns(one.sites)
    shown = runs.read(one.forward, (one.inputs if one.others is None else one.others, *one.arguments))
    own: list[tuple[Site, Tensor, Tensor, Tensor]] = []

    def change(which: int, run: int, tensor: Tensor) -> Tensor:
        moved = torch.zeros_like(tensor, requires_grad=True)
        closed = torch.zeros_like(tensor) if one.others is None else shown[which][run]
        own.append((one.sites[which], tensor.detach() - closed, moved, tensor))
        return tensor + moved

    with torch.enable_grad():
        score = runs.run(one.forward, (one.inputs, *one.arguments), change).sum()
        slopes = torch.autograd.grad(score, [moved for _, _, moved, _ in own])
    parts = []
    for (site, difference, _, _), slope in zip(own, slopes, strict=True):
        # [rows, ..., parts, ...]: several rows of a tensor may be of one example
        effect = (difference * slope).movedim(site.dim, -1).unflatten(-1, (site.n_parts, -1)).sum(-1)
        parts.append(effect.reshape(len(one.inputs), -1, site.n_parts).sum(1))
    return torch.cat(parts, 1)


def patching(one: Case, truth: Truth, prune: bool) -> Found:
    """The shortest prefix of that order that suffices; all prefixes are looked up.

    Args:
        one: the behaviour.
        truth: the table.
        prune: then leave out members, the least of the order first, where the rest still suffices.
    """
    order = slopes_times_difference(one).argsort(1, descending=True)
    n_rows, n = order.shape
    place = order.argsort(1)
    prefixes = place.unsqueeze(0) < torch.arange(n + 1).reshape(-1, 1, 1)
    kept = torch.stack([truth.of_sets(prefix)[1] for prefix in prefixes])
    size = (kept >= RETAIN).long().argmax(0)  # the first; of all components always enough
    selected, spent = place < size.unsqueeze(1), torch.full((n_rows,), 2 + n)
    if prune:
        selected, more = _one_by_one(selected, order.flip(1), truth)
        spent = spent + more
    return selected, spent


def greedy(truth: Truth) -> Found:
    """From all components, leave out the one whose removal changes least, as long as the rest suffices."""
    n_rows = truth.kept.shape[1]
    n = int(truth.size.max())
    selected, spent = torch.ones(n_rows, n, dtype=torch.bool), torch.zeros(n_rows, dtype=torch.long)
    going = torch.ones(n_rows, dtype=torch.bool)
    while bool(going.any()):
        spent += going * selected.sum(1)
        fewer = [selected & (torch.arange(n) != gate) for gate in range(n)]
        kept = torch.stack([truth.of_sets(one)[1] for one in fewer], 1).masked_fill(~selected, -torch.inf)
        most, gate = kept.max(1)
        going &= (most >= RETAIN) & selected.any(1)
        selected = selected & ~(going.unsqueeze(1) & (torch.arange(n) == gate.unsqueeze(1)))
    return selected, spent


def random_orders(truth: Truth, evaluations: Tensor, seed: int) -> Found:
    """Greedy pruning, then pruning in random orders until so many evaluations are spent; the best set."""
    best, spent = greedy(truth)
    made = torch.Generator().manual_seed(seed)
    n_rows, n = best.shape
    while bool((spent + n <= evaluations).any()):
        order = torch.rand(n_rows, n, generator=made).argsort(1)
        found, more = _one_by_one(torch.ones_like(best), order, truth)
        allowed = spent + more <= evaluations
        spent = spent + more
        (size, kept), (least, most) = truth.of_sets(found), truth.of_sets(best)
        better = allowed & ((size < least) | ((size == least) & (kept > most)))
        best = torch.where(better.unsqueeze(1), found, best)
    return best, spent.minimum(evaluations)


def _one_by_one(selected: Tensor, order: Tensor, truth: Truth) -> Found:
    """Leave out members in an order, long [rows, components], each if the rest suffices."""
    spent = torch.zeros(len(selected), dtype=torch.long)
    for gate in order.T:
        fewer = selected.scatter(1, gate.unsqueeze(1), False)
        tried = (fewer != selected).any(1)
        spent += tried
        enough = tried & (truth.of_sets(fewer)[1] >= RETAIN)
        selected = torch.where(enough.unsqueeze(1), fewer, selected)
    return selected, spent
