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

from stg_attr.errors import ArgumentError, check_number

from .blending import ReferenceSet
from .layout import Layout

__all__ = ["blur", "mean", "noise", "opposite", "permuted", "sample", "token"]


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
    radius = max(1, round(truncate * sigma))
    weights = torch.exp(-torch.arange(-radius, radius + 1, device="cpu").double().square() / (2 * sigma**2))
    weights = weights / weights.sum()

    def blurred(x: Tensor) -> Tensor:
        if x.dim() < 3:
            raise ArgumentError(
                "baselines",
                expected="images [batch, ..., height, width] to blur",
                found=f"shape {tuple(x.shape)}",
                mend="Use another reference, such as references.mean(data).",
            )
        channel = Layout.of(x.shape).channel if x.dim() > 3 else 1
        first = x.movedim(channel, 1)
        # a Gaussian kernel is a product, so rows and columns are blurred one after the other
        kernel, images = weights.to(x.device, x.dtype), first.reshape(-1, 1, *first.shape[-2:])
        for pad, shape in (((0, 0, radius, radius), (-1, 1)), ((radius, radius, 0, 0), (1, -1))):
            padded = functional.pad(images, pad, mode="replicate")
            images = functional.conv2d(padded, kernel.reshape(1, 1, *shape))
        return images.reshape(first.shape).movedim(1, channel)

    return blurred


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


def _classes(scores: Tensor) -> Tensor:
    return scores.argmax(1) if scores.dim() == 2 and scores.shape[1] > 1 else scores.flatten() > 0


def _shuffle(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed), device="cpu")


def _check_rows(data: Tensor) -> None:
    if not isinstance(data, Tensor) or data.dim() < 1 or len(data) == 0:
        found = tuple(data.shape) if isinstance(data, Tensor) else type(data).__name__
        raise ArgumentError(
            "data", expected="rows [rows, ...]", found=str(found), mend="Convert it with torch.as_tensor."
        )
