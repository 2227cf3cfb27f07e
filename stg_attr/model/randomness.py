"""Randomness: a model that draws random numbers gets those of its seed, and other threads keep their own."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["is_random", "seeded_if_drawn", "watched"]

_solves = threading.local()  # the solves of each thread, innermost last: a model may explain another one


@contextlib.contextmanager
def seeded_if_drawn(device: torch.device, seed: int) -> Iterator[None]:
    """Let functions that draw random numbers, called inside `watched()`, draw the same ones for each seed.

    All threads share torch's generator. If each solve seeded it, a thread that draws meanwhile would get the
    same numbers in every solve. So it is seeded only when such a function is about to draw. It is then in the
    state that the caller left it in again at the end.
    """
    solve = _Solve(device, seed)
    stack = _solves.__dict__.setdefault("stack", [])
    stack.append(solve)
    try:
        with solve.held:
            yield
    finally:
        stack.pop()


@contextlib.contextmanager
def watched(is_model: bool = True) -> Iterator[None]:
    """A context in which the first random number that is drawn makes the solve of this thread seed torch.

    Args:
        is_model: the model is run inside. It is watched in its first call only, since watching takes some
            microseconds for each operation.
    """
    stack = _solves.__dict__.get("stack")
    if not stack or stack[-1].is_seeded or (is_model and stack[-1].has_run):
        yield
        return
    stack[-1].has_run |= is_model
    # compiled graphs do not show what they draw, and a call inside the mode would end their compilation
    with uncompiled(), _SeedWhenDrawn(stack[-1].seed):
        yield


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """A context in which compiled models run uncompiled."""
    stance = getattr(torch.compiler, "set_stance", None)  # since torch 2.6
    # The compiler is loaded by the first call of torch.compile. If it is not loaded, nothing is compiled, and
    # loading it here would take one to three seconds.
    is_loaded = "torch._dynamo" in sys.modules
    return stance("force_eager") if stance is not None and is_loaded else contextlib.nullcontext()


def is_random() -> bool:
    """Whether the model of the innermost solve of this thread was seen to draw from torch's generator."""
    stack = _solves.__dict__.get("stack")
    return stack is not None and len(stack) > 0 and stack[-1].is_seeded


class _Solve:
    """The random numbers of one solve.

    Args:
        device: where the model runs.
        seed: any integer.

    Attributes:
        held: restores the caller's state at its end.
        has_run: whether the model was run.
        is_seeded: whether torch was seeded.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self.held = contextlib.ExitStack()
        self.has_run = self.is_seeded = False
        self._devices, self._seed = [device] if device.type == "cuda" else [], seed % 2**63

    def seed(self) -> None:
        """Keep the state of torch's generator until the end, and seed it."""
        if self.is_seeded:
            return
        self.is_seeded = True
        self.held.enter_context(torch.random.fork_rng(self._devices))
        # torch.manual_seed would also seed all GPUs, of which only the one in `_devices` is restored
        torch.default_generator.manual_seed(self._seed)
        if self._devices:
            torch.cuda.manual_seed(self._seed)


class _SeedWhenDrawn(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Calls a function before the first operation of this thread that draws from torch's own generator."""

    def __init__(self, seed: Callable[[], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self._seed = seed

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Read by torch: True would load the compiler, which takes seconds (see `uncompiled`)."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and _draws(func, args, kwargs or {}):
            self._seed()
        return func(*args, **(kwargs or {}))


def _draws(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call of an operation that may draw does: some take a probability of 0, or do not train."""
    arguments = func._schema.arguments
    given = {a.name: a.default_value for a in arguments}
    given |= dict(zip((a.name for a in arguments), args, strict=False)) | kwargs
    rests = [given[name] in (0, False) for name in ("dropout_p", "training", "train") if name in given]
    return given.get("generator") is None and not any(rests)
