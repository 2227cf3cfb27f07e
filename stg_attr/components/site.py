"""Site: a place inside a model whose parts get gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from stg_attr.errors import ArgumentError, check_count

__all__ = ["Site", "checked_sites", "component_names", "named_sites"]


@dataclass(frozen=True, eq=False)
class Site:
    """What a module returns, or is given, in equal parts: each part is a component, and gets a gate.

    The 8 heads of an attention block are 8 parts of what its output projection is given. The channels of a
    convolution are parts of what it returns, one for each channel. An MLP block is one part.

    Args:
        name: of the place; the components are called `name[0]`, `name[1]` and so on, or `name` if it is one.
        module: whose tensor is gated: the first floating-point tensor with rows that it returns, or is given.
        n_parts: number of equal parts into which the dimension is cut.
        dim: the dimension that is cut; -1 for units and heads, 1 for the channels of a convolution.
        at_input: gate what the module is given instead of what it returns.

    Raises:
        ArgumentError: an argument is not of its kind.

    Example:
        >>> Site("mixed", torch.nn.Linear(4, 4), n_parts=2).components
        ('mixed[0]', 'mixed[1]')
    """

    name: str
    module: nn.Module
    n_parts: int = 1
    dim: int = -1
    at_input: bool = False

    def __post_init__(self) -> None:
        check_count("n_parts", self.n_parts, mend="1 gates the whole tensor.")
        check_count("dim", self.dim, least=None, mend="-1 for units and heads, 1 for channels.")
        if not isinstance(self.module, nn.Module) or isinstance(self.module, torch.jit.ScriptModule):
            raise ArgumentError(
                f"module of site {self.name!r}",
                expected="a module of the model, not a scripted one",
                found=type(self.module).__name__,
                mend="Pass one such as model.layers[0], before torch.jit.",
            )

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components."""
        if self.n_parts == 1:
            return (self.name,)
        return tuple(f"{self.name}[{i}]" for i in range(self.n_parts))


def named_sites(
    model: nn.Module, *names: str, n_parts: int = 1, dim: int = -1, at_input: bool = False
) -> list[Site]:
    """Sites at modules of a model, by the names that `model.named_modules()` gives them.

    Args:
        model: the model.
        names: of modules, at least one.
        n_parts: as for `Site`, the same for all.
        dim: as for `Site`.
        at_input: as for `Site`.

    Raises:
        ArgumentError: there is no name, or no module of that name.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        >>> [site.name for site in named_sites(net, "0", n_parts=3)]
        ['0']
    """
    known = dict(model.named_modules())
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise ArgumentError(
            "names",
            expected="names of modules of the model",
            found=str(missing) if names else "none",
            mend=f"It has {len(known) - 1}, for example {[name for name in known if name][:5]}.",
        )
    return [Site(name, known[name], n_parts, dim, at_input) for name in names]


def component_names(sites: Sequence[Site]) -> tuple[str, ...]:
    """The names of the components of all sites, in the order of their gates."""
    return tuple(name for site in sites for name in site.components)


def checked_sites(sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites as a tuple.

    Raises:
        ArgumentError: there is none, an entry is no site, or two have one name or one place.
    """
    found = tuple(sites) if isinstance(sites, (list, tuple)) else ()
    if not found or not all(isinstance(site, Site) for site in found):
        raise ArgumentError(
            "sites",
            expected="a list of sites, at least one",
            found=repr(sites) if not found else str([type(site).__name__ for site in found]),
            mend="head_sites(model), channel_sites(model) and named_sites(model, ...) make lists.",
        )
    places = [(id(site.module), site.at_input) for site in found]
    for what, keys in (("name", [site.name for site in found]), ("place", places)):
        twice = [site.name for site, key in zip(found, keys, strict=True) if keys.count(key) > 1]
        if twice:
            raise ArgumentError(
                "sites",
                expected=f"another {what} for each site",
                found=f"one {what} for {twice}",
                mend="Leave one of them out, or cut the place into more parts.",
            )
    return found
