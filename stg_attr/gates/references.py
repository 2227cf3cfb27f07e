"""References: baselines that closed gates show, each made by one call.

Everything that is returned here can be passed as `baselines`. A plain number can be passed, too: for a dark
background, `baselines=0`. With rows of the data as references, the gates also find interactions that a fixed
baseline misses. If a row of the data would itself be evidence, as with tokens or with patterns that can be at
any place, use a constant, a blur or noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stg_attr.errors import ArgumentError, check_count

from .baselines import ReferenceSet
from .filling import FillIn, NearestRows, Table
from .image_references import blur, inpaint, photograph

__all__ = [
    "blur",
    "inpaint",
    "mean",
    "nearest",
    "noise",
    "opposite",
    "permuted",
    "photograph",
    "sample",
    "token",
]


def mean(data: Tensor) -> Tensor:
    """Return the mean of the data, [1, ...].

    Args:
        data: rows, [rows, ...].

    Example:
        >>> mean(torch.tensor([[0.0, 2.0], [1.0, 4.0]]))
        tensor([[0.5000, 3.0000]])
    """
    _check_rows(data)
    return data.mean(0, keepdim=True)


def nearest(data: Tensor | Table, n: int = 8, seed: int = 0) -> FillIn:
    """Fill in hidden columns by those of the rows of the data that are most like what is shown.

    The distance of two rows is that of the shown columns, each in units of its standard deviation; categories
    are equal or not. Where nothing is shown, all rows are alike, and rows drawn at random are taken.

    Args:
        data: [rows, columns], or [rows, ...] with every element a column; or a DataFrame or array, where such
            a table is explained.
        n: number of rows for each selection of columns, of which each sample uses one.
        seed: of the order of rows that are alike.

    Raises:
        ArgumentError: the data are no rows, or fewer than n.

    Example:
        >>> rows = torch.tensor([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0]])
        >>> shown = torch.tensor([[1.0, 0.0]])
        >>> nearest(rows, n=1).fill(torch.tensor([[1.1, 0.0]]), shown)
        tensor([[[ 1., 20.]]])
    """
    check_count("n", n, mend="8 is the default.")
    if not isinstance(data, Tensor) and hasattr(data, "shape"):
        return FillIn(_of_a_table, NearestRows(data, n, seed))
    _check_rows(data)
    assert isinstance(data, Tensor)
    if n > len(data):
        mend = "Pass more rows, or a smaller n."
        raise ArgumentError(
            "n", expected=f"at most {len(data)}, the rows of the data", found=str(n), mend=mend
        )
    rows = data[_shuffle(len(data), seed).to(data.device)].flatten(1)
    mean, spread = rows.double().mean(0), rows.double().std(0, correction=0)
    unit = torch.where(spread > 0, spread, 1.0)

    def alike(x: Tensor, shown: Tensor) -> Tensor:
        _check_width(data, x)
        kind = torch.float32 if x.device.type == "mps" else torch.float64  # which MPS does not have
        known, centre, scale, own, weight = (
            part.to(x.device, kind) for part in (rows, mean, unit, x.flatten(1), shown.flatten(1))
        )
        distance = _distances((own - centre) / scale, (known - centre) / scale, weight)
        chosen = distance.argsort(dim=1, stable=True)[
            :, :n
        ]  # of equal distances the first, in a random order
        return rows.to(x.device)[chosen.T].reshape(n, *x.shape)

    return FillIn(alike)


def noise(std: float, n: int = 16, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Add Gaussian noise to the input, n times. Each sample of the gates uses one of the n noisy inputs.

    Args:
        std: standard deviation, in units of the input.
        n: number of draws of the noise.
        seed: seed of the draws. All examples get the same noise.

    Example:
        >>> noise(1.0, n=4)(torch.zeros(2, 3)).shape
        torch.Size([4, 2, 3])
    """

    def noisy(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        # in float32 whatever the default dtype is, since other dtypes get other numbers
        draws = torch.randn(n, 1, *x.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
        return x + std * draws.to(x.device, x.dtype)

    return noisy


def sample(data: Tensor, n: int = 256, seed: int = 0) -> ReferenceSet:
    """Draw rows of the data without replacement.

    Args:
        data: [rows, ...].
        n: number of rows; if the data has fewer, all of them are used.
        seed: seed of the draw.

    Example:
        >>> sample(torch.randn(1000, 3), n=100).rows.shape
        torch.Size([100, 3])
    """
    _check_rows(data)
    return ReferenceSet(data[_shuffle(len(data), seed)[:n].to(data.device)])


def permuted(data: Tensor, n: int = 256, seed: int = 0) -> ReferenceSet:
    """Permute each column of the data independently of the others, and return n of the rows.

    Each column keeps its distribution, but columns no longer depend on each other, as in permutation
    importance. Random Forests (Breiman, 2001), https://doi.org/10.1023/A:1010933404324.

    Args:
        data: [rows, columns], or [rows, ...] with every element a column.
        n: number of rows; if the data has fewer, as many as it has.
        seed: seed of the permutations.

    Example:
        >>> permuted(torch.tensor([[1, 10], [2, 20], [3, 30]]), n=3).rows.sum(0).tolist()
        [6, 60]
    """
    _check_rows(data)
    flat, generator = data.flatten(1), torch.Generator().manual_seed(seed)
    # argsort of random numbers is a random permutation, here one for each column
    order = torch.rand(flat.shape, generator=generator, dtype=torch.float32, device="cpu").argsort(0)
    rows = order[:n].to(data.device)
    return ReferenceSet(flat.gather(0, rows).reshape(-1, *data.shape[1:]))


def opposite(data: Tensor, classify: Callable[[Tensor], Tensor], n: int = 16) -> Callable[[Tensor], Tensor]:
    """Return, for each example, the nearest rows of the data that the model puts in another class.

    With these references the explanation says which features keep the example out of the other class.
    Nearest unlike neighbours, as counterfactual explanations use them: Keane, Smyth (2020),
    https://arxiv.org/abs/2005.13997.

    Args:
        data: [rows, ...].
        classify: the model. It takes rows and returns scores [rows, classes], or one score per row, whose
            sign is the class.
        n: number of rows for each example.

    Raises:
        ArgumentError: when the references are used: for some example fewer than n rows are in another class.

    Example:
        >>> rows = torch.tensor([[-3.0], [-1.0], [2.0]])
        >>> opposite(rows, lambda x: x[:, 0], n=1)(torch.tensor([[1.5], [-1.0]])).tolist()
        [[[-1.0], [2.0]]]
    """
    _check_rows(data)

    def nearest(x: Tensor) -> Tensor:
        _check_width(data, x)
        rows = data.to(x.device, x.dtype)
        with torch.no_grad():
            own, others = _classes(classify(x)), _classes(classify(rows))
        same = own.unsqueeze(1) == others
        if int((~same).sum(1).min()) < n:
            raise ArgumentError(
                "baselines",
                expected=f"{n} rows of another class for every example",
                found=f"{int((~same).sum(1).min())}",
                mend="Pass more data, or a smaller n.",
            )
        distance = torch.cdist(x.flatten(1), rows.flatten(1)).masked_fill(same, torch.inf)
        return rows[distance.topk(n, dim=1, largest=False).indices.T]

    return nearest


def token(embedding: torch.nn.Embedding, index: int) -> Callable[[Tensor], Tensor]:
    """Show one token at every position, for embedded inputs [batch, positions, width].

    Args:
        embedding: the model's embedding layer.
        index: id of the token, usually that of padding, of the mask or of an unknown word.

    Example:
        >>> token(torch.nn.Embedding(10, 4), 0)(torch.ones(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """
    return lambda x: embedding.weight[index].detach().to(x.device, x.dtype).expand(x.shape)


def _of_a_table(x: Tensor, shown: Tensor) -> Tensor:
    raise ArgumentError(
        "baselines",
        expected="nearest rows of a tensor, as the inputs are",
        found="those of a table",
        mend="Explain rows of this table, or convert both with torch.as_tensor.",
    )


def _check_width(data: Tensor, x: Tensor) -> None:
    if data[0].numel() != x[0].numel():
        raise ArgumentError(
            "baselines",
            expected=f"rows of the shape of an input, {tuple(x.shape[1:])}",
            found=f"{tuple(data.shape[1:])}",
            mend="Take the rows from the same data, with the same columns.",
        )


def _distances(own: Tensor, others: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared distances of rows [rows, columns] from others [others, columns], [rows, others]."""
    weighted = weight * own
    return (weighted * own).sum(1, keepdim=True) - 2 * weighted @ others.T + weight @ others.square().T


def _classes(scores: Tensor) -> Tensor:
    return scores.argmax(1) if scores.dim() == 2 and scores.shape[1] > 1 else scores.flatten() > 0


def _shuffle(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed), device="cpu")


def _check_rows(data: object) -> None:
    if not isinstance(data, Tensor) or data.dim() < 1 or len(data) == 0:
        found = tuple(data.shape) if isinstance(data, Tensor) else type(data).__name__
        raise ArgumentError(
            "data",
            expected="rows [rows, ...]",
            found=str(found),
            mend="Convert it with torch.as_tensor. Rows of a table need no call: frame.sample(256).",
        )
