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
from torch.nn import functional

from stg_attr.errors import ArgumentError, check_count, check_number

from .blending import ReferenceSet
from .filling import FillIn, NearestRows, Table
from .layout import Layout

__all__ = ["blur", "inpaint", "mean", "nearest", "noise", "opposite", "permuted", "sample", "token"]


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


def blur(sigma: float, *, truncate: float = 4.0) -> Callable[[Tensor], Tensor]:
    """Blur the image itself by a Gaussian kernel, for inputs [batch, ..., height, width].

    If the channels of [batch, height, width, channels] seem to come last, they are not mixed.

    Interpretable Explanations of Black Boxes by Meaningful Perturbation (Fong, Vedaldi, 2017),
    https://arxiv.org/abs/1704.03296.

    Args:
        sigma: standard deviation in pixels. About a twentieth of the image's width hides details. Beyond the
            border the image is continued by its border pixels.
        truncate: radius of the kernel in units of sigma.

    Raises:
        ArgumentError: sigma or truncate is not above 0. When the blur is used: the input is not an image.

    Example:
        >>> spot = torch.zeros(1, 1, 1, 5).index_fill(3, torch.tensor([2]), 1.0)
        >>> blur(0.5)(spot).round(decimals=2)
        tensor([[[[0.0000, 0.1100, 0.7900, 0.1100, 0.0000]]]])
    """
    if not 0 < sigma < float("inf"):
        raise ArgumentError(
            "sigma", expected="pixels above 0", found=repr(sigma), mend="10 suits photographs."
        )
    check_number("truncate", truncate, mend="4 is the default.")
    weights = _weights(sigma, truncate)
    return lambda x: _blurred(x, weights)


def inpaint(sigma: float, *, truncate: float = 4.0, background: float = 0.0) -> FillIn:
    """Fill in the hidden part of an image by a blur of what is shown, for inputs [batch, ..., height, width].

        fill(x, z) = blur(z x) / blur(z)

    Where nothing is shown within reach of the blur, it is the mean of what is shown.

    Args:
        sigma: as for `blur`.
        truncate: as for `blur`.
        background: what is shown where all is hidden.

    Raises:
        ArgumentError: as for `blur`.

    Example:
        >>> half = torch.tensor([[[[0.0, 1.0, 1.0, 0.0, 0.0]]]])
        >>> inpaint(1.0).fill(4 * half, half).round(decimals=2)
        tensor([[[[4., 4., 4., 4., 4.]]]])
    """
    blur(sigma, truncate=truncate)  # which checks them
    weights = _weights(sigma, truncate)

    def filled(x: Tensor, shown: Tensor) -> Tensor:
        shown = shown.to(x.dtype)
        near, share = _blurred(x * shown, weights), _blurred(shown, weights)
        dims = tuple(range(1, x.dim()))
        total, count = (x * shown).sum(dims, keepdim=True), shown.sum(dims, keepdim=True)
        mean = (total + _LITTLE * background) / (count + _LITTLE)
        return (near + _LITTLE * mean) / (share + _LITTLE)

    return FillIn(filled)


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


_LITTLE = 1e-4  # weight of the mean of all that is shown, against that of what is near


def _weights(sigma: float, truncate: float) -> Tensor:
    """A Gaussian kernel, [2 * radius + 1], whose sum is 1."""
    radius = max(1, round(truncate * sigma))
    weights = torch.exp(-torch.arange(-radius, radius + 1, device="cpu").double().square() / (2 * sigma**2))
    return weights / weights.sum()


def _blurred(x: Tensor, weights: Tensor) -> Tensor:
    """Images [batch, ..., height, width], or with channels last, convolved with a kernel both ways."""
    if x.dim() < 3:
        raise ArgumentError(
            "baselines",
            expected="images [batch, ..., height, width] to blur",
            found=f"shape {tuple(x.shape)}",
            mend="Use another reference, such as references.mean(data).",
        )
    radius = len(weights) // 2
    channel = Layout.of(x.shape).channel if x.dim() > 3 else 1
    first = x.movedim(channel, 1)
    # a Gaussian kernel is a product, so rows and columns are blurred one after the other
    kernel, images = weights.to(x.device, x.dtype), first.reshape(-1, 1, *first.shape[-2:])
    for pad, shape in (((0, 0, radius, radius), (-1, 1)), ((radius, radius, 0, 0), (1, -1))):
        padded = functional.pad(images, pad, mode="replicate")
        images = functional.conv2d(padded, kernel.reshape(1, 1, *shape))
    return images.reshape(first.shape).movedim(1, channel)


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
