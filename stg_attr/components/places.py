"""Sites of known kinds: the heads and MLP blocks of transformers, the channels of convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from stg_attr.errors import ArgumentError

from .site import Site

__all__ = ["channel_sites", "head_sites", "mlp_sites"]

_HEADS = ("num_heads", "n_heads", "num_attention_heads", "n_head", "nhead", "heads")


def head_sites(model: nn.Module) -> list[Site]:
    """The attention heads of a transformer: parts of what the output projection of each block is given.

    It knows `nn.MultiheadAttention`, also inside `nn.TransformerEncoder`, and modules whose class is named
    after attention, as in transformers: their last projection is that of the output, and they or the
    configuration say how many heads there are.

    Args:
        model: a module that holds attention blocks.

    Raises:
        ArgumentError: there is none, or its number of heads is not known.

    Example:
        >>> block = torch.nn.TransformerEncoderLayer(8, nhead=2, batch_first=True)
        >>> [site.components for site in head_sites(block)]
        [('self_attn[0]', 'self_attn[1]')]
    """
    found = []
    for name, attention in _attentions(model):
        projection = _projections(attention)[-1]  # that of the output comes last, also in torch's own
        n = _n_heads(model, attention, _width(projection))
        found.append(Site(name, projection, n, at_input=True))
    if not found:
        raise _none("heads", "an attention block, such as nn.MultiheadAttention or one of transformers")
    return found


def mlp_sites(model: nn.Module) -> list[Site]:
    """The MLP blocks of a transformer: what the last projection outside attention returns in each layer.

    A layer is a module in an `nn.ModuleList` that holds attention blocks, or an `nn.TransformerEncoderLayer`.

    Args:
        model: a module that holds such layers.

    Raises:
        ArgumentError: there is none.

    Example:
        >>> layers = torch.nn.ModuleList(torch.nn.TransformerEncoderLayer(8, nhead=2) for _ in range(2))
        >>> [site.name for site in mlp_sites(layers)]
        ['0.linear2', '1.linear2']
    """
    names = {module: name for name, module in model.named_modules()}
    found = [Site(names[last], last) for last in (_outside(layer)[-1] for layer in _layers(model))]
    if not found:
        raise _none("MLP blocks", "layers in an nn.ModuleList, with attention and an MLP block each")
    return found


def channel_sites(model: nn.Module) -> list[Site]:
    """The channels of all convolutions: parts of what each returns, before normalisation and activation.

    Args:
        model: a module that holds convolutions.

    Raises:
        ArgumentError: there is none.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU())
        >>> [site.components for site in channel_sites(net)]
        [('0[0]', '0[1]', '0[2]')]
    """
    kind = nn.modules.conv._ConvNd
    found = [
        Site(name or "model", part, part.out_channels, dim=1)
        for name, part in model.named_modules()
        if isinstance(part, kind)
    ]
    if not found:
        raise _none("channels", "convolutions, such as nn.Conv2d")
    return found


def _attentions(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost attention blocks of a model, with their names."""
    inside: set[nn.Module] = set()
    for name, part in model.named_modules():
        named = "Attention" in type(part).__name__ and bool(_projections(part))
        if part not in inside and (_is_torchs(part) or named):
            inside.update(part.modules())
            yield name or "model", part


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The innermost modules in lists, or of torch's own kinds, that have attention and other projections."""
    listed = {child for part in model.modules() if isinstance(part, nn.ModuleList) for child in part}
    kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    found = [p for p in model.modules() if (p in listed or isinstance(p, kinds)) and _outside(p)]
    for layer in found:
        if not any(part in found for part in layer.modules() if part is not layer):
            yield layer


def _outside(layer: nn.Module) -> list[nn.Module]:
    """The projections of a module outside its attention blocks; none where it has no attention."""
    inside = {part for _, attention in _attentions(layer) for part in attention.modules()}
    return [part for part in _projections(layer) if part not in inside] if inside else []


def _is_torchs(part: nn.Module) -> bool:
    return isinstance(part, torch.nn.MultiheadAttention)


def _projections(part: nn.Module) -> list[nn.Module]:
    """Modules with a weight [a, b] that are no embeddings: nn.Linear, and its kin in transformers."""
    return [
        p
        for p in part.modules()
        if not isinstance(p, nn.Embedding) and getattr(getattr(p, "weight", None), "ndim", 0) == 2
    ]


def _width(projection: Any) -> int:
    """The number of values that a projection is given."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    return int(projection.weight.shape[0])  # Conv1D of transformers, whose weight is [in, out]


def _n_heads(model: nn.Module, attention: nn.Module, width: int) -> int:
    owners: list[Any] = [
        *attention.modules(),
        getattr(attention, "config", None),
        getattr(model, "config", None),
    ]
    counts = [getattr(owner, name, None) for owner in owners for name in _HEADS]
    n = next((count for count in counts if isinstance(count, int) and count > 0 and width % count == 0), None)
    if n is None:
        raise ArgumentError(
            "model",
            expected=f"attention blocks or a configuration with a number of heads that divides {width}",
            found=type(attention).__name__,
            mend="Name the output projections yourself: named_sites(model, ..., n_parts=8, at_input=True).",
        )
    return n


def _none(what: str, expected: str) -> ArgumentError:
    return ArgumentError(
        "model",
        expected=expected,
        found=f"a model without {what} of a known kind",
        mend="Name the modules yourself: named_sites(model, ...).",
    )
