"""Naive twins of the vectorised code: one element at a time, slow, and obviously right."""

from itertools import product

import torch


def ids_by_element(feature_mask, inputs):
    """The feature id of every element of every example, one tensor of the input's shape per input."""
    if feature_mask is None:
        ids, start = [], 0
        for x in inputs:
            n = x[0].numel()
            ids.append(torch.arange(start, start + n).reshape(x.shape[1:]).expand(x.shape))
            start += n
        return ids
    masks = (feature_mask,) if isinstance(feature_mask, torch.Tensor) else feature_mask
    return [mask.long().expand(x.shape) for mask, x in zip(masks, inputs, strict=True)]


def gated_ids(ids, example):
    """The ids of one example's features over all inputs, smallest first; -1 is not gated."""
    return sorted({int(i) for part in ids for i in part[example].flatten() if i >= 0})


def expand(ids, gates, which, ungated=1.0):
    """Gate values [samples, batch, gates] at the elements of one input, [samples, batch, ...]."""
    laid_out = torch.empty(len(gates), *ids[which].shape, dtype=gates.dtype)
    for example in range(ids[which].shape[0]):
        columns = gated_ids(ids, example)
        for place in product(*(range(n) for n in ids[which].shape[1:])):
            i = int(ids[which][(example, *place)])
            for sample in range(len(gates)):
                value = ungated if i < 0 else gates[sample, example, columns.index(i)]
                laid_out[(sample, example, *place)] = value
    return laid_out


def noise_of_gates(ids, uniform, example):
    """The noise of each gate of one example, [samples, gates]: counted by a feature's first element."""
    in_order = [int(i) for part in ids for i in part[example].flatten()]
    by_first_element = [i for i in dict.fromkeys(in_order) if i >= 0]
    return torch.stack([uniform[:, 0, by_first_element.index(i)] for i in gated_ids(ids, example)], 1)


def blend(x, reference, ids, gates, draws, which):
    """z x + (1 - z) b of one input, element by element, [samples * batch, ...].

    Args:
        x: input, [batch, ...].
        reference: what closed gates show, [references, 1 or batch, ...].
        ids: feature id of every element, from `ids_by_element`.
        gates: [samples, batch, gates].
        draws: the reference of each sample.
        which: number of the input.
    """
    z = expand(ids, gates, which)
    rows = []
    for sample in range(len(gates)):
        b = reference[draws[sample] % len(reference)].expand(x.shape)
        for example in range(len(x)):
            row = torch.empty_like(x[example])
            for place in product(*(range(n) for n in x.shape[1:])):
                share = z[(sample, example, *place)]
                row[place] = share * x[(example, *place)] + (1 - share) * b[(example, *place)]
            rows.append(row)
    return torch.stack(rows)
