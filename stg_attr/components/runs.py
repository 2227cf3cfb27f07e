"""SiteRuns: a model whose sites are read and changed by hooks, which exist only while the model runs."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.overrides import TorchFunctionMode

from stg_attr.errors import ArgumentError
from stg_attr.model.layer_errors import does_not_run, is_gateable
from stg_attr.model.nested import tensors_of, with_tensors
from stg_attr.model.randomness import uncompiled

from .site import Site

__all__ = ["Change", "SiteRuns"]

#: What becomes of the tensor of a site in a run of its module: given both numbers and the tensor.
Change = Callable[[int, int, Tensor], Tensor]


class SiteRuns:
    """Runs a model with hooks at its sites, and removes these again, also where the model fails.

    Compiled models run uncompiled, since a compiled graph does not call hooks; of a `DataParallel` model only
    the module inside runs. The heads of torch's own `nn.MultiheadAttention` are not given to a module, since
    it calls the function behind its projection: there, the function is called without the projection. The
    fused path of `nn.TransformerEncoder`, which calls neither, is off in the meantime.

    Args:
        sites: places in the model.

    Attributes:
        n_runs: how often each of them ran in the last call of the model.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = tuple(sites)
        self.n_runs = [0] * len(self.sites)

    def run(self, forward: Callable[..., Any], values: Sequence[Any], change: Change) -> Any:
        """The output of the model.

        Raises:
            ArgumentError: a site has no tensor that gates can act on.
        """
        self.n_runs = [0] * len(self.sites)

        def changed(which: int, value: Any) -> Any:
            found = list(tensors_of(value))
            number = next((k for k, tensor in enumerate(found) if is_gateable(tensor)), None)
            if number is None:
                raise _nothing_to_gate(self.sites[which], found)
            run, self.n_runs[which] = self.n_runs[which], self.n_runs[which] + 1
            return with_tensors(value, {number: change(which, run, found[number])})

        with contextlib.ExitStack() as hooks, uncompiled():
            hooks.enter_context(_no_fused_attention())
            heads: dict[int, Callable[[Tensor], Tensor]] = {}
            for which, site in enumerate(self.sites):
                if site.at_input and isinstance(site.module, NonDynamicallyQuantizableLinear):
                    heads[id(site.module.weight)] = partial(changed, which)
                else:
                    hooks.enter_context(_hooked(site, partial(changed, which)))
            if heads:
                hooks.enter_context(_BeforeProjection(heads))
            return (forward.module if isinstance(forward, nn.DataParallel) else forward)(*values)

    def read(self, forward: Callable[..., Any], values: Sequence[Any]) -> list[list[Tensor]]:
        """The tensors of each site, one for each run of its module, detached.

        Raises:
            ArgumentError: a site does not run, or has no tensor that gates can act on.
        """
        seen: list[list[Tensor]] = [[] for _ in self.sites]

        def keep(which: int, _: int, tensor: Tensor) -> Tensor:
            seen[which].append(tensor.detach().clone())
            return tensor

        with torch.no_grad():
            self.run(forward, values, keep)
        for site, runs in zip(self.sites, seen, strict=True):
            if not runs:
                raise does_not_run(forward, site.module)
        return seen


def _hooked(site: Site, changed: Callable[[Any], Any]) -> Any:
    if site.at_input:
        return site.module.register_forward_pre_hook(
            lambda _, args, kwargs: changed((args, kwargs)), with_kwargs=True
        )
    return site.module.register_forward_hook(lambda _, __, output: changed(output))


@contextlib.contextmanager
def _no_fused_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


_ATTENTION = inspect.signature(F.multi_head_attention_forward)


class _BeforeProjection(TorchFunctionMode):
    """A context in which the heads of `nn.MultiheadAttention` are changed before they are projected.

    Args:
        changed: by the `id` of the weight of the projection, what is called with the heads side by side,
            [positions, batch, width].
    """

    def __init__(self, changed: dict[int, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self._changed = changed

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.multi_head_attention_forward:
            return func(*args, **kwargs)
        call = _ATTENTION.bind(*args, **kwargs).arguments
        weight, bias = call["out_proj_weight"], call["out_proj_bias"]
        if id(weight) not in self._changed:
            return func(*args, **kwargs)
        call["out_proj_weight"] = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        call["out_proj_bias"] = None
        heads, attention = func(**call)
        return F.linear(self._changed[id(weight)](heads), weight, bias), attention


def _nothing_to_gate(site: Site, found: list[Tensor]) -> ArgumentError:
    return ArgumentError(
        f"site {site.name!r}",
        expected="a floating-point tensor [batch, ...]",
        found=str([(str(t.dtype), tuple(t.shape)) for t in found]),
        mend="Gate what the module returns instead." if site.at_input else "Gate another module.",
    )
